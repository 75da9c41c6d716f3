//! How a CSV part is written, and what its sender says of that.
//!
//! A [`Dialect`] is complete: with it, every reading of the part gives the same cells. It is found once, when the
//! part arrives (see [`super::sniff`]), shown in the answer, and kept in the part's record. A [`Given`] is what the
//! request's parameters say; what is given is not guessed.

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

use crate::domain::part::PartIssue;

/// Most header rows.
pub const HEADER_ROWS_MAX: u32 = 8;

/// What stands around a field that holds delimiters or newlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// A quote inside of a quoted field is written twice.
    Doubled,
    /// A quote, backslash, delimiter or newline that is meant as such has a backslash before it.
    Backslash,
}

/// What is done with a row that has not as many fields as the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// Kept where it is clear what was meant.
    #[default]
    WhenClear,
    /// Always refused.
    Error,
    /// A short row is always filled up with nulls.
    Pad,
}

/// What ends the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Newline {
    /// `\n`, or no newline at all.
    #[default]
    Lf,
    /// `\r\n`.
    Crlf,
    /// `\r`.
    Cr,
    /// More than one of them.
    Mixed,
}

impl Newline {
    /// What ends the lines of this text.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (mut lf, mut crlf, mut cr) = (0, 0, 0);
        for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
            match (bytes[at], bytes.get(at + 1)) {
                (b'\r', Some(b'\n')) => crlf += 1,
                (b'\r', _) => cr += 1,
                _ if at > 0 && bytes[at - 1] == b'\r' => {}
                _ => lf += 1,
            }
        }
        match (lf, crlf, cr) {
            (_, 0, 0) => Self::Lf,
            (0, _, 0) => Self::Crlf,
            (0, 0, _) => Self::Cr,
            _ => Self::Mixed,
        }
    }

    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lf => "lf",
            Self::Crlf => "crlf",
            Self::Cr => "cr",
            Self::Mixed => "mixed",
        }
    }
}

/// Which lines that start with `#` are comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comments {
    /// None.
    #[default]
    None,
    /// Those that have more or fewer fields than rows.
    OtherLength,
    /// All: the first column has numbers or dates.
    All,
}

/// The character encoding of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Charset {
    /// UTF-8, or Windows-1252 if the first character that is not ASCII is not UTF-8: until the reading has
    /// come across one, nobody knows.
    Undecided,
    /// Known.
    Known(&'static Encoding),
}

impl Charset {
    /// The encoding with this label (WHATWG Encoding Standard, "Names and labels").
    pub fn parse(label: &str) -> Option<Self> {
        Encoding::for_label_no_replacement(label.as_bytes()).map(Self::Known)
    }

    /// Its name in answers, lower case.
    pub fn name(self) -> String {
        match self {
            Self::Undecided => "utf-8".to_owned(),
            Self::Known(encoding) => encoding.name().to_ascii_lowercase(),
        }
    }
}

impl TryFrom<String> for Charset {
    type Error = String;

    fn try_from(label: String) -> Result<Self, String> {
        match label.as_str() {
            "" => Ok(Self::Undecided),
            label => Self::parse(label).ok_or_else(|| format!("no encoding is named `{label}`")),
        }
    }
}

impl From<Charset> for String {
    fn from(charset: Charset) -> Self {
        match charset {
            Charset::Undecided => Self::new(),
            Charset::Known(_) => charset.name(),
        }
    }
}

/// How a CSV part is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialect {
    /// Between two fields; ASCII.
    pub delimiter: u8,
    /// Whether a blank that follows a delimiter belongs to that.
    pub blank_after_delimiter: bool,
    /// Whether it takes two of them to end a field.
    #[serde(default)]
    pub doubled_delimiter: bool,
    /// Around a field; ASCII. `None` when quotes are characters like others.
    pub quote: Option<u8>,
    /// How a quote inside of quotes is written.
    pub escape: Escape,
    /// Rows that name the columns; with 0, they are named `column_1` and so on.
    pub header_rows: u32,
    /// The encoding.
    pub charset: Charset,
    /// What ends the lines; a reader takes all of them.
    pub newline: Newline,
    /// Lines before the header.
    pub skipped_lines: u64,
    /// Which lines that start with `#` are comments.
    #[serde(default)]
    pub comments: Comments,
    /// Columns, where the header does not tell: it is missing, or ends with a delimiter that every row has.
    pub columns: Option<usize>,
    /// Spellings of null instead of the usual ones.
    pub nulls: Option<Vec<String>>,
    /// What is done with rows of another length.
    pub ragged: Ragged,
}

