//! Reads CSV as RFC 4180 has it, a batch of cells at a time.
//!
//! Owns the grammar of records and fields. Quoted fields may hold delimiters, newlines and doubled
//! quotes; a record ends at LF, CRLF, a lone CR or the end of the part; a quote inside of an
//! unquoted field is just a quote. Blank lines are skipped, except in a file of one column, where a
//! blank line is a row whose one field is empty. An unquoted empty field is null, a quoted one is a
//! value.
//!
//! Invariants:
//! * Memory is one buffer, one field and one batch; neither the length of the part nor that of a
//!   line matters, and a field or a header beyond its limit is refused before it is stored.
//! * Nothing is repaired: what the grammar does not allow is an error that names row, line and
//!   column.
//! * All text handed out is UTF-8 without NUL.
//!
//! After an error a reader is of no further use and the batch is empty.

mod faults;
mod header;

use std::io::Read;
use std::ops::Range;

use super::byte_source::{BUFFER_BYTES, ByteSource};
use super::error::{FormatError, FormatErrorKind};
use super::raw::{CELL_BYTES_CEILING, RawBatch};
use crate::schema::evidence::CellKind;

use faults::shown_byte;
pub use header::HeaderIssue;
use header::HeaderNames;

/// What the bytes are written like, and the limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CsvOptions {
    /// Between two fields.
    pub delimiter: u8,
    /// Around a field.
    pub quote: u8,
    /// Columns that a header may name.
    pub columns_max: usize,
    /// Bytes of one field, quotes not counted.
    pub field_bytes_max: usize,
}

/// A CSV part, read from front to back.
pub struct CsvReader<R> {
    source: ByteSource<R>,
    options: CsvOptions,
    columns: Vec<String>,
    header_issues: Vec<HeaderIssue>,
    /// A field that does not lie in the buffer in one piece.
    scratch: Vec<u8>,
    /// Data rows read so far.
    row: u64,
    /// 1-based line of the next byte to read, as far as fields are complete.
    line: u64,
    /// The last record ended with CR, so an LF right after it belongs to that.
    skip_line_feed: bool,
}

/// One field as it was found.
struct Field {
    place: FieldPlace,
    quoted: bool,
    end: FieldEnd,
    /// Offset in the part of the first byte of its content.
    content_offset: u64,
}

/// Where the content of a field lies.
enum FieldPlace {
    /// In the buffer, at these offsets in the part.
    Buffer(Range<u64>),
    Scratch,
}

/// What a field ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldEnd {
    Delimiter,
    Record,
    Part,
}

/// What stands at the start of the next record.
enum RecordStart {
    Field,
    BlankLine,
    Part,
}

impl<R: Read> CsvReader<R> {
    /// Reads the header. A part without any text has no columns.
    pub fn new(read: R, options: CsvOptions) -> Result<Self, FormatError> {
        Self::with_buffer_bytes(read, options, BUFFER_BYTES)
    }

