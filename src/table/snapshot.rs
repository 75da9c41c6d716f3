//! Builds a table's next metadata: manifests, manifest list, snapshot, schema change, all in one step.
//!
//! The crate's transactions only know fast append, so this uses its public spec types. Facts kept here:
//!
//! * Added files carry no sequence number of their own; they inherit the snapshot's.
//! * An overwrite writes every file that was alive as *deleted* in a manifest of the new snapshot, with both
//!   its original sequence numbers, so that incremental readers see the deletion.
//! * Manifests that hold nothing but deletions are not carried on; those of a widened column are written anew.
//! * Timestamps grow strictly, whatever the machine's clock does.
//! * Summary: the session's facts first, computed counts after them, so that no message can fake a count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, NestedFieldRef, Operation, PartitionSpec,
    PartitionSpecRef, SchemaRef, Snapshot, SnapshotReference, SnapshotRetention,
    SnapshotSummaryCollector, SortOrder, Summary, TableMetadata, TableMetadataBuildResult,
    TableMetadataBuilder,
};
use uuid::Uuid;

use super::catalog::BaseTable;
use super::storage::TableStorage;
use super::widening;
use crate::clock::snapshot_id;
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

/// What a snapshot is to hold.
pub struct SnapshotPlan<'a> {
    /// The table.
    pub target: &'a Target,
    /// Its state before; `None` for a new table.
    pub base: Option<&'a BaseTable>,
    /// Its schema after.
    pub schema: &'a SchemaPlan,
    /// Whether what was alive before is deleted.
    pub replaces: bool,
    /// Facts for the summary: message, session.
    pub properties: BTreeMap<String, String>,
    /// The time.
    pub now: DateTime<Utc>,
    /// Random: names the snapshot's files, and the snapshot.
    pub attempt: Uuid,
}

/// A snapshot that is being built: metadata with its schema, before the snapshot itself.
pub struct SnapshotBuilder<'a> {
    plan: SnapshotPlan<'a>,
    storage: &'a dyn TableStorage,
    metadata: TableMetadataBuilder,
    preview: TableMetadata,
    snapshot_id: i64,
}

