//! Proves that concurrent clients lose nothing and double nothing, and that the server's memory does not grow with what
//! arrives at once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::client::{AS_CSV, AS_PARQUET, Target};
use support::data::{Expectation, numbered_csv, numbered_csv_of_bytes};
use support::python::run_json;
use support::server::{TestServer, write_file};
use support::table::{assert_files_are_sound, assert_table_holds, snapshot_chain};

const MIB: usize = 1024 * 1024;
const MEMORY_BYTES_MAX: u64 = 200_000_000;
const BIG_PARTS: u32 = 16;

#[test]
fn thirty_two_clients_append_to_one_table() {
    const CLIENTS: u32 = 32;
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let base = server.base_url().to_owned();
    let all_at_once = Barrier::new(CLIENTS as usize);
    let answers: Vec<(String, Value)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (target, all_at_once, base) = (&target, &all_at_once, &base);
                scope.spawn(move || {
                    let api = support::client::Api::new(base);
                    let session = api.open_session();
                    all_at_once.wait();
                    api.put_csv(&session, 0, &numbered_csv(2 * client, 120));
                    api.put_csv(&session, 1, &numbered_csv(2 * client + 1, 40));
                    let answer = api.commit(&session, target, "append").expect_json(200);
                    assert_eq!(answer["rows_written"], 160, "{answer}");
                    (session, answer)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client failed"))
            .collect()
    });

    let expectation = (0..CLIENTS).fold(Expectation::numbered(), |all, client| {
        all.csv(&numbered_csv(2 * client, 120))
            .csv(&numbered_csv(2 * client + 1, 40))
    });
    let table = assert_table_holds(&server, &target, &expectation);
    let chain = snapshot_chain(&table);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let committed: BTreeSet<String> = answers
        .iter()
        .map(|(_, answer)| text(&answer["commit_id"]))
        .collect();
    assert_eq!(
        committed.len(),
        CLIENTS as usize,
        "each client got a commit of its own"
    );
    let sessions: BTreeSet<String> = answers.iter().map(|(session, _)| session.clone()).collect();
    let in_table: Vec<String> = chain
        .iter()
        .map(|snapshot| text(&snapshot["summary"]["calve.session-id"]))
        .collect();
    assert_eq!(in_table.len(), CLIENTS as usize, "one snapshot a client");
    assert_eq!(
        in_table.into_iter().collect::<BTreeSet<_>>(),
        sessions,
        "every session is in one snapshot"
    );
    let answered: BTreeSet<Option<i64>> = answers
        .iter()
        .map(|(_, answer)| answer["snapshot_id"].as_i64())
        .collect();
    let in_chain: BTreeSet<Option<i64>> = chain
        .iter()
        .map(|snapshot| snapshot["id"].as_i64())
        .collect();
    assert_eq!(answered, in_chain, "the answers name the snapshots");
    assert_files_are_sound(&server, &target);
}

#[test]
fn first_commits_race_for_a_table_that_may_not_exist() {
    const CLIENTS: u32 = 8;
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let all_at_once = Barrier::new(CLIENTS as usize);
    let statuses: Vec<(u32, u16)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (api, target, all_at_once) = (api.clone(), &target, &all_at_once);
                scope.spawn(move || {
                    let session = api.open_session();
                    api.put_csv(&session, 0, &numbered_csv(client, 30));
                    all_at_once.wait();
                    (client, api.commit(&session, target, "fail").status)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client failed"))
            .collect()
    });
    let winners: Vec<u32> = statuses
        .iter()
        .filter(|(_, status)| *status == 200)
        .map(|(client, _)| *client)
        .collect();
    let [winner] = winners[..] else {
        panic!("exactly one client creates the table: {statuses:?}")
    };
    assert!(
        statuses
            .iter()
            .all(|(client, status)| *status == 409 || *client == winner),
        "{statuses:?}"
    );
    let table = assert_table_holds(
        &server,
        &target,
        &Expectation::numbered().csv(&numbered_csv(winner, 30)),
    );
    assert_eq!(snapshot_chain(&table).len(), 1);
}

#[test]
fn one_commit_repeated_by_many_threads_has_one_answer() {
    const REPEATS: usize = 12;
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let session = api.open_session();
    let csvs: Vec<String> = (0..10).map(|part| numbered_csv(part, 200)).collect();
    for (part, csv) in (0..).zip(&csvs) {
        api.put_csv(&session, part, csv);
    }
    let all_at_once = Barrier::new(REPEATS);
    let answers: Vec<Value> = thread::scope(|scope| {
        let repeats: Vec<_> = (0..REPEATS)
            .map(|_| {
                let (api, session, target, all_at_once) =
                    (api.clone(), &session, &target, &all_at_once);
                scope.spawn(move || {
                    all_at_once.wait();
                    api.commit(session, target, "append").expect_json(200)
                })
            })
            .collect();
        repeats
            .into_iter()
            .map(|repeat| repeat.join().expect("a repeat failed"))
            .collect()
    });
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    let expectation = csvs
        .iter()
        .fold(Expectation::numbered(), |all, csv| all.csv(csv));
    let table = assert_table_holds(&server, &target, &expectation);
    assert_eq!(snapshot_chain(&table).len(), 1, "one commit, one snapshot");
}

