//! Which snapshots of a table expire, and what is then due to be removed. Pure.
//!
//! The snapshots that a server publishes form one chain, and only its oldest end expires. A file that a snapshot of the chain
//! dropped is in no later one. So what the expired ones alone needed is what was dropped up to, and by, the first that stays
//! (`next`), and each of them says itself what it dropped.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Which snapshots are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Older ones go.
    pub max_age_ms: i64,
    /// So many of the newest stay, whatever else is said.
    pub min_snapshots: usize,
    /// More than so many are not kept, however young; 0 for no such bound.
    pub max_snapshots: usize,
}

impl Retention {
    /// How many of the oldest snapshots go now; their times are given oldest first. The last one stays.
    pub fn expired(&self, timestamps_ms: &[i64], now_ms: i64) -> usize {
        let count = timestamps_ms.len();
        let removable = count.saturating_sub(self.min_snapshots.max(1));
        let oldest_kept_ms = now_ms.saturating_sub(self.max_age_ms);
        let are_old = |timestamp: &&i64| **timestamp < oldest_kept_ms;
        let by_age = timestamps_ms.iter().take_while(are_old).count();
        let by_count = match self.max_snapshots {
            0 => 0,
            max => count.saturating_sub(max),
        };
        by_age.max(by_count).min(removable)
    }
}

/// A snapshot, as far as removing what it needed goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSnapshot {
    /// Its id.
    pub id: i64,
    /// Its manifest list: a name in the table's folder of metadata.
    pub list: String,
    /// Whether it has not all manifests that the one before it has.
    pub drops: bool,
}

/// What a publication made superfluous. Recorded with it, and removed later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// When.
    pub at: DateTime<Utc>,
    /// Metadata files that left the metadata log: names in the table's folder of metadata.
    pub metadata_files: Vec<String>,
    /// The snapshots that expired, oldest first.
    pub snapshots: Vec<ListedSnapshot>,
    /// The oldest that stayed.
    pub next: Option<ListedSnapshot>,
}

impl Expired {
    /// Snapshots that dropped something which is to be removed, each with the one before it.
    pub fn drops(&self) -> impl Iterator<Item = (&ListedSnapshot, &ListedSnapshot)> {
        let after = self.snapshots.iter().skip(1).chain(&self.next);
        let pairs = self.snapshots.iter().zip(after);
        pairs.filter(|(_, dropping)| dropping.drops)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retention(max_age_ms: i64, min_snapshots: usize, max_snapshots: usize) -> Retention {
        Retention {
            max_age_ms,
            min_snapshots,
            max_snapshots,
        }
    }

    #[test]
    fn age_and_count_each_expire_and_the_least_number_stays() {
        let times = [10, 20, 30, 40, 50];
        assert_eq!(retention(25, 1, 0).expired(&times, 50), 2);
        assert_eq!(retention(25, 4, 0).expired(&times, 50), 1);
        assert_eq!(retention(100, 1, 3).expired(&times, 50), 2);
        assert_eq!(retention(100, 4, 3).expired(&times, 50), 1);
        assert_eq!(
            retention(-1, 0, 1).expired(&times, 50),
            4,
            "the current one stays"
        );
        assert_eq!(retention(0, 1, 0).expired(&[], 50), 0);
    }

    #[test]
    fn only_snapshots_that_dropped_something_are_looked_at() {
        let snapshot = |id: i64, drops| ListedSnapshot {
            id,
            list: id.to_string(),
            drops,
        };
        let expired = Expired {
            at: DateTime::UNIX_EPOCH,
            metadata_files: Vec::new(),
            snapshots: vec![snapshot(1, true), snapshot(2, true), snapshot(3, false)],
            next: Some(snapshot(4, true)),
        };
        let drops: Vec<_> = expired
            .drops()
            .map(|(before, after)| (before.id, after.id))
            .collect();
        assert_eq!(drops, [(1, 2), (3, 4)]);
    }

    proptest! {
        #[test]
        fn what_stays_is_young_or_needed(
            steps in prop::collection::vec(0..20i64, 0..50),
            max_age_ms in 0..300i64,
            min_snapshots in 0..10usize,
            max_snapshots in 0..30usize,
        ) {
            let times: Vec<i64> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            let now = times.last().copied().unwrap_or(0);
            let expired = retention(max_age_ms, min_snapshots, max_snapshots).expired(&times, now);
            let kept = &times[expired..];
            let least = min_snapshots.max(1).min(times.len());
            prop_assert!(kept.len() >= least);
            if max_snapshots > 0 {
                prop_assert!(kept.len() <= max_snapshots.max(least));
            }
            prop_assert!(kept.len() == least || kept.iter().all(|time| now - time <= max_age_ms));
            let is_over = |count: usize| max_snapshots > 0 && count > max_snapshots;
            prop_assert!(expired == 0 || is_over(kept.len() + 1) || now - times[expired - 1] > max_age_ms);
        }
    }
}
