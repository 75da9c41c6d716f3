//! Limits: a body that is too large is 413, as early as that can be known, and leaves nothing.

use std::time::Duration;

use crate::support::client::{AS_CSV, Target};
use crate::support::codings::gzip;
use crate::support::data::numbered_csv_of_bytes;
use crate::support::raw::RawRequest;
use crate::support::server::{TestServer, files_below};
use crate::support::{PATIENCE, wait_until};

const MIB: usize = 1024 * 1024;
const DEFAULT_WIRE_BYTES_MAX: usize = 30 * MIB;

#[test]
fn content_length_over_the_limit_is_refused_before_the_body_is_sent() {
    let server = TestServer::start();
    let session = server.api().open_session();
    let path = format!("/v1/upload/{session}?part=0");
    let over = (DEFAULT_WIRE_BYTES_MAX + 1).to_string();
    let headers = [("x-file-name", "a.csv"), ("content-length", over.as_str())];
    // Not one byte of the body is written.
    let answer = RawRequest::start(server.base_url(), "PUT", &path, &headers).read_answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["code"], "part_too_large", "{body}");
    assert!(
        body["detail"].is_string() && body["request_id"].is_string(),
        "{body}"
    );
    server.api().inspect(&session).expect(204);
}

#[test]
fn chunked_body_over_the_limit_is_refused_when_it_passes_it() {
    let server = TestServer::start_with(&[("CALVE_PARTS__WIRE_BYTES_MAX", "1MiB")]);
    let api = server.api();
    let session = api.open_session();
    let (csv, _) = numbered_csv_of_bytes(0, MIB);
    let over = format!("{csv}{}", " ".repeat(MIB + 1 - csv.len()));
    let path = format!("/v1/upload/{session}?part=0");
    let headers = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    for chunk in over.as_bytes().chunks(64 * 1024) {
        request.write_chunk(chunk);
    }
    // The body is not ended: only the limit can make the server answer.
    let answer = request.read_answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.json()["code"], "part_too_large", "{answer:?}");
    api.inspect(&session).expect(204);
}

#[test]
fn bodies_up_to_the_limit_are_taken_with_and_without_content_length() {
    let server = TestServer::start_with(&[("CALVE_PARTS__WIRE_BYTES_MAX", "1MiB")]);
    let api = server.api();
    let session = api.open_session();
    let (csv, rows) = numbered_csv_of_bytes(0, MIB);
    // To the last byte: the header's last name is made longer.
    let exact = csv.replacen(
        "flag\n",
        &format!("flag{}\n", "g".repeat(MIB - csv.len())),
        1,
    );
    assert_eq!(exact.len(), MIB);
    assert_eq!(api.put_csv(&session, 0, &exact)["rows"], rows);
    let over = format!("{exact}\n");
    let refusal = api
        .put_part(&session, 0, over.as_bytes(), AS_CSV)
        .expect_refusal(413, "part_too_large");
    assert!(
        refusal["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains('1')),
        "names the limit: {refusal}"
    );

    let path = format!("/v1/upload/{session}?part=1");
    let headers = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    request.write_chunk(exact.as_bytes());
    request.write(b"0\r\n\r\n");
    let answer = request.read_answer();
    assert_eq!(answer.status, 201, "{answer:?}");
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(inspected["rows_estimate"], 2 * rows, "{inspected}");
    assert_eq!(
        inspected["parts"][0]["sha256"], inspected["parts"][1]["sha256"],
        "{inspected}"
    );
}

#[test]
fn decoded_body_over_the_limit_is_refused() {
    let server = TestServer::start_with(&[("CALVE_PARTS__DECODED_BYTES_MAX", "1MiB")]);
    let api = server.api();
    let session = api.open_session();
    let headers = [("x-file-name", "a.csv"), ("content-encoding", "gzip")];
    let (fits, rows) = numbered_csv_of_bytes(0, MIB);
    assert_eq!(
        api.put_part(&session, 0, &gzip(fits.as_bytes()), &headers)
            .expect_json(201)["rows"],
        rows
    );
    let (over, _) = numbered_csv_of_bytes(0, MIB + 1000);
    assert!(over.len() > MIB);
    api.put_part(&session, 1, &gzip(over.as_bytes()), &headers)
        .expect_refusal(413, "decoded_too_large");
    // What is not compressed has the same limit.
    api.put_part(&session, 1, over.as_bytes(), AS_CSV)
        .expect_refusal_of(413);
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(
        inspected["rows_estimate"], rows,
        "only the first part is there: {inspected}"
    );
}

#[test]
fn a_bomb_is_refused_by_the_default_limits() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // 250 MiB of one digit, a quarter of a megabyte as sent.
    let line = [b"1".repeat(MIB - 1), b"\n".to_vec()].concat();
    let bomb = gzip(&[b"id\n".to_vec(), line.repeat(250)].concat());
    assert!(bomb.len() < MIB, "{} bytes", bomb.len());
    let headers = [("x-file-name", "a.csv"), ("content-encoding", "gzip")];
    api.put_part(&session, 0, &bomb, &headers)
        .expect_refusal(413, "decoded_too_large");
    api.inspect(&session).expect(204);
}

