//! Builds a table's next metadata: manifests, manifest list, snapshot, schema change, all in one step. What is written is
//! written to memory; the caller makes it durable.
//!
//! The crate's transactions only know fast append, so this uses its public spec types. Facts kept here:
//!
//! * Added files carry no sequence number of their own; they inherit the snapshot's.
//! * An overwrite writes every file that was alive as *deleted* in a manifest of the new snapshot, with both
//!   its original sequence numbers, so that incremental readers see the deletion.
//! * Manifests that hold nothing but deletions are not carried on; those of a widened column are written anew; of the others
//!   some are merged ([`super::merging`]): their files are then *existing*, with the snapshot and both sequence numbers they had.
//! * A snapshot says in its summary how many of its parent's manifests it has not (`manifests-replaced`), so that it is known
//!   without reading what goes when its parent does.
//! * Snapshots beyond the table's retention leave the metadata in the same step.
//! * Timestamps grow strictly, whatever the machine's clock does.
//! * Summary: the session's facts first, computed counts after them, so that no message can fake a count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, NestedFieldRef, Operation, PartitionSpec,
    SchemaRef, Snapshot, SnapshotRef, SnapshotReference, SnapshotRetention,
    SnapshotSummaryCollector, SortOrder, Summary, TableMetadata, TableMetadataBuilder,
};
use uuid::Uuid;

mod manifests;

use manifests::{ManifestCounts, assign_sequence_number};

use super::catalog::BaseTable;
use super::history;
use super::recent::RecentManifests;
use super::settings::{TableSettings, new_table_properties};
use super::storage::TableStorage;
use crate::clock::snapshot_id;
use crate::config::TablesConfig;
use crate::domain::Target;
use crate::error::{Error, Result};
use crate::ingest::data_file::iceberg_schema;
use crate::schema::SchemaPlan;
use crate::schema::plan::OPEN_COLUMNS_PROPERTY;

/// Totals in a snapshot's summary, and what changes them: total, added, removed.
const TOTALS: [(&str, &str, &str); 3] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
];
/// Totals of what Calve never writes.
const ZERO_TOTALS: [&str; 3] = [
    "total-delete-files",
    "total-position-deletes",
    "total-equality-deletes",
];

/// How many snapshots leave a table at once: more than a publication adds, and few enough for their record. What is beyond the
/// retention for longer goes with the next commits.
const EXPIRED_AT_ONCE_MAX: usize = 50;

/// What a snapshot is to hold.
pub struct SnapshotPlan<'a> {
    /// The table.
    pub target: &'a Target,
    /// Its state before; `None` for a new table.
    pub base: Option<&'a BaseTable>,
    /// Whether that state is one of the same publication: its metadata file will never be written, and its newest manifests
    /// are not there yet.
    pub base_is_unpublished: bool,
    /// Whether snapshots beyond the retention go.
    pub expires: bool,
    /// Its schema after.
    pub schema: &'a SchemaPlan,
    /// Whether what was alive before is deleted.
    pub replaces: bool,
    /// Facts for the summary: message, session.
    pub properties: BTreeMap<String, String>,
    /// What new tables say of their upkeep.
    pub defaults: &'a TablesConfig,
    /// The time.
    pub now: DateTime<Utc>,
    /// Random: names the snapshot's files, and the snapshot.
    pub attempt: Uuid,
}

/// A snapshot that was built.
#[derive(Debug)]
pub struct BuiltSnapshot {
    /// Its id.
    pub snapshot_id: i64,
    /// The table's metadata with it.
    pub metadata: TableMetadata,
    /// Its manifests.
    pub manifests: Vec<ManifestFile>,
    /// What some of them say.
    pub recent: RecentManifests,
    /// What must be durable before it is published: locations and contents.
    pub files: Vec<(String, Bytes)>,
    /// Locations of metadata files that left the metadata log.
    pub old_metadata: Vec<String>,
    /// Snapshots that left the table, oldest first; then the oldest that stayed.
    pub expired: Vec<SnapshotRef>,
}

/// A snapshot that is being built: metadata with its schema, before the snapshot itself.
pub struct SnapshotBuilder<'a> {
    plan: SnapshotPlan<'a>,
    storage: &'a dyn TableStorage,
    settings: TableSettings,
    metadata: TableMetadataBuilder,
    preview: TableMetadata,
    snapshot_id: i64,
    /// Takes what is written.
    memory: FileIO,
    /// Locations of what was written there.
    written: Vec<String>,
}

