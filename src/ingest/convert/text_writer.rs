//! Raw cells into a data file of decided columns; or, without a file, only the values that do not fit.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use iceberg::spec::{NestedField, NestedFieldRef};
use serde_json::json;

use super::not_castable;
use crate::error::Result;
use crate::ingest::data_file::{self, DataFileWriter, UnsyncedFile};
use crate::ingest::encode::{self, Misfit};
use crate::ingest::raw::{BATCH_CELLS_MAX, RawBatch, RawColumn};
use crate::schema::text_value::{self, DateForm};
use crate::schema::unify::ColumnDates;
use crate::schema::{Evidence, types};

/// Columns of a batch that were encoded when they were looked at; none of the others.
pub(super) type Encoded = Vec<Option<ArrayRef>>;

/// Why a date or timestamp does not fit.
const OTHER_FORM: &str = "dates and timestamps are YYYY-MM-DD[ HH:MM:SS[zone]], or in another form that all values of the column share and that leaves no doubt of day and month";
/// Values of a column that a refusal names.
const EXAMPLES_MAX: usize = 5;

/// Encodes raw cells into a data file, and collects the first misfit of every column.
pub(super) struct TextWriter {
    /// None when the values are only checked.
    file: Option<DataFileWriter>,
    schema: SchemaRef,
    fields: Vec<NestedFieldRef>,
    /// Where each of them is, by name.
    places: HashMap<String, usize>,
    /// In which form each of them has its dates.
    forms: Vec<DateForm>,
    misfits: BTreeMap<usize, Misfits>,
}

/// The values of one column that do not fit.
#[derive(Default)]
struct Misfits {
    count: u64,
    /// The first of them.
    examples: Vec<(u64, String)>,
}

impl Misfits {
    /// Takes in the first misfit of a batch, and looks for more behind it. Slow, for a refusal only.
    fn note(
        &mut self,
        first: Misfit,
        batch: &RawBatch,
        column: &RawColumn,
        (target, form): (&DataType, DateForm),
    ) {
        let behind = first.row_in_batch + 1;
        self.push(batch.first_row + first.row_in_batch as u64, first.value);
        for row in behind..batch.row_count {
            if let Err(misfit) = encode::encode_column(&column.copy_of(row..row + 1), target, form)
            {
                self.push(batch.first_row + row as u64, misfit.value);
            }
        }
    }

    fn push(&mut self, row: u64, value: String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push((row, value));
        }
    }

    fn json(&self, field: &NestedField) -> serde_json::Value {
        let examples = self.examples.iter();
        json!({
            "column": field.name, "declared": types::logical_name(&field.field_type), "count": self.count,
            "examples": examples.map(|(row, value)| json!({"row": row, "value": value})).collect::<Vec<_>>(),
        })
    }
}

impl TextWriter {
    /// Without an output it keeps nothing but the misfits. A tiny file is made of a few KiB.
    pub(super) fn new(
        output: Option<&Path>,
        fields: Vec<NestedFieldRef>,
        dates: &ColumnDates,
        is_tiny: bool,
    ) -> Result<Self> {
        let form_of = |field: &NestedFieldRef| dates.get(&field.name).copied();
        let file = output.map(|output| DataFileWriter::create(output, fields.clone(), is_tiny));
        Ok(Self {
            file: file.transpose()?,
            forms: fields
                .iter()
                .map(|field| form_of(field).unwrap_or(DateForm::ISO))
                .collect(),
            schema: data_file::arrow_schema(&fields)?,
            places: fields
                .iter()
                .enumerate()
                .map(|(index, field)| (field.name.clone(), index))
                .collect(),
            fields,
            misfits: BTreeMap::new(),
        })
    }

    /// Encodes the columns that are of the file's type so far, and takes them into their evidence, in one pass.
    pub(super) fn encode_observed(
        &self,
        names: &[String],
        batch: &RawBatch,
        evidence: &mut [Evidence],
    ) -> Encoded {
        let columns = names.iter().zip(&batch.columns).zip(evidence);
        columns
            .map(|((name, column), evidence)| {
                let field = self.schema.fields().get(*self.places.get(name)?)?;
                encode::encode_observed(column, field.data_type(), evidence)
            })
            .collect()
    }

