//! How many rows of a Parquet file may be decoded at once.
//!
//! A file of a few hundred bytes can hold thousands of rows of a megabyte each: one value in a dictionary, one page that says to repeat it.
//! What rows can take is told from the pages' headers and the longest value of each dictionary, before anything is decoded. Columns of
//! fixed size are small whatever they hold, so only those of bytes count.
//!
//! Not exact, but never too little for columns outside of lists. Inside of lists, where headers count values and not rows, a row is taken to have
//! [`NESTED_MARGIN`] times as many values as rows have on average.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::basic::Type as PhysicalType;
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::{chunk_range, read_header};

/// How many times more values than on average a row inside of a list is taken to have.
const NESTED_MARGIN: u64 = 4;
/// A dictionary up to this size is not looked into: its values cannot be longer.
const DICTIONARY_BYTES_FREE: u64 = 16 << 10;

/// parquet.thrift, `Encoding`.
const PLAIN_DICTIONARY: i64 = 2;
const DELTA_BYTE_ARRAY: i64 = 7;
const RLE_DICTIONARY: i64 = 8;

/// What a page of data gives.
#[derive(Debug, Clone, Copy)]
struct DataPage {
    values: u64,
    size: Size,
}

/// How large a page's values are.
#[derive(Debug, Clone, Copy)]
enum Size {
    /// All of them together, at the most.
    All(u64),
    /// Each, at the most.
    Each(u64),
}

impl DataPage {
    /// The most bytes that so many of its values take.
    fn bytes_of(self, values: u64) -> u64 {
        match self.size {
            Size::All(bytes) => bytes,
            Size::Each(bytes) => bytes.saturating_mul(self.values.min(values)),
        }
    }
}

/// How many rows, `rows_max` or a half, a quarter, … of them, take at most `bytes_max`; one row if even two take more. The file's
/// structure was checked.
pub fn rows_at_once(
    file: &Arc<File>,
    footer: &ParquetMetaData,
    rows_max: usize,
    bytes_max: u64,
) -> io::Result<usize> {
    let rows_of_file: u64 = footer.row_groups().iter().map(rows_of).sum();
    let columns = footer.file_metadata().schema_descr().num_columns();
    let mut unfolding = Vec::new();
    for index in 0..columns {
        let mut pages = Vec::new();
        for group in footer.row_groups() {
            if let Some(chunk) = group.columns().get(index) {
                add_pages(&mut pages, file, group, chunk)?;
            }
        }
        let descriptor = footer.file_metadata().schema_descr().column(index);
        let values_per_row = if descriptor.max_rep_level() > 0 {
            let values = pages.iter().map(|page: &DataPage| page.values).sum::<u64>();
            values
                .div_ceil(rows_of_file.max(1))
                .saturating_mul(NESTED_MARGIN)
        } else {
            1
        };
        if !pages.is_empty() {
            unfolding.push((values_per_row, pages));
        }
    }
    let bytes_of = |rows: usize| -> u64 {
        let columns = unfolding.iter().map(|(values_per_row, pages)| {
            largest_window(pages, values_per_row.saturating_mul(rows as u64))
        });
        columns.fold(0, u64::saturating_add)
    };
    let mut rows = rows_max.max(1);
    while rows > 1 && bytes_of(rows) > bytes_max {
        rows /= 2;
    }
    Ok(rows)
}

fn rows_of(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

/// The most bytes that so many values take which follow each other, wherever they begin.
fn largest_window(pages: &[DataPage], values: u64) -> u64 {
    let bytes_of = |page: &DataPage| u128::from(page.bytes_of(values));
    let (mut first, mut first_end) = (0, pages.first().map_or(0, |page| page.values));
    let (mut last_start, mut bytes, mut largest) = (0, 0, 0);
    for (last, page) in pages.iter().enumerate() {
        bytes += bytes_of(page);
        // All values between the two pages are in the window, and at least one of each.
        while first < last && last_start - first_end + 2 > values {
            bytes -= bytes_of(&pages[first]);
            first += 1;
            first_end += pages[first].values;
        }
        largest = bytes.max(largest);
        last_start += page.values;
    }
    u64::try_from(largest).unwrap_or(u64::MAX)
}

/// Adds the pages of data of a column's chunk, if its values are bytes.
fn add_pages(
    pages: &mut Vec<DataPage>,
    file: &Arc<File>,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
) -> io::Result<()> {
    let length = match chunk.column_type() {
        PhysicalType::BYTE_ARRAY => None,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            Some(u64::try_from(chunk.column_descr().type_length()).unwrap_or(0))
        }
        _ => return Ok(()),
    };
    let Ok(range) = chunk_range(chunk, file.metadata()?.len()) else {
        return Ok(());
    };
    let (mut at, mut longest) = (range.start, 0);
    let mut values_left = u64::try_from(chunk.num_values()).unwrap_or(0);
    while values_left > 0 && at < range.end {
        let Ok(header) = read_header(file, at..range.end)? else {
            break;
        };
        let is_first = at == range.start;
        at += header.header_bytes + header.compressed_bytes;
        match header.values.and_then(|values| u64::try_from(values).ok()) {
            Some(values) => {
                let size = match (header.encoding, length) {
                    (Some(PLAIN_DICTIONARY | RLE_DICTIONARY | DELTA_BYTE_ARRAY), Some(length)) => {
                        Size::Each(length)
                    }
                    (Some(PLAIN_DICTIONARY | RLE_DICTIONARY), None) => Size::Each(longest),
                    (Some(DELTA_BYTE_ARRAY), None) => Size::Each(header.uncompressed_bytes),
                    _ => Size::All(header.uncompressed_bytes),
                };
                pages.push(DataPage { values, size });
                values_left = values_left.saturating_sub(values);
            }
            None if length.is_none() => {
                longest = if is_first && header.uncompressed_bytes > DICTIONARY_BYTES_FREE {
                    longest_in_dictionary(file, group, chunk)
                } else {
                    None
                }
                .unwrap_or(header.uncompressed_bytes);
            }

            None => {}
        }
    }
    Ok(())
}

