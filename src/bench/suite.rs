//! The scenarios that Calve's speed is judged by, as workloads. `calve bench --suite` runs them against Calve alone;
//! `cargo bench --bench scenarios` runs them against its peers, too, and knows the targets.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::load::Workload;
use super::own_server::OwnServer;
use super::parts::{Coding, Format, Recipe};
use super::report::{Report, Times};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Clients of the contract cut their files at this.
const PART_BYTES: u64 = 28 * MIB;
/// About 50,000 rows of CSV.
const ROWS_50_000_BYTES: u64 = 5_600_000;
/// No scenario sends for longer.
const DURATION_MAX: Duration = Duration::from_secs(20);
/// The seed of all scenarios.
const SEED: u64 = 20_260;

/// A server's settings and what is sent to it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Short name, to select it by.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// `CALVE_…` settings of the server.
    pub environment: &'static [(&'static str, &'static str)],
    /// What is sent.
    pub workload: Workload,
}

const STRUCTURE: &[(&str, &str)] = &[("CALVE_PARTS__VERIFY_PARQUET", "structure")];

const PARQUET: (Format, u64) = (Format::Parquet, PART_BYTES);
const CSV: (Format, u64) = (Format::Csv, PART_BYTES);
const NDJSON: (Format, u64) = (Format::Ndjson, PART_BYTES);
const CSV_4_KIB: (Format, u64) = (Format::Csv, 4 * KIB);
const CSV_64_KIB: (Format, u64) = (Format::Csv, 64 * KIB);

/// All of them: name, part, clients, and the parts of each client's session.
pub const SCENARIOS: &[Scenario] = &[
    staged("parquet-1", PARQUET, 1, 32)
        .under("28 MiB Parquet, 1 client, structure verified", STRUCTURE),
    staged("parquet-4", PARQUET, 4, 10)
        .under("28 MiB Parquet, 4 clients, structure verified", STRUCTURE),
    staged("parquet-16", PARQUET, 16, 3)
        .under("28 MiB Parquet, 16 clients, structure verified", STRUCTURE),
    staged("parquet-full", PARQUET, 4, 3)
        .under("28 MiB Parquet, 4 clients, every page decoded", &[]),
    staged("csv-4k-16", CSV_4_KIB, 16, 900).under("4 KiB CSV, 16 clients", &[]),
    staged("csv-4k-64", CSV_4_KIB, 64, 400).under("4 KiB CSV, 64 clients", &[]),
    staged("csv-64k-16", CSV_64_KIB, 16, 300).under("64 KiB CSV, 16 clients", &[]),
    staged("csv-64k-64", CSV_64_KIB, 64, 80).under("64 KiB CSV, 64 clients", &[]),
    staged("sessions", CSV_4_KIB, 16, 0)
        .with_sessions(30_000)
        .under("sessions opened, 16 clients", &[]),
    staged("csv-table", CSV, 1, 7)
        .committed()
        .under("200 MB of CSV in 28 MiB parts, committed", &[]),
    staged("ndjson-table", NDJSON, 1, 7)
        .committed()
        .under("200 MB of NDJSON in 28 MiB parts, committed", &[]),
    staged("queryable", (Format::Csv, ROWS_50_000_BYTES), 1, 20)
        .with_sessions(3)
        .committed()
        .under("20 parts of 50,000 rows, committed", &[]),
    staged("commit-1000", CSV_4_KIB, 1, 1000)
        .with_sessions(3)
        .committed()
        .under("1,000 parts of 4 KiB, committed", &[]),
    staged("appends", (Format::Csv, KIB), 16, 1)
        .with_sessions(2_000)
        .committed()
        .under("tiny parts, each committed to one table, 16 clients", &[]),
    staged("memory-csv", CSV, 16, 2).under("16 CSV parts of 28 MiB at once", &[]),
    staged("memory-ndjson", NDJSON, 16, 2).under("16 NDJSON parts of 28 MiB at once", &[]),
    staged("memory-parquet", PARQUET, 16, 2).under("16 Parquet parts of 28 MiB at once", &[]),
];

/// The scenario with this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Parts that are acknowledged and left there: each client has one session of so many parts.
const fn staged(
    name: &'static str,
    (format, bytes): (Format, u64),
    clients: u32,
    parts_per_session: u64,
) -> Scenario {
    Scenario {
        name,
        what: name,
        environment: &[],
        workload: Workload {
            clients: clients as usize,
            sessions: clients as u64,
            parts_per_session,
            duration: DURATION_MAX,
            recipe: Recipe {
                format,
                coding: Coding::Identity,
                bytes,
                seed: SEED,
            },
            commits: false,
            tables: 1,
            threads: 1,
        },
    }
}

impl Scenario {
    const fn under(
        mut self,
        what: &'static str,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.what = what;
        self.environment = environment;
        self
    }

    const fn with_sessions(mut self, sessions: u64) -> Self {
        self.workload.sessions = sessions;
        self
    }

    const fn committed(mut self) -> Self {
        self.workload.commits = true;
        self
    }
}

/// Runs a scenario against a server of its own.
pub fn run(scenario: &Scenario, binary: &Path, folder: &Path) -> Result<Report, String> {
    let server = OwnServer::start(binary, folder, scenario.environment)?;
    super::measure(server.peer(), &scenario.workload, Some(server.pid()))
}

/// The columns of [`line()`].
pub fn heading() -> String {
    format!(
        "{:<52}{:>9}{:>10}{:>10}{:>10}{:>12}{:>12}{:>10}{:>9}{:>8}",
        "scenario",
        "MB/s",
        "parts/s",
        "sessions/s",
        "commits/s",
        "part p99 ms",
        "commit p50 ms",
        "CPU s/GiB",
        "peak MiB",
        "refused"
    )
}

/// One scenario's numbers.
pub fn line(scenario: &Scenario, report: &Report) -> String {
    let mut text = format!(
        "{:<52}{:>9.1}{:>10.0}{:>10.0}{:>10.1}",
        scenario.what,
        report.mb_per_second,
        report.parts_per_second,
        report.sessions_per_second,
        report.commits_per_second
    );
    let time = |operation: &str, of: fn(&Times) -> f64| report.operations.get(operation).map(of);
    let server = report.server.as_ref();
    let numbers = [
        (12, time("put_part", |times| times.p99_ms)),
        (12, time("commit", |times| times.p50_ms)),
        (10, server.and_then(|server| server.cpu_seconds_per_gib)),
    ];
    // Writing to a string cannot fail.
    for (width, number) in numbers {
        let _ = match number {
            Some(number) => write!(text, "{number:>width$.2}"),
            None => write!(text, "{:>width$}", "-"),
        };
    }
    let peak = server.map_or(0, |server| server.peak_resident_bytes >> 20);
    let refused: u64 = report.errors.values().sum();
    let _ = write!(text, "{peak:>9}{refused:>8}");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert_eq!(scenario("appends").unwrap().workload.sessions, 2000);
        assert!(scenario("nothing").is_none());
    }

    #[test]
    fn no_session_has_more_parts_than_a_server_takes() {
        let parts_max = u64::from(crate::config::PartsConfig::default().number_max) + 1;
        for scenario in SCENARIOS {
            assert!(
                scenario.workload.parts_per_session <= parts_max,
                "{}",
                scenario.name
            );
        }
    }
}