#[test]
fn two_writers_of_one_part_leave_one_whole_part() {
    const WRITERS: u32 = 8;
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let session = api.open_session();
    let csv_of = |writer: u32| numbered_csv(writer, 3000);
    let all_at_once = Barrier::new(WRITERS as usize);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (api, session, all_at_once) = (api.clone(), &session, &all_at_once);
                scope.spawn(move || {
                    let csv = csv_of(writer);
                    all_at_once.wait();
                    api.put_part(session, 0, csv.as_bytes(), AS_CSV).status
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer failed"))
            .collect()
    });
    assert!(
        statuses.contains(&201),
        "somebody's part is stored: {statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [201, 409].contains(status)),
        "losers are told so: {statuses:?}"
    );
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(
        inspected["parts"].as_array().map(Vec::len),
        Some(1),
        "{inspected}"
    );
    let winner = (0..WRITERS)
        .find(|writer| inspected["parts"][0]["sha256"] == sha256_hex(csv_of(*writer).as_bytes()));
    let winner = winner.unwrap_or_else(|| panic!("the part is nobody's: {inspected}"));
    api.commit(&session, &target, "fail").expect(200);
    assert_table_holds(
        &server,
        &target,
        &Expectation::numbered().csv(&csv_of(winner)),
    );
}

#[test]
fn sixteen_big_csv_parts_at_once_fit_in_memory() {
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let session = api.open_session();
    let all_at_once = Barrier::new(BIG_PARTS as usize);
    let files: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..BIG_PARTS)
            .map(|part| {
                let (api, session, all_at_once, server) =
                    (api.clone(), &session, &all_at_once, &server);
                scope.spawn(move || {
                    let (csv, rows) = numbered_csv_of_bytes(part, 28 * MIB);
                    let file =
                        write_file(server.scratch(&format!("part-{part}.csv")), csv.as_bytes());
                    all_at_once.wait();
                    let answer = api.put_csv(session, part, &csv);
                    assert_eq!(answer["rows"], rows, "{answer}");
                    assert_eq!(answer["sha256"], sha256_hex(csv.as_bytes()), "{answer}");
                    file
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client failed"))
            .collect()
    });
    api.commit(&session, &target, "fail").expect(200);
    assert_peak_memory(&server);
    let expectation = files
        .iter()
        .fold(Expectation::numbered(), |all, file| all.csv_file(file, 1));
    assert_table_holds(&server, &target, &expectation);
}

#[test]
fn sixteen_big_parquet_parts_at_once_fit_in_memory() {
    let server = TestServer::start();
    let target = Target::new("acme.sales.noise");
    let api = server.api();
    let session = api.open_session();
    let path = server.scratch("noise.parquet");
    let made = run_json(
        "make_parquet.py",
        &[
            path.display().to_string(),
            "--megabytes".to_owned(),
            "28".to_owned(),
        ],
    );
    let parquet = fs::read(&path).expect("read the Parquet file");
    let all_at_once = Barrier::new(BIG_PARTS as usize);
    thread::scope(|scope| {
        for part in 0..BIG_PARTS {
            let (api, session, all_at_once, parquet, made) =
                (api.clone(), &session, &all_at_once, &parquet, &made);
            scope.spawn(move || {
                all_at_once.wait();
                let answer = api
                    .put_part(session, part, parquet, AS_PARQUET)
                    .expect_json(201);
                assert_eq!(answer["rows"], made["rows"], "{answer}");
                assert_eq!(answer["sha256"], sha256_hex(parquet), "{answer}");
            });
        }
    });
    let committed = api.commit(&session, &target, "fail").expect_json(200);
    assert_eq!(
        json!(committed["rows_written"]),
        json!(u64::from(BIG_PARTS) * made["rows"].as_u64().expect("rows"))
    );
    assert_peak_memory(&server);
    let expectation =
        Expectation::new(&[("number", "long"), ("word", "string")]).parquet_file(&path, BIG_PARTS);
    assert_table_holds(&server, &target, &expectation);
}

#[track_caller]
fn assert_peak_memory(server: &TestServer) {
    let peak_bytes = server.peak_rss_bytes();
    println!(
        "the server's memory peaked at {} MB and is {} MB now",
        peak_bytes / 1_000_000,
        server.rss_bytes() / 1_000_000
    );
    assert!(
        peak_bytes < MEMORY_BYTES_MAX,
        "the server's memory peaked at {peak_bytes} bytes"
    );
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