impl<'a> SnapshotBuilder<'a> {
    /// Makes or changes the schema; nothing is written yet.
    pub fn start(plan: SnapshotPlan<'a>, storage: &'a dyn TableStorage) -> Result<Self> {
        let location = storage.location(plan.target);
        let metadata = match plan.base {
            None => new_table(&plan.schema.fields, location, plan.defaults)?,
            Some(base) => changed_table(base, &plan)?,
        };
        let metadata = with_open_columns(metadata, plan.base, &plan.schema.open)?;
        let preview = metadata.clone().build()?.metadata;
        let fields = preview.current_schema().as_struct().fields();
        if fields != plan.schema.fields.as_slice() {
            return Err(Error::internal(
                "the table's schema did not become what was planned",
            ));
        }
        if !preview.default_partition_spec().is_unpartitioned() {
            return Err(Error::internal("the table is partitioned"));
        }
        Ok(Self {
            settings: TableSettings::read(preview.properties(), plan.defaults),
            snapshot_id: snapshot_id(plan.attempt),
            plan,
            storage,
            metadata,
            preview,
            memory: FileIO::new_with_memory(),
            written: Vec::new(),
        })
    }

    /// The table's schema after this snapshot.
    pub fn schema(&self) -> &SchemaRef {
        self.preview.current_schema()
    }

    /// Writes manifests and manifest list to memory, and builds the metadata. The futures of the storage block.
    pub async fn build(mut self, added: Vec<DataFile>) -> Result<BuiltSnapshot> {
        let spec = self.preview.default_partition_spec().clone();
        let mut collector = SnapshotSummaryCollector::default();
        let mut manifests = Vec::new();
        for file in &added {
            collector.add_file(file, self.schema().clone(), spec.clone());
        }
        let new_files = self.live_files_of(&added);
        if !added.is_empty() {
            manifests.push(self.write_added(added, &spec).await?);
        }
        let before = self.manifests_before().await?;
        let counts = ManifestCounts::of(&before);
        if self.plan.replaces {
            manifests.extend(self.write_deleted(&before, &mut collector).await?);
        } else {
            manifests.extend(self.carried_on(&before).await?);
        }
        let summary = self.summary(&collector, counts.after(&manifests));
        let sequence_number = self.preview.next_sequence_number();
        manifests
            .iter_mut()
            .for_each(|manifest| assign_sequence_number(manifest, sequence_number));
        let new = manifests.first().filter(|_| !new_files.is_empty());
        let new = new.map(|manifest| (manifest.manifest_path.as_str(), new_files));
        let known = self.plan.base.map(|base| base.recent.clone());
        let recent = known.unwrap_or_default().after(&manifests, new);
        let list_location = self.write_list(&manifests).await?;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(self.preview.current_snapshot_id())
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(self.timestamp_ms())
            .with_manifest_list(list_location)
            .with_summary(summary)
            .with_schema_id(self.preview.current_schema_id())
            .build();
        let expired = self.expired(&snapshot);
        // The last of them stays.
        let gone = expired.iter().rev().skip(1);
        let gone: Vec<i64> = gone.map(|snapshot| snapshot.snapshot_id()).collect();
        let branch = SnapshotReference::new(
            self.snapshot_id,
            SnapshotRetention::branch(None, None, None),
        );
        let built = self.metadata.add_snapshot(snapshot)?;
        let built = built.set_ref(MAIN_BRANCH, branch)?;
        let built = built.remove_snapshots(&gone).build()?;
        let mut files = Vec::new();
        for location in self.written {
            let bytes = self.memory.new_input(&location)?.read().await?;
            files.push((location, bytes));
        }
        let old_metadata = built.expired_metadata_logs.into_iter();
        let removes = self.settings.removes_old_metadata;
        Ok(BuiltSnapshot {
            snapshot_id: self.snapshot_id,
            metadata: built.metadata,
            manifests,
            recent,
            files,
            old_metadata: old_metadata
                .filter(|_| removes)
                .map(|entry| entry.metadata_file)
                .collect(),
            expired,
        })
    }

