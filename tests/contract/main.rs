//! Proves the HTTP contract over the real surface, one file an area.
//!
//! Everything here goes through the socket of the real binary, as a client would see it. Where the contract names a
//! code, a key or a sentence, it is compared as written there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![allow(
    clippy::too_many_lines,
    reason = "lists of cases stand where they are checked"
)]

#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod arrival;
mod codings;
mod commits;
mod dialects;
mod dry_runs;
mod errors;
mod formats;
mod limits;
mod nested;
mod openapi;
mod parts;
mod refusals;
mod requests;
mod sessions;
mod surface;
mod types;
