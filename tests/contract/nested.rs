//! Nested JSON: objects become structs, arrays lists, and what has no common shape stays JSON text. Read back by both
//! engines.

use serde_json::{Value, json};

use crate::support::client::{AS_NDJSON, Target};
use crate::support::data::Expectation;
use crate::support::server::TestServer;
use crate::support::table::{assert_files_are_sound, assert_table_holds};

fn target() -> Target {
    Target::new("acme.sales.orders")
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "long"),
    (
        "who",
        "struct<name: string, born: date, address: struct<city: string, zip: string>, score: double>",
    ),
    ("tags", "list<string>"),
    (
        "lines",
        "list<struct<sku: string, count: long, notes: list<string>>>",
    ),
    ("grid", "list<list<long>>"),
    ("mixed", "string"),
    ("late", "struct<at: timestamptz, big: string>"),
];

const PART_0: &str = r#"{"id":1,"who":{"name":"Ada","born":"1815-12-10","address":{"city":"London"}},"tags":["x","y\n"],"lines":[{"sku":"a","count":1},{"sku":"b","notes":["n",null]}],"grid":[[1,2],[],null],"mixed":7}
{"id":2,"who":{"address":null,"score":1},"tags":[],"lines":[],"grid":null,"mixed":"seven"}
{"id":3}
"#;
const PART_1: &str = r#"[{"id":4,"who":{"score":2.5,"name":"","address":{"zip":"007"}},"mixed":{"n": 7},
  "late":{"at":"2024-01-31T10:20:30Z","big":1}},
 {"id":5,"late":{"big":9223372036854775808}, "tags":[null,"é"]}]"#;

fn rows() -> Vec<Value> {
    let who = |name: Value, born: Value, address: Value, score: Value| json!({"name": name, "born": born, "address": address, "score": score});
    let null = Value::Null;
    vec![
        json!([
            1,
            who(json!("Ada"), json!("1815-12-10"), json!({"city": "London", "zip": null}), null.clone()),
            ["x", "y\n"],
            [{"sku": "a", "count": 1, "notes": null}, {"sku": "b", "count": null, "notes": ["n", null]}],
            [[1, 2], [], null],
            "7",
            null
        ]),
        json!([
            2,
            who(null.clone(), null.clone(), null.clone(), json!(1.0)),
            [],
            [],
            null,
            "seven",
            null
        ]),
        json!([3, null, null, [], null, null, null]),
        json!([
            4,
            who(json!(""), null.clone(), json!({"city": null, "zip": "007"}), json!(2.5)),
            null,
            [],
            null,
            r#"{"n": 7}"#,
            {"at": "2024-01-31T10:20:30+00:00", "big": "1"}
        ]),
        json!([5, null, [null, "é"], [], null, null, {"at": null, "big": "9223372036854775808"}]),
    ]
}