impl<'a> SnapshotBuilder<'a> {
    /// Makes or changes the schema; nothing is written yet.
    pub fn start(plan: SnapshotPlan<'a>, storage: &'a dyn TableStorage) -> Result<Self> {
        let location = storage.location(plan.target);
        let metadata = match plan.base {
            None => new_table(&plan.schema.fields, location)?,
            Some(base) => changed_table(base, plan.schema, plan.replaces)?,
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
        let snapshot_id = snapshot_id(plan.attempt);
        Ok(Self {
            plan,
            storage,
            metadata,
            preview,
            snapshot_id,
        })
    }

    /// The table's schema after this snapshot.
    pub fn schema(&self) -> &SchemaRef {
        self.preview.current_schema()
    }

    /// The snapshot's id.
    pub fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    /// Writes manifests and manifest list, and builds the metadata. The futures of the storage block.
    pub async fn build(&self, added: Vec<DataFile>) -> Result<TableMetadataBuildResult> {
        let spec = self.preview.default_partition_spec().clone();
        let mut collector = SnapshotSummaryCollector::default();
        let mut manifests = Vec::new();
        for file in &added {
            collector.add_file(file, self.schema().clone(), spec.clone());
        }
        if !added.is_empty() {
            manifests.push(self.write_added(added, &spec).await?);
        }
        let before = self.manifests_before().await?;
        if self.plan.replaces {
            manifests.extend(self.write_deleted(before, &mut collector).await?);
        } else {
            manifests.extend(self.carried_on(before).await?);
        }
        let list_location = self.write_list(manifests).await?;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(self.preview.current_snapshot_id())
            .with_sequence_number(self.preview.next_sequence_number())
            .with_timestamp_ms(self.timestamp_ms())
            .with_manifest_list(list_location)
            .with_summary(self.summary(&collector))
            .with_schema_id(self.preview.current_schema_id())
            .build();
        let branch = SnapshotReference::new(
            self.snapshot_id,
            SnapshotRetention::branch(None, None, None),
        );
        Ok(self
            .metadata
            .clone()
            .add_snapshot(snapshot)?
            .set_ref(MAIN_BRANCH, branch)?
            .build()?)
    }

    fn metadata_file(&self, name: &str) -> String {
        format!("{}/metadata/{name}", self.preview.location())
    }

    fn manifest_writer(
        &self,
        index: usize,
        schema: SchemaRef,
        spec: PartitionSpec,
    ) -> Result<ManifestWriterBuilder> {
        let location = self.metadata_file(&format!("{}-m{index}.avro", self.plan.attempt));
        let output = self.storage.files().new_output(location)?;
        Ok(ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id),
            schema,
            spec,
        ))
    }

    async fn write_added(
        &self,
        added: Vec<DataFile>,
        spec: &PartitionSpecRef,
    ) -> Result<ManifestFile> {
        // -1: the sequence number is inherited from the snapshot that the manifest list belongs to.
        const INHERITED: i64 = -1;
        let schema = self.schema().clone();
        let mut writer = self
            .manifest_writer(0, schema, PartitionSpec::clone(spec))?
            .build_v2_data();
        for file in added {
            writer.add_file(file, INHERITED)?;
        }
        Ok(writer.write_manifest_file().await?)
    }

    async fn manifests_before(&self) -> Result<Vec<ManifestFile>> {
        let Some(snapshot) = self.preview.current_snapshot() else {
            return Ok(Vec::new());
        };
        let input = self.storage.files().new_input(snapshot.manifest_list())?;
        let bytes = input.read().await?;
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2)?;
        Ok(list.entries().to_vec())
    }

    /// One manifest of deletions for each manifest that had live files.
    async fn write_deleted(
        &self,
        before: Vec<ManifestFile>,
        collector: &mut SnapshotSummaryCollector,
    ) -> Result<Vec<ManifestFile>> {
        let mut written = Vec::new();
        for manifest in before.into_iter().filter(has_live_files) {
            let loaded = manifest.load_manifest(self.storage.files()).await?;
            let (entries, metadata) = loaded.into_parts();
            let spec = metadata.partition_spec().clone();
            let builder =
                self.manifest_writer(written.len() + 1, metadata.schema().clone(), spec.clone())?;
            let mut writer = match manifest.content {
                ManifestContentType::Data => builder.build_v2_data(),
                ManifestContentType::Deletes => builder.build_v2_deletes(),
            };
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                let sequence_number = entry
                    .sequence_number()
                    .ok_or_else(|| Error::internal("a manifest's entry has no sequence number"))?;
                collector.remove_file(
                    entry.data_file(),
                    metadata.schema().clone(),
                    Arc::new(spec.clone()),
                );
                writer.add_delete_file(
                    entry.data_file().clone(),
                    sequence_number,
                    entry.file_sequence_number,
                )?;
            }
            written.push(writer.write_manifest_file().await?);
        }
        Ok(written)
    }

    /// The manifests that an append keeps; written anew where a column's widening makes their bounds too
    /// narrow.
    async fn carried_on(&self, before: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let live = before.into_iter().filter(has_live_files);
        let fields_before = self.plan.base.map(|base| base.columns().fields);
        let is_widened = fields_before
            .is_some_and(|fields| widening::is_widened(&fields, &self.plan.schema.fields));
        if !is_widened {
            return Ok(live.collect());
        }
        let mut kept = Vec::new();
        for manifest in live {
            let rewritten = self.with_wider_bounds(&manifest, kept.len() + 1).await?;
            kept.push(rewritten.unwrap_or(manifest));
        }
        Ok(kept)
    }

    /// The manifest with its live files' bounds in the schema's types; `None` when they are already.
    async fn with_wider_bounds(
        &self,
        manifest: &ManifestFile,
        index: usize,
    ) -> Result<Option<ManifestFile>> {
        let schema = self.schema().clone();
        let loaded = manifest.load_manifest(self.storage.files()).await?;
        let (entries, metadata) = loaded.into_parts();
        let mut files = Vec::new();
        let mut changes = false;
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let widened = widening::with_bounds_of(entry.data_file(), &schema)?;
            changes |= widened.is_some();
            files.push((entry, widened.unwrap_or_else(|| entry.data_file().clone())));
        }
        if !changes {
            return Ok(None);
        }
        let spec = metadata.partition_spec().clone();
        let mut writer = self.manifest_writer(index, schema, spec)?.build_v2_data();
        for (entry, file) in files {
            let (Some(snapshot_id), Some(sequence_number)) =
                (entry.snapshot_id(), entry.sequence_number())
            else {
                return Err(Error::internal("a manifest's entry has no sequence number"));
            };
            writer.add_existing_file(
                file,
                snapshot_id,
                sequence_number,
                entry.file_sequence_number,
            )?;
        }
        Ok(Some(writer.write_manifest_file().await?))
    }

    async fn write_list(&self, manifests: Vec<ManifestFile>) -> Result<String> {
        let location = self.metadata_file(&format!(
            "snap-{}-1-{}.avro",
            self.snapshot_id, self.plan.attempt
        ));
        let output = self.storage.files().new_output(&location)?;
        let mut writer = ManifestListWriter::v2(
            output.writer().await?,
            self.snapshot_id,
            self.preview.current_snapshot_id(),
            self.preview.next_sequence_number(),
        );
        writer.add_manifests(manifests.into_iter())?;
        writer.close().await?;
        Ok(location)
    }

    /// Now, but after everything the table has seen.
    fn timestamp_ms(&self) -> i64 {
        let last = self
            .plan
            .base
            .map_or(0, |base| base.metadata.last_updated_ms() + 1);
        self.plan.now.timestamp_millis().max(last)
    }

    fn summary(&self, collector: &SnapshotSummaryCollector) -> Summary {
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

fn has_live_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

fn new_table(fields: &[NestedFieldRef], location: String) -> Result<TableMetadataBuilder> {
    Ok(TableMetadataBuilder::new(
        iceberg_schema(fields)?,
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        location,
        FormatVersion::V2,
        HashMap::new(),
    )?)
}

fn changed_table(
    base: &BaseTable,
    plan: &SchemaPlan,
    replaces: bool,
) -> Result<TableMetadataBuilder> {
    let metadata = TableMetadata::clone(&base.metadata);
    let current = metadata.current_schema().clone();
    let builder = metadata.into_builder(Some(base.metadata_location.clone()));
    if current.as_struct().fields() == plan.fields.as_slice() {
        return Ok(builder);
    }
    let mut schema = iceberg_schema(&plan.fields)?;
    if !replaces {
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
