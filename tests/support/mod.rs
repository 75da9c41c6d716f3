//! What the test binaries share: the real server as a child process, a blocking HTTP client that takes every status
//! as an answer, and the Python programs that drive real clients and read tables with real engines.
//!
//! Everything talks to 127.0.0.1 only, lives in temporary folders, and ends what it started.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this, and a helper that cannot go on fails its test"
)]

pub mod client;
pub mod codings;
pub mod data;
pub mod python;
pub mod random;
pub mod raw;
pub mod server;
pub mod table;

use std::thread;
use std::time::{Duration, Instant};

/// How long one thing of a test may take before the test is called stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Whether the long versions of the tests are wanted: `CALVE_TEST_LONG=1`.
pub fn is_long() -> bool {
    std::env::var("CALVE_TEST_LONG").is_ok_and(|value| value == "1")
}

/// Asks until there is an answer. Panics, naming what was awaited, when `patience` is over.
#[track_caller]
pub fn wait_until<T>(
    awaited: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(
            started.elapsed() < patience,
            "waited {patience:?} in vain: {awaited}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
