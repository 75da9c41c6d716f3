//! Malformed requests: 422 with FastAPI's list of places, and nothing happens.

use serde_json::{Value, json};

use crate::support::client::{AS_CSV, Target};
use crate::support::server::TestServer;

const CSV: &[u8] = b"id\n1\n";

#[test]
fn part_number_missing_or_no_number() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let missing = api.send("PUT", &format!("/v1/upload/{session}"), AS_CSV, Some(CSV));
    let entries = missing.expect_validation_error(&[&["query", "part"]]);
    let expected = json!([{"loc": ["query", "part"], "msg": "Field required", "type": "missing", "input": null}]);
    assert_eq!(json!(entries), expected, "as the contract writes it");
    for wrong in ["abc", "", "1.5", "0x1", "99999999999999999999"] {
        let answer = api.send(
            "PUT",
            &format!("/v1/upload/{session}?part={wrong}"),
            AS_CSV,
            Some(CSV),
        );
        let entries = answer.expect_validation_error(&[&["query", "part"]]);
        assert_eq!(entries[0]["input"], wrong, "{entries:?}");
    }
    let in_path = api.send(
        "DELETE",
        &format!("/v1/upload/{session}/part/abc"),
        &[],
        None,
    );
    in_path.expect_validation_error(&[&["path", "part"]]);
    api.inspect(&session).expect(204);
}

#[test]
fn part_number_out_of_range() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    for wrong in ["1000", "-1", "4294967296"] {
        let answer = api
            .send(
                "PUT",
                &format!("/v1/upload/{session}?part={wrong}"),
                AS_CSV,
                Some(CSV),
            )
            .expect(422);
        assert!(answer.json().is_object(), "{}", answer.text());
        assert!(
            answer.text().contains("part"),
            "the answer names the parameter: {}",
            answer.text()
        );
    }
    let over = api
        .send(
            "PUT",
            &format!("/v1/upload/{session}?part=1000"),
            AS_CSV,
            Some(CSV),
        )
        .expect(422);
    assert!(
        over.text().contains("999"),
        "the answer names the limit: {}",
        over.text()
    );
    api.inspect(&session).expect(204);
    for allowed in [0, 999] {
        let answer = api
            .put_part(&session, allowed, CSV, AS_CSV)
            .expect_json(201);
        assert_eq!(answer["part"], allowed);
    }
}

#[test]
fn session_bodies_that_are_not_the_schema() {
    let server = TestServer::start();
    let api = server.api();
    let cases: [(Value, &[&[&str]]); 7] = [
        (
            json!({"target": {"workspace": "acme"}}),
            &[
                &["body", "target", "collection"],
                &["body", "target", "dataset"],
            ],
        ),
        (
            json!({"target": {}}),
            &[
                &["body", "target", "workspace"],
                &["body", "target", "collection"],
                &["body", "target", "dataset"],
            ],
        ),
        (
            json!({"target": {"workspace": 1, "collection": "c", "dataset": "d"}}),
            &[&["body", "target", "workspace"]],
        ),
        (
            json!({"target": {"workspace": null, "collection": "c", "dataset": "d"}}),
            &[&["body", "target", "workspace"]],
        ),
        (
            json!({"target": "acme.sales.orders"}),
            &[&["body", "target"]],
        ),
        (json!([]), &[&["body"]]),
        (json!("text"), &[&["body"]]),
    ];
    for (body, places) in cases {
        println!("{body}");
        api.send_json("POST", "/v1/upload/session", &body)
            .expect_validation_error(places);
    }
    let no_json = api.send(
        "POST",
        "/v1/upload/session",
        &[("content-type", "application/json")],
        Some(b"{\"target\""),
    );
    assert_body_is_no_json(no_json.expect_json(422));
}

