//! Proves that a data folder of an older Calve is taken over whole, and that one of a newer Calve is refused with the way out.
//!
//! `golden/store-v1.tar.zst` is a data folder as the first released format left it, with a session of three parts and a
//! deleted one, a session with a part of 300 columns (its record has several chunks), and a committed session;
//! `golden/store-v1.json` is what that Calve answered about them. They are never made again.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::client::Target;
use support::data::Expectation;
use support::server::TestServer;
use support::table::assert_table_holds;

const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/store-v1.tar.zst");
const ANSWERS: &str = include_str!("golden/store-v1.json");

/// A server that has yet to be started on the old data folder.
fn on_old_store() -> TestServer {
    let server = TestServer::not_started(&[]);
    let mut tar = Command::new("tar")
        .arg("-xC")
        .arg(server.data_dir().parent().expect("a folder around it"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("start tar");
    let packed = File::open(STORE).expect("the old data folder");
    let mut unpacking = tar.stdin.take().expect("tar's standard input");
    zstd::stream::copy_decode(packed, &mut unpacking).expect("unpack the old data folder");
    drop(unpacking);
    assert!(tar.wait().expect("the end of tar").success());
    server
}

fn format_of(data_dir: &Path) -> Value {
    let marker = fs::read(data_dir.join("calve.json")).expect("the marker");
    let marker: Value = serde_json::from_slice(&marker).expect("a JSON marker");
    marker["format"].clone()
}

/// The rows of the open session's parts.
fn open_sessions_csv() -> String {
    let mut csv = String::from("id,name,amount,day\n");
    for first in ["name", "nom"] {
        for row in 0..50 {
            let day = 15 + row % 10;
            let _ = writeln!(csv, "{row},{first} {row},{row}.25,2024-02-{day}");
        }
    }
    csv + "1000,json,1.5,2024-02-20\n"
}

#[test]
fn a_store_of_format_1_is_taken_over_whole() {
    let answers: Value = serde_json::from_str(ANSWERS).expect("JSON");
    let id = |key: &str| answers[key].as_str().expect("an id").to_owned();
    let (open, wide, committed) = (id("open"), id("wide"), id("committed"));
    let mut server = on_old_store();
    // The tables were made elsewhere, which is all that a check finds; and looking raises no format.
    let found = server.check();
    assert!(found.contains("1 finding"), "{found}");
    assert!(found.contains("metadata_misplaced"), "{found}");
    assert_eq!(format_of(&server.data_dir()), 1);
    for _ in 0..2 {
        server.restart();
        assert_eq!(format_of(&server.data_dir()), 4);
        let api = server.api();
        assert_eq!(api.inspect(&open).expect_json(200), answers["inspect_open"]);
        let mut of_wide = api.inspect(&wide).expect_json(200);
        let columns = of_wide["schema"]["columns"].as_array().map(Vec::len);
        assert_eq!(columns, Some(300));
        of_wide.as_object_mut().expect("an object").remove("schema");
        assert_eq!(of_wide, answers["inspect_wide"]);
        api.delete_part(&open, 3).expect(200);
        api.delete_part(&open, 4)
            .expect_refusal(404, "part_not_found");
        let repeat = json!({"conflict_resolution": "fail", "snapshot_message": "golden"});
        let receipt = api.commit_body(&committed, &repeat).expect_json(200);
        assert_eq!(receipt, answers["receipt"]);
        server.kill();
    }
    server.restart();
    let api = server.api();
    // Old records and new ones side by side, in one session.
    api.put_csv(&wide, 8, "column 7\n1\n");
    let target = Target::new("acme.sales.later");
    api.commit(&open, &target, "fail").expect(200);
    let columns = [
        ("id", "long"),
        ("name", "string"),
        ("amount", "double"),
        ("day", "date"),
    ];
    let expected = Expectation::new(&columns).csv(&open_sessions_csv());
    assert_table_holds(&server, &target, &expected);
    let parts = api.inspect(&wide).expect_json(200);
    assert_eq!(parts["rows_estimate"], 2);
}

#[test]
fn a_newer_store_is_refused_with_the_way_out() {
    let mut server = TestServer::start();
    server.terminate();
    let marker_file = server.data_dir().join("calve.json");
    let marker = fs::read_to_string(&marker_file).expect("the marker");
    fs::write(&marker_file, marker.replace("\"format\":4", "\"format\":5")).expect("write it");
    let said = server.expect_refused_start();
    assert!(
        said.contains("written by a newer calve (store format 5, this one knows 4)"),
        "{said}"
    );
    assert!(said.contains("start that version"), "{said}");
    fs::write(&marker_file, marker).expect("write it");
    server.restart();
}
