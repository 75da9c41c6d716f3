//! Proves that a first start can be killed at any point of making its stores, and the next one finishes it.
//!
//! sled's own first files can be left torn for ever by a kill, which is why the journal is made in a side folder.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;

use support::server::TestServer;

/// Points of a first start, in order; each is killed at as soon as it can be seen from outside.
const POINTS: [&str; 6] = [
    "",
    "journal.new",
    "journal.new/conf",
    "journal.new/db",
    "journal",
    "calve.json",
];
/// Rounds over all points: what the kill hits differs by microseconds.
const ROUNDS: usize = 4;

#[test]
fn a_first_start_that_was_killed_is_finished_by_the_next() {
    let mut early = 0;
    for _ in 0..ROUNDS {
        for point in POINTS {
            let mut server = TestServer::not_started(&[]);
            // The side folder is there for moments only; once it has its final name, that was later.
            let has_come = |data_dir: &Path| {
                data_dir.join(point).exists() || data_dir.join("journal").exists()
            };
            early += usize::from(!server.kill_during_start(has_come));
            server.restart();
            let api = server.api();
            let session = api.open_session();
            api.put_csv(&session, 0, "a\n1\n");
            server.kill();
            server.restart();
            let staged = server.api().inspect(&session).expect_json(200);
            assert_eq!(staged["rows_estimate"], 1, "after a kill at `{point}`");
        }
    }
    assert!(early > 0, "no kill came before the server listened");
}
