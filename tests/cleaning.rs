//! Proves that disk comes back by itself: what expired and committed sessions staged goes, and nothing else does.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::client::Target;
use support::server::{OWN_FILES, TestServer, files_below};
use support::{PATIENCE, wait_until};

/// Sweeps often, and ends sessions soon.
const EAGER: &[(&str, &str)] = &[
    OWN_FILES,
    ("CALVE_SESSIONS__TTL", "2s"),
    ("CALVE_SESSIONS__IDLE_IN_MEMORY", "100ms"),
    ("CALVE_CLEANING__INTERVAL", "100ms"),
    ("CALVE_CLEANING__GRACE", "1h"),
];

#[test]
fn an_expired_sessions_files_go_and_a_tables_stay() {
    let server = TestServer::start_with(EAGER);
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let committed = api.open_session();
    api.put_csv(&committed, 0, "a\n1\n");
    let receipt = api.commit(&committed, &target, "fail").expect_json(200);
    let table = files_below(&server.table_dir(&target));
    let abandoned = api.open_session();
    api.put_csv(&abandoned, 0, "a\n2\n");
    api.put_csv(&abandoned, 1, "a\n3\n");
    let staging = server.data_dir().join("staging");
    wait_until("the staging folder is empty", PATIENCE, || {
        files_below(&staging).is_empty().then_some(())
    });
    api.inspect(&abandoned)
        .expect_refusal(410, "session_expired");
    assert_eq!(files_below(&server.table_dir(&target)), table);
    let repeated = api.commit(&committed, &target, "fail").expect_json(200);
    assert_eq!(repeated["commit_id"], receipt["commit_id"]);
    let metrics = api.get("/metrics").expect(200).text();
    assert!(
        metrics.contains("calve_sessions{state=\"expired\"} 1"),
        "{metrics}"
    );
}

#[test]
fn what_a_session_staged_survives_sweeps_and_restarts_until_it_expires() {
    let mut server = TestServer::start_with(&[
        OWN_FILES,
        ("CALVE_SESSIONS__IDLE_IN_MEMORY", "100ms"),
        ("CALVE_CLEANING__INTERVAL", "50ms"),
        ("CALVE_CLEANING__GRACE", "0s"),
    ]);
    let session = server.api().open_session();
    server.api().put_csv(&session, 0, "a\n1\n");
    let staging = server.data_dir().join("staging");
    let staged = files_below(&staging);
    // With no grace at all a stray file goes at the second sighting, which proves that sweeps have run.
    let stray = staging.join(&session).join("stray");
    std::fs::write(&stray, b"x").expect("write a stray file");
    wait_until("a sweep has removed the stray file", PATIENCE, || {
        (!stray.exists()).then_some(())
    });
    assert_eq!(files_below(&staging), staged);
    server.kill();
    server.restart();
    std::fs::write(&stray, b"x").expect("write a stray file");
    wait_until("a sweep has removed the stray file", PATIENCE, || {
        (!stray.exists()).then_some(())
    });
    assert_eq!(files_below(&staging), staged);
    let target = Target::new("acme.sales.orders");
    let receipt = server
        .api()
        .commit(&session, &target, "fail")
        .expect_json(200);
    assert_eq!(receipt["rows_written"], 1);
}