    /// The snapshots that go with this one, oldest first, then the oldest that stays; none where none goes. Where the snapshots
    /// are not one chain, or a branch or tag holds them, they stay: what they need cannot be told from what was dropped.
    fn expired(&self, newest: &Snapshot) -> Vec<SnapshotRef> {
        let Some(base) = self.plan.base.filter(|_| self.plan.expires) else {
            return Vec::new();
        };
        let Some(mut chain) = history::chain(&self.preview) else {
            return Vec::new();
        };
        chain.push(Arc::new(newest.clone()));
        let times: Vec<i64> = chain.iter().map(|one| one.timestamp_ms()).collect();
        let retention = &self.settings.retention;
        let beyond = retention.expired(&times, newest.timestamp_ms());
        let is_free = |one: &&SnapshotRef| {
            !base.named_snapshots.contains(&one.snapshot_id())
                && history::is_in_folder(&self.preview, one)
        };
        let free = chain.iter().take_while(is_free).count();
        match beyond.min(free).min(EXPIRED_AT_ONCE_MAX) {
            0 => Vec::new(),
            count => chain.into_iter().take(count + 1).collect(),
        }
    }

    fn metadata_file(&self, name: &str) -> String {
        format!("{}/metadata/{name}", self.preview.location())
    }

    /// Now, but after everything the table has seen.
    fn timestamp_ms(&self) -> i64 {
        let last = self
            .plan
            .base
            .map_or(0, |base| base.metadata.last_updated_ms() + 1);
        self.plan.now.timestamp_millis().max(last)
    }

    fn summary(
        &self,
        collector: &SnapshotSummaryCollector,
        manifests: [(&str, usize); 3],
    ) -> Summary {
        let mut properties: HashMap<String, String> =
            self.plan.properties.clone().into_iter().collect();
        let computed = collector.build();
        let previous = self
            .preview
            .current_snapshot()
            .map(|snapshot| &snapshot.summary().additional_properties);
        let count = |map: &HashMap<String, String>, key: &str| -> Option<u64> {
            map.get(key).map_or(Some(0), |text| text.parse().ok())
        };
        for (total, added, removed) in TOTALS {
            let before = match previous {
                // A foreign writer may have left it out; then it stays unknown.
                Some(previous) => previous.get(total).and_then(|text| text.parse().ok()),
                None => Some(0),
            };
            let after = before
                .zip(count(&computed, added))
                .zip(count(&computed, removed))
                .and_then(|((before, added), removed)| (before + added).checked_sub(removed));
            if let Some(after) = after {
                properties.insert(total.to_owned(), after.to_string());
            }
        }
        for total in ZERO_TOTALS {
            properties.insert(total.to_owned(), "0".to_owned());
        }
        for (key, count) in manifests {
            properties.insert(key.to_owned(), count.to_string());
        }
        properties.extend(computed);
        let operation = if self.plan.replaces {
            Operation::Overwrite
        } else {
            Operation::Append
        };
        Summary {
            operation,
            additional_properties: properties,
        }
    }
}

fn new_table(
    fields: &[NestedFieldRef],
    location: String,
    defaults: &TablesConfig,
) -> Result<TableMetadataBuilder> {
    Ok(TableMetadataBuilder::new(
        iceberg_schema(fields)?,
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        location,
        FormatVersion::V2,
        new_table_properties(defaults),
    )?)
}

fn changed_table(base: &BaseTable, plan: &SnapshotPlan<'_>) -> Result<TableMetadataBuilder> {
    let metadata = TableMetadata::clone(&base.metadata);
    let current = metadata.current_schema().clone();
    let location = (!plan.base_is_unpublished).then(|| base.metadata_location.clone());
    let builder = metadata.into_builder(location);
    if current.as_struct().fields() == plan.schema.fields.as_slice() {
        return Ok(builder);
    }
    let mut schema = iceberg_schema(&plan.schema.fields)?;
    if !plan.replaces {
        let identifiers = current.identifier_field_ids();
        schema = schema
            .into_builder()
            .with_identifier_field_ids(identifiers)
            .build()?;
    }
    Ok(builder.add_current_schema(schema)?)
}

fn with_open_columns(
    metadata: TableMetadataBuilder,
    base: Option<&BaseTable>,
    open: &BTreeSet<i32>,
) -> Result<TableMetadataBuilder> {
    let before = base.map(|base| base.columns().open).unwrap_or_default();
    if before == *open {
        return Ok(metadata);
    }
    if open.is_empty() {
        return Ok(metadata.remove_properties(&[OPEN_COLUMNS_PROPERTY.to_owned()])?);
    }
    let value = serde_json::to_string(open).map_err(Error::internal)?;
    let properties = HashMap::from([(OPEN_COLUMNS_PROPERTY.to_owned(), value)]);
    Ok(metadata.set_properties(properties)?)
}