#[test]
fn nested_values_become_structs_and_lists() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // PyIceberg 0.12 reads a null list of structs as an empty one, so `lines` is never null here.
    let with_lines = |part: &str| {
        part.replace("{\"id\":3}", "{\"id\":3,\"lines\":[]}")
            .replace("{\"id\":4,", "{\"id\":4,\"lines\":[],")
            .replace("{\"id\":5,", "{\"id\":5,\"lines\":[],")
    };
    api.put_part(&session, 0, with_lines(PART_0).as_bytes(), AS_NDJSON)
        .expect(201);
    let answer = api
        .put_part(&session, 1, with_lines(PART_1).as_bytes(), AS_NDJSON)
        .expect_json(201);
    assert_eq!(
        answer["schema"]["columns"][1],
        json!({"name": "lines", "type": "ARRAY<VARCHAR>", "from": "ARRAY<VARCHAR>", "action": answer["schema"]["columns"][1]["action"], "nullable": false})
    );
    let inspected = api.inspect(&session).expect_json(200);
    let issues: Vec<(Value, Value)> = inspected["issues"]
        .as_array()
        .expect("issues")
        .iter()
        .map(|issue| (issue["part"].clone(), issue["issue"].clone()))
        .collect();
    assert_eq!(
        issues,
        [(
            json!(1),
            json!(
                "column `mixed` is STRUCT<n INT64> here, and of another shape in other parts; it is kept as JSON text"
            )
        )]
    );
    api.commit(&session, &target(), "fail").expect(200);
    let rows = rows();
    assert_table_holds(
        &server,
        &target(),
        &Expectation::new(COLUMNS).rows(&json!(rows)),
    );
    assert_files_are_sound(&server, &target());

    // What the structs of the table have is taken, whole numbers into a double too.
    let session = api.open_session();
    let more =
        r#"{"id":6,"lines":[{"count":3}],"who":{"score":4},"mixed":[1, 2],"late":{},"grid":[[]]}"#;
    api.put_part(&session, 0, more.as_bytes(), AS_NDJSON)
        .expect(201);
    api.commit(&session, &target(), "append").expect(200);
    let added = json!([
        6,
        {"name": null, "born": null, "address": null, "score": 4.0},
        null,
        [{"sku": null, "count": 3, "notes": null}],
        [[]],
        "[1, 2]",
        {"at": null, "big": null}
    ]);
    let rows: Vec<Value> = rows.into_iter().chain([added]).collect();
    let expectation = || Expectation::new(COLUMNS).rows(&json!(rows));
    assert_table_holds(&server, &target(), &expectation());

    // A field more, or a field of another type, is a difference that is told.
    for (more, column, found) in [
        (
            r#"{"who":{"name":"x","more":1}}"#,
            "who",
            "STRUCT<name VARCHAR, more INT64>",
        ),
        (r#"{"grid":[[1.5]]}"#, "grid", "ARRAY<ARRAY<FLOAT64>>"),
        (r#"{"tags":{"a":1}}"#, "tags", "STRUCT<a INT64>"),
        (r#"{"late":5}"#, "late", "INT64"),
    ] {
        let session = api.open_session();
        api.put_part(&session, 0, more.as_bytes(), AS_NDJSON)
            .expect(201);
        let refusal = api
            .commit(&session, &target(), "append")
            .expect_refusal_of(409);
        let text = refusal.to_string();
        assert!(
            text.contains(column) && text.contains(found),
            "{more}: {text}"
        );
    }
    assert_table_holds(&server, &target(), &expectation());
}

#[test]
fn what_has_no_common_shape_stays_json_text_and_is_reported() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // `a.b` is a name of its own, so the object beside it cannot be a struct with a field `b`.
    let ndjson = concat!(
        r#"{"id":1,"m":{"x": 1},"c":{"k":1,"K":2},"d":{"k":1,"k":2},"a":{"b":1},"a.b":2,"e":{},"s":{"i":[{"v":1},{"v":[2]}]},"t":{"z":null}}"#,
        "\n",
        r#"{"id":2,"m":[1 ],"s":{"i":[]}}"#,
        "\n"
    );
    api.put_part(&session, 0, ndjson.as_bytes(), AS_NDJSON)
        .expect(201);
    let inspected = api.inspect(&session).expect_json(200);
    let issues: Vec<&str> = inspected["issues"]
        .as_array()
        .expect("issues")
        .iter()
        .map(|issue| issue["issue"].as_str().expect("a sentence"))
        .collect();
    let places: Vec<&str> = issues
        .iter()
        .filter(|issue| issue.ends_with("; it is kept as JSON text"))
        .filter_map(|issue| issue.split('`').nth(1))
        .collect();
    assert_eq!(places, ["m", "c", "d", "a", "s.i[].v"], "{issues:?}");
    api.commit(&session, &target(), "fail").expect(200);
    let columns = [
        ("id", "long"),
        ("m", "string"),
        ("c", "string"),
        ("d", "string"),
        ("a", "string"),
        ("a.b", "long"),
        ("e", "string"),
        ("s", "struct<i: list<struct<v: string>>>"),
        ("t", "struct<z: string>"),
    ];
    let rows = json!([
        [
            1,
            r#"{"x": 1}"#,
            r#"{"k":1,"K":2}"#,
            r#"{"k":1,"k":2}"#,
            r#"{"b":1}"#,
            2,
            "{}",
            {"i": [{"v": "1"}, {"v": "[2]"}]},
            {"z": null}
        ],
        [2, "[1 ]", null, null, null, null, null, {"i": []}, null]
    ]);
    assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
}

#[test]
fn keys_of_any_kind_are_kept() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let ndjson = r#"{"":0,"a":"b","a":"c","min":[-1.0e+28],"max":[1.0e+28],"big":1E400}"#;
    api.put_part(&session, 0, ndjson.as_bytes(), AS_NDJSON)
        .expect(201);
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(
        inspected["issues"].as_array().map(Vec::len),
        Some(2),
        "{inspected}"
    );
    api.commit(&session, &target(), "fail").expect(200);
    let columns = [
        ("column_1", "long"),
        ("a", "string"),
        ("a_2", "string"),
        ("min", "list<double>"),
        ("max", "list<double>"),
        ("big", "string"),
    ];
    let rows = json!([[0, "b", "c", [-1e28], [1e28], "1E400"]]);
    assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
}

