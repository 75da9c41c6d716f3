//! Bearer tokens and `POST /token`: what is taken, and that nothing can be learned from a refusal.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::tokens::{TOKENS, client, token_output};
use crate::support::client::{Answer, Api};
use crate::support::server::{TestServer, make_token};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn post_token(api: &Api, form: &str) -> Answer {
    let api = api.clone().without_credentials();
    api.send("POST", "/token", &[FORM], Some(form.as_bytes()))
}

fn credentials_form(client_id: &str, secret: &str) -> String {
    format!("grant_type=client_credentials&client_id={client_id}&client_secret={secret}")
}

fn inspect_unknown(api: &Api, authorization: &str) -> Answer {
    let path = "/v1/upload/20260921141320-00000000000000000000000000000abc/inspect";
    api.send("GET", path, &[("authorization", authorization)], None)
}

#[test]
fn every_bad_credential_gets_the_same_answer() {
    let server = TestServer::start_with(&[TOKENS]);
    let api = server.api();
    let good = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    let expired = make_token(
        &server,
        "alice",
        &["--grant", "acme.*:writer", "--expires", "0s"],
    );
    let issued = post_token(&api, &credentials_form("alice", &good)).expect_json(200);
    let jwt = issued["access_token"].as_str().unwrap();
    let (id, secret) = (
        good.split('_').nth(1).unwrap(),
        good.split('_').nth(2).unwrap(),
    );
    let [head, claims, signature] = jwt.split('.').collect::<Vec<_>>()[..] else {
        panic!("not a JWT: {jwt}")
    };
    let unsigned_head = URL_SAFE_NO_PAD.encode(r#"{"typ":"calve+jwt","alg":"none"}"#);
    let other_secret = secret.chars().rev().collect::<String>();
    let long = "x".repeat(20_000);
    let cases = [
        format!("Bearer calve_{id}_{other_secret}"),
        format!("Bearer calve_{id}_"),
        format!("Bearer calve_{id}"),
        format!("Bearer calve_0000000000000000_{secret}"),
        format!("Bearer {expired}"),
        "Bearer calve_".to_owned(),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        "Bearer nonsense".to_owned(),
        "Bearer a.b.c".to_owned(),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer {head}.{claims}."),
        format!("Bearer {unsigned_head}.{claims}."),
        format!("Bearer {unsigned_head}.{claims}.{signature}"),
        format!(
            "Bearer {head}.{claims}.{}",
            signature.chars().rev().collect::<String>()
        ),
        format!("Bearer {head}.{}.{signature}", URL_SAFE_NO_PAD.encode("{}")),
        format!("Bearer {long}"),
        format!("Bearer {jwt}, Bearer {good}"),
    ];
    let mut bodies = Vec::new();
    for case in &cases {
        let answer = inspect_unknown(&api, case);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{case}");
        let mut body = answer.expect_refusal(401, "unauthenticated");
        body["request_id"] = Value::Null;
        bodies.push(body);
    }
    let expected = json!({
        "detail": "authentication failed", "code": "unauthenticated", "request_id": null,
    });
    assert!(bodies.iter().all(|body| *body == expected), "{bodies:?}");
    let twice = [
        ("authorization", &*format!("Bearer {good}")),
        ("authorization", "Bearer nonsense"),
    ];
    api.send("GET", "/metrics", &twice, None)
        .expect_refusal(401, "unauthenticated");
    inspect_unknown(&api, &format!("Bearer {good}")).expect_refusal(404, "session_not_found");
    inspect_unknown(&api, &format!("bearer  {good}")).expect_refusal(404, "session_not_found");
    inspect_unknown(&api, &format!("Bearer {jwt}")).expect_refusal(404, "session_not_found");
}

#[test]
fn a_missing_credential_is_told_from_a_bad_one() {
    let server = TestServer::start_with(&[TOKENS]);
    let answer = server.api().without_credentials().get("/metrics");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let body = answer.expect_refusal(401, "unauthenticated");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("send an access token"), "{detail}");
}

#[test]
fn tokens_are_exchanged_for_short_lived_ones() {
    let server = TestServer::start_with(&[TOKENS, ("CALVE_AUTH__TOKEN_LIFETIME", "100s")]);
    let api = server.api();
    let token = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    let id = token.split('_').nth(1).unwrap();
    for client_id in ["alice", id] {
        let answer = post_token(&api, &credentials_form(client_id, &token));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let issued = answer.expect_json(200);
        assert_eq!(issued["token_type"], "bearer");
        assert_eq!(issued["expires_in"], 100);
        let jwt = issued["access_token"].as_str().unwrap();
        server.api().with_token(jwt).open_session();
    }
    for form in [
        credentials_form("bob", &token),
        credentials_form("alice", "nonsense"),
        credentials_form("alice", ""),
        credentials_form("alice", &format!("calve_{id}_{}", "0".repeat(64))),
    ] {
        let mut body = post_token(&api, &form).expect_refusal(401, "unauthenticated");
        body["request_id"] = Value::Null;
        let expected = json!({
            "detail": "authentication failed", "code": "unauthenticated", "request_id": null,
        });
        assert_eq!(body, expected, "{form}");
    }
}

