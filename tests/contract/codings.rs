//! Content codings: each one accepted in every legal form gives exactly the rows that were compressed; everything else is
//! refused and leaves nothing.

use std::io::Write;

use crate::support::client::{Headers, Target};
use crate::support::codings::{gzip, raw_deflate, zlib};
use crate::support::data::{Expectation, numbered_csv};
use crate::support::server::TestServer;
use crate::support::table::assert_table_holds;

fn gzip_in_members(bytes: &[u8]) -> Vec<u8> {
    // Cut without regard to lines, and with an empty member in between.
    let (first, rest) = bytes.split_at(bytes.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2 + 1);
    [first, second, b"", third].map(gzip).concat()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    encoder.write_all(bytes).expect("compress");
    encoder.flush().expect("compress");
    encoder.into_inner()
}

/// A frame with a window of `window_log` bits and, as the clients send it, without its content's size.
fn zstd_with_window(bytes: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("a zstd encoder");
    encoder.window_log(window_log).expect("a window size");
    encoder
        .include_contentsize(false)
        .expect("leave the size out");
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    let frame = zstd_with_window(bytes, 20);
    let told_size = zstd::zstd_safe::get_frame_content_size(&frame).expect("a frame");
    assert_eq!(told_size, None, "the frame must not tell its size");
    frame
}

fn zstd_in_frames(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [first, second].map(zstd_frame).concat()
}

fn as_they_are(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// What it is, how it is compressed, and what the request says about it.
type Case = (&'static str, fn(&[u8]) -> Vec<u8>, Headers<'static>);

const CSV_NAME: (&str, &str) = ("x-file-name", "data.csv");

const ACCEPTED: &[Case] = &[
    (
        "identity",
        as_they_are,
        &[CSV_NAME, ("content-encoding", "identity")],
    ),
    ("nothing said", as_they_are, &[CSV_NAME]),
    ("gzip", gzip, &[CSV_NAME, ("content-encoding", "gzip")]),
    (
        "gzip in capitals",
        gzip,
        &[CSV_NAME, ("content-encoding", "GZIP")],
    ),
    ("x-gzip", gzip, &[CSV_NAME, ("content-encoding", "x-gzip")]),
    (
        "gzip of several members",
        gzip_in_members,
        &[CSV_NAME, ("content-encoding", "gzip")],
    ),
    ("gzip by magic", gzip, &[CSV_NAME]),
    (
        "gzip by magic, several members",
        gzip_in_members,
        &[("content-type", "text/csv")],
    ),
    ("gzip by suffix", gzip, &[("x-file-name", "data.csv.gz")]),
    (
        "deflate in zlib",
        zlib,
        &[CSV_NAME, ("content-encoding", "deflate")],
    ),
    (
        "deflate, raw",
        raw_deflate,
        &[CSV_NAME, ("content-encoding", "deflate")],
    ),
    ("br", brotli, &[CSV_NAME, ("content-encoding", "br")]),
    ("br by suffix", brotli, &[("x-file-name", "data.csv.br")]),
    (
        "zstd",
        zstd_frame,
        &[CSV_NAME, ("content-encoding", "zstd")],
    ),
    (
        "zstd with the window at its limit",
        |bytes| zstd_with_window(bytes, 23),
        &[CSV_NAME, ("content-encoding", "zstd")],
    ),
    (
        "zstd in several frames",
        zstd_in_frames,
        &[CSV_NAME, ("content-encoding", "zstd")],
    ),
    ("zstd by magic", zstd_frame, &[CSV_NAME]),
    (
        "zstd by suffix",
        zstd_frame,
        &[("x-file-name", "data.csv.zst")],
    ),
    (
        "header and suffix agree",
        gzip,
        &[("x-file-name", "data.csv.gz"), ("content-encoding", "gzip")],
    ),
];

#[test]
fn every_coding_gives_back_the_rows() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    let mut expectation = Expectation::numbered();
    for (part, (what, compress, headers)) in (0..).zip(ACCEPTED) {
        let csv = numbered_csv(part, 400);
        let answer = api.put_part(&session, part, &compress(csv.as_bytes()), headers);
        println!("{what}: {} {}", answer.status, answer.text());
        let answer = answer.expect_json(201);
        assert_eq!(answer["rows"], 400, "{what}: {answer}");
        assert_eq!(answer["kind"], "csv", "{what}: {answer}");
        expectation = expectation.csv(&csv);
    }
    api.commit(&session, &target, "fail").expect(200);
    assert_table_holds(&server, &target, &expectation);
}

