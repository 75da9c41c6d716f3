//! One commit, from a frozen session to a published snapshot.
//!
//! 1. Load the table.
//! 2. Plan the schema: pure, and the place of every refusal that the columns cause.
//! 3. Record the intent: this attempt, at this table. Every file it makes carries the attempt's id in its name.
//! 4. Make the parts' data files the table's: see [`super::data_files`].
//! 5. Write manifests and manifest list.
//! 6. Publish: metadata file, then one transaction that moves the pointer, commits the session and ends the intent.
//!
//! | the crash falls | a restart finds | and does |
//! |---|---|---|
//! | before the intent is durable | an open session | nothing |
//! | after it, before the transaction is durable | an open session, an intent, files that nothing refers to | the first sweep removes the files, then the intent |
//! | after the transaction | a committed session; perhaps a version hint that is due | the start writes the hint |
//!
//! A refusal before the transaction removes the files and then the intent. Of an unknown outcome of the transaction
//! nothing is touched; the next start finds out what it was.
//!
//! The caller serialises commits of one table; the catalog's expectation guards against everybody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use iceberg::spec::{DataFile, TableMetadataBuildResult};
use parquet::file::metadata::ParquetMetaDataReader;
use tokio::sync::Semaphore;

use super::catalog::{self, BaseTable, Catalog, Publication, PublishError};
use super::data_files::{FILES_AT_ONCE, TableFile, each_refusal, file_groups, table_file};
use super::metrics;
use super::snapshot::{SnapshotBuilder, SnapshotPlan};
use super::storage::TableStorage;
use super::values::{all_or_refusal, plan_session};
use crate::blocking::blocking;
use crate::clock::SharedClock;
use crate::domain::{
    CommitIntent, CommitReceipt, CommitRequest, ConflictResolution, PartRecord, SchemaEvolution,
    Session,
};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::Limits;
use crate::schema::unify::ColumnDates;
use crate::schema::{SchemaPlan, TableColumns, UnifiedColumn, plan, unify};
use crate::store::layout::Layout;

/// What commits need.
#[derive(Clone)]
pub struct CommitContext {
    /// Knows tables.
    pub catalog: Arc<dyn Catalog>,
    /// Keeps their files.
    pub storage: Arc<dyn TableStorage>,
    /// Where staged parts are.
    pub layout: Layout,
    /// Time and ids.
    pub clock: SharedClock,
    /// One permit per conversion that may run at once.
    pub conversions: Arc<Semaphore>,
    /// What a part may be.
    pub limits: Limits,
}

/// What a commit will do to its table.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitPlan {
    /// The schema after.
    pub schema: SchemaPlan,
    /// Whether what was there is deleted.
    pub replaces: bool,
    /// In which form the text columns of the parts write their dates.
    pub dates: ColumnDates,
}

