//! Requests that are refused for what they say, whatever is stored.

use calve::error::ErrorCode;
use serde_json::json;

use super::Refusals;
use crate::support::client::{AS_CSV, Headers};
use crate::support::raw::RawRequest;
use crate::support::server::TestServer;

pub(super) fn note(found: &mut Refusals) {
    let server = TestServer::start_with(&[("CALVE_SERVER__BODY_IDLE_TIMEOUT", "1s")]);
    surface(found, &server);
    parameters(found, &server);
    bodies(found, &server);
}

fn surface(found: &mut Refusals, server: &TestServer) {
    let api = server.api();
    let session = api.open_session();
    found.note(
        ErrorCode::RouteNotFound,
        "a path that is none",
        &api.get("/v2/upload"),
    );
    let answer = api.send("POST", "/health", &[], Some(b""));
    found.note(
        ErrorCode::MethodNotAllowed,
        "POST of what can be read only",
        &answer,
    );
    let answer = api.get(&format!("/v1/upload/{session}/commit"));
    found.note(ErrorCode::MethodNotAllowed, "GET of a commit", &answer);
    let nobody = format!("20240101000000-{}", "0".repeat(32));
    let answer = api.put_part(&nobody, 0, b"a\n1\n", AS_CSV);
    found.note(
        ErrorCode::SessionNotFound,
        "a part of an unknown session",
        &answer,
    );
    let answer = api.delete_part(&session, 7);
    found.note(
        ErrorCode::PartNotFound,
        "deletion of a part that never was",
        &answer,
    );
    let long = " ".repeat(2 << 20);
    let answer = api.send("POST", "/v1/upload/session", &[], Some(long.as_bytes()));
    found.note(
        ErrorCode::RequestTooLarge,
        "opening a session with a body of 2 MiB",
        &answer,
    );
}

fn parameters(found: &mut Refusals, server: &TestServer) {
    let api = server.api();
    let session = api.open_session();
    let queries = [
        ("no part number", ""),
        ("a part number that is a word", "?part=first"),
        ("a part number below zero", "?part=-1"),
        ("a part number beyond the highest", "?part=1000"),
        (
            "an unknown encoding and a long delimiter",
            "?part=0&encoding=klingon&delimiter=ab",
        ),
        ("an unknown way with ragged rows", "?part=0&ragged=drop"),
        ("too many header rows", "?part=0&header=9"),
    ];
    for (asked, query) in queries {
        let path = format!("/v1/upload/{session}{query}");
        let answer = api.send("PUT", &path, AS_CSV, Some(b"a\n1\n"));
        found.note(ErrorCode::ValidationError, asked, &answer);
    }
    let bodies = [
        ("a commit without a target", json!({})),
        (
            "a commit to a target without a dataset",
            json!({"target": {"workspace": "a", "collection": "b"}}),
        ),
        (
            "a commit to a name with a slash",
            json!({"target": {"workspace": "a", "collection": "b", "dataset": "../c"}}),
        ),
        (
            "an unknown conflict resolution",
            json!({"target": {"workspace": "a", "collection": "b", "dataset": "c"}, "conflict_resolution": "merge"}),
        ),
        (
            "an unknown schema evolution and a dry run that is no truth value",
            json!({
                "target": {"workspace": "a", "collection": "b", "dataset": "c"},
                "conflict_resolution": "append", "schema_evolution": "any", "dry_run": "perhaps"
            }),
        ),
        ("a commit with a list as its body", json!([1])),
    ];
    for (asked, body) in bodies {
        let answer = api.commit_body(&session, &body);
        found.note(ErrorCode::ValidationError, asked, &answer);
    }
    let path = format!("/v1/upload/{session}/commit");
    let answer = api.send(
        "POST",
        &path,
        &[("content-type", "application/json")],
        Some(b"{\"target\":"),
    );
    found.note(
        ErrorCode::ValidationError,
        "a commit whose JSON was cut",
        &answer,
    );
}

fn bodies(found: &mut Refusals, server: &TestServer) {
    let api = server.api();
    let session = api.open_session();
    let path = format!("/v1/upload/{session}?part=0");
    let zeros = "A".repeat(43) + "=";
    let digest = format!("sha-256=:{zeros}:");
    let headers: [(ErrorCode, &str, Headers); 7] = [
        (
            ErrorCode::InvalidDigest,
            "a Content-MD5 that is no base64",
            &[("content-md5", "?")],
        ),
        (
            ErrorCode::InvalidDigest,
            "a Content-Digest that is cut",
            &[("content-digest", "sha-256=:AAAA:")],
        ),
        (
            ErrorCode::ChecksumMismatch,
            "a Content-Digest of other bytes",
            &[("content-digest", &digest)],
        ),
        (
            ErrorCode::ChecksumMismatch,
            "a CRC-32C of other bytes",
            &[("x-amz-checksum-crc32c", "AAAAAA==")],
        ),
        (
            ErrorCode::UnsupportedEncoding,
            "an unknown coding",
            &[("content-encoding", "lzma")],
        ),
        (
            ErrorCode::UnsupportedEncoding,
            "a chain of codings",
            &[("content-encoding", "gzip, br")],
        ),
        (
            ErrorCode::UnsupportedFormat,
            "an image",
            &[("content-type", "image/png")],
        ),
    ];
    for (code, asked, headers) in headers {
        let answer = api.send("PUT", &path, headers, Some(b"a\n1\n"));
        found.note(code, asked, &answer);
    }
    let answer = api.send("PUT", &path, &[], Some(b"\x7fELF\0\0\0\0"));
    found.note(
        ErrorCode::UnsupportedFormat,
        "bytes that are no text, without a name",
        &answer,
    );

    let headers = [("x-file-name", "a.csv"), ("content-length", "1000")];
    let mut silent = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    silent.write(b"a\n1\n");
    found.note_raw(
        ErrorCode::BodyTimeout,
        "a body that falls silent",
        &silent.read_answer(),
    );
    let mut cut = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    cut.write(b"a\n1\n");
    cut.end_writing();
    found.note_raw(
        ErrorCode::BodyIncomplete,
        "a body that ends too early",
        &cut.read_answer(),
    );
}