#[test]
fn bodies_that_are_not_what_the_coding_says_are_refused_and_leave_nothing() {
    let cut: fn(Vec<u8>) -> Vec<u8> = |mut bytes| {
        bytes.truncate(bytes.len() - 5);
        bytes
    };
    let damaged: fn(Vec<u8>) -> Vec<u8> = |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        bytes
    };
    let csv = numbered_csv(0, 400).into_bytes();
    let named = |coding: &'static str| vec![CSV_NAME, ("content-encoding", coding)];
    let broken = [
        ("gzip that was cut", cut(gzip(&csv)), named("gzip")),
        ("gzip that was damaged", damaged(gzip(&csv)), named("gzip")),
        (
            "the second member cut",
            [gzip(&csv), cut(gzip(&csv))].concat(),
            named("gzip"),
        ),
        ("plain text called gzip", csv.clone(), named("gzip")),
        ("zlib that was cut", cut(zlib(&csv)), named("deflate")),
        (
            "raw deflate that was cut",
            cut(raw_deflate(&csv)),
            named("deflate"),
        ),
        ("brotli that was cut", cut(brotli(&csv)), named("br")),
        ("zstd that was cut", cut(zstd_frame(&csv)), named("zstd")),
        ("plain text called zstd", csv.clone(), named("zstd")),
        (
            "zstd with a window of 16 MiB",
            zstd_with_window(&csv, 24),
            named("zstd"),
        ),
        (
            "gzip by magic that was cut",
            cut(gzip(&csv)),
            vec![CSV_NAME],
        ),
    ];
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    for (what, body, headers) in broken {
        let answer = api.put_part(&session, 0, &body, &headers);
        println!("{what}: {} {}", answer.status, answer.text());
        answer.expect_refusal_of(422);
        api.inspect(&session).expect(204);
    }
}

#[test]
fn unknown_and_chained_codings_are_415_and_say_what_is_accepted() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let twice = gzip(&gzip(b"id\n1\n"));
    for coding in [
        "lzma",
        "compress",
        "gzip, gzip",
        "gzip,br",
        "identity, gzip, zstd",
        "snappy",
    ] {
        let headers = [CSV_NAME, ("content-encoding", coding)];
        let answer = api.put_part(&session, 0, &twice, &headers);
        let accepted = answer
            .header("accept-encoding")
            .unwrap_or_else(|| panic!("{coding}: no Accept-Encoding"))
            .to_owned();
        for known in ["gzip", "deflate", "br", "zstd"] {
            assert!(
                accepted.split(',').any(|one| one.trim() == known),
                "{known} is missing in `{accepted}`"
            );
        }
        answer.expect_refusal(415, "unsupported_encoding");
    }
    // Compressed twice behind one name: the decoded body is no CSV.
    let headers = [CSV_NAME, ("content-encoding", "gzip")];
    api.put_part(&session, 0, &twice, &headers)
        .expect_refusal_of(422);
    api.inspect(&session).expect(204);
}

#[test]
fn sha256_is_that_of_the_bytes_as_sent() {
    use sha2::{Digest, Sha256};
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let body = gzip(numbered_csv(0, 100).as_bytes());
    let answer = api
        .put_part(
            &session,
            7,
            &body,
            &[CSV_NAME, ("content-encoding", "gzip")],
        )
        .expect_json(201);
    let expected = hex::encode(Sha256::digest(&body));
    assert_eq!(answer["sha256"], expected, "{answer}");
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(inspected["parts"][0]["sha256"], expected, "{inspected}");
}
