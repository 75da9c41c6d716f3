//! Why a part cannot be read, and where.
//!
//! Owns [`FormatError`], the one error of all readers of parts. It names the place as exactly as
//! the reader knows it, so that a person can find and mend it. Decoders of compressed bodies sit
//! below the readers as `std::io::Read` and report their limits as a `FormatError` inside of a
//! `std::io::Error`; the conversion from `std::io::Error` brings it back.

use std::fmt;
use std::io;

/// Characters of a value that an error repeats.
pub const VALUE_CHARS_MAX: usize = 80;
/// Wrapped errors are opened to this depth.
const SOURCE_DEPTH_MAX: usize = 8;

/// The class of a [`FormatError`], for the layer that picks the error code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FormatErrorKind {
    /// The bytes are not what the format asks for.
    Malformed,
    /// More columns than the configuration allows.
    TooManyColumns,
    /// A field, or a line of JSON, larger than the configuration allows.
    FieldTooLarge,
    /// More bytes after decoding than the configuration allows.
    DecodedTooLarge,
    /// Reading failed below the format.
    Io,
}

/// A part that cannot be read: the reason and the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatError {
    /// The class.
    pub kind: FormatErrorKind,
    /// One clause that says what is wrong and what would help; without the place.
    pub reason: String,
    /// 1-based number of the data row; a header is not counted.
    pub row: Option<u64>,
    /// 1-based number of the physical line.
    pub line: Option<u64>,
    /// The column.
    pub column: Option<Box<str>>,
    /// The value, cut to [`VALUE_CHARS_MAX`] characters.
    pub value: Option<Box<str>>,
    /// 0-based offset of the byte in the decoded part.
    pub byte: Option<u64>,
}

impl FormatError {
    /// An error without a place.
    pub fn new(kind: FormatErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            row: None,
            line: None,
            column: None,
            value: None,
            byte: None,
        }
    }

    /// The bytes are not what the format asks for; without a place.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::new(FormatErrorKind::Malformed, reason)
    }

    /// Adds the 1-based data row.
    #[must_use]
    pub fn at_row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// Adds the 1-based physical line.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Adds the column.
    #[must_use]
    pub fn in_column(mut self, column: &str) -> Self {
        self.column = Some(column.into());
        self
    }

    /// Adds the value, cut.
    #[must_use]
    pub fn with_value(mut self, value: &str) -> Self {
        self.value = Some(cut_value(value).into());
        self
    }

    /// Adds the 0-based byte offset in the decoded part.
    #[must_use]
    pub fn at_byte(mut self, byte: u64) -> Self {
        self.byte = Some(byte);
        self
    }
}

impl fmt::Display for FormatError {
    /// The place first, then the reason: ``row 3, line 4, column `amount`, value `x`: …``.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut place = |name: &str, position: &dyn fmt::Display| {
            let written = write!(formatter, "{separator}{name} {position}");
            separator = ", ";
            written
        };
        if let Some(row) = &self.row {
            place("row", row)?;
        }
        if let Some(line) = &self.line {
            place("line", line)?;
        }
        if let Some(column) = &self.column {
            place("column", &format_args!("`{column}`"))?;
        }
        if let Some(byte) = &self.byte {
            place("byte", byte)?;
        }
        if let Some(value) = &self.value {
            place("value", &format_args!("`{}`", OnOneLine(value)))?;
        }
        if !separator.is_empty() {
            formatter.write_str(": ")?;
        }
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for FormatError {}

/// Text with its control characters escaped; quotes and backslashes stay as they are, to be found
/// in the file.
struct OnOneLine<'a>(&'a str);

impl fmt::Display for OnOneLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| match character.is_control() {
                true => write!(formatter, "{}", character.escape_debug()),
                false => write!(formatter, "{character}"),
            })
    }
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        let mut inner = error
            .get_ref()
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        for _ in 0..SOURCE_DEPTH_MAX {
            let Some(error) = inner else { break };
            if let Some(format_error) = error.downcast_ref::<Self>() {
                return format_error.clone();
            }
            inner = match error.downcast_ref::<io::Error>() {
                // The source of an io::Error skips the error that it wraps.
                Some(nested) => nested
                    .get_ref()
                    .map(|inner| inner as &(dyn std::error::Error + 'static)),
                None => error.source(),
            };
        }
        Self::new(FormatErrorKind::Io, error.to_string())
    }
}

/// The first [`VALUE_CHARS_MAX`] characters of a value, with an ellipsis if that is not all.
pub fn cut_value(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        None => value.to_owned(),
        Some(_) => value
            .chars()
            .take(VALUE_CHARS_MAX - 1)
            .chain(['…'])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_every_known_place() {
        let error = FormatError::malformed("the row has 2 fields, but the header has 3")
            .at_row(3)
            .at_line(4)
            .in_column("amount")
            .with_value("\"a\nb")
            .at_byte(17);
        assert_eq!(
            error.to_string(),
            "row 3, line 4, column `amount`, byte 17, value `\"a\\nb`: the row has 2 fields, but the header has 3"
        );
        assert_eq!(FormatError::malformed("no place").to_string(), "no place");
    }

    #[test]
    fn values_are_cut_by_characters() {
        assert_eq!(cut_value(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(cut_value(&"é".repeat(81)), format!("{}…", "é".repeat(79)));
        assert_eq!(cut_value(&"é".repeat(9000)).chars().count(), 80);
    }

    #[test]
    fn a_format_error_survives_the_way_through_io_errors() {
        let limit =
            FormatError::new(FormatErrorKind::DecodedTooLarge, "more than 5 bytes").at_byte(5);
        let once = io::Error::other(limit.clone());
        assert_eq!(FormatError::from(once), limit);
        let twice = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, limit.clone()));
        assert_eq!(FormatError::from(twice), limit);
        let plain = FormatError::from(io::Error::other("the disk is gone"));
        assert_eq!(
            (plain.kind, plain.reason.as_str()),
            (FormatErrorKind::Io, "the disk is gone")
        );
    }
}
