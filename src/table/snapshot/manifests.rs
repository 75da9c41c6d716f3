//! The manifests of a snapshot that is being built: those of added and deleted files, those that are carried on, merged or
//! written anew, and their list.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestList, ManifestListWriter,
    ManifestWriterBuilder, PartitionSpec, PartitionSpecRef, SchemaRef, SnapshotSummaryCollector,
};

use super::SnapshotBuilder;
use crate::error::{Error, Result};
use crate::table::history;
use crate::table::merging::{self, Candidate};
use crate::table::recent::{self, LiveFile};
use crate::table::widening;

impl SnapshotBuilder<'_> {
    fn manifest_writer(
        &mut self,
        schema: SchemaRef,
        spec: PartitionSpec,
    ) -> Result<ManifestWriterBuilder> {
        let index = self.written.len();
        let location = self.metadata_file(&format!("{}-m{index}.avro", self.plan.attempt));
        let output = self.memory.new_output(&location)?;
        self.written.push(location);
        Ok(ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id),
            schema,
            spec,
        ))
    }

    pub(super) async fn write_added(
        &mut self,
        added: Vec<DataFile>,
        spec: &PartitionSpecRef,
    ) -> Result<ManifestFile> {
        // -1: the sequence number is inherited from the snapshot that the manifest list belongs to.
        const INHERITED: i64 = -1;
        let schema = self.schema().clone();
        let mut writer = self
            .manifest_writer(schema, PartitionSpec::clone(spec))?
            .build_v2_data();
        for file in added {
            writer.add_file(file, INHERITED)?;
        }
        Ok(writer.write_manifest_file().await?)
    }

    /// What the manifest of these files will say of them, if they are few.
    pub(super) fn live_files_of(&self, added: &[DataFile]) -> Vec<LiveFile> {
        let sequence_number = self.preview.next_sequence_number();
        let few = added.iter().filter(|_| added.len() <= recent::FILES_MAX);
        few.map(|file| LiveFile {
            file: file.clone(),
            snapshot_id: self.snapshot_id,
            sequence_number,
            file_sequence_number: Some(sequence_number),
        })
        .collect()
    }

    /// The files that are alive in a manifest, and its partition spec.
    async fn live_files(&self, manifest: &ManifestFile) -> Result<(Vec<LiveFile>, PartitionSpec)> {
        let base = self.plan.base;
        if let Some(known) = base.and_then(|base| base.recent.get(&manifest.manifest_path)) {
            let spec = self.preview.default_partition_spec();
            return Ok((known.to_vec(), PartitionSpec::clone(spec)));
        }
        let loaded = manifest.load_manifest(self.storage.files()).await?;
        let (entries, metadata) = loaded.into_parts();
        let alive = entries.iter().filter(|entry| entry.is_alive());
        let files = alive.map(|entry| {
            let (Some(snapshot_id), Some(sequence_number)) =
                (entry.snapshot_id(), entry.sequence_number())
            else {
                return Err(Error::internal("a manifest's entry has no sequence number"));
            };
            Ok(LiveFile {
                file: entry.data_file().clone(),
                snapshot_id,
                sequence_number,
                file_sequence_number: entry.file_sequence_number,
            })
        });
        Ok((
            files.collect::<Result<_>>()?,
            metadata.partition_spec().clone(),
        ))
    }

    pub(super) async fn manifests_before(&self) -> Result<Arc<Vec<ManifestFile>>> {
        let Some((base, snapshot)) = self.plan.base.zip(self.preview.current_snapshot()) else {
            return Ok(Arc::default());
        };
        if let Some(manifests) = &base.manifests {
            return Ok(manifests.clone());
        }
        let input = self.storage.files().new_input(snapshot.manifest_list())?;
        let bytes = input.read().await?;
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2)?;
        Ok(Arc::new(list.entries().to_vec()))
    }

    /// One manifest of deletions for each manifest that had live files.
    pub(super) async fn write_deleted(
        &mut self,
        before: &[ManifestFile],
        collector: &mut SnapshotSummaryCollector,
    ) -> Result<Vec<ManifestFile>> {
        let mut written = Vec::new();
        for manifest in before.iter().filter(|manifest| has_live_files(manifest)) {
            let loaded = manifest.load_manifest(self.storage.files()).await?;
            let (entries, metadata) = loaded.into_parts();
            let spec = metadata.partition_spec().clone();
            let builder = self.manifest_writer(metadata.schema().clone(), spec.clone())?;
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

    /// The manifests that an append keeps; some become one, and those whose bounds a column's widening makes too narrow are
    /// written anew.
    pub(super) async fn carried_on(
        &mut self,
        before: &[ManifestFile],
    ) -> Result<Vec<ManifestFile>> {
        let live = before.iter().filter(|manifest| has_live_files(manifest));
        let live: Vec<ManifestFile> = live.cloned().collect();
        if self.plan.base_is_unpublished {
            return Ok(live);
        }
        let fields_before = self.plan.base.map(|base| base.columns().fields);
        let is_widened = fields_before
            .is_some_and(|fields| widening::is_widened(&fields, &self.plan.schema.fields));
        let merges = merging::merges(&self.merge_candidates(&live), &self.settings.merging);
        let mut kept = Vec::new();
        for (index, manifest) in live.iter().enumerate() {
            match merges.iter().find(|merge| merge.contains(&index)) {
                Some(merge) if merge.first() == Some(&index) => {
                    let merged: Vec<_> = merge.iter().filter_map(|one| live.get(*one)).collect();
                    kept.extend(self.rewritten(&merged, true).await?);
                }
                Some(_) => {}
                None if is_widened => {
                    let wider = self.rewritten(&[manifest], false).await?;
                    kept.push(wider.unwrap_or_else(|| manifest.clone()));
                }
                None => kept.push(manifest.clone()),
            }
        }
        Ok(kept)
    }

    /// Manifests that may be merged: of data files, of the table's partition spec, with known counts.
    fn merge_candidates(&self, live: &[ManifestFile]) -> Vec<Candidate> {
        let spec_id = self.preview.default_partition_spec_id();
        let candidate = |(index, manifest): (usize, &ManifestFile)| {
            let files = manifest.added_files_count? + manifest.existing_files_count?;
            let is_plain = manifest.content == ManifestContentType::Data
                && manifest.partition_spec_id == spec_id
                && manifest.key_metadata.is_none();
            is_plain.then_some(Candidate {
                index,
                bytes: u64::try_from(manifest.manifest_length).ok()?,
                files: u64::from(files),
            })
        };
        live.iter().enumerate().filter_map(candidate).collect()
    }

    /// One manifest with the live files of these, their bounds in the schema's types; `None` when nothing changes and it need
    /// not be.
    async fn rewritten(
        &mut self,
        manifests: &[&ManifestFile],
        is_needed: bool,
    ) -> Result<Option<ManifestFile>> {
        let schema = self.schema().clone();
        let mut files = Vec::new();
        let (mut changes, mut spec) = (is_needed, None);
        for manifest in manifests {
            let (live, own_spec) = self.live_files(manifest).await?;
            spec.get_or_insert(own_spec);
            for mut one in live {
                if let Some(widened) = widening::with_bounds_of(&one.file, &schema)? {
                    changes = true;
                    one.file = widened;
                }
                files.push(one);
            }
        }
        let Some(spec) = spec.filter(|_| changes) else {
            return Ok(None);
        };
        let mut writer = self.manifest_writer(schema, spec)?.build_v2_data();
        for one in files {
            writer.add_existing_file(
                one.file,
                one.snapshot_id,
                one.sequence_number,
                one.file_sequence_number,
            )?;
        }
        Ok(Some(writer.write_manifest_file().await?))
    }

    pub(super) async fn write_list(&mut self, manifests: &[ManifestFile]) -> Result<String> {
        let location = self.metadata_file(&format!(
            "snap-{}-1-{}.avro",
            self.snapshot_id, self.plan.attempt
        ));
        let output = self.memory.new_output(&location)?;
        let mut writer = ManifestListWriter::v2(
            output.writer().await?,
            self.snapshot_id,
            self.preview.current_snapshot_id(),
            self.preview.next_sequence_number(),
        );
        writer.add_manifests(manifests.iter().cloned())?;
        writer.close().await?;
        self.written.push(location.clone());
        Ok(location)
    }
}

/// The paths of a snapshot's manifests, to compare those of the next with.
pub(super) struct ManifestCounts(HashSet<String>);

impl ManifestCounts {
    pub(super) fn of(before: &[ManifestFile]) -> Self {
        Self(before.iter().map(|one| one.manifest_path.clone()).collect())
    }

    /// What became of them, as summaries say it.
    pub(super) fn after(&self, manifests: &[ManifestFile]) -> [(&'static str, usize); 3] {
        let is_kept = |one: &&ManifestFile| self.0.contains(&one.manifest_path);
        let kept = manifests.iter().filter(is_kept).count();
        [
            ("manifests-created", manifests.len() - kept),
            ("manifests-kept", kept),
            (history::MANIFESTS_REPLACED, self.0.len() - kept),
        ]
    }
}

/// Gives a new manifest the sequence number that readers find in its list.
pub(super) fn assign_sequence_number(manifest: &mut ManifestFile, sequence_number: i64) {
    const UNASSIGNED: i64 = -1;
    for number in [
        &mut manifest.sequence_number,
        &mut manifest.min_sequence_number,
    ] {
        if *number == UNASSIGNED {
            *number = sequence_number;
        }
    }
}

fn has_live_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}
