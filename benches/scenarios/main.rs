//! Calve and what one could pick instead, on the same machine in the same minutes: `cargo bench --bench scenarios [-- NAME …] [--rounds N]`.
//!
//! Every scenario runs in rounds, peers and Calve by turns, and its numbers are the medians. All HTTP servers get the same requests from the
//! same client, that of `calve bench`. nginx comes from Debian (`apt-get install nginx-light`), the Python peers from PyPI; a peer that
//! is not there is told, and left out. The last column says which targets were met; a miss is no failure of this program.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]
#![allow(unreachable_pub, reason = "modules of one program")]

mod growth;
mod limits;
mod load;
mod offline;
mod peers;
mod python;
mod table;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::TempDir;

use table::{Comparison, Target};

#[derive(Parser)]
struct Arguments {
    /// Scenarios to run, by the first letters of their names; all by default.
    names: Vec<String>,
    /// Rounds of each scenario.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The binary to measure, in place of the one just built.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_calve"))]
    calve: PathBuf,
    /// Be the file sink, on files in this folder.
    #[arg(long, hide = true)]
    file_sink: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What every scenario is run with.
struct Harness {
    calve: PathBuf,
    rounds: usize,
    folder: TempDir,
    /// What servers left, removed at the end.
    kept: RefCell<Vec<TempDir>>,
}

impl Harness {
    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A name and what is run under it.
type Scenario = (&'static str, fn(&Harness) -> Vec<Comparison>);

const SCENARIOS: &[Scenario] = &[
    ("parquet-1", |harness| load::parquet(harness, "parquet-1")),
    ("parquet-4", |harness| load::parquet(harness, "parquet-4")),
    ("parquet-16", |harness| load::parquet(harness, "parquet-16")),
    ("parquet-full", offline::parquet_full),
    ("csv-4k-16", |harness| {
        load::small(harness, "csv-4k-16", 1.2, Target::None)
    }),
    ("csv-4k-64", |harness| {
        load::small(harness, "csv-4k-64", 2.0, Target::AtMost(20.0))
    }),
    ("csv-64k-16", |harness| load::medium(harness, "csv-64k-16")),
    ("csv-64k-64", |harness| load::medium(harness, "csv-64k-64")),
    ("sessions", load::sessions),
    ("csv-table", |harness| {
        offline::to_table(harness, "csv-table", "csv", 0.7)
    }),
    ("ndjson-table", |harness| {
        offline::to_table(harness, "ndjson-table", "json", 0.8)
    }),
    ("queryable", load::queryable),
    ("commit-1000", load::commit_1000),
    ("appends", offline::appends),
    ("snapshots", growth::snapshots),
    ("idle-sessions", growth::idle_sessions),
    ("memory", load::memory),
];

fn main() {
    let arguments = Arguments::parse();
    if let Some(folder) = arguments.file_sink {
        return peers::serve_file_sink(folder);
    }
    let chosen = |name: &str| {
        arguments.names.is_empty()
            || arguments
                .names
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    let harness = Harness {
        calve: arguments.calve,
        rounds: arguments.rounds.max(1),
        folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder"),
        kept: RefCell::default(),
    };
    limits::print(harness.folder());
    table::print_heading();
    for (name, run) in SCENARIOS.iter().filter(|(name, _)| chosen(name)) {
        for comparison in run(&harness) {
            comparison.print(name);
        }
    }
}
