//! From a stored part to a data file.
//!
//! [`discover`] runs when a part arrives: it reads all of it, finds what its columns are, and writes the
//! data file with the types as far as they are known after each batch. When a later row changes a type,
//! the file is given up, the rest is only read, and the part is converted once more with the final types:
//! two readings at most, whatever the data does.
//!
//! [`convert`] runs at commit for parts whose early file does not have the final columns, types or field
//! ids.
//!
//! Columns without any value are left out of data files (a reader gives null for them), so that they
//! never pin a type. A part whose columns are all empty keeps its row count through one such column.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;
use iceberg::spec::{NestedField, NestedFieldRef, Type};
use serde_json::json;

use super::data_file::DataFileWriter;
use super::error::{FormatError, FormatErrorKind};
use super::parquet::{self, ParquetFile};
use super::parquet_types::{cast_exactly, display_value};
use super::raw::RawBatch;
use super::text::TextReader;
use super::{Limits, codec, encode};
use crate::domain::part::{Coding, PartIssue};
use crate::domain::{ColumnRecord, ColumnType, DataFileRecord, PartKind};
use crate::error::{Error, ErrorCode, Result};
use crate::schema::plan::{TableColumns, arrival};
use crate::schema::types;
use crate::schema::{Evidence, TextType, UnifiedColumn, UnifiedType};
use crate::store::durable;

/// A part's bytes on disk.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, as it was sent.
    pub path: PathBuf,
    /// Its format.
    pub kind: PartKind,
    /// Its coding.
    pub coding: Coding,
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
    /// What the sender should know.
    pub issues: Vec<PartIssue>,
    /// The data file, if there is a row.
    pub data_file: Option<DataFileRecord>,
}

/// Reads a part and writes its data file to `output`, whose name is not yet synced. With a table, its
/// columns are declared: a value that does not fit is refused.
pub fn discover(
    source: &Source,
    table: Option<&TableColumns>,
    output: &Path,
) -> Result<Discovered> {
    match source.kind {
        PartKind::Csv | PartKind::Tsv | PartKind::Ndjson => discover_text(source, table, output),
        PartKind::Parquet => guarded(|| discover_parquet(source, table, output)),
    }
}

/// Writes a part's data file with these columns, whose name is not yet synced. Returns its size.
pub fn convert(source: &Source, fields: &[NestedFieldRef], output: &Path) -> Result<u64> {
    match source.kind {
        PartKind::Csv | PartKind::Tsv | PartKind::Ndjson => convert_text(source, fields, output),
        PartKind::Parquet => guarded(|| {
            let mut scan = ParquetScan::open(source, output)?;
            scan.write(fields.to_vec(), output)
        }),
    }
}

/// Turns a panic of the Parquet reader on a hostile file into a refusal of that file.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(parquet::unreadable(
            "the reader failed on it; it is damaged",
        ))
    })
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

fn open_text(source: &Source) -> Result<TextReader> {
    let read = codec::open(&source.path, source.coding, source.limits.decoded_bytes_max)
        .map_err(|error| format_error(error.into()))?;
    TextReader::open(source.kind, read, &source.limits).map_err(format_error)
}

/// What decides the fields of a data file, cheap to compare after every batch.
type TypeState = Vec<(Option<TextType>, bool)>;

fn discover_text(
    source: &Source,
    table: Option<&TableColumns>,
    output: &Path,
) -> Result<Discovered> {
    let mut reader = open_text(source)?;
    let mut batch = RawBatch::default();
    let mut evidence: Vec<Evidence> = vec![Evidence::default(); reader.columns().len()];
    let mut early: Option<(TypeState, TextWriter)> = None;
    let mut is_given_up = false;
    let mut rows = 0u64;
    while reader.next_batch(&mut batch).map_err(format_error)? {
        observe(&mut evidence, &batch, rows);
        if !is_given_up {
            let state = type_state(&evidence);
            let is_new_file = early.is_none() && rows == 0;
            if is_new_file {
                let fields = file_fields(&unified(reader.columns(), &evidence), table);
                early = Some((state, TextWriter::create(output, fields)?));
            } else if early.as_ref().is_none_or(|(known, _)| *known != state) {
                early = None;
                is_given_up = true;
            }
            if let Some((_, writer)) = &mut early {
                writer.write(reader.columns(), &batch)?;
            }
        }
        rows += batch.row_count as u64;
    }
    let columns = unified(reader.columns(), &evidence);
    let fields = file_fields(&columns, table);
    let file_bytes = match early {
        Some((_, writer)) => Some(writer.finish()?),
        None if rows > 0 => Some(convert_text(source, &fields, output)?),
        None => None,
    };
    Ok(Discovered {
        rows,
        decoded_bytes: reader.decoded_bytes(),
        columns: columns
            .into_iter()
            .zip(evidence)
            .map(|(column, evidence)| ColumnRecord {
                name: column.name,
                content: ColumnType::Text(evidence),
            })
            .collect(),
        issues: reader.issues(),
        data_file: file_bytes.map(|file_bytes| DataFileRecord { file_bytes, fields }),
    })
}

