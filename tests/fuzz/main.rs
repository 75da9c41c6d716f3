//! The bodies of the fuzz targets in the ordinary test runner: over seeds that a small mutator changed, always the same ones;
//! and, in the long mode, under libFuzzer.
//!
//! An input that breaks a property is written below the target folder and named in the message. What was found so is fixed
//! and has a test of its own beside the code.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod bodies;
mod long_run;
mod mutation;
mod print_back;
mod seeds;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use bodies::Body;
use support::random::Random;

/// Runs a body over the seeds as they are, and over as many changed ones.
fn run_mutated(target: &str, body: Body, runs: u64) {
    let seeds = seeds::of(target);
    for seed in &seeds {
        run_one(target, body, seed);
    }
    let mut random = Random::new(fixed_seed(), 0);
    for _ in 0..runs {
        run_one(target, body, &mutation::mutated(&seeds, &mut random));
    }
}

/// The same inputs at every run, unless another seed is asked for.
fn fixed_seed() -> u64 {
    match std::env::var("CALVE_TEST_SEED") {
        Ok(_) => support::random::seed(),
        Err(_) => 1,
    }
}

fn run_one(target: &str, body: Body, input: &[u8]) {
    if let Err(reason) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
        fs::write(&path, input).expect("write the input");
        eprintln!("the input is in {}", path.display());
        resume_unwind(reason);
    }
}

#[test]
fn csv_holds_for_mutated_files() {
    run_mutated("csv", bodies::csv::check, 1500);
}

#[test]
fn ndjson_holds_for_mutated_files() {
    run_mutated("ndjson", bodies::ndjson::check, 4000);
}

#[test]
fn parquet_holds_for_mutated_files() {
    run_mutated("parquet", bodies::parquet::check, 1500);
}

#[test]
fn codings_hold_for_mutated_bodies() {
    run_mutated("codings", bodies::codings::check, 1000);
}

#[test]
fn values_hold_for_mutated_columns() {
    run_mutated("values", bodies::values::check, 4000);
}
