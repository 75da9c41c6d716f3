//! Proves that `calve check` finds what is wrong with a data folder, by its kind and nothing else; that it finds nothing after
//! real work, with and without a server on the folder; and that `--repair` mends what it should and touches nothing else.
//!
//! The folder is filled by the real server and damaged by hand.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod leftovers;
mod packs;
mod records;
mod running;
mod sound;
mod world;
