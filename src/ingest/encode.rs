//! From the text of cells to an Arrow array of a decided type.
//!
//! A cell converts by the same parsers, and under the same rule of what a kind of cell may be, as
//! evidence was collected ([`crate::schema::evidence`]). So a type that evidence allows always
//! encodes, and a declared type takes exactly the values that print back from it. Nulls become
//! null; spelled null words become null too, except in text.
//!
//! The first value that does not fit ends the column as a [`Misfit`]; nothing is changed silently.

mod nested;

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, NullBufferBuilder, OffsetBufferBuilder, PrimitiveBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray, StringArray, new_null_array};
use arrow_schema::{DataType, TimeUnit};

use super::error::cut_value;
use super::raw::RawColumn;
use crate::schema::evidence::{Candidates, CellKind, Converted, candidates_of_integer};
use crate::schema::text_value::{
    DateForm, parse_boolean, parse_date, parse_decimal, parse_float32, parse_float64, parse_int64,
    parse_json_float32, parse_json_float64, parse_time_micros, parse_timestamp, parse_timestamptz,
};
use crate::schema::{Evidence, TextType};

/// The first value of a column that the wanted type cannot hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// 0-based row in the batch.
    pub row_in_batch: usize,
    /// The value, cut to a length that fits a message.
    pub value: String,
}

/// Converts all cells. The array has the wanted type exactly, with the zone as it was written
/// there. Dates are of one form in all of a column.
pub fn encode_column(
    column: &RawColumn,
    target: &DataType,
    form: DateForm,
) -> Result<ArrayRef, Misfit> {
    match target {
        DataType::Boolean => encode_boolean(column),
        DataType::Int32 => {
            let int32 =
                |_, text: &str| parse_int64(text).and_then(|value| i32::try_from(value).ok());
            finish(encode::<Int32Type>(column, Candidates::INT32, int32))
        }
        DataType::Int64 => finish(encode::<Int64Type>(column, Candidates::INT64, |_, text| {
            parse_int64(text)
        })),
        DataType::Float32 => finish(encode::<Float32Type>(
            column,
            Candidates::FLOAT64,
            |kind, text| match kind {
                CellKind::JsonNumber => parse_json_float32(text),
                _ => parse_float32(text),
            },
        )),
        DataType::Float64 => finish(encode::<Float64Type>(
            column,
            Candidates::FLOAT64,
            |kind, text| match kind {
                CellKind::JsonNumber => parse_json_float64(text),
                _ => parse_float64(text),
            },
        )),
        DataType::Decimal128(precision, scale) => {
            encode_decimal(column, target, *precision, *scale)
        }
        DataType::Date32 => finish(encode::<Date32Type>(column, Candidates::DATE, |_, text| {
            parse_date(text, form)
        })),
        DataType::Time64(TimeUnit::Microsecond) => {
            let time = |_, text: &str| parse_time_micros(text);
            finish(encode::<Time64MicrosecondType>(
                column,
                Candidates::TEMPORAL,
                time,
            ))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let local = |_, text: &str| parse_timestamp(text, form);
            finish(encode::<TimestampMicrosecondType>(
                column,
                Candidates::TIMESTAMP,
                local,
            ))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if is_utc(zone) => {
            let zoned = |_, text: &str| parse_timestamptz(text, form);
            encode::<TimestampMicrosecondType>(column, Candidates::TIMESTAMPTZ, zoned)
                .map(|array| shared(array.with_timezone(zone.clone())))
        }
        DataType::Utf8 => Ok(encode_text(column)),
        DataType::Struct(fields) => nested::encode_struct(column, fields),
        DataType::List(element) => nested::encode_list(column, element),
        _ => encode_unsupported(column, target),
    }
}

/// Converts all cells of a column whose evidence allows just the wanted type so far, and takes them into the evidence, in one
/// pass. Nothing, and the evidence as it was, when the type is another or a cell needs a closer look: what
/// [`Evidence::observe`] makes of the cells is the same.
pub fn encode_observed(
    column: &RawColumn,
    target: &DataType,
    evidence: &mut Evidence,
) -> Option<ArrayRef> {
    let mut converted = Converted::default();
    let array = match (target, evidence.text_type()?) {
        (DataType::Int64, TextType::Int64) => {
            let integer = |_, text: &str| {
                let value = parse_int64(text)?;
                Some((value, candidates_of_integer(value)?))
            };
            convert_observed::<Int64Type>(column, Candidates::INT64, &mut converted, integer)
                .map(shared)
        }
        (DataType::Float64, TextType::Float64) => {
            let float = |kind, text: &str| {
                let value = match kind {
                    CellKind::JsonNumber => parse_json_float64(text),
                    _ => parse_float64(text),
                };
                Some((value?, Candidates::FLOAT64))
            };
            convert_observed::<Float64Type>(column, Candidates::FLOAT64, &mut converted, float)
                .map(shared)
        }
        (DataType::Date32, TextType::Date) => {
            let form = evidence.only_date_form()?;
            let date = |_, text: &str| Some((parse_date(text, form)?, Candidates::DATE));
            convert_observed::<Date32Type>(column, Candidates::DATE, &mut converted, date)
                .map(shared)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, None), TextType::Timestamp) => {
            let form = evidence.only_date_form()?;
            let local = |_, text: &str| Some((parse_timestamp(text, form)?, Candidates::TIMESTAMP));
            let candidate = Candidates::TIMESTAMP;
            convert_observed::<TimestampMicrosecondType>(column, candidate, &mut converted, local)
                .map(shared)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, Some(zone)), TextType::TimestampTz)
            if is_utc(zone) =>
        {
            let form = evidence.only_date_form()?;
            let zoned =
                |_, text: &str| Some((parse_timestamptz(text, form)?, Candidates::TIMESTAMPTZ));
            let candidate = Candidates::TIMESTAMPTZ;
            convert_observed::<TimestampMicrosecondType>(column, candidate, &mut converted, zoned)
                .map(|array| shared(array.with_timezone(zone.clone())))
        }
        (DataType::Boolean, TextType::Boolean) => {
            let mut builder = BooleanBuilder::with_capacity(column.len());
            observe_each(
                column,
                Candidates::BOOLEAN,
                &mut converted,
                |_, text| Some((parse_boolean(text)?, Candidates::BOOLEAN)),
                |value| builder.append_option(value),
            )?;
            Some(Arc::new(builder.finish()) as ArrayRef)
        }
        (DataType::Utf8, TextType::Text) if evidence.is_settled_text() => {
            for (kind, text) in column.iter() {
                match kind {
                    CellKind::Null => converted.null_count += 1,
                    CellKind::JsonNested => return None,
                    _ if kind.is_null_word(text) => converted.null_word_count += 1,
                    _ => converted.value_count += 1,
                }
            }
            Some(encode_text(column))
        }
        _ => None,
    }?;
    evidence.take_in(&converted);
    Some(array)
}

