//! What a run counted: how often each operation succeeded and how long it took, and what was refused.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Times are kept to three digits.
const SIGNIFICANT_DIGITS: u8 = 3;
/// Codes told apart; a server has a closed list of them.
const CODES_MAX: usize = 64;

/// How long one kind of operation took, over all that succeeded.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self, String> {
        Histogram::new(SIGNIFICANT_DIGITS)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        self.0 += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time within which so many of a hundred were done.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.0.value_at_percentile(percent))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

/// Everything that one client, or all of them, counted.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Sessions opened.
    pub open_session: Latencies,
    /// Parts acknowledged.
    pub put_part: Latencies,
    /// Commits acknowledged.
    pub commit: Latencies,
    /// Bytes of acknowledged parts, as sent.
    pub bytes_stored: u64,
    /// Rows of acknowledged parts.
    pub rows_stored: u64,
    /// Rows that commits said they wrote.
    pub rows_committed: u64,
    /// How often the server refused with a code, or gave no answer.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            open_session: Latencies::new()?,
            put_part: Latencies::new()?,
            commit: Latencies::new()?,
            bytes_stored: 0,
            rows_stored: 0,
            rows_committed: 0,
            errors: BTreeMap::new(),
        })
    }

    /// Counts a refusal.
    pub fn refused(&mut self, code: &str) {
        self.refused_times(code, 1);
    }

    fn refused_times(&mut self, code: &str, times: u64) {
        let is_new = !self.errors.contains_key(code);
        let code = if is_new && self.errors.len() >= CODES_MAX {
            "others"
        } else {
            code
        };
        *self.errors.entry(code.to_owned()).or_default() += times;
    }

    /// Adds what another client counted.
    pub fn add(&mut self, other: &Self) -> Result<(), String> {
        let histograms = [
            (&mut self.open_session, &other.open_session),
            (&mut self.put_part, &other.put_part),
            (&mut self.commit, &other.commit),
        ];
        for (sum, more) in histograms {
            sum.0.add(&more.0).map_err(|error| error.to_string())?;
        }
        self.bytes_stored += other.bytes_stored;
        self.rows_stored += other.rows_stored;
        self.rows_committed += other.rows_committed;
        for (code, times) in &other.errors {
            self.refused_times(code, *times);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_every_operation_and_every_code() {
        let mut one = Tally::new().unwrap();
        let mut other = Tally::new().unwrap();
        for milliseconds in 1..=99 {
            one.put_part.record(Duration::from_millis(milliseconds));
        }
        other.put_part.record(Duration::from_secs(5));
        one.refused("overloaded");
        other.refused("overloaded");
        other.refused("no_answer");
        one.add(&other).unwrap();
        assert_eq!(one.put_part.count(), 100);
        let median = one.put_part.percentile(50.0).as_secs_f64();
        assert!((0.049..0.052).contains(&median), "{median}");
        let max = one.put_part.max().as_secs_f64();
        assert!((4.99..5.01).contains(&max), "{max}");
        let errors: Vec<_> = one
            .errors
            .iter()
            .map(|(code, times)| (code.as_str(), *times))
            .collect();
        assert_eq!(errors, [("no_answer", 1), ("overloaded", 2)]);
    }

    #[test]
    fn codes_are_bounded() {
        let mut tally = Tally::new().unwrap();
        for number in 0..1000 {
            tally.refused(&format!("code_{number}"));
        }
        assert_eq!(tally.errors.len(), CODES_MAX + 1);
        assert_eq!(tally.errors.values().sum::<u64>(), 1000);
    }
}
