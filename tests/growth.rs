//! Proves that a table stays small however often it is committed to, that its kept past is readable, and that appends that are
//! published together are each there once or not at all.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use serde_json::Value;
use support::client::{Api, Target};
use support::data::{Expectation, numbered_csv};
use support::server::{TestServer, files_below};
use support::table::{
    assert_files_are_sound, assert_snapshot_holds, assert_table_holds, kept_chain, snapshot_chain,
};
use support::{PATIENCE, wait_until};

fn target() -> Target {
    Target::new("acme.sales.orders")
}

fn staged(api: &Api, csv: &str) -> String {
    let session = api.open_session();
    api.put_csv(&session, 0, csv);
    session
}

fn holding(parts: &[u32]) -> Expectation {
    let add = |all: Expectation, part: &u32| all.csv(&numbered_csv(*part, 2));
    parts.iter().fold(Expectation::numbered(), add)
}

/// The version of the current metadata file.
fn version(table: &Path) -> u64 {
    let hint = fs::read_to_string(table.join("metadata/version-hint.text")).expect("the hint");
    let version = hint.split('-').next().expect("a version");
    version.parse().expect("a number")
}

#[test]
fn hundreds_of_commits_leave_few_files_and_a_past_that_can_be_read() {
    const SNAPSHOTS: usize = 6;
    let mut server = TestServer::start_with(&[
        ("CALVE_TABLES__SNAPSHOTS_MAX", "6"),
        ("CALVE_TABLES__SNAPSHOTS_MIN", "2"),
        ("CALVE_TABLES__PREVIOUS_METADATA_MAX", "3"),
        ("CALVE_TABLES__MANIFESTS_TO_MERGE", "4"),
        ("CALVE_CLEANING__GRACE", "3s"),
        ("CALVE_CLEANING__INTERVAL", "50ms"),
    ]);
    let (api, target) = (server.api(), target());
    let (mut live, mut states) = (Vec::new(), Vec::new());
    for number in 0..300u32 {
        let mode = match number % 90 {
            // Among the last snapshots is an overwrite, so that a past without its files is kept, too.
            26 => "overwrite",
            _ => "append",
        };
        if mode == "overwrite" {
            live.clear();
        }
        live.push(number);
        let session = staged(&api, &numbered_csv(number, 2));
        let answer = api.commit(&session, &target, mode).expect_json(200);
        states.push((answer["snapshot_id"].as_i64().expect("an id"), live.clone()));
    }
    let table_dir = server.table_dir(&target);
    wait_until("what nothing needs is gone", PATIENCE, || {
        let count = |folder: &str| files_below(&table_dir.join(folder)).len();
        // 4 metadata files, a hint, 6 lists; manifests of 4 tiers, of which the snapshots see different ones.
        (count("data") <= 300 && count("metadata") <= 45).then_some(())
    });
    let (_, last) = states.last().expect("a commit");
    let table = assert_table_holds(&server, &target, &holding(last));
    let chain = kept_chain(&table);
    let ids: Vec<i64> = chain.iter().filter_map(|one| one["id"].as_i64()).collect();
    let kept = &states[states.len() - SNAPSHOTS..];
    assert_eq!(ids, kept.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for (id, parts) in kept.iter().step_by(2) {
        assert_snapshot_holds(&server, &target, *id, &holding(parts));
    }
    assert_eq!(assert_files_are_sound(&server, &target), last.len() as u64);
    server.terminate();
    server.assert_sound();
}

#[test]
fn appends_that_wait_are_published_together_and_a_refused_one_disturbs_nobody() {
    const CLIENTS: u32 = 16;
    const COMMITS: u32 = 10;
    let mut server = TestServer::start();
    let (api, target) = (server.api(), target());
    let first = staged(&api, &numbered_csv(0, 2));
    api.commit(&first, &target, "fail").expect(200);
    let all_at_once = Barrier::new(CLIENTS as usize);
    let base = server.base_url().to_owned();
    let answers: Vec<(String, u32, Value)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (target, all_at_once, base) = (&target, &all_at_once, &base);
                scope.spawn(move || {
                    let api = Api::new(base);
                    let parts: Vec<u32> = (0..COMMITS).map(|n| 1 + client * COMMITS + n).collect();
                    let sessions = parts
                        .iter()
                        .map(|part| staged(&api, &numbered_csv(*part, 2)));
                    let sessions: Vec<String> = sessions.collect();
                    let misfit = staged(&api, "part,other\n1,2\n");
                    all_at_once.wait();
                    api.commit(&misfit, target, "append")
                        .expect_refusal(409, "schema_mismatch");
                    let commit = |(session, part): (String, u32)| {
                        let answer = api.commit(&session, target, "append").expect_json(200);
                        (session, part, answer)
                    };
                    sessions
                        .into_iter()
                        .zip(parts)
                        .map(commit)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("a client failed"));
        ended.flatten().collect()
    });
    let parts: Vec<u32> = (0..=CLIENTS * COMMITS).collect();
    let table = assert_table_holds(&server, &target, &holding(&parts));
    let chain = snapshot_chain(&table);
    let in_chain: BTreeSet<Option<i64>> = chain[1..].iter().map(|one| one["id"].as_i64()).collect();
    let told = answers
        .iter()
        .map(|(_, _, answer)| answer["snapshot_id"].as_i64());
    assert_eq!(told.collect::<BTreeSet<_>>(), in_chain);
    for (session, _, answer) in answers.iter().step_by(7) {
        let again = api.commit(session, &target, "append").expect_json(200);
        assert_eq!(again, *answer, "a repeat gets the stored answer");
    }
    let published = version(&server.table_dir(&target));
    let commits = u64::from(CLIENTS * COMMITS);
    println!("{commits} appends in {published} publications");
    assert!(published < commits, "none were published together");
    server.terminate();
    server.assert_sound();
}

