//! What one user may do at once, and in a second.

use super::tokens::{TOKENS, client};
use crate::support::client::{AS_CSV, Target};
use crate::support::server::TestServer;

const GRANT: &[&str] = &["acme.*:writer"];

#[test]
fn a_user_has_so_many_sessions_open_and_others_have_theirs() {
    let mut server = TestServer::start_with(&[TOKENS, ("CALVE_QUOTAS__SESSIONS_OPEN_MAX", "2")]);
    let (alice, bob) = (
        client(&server, "alice", GRANT),
        client(&server, "bob", GRANT),
    );
    let first = alice.open_session();
    let second = alice.open_session();
    let open =
        |api: &crate::support::client::Api| api.send("POST", "/v1/upload/session", &[], Some(b""));
    let refused = open(&alice);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let body = refused.expect_refusal(429, "limit_reached");
    assert_eq!(body["limit"], "quotas.sessions_open_max");
    bob.open_session();
    alice
        .send("DELETE", &format!("/v1/upload/{first}"), &[], None)
        .expect(200);
    let third = alice.open_session();
    alice.put_csv(&third, 0, "id\n1\n");
    alice
        .commit(&third, &Target::new("acme.a.b"), "fail")
        .expect(200);
    alice.open_session();
    open(&alice).expect_refusal(429, "limit_reached");
    // After a restart the first sweep counts what is there.
    server.kill();
    server.restart();
    let alice = client(&server, "alice", GRANT);
    let is_full = || (open(&alice).status == 429).then_some(());
    crate::support::wait_until("the sweep has counted", crate::support::PATIENCE, is_full);
    alice
        .send("DELETE", &format!("/v1/upload/{second}"), &[], None)
        .expect(200);
}

#[test]
fn a_user_has_so_many_bytes_staged() {
    let server = TestServer::start_with(&[TOKENS, ("CALVE_QUOTAS__STAGED_BYTES_MAX", "1000 B")]);
    let (alice, bob) = (
        client(&server, "alice", GRANT),
        client(&server, "bob", GRANT),
    );
    let csv = format!("word\n{}\n", "x".repeat(594));
    let session = alice.open_session();
    alice.put_csv(&session, 0, &csv);
    let refused = alice.put_part(&session, 1, csv.as_bytes(), AS_CSV);
    let body = refused.expect_refusal(429, "limit_reached");
    assert_eq!(body["limit"], "quotas.staged_bytes_max");
    assert_eq!(body["staged_bytes"], 600);
    let others = bob.open_session();
    bob.put_csv(&others, 0, &csv);
    alice.delete_part(&session, 0).expect(200);
    alice.put_csv(&session, 1, &csv);
    alice
        .commit(&session, &Target::new("acme.a.b"), "fail")
        .expect(200);
    let next = alice.open_session();
    alice.put_csv(&next, 0, &csv);
}

#[test]
fn a_user_who_asks_too_often_is_told_when_to_come_again() {
    let settings = [TOKENS, ("CALVE_QUOTAS__REQUESTS_PER_SECOND_MAX", "3")];
    let server = TestServer::start_with(&settings);
    let (alice, bob) = (
        client(&server, "alice", GRANT),
        client(&server, "bob", GRANT),
    );
    let first = alice.get("/metrics").expect(200);
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"requests\";q=3;w=1")
    );
    assert_eq!(first.header("ratelimit"), Some("\"requests\";r=2;t=1"));
    // Faster than three a second: the third after these at the latest, on however slow a machine.
    let mut refused = None;
    for _ in 0..1000 {
        let answer = alice.get("/metrics");
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("never refused");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit"), Some("\"requests\";r=0;t=1"));
    let body = refused.expect_refusal(429, "rate_limited");
    assert_eq!(body["limit"], "quotas.requests_per_second_max");
    assert!(body.get("ratelimit").is_none(), "{body}");
    bob.get("/metrics").expect(200);
    alice.get("/health").expect(200);
    let is_told = || {
        let log = std::fs::read_to_string(server.data_dir().join("audit/audit.log")).unwrap();
        let told = log.lines().find(|line| line.contains("rate_limited"))?;
        told.contains("\"user\":\"alice\"").then_some(())
    };
    crate::support::wait_until("the audit log says who", crate::support::PATIENCE, is_told);
}

#[test]
fn a_large_part_is_paid_for_by_the_next() {
    let settings = [TOKENS, ("CALVE_QUOTAS__BYTES_PER_SECOND_MAX", "100 B")];
    let server = TestServer::start_with(&settings);
    let alice = client(&server, "alice", GRANT);
    let session = alice.open_session();
    let csv = format!("word\n{}\n", "x".repeat(99_994));
    alice.put_csv(&session, 0, &csv);
    let refused = alice.put_part(&session, 1, csv.as_bytes(), AS_CSV);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((900..=1000).contains(&seconds), "{seconds}");
    let body = refused.expect_refusal(429, "rate_limited");
    assert_eq!(body["limit"], "quotas.bytes_per_second_max");
    // What is no part is not held up.
    alice
        .commit(&session, &Target::new("acme.a.b"), "fail")
        .expect(200);
}
