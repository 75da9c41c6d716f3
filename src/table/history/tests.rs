//! Random histories of real tables, compared with a model that knows what every snapshot holds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, NestedField, PrimitiveType,
    Struct, Type,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::*;
use crate::config::TablesConfig;
use crate::schema::SchemaPlan;
use crate::store::layout::Layout;
use crate::table::LocalStorage;
use crate::table::catalog::{BaseTable, next_location};
use crate::table::group::writing;
use crate::table::recent::LiveFile;
use crate::table::snapshot::{BuiltSnapshot, SnapshotBuilder, SnapshotPlan};
use crate::table::storage::local_path;
use crate::testing::time;

/// What a commit does.
#[derive(Debug, Clone, Copy)]
enum Commit {
    Append { files: usize },
    Overwrite { files: usize },
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let commit = prop_oneof![
        6 => (0..4usize).prop_map(|files| Commit::Append { files }),
        1 => (0..4usize).prop_map(|files| Commit::Overwrite { files }),
    ];
    prop::collection::vec(commit, 1..40)
}

fn settings() -> impl Strategy<Value = TablesConfig> {
    (1..12usize, 1..6usize, 2..5usize, 1..4usize).prop_map(
        |(snapshots_max, snapshots_min, manifests_to_merge, previous_metadata_max)| TablesConfig {
            snapshots_max,
            snapshots_min,
            manifests_to_merge,
            previous_metadata_max,
            ..TablesConfig::default()
        },
    )
}

/// A table on the disk, and what it should hold.
struct World {
    folder: tempfile::TempDir,
    storage: LocalStorage,
    target: Target,
    runtime: Runtime,
    defaults: TablesConfig,
    table: Option<BaseTable>,
    /// Locations of the live files of every snapshot that there ever was.
    live: BTreeMap<i64, BTreeSet<String>>,
    made: u128,
}

impl World {
    fn new(defaults: TablesConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(Layout::new(folder.path().to_path_buf()));
        let target = Target::new("a", "b", "c").unwrap();
        storage.prepare(&target).unwrap();
        Self {
            folder,
            storage,
            target,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            defaults,
            table: None,
            live: BTreeMap::new(),
            made: 0,
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let table = Layout::new(self.folder.path().to_path_buf()).table_folder(&self.target);
        table.join(name)
    }

    fn new_data_file(&mut self) -> DataFile {
        self.made += 1;
        let name = format!("{}.parquet", self.made);
        let (path, location) = self.storage.new_data_file(&self.target, &name);
        std::fs::write(path, "x").unwrap();
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(1)
            .value_counts(HashMap::from([(1, 1)]))
            .lower_bounds(HashMap::from([(1, Datum::long(-1))]))
            .upper_bounds(HashMap::from([(1, Datum::long(1))]))
            .file_size_in_bytes(1);
        builder.build().unwrap()
    }

    /// Does a commit as a group of one does; gives what it expired.
    fn commit(&mut self, commit: Commit) -> Option<Expired> {
        let (count, replaces) = match commit {
            Commit::Append { files } => (files, false),
            Commit::Overwrite { files } => (files, true),
        };
        let added: Vec<DataFile> = (0..count).map(|_| self.new_data_file()).collect();
        let base = self.table.take();
        let held = base
            .as_ref()
            .and_then(|base| base.metadata.current_snapshot_id());
        let mut live = match held {
            Some(id) if !replaces => self.live[&id].clone(),
            _ => BTreeSet::new(),
        };
        live.extend(added.iter().map(|file| file.file_path().to_owned()));
        self.made += 1;
        let attempt = Uuid::from_u128(self.made);
        let column = NestedField::optional(1, "a", Type::Primitive(PrimitiveType::Long));
        let schema = SchemaPlan {
            fields: vec![column.into()],
            open: BTreeSet::new(),
        };
        let plan = SnapshotPlan {
            target: &self.target,
            base: base.as_ref(),
            base_is_unpublished: false,
            expires: true,
            schema: &schema,
            replaces,
            properties: BTreeMap::new(),
            defaults: &self.defaults,
            now: time(0) + TimeDelta::milliseconds(i64::try_from(self.made).unwrap()),
            attempt,
        };
        let builder = SnapshotBuilder::start(plan, &self.storage).unwrap();
        let built = self.runtime.block_on(builder.build(added)).unwrap();
        let BuiltSnapshot {
            snapshot_id,
            metadata,
            manifests,
            recent,
            mut files,
            old_metadata,
            expired,
        } = built;
        let location = next_location(base.as_ref(), &metadata, attempt).unwrap();
        let bytes = writing::metadata_file(&metadata, &location);
        files.push((location.to_string(), self.runtime.block_on(bytes).unwrap()));
        self.storage
            .write_metadata(&self.target, &files, Vec::new())
            .unwrap();
        let expired = writing::expired(&metadata, &expired, &old_metadata);
        self.live.insert(snapshot_id, live);
        let table = BaseTable {
            metadata_location: location.to_string(),
            metadata_bytes: 0,
            metadata: metadata.into(),
            manifests: Some(manifests.into()),
            recent: recent.into(),
            named_snapshots: std::sync::Arc::default(),
        };
        self.assert_remembered_as_written(&table);
        self.table = Some(table);
        expired
    }

    /// What is kept in memory is what a reader finds in the list.
    fn assert_remembered_as_written(&self, table: &BaseTable) {
        let current = table.metadata.current_snapshot().unwrap();
        assert_eq!(
            table.manifests.as_deref(),
            Some(&self.list(current.manifest_list()))
        );
        for manifest in table.manifests.iter().flat_map(|all| all.iter()) {
            let Some(known) = table.recent.get(&manifest.manifest_path) else {
                continue;
            };
            let loaded = manifest.load_manifest(self.storage.files());
            let (entries, _) = self.runtime.block_on(loaded).unwrap().into_parts();
            let alive = entries.iter().filter(|entry| entry.is_alive());
            let read: Vec<LiveFile> = alive
                .map(|entry| LiveFile {
                    file: entry.data_file().clone(),
                    snapshot_id: entry.snapshot_id().unwrap(),
                    sequence_number: entry.sequence_number().unwrap(),
                    file_sequence_number: entry.file_sequence_number,
                })
                .collect();
            assert_eq!(known, read);
        }
    }

    fn list(&self, location: &str) -> Vec<ManifestFile> {
        let bytes = std::fs::read(local_path(location)).unwrap();
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2).unwrap();
        list.entries().to_vec()
    }

