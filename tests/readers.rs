//! Proves that the comparison on which the other tests stand goes red: one changed value, a null for an empty text, a row too
//! many or too few, a wrong type, a wrong column, each alone, is noticed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::too_many_lines,
    reason = "lists of cases stand where they are checked"
)]

mod support;

use serde_json::{Value, json};

use support::client::{AS_NDJSON, Target};
use support::data::Expectation;
use support::python::run_refused;
use support::server::{TestServer, write_file};
use support::table::assert_table_holds;

const COLUMNS: &[(&str, &str)] = &[("id", "long"), ("word", "string"), ("price", "double")];

#[test]
fn every_difference_is_noticed() {
    let server = TestServer::start();
    let target = Target::new("acme.sales.orders");
    let api = server.api();
    let session = api.open_session();
    let ndjson = concat!(
        "{\"id\": 1, \"word\": \"one\", \"price\": 0.5}\n",
        "{\"id\": 2, \"word\": \"\", \"price\": 1.25}\n",
        "{\"id\": 2, \"word\": \"\", \"price\": 1.25}\n",
        "{\"id\": 3, \"word\": null, \"price\": null}\n",
    );
    api.put_part(&session, 0, ndjson.as_bytes(), AS_NDJSON)
        .expect(201);
    api.commit(&session, &target, "fail").expect(200);
    let rows = json!([
        [3, null, null],
        [2, "", 1.25],
        [1, "one", 0.5],
        [2, "", 1.25]
    ]);
    assert_table_holds(&server, &target, &Expectation::new(COLUMNS).rows(&rows));

    let changed = |row: usize, column: usize, value: Value| {
        let mut rows = rows.clone();
        rows[row][column] = value;
        Expectation::new(COLUMNS).rows(&rows)
    };
    let with_rows = |rows: Value| Expectation::new(COLUMNS).rows(&rows);
    let as_long = [("id", "long"), ("word", "string"), ("price", "long")];
    let as_int = [("id", "int"), ("word", "string"), ("price", "double")];
    let renamed = [("id", "long"), ("words", "string"), ("price", "double")];
    let differing = [
        (
            "a changed number",
            changed(2, 0, json!(7)),
            "differs first in column id",
        ),
        (
            "a number that differs in its last bit",
            changed(2, 2, json!(0.500_000_000_000_000_1)),
            "column price",
        ),
        (
            "an empty text for a null",
            changed(0, 1, json!("")),
            "column word",
        ),
        (
            "a null for an empty text",
            changed(1, 1, Value::Null),
            "column word",
        ),
        ("zero for a null", changed(0, 2, json!(0.0)), "column price"),
        (
            "a text that ends in a blank",
            changed(2, 1, json!("one ")),
            "column word",
        ),
        (
            "a row less",
            with_rows(json!([[3, null, null], [2, "", 1.25], [1, "one", 0.5]])),
            "4 rows read, 3 expected",
        ),
        ("no row", with_rows(json!([])), "4 rows read, 0 expected"),
        (
            "a row more",
            with_rows(json!([
                [3, null, null],
                [2, "", 1.25],
                [2, "", 1.25],
                [2, "", 1.25],
                [1, "one", 0.5]
            ])),
            "4 rows read, 5 expected",
        ),
        (
            "another type",
            Expectation::new(&as_long).rows(&json!([])),
            "column price is double, expected int64",
        ),
        (
            "a narrower type",
            Expectation::new(&as_int).rows(&json!([])),
            "column id is int64, expected int32",
        ),
        (
            "another name",
            Expectation::new(&renamed).rows(&json!([])),
            "columns are",
        ),
    ];
    for (what, expectation, said) in differing {
        let path = expectation.write("wrong.json").display().to_string();
        let table_dir = server.table_dir(&target).display().to_string();
        let refusal = run_refused("read_table.py", &[table_dir, "--expect".to_owned(), path]);
        assert!(
            refusal.contains(said),
            "{what}: expected `{said}` in: {refusal}"
        );
    }

    // Of many tables every one that differs is told, and one that does not differ hides nothing.
    let expected = [rows.clone(), json!([[1, "one", 0.5]]), json!([])].map(with_rows);
    let paths = expected.each_ref().map(|one| one.write("many.json"));
    let tables = paths.map(|path| json!({"table": server.table_dir(&target), "expect": path}));
    let list = write_file(
        server.scratch("tables.json"),
        json!(tables).to_string().as_bytes(),
    );
    let refusal = run_refused(
        "read_table.py",
        &["--tables".to_owned(), list.display().to_string()],
    );
    for said in ["4 rows read, 1 expected", "4 rows read, 0 expected"] {
        assert!(refusal.contains(said), "expected `{said}` in: {refusal}");
    }
}