impl Dialect {
    /// RFC 4180 with this delimiter.
    pub const fn standard(delimiter: u8) -> Self {
        Self {
            delimiter,
            blank_after_delimiter: false,
            doubled_delimiter: false,
            quote: Some(b'"'),
            escape: Escape::Doubled,
            header_rows: 1,
            charset: Charset::Undecided,
            newline: Newline::Lf,
            skipped_lines: 0,
            comments: Comments::None,
            columns: None,
            nulls: None,
            ragged: Ragged::WhenClear,
        }
    }

    /// Whether this is RFC 4180 with this delimiter, as far as it tells what the cells of a row are.
    pub fn is_standard(&self, delimiter: u8) -> bool {
        let told = Self {
            charset: self.charset,
            newline: self.newline,
            nulls: self.nulls.clone(),
            ragged: self.ragged,
            ..Self::standard(delimiter)
        };
        *self == told
    }

    /// What the sender should know of a header that nobody told us of.
    pub fn header_issue(&self) -> Option<PartIssue> {
        let issue = match self.header_rows {
            0 => "the first row was taken for data, so the columns are named column_1 and so on; if it is a header, say \
                  so with the parameter `header=true`"
                .to_owned(),
            1 => return None,
            rows => format!(
                "the first {rows} rows were taken for the header; if only one is, say so with the parameter `header=true`"
            ),
        };
        Some(PartIssue {
            issue,
            column: None,
        })
    }

    /// The delimiter as it is written.
    pub fn delimiter_text(&self) -> String {
        let delimiter = char::from(self.delimiter);
        match (self.doubled_delimiter, self.blank_after_delimiter) {
            (true, _) => format!("{delimiter}{delimiter}"),
            (false, true) => format!("{delimiter} "),
            (false, false) => delimiter.to_string(),
        }
    }
}

/// What ends a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter {
    /// The character; ASCII.
    pub byte: u8,
    /// Whether a blank after it belongs to it.
    pub blank_after: bool,
    /// Whether it takes two of them.
    pub doubled: bool,
}

impl Delimiter {
    /// One character.
    pub const fn single(byte: u8) -> Self {
        Self {
            byte,
            blank_after: false,
            doubled: false,
        }
    }
}

/// What a request says of a CSV part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The delimiter.
    pub delimiter: Option<Delimiter>,
    /// The quote; the inner `None` says that there is none.
    pub quote: Option<Option<u8>>,
    /// The escape.
    pub escape: Option<Escape>,
    /// Rows of the header.
    pub header_rows: Option<u32>,
    /// The encoding.
    pub charset: Option<Charset>,
    /// Spellings of null.
    pub nulls: Option<Vec<String>>,
    /// Lines before the header.
    pub skipped_lines: Option<u64>,
    /// What is done with rows of another length.
    pub ragged: Option<Ragged>,
}

