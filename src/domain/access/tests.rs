//! Every decision, for everyone it may be about.

use chrono::{DateTime, TimeDelta};
use uuid::Uuid;

use super::*;
use crate::domain::SessionId;

fn user(name: &str, grants: &[&str]) -> Principal {
    let grants = grants.iter().map(|text| text.parse().unwrap()).collect();
    Principal::User(User {
        name: name.to_owned(),
        grants,
        is_admin: false,
    })
}

fn admin() -> Principal {
    Principal::User(User {
        name: "root".to_owned(),
        grants: Vec::new(),
        is_admin: true,
    })
}

fn session(owner: Option<&str>, target: Option<&Target>) -> Session {
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let id = SessionId::new(now, Uuid::from_u128(1));
    let mut session = Session::open(id, target.cloned(), now, now + TimeDelta::hours(6));
    session.owner = owner.map(str::to_owned);
    session
}

fn code(outcome: Result<()>) -> Option<ErrorCode> {
    outcome.err().map(|error| error.code)
}

#[test]
fn grants_have_one_form() {
    for (text, printed) in [
        ("acme.*:reader", "acme.*:reader"),
        ("Acme.Security.*:writer", "acme.security.*:writer"),
        ("acme.security.events:owner", "acme.security.events:owner"),
    ] {
        let grant: Grant = text.parse().unwrap();
        assert_eq!(grant.to_string(), printed);
    }
    for text in [
        "",
        "acme",
        "acme.*",
        "acme:writer",
        "*:writer",
        "*.*:writer",
        "*.a.b:writer",
        "acme.*.b:writer",
        "acme.a:writer",
        "acme.a.b.c:writer",
        "acme.a.b.*:writer",
        "acme.a.b:admin",
        "acme.a.b:Writer",
        "system.*:reader",
        "acme.é.*:reader",
        "acme..*:reader",
        "acme.a*:reader",
        " acme.*:reader",
    ] {
        assert!(text.parse::<Grant>().is_err(), "{text}");
    }
}

#[test]
fn a_subtree_is_all_below_and_nothing_beside() {
    let target = Target::new("acme", "security", "events").unwrap();
    let is_covered = |text: &str| text.parse::<Grant>().unwrap().covers(&target);
    assert!(is_covered("acme.*:reader"));
    assert!(is_covered("acme.security.*:reader"));
    assert!(is_covered("acme.security.events:reader"));
    assert!(!is_covered("acme.secur.*:reader"));
    assert!(!is_covered("acme.security.event:reader"));
    assert!(!is_covered("acm.*:reader"));
    assert!(!is_covered("acme.other.*:reader"));
}

#[test]
fn the_highest_role_counts_whatever_the_order() {
    let target = Target::new("acme", "a", "b").unwrap();
    for grants in [
        ["acme.*:owner", "acme.a.b:reader"],
        ["acme.a.b:reader", "acme.*:owner"],
    ] {
        let overwrite = ConflictResolution::Overwrite;
        let outcome = user("u", &grants).check_commit(&target, overwrite, Role::Owner);
        assert_eq!(outcome, Ok(()));
    }
}

#[test]
fn what_a_commit_needs() {
    let target = Target::new("acme", "a", "b").unwrap();
    let (fail, append, overwrite) = (
        ConflictResolution::Fail,
        ConflictResolution::Append,
        ConflictResolution::Overwrite,
    );
    let denied = Some(ErrorCode::NotPermitted);
    for (grant, resolution, overwrite_needs, expected) in [
        ("acme.*:reader", fail, Role::Owner, denied),
        ("acme.*:reader", append, Role::Owner, denied),
        ("acme.*:writer", fail, Role::Owner, None),
        ("acme.*:writer", append, Role::Owner, None),
        ("acme.*:writer", overwrite, Role::Owner, denied),
        ("acme.*:writer", overwrite, Role::Writer, None),
        ("acme.*:reader", overwrite, Role::Writer, denied),
        ("acme.*:owner", overwrite, Role::Owner, None),
        ("other.*:owner", append, Role::Owner, denied),
    ] {
        let found = user("u", &[grant]).check_commit(&target, resolution, overwrite_needs);
        assert_eq!(
            code(found),
            expected,
            "{grant} {resolution:?} {overwrite_needs:?}"
        );
    }
    assert_eq!(
        code(admin().check_commit(&target, append, Role::Owner)),
        denied
    );
    assert_eq!(
        Principal::Anyone.check_commit(&target, overwrite, Role::Owner),
        Ok(())
    );
}

#[test]
fn a_session_is_its_openers_and_others_do_not_see_it() {
    let target = Target::new("acme", "a", "b").unwrap();
    let hidden = Some(ErrorCode::SessionNotFound);
    let denied = Some(ErrorCode::NotPermitted);
    for (who, owner, bound, sees, uses) in [
        (user("u", &["acme.*:writer"]), Some("u"), false, None, None),
        (
            user("v", &["acme.*:writer"]),
            Some("u"),
            true,
            hidden,
            hidden,
        ),
        (user("v", &["acme.*:owner"]), Some("u"), true, None, denied),
        (
            user("v", &["acme.*:owner"]),
            Some("u"),
            false,
            hidden,
            hidden,
        ),
        (
            user("v", &["other.*:owner"]),
            Some("u"),
            true,
            hidden,
            hidden,
        ),
        (admin(), Some("u"), false, None, denied),
        (user("u", &[]), None, false, hidden, hidden),
        (admin(), None, false, None, denied),
        (Principal::Anyone, Some("u"), true, None, None),
    ] {
        let session = session(owner, bound.then_some(&target));
        assert_eq!(
            code(who.check_see(&session)),
            sees,
            "{who:?} sees {owner:?}"
        );
        assert_eq!(
            code(who.check_use(&session)),
            uses,
            "{who:?} uses {owner:?}"
        );
    }
}

#[test]
fn who_may_open_what() {
    let target = Target::new("acme", "a", "b").unwrap();
    let denied = Some(ErrorCode::NotPermitted);
    for (grants, bound, expected) in [
        (vec![], false, denied),
        (vec!["acme.*:reader"], false, denied),
        (vec!["other.x.y:writer"], false, None),
        (vec!["other.x.y:writer"], true, denied),
        (vec!["acme.a.*:writer"], true, None),
    ] {
        let found = user("u", &grants).check_open(bound.then_some(&target));
        assert_eq!(code(found), expected, "{grants:?}");
    }
}

#[test]
fn user_names_are_plain() {
    for good in ["alice", "ci/build-7", "repo/acme", "a@b.example", "x+y_z"] {
        assert_eq!(parse_user(good).as_deref(), Ok(good));
    }
    for bad in ["", "a b", "é", "a\n", "a\"", "a:b", &"x".repeat(129)] {
        assert!(parse_user(bad).is_err(), "{bad}");
    }
}