#[test]
fn a_form_that_is_none_is_a_validation_error() {
    let server = TestServer::start_with(&[TOKENS]);
    let api = server.api();
    post_token(&api, "").expect_validation_error(&[&["body", "grant_type"]]);
    post_token(&api, "grant_type=password").expect_validation_error(&[&["body", "grant_type"]]);
    let places: [&[&str]; 2] = [&["body", "client_id"], &["body", "client_secret"]];
    post_token(&api, "grant_type=client_credentials").expect_validation_error(&places);
    let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
    let places: [&[&str]; 2] = [&["body", "subject_token"], &["body", "subject_token_type"]];
    post_token(&api, exchange).expect_validation_error(&places);
    let other = format!("{exchange}&subject_token=x&subject_token_type=saml");
    post_token(&api, &other).expect_validation_error(&[&["body", "subject_token_type"]]);
    let json = [("content-type", "application/json")];
    let body = br#"{"grant_type": "client_credentials"}"#;
    let answer = api.send("POST", "/token", &json, Some(body));
    answer.expect_validation_error(&[&["body"]]);
    let long = format!("grant_type={}", "x".repeat(70_000));
    post_token(&api, &long).expect_refusal(413, "request_too_large");
}

#[test]
fn revoking_a_token_ends_what_was_made_from_it() {
    let server = TestServer::start_with(&[TOKENS]);
    let token = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    let issued = post_token(&server.api(), &credentials_form("alice", &token)).expect_json(200);
    let api = server
        .api()
        .with_token(issued["access_token"].as_str().unwrap());
    let session = api.open_session();
    token_output(&server, &["revoke", token.split('_').nth(1).unwrap()]);
    api.put_part(&session, 0, b"id\n1\n", crate::support::client::AS_CSV)
        .expect_refusal(401, "unauthenticated");
}

#[test]
fn keys_are_rotated_without_ending_what_they_signed() {
    let server = TestServer::start_with(&[TOKENS]);
    let token = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    let key_ids = || {
        let api = server.api().without_credentials();
        let set = api.get("/.well-known/jwks.json");
        let keys = set.expect_json(200)["keys"].as_array().unwrap().clone();
        assert!(
            keys.iter()
                .all(|key| key["alg"] == "ES256" && key.get("d").is_none())
        );
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let issue = || {
        let issued = post_token(&server.api(), &credentials_form("alice", &token));
        issued.expect_json(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (first, first_jwt) = (key_ids(), issue());
    assert_eq!(first.len(), 1);
    token_output(&server, &["rotate-key"]);
    let (second, second_jwt) = (key_ids(), issue());
    assert_eq!(second.len(), 2);
    assert_eq!(second[1], first[0]);
    for jwt in [&first_jwt, &second_jwt] {
        server.api().with_token(jwt).open_session();
    }
    token_output(&server, &["rotate-key"]);
    assert_eq!(key_ids()[1], second[0]);
    let gone = inspect_unknown(&server.api(), &format!("Bearer {first_jwt}"));
    gone.expect_refusal(401, "unauthenticated");
    server.api().with_token(&second_jwt).open_session();
}

#[test]
fn without_authentication_there_are_no_tokens() {
    let server = TestServer::start();
    let answer = post_token(&server.api(), &credentials_form("alice", "x"));
    answer.expect_refusal(404, "route_not_found");
    inspect_unknown(&server.api(), "Basic nonsense").expect_refusal(404, "session_not_found");
}

#[test]
fn nothing_of_a_body_is_read_before_its_sender_is_known() {
    let server = TestServer::start_with(&[TOKENS]);
    let session = client(&server, "alice", &["acme.*:writer"]).open_session();
    // The body never comes: the answer does all the same.
    let request = crate::support::raw::RawRequest::start(
        server.base_url(),
        "PUT",
        &format!("/v1/upload/{session}?part=0"),
        &[("content-length", "1000000"), ("x-file-name", "a.csv")],
    );
    let answer = request.read_answer();
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.json()["code"], "unauthenticated");
}
