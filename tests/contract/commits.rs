//! Commits: the three modes, what fits a table and what does not, repeats, and refusals that leave everything as it was.

use serde_json::{Value, json};

use crate::support::client::{
    AS_CSV, AS_NDJSON, AS_PARQUET, Api, Target, commit_request, session_id_of,
};
use crate::support::data::Expectation;
use crate::support::python::run_json;
use crate::support::server::{TestServer, files_below};
use crate::support::table::{
    assert_files_are_sound, assert_snapshot_holds, assert_table_holds, column_types, describe,
    snapshot_chain,
};

const COLUMNS: &[(&str, &str)] = &[("id", "long"), ("word", "string")];

fn session_with(api: &Api, csv: &str) -> String {
    let session = api.open_session();
    api.put_csv(&session, 0, csv);
    session
}

/// Loads `csv` as one session and commit, which must work.
fn load(api: &Api, target: &Target, mode: &str, csv: &str) -> Value {
    api.commit(&session_with(api, csv), target, mode)
        .expect_json(200)
}

fn target() -> Target {
    Target::new("acme.sales.orders")
}

#[test]
fn answer_names_table_commit_rows_files_and_snapshot() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 0, "id,word\n1,a\n");
    api.put_csv(&session, 5, "id,word\n2,b\n3,c\n");
    let mut request = commit_request(&target(), "fail");
    request["snapshot_message"] = json!("for the \"record\": é");
    let committed = api.commit_body(&session, &request).expect_json(200);
    assert_eq!(committed["table"], "acme.sales.orders", "{committed}");
    assert_eq!(committed["rows_written"], 3, "{committed}");
    assert!(
        committed["files_created"].as_u64() >= Some(1),
        "{committed}"
    );
    assert!(
        committed["commit_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty()),
        "{committed}"
    );
    let expectation = Expectation::new(COLUMNS).rows(&json!([[1, "a"], [2, "b"], [3, "c"]]));
    let table = assert_table_holds(&server, &target(), &expectation);
    assert_eq!(table["format_version"], 2, "{table}");
    let chain = snapshot_chain(&table);
    assert_eq!(chain[0]["id"], committed["snapshot_id"], "{committed}");
    assert_eq!(
        chain[0]["summary"]["calve.message"],
        request["snapshot_message"]
    );
    assert_eq!(chain[0]["summary"]["calve.session-id"], session.as_str());
    assert_eq!(chain[0]["summary"]["added-records"], "3", "{chain:?}");
    assert_eq!(chain[0]["summary"]["total-records"], "3", "{chain:?}");
    assert_eq!(
        Some(assert_files_are_sound(&server, &target())),
        committed["files_created"].as_u64()
    );
    // Inspect goes on answering and says what became of the session.
    let inspected = api.inspect(&session).expect_json(200);
    assert!(
        inspected["state"]
            .as_str()
            .is_some_and(|state| state.contains("committed")),
        "{inspected}"
    );
    let commit_id = committed["commit_id"].as_str().expect("an id");
    assert!(
        inspected.to_string().contains(commit_id),
        "inspect gives the commit's answer: {inspected}"
    );
}

#[test]
fn fail_is_the_default_and_leaves_an_existing_table_alone() {
    let server = TestServer::start();
    let api = server.api();
    load(&api, &target(), "fail", "id,word\n1,a\n");
    let session = session_with(&api, "id,word\n2,b\n");
    for request in [
        commit_request(&target(), "fail"),
        json!({"target": target().json()}),
    ] {
        let refusal = api
            .commit_body(&session, &request)
            .expect_refusal(409, "dataset_exists");
        assert_eq!(
            refusal["detail"],
            "Dataset already exists - FAIL on conflict selected"
        );
    }
    let table = assert_table_holds(
        &server,
        &target(),
        &Expectation::new(COLUMNS).rows(&json!([[1, "a"]])),
    );
    assert_eq!(snapshot_chain(&table).len(), 1);
    // The session is still open: more parts, another mode.
    api.put_csv(&session, 1, "id,word\n3,c\n");
    api.commit(&session, &target(), "append").expect(200);
    let rows = json!([[1, "a"], [2, "b"], [3, "c"]]);
    assert_table_holds(&server, &target(), &Expectation::new(COLUMNS).rows(&rows));
}