/// Plans a commit of these parts; pure. `table` is the table as it is, if it is.
pub fn plan_commit<'a>(
    parts: impl Iterator<Item = &'a PartRecord> + Clone,
    table: Option<&TableColumns>,
    resolution: ConflictResolution,
    evolution: SchemaEvolution,
) -> Result<CommitPlan> {
    if parts.clone().next().is_none() {
        return Err(Error::new(
            ErrorCode::NoParts,
            "This session has no parts, so there is nothing to commit. To publish an empty table, upload an empty file as a part and commit with conflict_resolution overwrite.",
        ));
    }
    let columns = unify_parts(parts.clone())?;
    let dates = unify::dates_of_parts(parts);
    match (table, resolution) {
        (Some(_), ConflictResolution::Fail) => Err(Error::new(
            ErrorCode::DatasetExists,
            "Dataset already exists - FAIL on conflict selected",
        )),
        (None, _) if columns.is_empty() => Err(Error::new(
            ErrorCode::NoParts,
            "The parts have no columns, so there is nothing to make a table from; upload at least a header.",
        )),
        (None, _) => Ok(CommitPlan {
            schema: plan::create(&columns),
            replaces: false,
            dates,
        }),
        (Some(table), ConflictResolution::Overwrite) => Ok(CommitPlan {
            schema: if columns.is_empty() {
                unchanged(table)
            } else {
                plan::replace(&columns, table)
            },
            replaces: true,
            dates,
        }),
        (Some(table), ConflictResolution::Append) if columns.is_empty() => Ok(CommitPlan {
            schema: unchanged(table),
            replaces: false,
            dates,
        }),
        (Some(table), ConflictResolution::Append) => {
            let schema = plan::append(&columns, table, evolution).map_err(|differences| {
                let names: Vec<&str> = differences.iter().map(|one| one.column.as_str()).collect();
                let listed = serde_json::to_value(&differences).unwrap_or_default();
                Error::new(
                    ErrorCode::SchemaMismatch,
                    format!(
                        "The parts do not fit the table's structure; differences in: {}. Nothing was written.",
                        names.join(", ")
                    ),
                )
                .with("differences", listed)
            })?;
            Ok(CommitPlan {
                schema,
                replaces: false,
                dates,
            })
        }
    }
}

fn unchanged(table: &TableColumns) -> SchemaPlan {
    SchemaPlan {
        fields: table.fields.clone(),
        open: table.open.clone(),
    }
}

/// The columns of all parts, or the refusal that lists every disagreement.
pub fn unify_parts<'a>(parts: impl Iterator<Item = &'a PartRecord>) -> Result<Vec<UnifiedColumn>> {
    unify::unify(parts).map_err(|disagreements| {
        let listed: Vec<serde_json::Value> = disagreements
            .iter()
            .map(|one| {
                serde_json::json!({
                    "column": one.column, "part": one.part.0,
                    "expected": one.expected, "found": one.found,
                })
            })
            .collect();
        let first = disagreements.first().map_or_else(String::new, |one| {
            format!(
                " Column `{}` is {} in part {}, and {} in the others.",
                one.column, one.found, one.part, one.expected
            )
        });
        Error::new(
            ErrorCode::SourcesDisagree,
            format!("The parts of this session do not agree on their columns.{first} Nothing was written; make the column the same in all files, or load them in sessions and tables of their own."),
        )
        .with("disagreements", listed)
    })
}

/// Runs a commit. The session is frozen for its whole time.
pub async fn commit(
    context: &CommitContext,
    session: &Session,
    request: &CommitRequest,
) -> Result<CommitReceipt> {
    // The session may have been committed by a run whose actor did not live to see it.
    let (catalog, id) = (context.catalog.clone(), session.id.clone());
    if let Some(receipt) = blocking(move || catalog.receipt(&id)).await? {
        return Ok(receipt);
    }
    let base = catalog::load(&context.catalog, &request.target).await?;
    let columns = base.as_ref().map(BaseTable::columns);
    let plan = plan_session(context, session, columns.as_ref(), request).await?;
    let intent = CommitIntent {
        attempt: context.clock.random_id(),
        session: session.id.clone(),
        target: request.target.clone(),
        begun_at: context.clock.now(),
    };
    context.catalog.begin(&intent).await?;
    match write_and_publish(context, session, request, &intent, base, &plan).await {
        Ok(receipt) => Ok(receipt),
        Err(PublishError::Unknown(error)) => Err(error),
        Err(PublishError::AlreadyCommitted(receipt)) => {
            undo(context, &intent).await;
            Ok(receipt)
        }
        Err(PublishError::Refused(error)) => {
            undo(context, &intent).await;
            Err(error)
        }
    }
}

/// Removes what an attempt that published nothing has written. What cannot be removed now is found by its intent at the
/// next start.
async fn undo(context: &CommitContext, intent: &CommitIntent) {
    let (storage, target, attempt) = (
        context.storage.clone(),
        intent.target.clone(),
        intent.attempt,
    );
    let undone = match blocking(move || storage.remove_attempt(&target, attempt)).await {
        Ok(_) => context.catalog.abandon(attempt).await,
        Err(error) => Err(error),
    };
    if let Err(error) = undone {
        tracing::warn!(%attempt, table = %intent.target, %error, "files of a refused commit are left until the next start");
    }
}

