//! Builds the snapshots of a group, and makes their files durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use iceberg::MetadataLocation;
use iceberg::io::FileIO;
use iceberg::spec::{SnapshotRef, TableMetadata};
use tokio::runtime::Handle;

use super::{Member, WaitingCommit};
use crate::blocking::blocking;
use crate::domain::{CommitReceipt, Expired, Session, SessionId};
use crate::error::{Error, Result};
use crate::table::catalog::{BaseTable, Publication, PublishedSession, next_location};
use crate::table::commit::{CommitContext, manifest_entry};
use crate::table::data_files::TableFile;
use crate::table::history;
use crate::table::snapshot::{BuiltSnapshot, SnapshotBuilder, SnapshotPlan};

/// What is to be published, and the answers once it is.
pub(super) type Written = (Publication, Vec<(SessionId, CommitReceipt)>);

/// Builds the snapshots and makes their files durable.
pub(super) async fn write(
    context: &CommitContext,
    base: Option<BaseTable>,
    members: &Arc<Vec<Member>>,
    files: Vec<Vec<TableFile>>,
) -> Result<Written> {
    let (context, members) = (context.clone(), members.clone());
    let runtime = Handle::current();
    blocking(move || runtime.block_on(write_blocking(&context, base, &members, files))).await
}

/// The new state of the table while the snapshots of a group are built.
struct State {
    table: Option<BaseTable>,
    files: Vec<(String, Bytes)>,
    /// Data files whose bytes are not yet durable.
    data_files: Vec<File>,
    old_metadata: Vec<String>,
    expired: Vec<SnapshotRef>,
}

async fn write_blocking(
    context: &CommitContext,
    base: Option<BaseTable>,
    members: &[Member],
    files: Vec<Vec<TableFile>>,
) -> Result<Written> {
    let mut state = State {
        table: base.clone(),
        files: Vec::new(),
        data_files: Vec::new(),
        old_metadata: Vec::new(),
        expired: Vec::new(),
    };
    let (mut sessions, mut receipts) = (Vec::new(), Vec::new());
    for (index, (member, files)) in members.iter().zip(files).enumerate() {
        let files_created = files.len() as u64;
        let place = Place {
            is_first: index == 0,
            is_last: index + 1 == members.len(),
        };
        let snapshot_id = state.add(context, member, files, place).await?;
        let session = &member.commit.session;
        let receipt = CommitReceipt {
            table: member.intent.target.clone(),
            snapshot_id,
            rows_written: session.records().map(|record| record.rows).sum(),
            files_created,
            committed_at: context.clock.now(),
        };
        let mut after = Session::clone(session);
        after.commit_succeeded(member.commit.request.clone(), receipt.clone());
        receipts.push((session.id.clone(), receipt));
        sessions.push(PublishedSession {
            attempt: member.intent.attempt,
            before: Session::clone(session),
            after,
        });
    }
    let last = members
        .last()
        .ok_or_else(|| Error::internal("a group without commits"))?;
    let target = last.intent.target.clone();
    let (next, expired) = state.finish(context, base.as_ref(), last).await?;
    let publication = Publication {
        target,
        base,
        next,
        sessions,
        expired,
    };
    Ok((publication, receipts))
}

/// Where in its group a commit is.
#[derive(Clone, Copy)]
struct Place {
    is_first: bool,
    is_last: bool,
}

impl State {
    /// Adds a member's snapshot.
    async fn add(
        &mut self,
        context: &CommitContext,
        member: &Member,
        mut files: Vec<TableFile>,
        place: Place,
    ) -> Result<i64> {
        let before = self.table.take();
        let plan = SnapshotPlan {
            target: &member.intent.target,
            base: before.as_ref(),
            base_is_unpublished: !place.is_first,
            expires: place.is_last,
            schema: &member.plan.schema,
            replaces: member.plan.replaces,
            properties: summary_properties(&member.commit),
            defaults: &context.tables,
            now: context.clock.now(),
            attempt: member.intent.attempt,
        };
        let unsynced = files.iter_mut().filter_map(|file| file.unsynced.take());
        self.data_files.extend(unsynced);
        let builder = SnapshotBuilder::start(plan, context.storage.as_ref())?;
        let entries = files
            .into_iter()
            .map(|file| manifest_entry(file, builder.schema()))
            .collect::<Result<Vec<_>>>()?;
        let BuiltSnapshot {
            snapshot_id,
            metadata,
            manifests,
            recent,
            files,
            old_metadata,
            expired,
        } = builder.build(entries).await?;
        self.files.extend(files);
        self.old_metadata.extend(old_metadata);
        self.expired.extend(expired);
        self.table = Some(BaseTable {
            metadata_location: String::new(),
            metadata_bytes: 0,
            metadata: Arc::new(metadata),
            manifests: Some(Arc::new(manifests)),
            recent: Arc::new(recent),
            named_snapshots: before.map_or_else(Arc::default, |table| table.named_snapshots),
        });
        Ok(snapshot_id)
    }

    /// Makes everything durable, with the metadata file.
    async fn finish(
        mut self,
        context: &CommitContext,
        base: Option<&BaseTable>,
        last: &Member,
    ) -> Result<(BaseTable, Option<Expired>)> {
        let mut table = self
            .table
            .ok_or_else(|| Error::internal("no table was built"))?;
        let metadata = &table.metadata;
        let location = next_location(base, metadata, last.intent.attempt)?;
        let bytes = metadata_file(metadata, &location).await?;
        table.metadata_bytes = bytes.len() as u64;
        table.metadata_location = location.to_string();
        let expired = expired(metadata, &self.expired, &self.old_metadata);
        self.files.push((table.metadata_location.clone(), bytes));
        context
            .storage
            .write_metadata(&last.intent.target, &self.files, self.data_files)?;
        Ok((table, expired))
    }
}

fn summary_properties(commit: &WaitingCommit) -> BTreeMap<String, String> {
    let session = &commit.session;
    let mut properties = BTreeMap::from([
        ("calve.session-id".to_owned(), session.id.to_string()),
        ("calve.parts".to_owned(), session.parts.len().to_string()),
    ]);
    if let Some(message) = &commit.request.snapshot_message {
        properties.insert("calve.message".to_owned(), message.clone());
    }
    properties
}

/// The bytes of a metadata file, compressed as its name says.
pub(in crate::table) async fn metadata_file(
    metadata: &TableMetadata,
    location: &MetadataLocation,
) -> Result<Bytes> {
    let memory = FileIO::new_with_memory();
    metadata.write_to(&memory, location).await?;
    Ok(memory.new_input(location.to_string())?.read().await?)
}

/// The record of what a publication expires.
pub(in crate::table) fn expired(
    metadata: &TableMetadata,
    snapshots: &[SnapshotRef],
    old_metadata: &[String],
) -> Option<Expired> {
    let names = old_metadata
        .iter()
        .filter_map(|file| history::metadata_file_name(metadata.location(), file));
    let metadata_files: Vec<String> = names.map(str::to_owned).collect();
    let listed = snapshots.iter().map(|one| history::listed(metadata, one));
    let mut snapshots = listed.collect::<Option<Vec<_>>>().unwrap_or_default();
    let next = snapshots.pop();
    (next.is_some() || !metadata_files.is_empty()).then(|| Expired {
        at: DateTime::from_timestamp_millis(metadata.last_updated_ms()).unwrap_or_default(),
        metadata_files,
        snapshots,
        next,
    })
}