#[test]
fn append_creates_then_matches_by_name_and_fills_what_is_missing() {
    let server = TestServer::start();
    let api = server.api();
    load(&api, &target(), "append", "id,word,price\n1,a,1.5\n");
    load(&api, &target(), "append", "price,word,id\n2.25,b,2\n");
    load(&api, &target(), "append", "word,id\nc,3\n");
    // Integers fit a column of fractions.
    load(&api, &target(), "append", "id,price,word\n4,4,d\n");
    let columns = [("id", "long"), ("word", "string"), ("price", "double")];
    let rows = json!([[1, "a", 1.5], [2, "b", 2.25], [3, "c", null], [4, "d", 4.0]]);
    let table = assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
    assert_eq!(snapshot_chain(&table).len(), 4);
    assert_files_are_sound(&server, &target());
}

#[test]
fn append_that_does_not_fit_is_409_with_the_complete_difference() {
    let server = TestServer::start();
    let api = server.api();
    load(&api, &target(), "fail", "id,word,day\n1,a,2024-01-31\n");
    let session = session_with(&api, "id,word,day,first_new,second_new\nx1,b,soon,1,2\n");
    let refusal = api
        .commit(&session, &target(), "append")
        .expect_refusal(409, "schema_mismatch");
    let text = refusal.to_string();
    for column in ["first_new", "second_new", "id", "day"] {
        assert!(
            text.contains(&format!("\"{column}\"")),
            "{column} is missing in the difference: {refusal}"
        );
    }
    let table =
        assert_table_holds(
            &server,
            &target(),
            &Expectation::new(&[("id", "long"), ("word", "string"), ("day", "date")])
                .rows(&json!([[1, "a", "2024-01-31"]])),
        );
    assert_eq!(
        snapshot_chain(&table).len(),
        1,
        "a refused commit makes no snapshot"
    );
    // The session lives on: the part is replaced by one that fits.
    api.put_csv(&session, 0, "id,word,day\n2,b,2024-02-29\n");
    api.commit(&session, &target(), "append").expect(200);
}

/// Makes a Parquet part of these typed rows and sends it.
fn put_parquet(
    server: &TestServer,
    session: &str,
    part: u32,
    columns: &[(&str, &str)],
    rows: &Value,
) -> Value {
    let path = server.scratch(&format!("{session}-{part}.parquet"));
    let described = Expectation::new(columns).rows(rows);
    let description = described.write("rows.json").display().to_string();
    run_json(
        "make_parquet.py",
        &[path.display().to_string(), "--from".to_owned(), description],
    );
    let parquet = std::fs::read(&path).expect("read the Parquet file");
    server
        .api()
        .put_part(session, part, &parquet, AS_PARQUET)
        .expect_json(201)
}

#[test]
fn append_widens_what_iceberg_can_widen() {
    let server = TestServer::start();
    let api = server.api();
    let narrow = [
        ("a", "int"),
        ("b", "float"),
        ("c", "decimal(9, 2)"),
        ("d", "long"),
    ];
    let wide = [
        ("a", "long"),
        ("b", "double"),
        ("c", "decimal(12, 2)"),
        ("d", "int"),
    ];
    let widened = [
        ("a", "long"),
        ("b", "double"),
        ("c", "decimal(12, 2)"),
        ("d", "long"),
    ];
    let first = api.open_session();
    put_parquet(
        &server,
        &first,
        0,
        &narrow,
        &json!([[1, 0.5, "1.25", 1], [-2_147_483_648_i64, null, null, null]]),
    );
    let first = api.commit(&first, &target(), "fail").expect_json(200);
    let second = api.open_session();
    put_parquet(
        &server,
        &second,
        0,
        &wide,
        &json!([[5_000_000_000_i64, 0.1, "1234567890.25", 2]]),
    );
    api.commit(&second, &target(), "append").expect(200);
    // The narrow types still fit the widened table.
    let third = session_id_of(&api.open_bound_session(&target()));
    put_parquet(&server, &third, 0, &narrow, &json!([[3, 0.25, "-0.01", 3]]));
    api.commit_body(&third, &json!({"conflict_resolution": "append"}))
        .expect(200);
    let rows = json!([
        [1, 0.5, "1.25", 1],
        [-2_147_483_648_i64, null, null, null],
        [5_000_000_000_i64, 0.1, "1234567890.25", 2],
        [3, 0.25, "-0.01", 3],
    ]);
    let table = assert_table_holds(&server, &target(), &Expectation::new(&widened).rows(&rows));
    assert_eq!(
        column_types(&table),
        widened.map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    );
    let first_rows = json!([[1, 0.5, "1.25", 1], [-2_147_483_648_i64, null, null, null]]);
    let snapshot = first["snapshot_id"].as_i64().expect("a snapshot id");
    assert_snapshot_holds(
        &server,
        &target(),
        snapshot,
        &Expectation::new(&narrow).rows(&first_rows),
    );
}

