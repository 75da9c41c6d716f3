//! Scenarios whose peers are libraries: what the server spends for the same work.

use std::path::PathBuf;

use calve::bench::report::Report;
use calve::bench::suite::{self, Scenario};

use crate::load::calve_alone;
use crate::table::{Comparison, Target, median};
use crate::{Harness, python};

/// Seconds that PyIceberg appends in each round.
const APPENDING_SECONDS: u64 = 5;

fn cpu_seconds(report: &Report) -> f64 {
    report
        .server
        .as_ref()
        .map_or(f64::NAN, |server| server.cpu_seconds)
}

/// Writes the parts of one session of a scenario as one file.
fn source_file(harness: &Harness, scenario: &Scenario, parts: u64) -> PathBuf {
    let workload = &scenario.workload;
    let pool = workload.pool().expect("the parts");
    let mut bytes = Vec::new();
    for number in 0..parts {
        let part = workload.part(&pool, 0, number).expect("a part");
        // Only the first header belongs into the whole.
        let is_csv = workload.recipe.extension() == "csv";
        let header = part
            .bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let skipped = if is_csv && number > 0 { header } else { 0 };
        bytes.extend_from_slice(&part.bytes[skipped..]);
    }
    let path = harness
        .folder()
        .join(format!("{}.{}", scenario.name, workload.recipe.extension()));
    std::fs::write(&path, bytes).expect("a file");
    path
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of characters")
}

/// Rounds of a Python program by turns with rounds of Calve: the medians.
fn by_turns(
    harness: &Harness,
    name: &str,
    of_calve: impl Fn(&Report) -> f64,
    of_peer: impl Fn() -> Option<f64>,
) -> (f64, Option<f64>) {
    let (mut calve, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..harness.rounds {
        peer.extend(of_peer());
        calve.push(of_calve(&calve_alone(harness, name)));
    }
    (median(calve), (!peer.is_empty()).then(|| median(peer)))
}

fn compared(
    measure: &'static str,
    (calve, peer): (f64, Option<f64>),
    name: &'static str,
    target: Target,
) -> Vec<Comparison> {
    let peer = peer.map(|peer| (name, peer));
    // Without the peer there is nothing that the target would be for.
    let target = if peer.is_some() { target } else { Target::None };
    vec![Comparison {
        measure,
        calve,
        peer,
        target,
    }]
}

pub fn parquet_full(harness: &Harness) -> Vec<Comparison> {
    let scenario = suite::scenario("parquet-full").expect("a scenario of the suite");
    let file = source_file(harness, scenario, 1);
    let parts = scenario.workload.sessions * scenario.workload.parts_per_session;
    let medians = by_turns(
        harness,
        scenario.name,
        |report| cpu_seconds(report) / parts as f64,
        || python::number("pyarrow_read.py", &[text(&file)]),
    );
    compared("CPU s for a part", medians, "PyArrow", Target::AtMost(1.1))
}

pub fn to_table(
    harness: &Harness,
    name: &'static str,
    reader: &str,
    times_duckdb: f64,
) -> Vec<Comparison> {
    let scenario = suite::scenario(name).expect("a scenario of the suite");
    let file = source_file(harness, scenario, scenario.workload.parts_per_session);
    let output = file.with_extension("parquet");
    let medians = by_turns(harness, name, cpu_seconds, || {
        python::number("duckdb_copy.py", &[reader, text(&file), text(&output)])
    });
    compared(
        "CPU s for 200 MB",
        medians,
        "DuckDB",
        Target::AtMost(times_duckdb),
    )
}

pub fn appends(harness: &Harness) -> Vec<Comparison> {
    let scenario = suite::scenario("appends").expect("a scenario of the suite");
    let file = source_file(harness, scenario, 1);
    let medians = by_turns(
        harness,
        scenario.name,
        |report| report.commits_per_second,
        || {
            let folder = tempfile::tempdir_in(harness.folder()).expect("a temporary folder");
            let seconds = APPENDING_SECONDS.to_string();
            python::number(
                "pyiceberg_appends.py",
                &[text(&file), text(folder.path()), &seconds],
            )
        },
    );
    compared("appends/s", medians, "PyIceberg", Target::AtLeast(30.0))
}
