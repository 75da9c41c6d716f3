//! Reads NDJSON, one JSON object a line, a batch of cells at a time; also one JSON array of
//! objects, and objects written over several lines or several on a line.
//!
//! Owns where a record starts and ends and which columns there are. What stands inside of a record
//! is the business of `row`; most lines are read by `plain`, faster and with the same outcome. A part whose first character is `[` is read as one array of objects. How its first
//! object is written tells whether lines hold whole objects. Blank lines are skipped. JSON is taken strictly as RFC 8259 has it.
//!
//! Columns appear in the order in which their keys are first seen, and may appear in any batch:
//! earlier rows of that batch are null there, and the caller does the same for earlier batches.
//!
//! Invariants:
//! * Memory is one buffer, one record of at most `line_bytes_max` and one batch. A batch ends early
//!   rather than hold more than [`BATCH_CELLS_MAX`] cells: a record that would widen it too far
//!   waits for the next batch.
//! * No value is lost: a key that stands again in one object makes a column of its own, `key_2`, and an empty
//!   key is named `column_N`. Both are issues of the part.
//!
//! After an error a reader is of no further use and the batch is empty.

mod plain;
mod row;
mod scan;

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::byte_source::{BUFFER_BYTES, ByteSource};
use super::error::{FormatError, FormatErrorKind};
use super::looks::Looks;
use super::raw::{BATCH_CELLS_MAX, CELL_BYTES_CEILING, RawBatch};
use crate::domain::part::PartIssue;
use row::{RowOutcome, RowSink, read_row};
use scan::ObjectScan;

/// Bytes of the first object that are looked at.
const FIRST_OBJECT_BYTES: usize = BUFFER_BYTES;

/// The limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdjsonOptions {
    /// Different keys in the whole part.
    pub columns_max: usize,
    /// Bytes of one value, as the cell holds it.
    pub field_bytes_max: usize,
    /// Bytes of one line, or of one object of an array.
    pub line_bytes_max: usize,
}

/// An NDJSON part, read from front to back.
pub struct NdjsonReader<R> {
    source: ByteSource<R>,
    options: NdjsonOptions,
    columns: ColumnIndex,
    layout: Layout,
    looks: Looks,
    /// The text of the record at hand.
    record: Vec<u8>,
    /// 1-based line and 0-based offset in the part at which `record` starts.
    record_line: u64,
    record_offset: u64,
    /// `record` did not fit the last batch any more and is the first of the next.
    record_waits: bool,
    /// Rows handed out so far.
    row: u64,
    /// 1-based line of the next byte.
    line: u64,
}

/// The columns seen so far.
#[derive(Default)]
struct ColumnIndex {
    names: Vec<String>,
    by_key: HashMap<String, usize>,
    /// The columns of the second and later times that a key stands in one object.
    by_repeated_key: HashMap<(String, u32), usize>,
    taken: HashSet<String>,
    /// Below this, all suffixes of a name are taken.
    next_suffixes: HashMap<String, usize>,
    /// The columns whose names are not their keys.
    renamed: Vec<(usize, PartIssue)>,
}

impl ColumnIndex {
    /// Adds a column named after the key; the caller remembers what it is for.
    fn add(&mut self, key: &str) {
        let wanted = match key {
            "" => format!("column_{}", self.names.len() + 1),
            _ => key.to_owned(),
        };
        let mut name = wanted.clone();
        if self.taken.contains(&name) {
            let suffix = self.next_suffixes.entry(wanted.clone()).or_insert(2);
            while self.taken.contains(&name) {
                name = format!("{wanted}_{suffix}");
                *suffix += 1;
            }
        }
        if name != key {
            let issue = match key {
                "" => format!("an empty key is named `{name}`"),
                _ => format!(
                    "the key `{key}` stands again in one object, or its name is taken; these values are in the column `{name}`"
                ),
            };
            let column = Some(name.clone());
            let issue = PartIssue { issue, column };
            self.renamed.push((self.names.len(), issue));
        }
        self.taken.insert(name.clone());
        self.names.push(name);
    }

    /// Keeps the first columns.
    fn truncate(&mut self, column_count: usize) {
        for name in self.names.drain(column_count..) {
            self.taken.remove(&name);
        }
        self.next_suffixes.clear();
        self.by_key.retain(|_, index| *index < column_count);
        self.by_repeated_key
            .retain(|_, index| *index < column_count);
        self.renamed.retain(|(index, _)| *index < column_count);
    }
}

