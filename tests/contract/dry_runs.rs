//! Dry runs: what a commit would do is answered, nothing is done, and the commit that follows does just that.

use serde_json::{Value, json};

use crate::support::client::{AS_NDJSON, Api, Target, commit_request};
use crate::support::data::Expectation;
use crate::support::server::{TestServer, files_below};
use crate::support::table::assert_table_holds;

fn asked(target: &Target, mode: &str, evolution: &str) -> Value {
    let mut body = commit_request(target, mode);
    body["schema_evolution"] = json!(evolution);
    body
}

/// The dry run's answer, after which session, table and folder are as they were.
fn dry_run(server: &TestServer, session: &str, body: &Value) -> Value {
    let api = server.api();
    let before = (api.inspect(session).json(), files_below(&server.data_dir()));
    let mut body = body.clone();
    body["dry_run"] = json!(true);
    let answer = api.commit_body(session, &body);
    let after = (api.inspect(session).json(), files_below(&server.data_dir()));
    assert_eq!(before, after, "a dry run leaves everything as it was");
    match answer.status {
        200 => answer.json(),
        status => json!({"status": status, "refusal": without_request_id(answer.json())}),
    }
}

fn without_request_id(mut refusal: Value) -> Value {
    refusal
        .as_object_mut()
        .expect("an object")
        .remove("request_id");
    refusal
}

/// Rows, files and the table of a dry run, as the commit that follows must have them.
fn assert_commit_does(api: &Api, session: &str, body: &Value, planned: &Value) {
    let answer = api.commit_body(session, body);
    if planned["status"].is_number() {
        assert_eq!(answer.status, planned["status"], "{}", answer.text());
        assert_eq!(without_request_id(answer.json()), planned["refusal"]);
        return;
    }
    let answer = answer.expect_json(200);
    for key in ["table", "rows_written", "files_created"] {
        assert_eq!(answer[key], planned[key], "{planned}");
    }
}

fn columns(planned: &Value) -> Vec<(&str, &str, &str)> {
    planned["schema"]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| {
            let text = |key: &str| column[key].as_str().expect("a text");
            (text("name"), text("type"), text("action"))
        })
        .collect()
}

#[test]
fn the_commit_does_what_the_dry_run_says() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.planned");

    let first = api.open_session();
    api.put_csv(&first, 0, "id,price,note\n1,2,\n");
    let body = asked(&target, "append", "strict");
    let planned = dry_run(&server, &first, &body);
    assert_eq!(planned["action"], "create");
    assert_eq!(
        columns(&planned),
        [
            ("id", "INT64", "add"),
            ("price", "INT64", "add"),
            ("note", "NULL", "add")
        ]
    );
    assert_commit_does(&api, &first, &body, &planned);
    // What is done is not tried.
    let mut again = body.clone();
    again["dry_run"] = json!(true);
    api.commit_body(&first, &again)
        .expect_refusal(409, "already_committed");

    let second = api.open_session();
    api.put_csv(&second, 0, "id,note\n2,hello\n");
    let ndjson = br#"{"id": 3, "tags": ["x"]}"#;
    api.put_part(&second, 1, ndjson, AS_NDJSON).expect(201);
    let strict = dry_run(&server, &second, &body);
    assert_eq!(strict["refusal"]["code"], "schema_mismatch");
    assert_commit_does(&api, &second, &body, &strict);
    let growing = asked(&target, "append", "add_columns");
    let planned = dry_run(&server, &second, &growing);
    assert_eq!(planned["action"], "append");
    assert_eq!(
        columns(&planned),
        [
            ("id", "INT64", "keep"),
            ("price", "INT64", "keep"),
            ("note", "VARCHAR", "settle"),
            ("tags", "ARRAY<VARCHAR>", "add"),
        ]
    );
    assert_commit_does(&api, &second, &growing, &planned);
    let expectation = Expectation::new(&[
        ("id", "long"),
        ("price", "long"),
        ("note", "string"),
        ("tags", "list<string>"),
    ])
    .rows(&json!([
        [1, 2, null, null],
        [2, null, "hello", null],
        [3, null, null, ["x"]]
    ]));
    assert_table_holds(&server, &target, &expectation);

    let third = api.open_session();
    api.put_csv(&third, 0, "id,price\n4,1.5\n");
    let over = asked(&target, "overwrite", "strict");
    let planned = dry_run(&server, &third, &over);
    assert_eq!(planned["action"], "overwrite");
    assert_eq!(
        columns(&planned),
        [("id", "INT64", "keep"), ("price", "FLOAT64", "settle")]
    );
    assert_eq!(planned["dropped_columns"], json!(["note", "tags"]));
    assert_commit_does(&api, &third, &over, &planned);
}

#[test]
fn refusals_are_those_of_the_commit() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.refused");
    let empty = api.open_session();
    let body = asked(&target, "fail", "strict");
    let mut tried = body.clone();
    tried["dry_run"] = json!(true);
    api.commit_body(&empty, &tried)
        .expect_refusal(422, "no_parts");

    let first = api.open_session();
    api.put_csv(&first, 0, "day,price\n2024-01-31,1.5\n");
    api.commit_body(&first, &body).expect(200);

    let second = api.open_session();
    api.put_csv(&second, 0, "day,price\nsoon,x\n2024-02-01,2\n");
    for mode in ["fail", "append"] {
        let body = asked(&target, mode, "strict");
        let planned = dry_run(&server, &second, &body);
        assert_eq!(planned["status"], 409, "{planned}");
        assert_commit_does(&api, &second, &body, &planned);
    }
    let mut wrong = body.clone();
    wrong["dry_run"] = json!("maybe");
    api.commit_body(&second, &wrong)
        .expect_validation_error(&[&["body", "dry_run"]]);
}
