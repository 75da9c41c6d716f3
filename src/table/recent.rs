//! What manifests that were written lately say, in memory: they are merged soon, and need not be read and parsed for that. Pure.
//!
//! A manifest never changes, so what was written to it is what a reader finds. Only of the manifests of a table's current snapshot,
//! and bounded: of a few files each, as small appends make them. What is not here is read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{DataFile, ManifestFile};

/// Manifests of one table.
const MANIFESTS_MAX: usize = 64;
/// Files of one of them.
pub const FILES_MAX: usize = 2;
/// What a file takes in memory: bounds and counts of a dozen columns.
const FILE_BYTES: u64 = 4 * 1024;

/// A file that is alive, as a manifest says it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// The file.
    pub file: DataFile,
    /// The snapshot that added it.
    pub snapshot_id: i64,
    /// Its sequence number.
    pub sequence_number: i64,
    /// The sequence number of the snapshot that added it.
    pub file_sequence_number: Option<i64>,
}

/// The live files of manifests, by the manifests' paths.
#[derive(Debug, Clone, Default)]
pub struct RecentManifests(BTreeMap<Arc<str>, Arc<Vec<LiveFile>>>);

impl RecentManifests {
    /// The live files of a manifest, if they are known.
    pub fn get(&self, manifest_path: &str) -> Option<&[LiveFile]> {
        self.0.get(manifest_path).map(|files| files.as_slice())
    }

    /// What is known when these are the manifests, and this one is new.
    #[must_use]
    pub fn after(&self, manifests: &[ManifestFile], new: Option<(&str, Vec<LiveFile>)>) -> Self {
        let current: HashSet<&str> = manifests
            .iter()
            .map(|one| one.manifest_path.as_str())
            .collect();
        let mut after = self.0.clone();
        after.retain(|path, _| current.contains(&**path));
        if let Some((path, files)) = new
            && files.len() <= FILES_MAX
            && after.len() < MANIFESTS_MAX
        {
            after.insert(path.into(), Arc::new(files));
        }
        Self(after)
    }

    /// About as many bytes as it takes in memory.
    pub fn bytes(&self) -> u64 {
        let files: usize = self.0.values().map(|files| files.len()).sum();
        files as u64 * FILE_BYTES
    }
}
