//! Which format a part has: extension of `x-file-name`, else `Content-Type`, else `content_type`, else its first bytes.

use serde_json::{Value, json};

use crate::support::client::{Api, Headers, Target};
use crate::support::data::Expectation;
use crate::support::python::run_json;
use crate::support::server::TestServer;
use crate::support::table::assert_table_holds;

const COLUMNS: &[(&str, &str)] = &[("id", "long"), ("word", "string")];

fn csv_of(id: usize) -> Vec<u8> {
    format!("id,word\n{id},\"a,b\"\n").into_bytes()
}

fn tsv_of(id: usize) -> Vec<u8> {
    format!("id\tword\n{id}\ta,b\n").into_bytes()
}

fn ndjson_of(id: usize) -> Vec<u8> {
    format!("{{\"id\": {id}, \"word\": \"a,b\"}}\n").into_bytes()
}

/// The kind in the answer, which must be the expected one.
fn put(api: &Api, session: &str, part: usize, query: &str, body: &[u8], headers: Headers) -> Value {
    let path = format!("/v1/upload/{session}?part={part}{query}");
    let answer = api.send("PUT", &path, headers, Some(body));
    println!("{headers:?} {query}: {} {}", answer.status, answer.text());
    answer.expect_json(201)
}

/// What is said, the format that is meant, and a body of that format.
type Case = (
    Headers<'static>,
    &'static str,
    &'static str,
    fn(usize) -> Vec<u8>,
);

const CASES: &[Case] = &[
    // 1. the extension of x-file-name, which wins over everything else
    (&[("x-file-name", "a.csv")], "", "csv", csv_of),
    (&[("x-file-name", "a.b.CSV")], "", "csv", csv_of),
    (&[("x-file-name", "a.tsv")], "", "tsv", tsv_of),
    (&[("x-file-name", "a.ndjson")], "", "ndjson", ndjson_of),
    (&[("x-file-name", "a.jsonl")], "", "ndjson", ndjson_of),
    (&[("x-file-name", "a.json")], "", "ndjson", ndjson_of),
    (
        &[
            ("x-file-name", "a.csv"),
            ("content-type", "application/x-ndjson"),
        ],
        "&content_type=application/x-ndjson",
        "csv",
        csv_of,
    ),
    (
        &[("x-file-name", "a.ndjson"), ("content-type", "text/csv")],
        "",
        "ndjson",
        ndjson_of,
    ),
    (
        &[
            ("x-file-name", "a.csv"),
            ("content-type", "application/octet-stream"),
        ],
        "",
        "csv",
        csv_of,
    ),
    // 2. Content-Type
    (&[("content-type", "text/csv")], "", "csv", csv_of),
    (
        &[("content-type", "text/csv; charset=utf-8")],
        "",
        "csv",
        csv_of,
    ),
    (
        &[("content-type", "text/tab-separated-values")],
        "",
        "tsv",
        tsv_of,
    ),
    (
        &[("content-type", "application/x-ndjson")],
        "",
        "ndjson",
        ndjson_of,
    ),
    (
        &[("content-type", "application/x-ndjson")],
        "&content_type=text/csv",
        "ndjson",
        ndjson_of,
    ),
    (
        &[
            ("x-file-name", "no-extension"),
            ("content-type", "text/csv"),
        ],
        "",
        "csv",
        csv_of,
    ),
    // 3. the content_type parameter
    (&[], "&content_type=text/csv", "csv", csv_of),
    (
        &[("content-type", "application/octet-stream")],
        "&content_type=application/x-ndjson",
        "ndjson",
        ndjson_of,
    ),
    (
        &[],
        "&content_type=text%2Ftab-separated-values",
        "tsv",
        tsv_of,
    ),
    // 4. the first bytes
    (&[], "", "ndjson", ndjson_of),
    (&[], "", "csv", csv_of),
    (
        &[
            ("content-type", "application/octet-stream"),
            ("x-file-name", "upload"),
        ],
        "",
        "ndjson",
        ndjson_of,
    ),
];

#[test]
fn text_formats_are_told_apart_in_the_documented_order() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    for (part, (headers, query, kind, body)) in CASES.iter().enumerate() {
        let answer = put(&api, &session, part, query, &body(part), headers);
        assert_eq!(answer["kind"], *kind, "{headers:?} {query}: {answer}");
    }
    api.commit(&session, &target, "fail").expect(200);
    let rows: Vec<Value> = (0..CASES.len()).map(|part| json!([part, "a,b"])).collect();
    assert_table_holds(
        &server,
        &target,
        &Expectation::new(COLUMNS).rows(&json!(rows)),
    );
}

#[test]
fn parquet_is_known_by_name_type_and_magic() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    let path = server.scratch("one.parquet");
    let rows = Expectation::new(COLUMNS).rows(&json!([[1, "a"], [2, null]]));
    let description = rows.write("one.json").display().to_string();
    run_json(
        "make_parquet.py",
        &[path.display().to_string(), "--from".to_owned(), description],
    );
    let parquet = std::fs::read(&path).expect("read the Parquet file");
    let cases: [(Headers, &str); 6] = [
        (
            &[
                ("x-file-name", "a.parquet"),
                ("content-type", "application/octet-stream"),
            ],
            "",
        ),
        (&[("x-file-name", "a.pq")], ""),
        (&[("content-type", "application/vnd.apache.parquet")], ""),
        (&[], "&content_type=application/vnd.apache.parquet"),
        (&[("content-type", "application/octet-stream")], ""),
        (&[], ""),
    ];
    for (part, (headers, query)) in cases.iter().enumerate() {
        let answer = put(&api, &session, part, query, &parquet, headers);
        assert_eq!(answer["kind"], "parquet", "{headers:?} {query}: {answer}");
        assert_eq!(answer["rows"], 2, "{headers:?} {query}: {answer}");
    }
    api.commit(&session, &target, "fail").expect(200);
    let expectation =
        Expectation::new(COLUMNS).parquet_file(&path, u32::try_from(cases.len()).expect("few"));
    assert_table_holds(&server, &target, &expectation);
}

#[test]
fn other_formats_and_broken_files_are_422_and_leave_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let cases: [(&str, Headers, &[u8]); 8] = [
        (
            "an image",
            &[("content-type", "image/png")],
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        ),
        ("binary without a name", &[], b"\0\x01\x02\x03\0\0\0\0"),
        (
            "binary called CSV",
            &[("x-file-name", "a.csv")],
            b"id\n\xff\xfe\0\x01\n",
        ),
        (
            "CSV called Parquet",
            &[("x-file-name", "a.parquet")],
            b"id,word\n1,a\n",
        ),
        (
            "a Parquet magic and nothing else",
            &[("x-file-name", "a.parquet")],
            b"PAR1PAR1",
        ),
        (
            "a Parquet footer that lies",
            &[("x-file-name", "a.parquet")],
            b"PAR1\0\0\0\0\xff\xff\xff\x7fPAR1",
        ),
        (
            "CSV called NDJSON",
            &[("x-file-name", "a.ndjson")],
            b"id,word\n1,a\n",
        ),
        (
            "an array called NDJSON",
            &[("x-file-name", "a.ndjson")],
            b"[1, 2]\n",
        ),
    ];
    for (what, headers, body) in cases {
        let answer = api.put_part(&session, 0, body, headers);
        println!("{what}: {} {}", answer.status, answer.text());
        answer.expect_refusal_of(422);
        api.inspect(&session).expect(204);
    }
}
