//! Rows with nothing unusual in them, many at a time.
//!
//! Most rows of most files have as many fields as the header, and their fields are bare, or in quotes that hold no quote and no
//! newline. Such rows are taken from the buffer without a look at each field's surroundings. At the first row that is anything
//! else the reader goes on field by field, which is the grammar ([`super::field`]); both give the same cells for what both take.

use std::io::Read;

use super::CsvReader;
use super::dialect::{Comments, Dialect, Escape};
use super::marks::{MarkBytes, Marks};
use super::records::Records;
use super::table::COMMENT;
use crate::ingest::looks::Looks;
use crate::ingest::raw::RawBatch;
use crate::schema::evidence::CellKind;

/// Longest record that is taken whole.
const BARE_RECORD_BYTES_MAX: usize = 16 << 10;

/// What is known of a dialect's plain rows, and how often there are any.
pub(super) struct PlainRows {
    /// What ends a bare field or has no place in one.
    marks: MarkBytes,
    pub(super) looks: Looks,
}

impl PlainRows {
    pub(super) fn new(dialect: &Dialect) -> Self {
        let quote = dialect.quote.unwrap_or(dialect.delimiter);
        let has_plain_rows = dialect.escape == Escape::Doubled
            && !dialect.doubled_delimiter
            && !dialect.blank_after_delimiter;
        Self {
            marks: [dialect.delimiter, quote, b'\n', b'\r', 0],
            looks: Looks::new(has_plain_rows),
        }
    }
}

/// A field that was found, and where the next one starts.
struct Found<'a> {
    text: &'a str,
    is_quoted: bool,
    /// The byte after it: a delimiter or the start of a newline.
    end: usize,
}

impl<R: Read> CsvReader<R> {
    /// Adds the plain rows that lie whole in the buffer, up to the first other one or a full batch.
    pub(super) fn take_plain_rows(&mut self, batch: &mut RawBatch, cell_bytes: &mut usize) {
        let available = self.source.available();
        let block = &available[..available.len().min(self.plain.looks.block_bytes())];
        let whole_rows = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
        let Ok(text) = std::str::from_utf8(&block[..whole_rows]) else {
            return self.plain.looks.looked(false, false);
        };
        let (mut taken, mut rows) = (0, 0);
        let mut all_plain = whole_rows > 0;
        let mut marks = Marks::new(text.as_bytes(), self.plain.marks);
        while taken < text.len() && !batch.is_full(*cell_bytes) {
            let Some(end) = self.add_plain_row(text, taken, &mut marks, batch, cell_bytes) else {
                for column in &mut batch.columns {
                    column.truncate(batch.row_count);
                }
                all_plain = false;
                break;
            };
            taken = end;
            rows += 1;
            batch.row_count += 1;
        }
        self.source.consume(taken);
        self.row += rows;
        self.line += rows;
        self.plain.looks.looked(all_plain, rows > 0);
    }

    /// Adds the cells of one row; gives where the next one starts, or nothing when the row is not plain.
    fn add_plain_row(
        &self,
        text: &str,
        start: usize,
        marks: &mut Marks<'_>,
        batch: &mut RawBatch,
        cell_bytes: &mut usize,
    ) -> Option<usize> {
        let bytes = text.as_bytes();
        match bytes.get(start)? {
            b'\n' | b'\r' => return None,
            &COMMENT if self.dialect.comments != Comments::None => return None,
            _ => {}
        }
        let mut at = start;
        let last = batch.columns.len().checked_sub(1)?;
        for (index, column) in batch.columns.iter_mut().enumerate() {
            let field = self.plain_field(text, at, marks)?;
            let kind = match self.dialect.nulls {
                None if field.is_quoted => CellKind::Quoted,
                None if field.text.is_empty() => CellKind::Null,
                None => CellKind::Plain,
                Some(_) => self.kind(field.is_quoted, field.text),
            };
            column.push(kind, field.text);
            *cell_bytes += field.text.len();
            at = field.end + 1;
            let is_delimiter = bytes[field.end] == self.dialect.delimiter;
            if is_delimiter == (index == last) {
                return None;
            }
        }
        let is_crlf = bytes[at - 1] == b'\r' && bytes.get(at) == Some(&b'\n');
        if is_crlf {
            marks.next();
            at += 1;
        }
        Some(at)
    }