#[test]
fn body_that_ends_early_is_not_stored() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let path = format!("/v1/upload/{session}?part=0");
    let headers = [("x-file-name", "a.csv"), ("content-length", "1000")];
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    request.write(b"id\n1\n2\n");
    drop(request);
    // A chunked body whose end is missing, and one whose framing breaks.
    let chunked = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &chunked);
    request.write_chunk(b"id\n1\n2\n");
    drop(request);
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &chunked);
    request.write_chunk(b"id\n1\n2\n");
    request.write(b"no length\r\n");
    drop(request);
    api.inspect(&session).expect(204);
    // A later upload of the same part works, and only it is there.
    api.put_csv(&session, 0, "id\n3\n");
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(inspected["rows_estimate"], 1, "{inspected}");
}

#[test]
fn a_body_that_trickles_is_refused() {
    let server = TestServer::start_with(&[
        ("CALVE_SERVER__BODY_IDLE_TIMEOUT", "1s"),
        ("CALVE_SERVER__BODY_BYTES_PER_SECOND_MIN", "1MiB"),
        ("CALVE_PARTS__IN_FLIGHT_MAX", "1"),
    ]);
    let api = server.api();
    let session = api.open_session();
    let chunked = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
    for (method, path) in [
        ("PUT", format!("/v1/upload/{session}?part=0")),
        ("POST", "/v1/upload/session".to_owned()),
        ("POST", format!("/v1/upload/{session}/commit")),
    ] {
        let trickling = RawRequest::start(server.base_url(), method, &path, &chunked);
        // No silence is as long as the idle timeout.
        let answer = trickling.trickle(Duration::from_millis(20));
        assert_eq!(answer.status, 408, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["code"], "body_timeout", "{body}");
        let detail = body["detail"].as_str().expect("a sentence");
        assert!(detail.contains("1048576 bytes a second"), "{detail}");
    }
    api.inspect(&session).expect(204);
    // The place is free again, and a body that comes at once is not measured.
    api.put_csv(&session, 0, "a\n1\n");
}

#[test]
fn a_body_that_takes_too_long_is_refused_however_fast_it_is() {
    let server = TestServer::start_with(&[("CALVE_SERVER__BODY_DEADLINE", "1s")]);
    let session = server.api().open_session();
    let chunked = [("x-file-name", "a.csv"), ("transfer-encoding", "chunked")];
    let path = format!("/v1/upload/{session}?part=0");
    let endless = RawRequest::start(server.base_url(), "PUT", &path, &chunked);
    let answer = endless.trickle(Duration::from_millis(20));
    assert_eq!(answer.status, 408, "{answer:?}");
    let detail = answer.json()["detail"]
        .as_str()
        .expect("a sentence")
        .to_owned();
    assert!(
        detail.starts_with("The body took longer than 1 s"),
        "{detail}"
    );
}

