//! Every metric, in one place. Prometheus names: `calve_` first, the unit last.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds: from a record write on a fast disk to a commit that converts much.
const LATENCY_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// Writes that share one sync.
const GROUP_BUCKETS_WRITES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0];

/// The server's metrics; one instance, handed down.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by operation and status.
    pub requests: IntCounterVec,
    /// Time from the request's head to the answer's head, by operation.
    pub request_seconds: HistogramVec,
    /// Bytes of part bodies received, as sent.
    pub received_bytes: IntCounter,
    /// Parts acknowledged, by format.
    pub parts: IntCounterVec,
    /// Sessions in the journal, by state.
    pub sessions: IntGaugeVec,
    /// Session actors in memory.
    pub session_actors: IntGauge,
    /// Commits, by conflict resolution and outcome (`committed` or an error code).
    pub commits: IntCounterVec,
    /// Staged files that a sweep removed.
    pub swept_files: IntCounter,
    /// Time that a commit took, from its turn at the table.
    pub commit_seconds: Histogram,
    /// Journal writes that shared one sync.
    pub journal_group_writes: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(options))
        };
        let latency = HistogramOpts::new("calve_request_duration_seconds", "Time to answer.")
            .buckets(LATENCY_BUCKETS_SECONDS.to_vec());
        let received = (
            "calve_received_bytes_total",
            "Bytes of part bodies, as sent.",
        );
        let sessions = Opts::new("calve_sessions", "Sessions in the journal.");
        let swept = ("calve_swept_files_total", "Staged files removed by sweeps.");
        let actors = ("calve_session_actors", "Session actors in memory.");
        let metrics = Self {
            requests: counters(
                "calve_requests_total",
                "Requests answered.",
                &["operation", "status"],
            ),
            request_seconds: register(&registry, HistogramVec::new(latency, &["operation"])),
            received_bytes: register(&registry, IntCounter::new(received.0, received.1)),
            parts: counters("calve_parts_total", "Parts acknowledged.", &["kind"]),
            sessions: register(&registry, IntGaugeVec::new(sessions, &["state"])),
            session_actors: register(&registry, IntGauge::new(actors.0, actors.1)),
            commits: counters("calve_commits_total", "Commits.", &["mode", "outcome"]),
            swept_files: register(&registry, IntCounter::new(swept.0, swept.1)),
            commit_seconds: histogram(
                "calve_commit_duration_seconds",
                "Time that a commit took, from its turn at the table.",
                &LATENCY_BUCKETS_SECONDS,
            ),
            journal_group_writes: histogram(
                "calve_journal_group_writes",
                "Journal writes that shared one sync.",
                &GROUP_BUCKETS_WRITES,
            ),
            registry: registry.clone(),
        };
        for kind in ["csv", "tsv", "ndjson", "parquet"] {
            metrics.parts.with_label_values(&[kind]);
        }
        metrics
    }

    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Names and labels are constants of this file, so a failure here is a mistake in it, which any test
/// that makes a `Metrics` shows.
#[expect(
    clippy::expect_used,
    reason = "constant names, checked by every test that starts a server"
)]
fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the metric's name and labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the metric's name is used once");
    collector
}
