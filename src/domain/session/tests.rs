//! The whole transition table of a session, and the rules for parts and targets.

use chrono::TimeDelta;

use super::*;
use crate::testing::{part as record, time};

fn target(dataset: &str) -> Target {
    request(dataset).target
}

fn session() -> Session {
    crate::testing::session(1, time(0), TimeDelta::seconds(100))
}

fn request(dataset: &str) -> CommitRequest {
    crate::testing::commit(dataset, time(1)).0
}

fn receipt(dataset: &str) -> CommitReceipt {
    crate::testing::commit(dataset, time(1)).1
}

/// Every (state, event) pair and what it gives.
#[test]
fn transition_table() {
    #[track_caller]
    fn check(
        state: SessionState,
        asked: &CommitRequest,
        now: DateTime<Utc>,
        expected: std::result::Result<CommitStart, ErrorCode>,
    ) {
        let mut session = session();
        session.state = state.clone();
        let found = session.begin_commit(asked, now).map_err(|error| error.code);
        assert_eq!(found, expected);
        if found != Ok(CommitStart::Run) {
            assert_eq!(session.state, state, "a refusal changes nothing");
        } else {
            assert_eq!(
                session.state,
                SessionState::Committing {
                    request: asked.clone()
                }
            );
        }
    }
    let committing = SessionState::Committing {
        request: request("a"),
    };
    let committed = SessionState::Committed {
        request: request("a"),
        receipt: receipt("a"),
    };
    let (same, other) = (request("a"), request("b"));
    check(SessionState::Open, &same, time(1), Ok(CommitStart::Run));
    check(
        SessionState::Open,
        &same,
        time(100),
        Err(ErrorCode::SessionExpired),
    );
    check(
        SessionState::Expired,
        &same,
        time(1),
        Err(ErrorCode::SessionExpired),
    );
    check(committing.clone(), &same, time(1), Ok(CommitStart::Join));
    check(committing.clone(), &same, time(999), Ok(CommitStart::Join));
    check(
        committing,
        &other,
        time(1),
        Err(ErrorCode::CommitInProgress),
    );
    check(
        committed.clone(),
        &same,
        time(999),
        Ok(CommitStart::Answered(receipt("a"))),
    );
    check(committed, &other, time(1), Err(ErrorCode::AlreadyCommitted));
}

#[test]
fn a_failed_commit_opens_the_session_and_a_done_one_never_does() {
    let mut session = session();
    assert_eq!(
        session.begin_commit(&request("a"), time(1)),
        Ok(CommitStart::Run)
    );
    assert_eq!(
        session.check_parts_may_change(time(1)).unwrap_err().code,
        ErrorCode::SessionCommitting
    );
    session.commit_failed();
    assert_eq!(session.state, SessionState::Open);
    session.commit_succeeded(request("a"), receipt("a"));
    session.commit_failed();
    assert!(matches!(session.state, SessionState::Committed { .. }));
    assert_eq!(
        session.check_parts_may_change(time(1)).unwrap_err().code,
        ErrorCode::AlreadyCommitted
    );
}

#[test]
fn a_bound_session_refuses_another_target() {
    let mut session = session();
    assert_eq!(
        session.resolve_target(None).unwrap_err().code,
        ErrorCode::ValidationError
    );
    assert_eq!(session.resolve_target(Some(target("b"))), Ok(target("b")));
    session.target = Some(target("a"));
    assert_eq!(session.resolve_target(None), Ok(target("a")));
    assert_eq!(session.resolve_target(Some(target("a"))), Ok(target("a")));
    assert_eq!(
        session.resolve_target(Some(target("b"))).unwrap_err().code,
        ErrorCode::TargetMismatch
    );
}

#[test]
fn deleting_twice_is_fine_and_deleting_nothing_is_not() {
    let part = PartNumber(3);
    let mut session = session();
    assert_eq!(
        session.check_delete(part, time(1)).unwrap_err().code,
        ErrorCode::PartNotFound
    );
    session.put_part(record(part.0));
    assert!(matches!(
        session.check_delete(part, time(1)),
        Ok(Deletion::Present)
    ));
    session.delete_part(part);
    assert_eq!(session.check_delete(part, time(1)), Ok(Deletion::Repeated));
    session.put_part(record(part.0));
    assert!(session.deleted.is_empty());
    assert_eq!(
        session.check_delete(part, time(100)).unwrap_err().code,
        ErrorCode::SessionExpired
    );
}
