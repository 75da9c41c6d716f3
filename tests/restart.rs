//! Proves that what was acknowledged outlives the process, however it ends.
//!
//! The server is terminated (SIGTERM) or killed (SIGKILL) in the middle of an upload, during a commit, and after it; it is
//! started again on the same data and the upload goes on. The tables that come of it are read by PyIceberg and DuckDB and
//! compared value by value.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::client::{AS_CSV, Api, Target, commit_request};
use support::data::{Expectation, numbered_csv, numbered_csv_of_bytes};
use support::raw::RawRequest;
use support::server::{TestServer, files_below};
use support::table::{assert_files_are_sound, assert_table_holds, snapshot_chain};
use support::{PATIENCE, wait_until};

/// The two ways in which a server ends here.
type End = fn(&mut TestServer);

#[test]
fn upload_goes_on_after_sigterm() {
    upload_goes_on_after(TestServer::terminate);
}

#[test]
fn upload_goes_on_after_kill() {
    upload_goes_on_after(TestServer::kill);
}

fn upload_goes_on_after(end: End) {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let parts: Vec<String> = (0..8).map(|part| numbered_csv(part, 300)).collect();
    let api = server.api();
    let unbound = api.open_session();
    let bound = api.open_bound_session(&Target::new("acme.sales.bound"))["session_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for (part, csv) in (0..4).zip(&parts) {
        for session in [&unbound, &bound] {
            let answer = api.put_csv(session, part, csv);
            assert_eq!(answer["sha256"], sha256_hex(csv), "{answer}");
        }
    }
    api.delete_part(&unbound, 3).expect(200);
    let before = [&unbound, &bound].map(|session| api.inspect(session).expect_json(200));

    end(&mut server);
    server.restart();

    let api = server.api();
    let after = [&unbound, &bound].map(|session| api.inspect(session).expect_json(200));
    assert_eq!(after, before, "inspect tells the same as before");
    // Goes on: a part deleted before comes again, one is replaced, others are new.
    for (part, csv) in [(3, &parts[3]), (0, &parts[4]), (5, &parts[5])] {
        api.put_csv(&unbound, part, csv);
    }
    let committed = api.commit(&unbound, &target, "fail").expect_json(200);
    assert_eq!(committed["rows_written"], 1500, "{committed}");
    let expectation = [4, 1, 2, 3, 5]
        .iter()
        .fold(Expectation::numbered(), |all, part: &usize| {
            all.csv(&parts[*part])
        });
    let table = assert_table_holds(&server, &target, &expectation);
    assert_eq!(snapshot_chain(&table).len(), 1);

    // The session is still bound.
    let elsewhere = api.commit(&bound, &target, "append");
    elsewhere.expect_refusal(409, "target_mismatch");
    api.commit_body(&bound, &json!({"conflict_resolution": "fail"}))
        .expect(200);
    let expectation = parts[..4]
        .iter()
        .fold(Expectation::numbered(), |all, csv| all.csv(csv));
    assert_table_holds(&server, &Target::new("acme.sales.bound"), &expectation);
}

#[test]
fn commit_repeated_after_sigterm_is_answered_from_the_record() {
    commit_repeated_after(TestServer::terminate);
}

#[test]
fn commit_repeated_after_kill_is_answered_from_the_record() {
    commit_repeated_after(TestServer::kill);
}

fn commit_repeated_after(end: End) {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let csv = numbered_csv(0, 400);
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 0, &csv);
    let first = api.commit(&session, &target, "append").expect_json(200);

    end(&mut server);
    server.restart();

    let api = server.api();
    assert_eq!(
        api.commit(&session, &target, "append").expect_json(200),
        first,
        "the stored answer"
    );
    let other = api
        .commit(&session, &target, "overwrite")
        .expect_refusal(409, "already_committed");
    assert_eq!(other["commit_id"], first["commit_id"], "{other}");
    api.inspect(&session).expect(200);
    // A table of an earlier run of the server can be appended to.
    let more = numbered_csv(1, 100);
    let next = api.open_session();
    api.put_csv(&next, 0, &more);
    api.commit(&next, &target, "append").expect(200);
    let table = assert_table_holds(
        &server,
        &target,
        &Expectation::numbered().csv(&csv).csv(&more),
    );
    assert_eq!(snapshot_chain(&table).len(), 2);
}

/// What is on disk when the server is killed during a commit.
#[derive(Clone, Copy, Debug)]
enum Moment {
    RequestSent,
    FirstMetadataFile,
    MetadataJson,
    VersionHint,
}

