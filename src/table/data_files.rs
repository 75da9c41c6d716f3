//! From the parts of a session to data files in the table's folder.
//!
//! A part with a data file of its own gives one: that file as it is where columns, types and field ids are already final; a
//! copy with another footer where only the ids differ and the part was adopted; else one converted again from the part's
//! bytes. Small text parts, which have none, are converted together: many parts, one data file.
//!
//! A file of a large part is durable when it is made, in the turn that it was converted in. One of small parts is durable with
//! the metadata of its group ([`super::storage::TableStorage::write_metadata`]), so that appends that are published together
//! share the wait for the disk. The names of both are durable then.
//!
//! Nothing here is seen by a reader before the snapshot is published. Every name has the attempt's id, so that what a crash
//! leaves is found and removed.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use iceberg::spec::NestedFieldRef;

use super::commit::{CommitContext, CommitPlan};
use crate::blocking::blocking;
use crate::domain::{CommitIntent, PartNumber, PartRecord, SessionId};
use crate::error::{Error, Result};
use crate::ingest::convert::{self, Source};
use crate::ingest::csv::sniff;
use crate::schema::SchemaPlan;
use crate::schema::unify::part_type;
use crate::store::layout::part_stem;

/// Data files of one commit that are linked or converted at once. Few, because the turns at converting are
/// shared with uploads and with the commits of other tables.
pub(super) const FILES_AT_ONCE: usize = 2;
/// Decoded bytes of small parts after which a data file takes no more of them: what one thread converts in about a second.
const GROUP_DECODED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A data file that is in its table's folder.
#[derive(Debug)]
pub(super) struct TableFile {
    pub(super) location: String,
    pub(super) path: PathBuf,
    pub(super) file_bytes: u64,
    /// Rows of the parts it was made from.
    pub(super) rows: u64,
    /// The file, if its bytes are not yet durable.
    pub(super) unsynced: Option<File>,
}

/// Which parts become one data file: small ones together, every other one alone. Parts without rows give none.
pub(super) fn file_groups<'a>(
    records: impl Iterator<Item = &'a PartRecord>,
) -> Vec<Vec<&'a PartRecord>> {
    let mut groups: Vec<Vec<&PartRecord>> = Vec::new();
    // The group that takes small parts now, and its decoded bytes.
    let mut open: Option<(usize, u64)> = None;
    for record in records.filter(|record| record.rows > 0) {
        match &mut open {
            _ if record.packed.is_none() => groups.push(vec![record]),
            Some((group, bytes)) if *bytes < GROUP_DECODED_BYTES_MAX => {
                groups[*group].push(record);
                *bytes += record.decoded_bytes;
            }
            Some(_) | None => {
                open = Some((groups.len(), record.decoded_bytes));
                groups.push(vec![record]);
            }
        }
    }
    groups
}

/// Makes the data file of a group of parts; refused, it tells of every part that stands in the way.
pub(super) async fn table_file(
    context: &CommitContext,
    intent: &CommitIntent,
    parts: Vec<&PartRecord>,
    plan: &CommitPlan,
) -> std::result::Result<TableFile, Vec<Error>> {
    let alone = |error: Error| vec![error];
    if let [record] = parts.as_slice()
        && let Some(file) = early_file(context, intent, record, plan)
            .await
            .map_err(alone)?
    {
        return Ok(file);
    }
    let Some(first) = parts.first() else {
        return Err(vec![Error::internal("a data file of no part")]);
    };
    let name = file_name(intent, first);
    let (path, location) = context.storage.new_data_file(&intent.target, &name);
    let fields = conversion_fields(&parts, &plan.schema);
    let rows = parts.iter().map(|record| record.rows).sum();
    let sources: Vec<(PartNumber, Source)> = parts
        .iter()
        .map(|record| (record.part, part_source(context, &intent.session, record)))
        .collect();
    let are_small = parts.iter().all(|record| record.packed.is_some());
    let dates = plan.dates.clone();
    let turn = context.conversions.clone().acquire_owned().await;
    let turn = turn.map_err(|error| vec![Error::internal(error)])?;
    let converted = blocking(move || {
        let _turn = turn;
        let file = match convert::convert(&sources, &fields, &dates, &path) {
            Ok(file) => file,
            Err(refusals) => return Ok(Err(refusals)),
        };
        let file_bytes = file.bytes;
        let unsynced = if are_small {
            Some(file.file)
        } else {
            file.sync()?;
            None
        };
        Ok(Ok(TableFile {
            location,
            path,
            file_bytes,
            rows,
            unsynced,
        }))
    });
    converted.await.map_err(alone)?
}

