//! Text parts: raw cells to typed columns, with the types as far as they are known.

use std::cell::LazyCell;
use std::path::Path;

use arrow_array::ArrayRef;
use iceberg::spec::{NestedFieldRef, Type};

use super::text_writer::TextWriter;
use super::{Discovered, Source, file_fields, format_error};
use crate::domain::part::PartIssue;
use crate::domain::{ColumnRecord, ColumnType, DataFileRecord, PartNumber};
use crate::error::{Error, Result};
use crate::ingest::codec;
use crate::ingest::data_file::UnsyncedFile;
use crate::ingest::error::FormatError;
use crate::ingest::raw::RawBatch;
use crate::ingest::text::TextReader;
use crate::schema::nested::{Nested, TextCause};
use crate::schema::plan::TableColumns;
use crate::schema::text_value::{DateForm, DateForms};
use crate::schema::unify::ColumnDates;
use crate::schema::{Evidence, TextType, UnifiedColumn, UnifiedType, types, unify};

/// Places that fell back to JSON text which one part's issues list.
const TEXT_ISSUES_MAX: usize = 20;
/// Bytes of small parts, as sent, up to which their data file is tiny.
const TINY_BYTES_MAX: u64 = 16 * 1024;

fn open_text(source: &Source) -> Result<TextReader> {
    let read = codec::open(
        &source.bytes,
        source.coding,
        source.limits.decoded_bytes_max,
    )
    .map_err(|error| format_error(error.into()))?;
    let dialect = source.csv.as_ref().map(|csv| &csv.dialect);
    TextReader::open(source.kind, dialect, read, &source.limits).map_err(format_error)
}

/// What decides the fields of a data file, cheap to compare after every batch.
type TypeState = Vec<(Option<TextType>, Option<DateForm>, bool, Option<Type>)>;

/// Finds what a text part holds and writes its data file; without an output, only makes sure that its values fit the table.
pub(super) fn discover(
    source: &Source,
    table: Option<&TableColumns>,
    output: Option<&Path>,
) -> Result<Discovered> {
    let mut reader = open_text(source)?;
    if let Some(csv) = &source.csv {
        reader.hold_short_rows_against(&csv.has_data_only);
    }
    let mut batch = RawBatch::default();
    let mut evidence: Vec<Evidence> = vec![Evidence::default(); reader.columns().len()];
    let mut early: Option<(TypeState, TextWriter)> = None;
    let mut is_given_up = output.is_none() && table.is_none();
    let mut rows = 0u64;
    while reader.next_batch(&mut batch).map_err(format_error)? {
        let mut encoded = match &early {
            Some((_, writer)) => writer.encode_observed(reader.columns(), &batch, &mut evidence),
            None => Vec::new(),
        };
        observe(&mut evidence, &batch, rows, &encoded);
        bound_fields(&mut evidence, source.limits.columns_max);
        if !is_given_up {
            let state = type_state(&evidence);
            let fields = (early.is_none() && rows == 0)
                .then(|| file_fields(&unified(reader.columns(), &evidence), table))
                .filter(|fields| !fields.is_empty());
            if let Some(fields) = fields {
                let dates = dates(reader.columns(), &evidence);
                let writer = TextWriter::new(output, fields, &dates, false)?;
                early = Some((state, writer));
            } else if early.as_ref().is_none_or(|(known, _)| *known != state) {
                early = None;
                is_given_up = true;
            }
            if let Some((_, writer)) = &mut early {
                writer.write(reader.columns(), &batch, &mut encoded)?;
            }
        }
        rows += batch.row_count as u64;
    }
    let columns = unified(reader.columns(), &evidence);
    if columns.is_empty() && rows > 0 {
        return Err(format_error(FormatError::malformed(
            "the objects have no keys, so there is no column to keep their rows in; give each at least one key",
        )));
    }
    // Only a file has fields.
    let fields = LazyCell::new(|| file_fields(&columns, table));
    let file = match early {
        Some((_, writer)) => writer.finish()?,
        None if rows > 0 && (output.is_some() || table.is_some()) => {
            let dates = dates(reader.columns(), &evidence);
            let mut writer = TextWriter::new(output, fields.clone(), &dates, false)?;
            read_into(source, &mut writer)?;
            writer.finish()?
        }
        None => None,
    };
    let file_bytes = file.map(UnsyncedFile::sync).transpose()?;
    let data_file = file_bytes.map(|file_bytes| DataFileRecord {
        file_bytes,
        fields: fields.clone(),
    });
    Ok(Discovered {
        rows,
        decoded_bytes: reader.decoded_bytes(),
        issues: [reader.issues(), text_issues(&columns)].concat(),
        columns: column_records(columns, evidence),
        csv: reader.dialect(),
        data_file,
        parquet: None,
    })
}

