//! `calve bench`: a load generator for users who size a machine, and for the scenarios in `benches/`.
//!
//! Bodies are made before the clock starts, from a seed, so that two runs send the same bytes. Every client is one keep-alive connection that opens
//! a session, puts its parts one after the other, and commits, until the sessions or the time are used up: a run is always bounded
//! in both. The client shares the machine with what it measures, so it does nothing per request but to write a head, send bytes that are
//! there already, and read the answer.
//!
//! Nothing here runs in a server. Without a URL the measured server is a child process of the same binary on a temporary folder;
//! both end with the run.

pub mod connection;
pub mod load;
pub mod own_server;
pub mod parts;
pub mod process;
pub mod report;
pub mod rows;
pub mod suite;
pub mod tally;

pub use load::{Dialect, Peer, Workload};
pub use own_server::OwnServer;
pub use parts::{Recipe, TestPart};
pub use report::Report;

use process::Usage;
use report::Used;

/// Runs a workload against a server and reports. What the server uses is told where `server_pid` is a process on this machine.
pub fn measure(
    peer: &Peer,
    workload: &Workload,
    server_pid: Option<u32>,
) -> Result<Report, String> {
    let pool = workload.pool()?;
    let used = || (server_pid.and_then(Usage::of_family), Usage::own());
    let before = used();
    let outcome = workload.run(peer, &pool)?;
    let after = used();
    let pair = |before: Option<Usage>, after: Option<Usage>| {
        before
            .zip(after)
            .map(|(before, after)| Used { before, after })
    };
    Ok(Report::new(
        &outcome,
        pair(before.0, after.0),
        pair(before.1, after.1),
    ))
}
