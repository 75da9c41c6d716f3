//! The tables that were committed to lately, as they are: what a commit has just written it need not read.
//!
//! An entry is only used while it is what the table's pointer names, so one that is out of date costs a read and nothing else.
//! Bounded in number and size; the one that was not used for longest goes first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::catalog::BaseTable;
use crate::domain::Target;

/// Tables that are kept.
const TABLES_MAX: usize = 256;
/// Size of all their metadata together; in memory it takes a few times as much.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Tables by their names.
#[derive(Debug, Default)]
pub struct TableCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    tables: HashMap<Target, Entry>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    table: BaseTable,
    last_use: u64,
}

impl TableCache {
    /// The table, if it is known as of this metadata file.
    pub fn get(&self, target: &Target, metadata_location: &str) -> Option<BaseTable> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        let entry = entries.tables.get_mut(target)?;
        if entry.table.metadata_location != metadata_location {
            return None;
        }
        entry.last_use = now;
        Some(entry.table.clone())
    }

    /// Keeps a table in the place of what was known of it.
    pub fn put(&self, target: &Target, table: BaseTable) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let last_use = entries.uses;
        let before = entries.tables.remove(target);
        entries.forget(before);
        if table.bytes() > BYTES_MAX {
            return;
        }
        entries.bytes += table.bytes();
        entries
            .tables
            .insert(target.clone(), Entry { table, last_use });
        while entries.tables.len() > TABLES_MAX || entries.bytes > BYTES_MAX {
            let oldest = entries
                .tables
                .iter()
                .min_by_key(|(_, entry)| entry.last_use);
            let Some(oldest) = oldest.map(|(target, _)| target.clone()) else {
                return;
            };
            let removed = entries.tables.remove(&oldest);
            entries.forget(removed);
        }
    }
}

impl Entries {
    fn forget(&mut self, entry: Option<Entry>) {
        self.bytes -= entry.map_or(0, |entry| entry.table.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn target(number: usize) -> Target {
        Target::new("a", "b", &format!("t{number}")).unwrap()
    }

    fn table(location: &str, metadata_bytes: u64) -> BaseTable {
        BaseTable {
            metadata_location: location.to_owned(),
            metadata_bytes,
            ..testing::table()
        }
    }

    #[test]
    fn only_what_the_pointer_names_is_found() {
        let cache = TableCache::default();
        cache.put(&target(0), table("one", 1));
        assert!(cache.get(&target(0), "one").is_some());
        assert!(cache.get(&target(0), "two").is_none());
        assert!(cache.get(&target(1), "one").is_none());
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_longest_unused_goes() {
        let cache = TableCache::default();
        for number in 0..=TABLES_MAX {
            cache.put(&target(number), table("x", 1));
            assert!(cache.get(&target(0), "x").is_some());
        }
        assert!(cache.get(&target(1), "x").is_none());
        cache.put(&target(5), table("y", BYTES_MAX - 1));
        let held = || {
            let entries = cache.0.lock().unwrap();
            (entries.tables.len(), entries.bytes)
        };
        assert_eq!(held(), (2, BYTES_MAX));
        cache.put(&target(5), table("z", BYTES_MAX + 1));
        assert_eq!(held(), (1, 1));
    }
}
