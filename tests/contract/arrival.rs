//! Large text parts are read while they arrive: what they become does not depend on when their bytes come.

use std::path::PathBuf;

use crate::support::client::Target;
use crate::support::data::{Expectation, numbered_csv_of_bytes};
use crate::support::raw::RawRequest;
use crate::support::server::{TestServer, files_below};
use crate::support::table::assert_table_holds;
use crate::support::{PATIENCE, wait_until};

const MIB: usize = 1024 * 1024;

/// The data file of a part that is arriving.
fn growing(server: &TestServer) -> Vec<PathBuf> {
    let mut files = files_below(&server.data_dir().join("staging"));
    files.retain(|file| file.to_string_lossy().ends_with(".data.tmp"));
    files
}

/// Sends half of the part, and comes back when the server has begun to make a data file of it.
fn send_half(server: &TestServer, session: &str, csv: &str) -> RawRequest {
    let path = format!("/v1/upload/{session}?part=0");
    let length = csv.len().to_string();
    let headers = [("x-file-name", "a.csv"), ("content-length", &*length)];
    let mut request = RawRequest::start(server.base_url(), "PUT", &path, &headers);
    request.write(&csv.as_bytes()[..csv.len() / 2]);
    wait_until("the data file is begun", PATIENCE, || {
        (!growing(server).is_empty()).then_some(())
    });
    request
}

#[test]
fn a_part_is_converted_while_it_arrives_and_once_more_when_it_falls_silent() {
    let server = TestServer::start();
    let (csv, rows) = numbered_csv_of_bytes(0, 2 * MIB);
    let target = Target::new("acme.sales.orders");
    let mut expected = Expectation::numbered();
    for falls_silent in [false, true] {
        let session = server.api().open_session();
        let mut request = send_half(&server, &session, &csv);
        if falls_silent {
            wait_until("the server has given up", PATIENCE, || {
                growing(&server).is_empty().then_some(())
            });
        }
        request.write(&csv.as_bytes()[csv.len() / 2..]);
        let answer = request.read_answer();
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["rows"], rows);
        server.api().commit(&session, &target, "append").expect(200);
        expected = expected.csv(&csv);
    }
    assert_table_holds(&server, &target, &expected);
}

#[test]
fn the_last_row_can_still_change_a_type_or_be_refused() {
    let server = TestServer::start();
    let (mut csv, rows) = numbered_csv_of_bytes(0, 2 * MIB);
    csv.push_str("last,0,w,0.5,2024-02-20,2024-02-20T10:20:30Z,true\n");
    let session = server.api().open_session();
    let mut request = send_half(&server, &session, &csv);
    request.write(&csv.as_bytes()[csv.len() / 2..]);
    let answer = request.read_answer();
    assert_eq!(answer.status, 201, "{answer:?}");
    let target = Target::new("acme.sales.orders");
    server.api().commit(&session, &target, "fail").expect(200);
    let mut columns = crate::support::data::NUMBERED_COLUMNS.to_vec();
    columns[0].1 = "string";
    assert_table_holds(&server, &target, &Expectation::new(&columns).csv(&csv));

    csv.push_str("one,too,many,fields,in,this,row,alas\n");
    let session = server.api().open_session();
    let mut request = send_half(&server, &session, &csv);
    request.write(&csv.as_bytes()[csv.len() / 2..]);
    let refusal = request.read_answer();
    assert_eq!(refusal.status, 422, "{refusal:?}");
    assert_eq!(refusal.json()["row"], rows + 2);
    server.api().inspect(&session).expect(204);
}

#[test]
fn nothing_stays_of_a_part_whose_client_goes_away() {
    let server = TestServer::start();
    let (csv, _) = numbered_csv_of_bytes(0, 2 * MIB);
    let session = server.api().open_session();
    drop(send_half(&server, &session, &csv));
    let staging = server.data_dir().join("staging");
    wait_until("the files are gone", PATIENCE, || {
        files_below(&staging).is_empty().then_some(())
    });
    server.api().inspect(&session).expect(204);
}
