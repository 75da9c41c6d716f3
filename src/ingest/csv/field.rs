//! The grammar of one field: where it ends, and what is in it.

use std::io::Read;
use std::ops::Range;

use super::CsvReader;
use super::dialect::Escape;
use crate::ingest::error::FormatError;

/// Most blanks around a quoted field; with more, a quote is a character like others.
const BLANKS_MAX: usize = 8;

/// One field as it was found.
pub(super) struct Field {
    place: FieldPlace,
    pub(super) quoted: bool,
    pub(super) end: FieldEnd,
    /// Offset in the part of the first byte of its content.
    pub(super) content_offset: u64,
}

/// Where the content of a field lies.
enum FieldPlace {
    /// In the buffer, at these offsets in the part.
    Buffer(Range<u64>),
    Scratch,
}

/// What a field ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldEnd {
    Delimiter,
    Record,
    Part,
}

impl<R: Read> CsvReader<R> {
    pub(super) fn read_field(&mut self, field_index: usize) -> Result<Field, FormatError> {
        self.scratch.clear();
        let mut first = self.peek(field_index)?;
        if self.dialect.doubled_delimiter && field_index > 0 {
            if first != Some(self.dialect.delimiter) {
                return Err(self.single_delimiter(field_index));
            }
            self.source.consume(1);
            first = self.peek(field_index)?;
        }
        if first == Some(b' ') {
            let is_separator = self.dialect.blank_after_delimiter && field_index > 0;
            let blanks = self.blanks_before_quote(usize::from(is_separator), field_index)?;
            self.source.consume(blanks);
            first = self.peek(field_index)?;
        }
        let field = if first.is_some() && first == self.dialect.quote {
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

    /// The blanks in front of an opening quote; else as many as belong to the delimiter.
    fn blanks_before_quote(
        &mut self,
        separators: usize,
        field_index: usize,
    ) -> Result<usize, FormatError> {
        let Some(quote) = self
            .dialect
            .quote
            .filter(|_| self.dialect.delimiter != b' ')
        else {
            return Ok(separators);
        };
        let ahead = self.ahead(BLANKS_MAX, field_index)?;
        let blanks = ahead.iter().take_while(|byte| **byte == b' ').count();
        Ok(match ahead.get(blanks) {
            Some(byte) if *byte == quote => blanks,
            _ => separators,
        })
    }

    /// Finds the end of a field without quotes and stops before its delimiter or newline.
    fn read_unquoted(&mut self, field_index: usize) -> Result<Field, FormatError> {
        let content_offset = self.source.offset();
        let delimiter = self.dialect.delimiter;
        loop {
            let available = self.source.available();
            let found = memchr::memchr3(delimiter, b'\n', b'\r', available);
            let mut piece_len = found.unwrap_or(available.len());
            let escape = match self.dialect.escape {
                Escape::Doubled => None,
                Escape::Backslash => memchr::memchr(b'\\', &available[..piece_len]),
            };
            let end = match found.map(|at| available[at]) {
                Some(byte) if byte == delimiter => FieldEnd::Delimiter,
                Some(_) => FieldEnd::Record,
                None => FieldEnd::Part,
            };
            if let Some(at) = escape {
                piece_len = at;
            }
            self.check_field_bytes(self.scratch.len() + piece_len, field_index)?;
            let is_whole = found.is_some() && escape.is_none();
            if is_whole && self.scratch.is_empty() {
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
            if escape.is_some() {
                self.take_escaped(field_index)?;
            } else if is_whole || !self.fill(field_index)? {
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
        let quote = self.dialect.quote.unwrap_or(b'"');
        let content_offset = self.source.offset();
        loop {
            let available = self.source.available();
            let found = match self.dialect.escape {
                Escape::Doubled => memchr::memchr(quote, available),
                Escape::Backslash => memchr::memchr2(quote, b'\\', available),
            };
            let piece_len = found.unwrap_or(available.len());
            self.check_field_bytes(self.scratch.len() + piece_len, field_index)?;
            let is_escape = found.is_some_and(|at| available[at] != quote);
            // Only with the byte after the quote at hand can the field stay where it is.
            let after = found.and_then(|at| available.get(at + 1)).copied();
            if let Some(end) = after.and_then(|after| self.end_at(after))
                && self.scratch.is_empty()
                && !is_escape
            {
                self.source.consume(piece_len + 1);
                let place = FieldPlace::Buffer(content_offset..content_offset + piece_len as u64);
                return Ok(Field {
                    place,
                    quoted: true,
                    end,
                    content_offset,
                });
            }
            self.move_to_scratch(piece_len);
            if found.is_none() {
                if !self.fill(field_index)? {
                    return Err(self.unclosed_quote(field_index));
                }
            } else if is_escape {
                self.take_escaped(field_index)?;
            } else {
                self.source.consume(1);
                if let Some(end) = self.end_after_quote(quote, field_index)? {
                    return Ok(Field {
                        place: FieldPlace::Scratch,
                        quoted: true,
                        end,
                        content_offset,
                    });
                }
            }
        }
    }

    /// What a field ends with at this byte, if it does.
    pub(super) fn end_at(&self, byte: u8) -> Option<FieldEnd> {
        match byte {
            b'\n' | b'\r' => Some(FieldEnd::Record),
            byte if byte == self.dialect.delimiter => Some(FieldEnd::Delimiter),
            _ => None,
        }
    }

    /// Whether a field without quotes around it has one inside. Every byte is looked at once at the most, so that fields
    /// need no look of their own.
    pub(super) fn has_bare_quote(&mut self, field: &Field) -> bool {
        let Some(quote) = self.dialect.quote else {
            return false;
        };
        let offsets = match &field.place {
            FieldPlace::Scratch => return memchr::memchr(quote, &self.scratch).is_some(),
            FieldPlace::Buffer(offsets) => offsets.clone(),
        };
        let known = &self.without_quotes;
        if known.start <= offsets.start && offsets.end <= known.end {
            return false;
        }
        let rest = self.source.since(offsets.start);
        let found = memchr::memchr(quote, rest).unwrap_or(rest.len());
        self.without_quotes = offsets.start..offsets.start + found as u64;
        self.without_quotes.end < offsets.end
    }

    /// Decides whether the quote that was just taken closes the field; if not, it is part of it.
    fn end_after_quote(
        &mut self,
        quote: u8,
        field_index: usize,
    ) -> Result<Option<FieldEnd>, FormatError> {
        let ahead = self.ahead(BLANKS_MAX, field_index)?;
        let first = ahead.first().copied();
        let blanks = ahead.iter().take_while(|byte| **byte == b' ').count();
        let after_blanks = ahead.get(blanks).copied();
        let end = match first {
            None => Some(FieldEnd::Part),
            Some(byte) => self.end_at(byte),
        };
        if end.is_some() {
            return Ok(end);
        }
        self.scratch.push(quote);
        if first == Some(quote) {
            self.source.consume(1);
            return Ok(None);
        }
        let end = match after_blanks {
            None if blanks < BLANKS_MAX => Some(FieldEnd::Part),
            None => None,
            Some(byte) => self.end_at(byte),
        };
        if end.is_some() {
            self.scratch.pop();
            self.source.consume(blanks);
        } else {
            let row = self.row;
            self.oddities.stray_quotes.note(row);
        }
        Ok(end)
    }

    /// Takes a backslash and what it escapes; before any other byte it is a backslash.
    fn take_escaped(&mut self, field_index: usize) -> Result<(), FormatError> {
        let escaped = self.ahead(2, field_index)?.get(1).copied();
        let is_special = escaped.is_some_and(|byte| {
            Some(byte) == self.dialect.quote || byte == b'\\' || self.end_at(byte).is_some()
        });
        self.source.consume(1);
        if is_special {
            self.move_to_scratch(1);
        } else {
            self.scratch.push(b'\\');
        }
        Ok(())
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

    fn peek(&mut self, field_index: usize) -> Result<Option<u8>, FormatError> {
        self.source
            .peek()
            .map_err(|error| self.placed(error, field_index))
    }

    /// The next bytes, as many as asked for if there are so many. What was found in the buffer before is lost.
    fn ahead(&mut self, byte_count: usize, field_index: usize) -> Result<&[u8], FormatError> {
        if let Err(error) = self.source.look_ahead(byte_count) {
            return Err(self.placed(error, field_index));
        }
        let available = self.source.available();
        Ok(&available[..available.len().min(byte_count)])
    }

    fn take_byte(&mut self) -> Option<u8> {
        let byte = self.source.available().first().copied();
        self.source.consume(1);
        byte
    }

    pub(super) fn field_bytes(&self, field: &Field) -> &[u8] {
        match &field.place {
            FieldPlace::Buffer(offsets) => self.source.recent(offsets.start, offsets.end),
            FieldPlace::Scratch => &self.scratch,
        }
    }

    /// The content of a field, if it is text.
    pub(super) fn field_text(
        &self,
        field: &Field,
        field_index: usize,
    ) -> Result<&str, FormatError> {
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
    pub(super) fn count_lines(&mut self, field: &Field) {
        if field.quoted || self.dialect.escape == Escape::Backslash {
            let bytes = self.field_bytes(field);
            let inside = memchr::memchr2_iter(b'\n', b'\r', bytes)
                .filter(|&at| bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'))
                .count();
            self.line += inside as u64;
        }
        self.line += u64::from(field.end == FieldEnd::Record);
    }
}