/// How records follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Lines,
    /// One object after the other, with white space between them or not.
    Objects,
    /// Inside of an array; `first` until an object was read.
    Array {
        first: bool,
    },
    /// Behind the array.
    ArrayEnd,
}

impl<R: Read> NdjsonReader<R> {
    /// Looks at the first bytes only.
    pub fn new(read: R, options: NdjsonOptions) -> Result<Self, FormatError> {
        Self::with_buffer_bytes(read, options, BUFFER_BYTES)
    }

    /// As [`Self::new`], with a buffer of this size. It must hold all that is looked at of the first object, or
    /// another layout may be found.
    pub fn with_buffer_bytes(
        read: R,
        options: NdjsonOptions,
        buffer_bytes: usize,
    ) -> Result<Self, FormatError> {
        let field_bytes_max = options.field_bytes_max.min(CELL_BYTES_CEILING);
        let line_bytes_max = options.line_bytes_max.min(CELL_BYTES_CEILING);
        let mut reader = Self {
            source: ByteSource::new(read, buffer_bytes)?,
            options: NdjsonOptions {
                field_bytes_max,
                line_bytes_max,
                ..options
            },
            columns: ColumnIndex::default(),
            layout: Layout::Lines,
            looks: Looks::new(true),
            record: Vec::new(),
            record_line: 1,
            record_offset: 0,
            record_waits: false,
            row: 0,
            line: 1,
        };
        let first = reader.skip_whitespace()?;
        reader.source.look_ahead(FIRST_OBJECT_BYTES)?;
        match first {
            Some(b'[') => {
                reader.looks = Looks::new(false);
                reader.source.consume(1);
                reader.layout = Layout::Array { first: true };
            }
            Some(b'{') if scan::breaks_lines(reader.source.available()) => {
                reader.looks = Looks::new(false);
                reader.layout = Layout::Objects;
            }
            Some(_) | None => {}
        }
        Ok(reader)
    }

    /// The columns found so far; each batch may add some at the end.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// What the sender should know about the names of the columns found so far.
    pub fn issues(&self) -> Vec<PartIssue> {
        let renamed = self.columns.renamed.iter();
        renamed.map(|(_, issue)| issue.clone()).collect()
    }

    /// Fills the batch with the next rows; false, and an empty batch, when there are none.
    pub fn next_batch(&mut self, batch: &mut RawBatch) -> Result<bool, FormatError> {
        batch.reset(self.columns.names.len(), self.row + 1);
        match self.fill_batch(batch) {
            Ok(()) => Ok(batch.row_count > 0),
            Err(error) => {
                batch.reset(self.columns.names.len(), self.row + 1);
                Err(error)
            }
        }
    }

    fn fill_batch(&mut self, batch: &mut RawBatch) -> Result<(), FormatError> {
        let mut cell_bytes = 0;
        while !batch.is_full(cell_bytes) {
            if !self.record_waits && self.looks.is_due() {
                self.source.fill()?;
                self.take_plain_rows(batch, &mut cell_bytes);
                if batch.is_full(cell_bytes) {
                    break;
                }
            }
            if !self.next_record()? {
                break;
            }
            let text = std::str::from_utf8(&self.record).map_err(|error| {
                let reason =
                    "the line holds bytes that are not valid UTF-8; save the file as UTF-8";
                self.placed(
                    FormatError::malformed(reason)
                        .at_byte(self.record_offset + error.valid_up_to() as u64),
                )
            })?;
            if memchr::memchr(0, text.as_bytes()).is_some() {
                let reason = "a NUL byte is not JSON; if the file is UTF-16, save it as UTF-8";
                return Err(self.placed(FormatError::malformed(reason)));
            }
            let mut sink = RowSink::new(batch, &mut self.columns, &self.options);
            match read_row(text, &mut sink) {
                Ok(RowOutcome::Added { cell_bytes: added }) => cell_bytes += added,
                Ok(RowOutcome::BatchTooWide) => {
                    self.record_waits = true;
                    break;
                }
                Err(mut error) => {
                    // Known inside of the record only as an offset from its start.
                    if let Some(byte) = &mut error.byte {
                        let before = usize::try_from(*byte)
                            .unwrap_or(usize::MAX)
                            .min(self.record.len());
                        self.record_line +=
                            memchr::memchr_iter(b'\n', &self.record[..before]).count() as u64;
                        *byte += self.record_offset;
                    }
                    return Err(self.placed(error));
                }
            }
            self.row += 1;
            batch.row_count += 1;
        }
        for column in &mut batch.columns {
            column.fill_nulls(batch.row_count);
        }
        Ok(())
    }

