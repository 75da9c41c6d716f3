//! A column chunk of a flat column: pages, dictionary, statistics.
//!
//! Written here and not by the parquet crate because that is where most time of a conversion went: its writer takes each value
//! through hash tables and level encoders made for every kind of column. Headers of pages, the footer, and all other columns are
//! the crate's.
//!
//! **Encodings** (Parquet, "Encodings"; data pages of version 1, which every reader knows): levels as `RLE`, values as
//! `RLE_DICTIONARY` as long as they repeat, else `PLAIN`. A chunk begins with a dictionary; it is given up when nearly every value
//! is another, and takes no more when it is full.
//!
//! **Compression**: zstd, except for plain values that do not get smaller by it.

use std::sync::Arc;

use arrow_array::builder::NullBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::dictionary::{Dictionary, put_varint};
use super::value::{Extremes, Text, Value};

/// Rows after which a page ends.
const PAGE_ROWS: usize = 16 * 1024;
/// Bytes of plain values after which a page ends.
const PAGE_BYTES: usize = 512 * 1024;
/// Bytes of values, each counted as often as it comes, after which a page of their places ends: what a reader unfolds it to, and
/// what it becomes when the dictionary is given up.
const UNFOLDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a dictionary after which it takes no more values.
const DICTIONARY_BYTES_MAX: usize = 1024 * 1024;
/// Values that tell whether they repeat.
const TRIAL_VALUES: usize = 1000;
/// Bytes of a first page that tell whether packing is of use; one with nearly no values does not.
const TRIAL_BYTES: usize = 4 * 1024;
/// Bytes of numbers that are taken at once, and of an array's text beyond which its rows are taken one by one.
const PIECE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What packs pages; none for a file that is too small for it.
pub(super) type Packer = Option<Compressor<'static>>;

/// A column chunk that is being written.
pub(super) trait FlatColumn: Send {
    /// Adds rows.
    fn write(&mut self, array: &ArrayRef, packer: &mut Packer) -> Result<()>;

    /// Bytes it holds.
    fn bytes(&self) -> usize;

    /// All of its pages, and what the footer says of them.
    fn finish(self: Box<Self>, packer: &mut Packer) -> Result<(Bytes, ColumnCloseResult)>;
}

/// How the values of a flat column stand in its pages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Int32,
    Int64,
    Float64,
    Text,
}

impl Kind {
    /// That of this type, if it is one of those that are written here.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int32 | DataType::Date32 => Self::Int32,
            DataType::Int64
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Int64,
            DataType::Float64 => Self::Float64,
            DataType::Utf8 => Self::Text,
            _ => return None,
        })
    }

    /// A new column chunk.
    pub(super) fn column(self, description: ColumnDescPtr) -> Box<dyn FlatColumn> {
        match self {
            Self::Int32 => Box::new(Chunk::<Int32Type>::new(description)),
            Self::Int64 => Box::new(Chunk::<Int64Type>::new(description)),
            Self::Float64 => Box::new(Chunk::<Float64Type>::new(description)),
            Self::Text => Box::new(Chunk::<Text>::new(description)),
        }
    }
}

/// The array as the type that its pages have.
fn physical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Date32 => Arc::new(
            array
                .as_primitive::<Date32Type>()
                .reinterpret_cast::<Int32Type>(),
        ),
        DataType::Time64(TimeUnit::Microsecond) => {
            let times = array.as_primitive::<Time64MicrosecondType>();
            Arc::new(times.reinterpret_cast::<Int64Type>())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Arc::new(times.reinterpret_cast::<Int64Type>())
        }
        _ => array.clone(),
    }
}

struct Chunk<V: Value> {
    description: ColumnDescPtr,
    values: Values,
    /// The dictionary of the pages so far, when it takes no more: how many values, and all of them in `PLAIN`.
    full_dictionary: Option<(usize, Vec<u8>)>,
    validity: NullBufferBuilder,
    page_rows: usize,
    rows: u64,
    null_count: u64,
    extremes: Extremes<V>,
    /// Data pages with their headers.
    pages: TrackedWrite<Vec<u8>>,
    /// Their size before compression.
    unpacked_bytes: usize,
    has_dictionary_pages: bool,
    /// Known from the first page on.
    is_packed: Option<bool>,
}

/// The values of the page at hand.
enum Values {
    Places(Box<Dictionary>),
    Plain(Vec<u8>),
}

