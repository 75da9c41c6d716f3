//! The targets under libFuzzer, for a fixed number of runs each: the long mode only, as it needs `cargo fuzz` and minutes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{bodies, seeds, support};

/// How to get what is missing.
const INSTALL: &str = "the long mode runs the fuzz targets with cargo-fuzz and a C++ compiler: \
    `cargo install cargo-fuzz --locked`; on Debian `apt-get install g++`";
/// Runs of each target.
const RUNS: [(&str, u32); 5] = [
    ("csv", 50_000),
    ("ndjson", 100_000),
    ("parquet", 20_000),
    ("codings", 20_000),
    ("values", 100_000),
];

#[test]
fn every_target_survives_libfuzzer() {
    assert_eq!(
        RUNS.map(|(target, _)| target),
        bodies::BODIES.map(|(target, _)| target)
    );
    if !support::is_long() {
        return;
    }
    for (target, runs) in RUNS {
        fuzz(target, runs);
    }
}

fn fuzz(target: &str, runs: u32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let corpus = folder.path().join("corpus");
    fs::create_dir(&corpus).expect("a folder for the seeds");
    for (index, seed) in seeds::of(target).iter().enumerate() {
        fs::write(corpus.join(index.to_string()), seed).expect("write a seed");
    }
    let output = command(target, &corpus)
        .args([
            &format!("-runs={runs}"),
            &format!("-artifact_prefix={}/", env!("CARGO_TARGET_TMPDIR")),
        ])
        .args(OPTIONS)
        .output()
        .unwrap_or_else(|error| panic!("{INSTALL} ({error})"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("no such command"), "{INSTALL}\n{said}");
    assert!(output.status.success(), "{target}: {said}");
    let executed = format!("stat::number_of_executed_units: {runs}");
    assert!(said.contains(&executed), "{target}: {said}");
}

/// Bounds of time and memory for one input, no randomness of its own, and what it counted.
const OPTIONS: [&str; 6] = [
    "-seed=1",
    "-timeout=30",
    "-rss_limit_mb=2048",
    "-max_len=8192",
    "-verbosity=0",
    "-print_final_stats=1",
];

fn command(target: &str, corpus: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz"))
        // The sanitizers are not stable; the one toolchain is.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--fuzz-dir", ".", target])
        .arg(corpus)
        .arg("--");
    command
}
