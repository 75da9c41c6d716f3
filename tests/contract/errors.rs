//! Refusals that do not depend on a session: unknown paths, wrong methods, request ids; and that no refusal is a redirect or empty.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::client::{AS_CSV, Answer};
use crate::support::server::TestServer;

#[test]
fn unknown_paths_are_404_with_a_body() {
    let server = TestServer::start();
    let api = server.api();
    for path in [
        "/nowhere",
        "/v1",
        "/v1/upload",
        "/v1/upload/x/y/z",
        "/v2/contracts",
        "/health/",
        "//health",
        "/V1/upload/session",
    ] {
        let refusal = api.get(path).expect_refusal(404, "route_not_found");
        assert!(refusal["detail"].is_string(), "{path}: {refusal}");
    }
}

#[test]
fn wrong_methods_are_405_and_say_what_is_allowed() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let cases = [
        ("POST", "/health".to_owned(), "GET"),
        ("DELETE", "/v1/upload/session".to_owned(), "POST"),
        ("PATCH", "/v1/upload/session".to_owned(), "POST"),
        ("PATCH", format!("/v1/upload/{session}"), "PUT"),
        ("POST", format!("/v1/upload/{session}"), "PUT"),
        ("POST", format!("/v1/upload/{session}/inspect"), "GET"),
        ("GET", format!("/v1/upload/{session}/commit"), "POST"),
        ("PUT", format!("/v1/upload/{session}/part/0"), "DELETE"),
    ];
    for (method, path, allowed) in cases {
        let body = (method != "GET" && method != "DELETE").then_some(&b""[..]);
        let answer = api.send(method, &path, &[], body);
        let listed = answer
            .header("allow")
            .unwrap_or_else(|| panic!("{method} {path}: no Allow: {}", answer.text()))
            .to_owned();
        assert!(
            listed.split(',').any(|one| one.trim() == allowed),
            "{method} {path}: `{listed}` lacks {allowed}"
        );
        answer.expect_refusal(405, "method_not_allowed");
    }
}

#[test]
fn request_id_is_taken_from_the_request_or_made() {
    let server = TestServer::start();
    let api = server.api();
    let given = [("x-request-id", "client-made.id_42")];
    let accepted = api.send("GET", "/health", &given, None).expect(200);
    assert_eq!(accepted.header("x-request-id"), Some("client-made.id_42"));
    let refused = api
        .send("GET", "/nowhere", &given, None)
        .expect_refusal_of(404);
    assert_eq!(refused["request_id"], "client-made.id_42");

    let made: BTreeSet<String> = (0..5).map(|_| request_id(&api.get("/health"))).collect();
    assert_eq!(made.len(), 5, "each request has its own: {made:?}");
    // Every operation's answer carries one, good or bad.
    let session = api.open_session();
    let answers = [
        api.send("POST", "/v1/upload/session", &[], Some(b"")),
        api.put_part(&session, 0, b"id\n1\n", AS_CSV),
        api.inspect(&session),
        api.delete_part(&session, 0),
        api.send(
            "PUT",
            &format!("/v1/upload/{session}"),
            AS_CSV,
            Some(b"id\n1\n"),
        ),
        api.send(
            "POST",
            &format!("/v1/upload/{session}/commit"),
            &[],
            Some(b"{"),
        ),
        api.get("/openapi.json"),
        api.get("/metrics"),
    ];
    let ids: BTreeSet<String> = answers.iter().map(request_id).collect();
    assert_eq!(ids.len(), answers.len(), "{ids:?}");
}

#[track_caller]
fn request_id(answer: &Answer) -> String {
    let id = answer
        .header("x-request-id")
        .unwrap_or_else(|| panic!("{} has no x-request-id", answer.request));
    assert!(
        !id.is_empty(),
        "{} has an empty x-request-id",
        answer.request
    );
    id.to_owned()
}

#[test]
fn request_ids_that_could_forge_a_log_line_are_not_taken_as_they_are() {
    let server = TestServer::start();
    let api = server.api();
    let long_id = "x".repeat(5000);
    let answer = api.send(
        "GET",
        "/nowhere",
        &[("x-request-id", long_id.as_str())],
        None,
    );
    let refusal = answer.expect_refusal_of(404);
    let taken = refusal["request_id"].as_str().expect("an id");
    assert!(
        taken.len() < long_id.len(),
        "an id of 5000 characters is not carried through logs and answers"
    );
}

#[test]
fn refusals_are_json_objects_and_validation_errors_carry_a_request_id_header() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let answers = [
        api.get("/nowhere"),
        api.inspect("nobody"),
        api.send("PUT", &format!("/v1/upload/{session}"), AS_CSV, Some(b"")),
        api.put_part(&session, 0, b"a,b\n1,2,3\n", AS_CSV),
        api.delete_part(&session, 5),
        api.send(
            "POST",
            &format!("/v1/upload/{session}/commit"),
            &[],
            Some(b"[]"),
        ),
    ];
    for answer in &answers {
        assert!(
            (400..500).contains(&answer.status),
            "{} answered {}",
            answer.request,
            answer.status
        );
        let content_type = answer.header("content-type").unwrap_or_default();
        assert!(
            content_type.starts_with("application/json"),
            "{}: {content_type}",
            answer.request
        );
        assert!(
            matches!(answer.json(), Value::Object(_)),
            "{}: {}",
            answer.request,
            answer.text()
        );
        request_id(answer);
    }
}
