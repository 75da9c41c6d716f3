//! The released clients with their own authenticators, against a server with authentication; only the two URLs are ours.

use std::path::Path;

use serde_json::json;

use super::tokens::TOKENS;
use crate::support::client::Target;
use crate::support::data::{Expectation, numbered_csv};
use crate::support::python::{CLIENT_VERSIONS, upload, upload_refused};
use crate::support::server::{TestServer, make_token, write_file};
use crate::support::table::assert_table_holds;

/// What `upload.py` is told, to append a file to `acme.sales.orders` as alice.
pub(crate) fn arguments(server: &TestServer, secret: &str, file: &Path) -> Vec<String> {
    [
        "--base-url",
        server.base_url(),
        "--auth-url",
        server.base_url(),
        "--client-id",
        "alice",
        "--client-secret",
        secret,
        "--target",
        "acme.sales.orders",
        "--conflict",
        "append",
        "--one-call",
        &file.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn the_clients_own_authenticator_works_with_two_urls_changed() {
    let server = TestServer::start_with(&[TOKENS]);
    let token = make_token(&server, "alice", &["--grant", "acme.sales.*:writer"]);
    let mut expectation = Expectation::numbered();
    for (number, version) in (0..).zip(CLIENT_VERSIONS) {
        let csv = numbered_csv(number, 50);
        let file = write_file(server.scratch(&format!("{number}.csv")), csv.as_bytes());
        let answer = upload(version, &arguments(&server, &token, &file));
        assert_eq!(
            answer["commit"]["rows_written"], 50,
            "client {version}: {answer}"
        );
        expectation = expectation.csv(&csv);
    }
    assert_table_holds(&server, &Target::new("acme.sales.orders"), &expectation);
}

#[test]
fn the_client_reports_a_bad_secret_and_a_missing_grant_as_its_own_errors() {
    let server = TestServer::start_with(&[TOKENS]);
    let reader = make_token(&server, "alice", &["--grant", "acme.sales.*:reader"]);
    let file = write_file(server.scratch("a.csv"), b"id\n1\n");
    let refused = upload_refused("0.3.0", &arguments(&server, &reader, &file));
    assert_eq!(refused["error"]["type"], "AuthorizationError", "{refused}");
    assert_eq!(refused["error"]["status_code"], 403);
    let refused = upload_refused("0.3.0", &arguments(&server, "opt_nonsense_01", &file));
    let expected = json!({
        "type": "AuthenticationError", "status_code": 401, "detail": "authentication failed",
    });
    assert_eq!(refused["error"], expected);
}
