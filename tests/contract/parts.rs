//! One part: what the answer and inspect say of it, replacing, deleting, checksums, and refusals that name the place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::sessions::parsed_time;
use crate::support::client::{AS_CSV, AS_NDJSON, Headers, Target, session_id_of};
use crate::support::data::Expectation;
use crate::support::server::TestServer;
use crate::support::table::assert_table_holds;

const CSV: &str = "id,word\n1,a\n2,b\n";

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn stored_parts_are_described_in_the_answer_and_by_inspect() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    assert!(
        api.inspect(&session).expect(204).body.is_empty(),
        "204 has no body"
    );
    let answer = api.put_csv(&session, 3, CSV);
    assert_eq!(answer["status"], "stored", "{answer}");
    assert_eq!(answer["part"], 3, "{answer}");
    assert_eq!(answer["rows"], 2, "{answer}");
    assert_eq!(answer["bytes"], CSV.len(), "{answer}");
    assert_eq!(answer["kind"], "csv", "{answer}");
    assert_eq!(
        answer["sha256"],
        hex::encode(Sha256::digest(CSV)),
        "{answer}"
    );
    assert_eq!(answer["issues"], json!([]), "{answer}");
    let expected = [("id", "INT64"), ("word", "VARCHAR")];
    let columns = answer["schema"]["columns"].as_array().expect("columns");
    assert_eq!(columns.len(), expected.len(), "{answer}");
    for (column, (name, kind)) in columns.iter().zip(expected) {
        assert_eq!(column["name"], name, "{answer}");
        assert_eq!(column["type"], kind, "{answer}");
        assert!(column["from"].is_string(), "{answer}");
        assert!(column["nullable"].is_boolean(), "{answer}");
        let action = column["action"].as_str().expect("an action");
        assert!(
            [
                "keep",
                "widen",
                "retag",
                "cast",
                "undeclared",
                "unsupported"
            ]
            .contains(&action),
            "{answer}"
        );
    }

    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(inspected["rows_estimate"], 2, "{inspected}");
    assert_eq!(inspected["issues"], json!([]), "{inspected}");
    let part = &inspected["parts"][0];
    assert_eq!(part["id"], 3, "{inspected}");
    for key in ["rows", "bytes", "kind", "sha256"] {
        assert_eq!(part[key], answer[key], "{key}: {inspected}");
    }
    assert!(part["blob"].is_string(), "{inspected}");
    parsed_time(part["uploaded_at"].as_str().expect("a time"));
    let columns = inspected["schema"]["columns"]
        .as_array()
        .expect("columns of the schema");
    let names: Vec<&Value> = columns.iter().map(|column| &column["name"]).collect();
    assert_eq!(json!(names), json!(["id", "word"]), "{inspected}");
    assert_eq!(columns[0]["type"], "INT64", "{inspected}");
}

#[test]
fn issues_have_a_closed_set_of_keys() {
    let server = TestServer::start();
    let api = server.api();
    let unbound = api.open_session();
    let bound = session_id_of(&api.open_bound_session(&Target::new("acme.sales.orders")));
    // Two columns of one name: the sender should know what became of them.
    let csv = "id,id,word\n1,2,a\n";
    for (session, allowed) in [
        (&unbound, &["issue", "part"][..]),
        (&bound, &["column", "issue", "part"][..]),
    ] {
        let answer = api.put_csv(session, 0, csv);
        let inspected = api.inspect(session).expect_json(200);
        for issues in [&answer["issues"], &inspected["issues"]] {
            let issues = issues.as_array().expect("a list of issues");
            assert!(
                !issues.is_empty(),
                "a doubled column name is an issue: {answer} {inspected}"
            );
            for issue in issues {
                assert_eq!(
                    keys(issue),
                    allowed,
                    "clients build issues from exactly these keys: {issue}"
                );
                assert_eq!(issue["part"], 0, "{issue}");
            }
        }
    }
}