/// Takes a batch into the evidence; a column that is new in it was null before.
fn observe(evidence: &mut Vec<Evidence>, batch: &RawBatch, rows_before: u64) {
    while evidence.len() < batch.columns.len() {
        evidence.push(Evidence {
            null_count: rows_before,
            ..Evidence::default()
        });
    }
    for (column, evidence) in batch.columns.iter().zip(evidence) {
        for (kind, text) in column.iter() {
            evidence.observe(kind, text);
        }
    }
}

fn type_state(evidence: &[Evidence]) -> TypeState {
    evidence
        .iter()
        .map(|evidence| (evidence.text_type(), evidence.fits_int32()))
        .collect()
}

fn unified(names: &[String], evidence: &[Evidence]) -> Vec<UnifiedColumn> {
    names
        .iter()
        .zip(evidence)
        .map(|(name, evidence)| UnifiedColumn {
            name: name.clone(),
            content: match evidence.text_type() {
                Some(_) => UnifiedType::Text(evidence.clone()),
                None => UnifiedType::Open,
            },
        })
        .collect()
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

fn convert_text(source: &Source, fields: &[NestedFieldRef], output: &Path) -> Result<u64> {
    let mut reader = open_text(source)?;
    let mut writer = TextWriter::create(output, fields.to_vec())?;
    let mut batch = RawBatch::default();
    while reader.next_batch(&mut batch).map_err(format_error)? {
        writer.write(reader.columns(), &batch)?;
    }
    writer.finish()
}

/// Encodes raw cells into a data file, and collects the first misfit of every column.
struct TextWriter {
    file: DataFileWriter,
    misfits: BTreeMap<usize, Misfit>,
}

struct Misfit {
    row: u64,
    value: String,
}

impl TextWriter {
    fn create(output: &Path, fields: Vec<NestedFieldRef>) -> Result<Self> {
        Ok(Self {
            file: DataFileWriter::create(output, fields)?,
            misfits: BTreeMap::new(),
        })
    }

    fn write(&mut self, names: &[String], batch: &RawBatch) -> Result<()> {
        let index_by_name: HashMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.as_str(), index))
            .collect();
        let schema = self.file.schema().clone();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let column = index_by_name
                .get(field.name().as_str())
                .and_then(|index| batch.columns.get(*index));
            let array = match column {
                Some(column) => encode::encode_column(column, field.data_type()),
                None => Ok(arrow_array::new_null_array(
                    field.data_type(),
                    batch.row_count,
                )),
            };
            match array {
                Ok(array) => arrays.push(array),
                Err(misfit) => {
                    let row = batch.first_row + misfit.row_in_batch as u64;
                    self.misfits.entry(index).or_insert(Misfit {
                        row,
                        value: misfit.value,
                    });
                }
            }
        }
        if self.misfits.is_empty() {
            self.file.write(arrays)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        let listed: Vec<serde_json::Value> = self
            .misfits
            .iter()
            .filter_map(|(index, misfit)| {
                let field = self.file.fields().get(*index)?;
                Some(json!({
                    "column": field.name, "row": misfit.row, "value": misfit.value,
                    "declared": types::logical_name(&field.field_type),
                }))
            })
            .collect();
        let first = self
            .misfits
            .first_key_value()
            .and_then(|(index, misfit)| Some((self.file.fields().get(*index)?, misfit)));
        match first {
            None => self.file.finish(),
            Some((field, misfit)) => Err(not_castable(
                &field.name,
                Some(misfit.row),
                &misfit.value,
                &field.field_type,
                None,
            )
            .with("misfits", listed)),
        }
    }
}

fn not_castable(
    column: &str,
    row: Option<u64>,
    value: &str,
    declared: &Type,
    reason: Option<&str>,
) -> Error {
    let declared = types::logical_name(declared);
    let place = row.map_or_else(String::new, |row| format!(" in row {row}"));
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Error::new(
        ErrorCode::ValueNotCastable,
        format!("The value `{value}` of column `{column}`{place} does not fit {declared}{reason}."),
    )
    .with("column", column)
    .with("row", row)
    .with("value", value)
    .with("declared", declared)
}

/// One reading of a Parquet part; a compressed body is unpacked beside the output first.
struct ParquetScan {
    file: ParquetFile,
    decoded_bytes: u64,
    unpacked: Option<PathBuf>,
    null_counts: HashMap<String, u64>,
    rows: u64,
}

impl Drop for ParquetScan {
    fn drop(&mut self) {
        if let Some(path) = &self.unpacked {
            durable::remove_quietly(path);
        }
    }
}

