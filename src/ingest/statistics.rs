//! Compares what a footer says of its columns with what their pages hold.
//!
//! Readers leave out whole row groups by a footer's bounds and null counts, so a file whose footer is wrong would lose
//! rows without a word. Only columns that are not inside others have counts and bounds that readers use.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::basic::Type as Physical;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

/// Compares row by row, as batches come.
#[derive(Debug, Default)]
pub struct StatisticsCheck {
    row_group: usize,
    rows_in_group: u64,
    /// Nulls of each column in this row group.
    nulls: Vec<u64>,
    wrong_column: Option<String>,
}

impl StatisticsCheck {
    /// Takes in the next rows.
    pub fn add(&mut self, footer: &ParquetMetaData, batch: &RecordBatch) {
        let mut start = 0;
        while start < batch.num_rows() && self.wrong_column.is_none() {
            let Some(group) = footer.row_groups().get(self.row_group) else {
                return;
            };
            let group_rows = u64::try_from(group.num_rows()).unwrap_or(0);
            let left = usize::try_from(group_rows.saturating_sub(self.rows_in_group));
            let count = left.unwrap_or(usize::MAX).min(batch.num_rows() - start);
            let is_over = self.rows_in_group + count as u64 >= group_rows;
            self.nulls.resize(batch.num_columns(), 0);
            for (index, array) in batch.columns().iter().enumerate() {
                let Some(chunk) = chunk_of(footer, self.row_group, index) else {
                    continue;
                };
                let slice = array.slice(start, count);
                self.nulls[index] += slice.null_count() as u64;
                let told = chunk.statistics().and_then(|one| one.null_count_opt());
                let is_counted = !is_over || told.is_none_or(|told| told == self.nulls[index]);
                if !is_counted || has_order(footer, chunk) && !is_bounded(&slice, chunk) {
                    self.wrong_column = chunk.column_path().parts().first().cloned();
                    return;
                }
            }
            start += count;
            self.rows_in_group += count as u64;
            if is_over {
                self.row_group += 1;
                self.rows_in_group = 0;
                self.nulls.fill(0);
            }
        }
    }

    /// The first column of which the footer says what is not so.
    pub fn wrong_column(&self) -> Option<&str> {
        self.wrong_column.as_deref()
    }
}

/// The chunk of a top-level column that is not nested.
fn chunk_of(
    footer: &ParquetMetaData,
    row_group: usize,
    column: usize,
) -> Option<&ColumnChunkMetaData> {
    let schema = footer.file_metadata().schema();
    let name = schema.get_fields().get(column)?.name();
    let chunks = footer.row_groups().get(row_group)?.columns();
    chunks.iter().find(|chunk| {
        let parts = chunk.column_path().parts();
        parts.len() == 1 && parts.first().is_some_and(|part| part == name)
    })
}

/// Whether the minimum and maximum of a chunk are in the order of its values.
pub fn has_order(footer: &ParquetMetaData, chunk: &ColumnChunkMetaData) -> bool {
    let is_bytes = matches!(
        chunk.column_type(),
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY
    );
    let is_told = footer.file_metadata().column_orders().is_some()
        && chunk
            .statistics()
            .is_some_and(|statistics| !statistics.is_min_max_deprecated());
    !is_bytes || is_told
}

/// Whether every value lies between the chunk's minimum and maximum, where it says them.
fn is_bounded(array: &ArrayRef, chunk: &ColumnChunkMetaData) -> bool {
    let Some(statistics) = chunk.statistics() else {
        return true;
    };
    let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
    if min.is_none() && max.is_none() {
        return true;
    }
    match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            let lies = |bound: Option<&[u8]>, least| bound.is_some_and(|bytes| bytes != [least]);
            !(values.false_count() > 0 && lies(min, 0) || values.true_count() > 0 && lies(max, 1))
        }
        DataType::Int8 => numbers::<Int8Type>(array, min, max, small),
        DataType::Int16 => numbers::<Int16Type>(array, min, max, small),
        DataType::UInt8 => numbers::<UInt8Type>(array, min, max, small),
        DataType::UInt16 => numbers::<UInt16Type>(array, min, max, small),
        DataType::Int32 => numbers::<Int32Type>(array, min, max, |b| {
            Some(i32::from_le_bytes(b.try_into().ok()?))
        }),
        DataType::Date32 => numbers::<Date32Type>(array, min, max, |b| {
            Some(i32::from_le_bytes(b.try_into().ok()?))
        }),
        DataType::Int64 => numbers::<Int64Type>(array, min, max, long),
        DataType::Time64(TimeUnit::Microsecond) => {
            numbers::<Time64MicrosecondType>(array, min, max, long)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            numbers::<TimestampMicrosecondType>(array, min, max, long)
        }
        DataType::Float32 => numbers::<Float32Type>(array, min, max, |b| {
            Some(f32::from_le_bytes(b.try_into().ok()?))
        }),
        DataType::Float64 => numbers::<Float64Type>(array, min, max, |b| {
            Some(f64::from_le_bytes(b.try_into().ok()?))
        }),
        DataType::Decimal128(_, _) => {
            let is_big_endian = chunk.column_type() == Physical::FIXED_LEN_BYTE_ARRAY;
            numbers::<Decimal128Type>(array, min, max, |bytes| wide(bytes, is_big_endian))
        }
        DataType::Utf8 => texts(
            array
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(str::as_bytes)),
            min,
            max,
        ),
        DataType::Binary => texts(array.as_binary::<i32>().iter(), min, max),
        DataType::FixedSizeBinary(_) => texts(array.as_fixed_size_binary().iter(), min, max),
        _ => true,
    }
}