    /// Reads every kept snapshot: it holds what the model says. Gives all files that they need.
    fn read_all(&self) -> BTreeSet<PathBuf> {
        let table = self.table.as_ref().unwrap();
        let mut needed = BTreeSet::from([local_path(&table.metadata_location)]);
        let log = table.metadata.metadata_log().iter();
        needed.extend(log.map(|entry| local_path(&entry.metadata_file)));
        for snapshot in table.metadata.snapshots() {
            needed.insert(local_path(snapshot.manifest_list()));
            let mut live = BTreeSet::new();
            for manifest in self.list(snapshot.manifest_list()) {
                needed.insert(local_path(&manifest.manifest_path));
                let loaded = manifest.load_manifest(self.storage.files());
                let (entries, _) = self.runtime.block_on(loaded).unwrap().into_parts();
                for entry in entries.iter().filter(|entry| entry.is_alive()) {
                    let is_new = live.insert(entry.file_path().to_owned());
                    assert!(is_new, "{} is there twice", entry.file_path());
                    self.assert_kept_its_origin(entry);
                }
            }
            assert_eq!(live, self.live[&snapshot.snapshot_id()]);
            needed.extend(live.iter().map(|location| local_path(location)));
        }
        needed
    }

    /// A merged manifest says of every file when it was added.
    fn assert_kept_its_origin(&self, entry: &iceberg::spec::ManifestEntry) {
        let holds = |live: &BTreeSet<String>| live.contains(entry.file_path());
        let added_by = entry.snapshot_id().unwrap();
        assert!(holds(&self.live[&added_by]));
        assert_eq!(entry.sequence_number(), entry.file_sequence_number);
        let metadata = &self.table.as_ref().unwrap().metadata;
        if let Some(snapshot) = metadata.snapshot_by_id(added_by) {
            assert_eq!(entry.sequence_number(), Some(snapshot.sequence_number()));
            let parent = snapshot.parent_snapshot_id();
            assert!(parent.is_none_or(|parent| !holds(&self.live[&parent])));
        }
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let listed = ["data", "metadata"].map(|name| std::fs::read_dir(self.folder(name)).unwrap());
        let files = listed.into_iter().flatten();
        files.map(|entry| entry.unwrap().path()).collect()
    }

    fn superfluous(&self, expired: &Expired) -> BTreeSet<PathBuf> {
        let found = superfluous(&self.storage, &self.target, expired).unwrap();
        let in_metadata = |name: &String| self.folder("metadata").join(name);
        let metadata = found.manifests.iter().chain(&found.lists_and_metadata);
        let data = found.data_files.iter().map(|location| local_path(location));
        data.chain(metadata.map(in_metadata)).collect()
    }
}

fn remove(paths: &BTreeSet<PathBuf>) {
    let there = paths.iter().filter(|path| Path::exists(path));
    there.for_each(|path| std::fs::remove_file(path).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Removed as soon as it is due: after every commit the folders hold what the kept snapshots need, and nothing else.
    #[test]
    fn exactly_what_no_kept_snapshot_needs_is_superfluous(commits in commits(), defaults in settings()) {
        let mut world = World::new(defaults);
        for commit in commits {
            let expired = world.commit(commit);
            let needed = world.read_all();
            let expected: BTreeSet<PathBuf> = world.files().difference(&needed).cloned().collect();
            let found = expired.map_or_else(BTreeSet::new, |expired| world.superfluous(&expired));
            prop_assert_eq!(&found, &expected);
            remove(&found);
        }
    }

    /// Removed late, in any order of interruption: what a removal that was cut off left is found again.
    #[test]
    fn what_is_due_can_be_removed_late_and_in_pieces(
        commits in commits(),
        defaults in settings(),
        kept in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut world = World::new(defaults);
        let due: Vec<Expired> = commits.into_iter().filter_map(|commit| world.commit(commit)).collect();
        for (expired, is_cut_off) in due.iter().zip(kept) {
            if is_cut_off {
                // The order of removal: data files, manifests, lists.
                let found = superfluous(&world.storage, &world.target, expired).unwrap();
                world.storage.remove_data_files(&world.target, &found.data_files).unwrap();
                world.storage.remove_metadata_files(&world.target, &found.manifests).unwrap();
                let half = &found.lists_and_metadata[..found.lists_and_metadata.len() / 2];
                world.storage.remove_metadata_files(&world.target, half).unwrap();
            }
            remove(&world.superfluous(expired));
        }
        prop_assert_eq!(world.files(), world.read_all());
    }
}