fn column_records(columns: Vec<UnifiedColumn>, evidence: Vec<Evidence>) -> Vec<ColumnRecord> {
    let columns = columns.into_iter().zip(evidence);
    columns
        .map(|(column, evidence)| ColumnRecord {
            name: column.name,
            content: ColumnType::Text(match column.content {
                UnifiedType::Text(settled) => settled,
                UnifiedType::Typed(_) | UnifiedType::Open => evidence,
            }),
        })
        .collect()
}

/// Takes a batch into the evidence, but for columns that are in it already; a column that is new in it was null before.
fn observe(
    evidence: &mut Vec<Evidence>,
    batch: &RawBatch,
    rows_before: u64,
    encoded: &[Option<ArrayRef>],
) {
    while evidence.len() < batch.columns.len() {
        evidence.push(Evidence::of_nulls(rows_before));
    }
    for (index, (column, evidence)) in batch.columns.iter().zip(evidence).enumerate() {
        if matches!(encoded.get(index), Some(Some(_))) {
            continue;
        }
        for (kind, text) in column.iter() {
            evidence.observe(kind, text);
        }
    }
}

fn type_state(evidence: &[Evidence]) -> TypeState {
    evidence
        .iter()
        .map(|evidence| {
            let nested = evidence.nested().and_then(|_| types::of_evidence(evidence));
            let form = evidence.date_forms().and_then(DateForms::decided);
            (evidence.text_type(), form, evidence.fits_int32(), nested)
        })
        .collect()
}

/// In which form the columns write their dates.
fn dates(names: &[String], evidence: &[Evidence]) -> ColumnDates {
    let named = names.iter().map(String::as_str).zip(evidence);
    unify::column_dates(named)
}

fn unified(names: &[String], evidence: &[Evidence]) -> Vec<UnifiedColumn> {
    let mut columns: Vec<UnifiedColumn> = names
        .iter()
        .zip(evidence)
        .map(|(name, evidence)| UnifiedColumn {
            name: name.clone(),
            content: match evidence.text_type() {
                Some(_) => UnifiedType::Text(evidence.clone()),
                None => UnifiedType::Open,
            },
        })
        .collect();
    unify::keep_names_apart(&mut columns);
    columns
}

/// Takes nested columns of the part back to JSON text, the widest first, until all of them together have no more fields than a
/// part may have columns.
fn bound_fields(evidence: &mut [Evidence], columns_max: usize) {
    let leaves_of = |one: &Evidence| one.nested().map_or(0, Nested::leaves);
    let mut leaves: usize = evidence.iter().map(leaves_of).sum();
    while leaves > 0 && evidence.len() + leaves > columns_max {
        let Some(widest) = evidence.iter_mut().max_by_key(|one| leaves_of(one)) else {
            return;
        };
        leaves -= leaves_of(widest);
        widest.keep_as_json_text(TextCause::TooLarge);
    }
}

/// One issue for each column of dates that nothing decides, and for each place whose nested values are kept as JSON text.
fn text_issues(columns: &[UnifiedColumn]) -> Vec<PartIssue> {
    let mut issues = Vec::new();
    for column in columns {
        let UnifiedType::Text(evidence) = &column.content else {
            continue;
        };
        if evidence.is_ambiguous() {
            issues.push(PartIssue {
                issue: format!(
                    "`{}` has dates that could be day-first or month-first, and no value tells which; it stays text, unless another part tells. Write them as YYYY-MM-DD",
                    column.name
                ),
                column: Some(column.name.clone()),
            });
        }
        let Some(nested) = evidence.nested() else {
            continue;
        };
        nested.for_each_text(&column.name, &mut |path, cause| {
            if issues.len() < TEXT_ISSUES_MAX {
                issues.push(PartIssue {
                    issue: format!("`{path}` {}; it is kept as JSON text", cause.describe()),
                    column: Some(column.name.clone()),
                });
            }
        });
    }
    issues
}