#[test]
fn overwrite_replaces_content_and_schema_and_keeps_history() {
    let server = TestServer::start();
    let api = server.api();
    // Creates when there is nothing to overwrite.
    let first = load(&api, &target(), "overwrite", "id,word\n1,a\n2,b\n");
    let second = load(&api, &target(), "overwrite", "word,flag\n3,true\n");
    let replaced = [("word", "long"), ("flag", "boolean")];
    let table = assert_table_holds(
        &server,
        &target(),
        &Expectation::new(&replaced).rows(&json!([[3, true]])),
    );
    let chain = snapshot_chain(&table);
    assert_eq!(chain.len(), 2, "one snapshot an overwrite");
    assert_eq!(chain[1]["operation"], "overwrite");
    assert_eq!(chain[1]["id"], second["snapshot_id"]);
    let snapshot = first["snapshot_id"].as_i64().expect("a snapshot id");
    let before = Expectation::new(COLUMNS).rows(&json!([[1, "a"], [2, "b"]]));
    assert_snapshot_holds(&server, &target(), snapshot, &before);
    // What follows goes by the new schema.
    load(&api, &target(), "append", "flag,word\nfalse,4\n");
    assert_table_holds(
        &server,
        &target(),
        &Expectation::new(&replaced).rows(&json!([[3, true], [4, false]])),
    );
}

#[test]
fn nothing_staged_is_refused_and_an_empty_part_publishes_now_empty() {
    let server = TestServer::start();
    let api = server.api();
    let first = load(&api, &target(), "fail", "id,word\n1,a\n");
    for mode in ["fail", "append", "overwrite"] {
        let never = api.open_session();
        api.commit(&never, &Target::new("acme.sales.never"), mode)
            .expect_refusal(422, "no_parts");
        let emptied = session_with(&api, "id,word\n2,b\n");
        api.delete_part(&emptied, 0).expect(200);
        let refusal = api.commit(&emptied, &Target::new("acme.sales.never"), mode);
        refusal.expect_refusal(422, "no_parts");
    }
    let without_parts = api.open_session();
    api.commit(&without_parts, &target(), "overwrite")
        .expect_refusal(422, "no_parts");

    let committed = load(&api, &target(), "overwrite", "id,word\n");
    assert_eq!(committed["rows_written"], 0, "{committed}");
    let table = describe(&server, &target());
    assert_eq!(table["rows"], 0, "now empty");
    assert_eq!(snapshot_chain(&table).len(), 2);
    let snapshot = first["snapshot_id"].as_i64().expect("a snapshot id");
    assert_snapshot_holds(
        &server,
        &target(),
        snapshot,
        &Expectation::new(COLUMNS).rows(&json!([[1, "a"]])),
    );
    let never = server.table_dir(&Target::new("acme.sales.never"));
    assert!(
        files_below(&never).is_empty(),
        "a refused commit made files"
    );
}

#[test]
fn repeats_get_the_stored_answer_and_other_requests_are_409() {
    let server = TestServer::start();
    let api = server.api();
    let session = session_with(&api, "id,word\n1,a\n");
    let request = commit_request(&target(), "append");
    let first = api.commit_body(&session, &request).expect_json(200);
    for _ in 0..3 {
        assert_eq!(api.commit_body(&session, &request).expect_json(200), first);
    }
    // The same request said otherwise is the same request.
    let spelled =
        json!({"conflict_resolution": "append", "target": Target::new("ACME.sales.Orders").json()});
    assert_eq!(api.commit_body(&session, &spelled).expect_json(200), first);
    let mut other_message = request.clone();
    other_message["snapshot_message"] = json!("another message");
    for other in [
        commit_request(&Target::new("acme.sales.others"), "append"),
        commit_request(&target(), "overwrite"),
        commit_request(&target(), "fail"),
        other_message,
    ] {
        let refusal = api
            .commit_body(&session, &other)
            .expect_refusal(409, "already_committed");
        assert_eq!(refusal["commit_id"], first["commit_id"], "{refusal}");
    }
    for answer in [
        api.put_part(&session, 0, b"id,word\n2,b\n", AS_CSV),
        api.delete_part(&session, 0),
    ] {
        answer.expect_refusal(409, "already_committed");
    }
    let table = assert_table_holds(
        &server,
        &target(),
        &Expectation::new(COLUMNS).rows(&json!([[1, "a"]])),
    );
    assert_eq!(snapshot_chain(&table).len(), 1);
}

