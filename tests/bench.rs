//! `calve bench` against the real server: what it says it sent is what the tables hold.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use calve::bench::parts::{Coding, Format};
use calve::bench::{Recipe, Workload};
use serde_json::Value;

use support::client::Target;
use support::data::Expectation;
use support::server::{TestServer, calve, files_below, write_file};
use support::table::assert_tables_hold;

const TABLES: u64 = 2;

fn bench(arguments: &[&str]) -> Output {
    let mut command = calve();
    command.args(["bench", "--format", "json"]).args(arguments);
    command.output().expect("run calve bench")
}

#[track_caller]
fn report(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The tables' folders and what they must hold when every part of the workload was committed.
fn expected(server: &TestServer, workload: &Workload) -> Vec<(PathBuf, Expectation)> {
    let pool = workload.pool().expect("the parts");
    let mut tables: BTreeMap<u64, Option<Expectation>> = BTreeMap::new();
    for session in 0..workload.sessions {
        for part in 0..workload.parts_per_session {
            let sent = workload.part(&pool, session, part).expect("a part");
            let name = format!("{session}-{part}.parquet");
            let file = write_file(server.scratch(&name), &sent.bytes);
            let table = tables.entry(session % TABLES).or_default();
            *table = Some(match table.take() {
                None => Expectation::like_parquet_file(&file),
                Some(expectation) => expectation.parquet_file(&file, 1),
            });
        }
    }
    let folder = |table| server.table_dir(&Target::new(&format!("bench.shop.orders_{table}")));
    let tables = tables.into_iter();
    tables
        .map(|(table, expectation)| (folder(table), expectation.expect("parts")))
        .collect()
}

#[test]
fn the_tables_hold_exactly_what_was_sent() {
    let server = TestServer::start();
    let output = bench(&[
        "--url",
        server.base_url(),
        "--clients",
        "3",
        "--threads",
        "2",
        "--sessions",
        "5",
        "--parts",
        "4",
        "--part-size",
        "20 KiB",
        "--part-format",
        "parquet",
        "--seed",
        "7",
        "--tables",
        "2",
    ]);
    let report = report(&output, 0);
    let count = |operation: &str| &report["operations"][operation]["count"];
    assert_eq!(*count("open_session"), 5, "{report}");
    assert_eq!(*count("put_part"), 20, "{report}");
    assert_eq!(*count("commit"), 5, "{report}");
    assert_eq!(report["rows_committed"], report["rows_stored"], "{report}");
    assert_eq!(
        report["server"],
        Value::Null,
        "nobody said which process it is"
    );
    let workload = Workload {
        clients: 3,
        sessions: 5,
        parts_per_session: 4,
        duration: std::time::Duration::from_secs(30),
        recipe: Recipe {
            format: Format::Parquet,
            coding: Coding::Identity,
            bytes: 20 << 10,
            seed: 7,
        },
        commits: true,
        tables: TABLES,
        threads: 2,
    };
    let described = assert_tables_hold(&expected(&server, &workload));
    assert_eq!(described.len(), 2, "{described:?}");
}

#[test]
fn a_server_of_its_own_is_measured_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display().to_string();
    for (format, coding) in [("csv", "gzip"), ("ndjson", "zstd")] {
        let output = bench(&[
            "--folder",
            &path,
            "--clients",
            "2",
            "--parts",
            "3",
            "--part-size",
            "50 KiB",
            "--part-format",
            format,
            "--coding",
            coding,
        ]);
        let report = report(&output, 0);
        assert_eq!(report["operations"]["put_part"]["count"], 6, "{report}");
        assert_eq!(report["operations"]["commit"]["count"], 2, "{report}");
        assert_eq!(report["rows_committed"], report["rows_stored"], "{report}");
        let peak = report["server"]["peak_resident_bytes"].as_u64();
        assert!(peak.is_some_and(|bytes| bytes > 1 << 20), "{report}");
    }
    assert_eq!(files_below(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn refusals_are_counted_by_code_and_are_a_failure() {
    let server = TestServer::start_with(&[("CALVE_SESSIONS__OPEN_MAX", "1")]);
    let url = server.base_url().to_owned();
    let sent = [
        "--url",
        &url,
        "--clients",
        "1",
        "--sessions",
        "3",
        "--parts",
        "1",
        "--no-commit",
    ];
    let report = report(&bench(&sent), 1);
    assert_eq!(report["operations"]["put_part"]["count"], 1, "{report}");
    assert_eq!(report["errors"]["limit_reached"], 2, "{report}");
    assert_eq!(report["operations"]["commit"], Value::Null, "{report}");
}

#[test]
fn time_bounds_a_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display().to_string();
    let sent = [
        "--folder",
        &path,
        "--sessions",
        "1000000000",
        "--parts",
        "2",
        "--part-size",
        "1 KiB",
        "--seconds",
        "1",
    ];
    let report = report(&bench(&sent), 0);
    assert_eq!(report["rows_committed"], report["rows_stored"], "{report}");
    let commits = report["operations"]["commit"]["count"].as_u64();
    assert!(commits.is_some_and(|commits| commits > 0), "{report}");
}
