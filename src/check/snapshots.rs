//! Checks the snapshots of one table: manifest lists, manifests, data files, totals, and the chain they form.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use iceberg::spec::{
    DataFile, DataFileFormat, ManifestFile, ManifestList, ManifestStatus, Snapshot, TableMetadata,
};

use super::Context;
use super::files;
use super::report::{Finding, Kind, Looked};
use crate::domain::Target;
use crate::table::TableStorage;
use crate::table::storage::local_path;

/// What the rest of the check needs to know of a table.
#[derive(Debug, Default)]
pub(super) struct TableFacts {
    /// Its snapshots by id.
    pub(super) snapshots: BTreeMap<i64, SnapshotFacts>,
    /// Whether snapshots that it once had are no longer in its metadata.
    pub(super) is_history_expired: bool,
}

/// What the rest of the check needs to know of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotFacts {
    /// The session that made it.
    pub(super) session: Option<String>,
    /// Rows that it added.
    pub(super) added_rows: u64,
}

/// The live files of a manifest.
struct Live {
    files: Vec<PathBuf>,
    rows: u64,
}

/// One table's snapshots while they are checked.
pub(super) struct SnapshotCheck<'a> {
    context: &'a Context,
    target: &'a Target,
    metadata: &'a TableMetadata,
    looked: &'a mut Looked,
    /// By location; `None` for one that cannot be read.
    manifests: HashMap<String, Option<Live>>,
    /// What was found.
    pub(super) findings: Vec<Finding>,
    /// Every file that a snapshot or manifest refers to.
    pub(super) referenced: HashSet<PathBuf>,
    /// Whether everything could be read, so that `referenced` is all there is.
    pub(super) is_complete: bool,
}

impl<'a> SnapshotCheck<'a> {
    pub(super) fn new(
        context: &'a Context,
        target: &'a Target,
        metadata: &'a TableMetadata,
        looked: &'a mut Looked,
    ) -> Self {
        Self {
            context,
            target,
            metadata,
            looked,
            manifests: HashMap::new(),
            findings: Vec::new(),
            referenced: HashSet::new(),
            is_complete: true,
        }
    }

    /// Checks every snapshot.
    pub(super) fn run(&mut self) -> TableFacts {
        let mut snapshots: Vec<_> = self.metadata.snapshots().cloned().collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        for snapshot in &snapshots {
            self.looked.snapshots += 1;
            self.check_snapshot(snapshot);
        }
        for pair in snapshots.windows(2) {
            if pair[1].parent_snapshot_id() != Some(pair[0].snapshot_id()) {
                self.report_chain(&pair[1], pair[0].snapshot_id());
            }
        }
        if let Some(last) = snapshots.last()
            && self.metadata.current_snapshot_id() != Some(last.snapshot_id())
        {
            let detail = format!(
                "snapshot {} is the last, but not current",
                last.snapshot_id()
            );
            self.push(Kind::SnapshotChainBroken, detail, None);
        }
        let oldest_has_parent = snapshots
            .first()
            .map(|oldest| oldest.parent_snapshot_id().is_some());
        TableFacts {
            is_history_expired: oldest_has_parent
                .unwrap_or_else(|| self.metadata.last_sequence_number() > 0),
            snapshots: snapshots
                .iter()
                .map(|snapshot| (snapshot.snapshot_id(), facts(snapshot)))
                .collect(),
        }
    }

    fn push(&mut self, kind: Kind, detail: impl Into<String>, path: Option<&Path>) {
        let finding = Finding::new(kind, detail).table(self.target);
        self.findings.push(match path {
            Some(path) => finding.path(self.context.relative(path)),
            None => finding,
        });
    }

    fn report_chain(&mut self, snapshot: &Snapshot, before: i64) {
        let parent = snapshot.parent_snapshot_id();
        let parent = parent.map_or_else(|| "none".to_owned(), |parent| parent.to_string());
        let detail = format!(
            "the parent of snapshot {} is {parent}; the one before it is {before}",
            snapshot.snapshot_id()
        );
        self.push(Kind::SnapshotChainBroken, detail, None);
    }