    /// Adds the rows, a few at a time where the elements of their lists can make many cells. Takes what is encoded already.
    pub(super) fn write(
        &mut self,
        names: &[String],
        batch: &RawBatch,
        encoded: &mut Encoded,
    ) -> Result<()> {
        let rows_at_once = rows_at_once(&self.schema, batch);
        if rows_at_once >= batch.row_count {
            return self.write_rows(names, batch, encoded);
        }
        for start in (0..batch.row_count).step_by(rows_at_once) {
            let end = batch.row_count.min(start + rows_at_once);
            let columns = batch.columns.iter();
            let rows = RawBatch {
                columns: columns.map(|column| column.copy_of(start..end)).collect(),
                row_count: end - start,
                first_row: batch.first_row + start as u64,
            };
            self.write_rows(names, &rows, &mut Vec::new())?;
        }
        Ok(())
    }

    fn write_rows(
        &mut self,
        names: &[String],
        batch: &RawBatch,
        encoded: &mut Encoded,
    ) -> Result<()> {
        let index_by_name: HashMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.as_str(), index))
            .collect();
        let schema = self.schema.clone();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (index, (field, form)) in schema.fields().iter().zip(self.forms.clone()).enumerate() {
            let place = index_by_name.get(field.name().as_str()).copied();
            let done = place.and_then(|place| encoded.get_mut(place)?.take());
            if let Some(array) = done {
                arrays.push(array);
                continue;
            }
            let Some(column) = place.and_then(|place| batch.columns.get(place)) else {
                let nulls = arrow_array::new_null_array(field.data_type(), batch.row_count);
                arrays.push(nulls);
                continue;
            };
            match encode::encode_column(column, field.data_type(), form) {
                Ok(array) => arrays.push(array),
                Err(misfit) => {
                    let misfits = self.misfits.entry(index).or_default();
                    misfits.note(misfit, batch, column, (field.data_type(), form));
                }
            }
        }
        match &mut self.file {
            Some(file) if self.misfits.is_empty() => file.write(arrays),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses the part that was read last, if values of it do not fit; the next one starts anew.
    pub(super) fn check_part(&mut self) -> Result<()> {
        let misfits = std::mem::take(&mut self.misfits);
        let mut named = misfits
            .iter()
            .filter_map(|(index, misfits)| Some((self.fields.get(*index)?, misfits)));
        let listed: Vec<serde_json::Value> = named
            .clone()
            .map(|(field, misfits)| misfits.json(field))
            .collect();
        let first = named.find_map(|(field, misfits)| Some((field, misfits.examples.first()?)));
        let Some((field, (row, value))) = first else {
            return Ok(());
        };
        let reason = text_value::is_temporal(value).then_some(OTHER_FORM);
        let refusal = not_castable(&field.name, Some(*row), value, &field.field_type, reason);
        Err(refusal.with("misfits", listed))
    }

    /// The file, if there is one; not durable yet.
    pub(super) fn finish(mut self) -> Result<Option<UnsyncedFile>> {
        self.check_part()?;
        self.file.map(DataFileWriter::finish).transpose()
    }
}

/// How many rows to encode at once. A list of structs has every field for every element, and an element takes three
/// bytes of text at least.
pub(super) fn rows_at_once(schema: &Schema, batch: &RawBatch) -> usize {
    let is_list = |field: &&Field| matches!(field.data_type(), DataType::List(_));
    let fields = |field: &FieldRef| Schema::new(vec![field.clone()]).flattened_fields().len();
    let has_list = |field: &&FieldRef| {
        field.data_type().is_nested()
            && Schema::new(vec![(*field).clone()])
                .flattened_fields()
                .iter()
                .any(is_list)
    };
    let list_fields: usize = schema.fields().iter().filter(has_list).map(fields).sum();
    if list_fields == 0 {
        return batch.row_count;
    }
    let text_bytes: usize = batch.columns.iter().map(RawColumn::text_bytes).sum();
    let cells = (text_bytes / 3).saturating_mul(list_fields);
    if cells <= BATCH_CELLS_MAX {
        batch.row_count
    } else {
        (batch.row_count.saturating_mul(BATCH_CELLS_MAX) / cells).max(1)
    }
}
