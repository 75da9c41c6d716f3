//! The audit log: a line for every change and refusal, and no secrets in it.

use serde_json::{Value, json};

use super::tokens::{TOKENS, token_output};
use crate::support::client::{AS_CSV, Target};
use crate::support::server::{TestServer, make_token};

#[test]
fn every_change_and_refusal_is_written_down() {
    let proxies = ("CALVE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]");
    let mut server = TestServer::start_with(&[TOKENS, proxies]);
    let token = make_token(&server, "alice", &["--grant", "acme.a.*:writer"]);
    let token_id = token.split('_').nth(1).unwrap();
    let api = server.api().with_token(&token);
    let target = Target::new("acme.a.b");
    let bound = api.open_bound_session(&target);
    let session = bound["session_id"].as_str().unwrap();
    let secret_value = "id\nconfidential\n";
    let from = [
        ("x-file-name", "secret-name.csv"),
        ("x-forwarded-for", "198.51.100.7"),
        ("x-request-id", "mine"),
    ];
    api.put_part(session, 3, secret_value.as_bytes(), &from)
        .expect(201);
    api.put_part(session, 4, b"\"never closed\n", AS_CSV)
        .expect_refusal(422, "format_unreadable");
    api.delete_part(session, 3).expect(200);
    api.put_csv(session, 3, secret_value);
    api.inspect(session).expect(200);
    api.commit(session, &target, "overwrite")
        .expect_refusal(403, "not_permitted");
    let receipt = api.commit(session, &target, "append").expect_json(200);
    api.get("/nowhere").expect(404);
    server
        .api()
        .inspect(session)
        .expect_refusal(401, "unauthenticated");
    let form = format!("grant_type=client_credentials&client_id=alice&client_secret={token}");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let issued = api
        .send("POST", "/token", &kind, Some(form.as_bytes()))
        .expect_json(200);
    let jwt = issued["access_token"].as_str().unwrap();
    token_output(&server, &["revoke", token_id]);
    server.terminate();
    let log = std::fs::read_to_string(server.data_dir().join("audit/audit.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |line: &Value| {
        let facts = ["user", "from", "action", "outcome", "status", "part"];
        facts.map(|fact| line.get(fact).cloned().unwrap_or_default())
    };
    let local = "127.0.0.1";
    let told: Vec<_> = lines.iter().map(told).collect();
    let expected = [
        json!([null, "local", "create_token", "done", null, null]),
        json!(["alice", local, "start_session", "done", 201, null]),
        json!(["alice", "198.51.100.7", "upload_part", "done", 201, "3"]),
        json!(["alice", local, "upload_part", "format_unreadable", 422, "4"]),
        json!(["alice", local, "delete_part", "done", 200, "3"]),
        json!(["alice", local, "upload_part", "done", 201, "3"]),
        json!(["alice", local, "commit_session", "not_permitted", 403, null]),
        json!(["alice", local, "commit_session", "done", 200, null]),
        json!([null, local, "inspect_session", "unauthenticated", 401, null]),
        json!(["alice", local, "issue_token", "done", 200, null]),
        json!([null, "local", "revoke_token", "done", null, null]),
    ];
    assert_eq!(json!(told), json!(expected), "{log}");
    assert_eq!(lines[0]["token_id"], token_id);
    assert!(
        lines[1..9].iter().all(|line| line["session_id"] == session),
        "{log}"
    );
    assert_eq!(lines[1]["target"], "acme.a.b");
    assert_eq!(lines[2]["request_id"], "mine");
    assert_eq!(lines[7]["target"], "acme.a.b");
    assert_eq!(lines[7]["commit_id"], receipt["commit_id"]);
    let at = lines[2]["at"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{at}");
    for secret in [
        token.split('_').nth(2).unwrap(),
        "confidential",
        "secret-name",
        "never closed",
        jwt.rsplit('.').next().unwrap(),
    ] {
        assert!(!log.contains(secret), "{secret} is in the audit log");
    }
}

#[test]
fn it_can_be_elsewhere_or_off() {
    let mut server = TestServer::start_with(&[("CALVE_AUDIT__ENABLED", "false")]);
    server.api().open_session();
    server.terminate();
    assert!(!server.data_dir().join("audit").exists());
    let file = server.scratch("elsewhere.log");
    server.set_environment(&[("CALVE_AUDIT__FILE", file.to_str().unwrap())]);
    server.restart();
    server.api().open_session();
    server.terminate();
    let log = std::fs::read_to_string(file).unwrap();
    assert!(log.contains("\"action\":\"start_session\""), "{log}");
}