impl Given {
    /// Takes a query parameter; `false` when its name is none of ours, an error says what its value may be.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, &'static str> {
        match name {
            "delimiter" => self.delimiter = Some(delimiter(value)?),
            "quote" => self.quote = Some(quote(value)?),
            "escape" => self.escape = Some(escape(value)?),
            "header" => self.header_rows = Some(header_rows(value)?),
            "encoding" => {
                let unknown = "Input should be the name of an encoding, like utf-8 or windows-1252";
                self.charset = Some(Charset::parse(value).ok_or(unknown)?);
            }
            "null" => self.nulls.get_or_insert_default().push(value.to_owned()),
            "skip" => {
                let refusal = "Input should be the number of lines before the header";
                self.skipped_lines = Some(value.parse::<u32>().map_err(|_| refusal)?.into());
            }
            "ragged" => {
                self.ragged = Some(match value {
                    "error" => Ragged::Error,
                    "pad" => Ragged::Pad,
                    _ => return Err("Input should be 'error' or 'pad'"),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn delimiter(value: &str) -> Result<Delimiter, &'static str> {
    let is_delimiter = |byte: u8| is_mark(byte) || matches!(byte, b'\t' | b' ');
    match *value.as_bytes() {
        _ if value == "tab" || value == "\\t" => Ok(Delimiter::single(b'\t')),
        [byte] if is_delimiter(byte) => Ok(Delimiter::single(byte)),
        [byte, b' '] if is_mark(byte) => Ok(Delimiter {
            blank_after: true,
            ..Delimiter::single(byte)
        }),
        [byte, second] if byte == second && is_delimiter(byte) => Ok(Delimiter {
            doubled: true,
            ..Delimiter::single(byte)
        }),
        _ => Err(
            "Input should be one ASCII character that is no letter or digit, perhaps twice or with a blank after it, or 'tab'",
        ),
    }
}

fn quote(value: &str) -> Result<Option<u8>, &'static str> {
    match *value.as_bytes() {
        [] => Ok(None),
        _ if value == "none" => Ok(None),
        [byte] if is_mark(byte) && byte != b'\\' => Ok(Some(byte)),
        _ => Err("Input should be one ASCII character that is no letter or digit, or 'none'"),
    }
}

fn escape(value: &str) -> Result<Escape, &'static str> {
    match value {
        "\\" | "backslash" => Ok(Escape::Backslash),
        "\"" | "'" | "doubled" => Ok(Escape::Doubled),
        _ => Err("Input should be 'doubled' or 'backslash'"),
    }
}

fn header_rows(value: &str) -> Result<u32, &'static str> {
    match value {
        "true" => Ok(1),
        "false" | "none" => Ok(0),
        number => match number.parse() {
            Ok(rows) if rows <= HEADER_ROWS_MAX => Ok(rows),
            _ => Err("Input should be 'true', 'false', or a number of rows up to 8"),
        },
    }
}

/// Whether a byte may be written between or around fields.
fn is_mark(byte: u8) -> bool {
    byte.is_ascii_punctuation() || (byte.is_ascii_control() && !matches!(byte, 0 | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_say_what_they_may_be() {
        let mut given = Given::default();
        for (name, value) in [
            ("delimiter", "; "),
            ("quote", "none"),
            ("escape", "\\"),
            ("header", "2"),
            ("encoding", "latin1"),
            ("null", "-"),
            ("null", "?"),
            ("skip", "3"),
            ("ragged", "pad"),
        ] {
            assert_eq!(given.take(name, value), Ok(true), "{name}={value}");
        }
        let expected = Given {
            delimiter: Some(Delimiter {
                blank_after: true,
                ..Delimiter::single(b';')
            }),
            quote: Some(None),
            escape: Some(Escape::Backslash),
            header_rows: Some(2),
            charset: Some(Charset::Known(encoding_rs::WINDOWS_1252)),
            nulls: Some(vec!["-".to_owned(), "?".to_owned()]),
            skipped_lines: Some(3),
            ragged: Some(Ragged::Pad),
        };
        assert_eq!(given, expected);
        assert_eq!(
            delimiter("||"),
            Ok(Delimiter {
                doubled: true,
                ..Delimiter::single(b'|')
            })
        );
        assert_eq!(given.take("part", "1"), Ok(false));
        for (name, value) in [
            ("delimiter", ""),
            ("delimiter", "ab"),
            ("delimiter", "\n"),
            ("quote", "q"),
            ("escape", "x"),
            ("header", "9"),
            ("encoding", "klingon"),
            ("skip", "-1"),
            ("ragged", "drop"),
        ] {
            assert!(given.take(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_dialect_comes_back_from_its_record() {
        let dialect = Dialect {
            charset: Charset::Known(encoding_rs::UTF_16LE),
            ..Dialect::standard(b';')
        };
        for dialect in [dialect, Dialect::standard(b',')] {
            let text = serde_json::to_string(&dialect).unwrap();
            assert_eq!(serde_json::from_str::<Dialect>(&text).unwrap(), dialect);
        }
    }
}
