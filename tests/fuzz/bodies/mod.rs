//! What the fuzz targets check, apart from who makes the inputs: libFuzzer (`targets`) or the test runner (`main.rs`).
//!
//! Every body takes any bytes and panics when a property does not hold. The first byte of an input chooses settings, the
//! rest is what a client would send, so that any file is a seed once a byte stands before it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each target uses its own part of this, and a property that does not hold is a panic"
)]

pub mod allocation;
pub mod codings;
pub mod csv;
pub mod ndjson;
pub mod parquet;
#[path = "../spelling.rs"]
pub mod spelling;
pub mod table;
pub mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// A check of any bytes.
pub type Body = fn(&[u8]);

/// The bodies by the names of their targets.
pub const BODIES: [(&str, Body); 5] = [
    ("csv", csv::check),
    ("ndjson", ndjson::check),
    ("parquet", parquet::check),
    ("codings", codings::check),
    ("values", values::check),
];

/// Runs a body under libFuzzer, whose hook would end the process at a panic that the server catches by design (in the
/// Parquet reader).
pub fn run(body: Body, data: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| drop(std::panic::take_hook()));
    if catch_unwind(AssertUnwindSafe(|| body(data))).is_err() {
        std::process::abort();
    }
}