impl ParquetScan {
    fn open(source: &Source, output: &Path) -> Result<Self> {
        let (path, unpacked) = match source.coding {
            Coding::Identity => (source.path.clone(), None),
            Coding::Gzip | Coding::Deflate | Coding::Br | Coding::Zstd => {
                let path = output.with_extension("unpacked.tmp");
                unpack(source, &path).inspect_err(|_| durable::remove_quietly(&path))?;
                (path.clone(), Some(path))
            }
        };
        let decoded_bytes = std::fs::metadata(&path)
            .map_err(|error| Error::storage("reading a part", &error))?
            .len();
        let file = match ParquetFile::open(&path, &source.limits) {
            Ok(file) => file,
            Err(error) => {
                if let Some(path) = &unpacked {
                    durable::remove_quietly(path);
                }
                return Err(error);
            }
        };
        Ok(Self {
            file,
            decoded_bytes,
            unpacked,
            null_counts: HashMap::new(),
            rows: 0,
        })
    }

    /// Reads every row; writes those columns that have a field.
    fn write(&mut self, fields: Vec<NestedFieldRef>, output: &Path) -> Result<u64> {
        let mut writer = DataFileWriter::create(output, fields)?;
        while let Some(batch) = self.file.next_batch()? {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let nulls = column.logical_null_count() as u64;
                *self.null_counts.entry(field.name().clone()).or_default() += nulls;
            }
            let schema = writer.schema().clone();
            let arrays = schema
                .fields()
                .iter()
                .zip(writer.fields())
                .map(|(target, field)| match batch.column_by_name(&field.name) {
                    None => Ok(arrow_array::new_null_array(
                        target.data_type(),
                        batch.num_rows(),
                    )),
                    Some(column) => cast_exactly(column, target.data_type()).map_err(|inexact| {
                        let row = inexact.row_in_batch;
                        let value = row.map_or_else(String::new, |row| display_value(column, row));
                        not_castable(
                            &field.name,
                            row.map(|row| self.rows + row as u64 + 1),
                            &value,
                            &field.field_type,
                            Some(&inexact.reason),
                        )
                    }),
                })
                .collect::<Result<Vec<_>>>()?;
            writer.write(arrays)?;
            self.rows += batch.num_rows() as u64;
        }
        writer.finish()
    }
}

fn unpack(source: &Source, path: &Path) -> Result<()> {
    let mut read = codec::open(&source.path, source.coding, source.limits.decoded_bytes_max)
        .map_err(|error| format_error(error.into()))?;
    let mut file =
        File::create(path).map_err(|error| Error::storage("unpacking a part", &error))?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = read
            .read(&mut buffer)
            .map_err(|error| format_error(error.into()))?;
        if count == 0 {
            return Ok(());
        }
        std::io::Write::write_all(&mut file, &buffer[..count])
            .map_err(|error| Error::storage("unpacking a part", &error))?;
    }
}

fn discover_parquet(
    source: &Source,
    table: Option<&TableColumns>,
    output: &Path,
) -> Result<Discovered> {
    let mut scan = ParquetScan::open(source, output)?;
    let columns: Vec<UnifiedColumn> = scan
        .file
        .columns
        .iter()
        .map(|column| UnifiedColumn {
            name: column.name.clone(),
            content: match &column.r#type {
                Some(r#type) => UnifiedType::Typed(r#type.clone()),
                None => UnifiedType::Open,
            },
        })
        .collect();
    let fields = file_fields(&columns, table);
    check_declared(&columns, &fields)?;
    let file_bytes = if fields.is_empty() {
        None
    } else {
        Some(scan.write(fields.clone(), output)?)
    };
    let data_file = match file_bytes {
        Some(file_bytes) if scan.rows > 0 => Some(DataFileRecord { file_bytes, fields }),
        Some(_) => {
            durable::remove_quietly(output);
            None
        }
        None => None,
    };
    Ok(Discovered {
        rows: scan.rows,
        decoded_bytes: scan.decoded_bytes,
        columns: columns
            .into_iter()
            .map(|column| ColumnRecord {
                content: match column.content {
                    UnifiedType::Typed(r#type) => ColumnType::Typed {
                        r#type,
                        null_count: scan.null_counts.get(&column.name).copied().unwrap_or(0),
                    },
                    UnifiedType::Text(_) | UnifiedType::Open => ColumnType::Void,
                },
                name: column.name,
            })
            .collect(),
        issues: Vec::new(),
        data_file,
    })
}

/// Refuses columns whose type has no widening to the declared one.
fn check_declared(columns: &[UnifiedColumn], fields: &[NestedFieldRef]) -> Result<()> {
    for column in columns {
        let field = fields.iter().find(|field| field.name == column.name);
        if let (Some(field), Some(own)) = (field, column.own_type())
            && !types::widens_to(&own, &field.field_type)
        {
            let (found, declared) = (
                types::logical_name(&own),
                types::logical_name(&field.field_type),
            );
            return Err(Error::new(
                ErrorCode::SchemaMismatch,
                format!(
                    "The column `{}` is {found}, and the table declares {declared}; convert it before the upload.",
                    column.name
                ),
            )
            .with("column", column.name.as_str())
            .with("found", found)
            .with("declared", declared));
        }
    }
    Ok(())
}