#[test]
fn bound_sessions_commit_to_their_target_only() {
    let server = TestServer::start();
    let api = server.api();
    let session = session_id_of(&api.open_bound_session(&target()));
    api.put_csv(&session, 0, "id,word\n1,a\n");
    let elsewhere = api.commit(&session, &Target::new("acme.sales.others"), "append");
    elsewhere.expect_refusal(409, "target_mismatch");
    let same = api
        .commit(&session, &Target::new("Acme.Sales.Orders"), "append")
        .expect_json(200);
    assert_eq!(same["table"], "acme.sales.orders");
    let files = files_below(&server.table_dir(&Target::new("acme.sales.others")));
    assert!(files.is_empty(), "{files:?}");
    assert_table_holds(
        &server,
        &target(),
        &Expectation::new(COLUMNS).rows(&json!([[1, "a"]])),
    );
}

#[test]
fn an_append_adds_columns_when_asked() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.growing");
    let first = api.open_session();
    api.put_csv(&first, 0, "id,word\n1,a\n");
    api.commit(&first, &target, "append").expect(200);
    let second = api.open_session();
    api.put_csv(&second, 0, "price,id,note\n2.5,2,\n");
    let ndjson = br#"{"id": 3, "word": "c", "tags": ["x", "y"]}"#;
    api.put_part(&second, 1, ndjson, AS_NDJSON).expect(201);
    let refusal = api
        .commit(&second, &target, "append")
        .expect_refusal(409, "schema_mismatch");
    let names: Vec<&Value> = refusal["differences"]
        .as_array()
        .expect("all differences")
        .iter()
        .map(|one| &one["column"])
        .collect();
    assert_eq!(names, ["price", "note", "tags"]);
    let mut body = commit_request(&target, "append");
    body["schema_evolution"] = json!("yes");
    api.commit_body(&second, &body)
        .expect_validation_error(&[&["body", "schema_evolution"]]);
    body["schema_evolution"] = json!("add_columns");
    let answer = api.commit_body(&second, &body).expect_json(200);
    let repeated = api.commit_body(&second, &body).expect_json(200);
    assert_eq!(repeated["commit_id"], answer["commit_id"]);
    api.commit(&second, &target, "append")
        .expect_refusal(409, "already_committed");
    // The column of which nothing was known becomes what comes.
    let third = api.open_session();
    api.put_csv(&third, 0, "id,note\n4,7\n");
    api.commit(&third, &target, "append").expect(200);
    let expectation = Expectation::new(&[
        ("id", "long"),
        ("word", "string"),
        ("price", "double"),
        ("note", "long"),
        ("tags", "list<string>"),
    ])
    .rows(&json!([
        [1, "a", null, null, null],
        [2, null, 2.5, null, null],
        [3, "c", null, null, ["x", "y"]],
        [4, null, null, 7, null],
    ]));
    assert_table_holds(&server, &target, &expectation);
}

#[test]
fn every_part_and_column_with_values_that_do_not_fit_is_named() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.strict");
    load(&api, &target, "fail", "id,day,word\n1,2024-01-31,a\n");
    let session = api.open_session();
    api.put_csv(&session, 0, "id,day,word\n2,2024-02-01,b\nx,2024-02-02,c\n");
    let many: String = (0..20_000).map(|row| format!("{row},soon,w\n")).collect();
    api.put_csv(&session, 1, &format!("id,day,word\n{many}y,2024-01-01,w\n"));
    let refusal = api
        .commit(&session, &target, "append")
        .expect_refusal(409, "schema_mismatch");
    let columns: Vec<&Value> = refusal["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .map(|one| &one["column"])
        .collect();
    assert_eq!(columns, ["id", "day"]);
    let soon: Vec<Value> = (1..=5)
        .map(|row| json!({"row": row, "value": "soon"}))
        .collect();
    assert_eq!(
        refusal["misfits"],
        json!([
            {"part": 0, "column": "id", "declared": "INT64", "count": 1, "examples": [{"row": 2, "value": "x"}]},
            {"part": 1, "column": "id", "declared": "INT64", "count": 1, "examples": [{"row": 20_001, "value": "y"}]},
            {"part": 1, "column": "day", "declared": "DATE", "count": 20_000, "examples": soon},
        ])
    );
}
