//! Text parts: raw cells to typed columns, with the types as far as they are known.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use arrow_array::ArrayRef;
use iceberg::spec::NestedFieldRef;
use serde_json::json;

use super::{Discovered, Source, file_fields, format_error, not_castable};
use crate::domain::{ColumnRecord, ColumnType, DataFileRecord};
use crate::error::Result;
use crate::ingest::data_file::DataFileWriter;
use crate::ingest::error::FormatError;
use crate::ingest::raw::RawBatch;
use crate::ingest::text::TextReader;
use crate::ingest::{codec, encode};
use crate::schema::plan::TableColumns;
use crate::schema::{Evidence, TextType, UnifiedColumn, UnifiedType, types};

fn open_text(source: &Source) -> Result<TextReader> {
    let read = codec::open(&source.path, source.coding, source.limits.decoded_bytes_max)
        .map_err(|error| format_error(error.into()))?;
    TextReader::open(source.kind, source.csv.as_ref(), read, &source.limits).map_err(format_error)
}

/// What decides the fields of a data file, cheap to compare after every batch.
type TypeState = Vec<(Option<TextType>, bool)>;

/// Finds what a text part holds and writes its data file.
pub(super) fn discover(
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
            let fields = (early.is_none() && rows == 0)
                .then(|| file_fields(&unified(reader.columns(), &evidence), table))
                .filter(|fields| !fields.is_empty());
            if let Some(fields) = fields {
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
    if columns.is_empty() && rows > 0 {
        return Err(format_error(FormatError::malformed(
            "the objects have no keys, so there is no column to keep their rows in",
        )));
    }
    let fields = file_fields(&columns, table);
    let file_bytes = match early {
        Some((_, writer)) => Some(writer.finish()?),
        None if rows > 0 => Some(convert(source, &fields, output)?),
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
        csv: reader.dialect(),
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

/// Writes a text part's data file with these columns.
pub(super) fn convert(source: &Source, fields: &[NestedFieldRef], output: &Path) -> Result<u64> {
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