    /// Makes `record` the next record; false at the end of the part.
    fn next_record(&mut self) -> Result<bool, FormatError> {
        if std::mem::take(&mut self.record_waits) {
            return Ok(true);
        }
        self.record.clear();
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Objects => match self.skip_whitespace()? {
                None => Ok(false),
                Some(b'{') => self.take_object(),
                Some(_) => Err(self.element_error(
                    "after an object stands something that is not one; send one object after the other, best one a line",
                )),
            },
            Layout::Array { first } => self.next_element(first),
            Layout::ArrayEnd => Ok(false),
        }
    }

    /// The next line that is not blank, without its newline.
    fn next_line(&mut self) -> Result<bool, FormatError> {
        if self.skip_whitespace()?.is_none() {
            return Ok(false);
        }
        self.start_record();
        loop {
            let available = self.source.available();
            let found = memchr::memchr(b'\n', available);
            let piece_len = found.unwrap_or(available.len());
            self.take_piece(piece_len)?;
            // The newline itself is white space before the next record.
            if found.is_some() || !self.source.fill()? {
                return Ok(true);
            }
        }
    }

    /// The next object of the array; false, and the rest of the part checked, at its end.
    fn next_element(&mut self, first: bool) -> Result<bool, FormatError> {
        let mut next = self.skip_whitespace()?;
        if next == Some(b']') {
            self.source.consume(1);
            self.layout = Layout::ArrayEnd;
            return match self.skip_whitespace()? {
                None => Ok(false),
                Some(_) => Err(self.element_error("something follows the end of the JSON array")),
            };
        }
        if !first {
            if next.is_some_and(|byte| byte != b',') {
                return Err(self
                    .element_error("a comma or `]` is missing after an object of the JSON array"));
            }
            self.source.consume(1);
            next = self.skip_whitespace()?;
        }
        self.layout = Layout::Array { first: false };
        match next {
            Some(b'{') => {}
            None => {
                return Err(self.element_error(
                    "the file ends inside of the JSON array; if a client split the file, send it whole or as NDJSON, \
                     one object a line",
                ));
            }
            Some(_) => {
                return Err(self.element_error(
                    "an element of the JSON array is not an object; send an array of objects, or NDJSON with one \
                     object a line",
                ));
            }
        }
        self.take_object()
    }

    /// Makes the object that comes next the record, however many lines it has.
    fn take_object(&mut self) -> Result<bool, FormatError> {
        self.start_record();
        let mut scan = ObjectScan::default();
        loop {
            let end = scan.feed(self.source.available());
            let piece_len = end.unwrap_or(self.source.available().len());
            self.line +=
                memchr::memchr_iter(b'\n', &self.source.available()[..piece_len]).count() as u64;
            self.take_piece(piece_len)?;
            if end.is_some() || !self.source.fill()? {
                // An object that the file ends in is refused by the parser.
                return Ok(true);
            }
        }
    }

    fn start_record(&mut self) {
        self.record_line = self.line;
        self.record_offset = self.source.offset();
    }

    /// Moves bytes at hand to the record.
    fn take_piece(&mut self, piece_len: usize) -> Result<(), FormatError> {
        if self.record.len() + piece_len > self.options.line_bytes_max {
            let reason = format!(
                "the line, or the object of an array, is larger than the {} bytes that are allowed here (parts.field_bytes_max); split it into several",
                self.options.line_bytes_max
            );
            return Err(self.placed(FormatError::new(FormatErrorKind::FieldTooLarge, reason)));
        }
        self.record
            .extend_from_slice(&self.source.available()[..piece_len]);
        self.source.consume(piece_len);
        Ok(())
    }

    /// Skips what JSON takes for white space and answers the byte after it.
    fn skip_whitespace(&mut self) -> Result<Option<u8>, FormatError> {
        while let Some(byte) = self.source.peek()? {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                other => return Ok(Some(other)),
            }
            self.source.consume(1);
        }
        Ok(None)
    }

    /// Adds the place of the record at hand, which is the next row.
    fn placed(&self, error: FormatError) -> FormatError {
        error.at_row(self.row + 1).at_line(self.record_line)
    }

    /// An error between two records.
    fn element_error(&self, reason: &str) -> FormatError {
        FormatError::malformed(reason)
            .at_row(self.row + 1)
            .at_line(self.line)
            .at_byte(self.source.offset())
    }
}

#[cfg(test)]
mod tests;
