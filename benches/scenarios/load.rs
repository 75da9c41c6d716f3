//! Scenarios that are requests to HTTP servers; the workloads are those of `calve bench --suite`.

use calve::bench::measure;
use calve::bench::report::{Report, Times};
use calve::bench::suite::{self, Scenario};

use crate::Harness;
use crate::peers::Kind;
use crate::table::{Comparison, Target, median};

/// The reports of all rounds, by server.
struct Rounds(Vec<(Kind, Vec<Report>)>);

/// Parts of this size or less make so many files that deleting them is felt.
const SMALL_BYTES_MAX: u64 = 64 << 10;

type Metric = fn(&Report) -> f64;

const MB_PER_SECOND: (&str, Metric) = ("MB/s", |report| report.mb_per_second);
const PARTS_PER_SECOND: (&str, Metric) = ("parts/s", |report| report.parts_per_second);
const SESSIONS_PER_SECOND: (&str, Metric) = ("sessions/s", |report| report.sessions_per_second);
const CPU_PER_GIB: (&str, Metric) = ("CPU s/GiB", cpu_per_gib);
const PART_P99: (&str, Metric) = ("part p99 ms", |report| {
    time(report, "put_part", |times| times.p99_ms)
});
const COMMIT_P50: (&str, Metric) = ("commit p50 ms", commit_p50_ms);
const PEAK_MB: (&str, Metric) = ("peak resident MB", |report| {
    report
        .server
        .as_ref()
        .map_or(f64::NAN, |server| server.peak_resident_bytes as f64 / 1e6)
});

fn cpu_per_gib(report: &Report) -> f64 {
    let server = report.server.as_ref();
    server
        .and_then(|server| server.cpu_seconds_per_gib)
        .unwrap_or(f64::NAN)
}

fn time(report: &Report, operation: &str, of: fn(&Times) -> f64) -> f64 {
    report.operations.get(operation).map_or(f64::NAN, of)
}

pub fn commit_p50_ms(report: &Report) -> f64 {
    time(report, "commit", |times| times.p50_ms)
}

impl Rounds {
    fn median(&self, kind: Kind, metric: Metric) -> Option<f64> {
        let (_, reports) = self.0.iter().find(|(other, _)| *other == kind)?;
        Some(median(reports.iter().map(metric).collect()))
    }

    fn calve(&self, metric: Metric) -> f64 {
        self.median(Kind::Calve, metric).expect("Calve ran")
    }