impl<V: Value> Chunk<V> {
    fn new(description: ColumnDescPtr) -> Self {
        Self {
            description,
            values: Values::Places(Box::default()),
            full_dictionary: None,
            validity: NullBufferBuilder::new(0),
            page_rows: 0,
            rows: 0,
            null_count: 0,
            extremes: None,
            pages: TrackedWrite::new(Vec::new()),
            unpacked_bytes: 0,
            has_dictionary_pages: false,
            is_packed: None,
        }
    }

    fn write_piece(&mut self, array: &dyn Array, packer: &mut Packer) -> Result<()> {
        match array.nulls() {
            Some(nulls) => {
                self.validity.append_buffer(nulls);
                self.null_count += nulls.null_count() as u64;
            }
            None => self.validity.append_n_non_nulls(array.len()),
        }
        self.page_rows += array.len();
        let extremes = &mut self.extremes;
        match &mut self.values {
            Values::Places(dictionary) => {
                V::for_each(array, |item| dictionary.push::<V>(item, extremes));
                let is_varied = dictionary.page_len() >= TRIAL_VALUES
                    && dictionary.len() * 4 > dictionary.page_len() * 3;
                if is_varied && !self.has_dictionary_pages {
                    self.values = Values::Plain(dictionary.page_as_plain::<V>());
                }
            }
            Values::Plain(plain) => V::for_each(array, |item| {
                V::put(item, plain);
                V::widen(extremes, item);
            }),
        }
        let is_large = match &self.values {
            Values::Places(dictionary) => {
                dictionary.plain_bytes() > DICTIONARY_BYTES_MAX
                    || dictionary.page_plain_bytes() >= UNFOLDED_BYTES_MAX
            }
            Values::Plain(plain) => plain.len() >= PAGE_BYTES,
        };
        if self.page_rows >= PAGE_ROWS || is_large {
            self.end_page(packer)?;
        }
        Ok(())
    }

    fn end_page(&mut self, packer: &mut Packer) -> Result<()> {
        if self.page_rows == 0 {
            return Ok(());
        }
        let mut page = Vec::new();
        self.end_levels(&mut page);
        let encoding = match &mut self.values {
            // Without a value there is no dictionary to refer to.
            Values::Places(dictionary) if dictionary.len() > 0 => {
                dictionary.end_page(&mut page);
                self.has_dictionary_pages = true;
                Encoding::RLE_DICTIONARY
            }
            Values::Places(_) => Encoding::PLAIN,
            Values::Plain(plain) => {
                page.append(plain);
                Encoding::PLAIN
            }
        };
        let page_bytes = check_page(page.len())?;
        let page = Page::DataPage {
            buf: self.pack(page, packer)?,
            num_values: u32::try_from(self.page_rows).map_err(too_large)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.unpacked_bytes += write_page(&mut self.pages, page, page_bytes)?;
        self.rows += self.page_rows as u64;
        self.page_rows = 0;
        if let Values::Places(dictionary) = &mut self.values
            && dictionary.plain_bytes() > DICTIONARY_BYTES_MAX
        {
            self.full_dictionary = Some(std::mem::take(dictionary).into_plain());
            self.values = Values::Plain(Vec::new());
        }
        Ok(())
    }

    /// Writes which rows of the page have a value, in a column that may have none (Parquet, "Data Pages": behind their length).
    fn end_levels(&mut self, page: &mut Vec<u8>) {
        let validity = self.validity.finish();
        if self.description.max_def_level() == 0 {
            return;
        }
        let rows = self.page_rows;
        let mut levels = Vec::new();
        let null_count = validity
            .as_ref()
            .map_or(0, |validity| validity.null_count());
        match validity {
            Some(validity) if null_count < rows && null_count > 0 => {
                // Arrow's bits are in the order of a bit-packed run.
                let bytes = rows.div_ceil(8);
                put_varint((bytes as u64) << 1 | 1, &mut levels);
                levels.extend_from_slice(&validity.buffer().as_slice()[..bytes]);
            }
            Some(_) | None => {
                put_varint((rows as u64) << 1, &mut levels);
                levels.push(u8::from(null_count == 0));
            }
        }
        let length = u32::try_from(levels.len()).unwrap_or(u32::MAX);
        page.extend_from_slice(&length.to_le_bytes());
        page.append(&mut levels);
    }

    fn pack(&mut self, bytes: Vec<u8>, packer: &mut Packer) -> Result<Bytes> {
        let Some(packer) = packer.as_mut().filter(|_| self.is_packed != Some(false)) else {
            self.is_packed = Some(false);
            return Ok(bytes.into());
        };
        let packed = packer.compress(&bytes)?;
        let is_telling = !self.has_dictionary_pages && bytes.len() >= TRIAL_BYTES;
        let is_worthwhile = !is_telling || packed.len() < bytes.len() / 20 * 19;
        if *self.is_packed.get_or_insert(is_worthwhile) {
            Ok(packed.into())
        } else {
            Ok(bytes.into())
        }
    }
}

impl<V: Value> FlatColumn for Chunk<V> {
    fn write(&mut self, array: &ArrayRef, packer: &mut Packer) -> Result<()> {
        let array = physical(array);
        let piece_rows = match array.as_string_opt::<i32>() {
            Some(text) if text.values().len() > PIECE_BYTES_MAX => 1,
            Some(_) | None => PIECE_BYTES_MAX / size_of::<u64>(),
        };
        for start in (0..array.len()).step_by(piece_rows) {
            let rows = piece_rows.min(array.len() - start);
            self.write_piece(&array.slice(start, rows), packer)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Places(dictionary) => dictionary.bytes(),
            Values::Plain(plain) => plain.len(),
        };
        let full = self.full_dictionary.as_ref();
        self.pages.bytes_written() + values + full.map_or(0, |(_, plain)| plain.len())
    }

