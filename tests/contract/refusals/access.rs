//! Refusals of people: of who they are, of what they may do, of how often they ask.

use calve::error::ErrorCode;

use super::Refusals;
use crate::support::client::{AS_CSV, Target};
use crate::support::server::{TestServer, make_token};

pub(super) fn note(found: &mut Refusals) {
    let server = TestServer::start_with(&[
        ("CALVE_AUTH__MODE", "tokens"),
        ("CALVE_QUOTAS__BYTES_PER_SECOND_MAX", "1 B"),
        ("CALVE_QUOTAS__SESSIONS_OPEN_MAX", "2"),
    ]);
    let nobody = server.api().without_credentials();
    let answer = nobody.get("/metrics");
    found.note(ErrorCode::Unauthenticated, "without a credential", &answer);
    let answer = server.api().get("/metrics");
    found.note(
        ErrorCode::Unauthenticated,
        "with a credential that proves nothing",
        &answer,
    );
    let reader = make_token(&server, "bob", &["--grant", "acme.*:reader"]);
    let reader = server.api().with_token(&reader);
    let answer = reader.send("POST", "/v1/upload/session", &[], Some(b""));
    found.note(ErrorCode::NotPermitted, "a session of a reader", &answer);

    let writer = make_token(&server, "alice", &["--grant", "acme.sales.*:writer"]);
    let writer = server.api().with_token(&writer);
    let target = Target::new("acme.sales.orders");
    let session = writer.open_session();
    let answer = writer.commit(&session, &target, "overwrite");
    found.note(ErrorCode::NotPermitted, "a writer overwrites", &answer);
    let admin = make_token(&server, "root", &["--admin"]);
    let answer = server
        .api()
        .with_token(&admin)
        .commit(&session, &target, "append");
    found.note(ErrorCode::NotPermitted, "somebody else's session", &answer);
    writer.open_session();
    let answer = writer.send("POST", "/v1/upload/session", &[], Some(b""));
    found.note(
        ErrorCode::LimitReached,
        "a session beyond as many as a user may have",
        &answer,
    );
    writer.put_csv(&session, 0, "id\n1\n");
    let mut answer = writer.put_part(&session, 1, b"id,city\n1,Bern\n", AS_CSV);
    // How long it is until then differs from run to run.
    let seconds = answer.json()["retry_after_seconds"]
        .as_u64()
        .expect("seconds");
    assert!((1..=20).contains(&seconds), "{seconds}");
    let masked = answer
        .text()
        .replace(&format!("after {seconds} s"), "after 4 s");
    let masked = masked.replace(&format!("_seconds\":{seconds}"), "_seconds\":4");
    answer.body = masked.into_bytes();
    let four = "4".parse().expect("a number");
    answer.headers.insert("retry-after", four);
    found.note(
        ErrorCode::RateLimited,
        "a part beyond a user's bytes a second",
        &answer,
    );

    let server = TestServer::start_with(&[
        ("CALVE_AUTH__MODE", "tokens"),
        ("CALVE_QUOTAS__STAGED_BYTES_MAX", "10 B"),
    ]);
    let writer = make_token(&server, "alice", &["--grant", "acme.sales.*:writer"]);
    let writer = server.api().with_token(&writer);
    let session = writer.open_session();
    let answer = writer.put_part(&session, 0, b"id,city\n1,Bern\n", AS_CSV);
    found.note(
        ErrorCode::LimitReached,
        "a part beyond a user's staged bytes",
        &answer,
    );
}
