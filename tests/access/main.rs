//! Proves who gets in, what they may do there, and what is written down of it: over HTTP, against the real binary.

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

mod audit;
mod clients;
mod credentials;
mod decisions;
mod issuers;
mod quotas;
mod starts;
mod tls;
mod tokens;
