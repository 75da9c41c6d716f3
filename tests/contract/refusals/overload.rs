//! Refusals for what is going on, or because the disk fails: limits are set low, files are damaged or cannot be read yet.

use std::fs;

use calve::error::ErrorCode;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::Refusals;
use crate::support::client::{AS_CSV, Api, Target, commit_request};
use crate::support::data::numbered_csv_of_bytes;
use crate::support::raw::RawRequest;
use crate::support::server::{TestServer, files_below};
use crate::support::{PATIENCE, wait_until};

pub(super) fn note(found: &mut Refusals) {
    limits(found);
    one_at_a_time(found);
    expired(found);
    while_committing(found);
    damaged(found);
}

fn limits(found: &mut Refusals) {
    let server = TestServer::start_with(&[
        ("CALVE_SESSIONS__OPEN_MAX", "1"),
        ("CALVE_STORAGE__STAGED_BYTES_MAX", "10B"),
    ]);
    let api = server.api();
    let session = api.open_session();
    let answer = api.send("POST", "/v1/upload/session", &[], Some(b""));
    found.note(
        ErrorCode::LimitReached,
        "a session beyond as many as may be open",
        &answer,
    );
    let answer = api.put_part(&session, 0, b"id,city\n1,Bern\n", AS_CSV);
    found.note(
        ErrorCode::LimitReached,
        "a part beyond the bytes that may be staged",
        &answer,
    );

    let server = TestServer::start_with(&[("CALVE_STORAGE__RESERVE", "1000 PiB")]);
    let api = server.api();
    let answer = api.put_part(&api.open_session(), 0, b"id,city\n1,Bern\n", AS_CSV);
    found.note(
        ErrorCode::NoSpace,
        "a part when the disk is nearly full",
        &answer,
    );
}

fn one_at_a_time(found: &mut Refusals) {
    let server = TestServer::start_with(&[("CALVE_PARTS__IN_FLIGHT_MAX", "1")]);
    let api = server.api();
    let session = api.open_session();
    let path = format!("/v1/upload/{session}?part=0");
    // Small parts are received in memory, and show no file.
    let (large, _) = numbered_csv_of_bytes(0, 100_000);
    let large_bytes = large.len().to_string();
    let headers = [
        ("x-file-name", "a.csv"),
        ("content-length", &*large_bytes),
        ("expect", "100-continue"),
    ];
    let mut slow = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    slow.await_continue();
    // Its file is there when it has its place.
    let staging = server.data_dir().join("staging");
    wait_until("the place is taken", PATIENCE, || {
        (!files_below(&staging).is_empty()).then_some(())
    });
    let answer = api.put_part(&session, 1, b"a\n1\n", AS_CSV);
    found.note(
        ErrorCode::Overloaded,
        "a part beyond as many as are received at once",
        &answer,
    );
    slow.write(large.as_bytes());
    assert_eq!(slow.read_answer().status, 201);
}

fn expired(found: &mut Refusals) {
    let server = TestServer::start_with(&[("CALVE_SESSIONS__TTL", "1s")]);
    let api = server.api();
    let session = api.open_session();
    let answer = wait_until("the session expires", PATIENCE, || {
        let answer = api.inspect(&session);
        (answer.status == 410).then_some(answer)
    });
    found.note(
        ErrorCode::SessionExpired,
        "a look at a session whose time is over",
        &answer,
    );
}

/// A commit waits for a part's bytes, which are a pipe, while others ask for the session.
fn while_committing(found: &mut Refusals) {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // Numbers, which part 1 makes text: part 0 is read again by the commit.
    let numbers = format!("n\n{}", "12345678\n".repeat(50_000));
    api.put_csv(&session, 0, &numbers);
    api.put_csv(&session, 1, "n\nword\n");
    let staging = server.data_dir().join("staging");
    let bytes = files_below(&staging)
        .into_iter()
        .map(|path| staging.join(path))
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes == numbers.as_bytes()))
        .expect("the bytes of part 0");
    fs::remove_file(&bytes).expect("take the bytes away");
    mknodat(CWD, &bytes, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("make a pipe");
    let target = Target::new("acme.sales.orders");
    std::thread::scope(|threads| {
        let commit = threads.spawn(|| server.api().commit(&session, &target, "fail"));
        let answer = wait_until("the commit runs", PATIENCE, || {
            let answer = api.delete_part(&session, 7);
            (answer.json()["code"] != "part_not_found").then_some(answer)
        });
        found.note(
            ErrorCode::SessionCommitting,
            "a deletion while the session is committed",
            &answer,
        );
        let other = commit_request(&Target::new("acme.sales.returns"), "append");
        let answer = api.commit_body(&session, &other);
        found.note(
            ErrorCode::CommitInProgress,
            "another commit while one is running",
            &answer,
        );
        fs::write(&bytes, &numbers).expect("give the bytes");
        let committed = commit.join().expect("the commit's thread").expect_json(200);
        assert_eq!(committed["rows_written"], json!(50_001));
    });
}

fn damaged(found: &mut Refusals) {
    let mut server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let session_of_one = |api: &Api| {
        let session = api.open_session();
        api.put_csv(&session, 0, "id\n1\n");
        session
    };
    let api = server.api();
    api.commit(&session_of_one(&api), &target, "fail")
        .expect(200);
    // What a server knows of a table it does not read again.
    server.terminate();
    let metadata = server.table_dir(&target).join("metadata");
    for path in files_below(&metadata) {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            fs::write(metadata.join(path), "{").expect("damage the metadata");
        }
    }
    server.restart();
    let api = server.api();
    let answer = api.commit(&session_of_one(&api), &target, "append");
    found.note(
        ErrorCode::Internal,
        "an append to a table whose metadata is damaged",
        &answer,
    );
    let session = session_of_one(&api);
    fs::rename(server.warehouse(), server.scratch("warehouse")).expect("take the warehouse away");
    fs::write(server.warehouse(), "").expect("put a file in its place");
    let answer = api.commit(&session, &Target::new("acme.sales.returns"), "fail");
    found.note(
        ErrorCode::StorageUnavailable,
        "a commit to a disk that refuses folders",
        &answer,
    );
}