#[test]
fn commit_bodies_that_are_not_the_schema() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 0, "id\n1\n");
    let target = Target::new("acme.sales.orders").json();
    let cases: [(Value, &[&[&str]]); 7] = [
        (
            json!({"target": {"workspace": "acme", "collection": "sales"}}),
            &[&["body", "target", "dataset"]],
        ),
        (
            json!({"target": {"workspace": "a", "collection": "b", "dataset": 3}}),
            &[&["body", "target", "dataset"]],
        ),
        (
            json!({"target": target, "conflict_resolution": "merge"}),
            &[&["body", "conflict_resolution"]],
        ),
        (
            json!({"target": target, "conflict_resolution": 1}),
            &[&["body", "conflict_resolution"]],
        ),
        (
            json!({"target": target, "snapshot_message": 5}),
            &[&["body", "snapshot_message"]],
        ),
        (
            json!({"target": target, "snapshot_message": {}, "conflict_resolution": "merge"}),
            &[
                &["body", "snapshot_message"],
                &["body", "conflict_resolution"],
            ],
        ),
        (json!([1]), &[&["body"]]),
    ];
    for (body, places) in cases {
        println!("{body}");
        api.commit_body(&session, &body)
            .expect_validation_error(places);
    }
    // Nobody has said which table: the session is not bound.
    for body in [json!({}), json!({"target": null})] {
        let refusal = api.commit_body(&session, &body).expect_json(422);
        assert!(
            refusal.to_string().contains("target"),
            "the answer names the target: {refusal}"
        );
    }
    let path = format!("/v1/upload/{session}/commit");
    let no_json = api.send(
        "POST",
        &path,
        &[("content-type", "application/json")],
        Some(b"not json"),
    );
    assert_body_is_no_json(no_json.expect_json(422));
    let no_body = api.send("POST", &path, &[], Some(b""));
    assert_body_is_no_json(no_body.expect_json(422));
    // None of this used the session up.
    api.commit(&session, &Target::new("acme.sales.orders"), "fail")
        .expect(200);
}

#[track_caller]
fn assert_body_is_no_json(refusal: Value) {
    assert_eq!(refusal["code"], "validation_error", "{refusal}");
    assert_eq!(refusal["detail"][0]["loc"][0], "body", "{refusal}");
}

#[test]
fn names_outside_the_rule_are_refused_and_make_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 0, "id\n1\n");
    let long_name = "a".repeat(129);
    let wrong_names = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc",
        "a.b",
        "1abc",
        "_a",
        "a-b",
        "a b",
        " a",
        "a\n",
        "ä",
        "a\u{0}",
        "a%2Fb",
        "$a",
        long_name.as_str(),
    ];
    for wrong in wrong_names {
        for key in ["workspace", "collection", "dataset"] {
            let mut target =
                json!({"workspace": "acme", "collection": "sales", "dataset": "orders"});
            target[key] = json!(wrong);
            for answer in [
                api.send_json("POST", "/v1/upload/session", &json!({"target": target})),
                api.commit_body(
                    &session,
                    &json!({"target": target, "conflict_resolution": "append"}),
                ),
            ] {
                let refusal = answer.expect(422);
                assert!(
                    refusal.json().is_object(),
                    "{key} `{wrong}`: {}",
                    refusal.text()
                );
                assert!(
                    refusal.text().contains("letter"),
                    "the answer names the rule for {key} `{wrong}`: {}",
                    refusal.text()
                );
            }
        }
    }
    let reserved = api.send_json(
        "POST",
        "/v1/upload/session",
        &json!({"target": Target::new("system.sales.orders").json()}),
    );
    assert!(
        [403, 422].contains(&reserved.status),
        "`system` is reserved: {} {}",
        reserved.status,
        reserved.text()
    );
    assert!(reserved.text().contains("reserved"), "{}", reserved.text());
    let reserved = api.commit(&session, &Target::new("System.sales.orders"), "append");
    assert!(
        [403, 422].contains(&reserved.status),
        "`System` is reserved: {} {}",
        reserved.status,
        reserved.text()
    );
    let tables = crate::support::server::files_below(&server.warehouse());
    assert!(tables.is_empty(), "a refused name made files: {tables:?}");

    // The longest name and other cases are fine.
    let target = Target::new(&format!("Acme.{}.Orders_2", "B".repeat(128)));
    let committed = api.commit(&session, &target, "fail").expect_json(200);
    assert_eq!(
        committed["table"],
        format!("acme.{}.orders_2", "b".repeat(128)),
        "{committed}"
    );
}