/// The longest value of the dictionary that is the chunk's first page; nothing when it cannot be read.
fn longest_in_dictionary(
    file: &Arc<File>,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
) -> Option<u64> {
    let rows = usize::try_from(rows_of(group)).ok()?;
    let mut pages = SerializedPageReader::new(file.clone(), chunk, rows, None).ok()?;
    match pages.get_next_page().ok()?? {
        Page::DictionaryPage { buf, .. } => longest_value(buf),
        Page::DataPage { .. } | Page::DataPageV2 { .. } => None,
    }
}

/// The longest of values that have their length before them; nothing if these are none.
fn longest_value(mut dictionary: Bytes) -> Option<u64> {
    let mut longest = 0;
    while dictionary.has_remaining() {
        let length = dictionary.try_get_u32_le().ok()?;
        if length as usize > dictionary.remaining() {
            return None;
        }
        dictionary.advance(length as usize);
        longest = longest.max(u64::from(length));
    }
    Some(longest)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow_array::builder::{BinaryBuilder, ListBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, Encoding, ZstdLevel};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    const MIB: usize = 1 << 20;

    fn rows_at_once_of(column: ArrayRef, properties: WriterPropertiesBuilder) -> usize {
        let properties = properties
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_dictionary_page_size_limit(8 * MIB)
            .build();
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        file.write_all(&writer.into_inner().unwrap()).unwrap();
        let file = Arc::new(file);
        let reader = SerializedFileReader::new(file.try_clone().unwrap()).unwrap();
        rows_at_once(&file, reader.metadata(), 2048, 16 * MIB as u64).unwrap()
    }

    fn dictionary(keys: Vec<i32>, values: &[&[u8]]) -> ArrayRef {
        let values = Arc::new(BinaryArray::from(values.to_vec()));
        Arc::new(DictionaryArray::<Int32Type>::new(
            Int32Array::from(keys),
            values,
        ))
    }

    #[test]
    fn rows_that_unfold_are_decoded_few_at_once() {
        let (large, small) = (vec![0; MIB], vec![1; 10]);
        let properties = WriterProperties::builder;
        // One value in a dictionary, and all rows refer to it, or only the last.
        let same = dictionary(vec![0; 3000], &[&large]);
        assert_eq!(rows_at_once_of(same, properties()), 16);
        let last = [vec![1; 2999], vec![0]].concat();
        assert_eq!(
            rows_at_once_of(dictionary(last, &[&large, &small]), properties()),
            16
        );
        // A large dictionary of small values.
        let words: Vec<Vec<u8>> = (0..20_000)
            .map(|n| format!("word {n}").into_bytes())
            .collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let column = dictionary((0..20_000).collect(), &words);
        assert_eq!(rows_at_once_of(column, properties()), 2048);
        // Pages of one large value each.
        let one_a_page = properties()
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(1)
            .set_write_batch_size(1);
        let plain: ArrayRef = Arc::new(BinaryArray::from(vec![large.as_slice(); 100]));
        assert_eq!(rows_at_once_of(plain.clone(), one_a_page), 8);
        // Values that only say how they differ from the one before.
        let delta = properties()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BYTE_ARRAY);
        assert_eq!(rows_at_once_of(plain, delta), 8);
        let small: ArrayRef = Arc::new(BinaryArray::from(vec![small.as_slice(); 100_000]));
        assert_eq!(
            rows_at_once_of(small, properties().set_dictionary_enabled(false)),
            2048
        );
    }

    #[test]
    fn rows_of_lists_are_taken_to_have_more_values_than_on_average() {
        let value = vec![0; 64 << 10];
        let mut lists = ListBuilder::new(BinaryBuilder::new());
        for _ in 0..200 {
            lists.append_value([Some(&value), Some(&value)]);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        // Of 64 KiB and eight values each, 32 rows make 16 MiB.
        assert_eq!(rows_at_once_of(lists, WriterProperties::builder()), 32);
    }
}