/// Writes one data file with these columns of several text parts. Refused, it tells of every part whose values do not fit.
pub(super) fn convert(
    parts: &[(PartNumber, Source)],
    fields: &[NestedFieldRef],
    dates: &ColumnDates,
    output: &Path,
) -> std::result::Result<UnsyncedFile, Vec<Error>> {
    let packed_bytes = parts.iter().map(|(_, source)| source.bytes.packed_bytes());
    let is_tiny = packed_bytes
        .sum::<Option<u64>>()
        .is_some_and(|bytes| bytes <= TINY_BYTES_MAX);
    let mut writer = TextWriter::new(Some(output), fields.to_vec(), dates, is_tiny)
        .map_err(|error| vec![error])?;
    let mut refusals = Vec::new();
    for (part, source) in parts {
        let read = read_into(source, &mut writer).and_then(|()| writer.check_part());
        refusals.extend(read.err().map(|error| error.in_part(part.0)));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let written = writer.finish().map_err(|error| vec![error])?;
    written.ok_or_else(|| vec![Error::internal("the data file was not written")])
}

fn read_into(source: &Source, writer: &mut TextWriter) -> Result<()> {
    let mut reader = open_text(source)?;
    let mut batch = RawBatch::default();
    while reader.next_batch(&mut batch).map_err(format_error)? {
        writer.write(reader.columns(), &batch, &mut Vec::new())?;
    }
    Ok(())
}

/// Reads a text part and makes sure that its values fit these columns.
pub(super) fn check(source: &Source, fields: &[NestedFieldRef], dates: &ColumnDates) -> Result<()> {
    let mut writer = TextWriter::new(None, fields.to_vec(), dates, false)?;
    read_into(source, &mut writer)?;
    writer.check_part()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::super::text_writer::rows_at_once;
    use super::*;
    use crate::domain::PartKind;
    use crate::domain::part::Coding;
    use crate::ingest::Limits;
    use crate::ingest::data_file;
    use crate::ingest::part_bytes::PartBytes;

    #[test]
    fn wide_lists_are_written_a_few_rows_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, output) = (folder.path().join("part"), folder.path().join("output"));
        let members: Vec<String> = (0..50).map(|key| format!("\"k{key}\":1")).collect();
        let mut text = format!("{{\"x\":[{{{}}}]}}\n", members.join(","));
        for row in 1..400 {
            let elements = "{},".repeat(row);
            writeln!(text, "{{\"x\":[{elements}{{\"k7\":{row}}}]}}").unwrap();
        }
        std::fs::write(&path, text).unwrap();
        let source = Source {
            bytes: PartBytes::File(path),
            kind: PartKind::Ndjson,
            coding: Coding::Identity,
            csv: None,
            limits: Limits::from(&crate::config::PartsConfig::default()),
        };
        let found = discover(&source, None, Some(&output)).unwrap();
        assert_eq!((found.rows, found.issues.len()), (400, 0));
        let schema = data_file::arrow_schema(&found.data_file.unwrap().fields);
        let mut reader = open_text(&source).unwrap();
        let mut batch = RawBatch::default();
        assert!(reader.next_batch(&mut batch).unwrap());
        let rows = rows_at_once(&schema.unwrap(), &batch);
        assert!(rows < batch.row_count, "the batch is cut");

        let file = std::fs::File::open(&output).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let mut row = 0;
        for batch in reader.build().unwrap() {
            for list in batch.unwrap().column(0).as_list::<i32>().iter() {
                let list = list.unwrap();
                let k7 = list.as_struct().column_by_name("k7").unwrap();
                let k7 = k7.as_primitive::<arrow_array::types::Int64Type>();
                assert_eq!(list.len(), row + 1);
                assert_eq!(k7.value(row), i64::try_from(row.max(1)).unwrap());
                assert_eq!(arrow_array::Array::null_count(k7), row);
                row += 1;
            }
        }
        assert_eq!(row, 400);
    }
}
