//! What a run tells: rates, times of each operation, refusals, and what the server used. For people as a table, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::load::Outcome;
use super::process::Usage;
use super::tally::Latencies;

const GIB: f64 = (1_u64 << 30) as f64;

/// One run. Rates are over the whole run, from the first request to the last answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How long the run took.
    pub seconds: f64,
    /// Bytes of acknowledged parts, as sent.
    pub bytes_stored: u64,
    /// Rows of acknowledged parts.
    pub rows_stored: u64,
    /// Rows that commits said they wrote.
    pub rows_committed: u64,
    /// Millions of bytes of acknowledged parts a second.
    pub mb_per_second: f64,
    /// Acknowledged parts a second.
    pub parts_per_second: f64,
    /// Opened sessions a second.
    pub sessions_per_second: f64,
    /// Acknowledged commits a second.
    pub commits_per_second: f64,
    /// Times of operations that succeeded.
    pub operations: BTreeMap<&'static str, Times>,
    /// How often which code was answered; `no_answer` when the connection failed.
    pub errors: BTreeMap<String, u64>,
    /// What the server used, where that can be told.
    pub server: Option<ServerUse>,
    /// CPU time of this process during the run.
    pub client_cpu_seconds: Option<f64>,
}

/// Times of one operation, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times {
    /// How many succeeded.
    pub count: u64,
    /// Half took at most this.
    pub p50_ms: f64,
    /// 90 of 100 took at most this.
    pub p90_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What the server used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerUse {
    /// CPU time during the run.
    pub cpu_seconds: f64,
    /// The same for each GiB of acknowledged parts; none without any.
    pub cpu_seconds_per_gib: Option<f64>,
    /// The most memory it ever held.
    pub peak_resident_bytes: u64,
}

/// What processes used before and after a run.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Before the first request.
    pub before: Usage,
    /// After the last answer.
    pub after: Usage,
}

impl Report {
    /// From what a run counted and what server and client used.
    pub fn new(outcome: &Outcome, server: Option<Used>, client: Option<Used>) -> Self {
        let tally = &outcome.tally;
        let seconds = outcome.took.as_secs_f64();
        let rate = |count: f64| count / seconds.max(1e-9);
        let operations = [
            ("open_session", &tally.open_session),
            ("put_part", &tally.put_part),
            ("commit", &tally.commit),
        ];
        let cpu_seconds = |used: Used| used.after.cpu_seconds - used.before.cpu_seconds;
        Self {
            seconds,
            bytes_stored: tally.bytes_stored,
            rows_stored: tally.rows_stored,
            rows_committed: tally.rows_committed,
            mb_per_second: rate(tally.bytes_stored as f64 / 1e6),
            parts_per_second: rate(tally.put_part.count() as f64),
            sessions_per_second: rate(tally.open_session.count() as f64),
            commits_per_second: rate(tally.commit.count() as f64),
            operations: operations
                .into_iter()
                .filter(|(_, latencies)| latencies.count() > 0)
                .map(|(name, latencies)| (name, Times::from(latencies)))
                .collect(),
            errors: tally.errors.clone(),
            server: server.map(|used| ServerUse {
                cpu_seconds: cpu_seconds(used),
                cpu_seconds_per_gib: (tally.bytes_stored > 0)
                    .then(|| cpu_seconds(used) / (tally.bytes_stored as f64 / GIB)),
                peak_resident_bytes: used.after.peak_resident_bytes,
            }),
            client_cpu_seconds: client.map(cpu_seconds),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            text,
            "{:.1} s: {:.1} MB/s, {:.0} parts/s, {:.0} sessions/s, {:.1} commits/s",
            self.seconds,
            self.mb_per_second,
            self.parts_per_second,
            self.sessions_per_second,
            self.commits_per_second
        );
        let _ = writeln!(
            text,
            "{} bytes and {} rows acknowledged, {} rows committed\n",
            self.bytes_stored, self.rows_stored, self.rows_committed
        );
        let _ = writeln!(
            text,
            "{:<14}{:>10}{:>12}{:>12}{:>12}{:>12}",
            "operation", "count", "p50 ms", "p90 ms", "p99 ms", "max ms"
        );
        for (name, times) in &self.operations {
            let Times {
                count,
                p50_ms,
                p90_ms,
                p99_ms,
                max_ms,
            } = times;
            let _ = writeln!(
                text,
                "{name:<14}{count:>10}{p50_ms:>12.2}{p90_ms:>12.2}{p99_ms:>12.2}{max_ms:>12.2}"
            );
        }
        for (code, times) in &self.errors {
            let _ = writeln!(text, "refused: {code} {times}");
        }
        if let Some(server) = &self.server {
            let _ = write!(text, "\nserver: {:.2} CPU s", server.cpu_seconds);
            if let Some(per_gib) = server.cpu_seconds_per_gib {
                let _ = write!(text, ", {per_gib:.2} CPU s/GiB");
            }
            let _ = writeln!(
                text,
                ", at most {} MiB resident",
                server.peak_resident_bytes >> 20
            );
        }
        if let Some(seconds) = self.client_cpu_seconds {
            let _ = writeln!(text, "client: {seconds:.2} CPU s");
        }
        text
    }
}

impl From<&Latencies> for Times {
    fn from(latencies: &Latencies) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            count: latencies.count(),
            p50_ms: ms(latencies.percentile(50.0)),
            p90_ms: ms(latencies.percentile(90.0)),
            p99_ms: ms(latencies.percentile(99.0)),
            max_ms: ms(latencies.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Tally;

    #[test]
    fn rates_and_costs_are_of_what_was_acknowledged() {
        let mut tally = Tally::new().unwrap();
        tally.open_session.record(Duration::from_millis(1));
        for _ in 0..4 {
            tally.put_part.record(Duration::from_millis(10));
        }
        tally.bytes_stored = 1 << 29;
        tally.rows_stored = 40;
        tally.refused("overloaded");
        let outcome = Outcome {
            tally,
            took: Duration::from_secs(2),
        };
        let usage = |cpu_seconds| Usage {
            cpu_seconds,
            peak_resident_bytes: 64 << 20,
            resident_bytes: 1 << 20,
        };
        let used = |before, after| {
            Some(Used {
                before: usage(before),
                after: usage(after),
            })
        };
        let report = Report::new(&outcome, used(1.0, 2.5), used(0.0, 0.5));
        assert_eq!(
            (report.parts_per_second, report.sessions_per_second),
            (2.0, 0.5)
        );
        assert_eq!(report.mb_per_second, f64::from(1 << 29) / 2e6);
        assert_eq!(report.commits_per_second, 0.0);
        let server = report.server.as_ref().unwrap();
        assert_eq!(
            (server.cpu_seconds, server.cpu_seconds_per_gib),
            (1.5, Some(3.0))
        );
        assert_eq!(report.client_cpu_seconds, Some(0.5));
        let table = report.table();
        for said in [
            "2 parts/s",
            "refused: overloaded 1",
            "3.00 CPU s/GiB",
            "at most 64 MiB",
        ] {
            assert!(table.contains(said), "{said}: {table}");
        }
        assert!(!table.contains("commit  "), "no commit succeeded: {table}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["operations"]["put_part"]["count"], 4);
        assert_eq!(json["errors"]["overloaded"], 1);
    }
}