/// One outcome for the file, or one for each part that stands in its way.
pub(super) fn each_refusal(
    outcome: std::result::Result<TableFile, Vec<Error>>,
) -> Vec<Result<TableFile>> {
    match outcome {
        Ok(file) => vec![Ok(file)],
        Err(refusals) => refusals.into_iter().map(Err).collect(),
    }
}

/// Makes the data file that was made when the part arrived one of the table's, where that can be.
async fn early_file(
    context: &CommitContext,
    intent: &CommitIntent,
    record: &PartRecord,
    plan: &CommitPlan,
) -> Result<Option<TableFile>> {
    let (schema, session, rows) = (&plan.schema, &intent.session, record.rows);
    let Some(early) = &record.data_file else {
        return Ok(None);
    };
    let name = file_name(intent, record);
    let staged = context.layout.part_data_file(session, record);
    let (storage, target) = (context.storage.clone(), intent.target.clone());
    if has_final_file(record, schema) {
        let file_bytes = early.file_bytes;
        return blocking(move || {
            let location = storage.adopt(&target, &staged, &name)?;
            Ok(Some(TableFile {
                location,
                path: staged,
                file_bytes,
                rows,
                unsynced: None,
            }))
        })
        .await;
    }
    if !record.is_adopted() {
        return Ok(None);
    }
    let (content_bytes, fields) = (record.decoded_bytes, early_fields(record, schema));
    let (path, location) = storage.new_data_file(&target, &name);
    blocking(move || {
        let adopted = convert::adopt_again(&staged, content_bytes, &fields, &path)?;
        Ok(adopted.map(|file_bytes| TableFile {
            location,
            path,
            file_bytes,
            rows,
            unsynced: None,
        }))
    })
    .await
}

fn file_name(intent: &CommitIntent, first: &PartRecord) -> String {
    let (session, attempt) = (&intent.session, intent.attempt);
    format!("{session}-{}-{attempt}.parquet", part_stem(first))
}

/// How a part is read again.
pub(super) fn part_source(
    context: &CommitContext,
    session: &SessionId,
    record: &PartRecord,
) -> Source {
    Source {
        bytes: context.layout.part_bytes(session, record),
        kind: record.kind,
        coding: record.coding,
        csv: record.csv.clone().map(sniff::Found::from),
        limits: context.limits,
    }
}

/// Whether the data file that was made on arrival is just what the table takes.
pub(super) fn has_final_file(record: &PartRecord, schema: &SchemaPlan) -> bool {
    let mut early = record.data_file.iter();
    early.any(|early| early.fields.iter().all(|field| is_final(field, schema)))
}

/// Whether a field of an early file is just what the table's schema has.
fn is_final(field: &NestedFieldRef, schema: &SchemaPlan) -> bool {
    schema
        .field(&field.name)
        .is_some_and(|last| last.id == field.id && last.field_type == field.field_type)
}

/// The table's fields of the columns of a part's early file, in the file's order.
fn early_fields(record: &PartRecord, schema: &SchemaPlan) -> Vec<NestedFieldRef> {
    let early = record.data_file.iter().flat_map(|file| &file.fields);
    early
        .filter_map(|field| schema.field(&field.name))
        .cloned()
        .collect()
}

/// The table's fields that these parts have values for, in the table's order; or, when they have none, one that keeps the
/// row count.
pub(super) fn conversion_fields(parts: &[&PartRecord], schema: &SchemaPlan) -> Vec<NestedFieldRef> {
    let columns = || parts.iter().flat_map(|record| &record.columns);
    let mut named: HashSet<&str> = columns()
        .filter(|column| part_type(&column.content).is_some())
        .map(|column| column.name.as_str())
        .collect();
    if named.is_empty() {
        named.extend(columns().next().map(|column| column.name.as_str()));
    }
    let fields = schema.fields.iter();
    fields
        .filter(|field| named.contains(field.name.as_str()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::part::PackPlace;
    use crate::testing;

    #[test]
    fn small_parts_share_data_files_up_to_a_size() {
        let part = |number: u16, decoded_bytes: Option<u64>, rows: u64| PartRecord {
            packed: decoded_bytes.map(|_| PackPlace { pack: 1, offset: 0 }),
            decoded_bytes: decoded_bytes.unwrap_or(1),
            rows,
            ..testing::part(number)
        };
        let half = GROUP_DECODED_BYTES_MAX / 2;
        let parts = [
            part(0, Some(half), 1),
            part(1, None, 1),
            part(2, Some(half), 1),
            part(3, Some(1), 0),
            part(4, Some(1), 1),
            part(5, Some(1), 1),
        ];
        let groups: Vec<Vec<u16>> = file_groups(parts.iter())
            .iter()
            .map(|group| group.iter().map(|record| record.part.0).collect())
            .collect();
        assert_eq!(groups, [vec![0, 2], vec![1], vec![4, 5]]);
    }
}