#[test]
fn commit_that_was_killed_happens_once() {
    for moment in [
        Moment::RequestSent,
        Moment::FirstMetadataFile,
        Moment::MetadataJson,
        Moment::VersionHint,
    ] {
        commit_killed_at(moment);
    }
}

fn commit_killed_at(moment: Moment) {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let csvs: Vec<String> = (0..6).map(|part| numbered_csv(part, 200)).collect();
    let api = server.api();
    let session = api.open_session();
    for (part, csv) in (0..).zip(&csvs) {
        api.put_csv(&session, part, csv);
    }
    let body = json!({"target": target.json(), "conflict_resolution": "append"});
    let path = format!("/v1/upload/{session}/commit");
    let content_length = body.to_string().len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", content_length.as_str()),
    ];
    let mut request = RawRequest::start(server.base_url(), "POST", &path, &headers);
    request.write(body.to_string().as_bytes());
    let metadata = server.table_dir(&target).join("metadata");
    wait_until(&format!("{moment:?} in the commit"), PATIENCE, || {
        let files: Vec<String> = files_below(&metadata)
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let is_reached = match moment {
            Moment::RequestSent => true,
            Moment::FirstMetadataFile => !files.is_empty(),
            Moment::MetadataJson => files.iter().any(|file| file.ends_with(".metadata.json")),
            Moment::VersionHint => files.iter().any(|file| file == "version-hint.text"),
        };
        is_reached.then_some(())
    });
    server.kill();
    drop(request);
    server.restart();

    let api = server.api();
    let first = api.commit_body(&session, &body).expect_json(200);
    assert_eq!(first["rows_written"], 1200, "{moment:?}: {first}");
    assert_eq!(
        api.commit_body(&session, &body).expect_json(200),
        first,
        "{moment:?}"
    );
    let expectation = csvs
        .iter()
        .fold(Expectation::numbered(), |all, csv| all.csv(csv));
    let table = assert_table_holds(&server, &target, &expectation);
    let chain = snapshot_chain(&table);
    assert_eq!(chain.len(), 1, "{moment:?}: one commit, one snapshot");
    assert_eq!(
        chain[0]["summary"]["calve.session-id"],
        session.as_str(),
        "{moment:?}"
    );
    assert_files_are_sound(&server, &target);
}

#[test]
fn killed_while_threads_upload() {
    for acknowledged_before_kill in [1, 7, 20] {
        killed_after_acknowledged_parts(acknowledged_before_kill);
    }
}

/// Four threads fill one session until the server is gone; parts sent are either whole or absent, acknowledged ones whole.
fn killed_after_acknowledged_parts(acknowledged_before_kill: usize) {
    const THREADS: u32 = 4;
    const PARTS_EACH_MAX: u32 = 240;
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let session = api.open_session();
    let acknowledged = Mutex::new(BTreeMap::new());
    let (progress, acknowledgements) = mpsc::channel();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (api, session, acknowledged, progress) =
                (api.clone(), &session, &acknowledged, progress.clone());
            scope.spawn(move || {
                for part in (0..PARTS_EACH_MAX).map(|count| count * THREADS + thread) {
                    let Some(answer) = put_until_gone(&api, session, part) else {
                        return;
                    };
                    assert_eq!(answer["sha256"], sha256_hex(&part_csv(part)), "{answer}");
                    acknowledged
                        .lock()
                        .expect("no thread failed")
                        .insert(part, answer);
                    // The receiver stops listening when it has heard enough.
                    let _unheard = progress.send(());
                }
                panic!("the server was not killed in time for {PARTS_EACH_MAX} parts a thread");
            });
        }
        for _ in 0..acknowledged_before_kill {
            acknowledgements
                .recv_timeout(PATIENCE)
                .expect("an acknowledged part");
        }
        server.kill();
    });
    server.restart();

    let acknowledged = acknowledged.into_inner().expect("no thread failed");
    assert!(acknowledged.len() >= acknowledged_before_kill);
    let api = server.api();
    let inspected = api.inspect(&session).expect_json(200);
    let stored: BTreeMap<u32, Value> = inspected["parts"]
        .as_array()
        .expect("a list of parts")
        .iter()
        .map(|part| {
            (
                u32::try_from(part["id"].as_u64().expect("a part number")).expect("small"),
                part.clone(),
            )
        })
        .collect();
    for part in acknowledged.keys() {
        assert!(
            stored.contains_key(part),
            "part {part} was acknowledged and is gone"
        );
    }
    for (part, record) in &stored {
        assert_eq!(
            record["sha256"],
            sha256_hex(&part_csv(*part)),
            "part {part} is not what was sent"
        );
    }
    let committed = api.commit(&session, &target, "fail").expect_json(200);
    assert_eq!(committed["rows_written"], 50 * stored.len(), "{committed}");
    let expectation = stored.keys().fold(Expectation::numbered(), |all, part| {
        all.csv(&part_csv(*part))
    });
    assert_table_holds(&server, &target, &expectation);
}