#[test]
fn replacing_takes_the_new_part_or_keeps_the_old_one() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    api.put_csv(&session, 0, "id,word\n1,first\n");
    api.put_csv(&session, 0, "id,word\n2,second\n3,second\n");
    let before = api.inspect(&session).expect_json(200);
    assert_eq!(
        before["rows_estimate"], 2,
        "the second replaced the first: {before}"
    );
    let wrong_digest: Headers = &[
        ("x-file-name", "a.csv"),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    api.put_part(&session, 0, b"id,word\n4,broken,row\n", AS_CSV)
        .expect_refusal_of(422);
    api.put_part(&session, 0, b"id,word\n4,other\n", wrong_digest)
        .expect_refusal(400, "checksum_mismatch");
    api.put_part(&session, 0, b"{\"id\": ", AS_NDJSON)
        .expect_refusal_of(422);
    assert_eq!(
        api.inspect(&session).expect_json(200),
        before,
        "the older part is untouched"
    );
    // Other formats may replace it.
    api.put_part(
        &session,
        0,
        b"{\"id\": 5, \"word\": \"third\"}\n",
        AS_NDJSON,
    )
    .expect(201);
    api.commit(&session, &target, "fail").expect(200);
    let expectation =
        Expectation::new(&[("id", "long"), ("word", "string")]).rows(&json!([[5, "third"]]));
    assert_table_holds(&server, &target, &expectation);
}

#[test]
fn deleting_twice_is_fine_and_deleting_nothing_is_404() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    api.put_csv(&session, 0, "id\n1\n");
    api.put_csv(&session, 1, "id\n2\n");
    let deleted = json!({"status": "deleted", "part": 1});
    for _ in 0..3 {
        assert_eq!(api.delete_part(&session, 1).expect_json(200), deleted);
    }
    api.delete_part(&session, 2)
        .expect_refusal(404, "part_not_found");
    assert_eq!(api.inspect(&session).expect_json(200)["rows_estimate"], 1);
    api.delete_part(&session, 0).expect(200);
    api.inspect(&session).expect(204);
    api.put_csv(&session, 1, "id\n3\n");
    api.commit(&session, &target, "fail").expect(200);
    assert_table_holds(
        &server,
        &target,
        &Expectation::new(&[("id", "long")]).rows(&json!([[3]])),
    );
}

fn checksum_headers(body: &[u8]) -> Vec<(&'static str, String)> {
    use md5::Md5;
    let sha256 = STANDARD.encode(Sha256::digest(body));
    vec![
        ("content-digest", format!("sha-256=:{sha256}:")),
        ("repr-digest", format!("sha-256=:{sha256}:")),
        ("content-md5", STANDARD.encode(Md5::digest(body))),
        ("x-amz-checksum-sha256", sha256),
        (
            "x-amz-checksum-crc32c",
            STANDARD.encode(crc32c::crc32c(body).to_be_bytes()),
        ),
    ]
}