/// Kills the server at points all over publications of several appends.
#[cfg(debug_assertions)]
#[test]
fn a_killed_publication_leaves_each_append_whole_or_not_at_all() {
    const CLIENTS: u32 = 8;
    /// Points apart; a publication of all of them passes about a hundred.
    const STEP: usize = 13;
    let step = if support::is_long() { 1 } else { STEP };
    let mut server = TestServer::start_with(&[("CALVE_PARTS__CONCURRENT_CONVERSIONS", "1")]);
    let target = target();
    let first = staged(&server.api(), &numbered_csv(0, 2));
    server.api().commit(&first, &target, "fail").expect(200);
    let (mut parts, mut kills) = (vec![0], 0);
    for round in 0..u32::MAX {
        let api = server.api();
        let new: Vec<u32> = (0..CLIENTS).map(|n| 1 + round * CLIENTS + n).collect();
        let sessions = new.iter().map(|part| staged(&api, &numbered_csv(*part, 2)));
        let sessions: Vec<String> = sessions.collect();
        server.terminate();
        let at = points_of_a_start(&mut server) + round as usize * step;
        server.set_variable("FAULT_AT", Some(&format!("{at}:kill")));
        server.restart();
        let answers = commit_all(&server, &sessions);
        server.set_variable("FAULT_AT", None);
        let is_over = answers.iter().all(Option::is_some);
        if is_over {
            server.kill();
        } else {
            server.wait_for_end();
            kills += 1;
        }
        server.restart();
        assert_whole_or_not_at_all(&server.api(), &sessions, &answers);
        parts.extend(new);
        if is_over {
            break;
        }
    }
    assert!(kills > 3, "only {kills} kills hit a publication");
    let table = assert_table_holds(&server, &target, &holding(&parts));
    assert_eq!(
        snapshot_chain(&table).len(),
        parts.len(),
        "one snapshot each"
    );
    server.set_variable("CALVE_CLEANING__GRACE", Some("0s"));
    server.set_variable("CALVE_CLEANING__INTERVAL", Some("50ms"));
    server.terminate();
    server.restart();
    let (table_dir, packs) = (server.table_dir(&target), server.data_dir().join("packs"));
    wait_until("nothing is left of killed attempts", PATIENCE, || {
        let data_files = files_below(&table_dir.join("data")).len();
        (data_files == parts.len() && files_below(&packs).is_empty()).then_some(())
    });
    server.terminate();
    server.assert_sound();
}

/// How many points a start passes before it listens.
#[cfg(debug_assertions)]
fn points_of_a_start(server: &mut TestServer) -> usize {
    let log = server.scratch("points");
    server.set_variable("FAULT_LOG", log.to_str());
    server.restart();
    let points = fs::read_to_string(&log).expect("the points");
    server.set_variable("FAULT_LOG", None);
    server.terminate();
    fs::remove_file(&log).expect("remove the log");
    points.lines().count()
}

/// What was acknowledged is committed, what is committed has one answer, and everything can be repeated.
#[cfg(debug_assertions)]
fn assert_whole_or_not_at_all(api: &Api, sessions: &[String], answers: &[Option<Value>]) {
    for (session, answer) in sessions.iter().zip(answers) {
        let inspected = api.inspect(session).expect_json(200);
        let is_committed = inspected["state"] == "committed";
        assert!(
            is_committed || answer.is_none(),
            "an acknowledged append is gone"
        );
        let again = api.commit(session, &target(), "append").expect_json(200);
        assert!(
            answer.as_ref().is_none_or(|answer| again == *answer),
            "{again}"
        );
        assert!(
            !is_committed || inspected["commit"] == again,
            "two answers: {inspected}, {again}"
        );
    }
}

/// Commits all sessions at once; `None` where no answer came.
#[cfg(debug_assertions)]
fn commit_all(server: &TestServer, sessions: &[String]) -> Vec<Option<Value>> {
    let all_at_once = Barrier::new(sessions.len());
    let base = server.base_url().to_owned();
    let body = support::client::commit_request(&target(), "append").to_string();
    thread::scope(|scope| {
        let clients: Vec<_> = sessions
            .iter()
            .map(|session| {
                let (all_at_once, base, body) = (&all_at_once, &base, &body);
                scope.spawn(move || {
                    let api = Api::with_fresh_connections(base);
                    let path = format!("/v1/upload/{session}/commit");
                    let headers = &[("content-type", "application/json")];
                    all_at_once.wait();
                    let answer = api
                        .try_send("POST", &path, headers, Some(body.as_bytes()))
                        .ok();
                    answer.map(|answer| answer.expect_json(200))
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client failed"))
            .collect()
    })
}
