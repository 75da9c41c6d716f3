//! What a commit does to its table, decided without writing, and the entries of its data files. When all of it happens, and what
//! a crash leaves, is in [`super::group`].

use std::sync::Arc;

use iceberg::spec::DataFile;
use parquet::file::metadata::ParquetMetaDataReader;
use tokio::sync::Semaphore;

use super::catalog::Catalog;
use super::data_files::TableFile;
use super::metrics;
use super::storage::TableStorage;
use crate::clock::SharedClock;
use crate::config::TablesConfig;
use crate::domain::{ConflictResolution, PartRecord, SchemaEvolution};
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
    /// The upkeep of tables.
    pub tables: TablesConfig,
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

pub(super) fn manifest_entry(file: TableFile, schema: &iceberg::spec::Schema) -> Result<DataFile> {
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
