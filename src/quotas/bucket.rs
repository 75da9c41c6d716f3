//! A token bucket that can be overdrawn: whoever takes more than a second's worth at once waits that much longer afterwards.
//! Pure: the time is handed in.

use std::time::{Duration, Instant};

/// Holds what may be taken, up to one second's worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    per_second: f64,
    balance: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        Self {
            per_second,
            balance: per_second,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.balance = (self.balance + elapsed * self.per_second).min(self.per_second);
        self.at = now;
    }

    /// Takes an amount; or says how long it is until that may be asked for again.
    pub(super) fn take(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let needed = amount.min(self.per_second);
        if self.balance < needed {
            let seconds = (needed - self.balance) / self.per_second;
            return Err(Duration::from_secs_f64(seconds));
        }
        self.balance -= amount;
        Ok(())
    }

    /// Takes what was used before it was known how much that is.
    pub(super) fn charge(&mut self, amount: f64, now: Instant) {
        self.refill(now);
        self.balance -= amount;
    }

    /// What may be taken now.
    pub(super) fn balance(&self) -> f64 {
        self.balance.max(0.0)
    }

    /// Whether it is as if nothing had ever been taken.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.balance >= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        for _ in 0..10 {
            assert_eq!(bucket.take(1.0, start), Ok(()));
        }
        assert_eq!(bucket.take(1.0, start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(500);
        assert!(!bucket.is_full(later));
        for _ in 0..5 {
            assert_eq!(bucket.take(1.0, later), Ok(()));
        }
        assert!(bucket.take(1.0, later).is_err());
        assert!(bucket.is_full(start + Duration::from_secs(2)));
    }

    #[test]
    fn more_than_a_seconds_worth_is_paid_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        assert_eq!(bucket.take(350.0, start), Ok(()));
        assert_eq!(bucket.balance(), 0.0);
        assert_eq!(bucket.take(350.0, start), Err(Duration::from_millis(3500)));
        let paid_back = start + Duration::from_millis(3500);
        assert_eq!(bucket.take(350.0, paid_back), Ok(()));
    }

    #[test]
    fn what_was_used_is_charged_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        bucket.charge(200.0, start);
        assert_eq!(bucket.take(1.0, start), Err(Duration::from_millis(1010)));
    }
}
