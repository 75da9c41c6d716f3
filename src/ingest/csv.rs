//! Reads CSV in the dialect it was found to have, a batch of cells at a time.
//!
//! Owns the grammar of records and fields (RFC 4180 and what files make of it). Quoted fields may hold delimiters,
//! newlines and doubled or escaped quotes; a record ends at LF, CRLF, a lone CR or the end of the part. Blank lines
//! are skipped, except in a file of one column, where a blank line is a row whose one field is empty. An unquoted
//! empty field is null, a quoted one is a value.
//!
//! What people write and RFC 4180 does not allow is read where only one reading makes sense, and reported:
//! * a quote inside of a quoted field that neither delimiter nor newline follows is a quote;
//! * a quote in a field that has none around it is a quote;
//! * blanks between delimiter and opening quote, or closing quote and delimiter, are nothing;
//! * a row whose last fields are missing has nulls there, if those that it has are like those of other rows; fields
//!   beyond the header that are all empty are nothing;
//! * a line that starts with `#` and is no row is a comment, in a part that was found to have them.
//!
//! Everything else is an error that names row, line and column.
//!
//! Invariants:
//! * Memory is one buffer, one field and one batch; neither the length of the part nor that of a
//!   line matters, and a field or a header beyond its limit is refused before it is stored.
//! * All text handed out is UTF-8 without NUL.
//! * With the same dialect, the same bytes give the same cells.
//!
//! After an error a reader is of no further use and the batch is empty.

pub mod dialect;
mod faults;
mod field;
mod header;
mod marks;
mod oddities;
mod plain;
mod records;
pub mod sample;
pub mod sniff;
mod table;

use std::io::Read;
use std::ops::Range;

use super::byte_source::{BUFFER_BYTES, ByteSource};
use super::error::FormatError;
use super::raw::{CELL_BYTES_CEILING, RawBatch};
use crate::domain::part::PartIssue;
use crate::schema::evidence::CellKind;
use crate::schema::text_value::is_null_word;

use dialect::{Comments, Dialect, Ragged};
use field::FieldEnd;
use header::HeaderNames;
use oddities::Oddities;
use plain::PlainRows;
use records::Records;

/// Longest line that can be a comment.
const COMMENT_BYTES_MAX: usize = 4 << 10;

/// What a part may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CsvLimits {
    /// Columns that a header may name.
    pub columns_max: usize,
    /// Bytes of one field, quotes not counted.
    pub field_bytes_max: usize,
}

/// A CSV part, read from front to back.
pub struct CsvReader<R> {
    source: ByteSource<R>,
    plain: Box<PlainRows>,
    dialect: Dialect,
    limits: CsvLimits,
    columns: Vec<String>,
    header_issues: Vec<PartIssue>,
    oddities: Oddities,
    /// What the fields of a short row are held against; empty for a part that was read before.
    has_data_only: Vec<bool>,
    /// A field that does not lie in the buffer in one piece.
    scratch: Vec<u8>,
    /// Offsets in the part between which there is no quote.
    without_quotes: Range<u64>,
    /// Data rows read so far.
    row: u64,
    /// 1-based line of the next byte to read, as far as fields are complete.
    line: u64,
    /// The last record ended with CR, so an LF right after it belongs to that.
    skip_line_feed: bool,
}

/// What stands at the start of the next record.
enum RecordStart {
    Field,
    BlankLine,
    Part,
}

impl<R: Read> CsvReader<R> {
    /// Reads the header. A part without any text has no columns.
    pub fn new(read: R, dialect: Dialect, limits: CsvLimits) -> Result<Self, FormatError> {
        Self::with_buffer_bytes(read, dialect, limits, BUFFER_BYTES)
    }

    /// As [`Self::new`], with a buffer of this size, which changes nothing of what is read.
    pub fn with_buffer_bytes(
        read: R,
        dialect: Dialect,
        limits: CsvLimits,
        buffer_bytes: usize,
    ) -> Result<Self, FormatError> {
        let mut reader = Self::before_header(read, dialect, limits, buffer_bytes)?;
        reader.skip_lines(reader.dialect.skipped_lines)?;
        reader.read_header()?;
        Ok(reader)
    }

    fn before_header(
        read: R,
        dialect: Dialect,
        limits: CsvLimits,
        buffer_bytes: usize,
    ) -> Result<Self, FormatError> {
        let buffer_bytes = match dialect.comments {
            Comments::OtherLength => buffer_bytes.max(COMMENT_BYTES_MAX),
            Comments::None | Comments::All => buffer_bytes,
        };
        let field_bytes_max = limits.field_bytes_max.min(CELL_BYTES_CEILING);
        Ok(Self {
            source: ByteSource::new(read, buffer_bytes)?,
            plain: Box::new(PlainRows::new(&dialect)),
            dialect,
            limits: CsvLimits {
                field_bytes_max,
                ..limits
            },
            columns: Vec::new(),
            header_issues: Vec::new(),
            oddities: Oddities::default(),
            has_data_only: Vec::new(),
            scratch: Vec::new(),
            without_quotes: 0..0,
            row: 0,
            line: 1,
            skip_line_feed: false,
        })
    }

