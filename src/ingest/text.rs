//! CSV, TSV and NDJSON behind one face: batches of raw cells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Limits;
use super::codec::DecodedReader;
use super::csv::{CsvOptions, CsvReader};
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
    Csv(CsvReader<DecodedReader>),
    Ndjson(NdjsonReader<DecodedReader>),
}

impl TextReader {
    /// Starts reading a part of a text format.
    pub fn open(kind: PartKind, read: DecodedReader, limits: &Limits) -> Result<Self, FormatError> {
        let decoded_bytes = read.decoded_bytes();
        let csv = |delimiter| CsvOptions {
            delimiter,
            quote: b'"',
            columns_max: limits.columns_max,
            field_bytes_max: limits.field_bytes_max,
        };
        let format = match kind {
            PartKind::Csv => Format::Csv(CsvReader::new(read, csv(b','))?),
            PartKind::Tsv => Format::Csv(CsvReader::new(read, csv(b'\t'))?),
            PartKind::Ndjson => {
                let options = NdjsonOptions {
                    columns_max: limits.columns_max,
                    field_bytes_max: limits.field_bytes_max,
                    line_bytes_max: limits.field_bytes_max,
                };
                Format::Ndjson(NdjsonReader::new(read, options)?)
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

    /// Column names; NDJSON may add to them with every batch.
    pub fn columns(&self) -> &[String] {
        match &self.format {
            Format::Csv(reader) => reader.columns(),
            Format::Ndjson(reader) => reader.columns(),
        }
    }

    /// What the sender should know about the header.
    pub fn issues(&self) -> Vec<PartIssue> {
        match &self.format {
            Format::Csv(reader) => reader
                .header_issues()
                .iter()
                .map(|issue| PartIssue {
                    issue: issue.issue.clone(),
                    column: Some(issue.column.clone()),
                })
                .collect(),
            Format::Ndjson(_) => Vec::new(),
        }
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