#[test]
fn checksums_are_verified_and_a_wrong_one_stores_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    for (name, wrong) in checksum_headers(b"other bytes") {
        let headers = [("x-file-name", "a.csv"), (name, wrong.as_str())];
        api.put_part(&session, 0, CSV.as_bytes(), &headers)
            .expect_refusal(400, "checksum_mismatch");
        api.inspect(&session).expect(204);
    }
    for (part, (name, right)) in (0..).zip(checksum_headers(CSV.as_bytes())) {
        let headers = [("x-file-name", "a.csv"), (name, right.as_str())];
        api.put_part(&session, part, CSV.as_bytes(), &headers)
            .expect(201);
    }
    // One right, one wrong: wrong.
    let right = checksum_headers(CSV.as_bytes());
    let wrong = checksum_headers(b"other bytes");
    let headers = [
        ("x-file-name", "a.csv"),
        (right[0].0, right[0].1.as_str()),
        (wrong[4].0, wrong[4].1.as_str()),
    ];
    api.put_part(&session, 9, CSV.as_bytes(), &headers)
        .expect_refusal(400, "checksum_mismatch");
    assert_eq!(
        api.inspect(&session).expect_json(200)["parts"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
}

#[test]
fn unreadable_parts_are_refused_with_the_place() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // What is wrong, how it is named, the bytes, and the facts that the refusal must tell.
    let cases: [(&str, Headers, &[u8], &[&str]); 7] = [
        (
            "a field too many",
            AS_CSV,
            b"id,word\n1,a\n2,b\n3,c,d\n",
            &["row", "reason"],
        ),
        (
            "a field too few",
            AS_CSV,
            b"id,word,size\n1,a,5\n2\n",
            &["row", "reason"],
        ),
        (
            "a quote that is never closed",
            AS_CSV,
            b"id,word\n1,a\n2,\"b\n3,c\n",
            &["row", "column", "reason"],
        ),
        (
            "no UTF-8",
            AS_CSV,
            b"id,word\n1,\xc3\xa9\n2,\xff\n",
            &["row", "column", "value", "reason"],
        ),
        (
            "no JSON",
            AS_NDJSON,
            b"{\"id\": 1}\n{\"id\": }\n",
            &["row", "reason"],
        ),
        (
            "no object",
            AS_NDJSON,
            b"{\"id\": 1}\n[2]\n",
            &["row", "value", "reason"],
        ),
        (
            "a line that was cut",
            AS_NDJSON,
            b"{\"id\": 1}\n{\"id\": 2",
            &["row", "reason"],
        ),
    ];
    for (what, headers, body, facts) in cases {
        let answer = api.put_part(&session, 0, body, headers);
        println!("{what}: {} {}", answer.status, answer.text());
        let refusal = answer.expect_refusal(422, "format_unreadable");
        for fact in facts {
            assert!(
                refusal.get(*fact).is_some(),
                "{what}: {fact} is not told: {refusal}"
            );
        }
        let detail = refusal["detail"].as_str().expect("a sentence");
        assert!(
            detail.contains(&refusal["row"].to_string()),
            "{what}: the sentence names the row: {refusal}"
        );
        api.inspect(&session).expect(204);
    }
}

#[test]
fn values_that_the_bound_table_cannot_hold_are_409_at_their_part() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let first = api.open_session();
    api.put_csv(&first, 0, "id,day,flag\n1,2024-01-31,true\n");
    api.commit(&first, &target, "fail").expect(200);

    let session = session_id_of(&api.open_bound_session(&target));
    api.put_csv(&session, 0, "id,day,flag\n2,2024-02-29,false\n");
    let cases = [
        (
            "id",
            "x12",
            "id,day,flag\n3,2024-01-31,true\nx12,2024-01-31,true\n",
            "INT64",
        ),
        (
            "day",
            "soon",
            "id,day,flag\n3,2024-01-31,true\n4,soon,true\n",
            "DATE",
        ),
        (
            "flag",
            "maybe",
            "id,day,flag\n3,2024-01-31,true\n4,2024-01-31,maybe\n",
            "BOOLEAN",
        ),
    ];
    let mut rows = Vec::new();
    for (column, value, csv, declared) in cases {
        let refusal = api
            .put_part(&session, 0, csv.as_bytes(), AS_CSV)
            .expect_refusal(409, "value_not_castable");
        assert_eq!(refusal["column"], column, "{refusal}");
        assert!(
            refusal["value"]
                .as_str()
                .is_some_and(|found| found.contains(value)),
            "{refusal}"
        );
        assert_eq!(refusal["declared"], declared, "{refusal}");
        rows.push(refusal["row"].clone());
    }
    assert!(
        rows[0].is_u64() && rows.iter().all(|row| *row == rows[0]),
        "the bad value is always in the second row: {rows:?}"
    );
    // The older part 0 is still there, and the commit needs no target.
    let committed = api
        .commit_body(&session, &json!({"conflict_resolution": "append"}))
        .expect_json(200);
    assert_eq!(committed["rows_written"], 1, "{committed}");
    let columns = [("id", "long"), ("day", "date"), ("flag", "boolean")];
    let rows = json!([[1, "2024-01-31", true], [2, "2024-02-29", false]]);
    assert_table_holds(&server, &target, &Expectation::new(&columns).rows(&rows));
}
