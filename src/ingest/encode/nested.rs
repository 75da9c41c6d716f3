//! Structs and lists from cells of JSON text: the members, or elements, become cells of columns of their
//! own, and those encode as any column does.
//!
//! A key that an object lacks is null. A key that the struct does not have, or that stands twice, is a misfit: nothing
//! that was sent is dropped.

use std::sync::Arc;

use arrow_array::builder::{NullBufferBuilder, OffsetBufferBuilder};
use arrow_array::{Array, ArrayRef, ListArray, StructArray};
use arrow_schema::{FieldRef, Fields};

use super::{Misfit, encode_column};
use crate::ingest::error::cut_value;
use crate::ingest::raw::RawColumn;
use crate::schema::evidence::CellKind;
use crate::schema::json;
use crate::schema::text_value::DateForm;

/// Objects as structs.
pub(super) fn encode_struct(column: &RawColumn, fields: &Fields) -> Result<ArrayRef, Misfit> {
    let mut children = vec![RawColumn::default(); fields.len()];
    let mut is_valid = Vec::with_capacity(column.len());
    for (row, (kind, text)) in column.iter().enumerate() {
        is_valid.push(has_value(row, kind, text, '{')?);
        if is_valid[row] {
            let mut expected = 0;
            for (key, value) in json::members(text) {
                let index = position(fields, &key, expected).ok_or_else(|| misfit(row, text))?;
                let child = &mut children[index];
                if child.len() > row {
                    return Err(misfit(row, text));
                }
                child.fill_nulls(row);
                let (kind, text) = json::cell(value);
                child.push(kind, &text);
                expected = index + 1;
            }
        }
    }
    let mut arrays = Vec::with_capacity(fields.len());
    for (field, mut child) in fields.iter().zip(children) {
        child.fill_nulls(column.len());
        let array = encode_column(&child, field.data_type(), DateForm::ISO)?;
        let missing = (0..column.len()).find(|&row| is_valid[row] && array.is_null(row));
        if let (false, Some(row)) = (field.is_nullable(), missing) {
            return Err(misfit(row, column.get(row).1));
        }
        arrays.push(array);
    }
    let mut nulls = NullBufferBuilder::new(column.len());
    nulls.append_slice(&is_valid);
    StructArray::try_new_with_length(fields.clone(), arrays, nulls.finish(), column.len())
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|_| misfit(0, column.get(0).1))
}

/// Arrays as lists.
pub(super) fn encode_list(column: &RawColumn, element: &FieldRef) -> Result<ArrayRef, Misfit> {
    let mut elements = RawColumn::default();
    let mut ends = Vec::with_capacity(column.len());
    let mut is_valid = Vec::with_capacity(column.len());
    for (row, (kind, text)) in column.iter().enumerate() {
        is_valid.push(has_value(row, kind, text, '[')?);
        if is_valid[row] {
            for value in json::elements(text) {
                let (kind, text) = json::cell(value);
                elements.push(kind, &text);
            }
        }
        ends.push(elements.len());
    }
    let row_of = |index: usize| ends.partition_point(|&end| end <= index);
    let values =
        encode_column(&elements, element.data_type(), DateForm::ISO).map_err(|inner| Misfit {
            row_in_batch: row_of(inner.row_in_batch),
            ..inner
        })?;
    let missing = (0..values.len()).find(|&index| values.is_null(index));
    if let (false, Some(index)) = (element.is_nullable(), missing) {
        let row = row_of(index);
        return Err(misfit(row, column.get(row).1));
    }
    // Every element took a byte of the batch at least, and a batch has less than 2^31 of them.
    let mut offsets = OffsetBufferBuilder::<i32>::new(column.len());
    let mut start = 0;
    for &end in &ends {
        offsets.push_length(end - start);
        start = end;
    }
    let mut nulls = NullBufferBuilder::new(column.len());
    nulls.append_slice(&is_valid);
    ListArray::try_new(element.clone(), offsets.finish(), values, nulls.finish())
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|_| misfit(0, column.get(0).1))
}

/// Whether the cell has a value; it must be nested and start with that bracket.
fn has_value(row: usize, kind: CellKind, text: &str, bracket: char) -> Result<bool, Misfit> {
    if kind == CellKind::Null || kind.is_null_word(text) {
        Ok(false)
    } else if kind == CellKind::JsonNested && text.starts_with(bracket) {
        Ok(true)
    } else {
        Err(misfit(row, text))
    }
}

fn misfit(row_in_batch: usize, text: &str) -> Misfit {
    Misfit {
        row_in_batch,
        value: cut_value(text),
    }
}

/// The index of the field, tried first where it is if keys come in the order of the fields.
fn position(fields: &Fields, name: &str, expected: usize) -> Option<usize> {
    if fields
        .get(expected)
        .is_some_and(|field| field.name() == name)
    {
        return Some(expected);
    }
    fields.iter().position(|field| field.name() == name)
}

#[cfg(test)]
mod tests;
