//! CSV, TSV and NDJSON behind one face: batches of raw cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Limits;
use super::byte_source::BUFFER_BYTES;
use super::charset::CharsetReader;
use super::codec::DecodedReader;
use super::csv::dialect::{Charset, Dialect};
use super::csv::{CsvLimits, CsvReader};
use super::error::FormatError;
use super::ndjson::{NdjsonOptions, NdjsonReader};
use super::raw::RawBatch;
use crate::domain::PartKind;
use crate::domain::part::PartIssue;

/// A reader of one of the text formats.
pub struct TextReader {
    format: Format,
    decoded_bytes: Arc<AtomicU64>,
}

enum Format {
    Csv(CsvReader<CharsetReader<DecodedReader>>),
    Ndjson(NdjsonReader<DecodedReader>),
}

impl TextReader {
    /// Starts reading a part of a text format; of CSV in this dialect.
    pub fn open(
        kind: PartKind,
        dialect: Option<&Dialect>,
        read: DecodedReader,
        limits: &Limits,
    ) -> Result<Self, FormatError> {
        let decoded_bytes = read.decoded_bytes();
        let buffer_bytes = read.buffer_bytes(BUFFER_BYTES);
        let format = match kind {
            PartKind::Csv | PartKind::Tsv => {
                let limits = CsvLimits {
                    columns_max: limits.columns_max,
                    field_bytes_max: limits.field_bytes_max,
                };
                let dialect = dialect
                    .cloned()
                    .unwrap_or_else(|| Dialect::standard(usual_delimiter(kind)));
                let read = CharsetReader::new(read, dialect.charset);
                Format::Csv(CsvReader::with_buffer_bytes(
                    read,
                    dialect,
                    limits,
                    buffer_bytes,
                )?)
            }
            PartKind::Ndjson => {
                let options = NdjsonOptions {
                    columns_max: limits.columns_max,
                    field_bytes_max: limits.field_bytes_max,
                    line_bytes_max: limits.field_bytes_max,
                };
                Format::Ndjson(NdjsonReader::with_buffer_bytes(
                    read,
                    options,
                    buffer_bytes,
                )?)
            }
            PartKind::Parquet => {
                return Err(FormatError::malformed("Parquet is not a text format"));
            }
        };
        Ok(Self {
            format,
            decoded_bytes,
        })
    }

    /// Has rows of a CSV part that are short held against what the columns have elsewhere.
    pub fn hold_short_rows_against(&mut self, has_data_only: &[bool]) {
        if let Format::Csv(reader) = &mut self.format {
            reader.hold_short_rows_against(has_data_only.to_vec());
        }
    }

    /// Column names; NDJSON may add to them with every batch.
    pub fn columns(&self) -> &[String] {
        match &self.format {
            Format::Csv(reader) => reader.columns(),
            Format::Ndjson(reader) => reader.columns(),
        }
    }

    /// The dialect of a CSV part, with what reading it has told.
    pub fn dialect(&self) -> Option<Dialect> {
        match &self.format {
            Format::Csv(reader) => Some(Dialect {
                charset: reader.get_ref().charset(),
                ..reader.dialect().clone()
            }),
            Format::Ndjson(_) => None,
        }
    }

    /// What the sender should know of what was read so far.
    pub fn issues(&self) -> Vec<PartIssue> {
        let reader = match &self.format {
            Format::Csv(reader) => reader,
            Format::Ndjson(reader) => return reader.issues(),
        };
        let was_guessed = reader.dialect().charset == Charset::Undecided;
        let encoding = match reader.get_ref().charset() {
            Charset::Known(encoding) if was_guessed && encoding != encoding_rs::UTF_8 => {
                Some(PartIssue {
                    issue: format!(
                        "the text is not UTF-8 and was read as {}; if that is wrong, name its encoding in the parameter \
                     `encoding`",
                        encoding.name()
                    ),
                    column: None,
                })
            }
            Charset::Known(_) | Charset::Undecided => None,
        };
        reader.issues().into_iter().chain(encoding).collect()
    }

    /// The next rows; `false` at the end.
    pub fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, FormatError> {
        match &mut self.format {
            Format::Csv(reader) => reader.next_batch(batch),
            Format::Ndjson(reader) => reader.next_batch(batch),
        }
    }

    /// Bytes decoded so far.
    pub fn decoded_bytes(&self) -> u64 {
        self.decoded_bytes.load(Ordering::Relaxed)
    }
}

/// The delimiter that a format's name promises.
pub const fn usual_delimiter(kind: PartKind) -> u8 {
    match kind {
        PartKind::Tsv => b'\t',
        PartKind::Csv | PartKind::Ndjson | PartKind::Parquet => b',',
    }
}