    /// Adds the next record if it lies whole in the buffer and none of its fields has a quote or anything else that takes a closer
    /// look; false, and nothing is taken, when it is another one. No newline comes next.
    pub(super) fn take_bare_record(&mut self, records: &mut Records) -> bool {
        if !self.plain.looks.are_possible() {
            return false;
        }
        let available = self.source.available();
        let near = &available[..available.len().min(BARE_RECORD_BYTES_MAX)];
        let Some(end) = memchr::memchr(b'\n', near) else {
            return false;
        };
        let bytes = available[..end].strip_suffix(b"\r");
        let bytes = bytes.unwrap_or(&available[..end]);
        let quote = self.dialect.quote.unwrap_or(b'\r');
        let delimiter = self.dialect.delimiter;
        let is_bare = bytes.len() <= self.limits.field_bytes_max
            && memchr::memchr3(quote, b'\r', 0, bytes).is_none()
            && memchr::memchr_iter(delimiter, bytes).count() < self.limits.columns_max;
        let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| is_bare) else {
            return false;
        };
        records.push_bare_record(text, delimiter, self.line);
        self.source.consume(end + 1);
        self.line += 1;
        true
    }

    /// The field that starts there; the next mark is the first one in or behind it.
    fn plain_field<'a>(
        &self,
        text: &'a str,
        start: usize,
        marks: &mut Marks<'_>,
    ) -> Option<Found<'a>> {
        let bytes = text.as_bytes();
        let mark = marks.next()?;
        if Some(bytes[mark]) != self.dialect.quote {
            let is_small = mark - start <= self.limits.field_bytes_max;
            return (bytes[mark] != 0 && is_small).then_some(Found {
                text: text.get(start..mark)?,
                is_quoted: false,
                end: mark,
            });
        }
        if mark > start {
            return None;
        }
        let closing = loop {
            let inside = marks.next()?;
            match bytes[inside] {
                b'\n' | b'\r' | 0 => return None,
                byte if Some(byte) == self.dialect.quote => break inside,
                _ => {}
            }
        };
        let end = marks.next()?;
        let content = start + 1;
        let is_plain = end == closing + 1
            && self.end_at(bytes[end]).is_some()
            && closing - content <= self.limits.field_bytes_max;
        is_plain.then_some(Found {
            text: text.get(content..closing)?,
            is_quoted: true,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::csv::CsvLimits;

    type Seen = Vec<(u64, Vec<(String, bool)>)>;

    /// All records up to the end or an error; whether there was one.
    fn records(text: &[u8], dialect: &Dialect, are_possible: bool) -> (Seen, bool) {
        let limits = CsvLimits {
            columns_max: 4,
            field_bytes_max: 12,
        };
        let mut reader = CsvReader::before_header(text, dialect.clone(), limits, 64).unwrap();
        if !are_possible {
            reader.plain.looks = Looks::new(false);
        }
        let mut records = Records::default();
        let has_failed = loop {
            match reader.next_record(&mut records) {
                Ok(true) => {}
                Ok(false) => break false,
                Err(_) => break true,
            }
        };
        let seen = records.as_slice().iter().map(|record| {
            let cells = record.cells();
            let cells = cells.map(|cell| (cell.text.to_owned(), cell.is_quoted));
            (record.line(), cells.collect())
        });
        (seen.collect(), has_failed)
    }

    proptest! {
        #[test]
        fn whole_records_are_as_field_by_field(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["a", "bc", ",", ";", "\"", "'", " ", "\n", "\r\n", "\r", "\0", "é", "\\", "#"]),
                0..40,
            ),
            quote in prop::sample::select(vec![Some(b'"'), Some(b'\''), None]),
            has_blanks in any::<bool>(),
            is_cut_character in any::<bool>(),
        ) {
            let mut text = pieces.concat().into_bytes();
            text.extend_from_slice(if is_cut_character { b"\xC3\n" } else { b"" });
            let dialect = Dialect {
                quote,
                blank_after_delimiter: has_blanks,
                ..Dialect::standard(b',')
            };
            prop_assert_eq!(records(&text, &dialect, true), records(&text, &dialect, false));
        }
    }
}