#[test]
fn a_nearly_full_disk_takes_no_parts_and_says_so() {
    let server = TestServer::start_with(&[("CALVE_STORAGE__RESERVE", "1000 PiB")]);
    let api = server.api();
    let session = api.open_session();
    let refusal = api
        .put_part(&session, 0, b"a\n1\n", AS_CSV)
        .expect_refusal(507, "no_space");
    assert_eq!(refusal["needed_bytes"], 4, "{refusal}");
    assert!(
        refusal["free_bytes"].as_u64() < refusal["reserve_bytes"].as_u64(),
        "{refusal}"
    );
    // A large one is refused before its body is read, with room for its data file in mind.
    let (large, _) = numbered_csv_of_bytes(0, 100_000);
    let refusal = api
        .put_part(&session, 0, large.as_bytes(), AS_CSV)
        .expect_refusal(507, "no_space");
    assert_eq!(refusal["needed_bytes"], 2 * large.len(), "{refusal}");
    for folder in ["staging", "packs"] {
        let staged = files_below(&server.data_dir().join(folder));
        assert!(staged.is_empty(), "nothing is stored: {staged:?}");
    }
    api.get("/health").expect(200);
}

#[test]
fn only_so_many_sessions_are_open_at_once() {
    let server = TestServer::start_with(&[("CALVE_SESSIONS__OPEN_MAX", "2")]);
    let api = server.api();
    let session = api.open_session();
    api.open_session();
    let open = || api.send("POST", "/v1/upload/session", &[], Some(b""));
    let refused = open().expect(429);
    let seconds: u32 = refused
        .header("retry-after")
        .expect("when to try again")
        .parse()
        .expect("seconds");
    assert!(seconds > 0);
    let body = refused.expect_refusal(429, "limit_reached");
    assert_eq!(
        (&body["limit"], &body["limit_sessions"]),
        (&"sessions.open_max".into(), &2.into())
    );
    api.put_csv(&session, 0, "a\n1\n");
    api.commit(&session, &Target::new("acme.sales.orders"), "fail")
        .expect(200);
    open().expect(201);
    open().expect_refusal(429, "limit_reached");
}

#[test]
fn only_so_many_bytes_are_staged_at_once_and_deleting_gives_room() {
    let mut server = TestServer::start_with(&[("CALVE_STORAGE__STAGED_BYTES_MAX", "6KiB")]);
    let (csv, _) = numbered_csv_of_bytes(0, 4 * 1024);
    let session = server.api().open_session();
    server.api().put_csv(&session, 0, &csv);
    // A restarted server counts what it finds, in its first sweep.
    server.kill();
    server.restart();
    let api = server.api();
    let body = wait_until("the bytes staged are counted", PATIENCE, || {
        let answer = api.put_part(&session, 1, csv.as_bytes(), AS_CSV);
        if answer.status == 201 {
            api.delete_part(&session, 1).expect(200);
            return None;
        }
        Some(answer.expect_refusal(429, "limit_reached"))
    });
    assert_eq!(body["limit_bytes"], 6 * 1024);
    assert_eq!(body["staged_bytes"], csv.len(), "{body}");
    api.delete_part(&session, 0).expect(200);
    api.put_csv(&session, 1, &csv);
    api.inspect(&session).expect(200);
}

#[test]
fn only_so_many_parts_are_received_at_once() {
    let server = TestServer::start_with(&[("CALVE_PARTS__IN_FLIGHT_MAX", "1")]);
    let api = server.api();
    let session = api.open_session();
    let csv = "a\n1\n";
    let (large, _) = numbered_csv_of_bytes(0, 100_000);
    let large_bytes = large.len().to_string();
    let path = format!("/v1/upload/{session}?part=0");
    let headers = [
        ("x-file-name", "a.csv"),
        ("content-length", &*large_bytes),
        ("expect", "100-continue"),
    ];
    let mut slow = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    slow.await_continue();
    // Its file is there when it has its place.
    let staging = server.data_dir().join("staging");
    wait_until("the place is taken", PATIENCE, || {
        (!files_below(&staging).is_empty()).then_some(())
    });
    let refused = api.put_part(&session, 1, csv.as_bytes(), AS_CSV);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.expect_refusal(503, "overloaded");
    slow.write(large.as_bytes());
    assert_eq!(slow.read_answer().status, 201);
    api.put_csv(&session, 1, csv);
}
