//! Time, ids and randomness as values that are handed in, so that tests can decide them.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where the current time and new ids come from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
    /// A new random id.
    fn random_id(&self) -> Uuid;
}

/// A clock that is shared by everything in one server.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock and random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where time and ids are taken from the machine"
)]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn random_id(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A positive snapshot id from a random one, as Iceberg writers make them (both halves folded).
pub fn snapshot_id(random: Uuid) -> i64 {
    let (high, low) = random.as_u64_pair();
    // The mask keeps it positive; 0 and -1 are used as "none" by some readers.
    let folded = i64::from_ne_bytes((high ^ low).to_ne_bytes()) & i64::MAX;
    folded.max(1)
}