fn part_csv(part: u32) -> String {
    numbered_csv(part, 50)
}

/// The stored part's answer, or nothing when the server went away.
fn put_until_gone(api: &Api, session: &str, part: u32) -> Option<Value> {
    let path = format!("/v1/upload/{session}?part={part}");
    let answer = api
        .try_send("PUT", &path, AS_CSV, Some(part_csv(part).as_bytes()))
        .ok()?;
    Some(answer.expect_json(201))
}

#[test]
fn sigterm_lets_a_running_upload_finish() {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let csv = numbered_csv(0, 2000);
    let session = server.api().open_session();
    let path = format!("/v1/upload/{session}?part=0");
    let content_length = csv.len().to_string();
    let headers = [
        ("x-file-name", "data.csv"),
        ("content-length", content_length.as_str()),
        ("expect", "100-continue"),
    ];
    let (begin, end) = csv.as_bytes().split_at(csv.len() / 2);
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    // Now the server has taken the request up.
    request.await_continue();
    request.write(begin);
    let address = server.base_url().trim_start_matches("http://").to_owned();

    server.send_sigterm();
    wait_until("the server accepts no more connections", PATIENCE, || {
        TcpStream::connect(&address).is_err().then_some(())
    });
    request.write(end);
    let answer = request.read_answer();
    assert_eq!(answer.status, 201, "{answer:?}");
    server.expect_clean_exit();

    server.restart();
    let api = server.api();
    api.commit(&session, &target, "fail").expect(200);
    assert_table_holds(&server, &target, &Expectation::numbered().csv(&csv));
}

#[test]
fn sigterm_lets_a_commit_finish_whose_client_is_gone() {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    // No connection stays, so that nothing else keeps the server's threads.
    let api = Api::with_fresh_connections(server.base_url());
    let session = api.open_session();
    let mut expected = Expectation::numbered();
    // Small parts are converted by the commit, so it takes a while.
    for part in 0..100 {
        let (csv, _) = numbered_csv_of_bytes(part, 60_000);
        api.put_csv(&session, part, &csv);
        expected = expected.csv(&csv);
    }
    let body = commit_request(&target, "append").to_string();
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
        // What the server says to this is never read, so that the end of the connection is a reset.
        ("expect", "100-continue"),
    ];
    let path = format!("/v1/upload/{session}/commit");
    let mut request = RawRequest::start(server.base_url(), "POST", &path, &headers);
    request.write(body.as_bytes());
    let folder = server.table_dir(&target);
    wait_until("the commit writes a data file", PATIENCE, || {
        (!files_below(&folder.join("data")).is_empty()).then_some(())
    });
    drop(request);
    server.terminate();
    let published = files_below(&folder.join("metadata"));
    assert!(!published.is_empty(), "the commit was cut off");

    server.restart();
    server.api().commit(&session, &target, "append").expect(200);
    assert_table_holds(&server, &target, &expected);
}

#[test]
fn sigterm_does_not_wait_for_a_stalled_upload_for_ever() {
    let mut server = TestServer::start_with(&[("CALVE_SERVER__SHUTDOWN_DEADLINE", "1s")]);
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 1, "a\n1\n");
    let path = format!("/v1/upload/{session}?part=0");
    let headers = [
        ("x-file-name", "data.csv"),
        ("content-length", "1000"),
        ("expect", "100-continue"),
    ];
    let mut stalled = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    stalled.await_continue();
    stalled.write(b"a\n1\n");
    server.terminate();
    server.restart();
    let inspected = server.api().inspect(&session).expect_json(200);
    assert_eq!(inspected["rows_estimate"], 1, "{inspected}");
}

#[test]
fn idle_server_ends_cleanly_and_starts_on_its_data_again() {
    let mut server = TestServer::start();
    let session = server.api().open_session();
    for _ in 0..3 {
        server.terminate();
        server.restart();
        server.api().inspect(&session).expect(204);
    }
}

fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
