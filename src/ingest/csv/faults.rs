//! The errors of the CSV reader: what each says, and the place that it names.

use std::io::Read;

use super::CsvReader;
use super::field::Field;
use crate::ingest::error::{FormatError, FormatErrorKind};

impl<R: Read> CsvReader<R> {
    /// Adds what is known of the place of a field that is being read.
    pub(super) fn placed(&self, mut error: FormatError, field_index: usize) -> FormatError {
        if error.kind == FormatErrorKind::DecodedTooLarge || error.kind == FormatErrorKind::Io {
            return error;
        }
        if self.row > 0 {
            error = error.at_row(self.row);
        }
        let column = match self.columns.get(field_index) {
            Some(name) => error.in_column(name),
            None => error.in_column(&format!("column {}", field_index + 1)),
        };
        column.at_line(self.line)
    }

    pub(super) fn check_field_bytes(
        &self,
        field_bytes: usize,
        field_index: usize,
    ) -> Result<(), FormatError> {
        if field_bytes <= self.limits.field_bytes_max {
            return Ok(());
        }
        let reason = format!(
            "the field is larger than the {} bytes that are allowed here (parts.field_bytes_max); a quote that is never closed also looks like this",
            self.limits.field_bytes_max
        );
        Err(self.placed(
            FormatError::new(FormatErrorKind::FieldTooLarge, reason),
            field_index,
        ))
    }

    pub(super) fn too_many_columns(&self) -> FormatError {
        let reason = format!(
            "the header has more than the {} columns that are allowed here; check that the first line is the header and \
             that the delimiter is right",
            self.limits.columns_max
        );
        FormatError::new(FormatErrorKind::TooManyColumns, reason).at_line(self.line)
    }

    pub(super) fn wrong_field_count(&self, found: usize) -> FormatError {
        let rule = if found < self.columns.len() {
            "; with the parameter `ragged=pad` the fields that are missing are null"
        } else {
            ""
        };
        let fields = if found == 1 { "field" } else { "fields" };
        let columns = if self.columns.len() == 1 {
            "column"
        } else {
            "columns"
        };
        FormatError::malformed(format!(
            "the row has {found} {fields}, but the header has {} {columns}; put fields that hold the delimiter or a \
             newline in quotes, and write an empty field for a missing value{rule}",
            self.columns.len()
        ))
    }

    /// Half of a delimiter that is doubled elsewhere.
    pub(super) fn single_delimiter(&self, field_index: usize) -> FormatError {
        let reason = format!(
            "a single `{}` follows the field before this one, and fields end with `{}`; put fields that hold one in quotes",
            char::from(self.dialect.delimiter),
            self.dialect.delimiter_text()
        );
        self.placed(FormatError::malformed(reason), field_index)
    }

    pub(super) fn unclosed_quote(&self, field_index: usize) -> FormatError {
        let reason = "the file ends inside of a quoted field, whose closing quote is missing; a client that splits a \
                      file at newline bytes may have cut a quoted field in two, so send the file whole or split it \
                      only at newlines outside of quotes";
        let value =
            String::from_utf8_lossy(&self.scratch[..self.scratch.len().min(400)]).into_owned();
        self.placed(
            FormatError::malformed(reason).with_value(&value),
            field_index,
        )
    }

    /// A byte that cannot be part of text; `at` is its index in the content of the field.
    pub(super) fn not_text(&self, field: &Field, at: usize, field_index: usize) -> FormatError {
        let bytes = self.field_bytes(field);
        let quotes = match self.dialect.quote {
            Some(quote) if field.quoted => memchr::memchr_iter(quote, &bytes[..at]).count(),
            _ => 0,
        };
        let offset = field.content_offset + (at + quotes) as u64;
        let byte = bytes.get(at).copied().unwrap_or_default();
        let reason = match byte {
            0 => "a NUL byte is not text; if the file is UTF-16, save it as UTF-8".to_owned(),
            _ => format!(
                "{} is not valid UTF-8, and other characters before it are; save the file as UTF-8, or name its encoding in the \
                 parameter `encoding`",
                shown_byte(byte)
            ),
        };
        let value = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        self.placed(
            FormatError::malformed(reason)
                .at_byte(offset)
                .with_value(&value),
            field_index,
        )
    }
}

/// A byte as a person would name it.
pub(super) fn shown_byte(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}`", char::from(byte))
    } else {
        format!("the byte 0x{byte:02X}")
    }
}
