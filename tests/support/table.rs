//! Reads tables with PyIceberg and DuckDB, and says what must hold of every table.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::Target;
use super::data::Expectation;
use super::python::run_json;
use super::server::{TestServer, write_file};

/// Compares every value of every row of the current snapshot, read by both engines, and gives the table's description.
#[track_caller]
pub fn assert_table_holds(
    server: &TestServer,
    target: &Target,
    expectation: &Expectation,
) -> Value {
    read(server, target, expectation, None)
}

/// The same for many tables, given by their folders, which is quicker than one after the other; gives their descriptions
/// in order.
#[track_caller]
pub fn assert_tables_hold(tables: &[(PathBuf, Expectation)]) -> Vec<Value> {
    let listed: Vec<Value> = tables
        .iter()
        .map(|(table_dir, expectation)| {
            let expected = expectation.write("expectation.json");
            json!({"table": table_dir, "expect": expected})
        })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let list = write_file(
        folder.path().join("tables.json"),
        json!(listed).to_string().as_bytes(),
    );
    let answer = run_json(
        "read_table.py",
        &["--tables".to_owned(), list.display().to_string()],
    );
    answer.as_array().expect("a list of tables").clone()
}

/// The same for an older snapshot.
#[track_caller]
pub fn assert_snapshot_holds(
    server: &TestServer,
    target: &Target,
    snapshot: i64,
    expectation: &Expectation,
) -> Value {
    read(server, target, expectation, Some(snapshot))
}

/// The table's description without an expectation; both engines must find the same rows.
#[track_caller]
pub fn describe(server: &TestServer, target: &Target) -> Value {
    run_json(
        "read_table.py",
        &[server.table_dir(target).display().to_string()],
    )
}

#[track_caller]
fn read(
    server: &TestServer,
    target: &Target,
    expectation: &Expectation,
    snapshot: Option<i64>,
) -> Value {
    let table_dir = server.table_dir(target);
    let expected = expectation.write("expectation.json");
    let mut arguments = vec![
        table_dir.display().to_string(),
        "--expect".to_owned(),
        expected.display().to_string(),
    ];
    if let Some(snapshot) = snapshot {
        arguments.extend(["--snapshot".to_owned(), snapshot.to_string()]);
    }
    run_json("read_table.py", &arguments)
}

/// Field ids, counts, bounds and locations of all current data files are as they must be; gives the number of files.
#[track_caller]
pub fn assert_files_are_sound(server: &TestServer, target: &Target) -> u64 {
    let answer = run_json(
        "check_files.py",
        &[server.table_dir(target).display().to_string()],
    );
    answer["files"].as_u64().expect("a number of files")
}

/// The table's snapshots, oldest first, of which none has expired.
#[track_caller]
pub fn snapshot_chain(table: &Value) -> Vec<Value> {
    let snapshots = kept_chain(table);
    let parent = snapshots.first().map(|snapshot| &snapshot["parent"]);
    assert!(parent.is_none_or(Value::is_null), "the first ones expired");
    snapshots
}

/// The table's snapshots, oldest first: each one's parent is the one before it, and the last one is current.
#[track_caller]
pub fn kept_chain(table: &Value) -> Vec<Value> {
    let mut snapshots = table["snapshots"]
        .as_array()
        .expect("a list of snapshots")
        .clone();
    snapshots.sort_by_key(|snapshot| snapshot["sequence_number"].as_i64());
    let first = snapshots.first();
    let mut parent = first.map_or(Value::Null, |first| first["parent"].clone());
    for snapshot in &snapshots {
        assert_eq!(
            snapshot["parent"], parent,
            "snapshots are no chain: {snapshots:#?}"
        );
        parent = snapshot["id"].clone();
    }
    assert_eq!(
        table["current_snapshot_id"], parent,
        "the last snapshot is not the current one"
    );
    let history: Vec<Value> = snapshots
        .iter()
        .map(|snapshot| snapshot["id"].clone())
        .collect();
    assert_eq!(
        table["history"],
        Value::Array(history),
        "the snapshot log tells another story"
    );
    snapshots
}

/// (name, Iceberg type) of the table's columns.
pub fn column_types(table: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    table["schema"]
        .as_array()
        .expect("a list of columns")
        .iter()
        .map(|column| (text(&column["name"]), text(&column["type"])))
        .collect()
}
