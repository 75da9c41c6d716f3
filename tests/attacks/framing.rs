//! Where a request ends: smuggling shapes, lengths that lie, chunks that are none. What counts is how many requests the
//! server sees: never one that a proxy in front would take for a body.

use super::attack::Expected::{Broken, NoRequest, Refused, Statuses};
use super::attack::{Attack, attack};

/// A request that must not be seen.
const SMUGGLED: &str = "GET /health HTTP/1.1\r\nhost: calve\r\n\r\n";

/// The head of an opening of a session with these lines, and what follows.
fn opening(lines: &str, rest: &str) -> String {
    format!("POST /v1/upload/session HTTP/1.1\r\nhost: calve\r\n{lines}\r\n{rest}")
}

fn chunked(rest: &str) -> String {
    opening("transfer-encoding: chunked\r\n", rest)
}

pub(crate) fn attacks(session: &str) -> Vec<Attack> {
    let two_lengths = format!(
        "content-length: 0\r\ncontent-length: {}\r\n",
        SMUGGLED.len()
    );
    let both = format!(
        "transfer-encoding: chunked\r\ncontent-length: {}\r\n",
        5 + SMUGGLED.len()
    );
    let mut attacks = vec![
        attack(
            "a length and chunks",
            opening(&both, &format!("0\r\n\r\n{SMUGGLED}")),
            NoRequest(400),
        ),
        attack(
            "chunks and a length, the other way round",
            opening(
                "content-length: 4\r\ntransfer-encoding: chunked\r\n",
                &format!("2\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}"),
            ),
            NoRequest(400),
        ),
        attack(
            "two lengths",
            opening(&two_lengths, SMUGGLED),
            NoRequest(400),
        ),
        attack(
            "one length twice",
            opening("content-length: 2\r\ncontent-length: 2\r\n", "{}"),
            NoRequest(400),
        ),
        attack(
            "a list of lengths",
            opening("content-length: 2, 2\r\n", "{}"),
            NoRequest(400),
        ),
        attack(
            "two transfer codings",
            opening(
                "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
                "0\r\n\r\n",
            ),
            NoRequest(400),
        ),
        attack(
            "chunks of HTTP/1.0",
            "POST /v1/upload/session HTTP/1.0\r\nhost: calve\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "a session of HTTP/1.0 without a length",
            "POST /v1/upload/session HTTP/1.0\r\nhost: calve\r\n\r\n{}",
            NoRequest(400),
        ),
        attack(
            "a request behind a complete one",
            opening("content-length: 2\r\n", &format!("{{}}{SMUGGLED}")),
            Statuses(&[201, 200]),
        ),
        attack(
            "a body longer than its length",
            opening("content-length: 2\r\n", "{}garbage\r\n\r\n"),
            Statuses(&[201, 400]),
        ),
        attack(
            "a body shorter than its length",
            opening("content-length: 100\r\n", SMUGGLED),
            Broken,
        ),
        attack(
            "a body nobody asked for",
            format!(
                "GET /health HTTP/1.1\r\nhost: calve\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Statuses(&[200]),
        ),
        attack(
            "a body on an unknown path",
            format!(
                "POST /nowhere HTTP/1.1\r\nhost: calve\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Refused(404, "route_not_found"),
        ),
        attack(
            "bare line feeds",
            "GET /health HTTP/1.1\nhost: calve\n\n",
            Statuses(&[200]),
        ),
        attack(
            "a header folded over two lines",
            "GET /health HTTP/1.1\r\nhost: calve\r\nx-a: b\r\n c\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "a folded transfer coding",
            opening("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
            NoRequest(400),
        ),
        attack(
            "a websocket with a length",
            format!(
                "POST /v1/upload/session HTTP/1.1\r\nhost: calve\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{{}}{SMUGGLED}"
            ),
            Broken,
        ),
        attack(
            "a change to HTTP/2",
            format!(
                "GET /health HTTP/1.1\r\nhost: calve\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n{SMUGGLED}"
            ),
            Statuses(&[200, 200]),
        ),
        attack(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "lengths as hop-by-hop headers",
            opening("connection: content-length\r\ncontent-length: 2\r\n", "{}"),
            Statuses(&[201]),
        ),
    ];
    for value in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "gzip, chunked",
        "\"chunked\"",
        "chunked;q=1",
        "\u{b}chunked",
        "identity",
        "",
        "chun ked",
        "cow",
        "\u{e9}",
    ] {
        let lines = format!("transfer-encoding: {value}\r\n");
        attacks.push(attack(
            &format!("the transfer coding `{value}`"),
            opening(&lines, &format!("0\r\n\r\n{SMUGGLED}")),
            NoRequest(400),
        ));
    }
    for line in [
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "transfer\u{b}encoding: chunked",
        "transfer-encoding\r: chunked",
        "x: y\rtransfer-encoding: chunked",
    ] {
        attacks.push(attack(
            &format!("the line {line:?}"),
            opening(&format!("{line}\r\n"), "0\r\n\r\n"),
            NoRequest(400),
        ));
    }
    for value in [
        "+2",
        "-2",
        "0x2",
        "2 2",
        "2;",
        "two",
        "",
        "1e1",
        "18446744073709551616",
        "\u{662}",
    ] {
        attacks.push(attack(
            &format!("the length `{value}`"),
            opening(&format!("content-length: {value}\r\n"), "{}"),
            NoRequest(400),
        ));
    }
    for (name, body) in [
        ("a chunk without a size", "\r\n{}\r\n0\r\n\r\n"),
        ("a chunk of negative size", "-2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk size with a prefix", "0x2\r\n{}\r\n0\r\n\r\n"),
        (
            "a chunk size that overflows",
            "10000000000000002\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "the largest chunk size",
            "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        ),
        ("a chunk longer than its size", "2\r\n{}}}\r\n0\r\n\r\n"),
        (
            "a chunk size that ends in a line feed",
            "2\n{}\r\n0\r\n\r\n",
        ),
        ("a chunk that ends in a line feed", "2\r\n{}\n0\r\n\r\n"),
        (
            "a line feed in a chunk extension",
            "2;a\nb\r\n{}\r\n0\r\n\r\n",
        ),
        ("chunks without an end", "2\r\n{}\r\n"),
    ] {
        attacks.push(attack(name, chunked(body), Broken));
    }
    let session = format!(
        "PUT /v1/upload/{session}?part=9 HTTP/1.1\r\nhost: calve\r\nx-file-name: a.csv\r\n"
    );
    attacks.extend([
        attack(
            "a chunk size behind a thousand zeros",
            chunked(&format!("{}2\r\n{{}}\r\n0\r\n\r\n", "0".repeat(1000))),
            Statuses(&[201]),
        ),
        attack(
            "a chunk extension of a MiB",
            chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(1 << 20))),
            Statuses(&[201]),
        ),
        attack(
            "a MiB of chunks of a byte",
            chunked(&format!("{}0\r\n\r\n", "1\r\n \r\n".repeat(1 << 18))),
            Refused(413, "request_too_large"),
        ),
        attack(
            "trailers of a MiB",
            chunked(&format!(
                "2\r\n{{}}\r\n0\r\n{}\r\n",
                "content-length: 5\r\n".repeat(50_000)
            )),
            Statuses(&[201]),
        ),
        attack(
            "a length in a trailer",
            chunked(&format!(
                "2\r\n{{}}\r\n0\r\ncontent-length: 50\r\n\r\n{SMUGGLED}"
            )),
            Statuses(&[201, 200]),
        ),
        attack(
            "the largest length",
            format!("{session}content-length: 18446744073709551615\r\n\r\na\n1\n"),
            Refused(413, "part_too_large"),
        ),
        attack(
            "a part in chunks that break",
            format!("{session}transfer-encoding: chunked\r\n\r\n4\r\na\n1\n\r\nzz\r\n"),
            Broken,
        ),
    ]);
    attacks
}
