//! What a table's properties say of its upkeep: when manifests are merged, which snapshots and metadata files are kept.
//!
//! The names and meanings are Iceberg's own; [`MAX_SNAPSHOTS`] is Calve's, because Iceberg bounds a table's snapshots by age only,
//! and a table that takes hundreds of appends a second would carry millions of them in a metadata file that every commit writes
//! anew. New tables get all of them as properties; what a table does not say, or says in a way that cannot be read, is as for a
//! new one. Pure.

use std::collections::HashMap;
use std::str::FromStr;

use crate::config::TablesConfig;
use crate::domain::Retention;

const MERGES_MANIFESTS: &str = "commit.manifest-merge.enabled";
const MERGE_COUNT: &str = "commit.manifest.min-count-to-merge";
const MANIFEST_BYTES: &str = "commit.manifest.target-size-bytes";
const SNAPSHOT_AGE_MS: &str = "history.expire.max-snapshot-age-ms";
const MIN_SNAPSHOTS: &str = "history.expire.min-snapshots-to-keep";
/// Most snapshots that a table keeps; 0 for as many as their age allows.
pub const MAX_SNAPSHOTS: &str = "calve.history.max-snapshots";
const PREVIOUS_METADATA: &str = "write.metadata.previous-versions-max";
const REMOVES_METADATA: &str = "write.metadata.delete-after-commit.enabled";

/// When manifests are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeSettings {
    /// Whether they are at all.
    pub is_enabled: bool,
    /// So many of about the same number of files become one.
    pub min_count: usize,
    /// What a merged one may have.
    pub target_bytes: u64,
}

/// All of a table's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSettings {
    /// When manifests are merged.
    pub merging: MergeSettings,
    /// Which snapshots are kept.
    pub retention: Retention,
    /// Whether metadata files that leave the metadata log are removed.
    pub removes_old_metadata: bool,
}

impl TableSettings {
    /// What these properties say; the rest is as for a new table.
    pub fn read(properties: &HashMap<String, String>, defaults: &TablesConfig) -> Self {
        let mut all = new_table_properties(defaults);
        all.extend(
            properties
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        let defaults = new_table_properties(defaults);
        let reader = Reader { all, defaults };
        Self {
            merging: MergeSettings {
                is_enabled: reader.value(MERGES_MANIFESTS, true),
                min_count: reader.value(MERGE_COUNT, 0),
                target_bytes: reader.value(MANIFEST_BYTES, 0),
            },
            retention: Retention {
                max_age_ms: reader.value(SNAPSHOT_AGE_MS, i64::MAX),
                min_snapshots: reader.value(MIN_SNAPSHOTS, 1).max(1),
                max_snapshots: reader.value(MAX_SNAPSHOTS, 0),
            },
            removes_old_metadata: reader.value(REMOVES_METADATA, false),
        }
    }
}

struct Reader {
    all: HashMap<String, String>,
    defaults: HashMap<String, String>,
}

impl Reader {
    fn value<T: FromStr>(&self, key: &str, otherwise: T) -> T {
        let parse = |map: &HashMap<String, String>| map.get(key)?.trim().parse().ok();
        let value = parse(&self.all).or_else(|| parse(&self.defaults));
        value.unwrap_or(otherwise)
    }
}

/// The properties of a new table.
pub fn new_table_properties(defaults: &TablesConfig) -> HashMap<String, String> {
    let age_ms = defaults.snapshot_age_max.as_millis();
    [
        (MERGES_MANIFESTS, true.to_string()),
        (MERGE_COUNT, defaults.manifests_to_merge.to_string()),
        (MANIFEST_BYTES, defaults.manifest_bytes.as_u64().to_string()),
        (SNAPSHOT_AGE_MS, age_ms.to_string()),
        (MIN_SNAPSHOTS, defaults.snapshots_min.to_string()),
        (MAX_SNAPSHOTS, defaults.snapshots_max.to_string()),
        (
            PREVIOUS_METADATA,
            defaults.previous_metadata_max.to_string(),
        ),
        (REMOVES_METADATA, true.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_says_what_the_configuration_says() {
        let defaults = TablesConfig::default();
        let said = TableSettings::read(&new_table_properties(&defaults), &defaults);
        assert_eq!(said, TableSettings::read(&HashMap::new(), &defaults));
        assert_eq!(said.retention.max_snapshots, defaults.snapshots_max);
        assert_eq!(said.retention.max_age_ms, 5 * 24 * 3600 * 1000);
        assert_eq!(said.merging.target_bytes, 8 << 20);
        assert!(said.removes_old_metadata && said.merging.is_enabled);
    }

    #[test]
    fn a_property_wins_and_one_that_is_no_number_counts_as_not_there() {
        let defaults = TablesConfig::default();
        let say = |value: &str| HashMap::from([(MAX_SNAPSHOTS.to_owned(), value.to_owned())]);
        let read = |value: &str| TableSettings::read(&say(value), &defaults).retention;
        assert_eq!(read("7").max_snapshots, 7);
        assert_eq!(read("0").max_snapshots, 0);
        assert_eq!(read("many").max_snapshots, defaults.snapshots_max);
    }
}