    fn with_buffer_bytes(
        read: R,
        options: CsvOptions,
        buffer_bytes: usize,
    ) -> Result<Self, FormatError> {
        let field_bytes_max = options.field_bytes_max.min(CELL_BYTES_CEILING);
        let mut reader = Self {
            source: ByteSource::new(read, buffer_bytes)?,
            options: CsvOptions {
                field_bytes_max,
                ..options
            },
            columns: Vec::new(),
            header_issues: Vec::new(),
            scratch: Vec::new(),
            row: 0,
            line: 1,
            skip_line_feed: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// The names of the columns, made unique.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The names that are not as the header has them.
    pub fn header_issues(&self) -> &[HeaderIssue] {
        &self.header_issues
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
        let mut cell_bytes = 0;
        while !batch.is_full(cell_bytes) {
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
        loop {
            match self.start_record()? {
                RecordStart::Part => return Ok(()),
                RecordStart::BlankLine => {}
                RecordStart::Field => break,
            }
        }
        let mut names = HeaderNames::default();
        loop {
            if names.len() == self.options.columns_max {
                let reason = format!(
                    "the header has more than the {} columns that are allowed here; check that the first line is the \
                     header and that the delimiter is right",
                    self.options.columns_max
                );
                return Err(
                    FormatError::new(FormatErrorKind::TooManyColumns, reason).at_line(self.line)
                );
            }
            let field = self.read_field(names.len())?;
            names.push(self.field_text(&field, names.len())?);
            self.count_lines(&field);
            match field.end {
                FieldEnd::Delimiter => {}
                FieldEnd::Record | FieldEnd::Part => break,
            }
        }
        (self.columns, self.header_issues) = names.into_unique();
        Ok(())
    }

    /// Reads one record into the columns and answers the bytes of its cells.
    fn read_row(&mut self, batch: &mut RawBatch) -> Result<usize, FormatError> {
        let first_line = self.line;
        // From here on errors name this row.
        self.row += 1;
        let mut cell_bytes = 0;
        let mut field_count = 0;
        loop {
            let field = self.read_field(field_count)?;
            let text = self.field_text(&field, field_count)?;
            if let Some(column) = batch.columns.get_mut(field_count) {
                let kind = match (field.quoted, text.is_empty()) {
                    (true, _) => CellKind::Quoted,
                    (false, true) => CellKind::Null,
                    (false, false) => CellKind::Plain,
                };
                column.push(kind, text);
                cell_bytes += text.len();
            }
            self.count_lines(&field);
            field_count += 1;
            match field.end {
                FieldEnd::Delimiter => {}
                FieldEnd::Record | FieldEnd::Part => break,
            }
        }
        if field_count != self.columns.len() {
            return Err(self
                .wrong_field_count(field_count)
                .at_row(self.row)
                .at_line(first_line));
        }
        Ok(cell_bytes)
    }

    /// Looks at the start of a record and takes the newline of a blank line.
    fn start_record(&mut self) -> Result<RecordStart, FormatError> {
        if std::mem::take(&mut self.skip_line_feed) && self.source.peek()? == Some(b'\n') {
            self.source.consume(1);
        }
        match self.source.peek()? {
            None => return Ok(RecordStart::Part),
            Some(b'\n') => {}
            Some(b'\r') => self.skip_line_feed = true,
            Some(_) => return Ok(RecordStart::Field),
        }
        self.source.consume(1);
        self.line += 1;
        Ok(RecordStart::BlankLine)
    }

    fn read_field(&mut self, field_index: usize) -> Result<Field, FormatError> {
        self.scratch.clear();
        let first = self
            .source
            .peek()
            .map_err(|error| self.placed(error, field_index))?;
        let field = if first == Some(self.options.quote) {
            self.source.consume(1);
            self.read_quoted(field_index)
        } else {
            self.read_unquoted(field_index)
        }?;
        if field.end == FieldEnd::Record {
            // An LF after this CR is taken at the start of the next record: looking now could
            // replace the buffer.
            self.skip_line_feed = self.take_byte() == Some(b'\r');
        } else if field.end == FieldEnd::Delimiter {
            self.source.consume(1);
        }
        Ok(field)
    }

    /// Finds the end of a field without quotes and stops before its delimiter or newline.
    fn read_unquoted(&mut self, field_index: usize) -> Result<Field, FormatError> {
        let content_offset = self.source.offset();
        let delimiter = self.options.delimiter;
        loop {
            let available = self.source.available();
            let found = memchr::memchr3(delimiter, b'\n', b'\r', available);
            let end = match found.map(|at| available[at]) {
                Some(byte) if byte == delimiter => FieldEnd::Delimiter,
                Some(_) => FieldEnd::Record,
                None => FieldEnd::Part,
            };
            let piece_len = found.unwrap_or(available.len());
            self.check_field_bytes(self.scratch.len() + piece_len, field_index)?;
            if found.is_some() && self.scratch.is_empty() {
                self.source.consume(piece_len);
                let place = FieldPlace::Buffer(content_offset..content_offset + piece_len as u64);
                return Ok(Field {
                    place,
                    quoted: false,
                    end,
                    content_offset,
                });
            }
            self.move_to_scratch(piece_len);
            if found.is_some() || !self.fill(field_index)? {
                return Ok(Field {
                    place: FieldPlace::Scratch,
                    quoted: false,
                    end,
                    content_offset,
                });
            }
        }
    }

    /// Finds the closing quote, the opening one being taken, and stops before the delimiter or
    /// newline after it.
    fn read_quoted(&mut self, field_index: usize) -> Result<Field, FormatError> {
        let quote = self.options.quote;
        let content_offset = self.source.offset();
        loop {
            let available = self.source.available();
            let found = memchr::memchr(quote, available);
            let piece_len = found.unwrap_or(available.len());
            self.check_field_bytes(self.scratch.len() + piece_len, field_index)?;
            // Only with the byte after the quote at hand can the field stay where it is.
            match found.and_then(|at| available.get(at + 1)) {
                Some(&after) if self.scratch.is_empty() && after != quote => {
                    self.source.consume(piece_len + 1);
                    let end = self.end_after_quote(Some(after), field_index)?;
                    let place =
                        FieldPlace::Buffer(content_offset..content_offset + piece_len as u64);
                    return Ok(Field {
                        place,
                        quoted: true,
                        end,
                        content_offset,
                    });
                }
                _ => {}
            }
            self.move_to_scratch(piece_len);
            if found.is_none() {
                if !self.fill(field_index)? {
                    return Err(self.unclosed_quote(field_index));
                }
                continue;
            }
            self.source.consume(1);
            let after = self
                .source
                .peek()
                .map_err(|error| self.placed(error, field_index))?;
            if after == Some(quote) {
                self.source.consume(1);
                self.scratch.push(quote);
                continue;
            }
            let end = self.end_after_quote(after, field_index)?;
            return Ok(Field {
                place: FieldPlace::Scratch,
                quoted: true,
                end,
                content_offset,
            });
        }
    }

    fn end_after_quote(
        &self,
        after: Option<u8>,
        field_index: usize,
    ) -> Result<FieldEnd, FormatError> {
        match after {
            None => Ok(FieldEnd::Part),
            Some(b'\n' | b'\r') => Ok(FieldEnd::Record),
            Some(byte) if byte == self.options.delimiter => Ok(FieldEnd::Delimiter),
            Some(byte) => {
                let reason = format!(
                    "the closing quote of a field is followed by {}, where only the delimiter or the end of the line \
                     may stand; write a quote inside of a quoted field twice",
                    shown_byte(byte)
                );
                let error = FormatError::malformed(reason).at_byte(self.source.offset());
                Err(self.placed(error, field_index))
            }
        }
    }

    fn move_to_scratch(&mut self, byte_count: usize) {
        self.scratch
            .extend_from_slice(&self.source.available()[..byte_count]);
        self.source.consume(byte_count);
    }

    fn fill(&mut self, field_index: usize) -> Result<bool, FormatError> {
        self.source
            .fill()
            .map_err(|error| self.placed(error, field_index))
    }

    fn take_byte(&mut self) -> Option<u8> {
        let byte = self.source.available().first().copied();
        self.source.consume(1);
        byte
    }

    fn field_bytes(&self, field: &Field) -> &[u8] {
        match &field.place {
            FieldPlace::Buffer(offsets) => self.source.recent(offsets.start, offsets.end),
            FieldPlace::Scratch => &self.scratch,
        }
    }

    /// The content of a field, if it is text.
    fn field_text(&self, field: &Field, field_index: usize) -> Result<&str, FormatError> {
        let bytes = self.field_bytes(field);
        let text = std::str::from_utf8(bytes)
            .map_err(|error| self.not_text(field, error.valid_up_to(), field_index))?;
        match self
            .source
            .saw_nul()
            .then(|| memchr::memchr(0, bytes))
            .flatten()
        {
            Some(at) => Err(self.not_text(field, at, field_index)),
            None => Ok(text),
        }
    }

    /// Counts the lines that end in or after a complete field. A quoted field is on the line where
    /// it starts until then.
    fn count_lines(&mut self, field: &Field) {
        if field.quoted {
            let bytes = self.field_bytes(field);
            let inside = memchr::memchr2_iter(b'\n', b'\r', bytes)
                .filter(|&at| bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'))
                .count();
            self.line += inside as u64;
        }
        self.line += u64::from(field.end == FieldEnd::Record);
    }
}

#[cfg(test)]
pub(crate) mod tests;
