//! Commits that are sent again, all at once on one connection: one snapshot, whoever asks how often.

use serde_json::Value;

use super::attack::converse;
use crate::support::client::{Target, commit_request};
use crate::support::data::{Expectation, numbered_csv};
use crate::support::server::TestServer;
use crate::support::table::{assert_table_holds, snapshot_chain};

const REPEATS: usize = 12;

#[test]
fn pipelined_and_replayed_commits_make_one_snapshot() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let csv = numbered_csv(0, 50);
    let session = api.open_session();
    let body = commit_request(&target, "append").to_string();
    let put = format!(
        "PUT /v1/upload/{session}?part=0 HTTP/1.1\r\nhost: calve\r\nx-file-name: a.csv\r\ncontent-length: {}\r\n\r\n{csv}",
        csv.len()
    );
    let commit = format!(
        "POST /v1/upload/{session}/commit HTTP/1.1\r\nhost: calve\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let recorded = format!("{put}{}{put}", commit.repeat(REPEATS));
    // The second time everything was done before.
    for (time, first) in [(1, 201), (2, 409)] {
        let answers =
            converse(server.base_url(), recorded.as_bytes(), REPEATS + 2).expect("answers");
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let expected = [&[first][..], &[200; REPEATS], &[409]].concat();
        assert_eq!(statuses, expected, "time {time}: {answers:#?}");
        let commits: Vec<Value> = answers[1..=REPEATS].iter().map(|one| one.json()).collect();
        assert!(commits.iter().all(|one| *one == commits[0]), "{commits:#?}");
    }
    let table = assert_table_holds(&server, &target, &Expectation::numbered().csv(&csv));
    assert_eq!(snapshot_chain(&table).len(), 1);
}