    /// Has the fields of short rows held against what the columns have elsewhere.
    pub fn hold_short_rows_against(&mut self, has_data_only: Vec<bool>) {
        self.has_data_only = has_data_only;
    }

    /// The names of the columns, made unique.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What is read from.
    pub fn get_ref(&self) -> &R {
        self.source.get_ref()
    }

    /// The dialect that the part is read in.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// What the sender should know of what was read so far.
    pub fn issues(&self) -> Vec<PartIssue> {
        self.header_issues
            .iter()
            .cloned()
            .chain(self.oddities.issues())
            .collect()
    }

    /// Fills the batch with the next rows; false, and an empty batch, when there are none.
    pub fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, FormatError> {
        batch.reset(self.columns.len(), self.row + 1);
        match self.fill_batch(batch) {
            Ok(()) => Ok(batch.row_count > 0),
            Err(error) => {
                batch.reset(self.columns.len(), self.row + 1);
                Err(error)
            }
        }
    }

    fn fill_batch(&mut self, batch: &mut RawBatch) -> Result<(), FormatError> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut cell_bytes = 0;
        while !batch.is_full(cell_bytes) {
            if self.plain.looks.is_due() {
                self.take_line_feed()?;
                self.source.fill()?;
                self.take_plain_rows(batch, &mut cell_bytes);
                if batch.is_full(cell_bytes) {
                    break;
                }
            }
            match self.start_record()? {
                RecordStart::Part => break,
                RecordStart::BlankLine => {
                    if let [only_column] = batch.columns.as_mut_slice() {
                        only_column.push_null();
                        batch.row_count += 1;
                        self.row += 1;
                    }
                }
                RecordStart::Field => {
                    cell_bytes += self.read_row(batch)?;
                    batch.row_count += 1;
                }
            }
        }
        Ok(())
    }

    fn read_header(&mut self) -> Result<(), FormatError> {
        let mut rows = Records::default();
        for _ in 0..self.dialect.header_rows {
            if !self.next_record(&mut rows)? {
                break;
            }
        }
        let mut names: Vec<String> = Vec::new();
        for record in rows.as_slice().iter() {
            names.resize(names.len().max(record.len()), String::new());
            for (name, cell) in names.iter_mut().zip(record.cells()) {
                if !name.is_empty() && !cell.text.is_empty() {
                    name.push('_');
                }
                name.push_str(cell.text);
            }
        }
        if let Some(columns) = self.dialect.columns {
            if columns > self.limits.columns_max {
                return Err(self.too_many_columns());
            }
            names.resize(columns, String::new());
        }
        let mut header = HeaderNames::default();
        for name in &names {
            header.push(name.trim_matches(' '));
        }
        (self.columns, self.header_issues) = header.into_unique();
        if self.dialect.header_rows == 0 {
            // Every name was made; there is nothing to say of each.
            self.header_issues.clear();
        }
        Ok(())
    }

    /// Adds the next record that is not a blank line, whatever its length; false when there is none.
    fn next_record(&mut self, records: &mut Records) -> Result<bool, FormatError> {
        loop {
            match self.start_record()? {
                RecordStart::Part => return Ok(false),
                RecordStart::BlankLine => {}
                RecordStart::Field => break,
            }
        }
        if self.take_bare_record(records) {
            return Ok(true);
        }
        let first_line = self.line;
        for field_index in 0..self.limits.columns_max {
            let field = self.read_field(field_index)?;
            records.push_cell(self.field_text(&field, field_index)?, field.quoted);
            self.count_lines(&field);
            match field.end {
                FieldEnd::Delimiter => {}
                FieldEnd::Record | FieldEnd::Part => {
                    records.end_record(first_line);
                    return Ok(true);
                }
            }
        }
        Err(self.too_many_columns())
    }

    /// Reads one record into the columns and answers the bytes of its cells.
    fn read_row(&mut self, batch: &mut RawBatch) -> Result<usize, FormatError> {
        let first_line = self.line;
        // From here on errors name this row.
        self.row += 1;
        let mut cell_bytes = 0;
        let mut field_count = 0;
        let mut has_more_values = false;
        let quotes_before = self.oddities.quotes();
        loop {
            let field = self.read_field(field_count)?;
            if !field.quoted && self.has_bare_quote(&field) {
                self.oddities.bare_quotes.note(self.row);
            }
            let text = self.field_text(&field, field_count)?;
            if let Some(column) = batch.columns.get_mut(field_count) {
                column.push(self.kind(field.quoted, text), text);
                cell_bytes += text.len();
            } else {
                has_more_values |= field.quoted || !text.is_empty();
            }
            self.count_lines(&field);
            field_count += 1;
            match field.end {
                FieldEnd::Delimiter => {}
                FieldEnd::Record | FieldEnd::Part => break,
            }
        }
        if field_count != self.columns.len() {
            let is_clear =
                self.oddities.quotes() == quotes_before && self.is_like_other_rows(batch);
            self.accept_length(field_count, has_more_values, is_clear)
                .map_err(|error| error.at_row(self.row).at_line(first_line))?;
            for column in batch.columns.iter_mut().skip(field_count) {
                column.push_null();
            }
        }
        Ok(cell_bytes)
    }

    /// Whether the row that is being added has numbers and dates where other rows have nothing else.
    fn is_like_other_rows(&self, batch: &RawBatch) -> bool {
        let mut columns = batch.columns.iter().zip(&self.has_data_only);
        columns.all(|(column, has_data_only)| {
            let (_, text) = column.get(batch.row_count);
            !has_data_only || text.is_empty() || is_null_word(text) || table::is_datum(text)
        })
    }

    /// Decides whether it is clear what a row of another length means.
    fn accept_length(
        &mut self,
        field_count: usize,
        has_more_values: bool,
        is_clear: bool,
    ) -> Result<(), FormatError> {
        let columns = self.columns.len();
        let ends_with_delimiter = self.dialect.columns.is_some() && field_count == columns + 1;
        match self.dialect.ragged {
            _ if has_more_values => Err(self.wrong_field_count(field_count)),
            _ if ends_with_delimiter => Ok(()),
            Ragged::Error => Err(self.wrong_field_count(field_count)),
            // One field where there should be many: a title, a footer, or another delimiter.
            Ragged::WhenClear if !is_clear || (field_count == 1 && columns > 2) => {
                Err(self.wrong_field_count(field_count))
            }
            Ragged::WhenClear | Ragged::Pad => {
                let oddity = if field_count < columns {
                    &mut self.oddities.short_rows
                } else {
                    &mut self.oddities.long_rows
                };
                oddity.note(self.row);
                Ok(())
            }
        }
    }

    /// What a cell is; null words that were not given are values when others were.
    fn kind(&self, is_quoted: bool, text: &str) -> CellKind {
        match &self.dialect.nulls {
            _ if is_quoted => CellKind::Quoted,
            _ if text.is_empty() => CellKind::Null,
            None => CellKind::Plain,
            Some(nulls) if nulls.iter().any(|null| null == text) => CellKind::Null,
            Some(_) => CellKind::Quoted,
        }
    }

    /// Looks at the start of a record, takes the newline of a blank line, and leaves comments out.
    fn start_record(&mut self) -> Result<RecordStart, FormatError> {
        self.take_line_feed()?;
        loop {
            match self.source.peek()? {
                None => return Ok(RecordStart::Part),
                Some(b'\n') => break,
                Some(b'\r') => {
                    self.skip_line_feed = true;
                    break;
                }
                Some(table::COMMENT) if self.is_comment()? => {
                    self.oddities.comments.note(self.line);
                    self.skip_line()?;
                    self.take_line_feed()?;
                }
                Some(_) => return Ok(RecordStart::Field),
            }
        }
        self.source.consume(1);
        self.line += 1;
        Ok(RecordStart::BlankLine)
    }

    /// Whether the line that comes next, which starts like a comment, is one.
    fn is_comment(&mut self) -> Result<bool, FormatError> {
        match self.dialect.comments {
            _ if self.columns.is_empty() => return Ok(false),
            Comments::None => return Ok(false),
            Comments::All => return Ok(true),
            Comments::OtherLength => {}
        }
        self.source.look_ahead(COMMENT_BYTES_MAX)?;
        let ahead = self.source.available();
        let ahead = &ahead[..ahead.len().min(COMMENT_BYTES_MAX)];
        let line = match memchr::memchr2(b'\n', b'\r', ahead) {
            Some(end) => &ahead[..end],
            None if ahead.len() < COMMENT_BYTES_MAX => ahead,
            None => return Ok(false),
        };
        let width = if self.dialect.doubled_delimiter { 2 } else { 1 };
        let fields = memchr::memchr_iter(self.dialect.delimiter, line).count() / width + 1;
        let columns = self.columns.len();
        let ends_with_delimiter = self.dialect.columns.is_some() && fields == columns + 1;
        Ok(fields != columns && !ends_with_delimiter)
    }

    /// Takes the LF of a CRLF.
    fn take_line_feed(&mut self) -> Result<(), FormatError> {
        if std::mem::take(&mut self.skip_line_feed) && self.source.peek()? == Some(b'\n') {
            self.source.consume(1);
        }
        Ok(())
    }

    /// Takes so many lines, or as many as there are.
    fn skip_lines(&mut self, count: u64) -> Result<(), FormatError> {
        for _ in 0..count {
            if self.source.peek()?.is_none() {
                break;
            }
            self.skip_line()?;
        }
        Ok(())
    }

    /// Takes all up to the next newline, whatever it is.
    fn skip_line(&mut self) -> Result<(), FormatError> {
        self.take_line_feed()?;
        while self.source.fill()? {
            let available = self.source.available();
            let found = memchr::memchr2(b'\n', b'\r', available);
            let length = available.len();
            if let Some(at) = found {
                self.skip_line_feed = available[at] == b'\r';
                self.source.consume(at + 1);
                self.line += 1;
                break;
            }
            self.source.consume(length);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
