//! Opening a session in all its forms, what the answer says, and the end of a session's time.

use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::client::{AS_CSV, Answer, Api, Target, commit_request, session_id_of};
use crate::support::server::TestServer;
use crate::support::{PATIENCE, wait_until};

fn open_in_every_unbound_form(api: &Api) -> Vec<Value> {
    let json_type = [("content-type", "application/json")];
    vec![
        // As `requests` sends a POST without a body, with and without a content type.
        api.send("POST", "/v1/upload/session", &[], Some(b""))
            .expect_json(201),
        api.send("POST", "/v1/upload/session", &json_type, Some(b""))
            .expect_json(201),
        api.send("POST", "/v1/upload/session", &json_type, Some(b"{}"))
            .expect_json(201),
        api.send(
            "POST",
            "/v1/upload/session",
            &json_type,
            Some(b"{\"target\": null}"),
        )
        .expect_json(201),
    ]
}

#[test]
fn unbound_sessions_open_with_no_body_an_empty_one_or_an_empty_object() {
    let server = TestServer::start();
    let api = server.api();
    for answer in open_in_every_unbound_form(&api) {
        assert!(
            answer.get("target").is_none(),
            "only bound sessions name a target: {answer}"
        );
        assert!(
            answer.get("declared_schema").is_none(),
            "only bound sessions have a declared schema: {answer}"
        );
        assert_eq!(answer["parts"], true, "{answer}");
        api.inspect(&session_id_of(&answer)).expect(204);
    }
}

#[test]
fn session_ids_urls_and_times_have_the_documented_form() {
    let server = TestServer::start();
    let api = server.api();
    let before = now() - TimeDelta::seconds(1);
    let answers = open_in_every_unbound_form(&api);
    let after = now() + TimeDelta::seconds(1);
    let mut ids: Vec<String> = answers.iter().map(session_id_of).collect();
    for (answer, id) in answers.iter().zip(&ids) {
        let (time, random) = id.split_once('-').expect("two parts");
        let opened = NaiveDateTime::parse_from_str(time, "%Y%m%d%H%M%S")
            .expect("YYYYMMDDhhmmss")
            .and_utc();
        assert!(
            opened >= before - TimeDelta::seconds(1) && opened <= after,
            "{id} tells another time"
        );
        assert_eq!(time.len(), 14, "{id}");
        assert_eq!(random.len(), 32, "{id}");
        assert!(
            random
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
            "{id}"
        );
        assert_eq!(&random[12..13], "4", "{id} holds a random UUID (version 4)");
        assert_eq!(
            answer["url"],
            format!("{}/v1/upload/{id}", server.base_url())
        );
        let expires_at = answer["expires_at"].as_str().expect("a time");
        let expires = parsed_time(expires_at);
        let six_hours = TimeDelta::hours(6);
        assert!(
            expires >= before + six_hours - TimeDelta::seconds(1) && expires <= after + six_hours,
            "{expires_at}"
        );
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), answers.len(), "no id twice");
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// UTC with `Z` and no or six fractional digits, which is what Python 3.9 can read.
#[track_caller]
pub(crate) fn parsed_time(text: &str) -> DateTime<Utc> {
    let without_zone = text
        .strip_suffix('Z')
        .unwrap_or_else(|| panic!("{text} does not end in Z"));
    let fraction_digits = without_zone
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    assert!(
        [0, 6].contains(&fraction_digits),
        "{text} has {fraction_digits} fractional digits"
    );
    assert_eq!(&text[10..11], "T", "{text}");
    NaiveDateTime::parse_from_str(without_zone, "%Y-%m-%dT%H:%M:%S%.f")
        .expect("a time")
        .and_utc()
}

#[test]
fn bound_sessions_tell_target_and_declared_schema() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let opened = api.open_bound_session(&target);
    assert_eq!(opened["target"], target.json(), "exactly the three keys");
    assert_eq!(opened["declared_schema"], Value::Null);
    assert!(
        opened
            .as_object()
            .expect("an object")
            .contains_key("declared_schema"),
        "null, not absent: {opened}"
    );
    let session = session_id_of(&opened);
    api.put_csv(&session, 0, "id,name,price,day\n1,a,1.5,2024-01-31\n");
    api.commit_body(&session, &json!({"target": null}))
        .expect(200);

    let opened = api.open_bound_session(&target);
    let declared = json!({"id": "INT64", "name": "VARCHAR", "price": "FLOAT64", "day": "DATE"});
    assert_eq!(opened["declared_schema"], declared);
    let other_case = api.open_bound_session(&Target::new("ACME.Sales.Orders"));
    assert_eq!(
        other_case["declared_schema"], declared,
        "names are compared in lower case"
    );
    assert_eq!(other_case["target"], target.json());
}

#[test]
fn session_answers_advertise_the_limits() {
    let server = TestServer::start();
    let opened = &open_in_every_unbound_form(&server.api())[0];
    let numbers: Vec<u64> = opened
        .as_object()
        .expect("an object")
        .values()
        .flat_map(|value| {
            value.as_object().map_or_else(
                || vec![value.clone()],
                |inner| inner.values().cloned().collect(),
            )
        })
        .filter_map(|value| value.as_u64())
        .collect();
    for limit in [30 * 1024 * 1024, 200 * 1024 * 1024] {
        assert!(numbers.contains(&limit), "{limit} is not told: {opened}");
    }
    assert!(
        numbers.contains(&999) || numbers.contains(&1000),
        "the number of parts is not told: {opened}"
    );
}

/// Every operation on a session, none of which may change a session that is gone.
fn every_operation_on(api: &Api, session: &str) -> [Answer; 4] {
    let target = Target::new("acme.sales.orders");
    [
        api.inspect(session),
        api.put_part(session, 0, b"id\n1\n", AS_CSV),
        api.delete_part(session, 0),
        api.commit_body(session, &commit_request(&target, "append")),
    ]
}

#[test]
fn unknown_sessions_are_404_whatever_they_look_like() {
    let server = TestServer::start();
    let api = server.api();
    let never_given = format!("20240101000000-{}", "0".repeat(32));
    for session in [
        never_given.as_str(),
        "x",
        "20240101000000-xyz",
        "%2e%2e",
        "%F0%9F%A6%84",
    ] {
        for answer in every_operation_on(&api, session) {
            answer.expect_refusal(404, "session_not_found");
        }
    }
}

#[test]
fn expired_sessions_are_410() {
    let server = TestServer::start_with(&[("CALVE_SESSIONS__TTL", "1s")]);
    let api = server.api();
    let session = api.open_session();
    wait_until("the session expires", PATIENCE, || {
        (api.inspect(&session).status == 410).then_some(())
    });
    for answer in every_operation_on(&api, &session) {
        answer.expect_refusal(410, "session_expired");
    }
    let tables = crate::support::server::files_below(&server.warehouse());
    assert!(
        tables.is_empty(),
        "an expired session made a table: {tables:?}"
    );
}
