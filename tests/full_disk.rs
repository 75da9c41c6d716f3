//! Fills a small disk to the last byte, and makes one read-only, under a running server.
//!
//! The disk is a tmpfs in a mount namespace of its own: each test runs itself again below `unshare`, which needs no rights
//! that a user does not have, and the disk goes away with the process.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::client::{AS_CSV, Api, Target};
use support::data::{Expectation, numbered_csv, numbered_csv_of_bytes};
use support::raw::RawRequest;
use support::server::{TestServer, files_below};
use support::table::assert_table_holds;
use support::{PATIENCE, wait_until};

/// Set in the process that has the namespace.
const INSIDE: &str = "TEST_INSIDE_NAMESPACE";
const DISK_MIB: u32 = 40;
const PART_BYTES: usize = 1024 * 1024;

/// Runs a test of this file in a mount namespace of its own.
fn in_namespace(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .arg(std::env::current_exe().expect("this test's own path"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare, of util-linux");
    assert!(status.success(), "the test in its namespace: {status}");
}

/// Mounts the small disk as a server's data folder.
fn mount_disk(server: &TestServer) {
    let data_dir = server.data_dir();
    fs::create_dir_all(&data_dir).expect("the mount point");
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
        .arg(&data_dir)
        .status()
        .expect("mount");
    assert!(status.success(), "mount: {status}");
}

fn remount(server: &TestServer, mode: &str) {
    let status = Command::new("mount")
        .args(["-o", &format!("remount,{mode}")])
        .arg(server.data_dir())
        .status()
        .expect("mount");
    assert!(status.success(), "remount: {status}");
}

/// What somebody else writes, until there is not one byte left.
fn fill(path: &Path) {
    let mut filler = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("a filler");
    for block_bytes in [64 * 1024, 1] {
        let block = vec![b'x'; block_bytes];
        loop {
            match filler.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
    }
}

fn commit(api: &Api, session: &str) -> support::client::Answer {
    api.commit(session, &Target::new("acme.sales.orders"), "append")
}

fn parts_of(inspected: &Value) -> Vec<(u64, String)> {
    let parts = inspected["parts"].as_array().expect("a list of parts");
    let known = |part: &Value| {
        (
            part["id"].as_u64().expect("a number"),
            part["sha256"].to_string(),
        )
    };
    parts.iter().map(known).collect()
}

#[test]
fn a_full_disk_loses_nothing_and_is_recovered_from() {
    in_namespace("a_full_disk_loses_nothing_and_is_recovered_from", || {
        let mut server = TestServer::not_started(&[("CALVE_STORAGE__RESERVE", "2MiB")]);
        mount_disk(&server);
        server.restart();
        let filler = server.data_dir().join("filler");
        let staging = server.data_dir().join("staging");
        let api = server.api();
        let first = api.open_session();
        api.put_csv(&first, 0, &numbered_csv(900, 10));
        commit(&api, &first).expect(200);

        // Our own uploads stop at the reserve, also one whose length was not announced.
        let session = api.open_session();
        let csvs: Vec<String> = (0..60)
            .map(|part| numbered_csv_of_bytes(part, PART_BYTES).0)
            .collect();
        let mut acknowledged = 0;
        let refusal = loop {
            let csv = &csvs[acknowledged as usize];
            let answer = api.put_part(&session, acknowledged, csv.as_bytes(), AS_CSV);
            if answer.status != 201 {
                break answer.expect_refusal(507, "no_space");
            }
            acknowledged += 1;
        };
        assert!(acknowledged > 5, "{acknowledged}, {refusal}");
        let staged = files_below(&staging);
        let path = format!("/v1/upload/{session}?part=100");
        let headers = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
        let mut unannounced = RawRequest::start(server.base_url(), "PUT", &path, &headers);
        for chunk in csvs[..5].concat().as_bytes().chunks(64 * 1024) {
            unannounced.write_chunk(chunk);
        }
        assert_eq!(unannounced.read_answer().json()["code"], "no_space");
        let is_clean = || (files_below(&staging) == staged).then_some(());
        wait_until("nothing is left of what was refused", PATIENCE, is_clean);

        // Somebody else takes the rest: deletions still work, commits of what is staged work when there is some room.
        fill(&filler);
        assert_eq!(api.get("/health").expect_json(200)["status"], "full");
        api.put_part(&session, 0, csvs[0].as_bytes(), AS_CSV)
            .expect_refusal(507, "no_space");
        let before = parts_of(&api.inspect(&session).expect_json(200));
        assert_eq!(before.len(), acknowledged as usize);
        commit(&api, &session).expect_refusal(507, "no_space");
        assert_eq!(api.inspect(&session).expect_json(200)["state"], "open");
        api.delete_part(&session, 0).expect(200);
        wait_until("the deleted part's files are gone", PATIENCE, || {
            (files_below(&staging).len() + 2 == staged.len()).then_some(())
        });
        commit(&api, &session).expect(200);

        // Space returns: everything works again without a restart; and with one.
        let late = api.open_session();
        fill(&filler);
        fs::remove_file(&filler).expect("remove the filler");
        api.put_csv(&late, 0, &numbered_csv(901, 10));
        server.kill();
        server.restart();
        commit(&server.api(), &late).expect(200);
        let kept = csvs[1..acknowledged as usize].iter();
        let expected = kept.fold(Expectation::numbered(), |all, csv| all.csv(csv));
        let expected = expected
            .csv(&numbered_csv(900, 10))
            .csv(&numbered_csv(901, 10));
        assert_table_holds(&server, &Target::new("acme.sales.orders"), &expected);
        server.terminate();
        assert!(
            !server.log_tail().contains("panicked"),
            "{}",
            server.log_tail()
        );
    });
}

#[test]
fn a_start_on_a_full_or_read_only_disk_says_so_or_serves() {
    in_namespace(
        "a_start_on_a_full_or_read_only_disk_says_so_or_serves",
        || {
            let mut server = TestServer::not_started(&[]);
            mount_disk(&server);
            server.set_variable("CALVE_STORAGE__RESERVE", Some("1MiB"));
            server.restart();
            let session = server.api().open_session();
            server.api().put_csv(&session, 0, "a\n1\n");
            server.kill();
            remount(&server, "ro");
            let said = server.expect_refused_start();
            assert!(said.contains("ead-only file system"), "{said}");
            remount(&server, "rw");
            let filler = server.data_dir().join("filler");
            fill(&filler);
            // What sled leaves of its half-written snapshot must not keep the next start from opening.
            let said = server.expect_refused_start();
            assert!(said.contains("No space left"), "{said}");
            File::create(&filler).expect("empty the filler");
            server.restart();
            assert_eq!(
                server.api().inspect(&session).expect_json(200)["rows_estimate"],
                1
            );
        },
    );
}