/// The kinds of text in the public JSONTestSuite that hold an object, by what RFC 8259 says of them.
#[test]
fn json_is_taken_as_the_standard_has_it() {
    let server = TestServer::start();
    let api = server.api();
    let taken: &[&[u8]] = &[
        b"{}",
        b"[]",
        b"",
        b" \n\t",
        b"\xEF\xBB\xBF{\"a\":1}",
        b"[{\"a\":1}\n,\r\n{\"a\":2}\t]\n",
        br#"{"a":"\u0000\u001f\ud834\udd1e\/\b\f\n\r\t\"\\"}"#,
        br#"{"foo\u0000bar":42}"#,
        br#"{"a":[1,null,null,2,[],{}]}"#,
        br#"{"a":[-0,0e+1,0E1,20e1,123e65,-123,1E-2,0.5]}"#,
        "{\"a\":\"\u{7f}\u{2028}\u{10ffff}\"}".as_bytes(),
        br#"{"a":123123123123123123123123123123}"#,
    ];
    for text in taken {
        let session = api.open_session();
        let answer = api.put_part(&session, 0, text, AS_NDJSON);
        let empty = String::from_utf8_lossy(text).trim() == "{}";
        // Rows without a single column cannot be kept.
        answer.expect(if empty { 422 } else { 201 });
    }
    let refused: &[&[u8]] = &[
        br#"{"a":[1,]}"#,
        br#"{"a":1,}"#,
        br#"[{"a":1},]"#,
        br#"[{"a":1}] {}"#,
        br#"[{"a":1}"#,
        br#"{"a":NaN}"#,
        br#"{"a":[Infinity]}"#,
        br#"{"a":[-]}"#,
        br#"{"a":[01]}"#,
        br#"{"a":[+1]}"#,
        br#"{"a":[.5]}"#,
        br#"{"a":[1.]}"#,
        br#"{"a":[0x1]}"#,
        br#"{"a":[1e]}"#,
        br#"{'a':1}"#,
        br#"{a:1}"#,
        br#"{"a":["\x00"]}"#,
        br#"{"a":["\u00A"]}"#,
        br#"{"a":["\uD800"]}"#,
        b"{\"a\":[\"x\ty\"]}",
        b"{\"a\":[\"x\x1Fy\"]}",
        b"{\"a\":[\"\xFF\"]}",
        br#"{"a":1}/**/"#,
        br#"{"a":/**/1}"#,
        br#"{"a":1}#"#,
        br#"{"a":[1}"#,
        br#"{"a" "b"}"#,
        br#"{"a":tru}"#,
        br#"{"a":[True]}"#,
        b"\xFF\xFE{\0\"\0",
        b"{\"a\":1}\x0c",
    ];
    for text in refused {
        let session = api.open_session();
        let said = api
            .put_part(&session, 0, text, AS_NDJSON)
            .expect_refusal(422, "format_unreadable");
        assert!(said["line"].is_u64(), "{said}");
    }
}
