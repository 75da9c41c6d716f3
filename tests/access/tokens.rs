//! `calve token`, as people and scripts use it.

use serde_json::Value;

use crate::support::client::{Api, Target};
use crate::support::server::{TestServer, make_token, token_command};

/// Settings of a server that takes access tokens.
pub(crate) const TOKENS: (&str, &str) = ("CALVE_AUTH__MODE", "tokens");

/// The standard output of `calve token …`, which must succeed.
#[track_caller]
pub(crate) fn token_output(server: &TestServer, arguments: &[&str]) -> String {
    let output = token_command(server, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A client that has a new token.
#[track_caller]
pub(crate) fn client(server: &TestServer, user: &str, grants: &[&str]) -> Api {
    let options: Vec<&str> = grants.iter().flat_map(|grant| ["--grant", grant]).collect();
    server.api().with_token(&make_token(server, user, &options))
}

#[track_caller]
fn listed(server: &TestServer) -> Vec<Value> {
    let text = token_output(server, &["list", "--json"]);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

#[test]
fn tokens_are_made_listed_and_revoked_while_the_server_runs() {
    let server = TestServer::start_with(&[TOKENS]);
    let text = make_token(
        &server,
        "alice",
        &["--grant", "acme.*:owner", "--expires", "never"],
    );
    let parts: Vec<&str> = text.split('_').collect();
    let [word, id, secret] = parts[..] else {
        panic!("not a token: {text}")
    };
    assert_eq!((word, id.len(), secret.len()), ("calve", 16, 64));
    let api = server.api().with_token(&text);
    let session = api.open_session();
    let list = listed(&server);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["id"], id);
    assert_eq!(list[0]["user"], "alice");
    assert_eq!(list[0]["grants"], serde_json::json!(["acme.*:owner"]));
    assert_eq!(list[0]["expires_at"], Value::Null);
    let shown = token_output(&server, &["list"]) + &format!("{list:?}");
    assert!(
        !shown.contains(secret),
        "the secret is shown again: {shown}"
    );
    token_output(&server, &["revoke", id]);
    assert_eq!(listed(&server), Vec::<Value>::new());
    api.inspect(&session).expect_refusal(401, "unauthenticated");
    let again = token_command(&server, &["revoke", id]);
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("there is no token"), "{said}");
}

#[test]
fn tokens_made_before_the_first_start_and_across_restarts_are_good() {
    let mut server = TestServer::not_started(&[TOKENS]);
    let first = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    server.restart();
    let target = Target::new("acme.a.b");
    let session = server.api().with_token(&first).open_session();
    let second = make_token(&server, "bob", &["--admin"]);
    server.kill();
    server.restart();
    let api = server.api().with_token(&first);
    api.put_csv(&session, 0, "id\n1\n");
    api.commit(&session, &target, "fail").expect(200);
    server.api().with_token(&second).get("/metrics").expect(200);
    server.terminate();
    let users: Vec<Value> = listed(&server)
        .iter()
        .map(|one| one["user"].clone())
        .collect();
    assert_eq!(users.len(), 2);
    assert!(users.contains(&"alice".into()) && users.contains(&"bob".into()));
    let id = first.split('_').nth(1).unwrap();
    token_output(&server, &["revoke", id]);
    server.restart();
    let api = server.api().with_token(&first);
    api.inspect(&session).expect_refusal(401, "unauthenticated");
    server.assert_sound();
}

#[test]
fn what_cannot_be_a_token_is_refused_with_a_reason() {
    let server = TestServer::not_started(&[]);
    for (arguments, expected) in [
        (vec!["create", "--user", "a"], "a token needs a --grant"),
        (
            vec!["create", "--user", "a b", "--grant", "acme.*:writer"],
            "is not a user name",
        ),
        (
            vec!["create", "--user", "a", "--grant", "*:writer"],
            "is not a grant",
        ),
        (
            vec!["create", "--user", "a", "--grant", "acme.*:king"],
            "a role is reader, writer or owner",
        ),
        (
            vec!["create", "--user", "a", "--admin", "--expires", "soon"],
            "--expires",
        ),
        (vec!["revoke", "0123456789abcdef"], "there is no token"),
    ] {
        let output = token_command(&server, &arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn only_its_owner_can_read_the_folder_that_has_the_keys() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start_with(&[TOKENS]);
    let mode = |name: &str| {
        let metadata = std::fs::metadata(server.data_dir().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("journal"), 0o700);
    assert_eq!(mode("control.sock"), 0o600);
}
