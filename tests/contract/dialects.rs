//! How CSV is written: what the query gives is not guessed, and every later reading of a part is as the first.

use serde_json::{Value, json};

use crate::support::client::{AS_CSV, Target};
use crate::support::data::Expectation;
use crate::support::server::TestServer;
use crate::support::table::{assert_table_holds, assert_tables_hold};

/// A query, a body, what the answer tells of the dialect, the columns, the rows.
type Case = (
    &'static str,
    &'static [u8],
    Value,
    &'static [(&'static str, &'static str)],
    Value,
);

fn cases() -> Vec<Case> {
    let a_b: &[(&str, &str)] = &[("a", "string"), ("b", "string")];
    vec![
        (
            "&delimiter=%3A",
            b"a:b\nx,1:y\nz:w\n",
            json!({"delimiter": ":"}),
            a_b,
            json!([["x,1", "y"], ["z", "w"]]),
        ),
        (
            "&delimiter=tab",
            b"a\tb\nx,1\ty,2\n",
            json!({"delimiter": "\t"}),
            a_b,
            json!([["x,1", "y,2"]]),
        ),
        (
            "&delimiter=%2C%20",
            b"a, b\nx, y\nz, \"v, w\"\n",
            json!({"delimiter": ", "}),
            a_b,
            json!([["x", "y"], ["z", "v, w"]]),
        ),
        (
            "&quote=none",
            b"a,b\n\"x,y\"\n",
            json!({"quote": null, "escape": null}),
            a_b,
            json!([["\"x", "y\""]]),
        ),
        (
            "&quote=%27&escape=backslash",
            b"a,b\n'x\\'y',\"\n",
            json!({"quote": "'", "escape": "\\"}),
            a_b,
            json!([["x'y", "\""]]),
        ),
        (
            "&header=false",
            b"a,b\nx,y\n",
            json!({"header": false, "header_rows": 0}),
            &[("column_1", "string"), ("column_2", "string")],
            json!([["a", "b"], ["x", "y"]]),
        ),
        (
            "&header=true",
            b"1,2\n3,4\n",
            json!({"header": true, "header_rows": 1}),
            &[("1", "long"), ("2", "long")],
            json!([[3, 4]]),
        ),
        (
            "&header=2",
            b"a,b\nc,d\nx,y\n",
            json!({"header": true, "header_rows": 2}),
            &[("a_c", "string"), ("b_d", "string")],
            json!([["x", "y"]]),
        ),
        (
            "&encoding=iso-8859-2",
            b"a,b\n\xb1,\xe6\n",
            json!({"encoding": "iso-8859-2"}),
            a_b,
            json!([["ą", "ć"]]),
        ),
        (
            "&null=-&null=none",
            b"a,b\n-,NA\nnone,1\nx,\n",
            json!({}),
            a_b,
            json!([[null, "NA"], [null, "1"], ["x", null]]),
        ),
        (
            "&null=-",
            b"n,m\n-,1\n2,\"-\"\n",
            json!({}),
            &[("n", "long"), ("m", "string")],
            json!([[null, "1"], [2, "-"]]),
        ),
        (
            "&skip=1",
            b"x,y,z\na,b\n1x,2x\n",
            json!({"skipped_rows": 1}),
            a_b,
            json!([["1x", "2x"]]),
        ),
        (
            "&ragged=pad",
            b"a,b,c\nx\ny,z\n",
            json!({}),
            &[("a", "string"), ("b", "string"), ("c", "string")],
            json!([["x", null, null], ["y", "z", null]]),
        ),
    ]
}

#[test]
fn what_the_query_gives_is_not_guessed() {
    let server = TestServer::start();
    let api = server.api();
    let mut tables = Vec::new();
    for (number, (query, body, dialect, columns, rows)) in cases().into_iter().enumerate() {
        let session = api.open_session();
        let path = format!("/v1/upload/{session}?part=0{query}");
        let answer = api.send("PUT", &path, AS_CSV, Some(body)).expect_json(201);
        for (key, value) in dialect.as_object().expect("an object") {
            assert_eq!(answer["csv"][key], *value, "{query}: {answer}");
        }
        let inspected = api.inspect(&session).expect_json(200);
        assert_eq!(inspected["parts"][0]["csv"], answer["csv"], "{query}");
        let target = Target::new(&format!("acme.dialects.case_{number}"));
        api.commit(&session, &target, "fail").expect(200);
        let expectation = Expectation::new(columns).rows(&rows);
        tables.push((server.table_dir(&target), expectation));
    }
    assert_tables_hold(&tables);
}

#[test]
fn rows_of_another_length_are_refused_when_asked() {
    let api_server = TestServer::start();
    let api = api_server.api();
    let session = api.open_session();
    for body in [&b"a,b\n1,2\n3\n"[..], b"a,b\n1,2\n3,4,\n"] {
        let path = format!("/v1/upload/{session}?part=0&ragged=error");
        let refusal = api
            .send("PUT", &path, AS_CSV, Some(body))
            .expect_refusal(422, "format_unreadable");
        assert_eq!(refusal["row"], 2, "{refusal}");
    }
}

#[test]
fn parameters_that_say_nothing_are_refused() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    for (name, value) in [
        ("delimiter", "ab"),
        ("quote", "xx"),
        ("escape", "?"),
        ("header", "maybe"),
        ("encoding", "klingon"),
        ("skip", "-1"),
        ("ragged", "drop"),
    ] {
        let path = format!("/v1/upload/{session}?part=0&{name}={value}");
        let answer = api.send("PUT", &path, AS_CSV, Some(b"a,b\n1,2\n"));
        answer.expect_validation_error(&[&["query", name]]);
    }
    api.inspect(&session).expect(204);
}

#[test]
fn a_part_is_converted_again_in_the_dialect_it_was_found_to_have() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // Each part is all numbers by itself; together they are text, read again from the bytes.
    api.put_csv(&session, 0, "id;word\n1;1\n2;\"2;5\"\n");
    let path = format!("/v1/upload/{session}?part=1&null=-&skip=1");
    let body = b"by a tool\nid|word\n3|-\n4|\xe9\xe9\n";
    api.send("PUT", &path, AS_CSV, Some(body)).expect(201);
    api.put_csv(&session, 2, "# no comment\nid,word\n5.5,true\n");
    let target = Target::new("acme.dialects.together");
    api.commit(&session, &target, "fail").expect(200);
    let expectation = Expectation::new(&[("id", "double"), ("word", "string")]).rows(&json!([
        [1.0, "1"],
        [2.0, "2;5"],
        [3.0, null],
        [4.0, "éé"],
        [5.5, "true"],
    ]));
    assert_table_holds(&server, &target, &expectation);
}