    fn check_snapshot(&mut self, snapshot: &Snapshot) {
        let Some(list) = self.manifest_list(snapshot) else {
            self.is_complete = false;
            return;
        };
        let mut live_files = Vec::new();
        let mut rows = 0;
        let mut is_readable = true;
        for manifest in list.entries() {
            match self.live_files(manifest) {
                Some(live) => {
                    live_files.extend(live.files.iter().cloned());
                    rows += live.rows;
                }
                None => is_readable = false,
            }
        }
        if is_readable {
            self.check_totals(snapshot, &live_files, rows);
        }
    }

    fn manifest_list(&mut self, snapshot: &Snapshot) -> Option<ManifestList> {
        let path = local_path(snapshot.manifest_list());
        self.referenced.insert(path.clone());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let (kind, detail) = match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        (Kind::ManifestListMissing, "it is not there".to_owned())
                    }
                    _ => (Kind::ManifestListUnreadable, error.to_string()),
                };
                let detail = format!("snapshot {}: {detail}", snapshot.snapshot_id());
                self.push(kind, detail, Some(&path));
                return None;
            }
        };
        let version = self.metadata.format_version();
        let parsed = files::guarded(|| {
            ManifestList::parse_with_version(&bytes, version).map_err(|error| error.to_string())
        });
        parsed
            .map_err(|reason| {
                let detail = format!("snapshot {}: {reason}", snapshot.snapshot_id());
                self.push(Kind::ManifestListUnreadable, detail, Some(&path));
            })
            .ok()
    }

    /// A manifest's live files, each manifest checked once.
    fn live_files(&mut self, manifest: &ManifestFile) -> Option<&Live> {
        if !self.manifests.contains_key(&manifest.manifest_path) {
            let live = self.check_manifest(manifest);
            self.is_complete &= live.is_some();
            self.manifests.insert(manifest.manifest_path.clone(), live);
        }
        self.manifests.get(&manifest.manifest_path)?.as_ref()
    }

    fn check_manifest(&mut self, manifest: &ManifestFile) -> Option<Live> {
        let path = local_path(&manifest.manifest_path);
        self.referenced.insert(path.clone());
        let length = u64::try_from(manifest.manifest_length).unwrap_or(0);
        match files::size(&path) {
            Ok(Some(bytes)) if bytes == length => {}
            Ok(Some(bytes)) => {
                let detail = format!("it has {bytes} bytes, its list says {length}");
                self.push(Kind::ManifestSize, detail, Some(&path));
                return None;
            }
            Ok(None) => {
                self.push(Kind::ManifestMissing, "it is not there", Some(&path));
                return None;
            }
            Err(error) => {
                self.push(Kind::ManifestUnreadable, error.to_string(), Some(&path));
                return None;
            }
        }
        let (runtime, files) = (&self.context.runtime, self.context.storage.files());
        let loaded = files::guarded(|| {
            runtime
                .block_on(manifest.load_manifest(files))
                .map_err(|error| error.to_string())
        });
        let entries = match loaded {
            Ok(loaded) => loaded.into_parts().0,
            Err(reason) => {
                self.push(Kind::ManifestUnreadable, reason, Some(&path));
                return None;
            }
        };
        let mut counts = Counts::default();
        let mut live = Live {
            files: Vec::new(),
            rows: 0,
        };
        for entry in &entries {
            counts.add(entry.status(), entry.record_count());
            if entry.is_alive() {
                live.rows += entry.record_count();
                live.files.push(local_path(entry.file_path()));
                self.check_data_file(entry.data_file());
            }
        }
        if let Some(detail) = counts.difference(manifest) {
            self.push(Kind::ManifestCounts, detail, Some(&path));
        }
        Some(live)
    }

    /// Each data file is checked once, however many snapshots have it.
    fn check_data_file(&mut self, file: &DataFile) {
        let path = local_path(file.file_path());
        if !self.referenced.insert(path.clone()) {
            return;
        }
        self.looked.data_files += 1;
        self.looked.data_bytes += file.file_size_in_bytes();
        if let Some((kind, detail)) = data_file_fault(self.context, &path, file) {
            self.push(kind, detail, Some(&path));
        }
    }

    /// Compares what a snapshot holds with what its summary says.
    fn check_totals(&mut self, snapshot: &Snapshot, live_files: &[PathBuf], rows: u64) {
        let distinct: HashSet<&PathBuf> = live_files.iter().collect();
        if distinct.len() != live_files.len() {
            let detail = format!(
                "snapshot {} lists {} files, {} different ones",
                snapshot.snapshot_id(),
                live_files.len(),
                distinct.len()
            );
            self.push(Kind::DataFileDoubled, detail, None);
        }
        for (key, held) in [
            ("total-data-files", live_files.len() as u64),
            ("total-records", rows),
        ] {
            let said = summary(snapshot, key);
            // A foreign writer may have left it out.
            if said.is_some_and(|said| said != held) {
                let detail = format!(
                    "{key} of snapshot {} is {}, its manifests hold {held}",
                    snapshot.snapshot_id(),
                    said.unwrap_or_default()
                );
                self.push(Kind::SnapshotCounts, detail, None);
            }
        }
    }
}

