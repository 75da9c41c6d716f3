//! From a stored part to a data file.
//!
//! A Parquet part whose pages can be a table's is adopted: it is read, and gets a footer with field ids. Of all others
//! [`discover`] makes a data file when they arrive: it reads all of a part, finds what its columns are, and writes the
//! data file with the types as far as they are known after each batch. When a later row changes a type,
//! the file is given up, the rest is only read, and the part is converted once more with the final types:
//! two readings at most, whatever the data does.
//!
//! [`convert`] runs at commit for parts whose early file does not have the final columns, types or field
//! ids, and for small text parts, which have none: [`discover_text`] only reads them, and many of them share one data file.
//!
//! Columns without any value are left out of data files (a reader gives null for them), so that they
//! never pin a type. A part whose columns are all empty keeps its row count through one such column.

mod adopted_part;
mod parquet_part;
mod text_part;
mod text_writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use iceberg::spec::{NestedField, NestedFieldRef, Type};

use super::Limits;
use super::csv::dialect::Dialect;
use super::csv::sniff;
use super::data_file::UnsyncedFile;
use super::error::{FormatError, FormatErrorKind};
use super::parquet::unreadable;
use super::part_bytes::PartBytes;
use crate::domain::part::{Coding, ParquetRecord, PartIssue};
use crate::domain::{ColumnRecord, DataFileRecord, PartKind, PartNumber};
use crate::error::{Error, ErrorCode, Result};
use crate::schema::plan::{TableColumns, arrival};
use crate::schema::unify::ColumnDates;
use crate::schema::{UnifiedColumn, types};

/// A part's bytes on disk.
#[derive(Debug, Clone)]
pub struct Source {
    /// As they were sent.
    pub bytes: PartBytes,
    /// Its format.
    pub kind: PartKind,
    /// Its coding.
    pub coding: Coding,
    /// How it is written, if it is CSV.
    pub csv: Option<sniff::Found>,
    /// What it may be.
    pub limits: Limits,
}

/// What a part turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// Rows.
    pub rows: u64,
    /// Bytes after decoding.
    pub decoded_bytes: u64,
    /// Columns, in the file's order.
    pub columns: Vec<ColumnRecord>,
    /// The dialect, with what reading all of it has told, if it is CSV.
    pub csv: Option<Dialect>,
    /// What the sender should know.
    pub issues: Vec<PartIssue>,
    /// The data file, if there is a row.
    pub data_file: Option<DataFileRecord>,
    /// For Parquet: whether the data file has the part's own pages.
    pub parquet: Option<ParquetRecord>,
}

/// Reads a part and writes its data file to `output`, whose name is not yet synced. With a table, its
/// columns are declared: a value that does not fit is refused.
pub fn discover(
    source: &Source,
    table: Option<&TableColumns>,
    output: &Path,
) -> Result<Discovered> {
    match source.kind {
        PartKind::Csv | PartKind::Tsv | PartKind::Ndjson => {
            text_part::discover(source, table, Some(output))
        }
        PartKind::Parquet => guarded(|| parquet_part::discover(source, table, output)),
    }
}

/// Reads a text part and writes nothing. With a table, a value that does not fit its columns is refused.
pub fn discover_text(source: &Source, table: Option<&TableColumns>) -> Result<Discovered> {
    text_part::discover(source, table, None)
}

/// Writes one data file with these columns of several parts, text dates read in these forms; of more than one only when all
/// are text. Returns the file, not durable yet, or what is wrong with each part that cannot be converted; what there is of the
/// file then is the caller's to remove.
pub fn convert(
    parts: &[(PartNumber, Source)],
    fields: &[NestedFieldRef],
    dates: &ColumnDates,
    output: &Path,
) -> std::result::Result<UnsyncedFile, Vec<Error>> {
    match parts {
        [(part, source)] if source.kind == PartKind::Parquet => {
            guarded(|| parquet_part::convert(source, fields, output))
                .map_err(|error| vec![error.in_part(part.0)])
        }
        parts => text_part::convert(parts, fields, dates, output),
    }
}

/// Gives an adopted part's data file other field ids: copies its content, puts another footer after it. The new file's name
/// is not yet synced. `None` when its pages cannot be those of these fields. Returns the size.
pub fn adopt_again(
    staged: &Path,
    content_bytes: u64,
    fields: &[NestedFieldRef],
    output: &Path,
) -> Result<Option<u64>> {
    guarded(|| adopted_part::adopt_again(staged, content_bytes, fields, output))
}

/// Makes sure that a part's values fit these columns. Those of Parquet do when their types do.
pub fn check(source: &Source, fields: &[NestedFieldRef], dates: &ColumnDates) -> Result<()> {
    match source.kind {
        PartKind::Csv | PartKind::Tsv | PartKind::Ndjson => text_part::check(source, fields, dates),
        PartKind::Parquet => Ok(()),
    }
}

/// Turns a panic of the Parquet reader on a hostile file into a refusal of that file.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(unreadable("the reader failed on it; it is damaged")))
}

/// A format error as clients see it.
pub fn format_error(error: FormatError) -> Error {
    let code = match error.kind {
        FormatErrorKind::Malformed
        | FormatErrorKind::TooManyColumns
        | FormatErrorKind::FieldTooLarge => ErrorCode::FormatUnreadable,
        FormatErrorKind::DecodedTooLarge => ErrorCode::DecodedTooLarge,
        FormatErrorKind::Io => {
            return Error::storage("reading a part", &std::io::Error::other(error.reason));
        }
    };
    let mut refusal = Error::new(code, format!("The file cannot be read: {error}."))
        .with("reason", error.reason.as_str());
    let facts = [
        ("row", error.row.map(Into::into)),
        ("line", error.line.map(Into::into)),
        ("byte", error.byte.map(Into::into)),
        ("column", error.column.as_deref().map(Into::into)),
        ("value", error.value.as_deref().map(Into::into)),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            let fact: serde_json::Value = fact;
            refusal = refusal.with(name, fact);
        }
    }
    refusal
}

/// The fields of a part's early data file: those of its columns that have values, or the first of
/// them when none has.
fn file_fields(columns: &[UnifiedColumn], table: Option<&TableColumns>) -> Vec<NestedFieldRef> {
    let fields = arrival(columns, table);
    let valued: Vec<NestedFieldRef> = columns
        .iter()
        .zip(&fields)
        .filter(|(column, _)| column.own_type().is_some())
        .map(|(_, field)| field.clone())
        .collect();
    if valued.is_empty() {
        fields.into_iter().take(1).map(nullable).collect()
    } else {
        valued
    }
}

fn nullable(field: NestedFieldRef) -> NestedFieldRef {
    let mut field = NestedField::clone(&field);
    field.required = false;
    Arc::new(field)
}

pub(in crate::ingest) fn not_castable(
    column: &str,
    row: Option<u64>,
    value: &str,
    declared: &Type,
    reason: Option<&str>,
) -> Error {
    let declared = types::logical_name(declared);
    let place = row.map_or_else(String::new, |row| format!(" in row {row}"));
    let reason = reason.map_or_else(
        || ", the type of its column; correct the value and send the part again".to_owned(),
        |reason| format!(": {reason}"),
    );
    Error::new(
        ErrorCode::ValueNotCastable,
        format!("The value `{value}` of column `{column}`{place} does not fit {declared}{reason}."),
    )
    .with("column", column)
    .with("row", row)
    .with("value", value)
    .with("declared", declared)
}