async fn write_and_publish(
    context: &CommitContext,
    session: &Session,
    request: &CommitRequest,
    intent: &CommitIntent,
    base: Option<BaseTable>,
    plan: &CommitPlan,
) -> std::result::Result<CommitReceipt, PublishError> {
    let refused = PublishError::Refused;
    let target = request.target.clone();
    let storage = context.storage.clone();
    blocking(move || storage.prepare(&target))
        .await
        .map_err(refused)?;
    let groups = file_groups(session.records()).into_iter();
    let making = groups.map(|parts| table_file(context, intent, parts, plan));
    let outcomes: Vec<_> = stream::iter(making).buffered(FILES_AT_ONCE).collect().await;
    let files = all_or_refusal(outcomes.into_iter().flat_map(each_refusal).collect());
    let files = files.map_err(refused)?;
    let rows_written = session.records().map(|record| record.rows).sum();
    let files_created = files.len() as u64;
    let (next, snapshot_id) =
        build_snapshot(context, session, request, intent, base.clone(), plan, files)
            .await
            .map_err(refused)?;
    let receipt = CommitReceipt {
        table: request.target.clone(),
        snapshot_id,
        rows_written,
        files_created,
        committed_at: context.clock.now(),
    };
    let mut session_after = session.clone();
    session_after.commit_succeeded(request.clone(), receipt.clone());
    let publication = Publication {
        intent: intent.clone(),
        base,
        next,
        session_before: session.clone(),
        session_after,
    };
    context.catalog.publish(&publication).await?;
    Ok(receipt)
}

async fn build_snapshot(
    context: &CommitContext,
    session: &Session,
    request: &CommitRequest,
    intent: &CommitIntent,
    base: Option<BaseTable>,
    plan: &CommitPlan,
    files: Vec<TableFile>,
) -> Result<(TableMetadataBuildResult, i64)> {
    let mut properties = BTreeMap::from([
        ("calve.session-id".to_owned(), session.id.to_string()),
        ("calve.parts".to_owned(), session.parts.len().to_string()),
    ]);
    if let Some(message) = &request.snapshot_message {
        properties.insert("calve.message".to_owned(), message.clone());
    }
    let (target, plan) = (request.target.clone(), plan.clone());
    let storage = context.storage.clone();
    let (now, attempt) = (context.clock.now(), intent.attempt);
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let snapshot = SnapshotPlan {
            target: &target,
            base: base.as_ref(),
            schema: &plan.schema,
            replaces: plan.replaces,
            properties,
            now,
            attempt,
        };
        let builder = SnapshotBuilder::start(snapshot, storage.as_ref())?;
        let entries = files
            .into_iter()
            .map(|file| manifest_entry(file, builder.schema()))
            .collect::<Result<Vec<_>>>()?;
        storage.sync_data(&target)?;
        let built = runtime.block_on(builder.build(entries))?;
        Ok((built, builder.snapshot_id()))
    })
    .await
}

fn manifest_entry(file: TableFile, schema: &iceberg::spec::Schema) -> Result<DataFile> {
    let reader = std::fs::File::open(&file.path)
        .map_err(|error| Error::storage("reading a data file's footer", &error))?;
    let footer = ParquetMetaDataReader::new()
        .parse_and_finish(&reader)
        .map_err(Error::internal)?;
    let entry = metrics::data_file(file.location, file.file_bytes, &footer, schema)?;
    if entry.record_count() != file.rows {
        return Err(Error::internal(format_args!(
            "`{}` has {} rows, its part {}",
            entry.file_path(),
            entry.record_count(),
            file.rows
        )));
    }
    Ok(entry)
}