fn facts(snapshot: &Snapshot) -> SnapshotFacts {
    let properties = &snapshot.summary().additional_properties;
    SnapshotFacts {
        session: properties.get("calve.session-id").cloned(),
        added_rows: summary(snapshot, "added-records").unwrap_or(0),
    }
}

fn summary(snapshot: &Snapshot, key: &str) -> Option<u64> {
    let properties = &snapshot.summary().additional_properties;
    properties.get(key)?.parse().ok()
}

fn data_file_fault(context: &Context, path: &Path, file: &DataFile) -> Option<(Kind, String)> {
    match files::size(path) {
        Ok(None) => return Some((Kind::DataFileMissing, "it is not there".to_owned())),
        Ok(Some(bytes)) if bytes != file.file_size_in_bytes() => {
            let said = file.file_size_in_bytes();
            let detail = format!("it has {bytes} bytes, its manifest says {said}");
            return Some((Kind::DataFileSize, detail));
        }
        Ok(Some(_)) => {}
        Err(error) => return Some((Kind::DataFileUnreadable, error.to_string())),
    }
    if file.file_format() != DataFileFormat::Parquet {
        return None;
    }
    match files::parquet_rows(path, context.is_deep) {
        Ok(rows) if rows == file.record_count() => None,
        Ok(rows) => {
            let said = file.record_count();
            let detail = format!("it has {rows} rows, its manifest says {said}");
            Some((Kind::DataFileRows, detail))
        }
        Err(reason) => Some((Kind::DataFileUnreadable, reason)),
    }
}

/// Files and rows in a manifest, by the status of their entries: added, existing, deleted.
#[derive(Debug, Default)]
struct Counts {
    files: [u32; 3],
    rows: [u64; 3],
}

impl Counts {
    fn add(&mut self, status: ManifestStatus, rows: u64) {
        let index = match status {
            ManifestStatus::Added => 0,
            ManifestStatus::Existing => 1,
            ManifestStatus::Deleted => 2,
        };
        self.files[index] += 1;
        self.rows[index] += rows;
    }

    /// What a manifest list says differently.
    fn difference(&self, manifest: &ManifestFile) -> Option<String> {
        let files = [
            manifest.added_files_count,
            manifest.existing_files_count,
            manifest.deleted_files_count,
        ];
        let rows = [
            manifest.added_rows_count,
            manifest.existing_rows_count,
            manifest.deleted_rows_count,
        ];
        for (index, status) in ["added", "existing", "deleted"].iter().enumerate() {
            let (held_files, held_rows) = (self.files[index], self.rows[index]);
            let (said_files, said_rows) = (
                files[index].unwrap_or(held_files),
                rows[index].unwrap_or(held_rows),
            );
            if (said_files, said_rows) != (held_files, held_rows) {
                return Some(format!(
                    "it holds {held_files} {status} files with {held_rows} rows, its list says {said_files} with {said_rows}"
                ));
            }
        }
        None
    }
}