fn small<T: TryFrom<i32>>(bytes: &[u8]) -> Option<T> {
    T::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

fn long(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

/// A number of up to 16 bytes.
fn wide(bytes: &[u8], is_big_endian: bool) -> Option<i128> {
    let mut big: Vec<u8> = bytes.to_vec();
    if !is_big_endian {
        big.reverse();
    }
    let sign = if big.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [sign; 16];
    let start = 16usize.checked_sub(big.len())?;
    whole[start..].copy_from_slice(&big);
    Some(i128::from_be_bytes(whole))
}

/// NaN is compared with nothing; a bound that is NaN bounds nothing.
fn numbers<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    min: Option<&[u8]>,
    max: Option<&[u8]>,
    parse: impl Fn(&[u8]) -> Option<T::Native>,
) -> bool
where
    T::Native: PartialOrd,
{
    let (low, high) = (min.and_then(&parse), max.and_then(&parse));
    let is_read = min.is_some() == low.is_some() && max.is_some() == high.is_some();
    let mut values = array.as_primitive::<T>().iter().flatten();
    is_read
        && values.all(|value| {
            !low.is_some_and(|low| value < low) && !high.is_some_and(|high| value > high)
        })
}

fn texts<'a>(
    mut values: impl Iterator<Item = Option<&'a [u8]>>,
    min: Option<&[u8]>,
    max: Option<&[u8]>,
) -> bool {
    values.all(|value| {
        value.is_none_or(|value| {
            min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
        })
    })
}

/// The first characters of a bound; an upper one that was cut is raised at its last character.
pub fn cut_text(text: &str, characters_max: usize, is_upper: bool) -> Option<String> {
    let Some((end, _)) = text.char_indices().nth(characters_max) else {
        return Some(text.to_owned());
    };
    let mut kept: Vec<char> = text[..end].chars().collect();
    if !is_upper {
        return Some(kept.into_iter().collect());
    }
    while let Some(last) = kept.pop() {
        // The next code point; the surrogates' range is jumped over.
        let next = match u32::from(last) + 1 {
            0xd800..=0xdfff => Some('\u{e000}'),
            next => char::from_u32(next),
        };
        if let Some(next) = next {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int32Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::WriterProperties;

    use super::*;

    #[test]
    fn a_cut_upper_bound_is_above_every_value() {
        let long = "abcdefghijklmnopqrstuvwxyz";
        assert_eq!(cut_text(long, 16, false).unwrap(), "abcdefghijklmnop");
        assert_eq!(cut_text(long, 16, true).unwrap(), "abcdefghijklmnoq");
        assert_eq!(cut_text("short", 5, true).unwrap(), "short");
        assert_eq!(cut_text("aé\u{d7ff}tail", 3, true).unwrap(), "aé\u{e000}");
        assert_eq!(cut_text(&"\u{10ffff}".repeat(17), 16, true), None);
    }

    fn batch(numbers: [Option<i32>; 4], texts: [&str; 4], floats: [f64; 4]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int32Array::from(numbers.to_vec()));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let floats: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts), ("f", floats)]).unwrap()
    }

    /// The footer of a file of this batch, in row groups of two rows.
    fn footer(batch: &RecordBatch) -> ParquetMetaData {
        let file = tempfile::tempfile().unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(2))
            .build();
        let mut writer = ArrowWriter::try_new(&file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        ParquetMetaDataReader::new()
            .parse_and_finish(&file)
            .unwrap()
    }

    fn wrong(footer: &ParquetMetaData, batch: &RecordBatch) -> Option<String> {
        let mut check = StatisticsCheck::default();
        // Batches do not end where row groups do.
        check.add(footer, &batch.slice(0, 3));
        check.add(footer, &batch.slice(3, 1));
        check.wrong_column().map(str::to_owned)
    }

    #[test]
    fn a_value_beyond_its_row_groups_bounds_and_a_null_too_many_are_seen() {
        let numbers = [Some(1), Some(2), None, Some(9)];
        let (texts, floats) = (["a", "b", "x", "y"], [1.0, f64::NAN, -0.0, 2.0]);
        let sound = batch(numbers, texts, floats);
        let footer = footer(&sound);
        assert_eq!(wrong(&footer, &sound), None);
        // Within the bounds of the file, beyond those of its row group.
        let cases = [
            (batch([Some(1), Some(3), None, Some(9)], texts, floats), "n"),
            (batch([Some(1), Some(2), None, None], texts, floats), "n"),
            (
                batch([Some(1), Some(2), Some(9), Some(9)], texts, floats),
                "n",
            ),
            (batch(numbers, ["a", "x", "x", "y"], floats), "t"),
            (batch(numbers, texts, [1.0, 1.5, -0.0, 2.0]), "f"),
        ];
        for (lying, column) in cases {
            assert_eq!(wrong(&footer, &lying).as_deref(), Some(column), "{lying:?}");
        }
    }
}