fn convert_observed<T: ArrowPrimitiveType>(
    column: &RawColumn,
    candidate: Candidates,
    converted: &mut Converted,
    convert: impl Fn(CellKind, &str) -> Option<(T::Native, Candidates)>,
) -> Option<PrimitiveArray<T>> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(column.len());
    let append = |value| builder.append_option(value);
    observe_each(column, candidate, converted, convert, append)?;
    Some(builder.finish())
}

/// Gives each cell, converted or null, to `append`; nothing at the first that does not convert.
fn observe_each<V>(
    column: &RawColumn,
    candidate: Candidates,
    converted: &mut Converted,
    convert: impl Fn(CellKind, &str) -> Option<(V, Candidates)>,
    mut append: impl FnMut(Option<V>),
) -> Option<()> {
    for (kind, text) in column.iter() {
        if kind == CellKind::Null {
            converted.null_count += 1;
            append(None);
        } else if kind.is_null_word(text) {
            converted.null_word_count += 1;
            append(None);
        } else if kind.candidates().intersects(candidate) {
            let (value, survived) = convert(kind, text)?;
            converted.survives(survived.intersection(kind.candidates()));
            append(Some(value));
        } else {
            return None;
        }
    }
    Some(())
}

fn shared<T: ArrowPrimitiveType>(array: PrimitiveArray<T>) -> ArrayRef {
    Arc::new(array)
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00")
}

fn encode_boolean(column: &RawColumn) -> Result<ArrayRef, Misfit> {
    let mut builder = BooleanBuilder::with_capacity(column.len());
    for_each_value(
        column,
        Candidates::BOOLEAN,
        |_, text| parse_boolean(text),
        |value| {
            builder.append_option(value);
        },
    )?;
    Ok(Arc::new(builder.finish()))
}

fn encode_decimal(
    column: &RawColumn,
    target: &DataType,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef, Misfit> {
    let decimal = |_, text: &str| parse_decimal(text, precision, scale);
    let array = encode::<Decimal128Type>(column, Candidates::NUMBERS, decimal)?;
    match array.with_precision_and_scale(precision, scale) {
        Ok(array) => Ok(Arc::new(array)),
        // A precision or scale that Arrow does not know holds no value at all.
        Err(_) => encode_unsupported(column, target),
    }
}

/// All text at once: a column has its cells one behind the other, as an array does.
fn encode_text(column: &RawColumn) -> ArrayRef {
    let (text, ends, kinds) = column.parts();
    let mut offsets = OffsetBufferBuilder::<i32>::new(ends.len());
    let mut start = 0;
    for &end in ends {
        offsets.push_length((end - start) as usize);
        start = end;
    }
    let mut nulls = NullBufferBuilder::new(kinds.len());
    for kind in kinds {
        nulls.append(*kind != CellKind::Null);
    }
    let text = text.as_bytes().to_vec().into();
    Arc::new(StringArray::new(offsets.finish(), text, nulls.finish()))
}

/// A type that no text converts to: only nulls fit.
fn encode_unsupported(column: &RawColumn, target: &DataType) -> Result<ArrayRef, Misfit> {
    for_each_value(column, Candidates::NONE, |_, _| None::<()>, |_| {})?;
    Ok(new_null_array(target, column.len()))
}

fn encode<T: ArrowPrimitiveType>(
    column: &RawColumn,
    candidate: Candidates,
    convert: impl Fn(CellKind, &str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, Misfit> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(column.len());
    for_each_value(column, candidate, convert, |value| {
        builder.append_option(value)
    })?;
    Ok(builder.finish())
}

fn finish<T: ArrowPrimitiveType>(
    array: Result<PrimitiveArray<T>, Misfit>,
) -> Result<ArrayRef, Misfit> {
    array.map(shared)
}

/// Gives each cell, converted or null, to `append`; ends at the first value that does not convert.
/// A cell whose kind cannot be `candidate` does not convert whatever its text.
fn for_each_value<V>(
    column: &RawColumn,
    candidate: Candidates,
    convert: impl Fn(CellKind, &str) -> Option<V>,
    mut append: impl FnMut(Option<V>),
) -> Result<(), Misfit> {
    for (row_in_batch, (kind, text)) in column.iter().enumerate() {
        if kind == CellKind::Null || kind.is_null_word(text) {
            append(None);
            continue;
        }
        let value = if kind.candidates().intersects(candidate) {
            convert(kind, text)
        } else {
            None
        };
        if value.is_none() {
            return Err(Misfit {
                row_in_batch,
                value: cut_value(text),
            });
        }
        append(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