    /// Calve against a peer; nothing if the peer is not installed.
    fn against(
        &self,
        kind: Kind,
        (measure, metric): (&'static str, Metric),
        target: Target,
    ) -> Option<Comparison> {
        let peer = self.median(kind, metric)?;
        let calve = self.calve(metric);
        Some(Comparison {
            measure,
            calve,
            peer: Some((kind.name(), peer)),
            target,
        })
    }

    fn alone(&self, (measure, metric): (&'static str, Metric), target: Target) -> Comparison {
        Comparison::alone(measure, self.calve(metric), target)
    }
}

/// Runs a scenario of the suite against Calve and these peers by turns.
fn interleaved(harness: &Harness, name: &str, peers: &[Kind]) -> Rounds {
    let scenario = suite::scenario(name).expect("a scenario of the suite");
    let mut rounds = Rounds(Vec::new());
    for _ in 0..harness.rounds {
        for kind in peers.iter().copied().chain([Kind::Calve]) {
            let Some(report) = run(harness, scenario, kind) else {
                continue;
            };
            match rounds.0.iter_mut().find(|(other, _)| *other == kind) {
                Some((_, reports)) => reports.push(report),
                None => rounds.0.push((kind, vec![report])),
            }
        }
    }
    rounds
}

/// Runs a scenario once against a new server of this kind. What was refused is told: such a run compares nothing. The folder
/// of many small files is kept to the end of the program: ext4 walks past inodes that were deleted in the last minutes one by
/// one, which slows whoever makes files next.
fn run(harness: &Harness, scenario: &Scenario, kind: Kind) -> Option<Report> {
    let server = kind.start(harness, scenario.environment)?;
    let report = measure(&server.peer, &scenario.workload, Some(server.pid)).expect("a run");
    if !report.errors.is_empty() {
        println!(
            "{}: {} refused {:?}",
            scenario.name,
            kind.name(),
            report.errors
        );
    }
    let folder = server.end();
    if scenario.workload.recipe.bytes <= SMALL_BYTES_MAX {
        harness.kept.borrow_mut().push(folder);
    }
    Some(report)
}

/// One run of a scenario of the suite against Calve.
pub fn calve_alone(harness: &Harness, name: &str) -> Report {
    let scenario = suite::scenario(name).expect("a scenario of the suite");
    run(harness, scenario, Kind::Calve).expect("Calve is there")
}

pub fn parquet(harness: &Harness, name: &str) -> Vec<Comparison> {
    let rounds = interleaved(harness, name, &[Kind::FileSink, Kind::Nginx]);
    let comparisons = [
        rounds.against(Kind::FileSink, MB_PER_SECOND, Target::AtLeast(0.9)),
        rounds.against(Kind::FileSink, CPU_PER_GIB, Target::AtMost(1.5)),
        rounds.against(Kind::Nginx, MB_PER_SECOND, Target::AtLeast(1.0)),
    ];
    comparisons.into_iter().flatten().collect()
}

pub fn small(harness: &Harness, name: &str, times_file_sink: f64, p99: Target) -> Vec<Comparison> {
    let rounds = interleaved(harness, name, &[Kind::FileSink, Kind::Nginx]);
    let comparisons = [
        rounds.against(
            Kind::FileSink,
            PARTS_PER_SECOND,
            Target::AtLeast(times_file_sink),
        ),
        rounds.against(Kind::Nginx, PARTS_PER_SECOND, Target::AtLeast(1.0)),
        Some(rounds.alone(PART_P99, p99)),
    ];
    comparisons.into_iter().flatten().collect()
}

pub fn medium(harness: &Harness, name: &str) -> Vec<Comparison> {
    let rounds = interleaved(harness, name, &[Kind::FileSink, Kind::Nginx]);
    let comparisons = [
        rounds.against(Kind::FileSink, PARTS_PER_SECOND, Target::AtLeast(1.2)),
        rounds.against(Kind::Nginx, PARTS_PER_SECOND, Target::None),
        Some(rounds.alone(PART_P99, Target::None)),
    ];
    comparisons.into_iter().flatten().collect()
}

pub fn sessions(harness: &Harness) -> Vec<Comparison> {
    let rounds = interleaved(harness, "sessions", &[Kind::Nginx]);
    let comparisons = [
        rounds.against(Kind::Nginx, SESSIONS_PER_SECOND, Target::AtLeast(0.6)),
        Some(rounds.alone(SESSIONS_PER_SECOND, Target::AtLeast(10_000.0))),
    ];
    comparisons.into_iter().flatten().collect()
}

pub fn queryable(harness: &Harness) -> Vec<Comparison> {
    let rounds = interleaved(harness, "queryable", &[Kind::Service]);
    let comparisons = [
        rounds.against(Kind::Service, COMMIT_P50, Target::AtMost(0.02)),
        Some(rounds.alone(COMMIT_P50, Target::AtMost(50.0))),
    ];
    comparisons.into_iter().flatten().collect()
}

pub fn commit_1000(harness: &Harness) -> Vec<Comparison> {
    let rounds = interleaved(harness, "commit-1000", &[]);
    vec![rounds.alone(COMMIT_P50, Target::AtMost(500.0))]
}

pub fn memory(harness: &Harness) -> Vec<Comparison> {
    let formats = [
        ("memory-csv", "peak resident MB, CSV"),
        ("memory-ndjson", "peak resident MB, NDJSON"),
        ("memory-parquet", "peak resident MB, Parquet"),
    ];
    let compared = formats.map(|(name, measure)| {
        let rounds = interleaved(harness, name, &[]);
        rounds.alone((measure, PEAK_MB.1), Target::AtMost(200.0))
    });
    compared.into()
}