    fn finish(mut self: Box<Self>, packer: &mut Packer) -> Result<(Bytes, ColumnCloseResult)> {
        self.end_page(packer)?;
        let mut chunk = TrackedWrite::new(Vec::new());
        let dictionary = match std::mem::replace(&mut self.values, Values::Plain(Vec::new())) {
            Values::Places(dictionary) if dictionary.len() > 0 => Some(dictionary.into_plain()),
            Values::Places(_) | Values::Plain(_) => self.full_dictionary.take(),
        };
        // A dictionary's own page is in PLAIN, too.
        let mut encodings = vec![Encoding::RLE, Encoding::PLAIN];
        if let Some((values, plain)) = dictionary {
            encodings.push(Encoding::RLE_DICTIONARY);
            let num_values = u32::try_from(values).map_err(too_large)?;
            let page_bytes = check_page(plain.len())?;
            let page = Page::DictionaryPage {
                buf: self.pack(plain, packer)?,
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            self.unpacked_bytes += write_page(&mut chunk, page, page_bytes)?;
        }
        let mut chunk = chunk.into_inner()?;
        let data_offset = chunk.len();
        chunk.append(&mut self.pages.into_inner()?);
        let signed = |number: usize| i64::try_from(number).map_err(too_large);
        let metadata = ColumnChunkMetaData::builder(self.description)
            .set_compression(match self.is_packed {
                Some(true) => Compression::ZSTD(ZstdLevel::default()),
                Some(false) | None => Compression::UNCOMPRESSED,
            })
            .set_encodings(encodings)
            .set_num_values(i64::try_from(self.rows).map_err(too_large)?)
            .set_total_compressed_size(signed(chunk.len())?)
            .set_total_uncompressed_size(signed(self.unpacked_bytes)?)
            .set_dictionary_page_offset((data_offset > 0).then_some(0))
            .set_data_page_offset(signed(data_offset)?)
            .set_statistics(V::statistics(self.extremes, self.null_count))
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: chunk.len() as u64,
            rows_written: self.rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((chunk.into(), closed))
    }
}

/// Writes a page, which had so many bytes before it was packed, behind its header; gives the size of both before that.
fn write_page(
    sink: &mut TrackedWrite<Vec<u8>>,
    page: Page,
    unpacked_bytes: usize,
) -> Result<usize> {
    let page = CompressedPage::new(page, unpacked_bytes);
    let written = SerializedPageWriter::new(sink).write_page(page)?;
    Ok(written.uncompressed_size)
}

/// A page's size, if a header can say it.
fn check_page(bytes: usize) -> Result<usize> {
    i32::try_from(bytes).map_err(too_large)?;
    Ok(bytes)
}

fn too_large(error: std::num::TryFromIntError) -> ParquetError {
    ParquetError::General(format!(
        "a column chunk has more than its header can say: {error}"
    ))
}
