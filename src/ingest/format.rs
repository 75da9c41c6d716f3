//! Which format a part has: the file name's extension, else the `Content-Type` header, else the
//! `content_type` query parameter, else the first decoded bytes. Saying nothing (`application/octet-stream`)
//! moves on to the next; saying something that is not supported is refused, and so is content that is surely something else.

use crate::domain::PartKind;
use crate::error::{Error, ErrorCode, Result};

use super::codec;

/// Bytes that are enough to recognise a format.
pub const SNIFF_BYTES: usize = 512;

/// What the request says about the format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `x-file-name`, base name.
    pub file_name: Option<String>,
    /// `Content-Type` header.
    pub content_type: Option<String>,
    /// `content_type` query parameter.
    pub content_type_parameter: Option<String>,
}

/// The format of a part whose decoded bytes start like this.
pub fn detect(hints: &Hints, first_bytes: &[u8]) -> Result<PartKind> {
    if let Some(what) = other_content(first_bytes) {
        return Err(Error::new(
            ErrorCode::UnsupportedFormat,
            format!(
                "The file is {what}, and none of the supported formats: CSV, TSV, NDJSON, Parquet. Export its data in one of them."
            ),
        ));
    }
    if let Some(kind) = hints.file_name.as_deref().and_then(from_extension) {
        return Ok(kind);
    }
    for content_type in [&hints.content_type, &hints.content_type_parameter]
        .into_iter()
        .flatten()
    {
        if let Some(kind) = from_content_type(content_type)? {
            return Ok(kind);
        }
    }
    from_content(first_bytes)
}

/// What a file is whose first bytes no supported format has, whatever its name says.
fn other_content(first_bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "a ZIP archive (as .xlsx and .ods files are)"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an old Excel workbook"),
        (b"%PDF-", "a PDF document"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"ARROW1\0\0", "an Arrow (Feather) file"),
        (b"Obj\x01", "an Avro file"),
        (b"BZh", "compressed with bzip2"),
        (b"\xFD7zXZ\0", "compressed with xz"),
        (b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive"),
    ];
    let is_start = |(start, _): &&(&[u8], &str)| first_bytes.starts_with(start);
    let found = STARTS.iter().find(is_start).map(|(_, what)| *what);
    // BZh is text too; a digit and the block's magic make it bzip2.
    found.filter(|_| !first_bytes.starts_with(b"BZh") || first_bytes.get(4..7) == Some(b"1AY"))
}

fn from_extension(file_name: &str) -> Option<PartKind> {
    let (_, name) = codec::from_file_name(file_name);
    let (_, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "csv" => Some(PartKind::Csv),
        "tsv" | "tab" => Some(PartKind::Tsv),
        "ndjson" | "jsonl" | "json" => Some(PartKind::Ndjson),
        "parquet" | "pq" => Some(PartKind::Parquet),
        _ => None,
    }
}

fn from_content_type(content_type: &str) -> Result<Option<PartKind>> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "text/csv" | "application/csv" => Ok(Some(PartKind::Csv)),
        "text/tab-separated-values" => Ok(Some(PartKind::Tsv)),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/json" => Ok(Some(PartKind::Ndjson)),
        "application/vnd.apache.parquet" | "application/parquet" | "application/x-parquet" => {
            Ok(Some(PartKind::Parquet))
        }
        // These say nothing about the format; the last is what many HTTP clients send unasked.
        ""
        | "application/octet-stream"
        | "binary/octet-stream"
        | "text/plain"
        | "application/x-www-form-urlencoded" => Ok(None),
        other => Err(unsupported(&format!("The content type `{other}`"))),
    }
}

fn from_content(first_bytes: &[u8]) -> Result<PartKind> {
    // PARE is Parquet with an encrypted footer, whose refusal says so.
    if first_bytes.starts_with(b"PAR1") || first_bytes.starts_with(b"PARE") {
        return Ok(PartKind::Parquet);
    }
    let text = first_bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(first_bytes);
    if text.contains(&0) {
        return Err(unsupported("The file's content"));
    }
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{' | b'[') => Ok(PartKind::Ndjson),
        Some(_) | None => Ok(PartKind::Csv),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedFormat,
        format!(
            "{what} is none of the supported formats: CSV, TSV, NDJSON, Parquet. Name the file with its extension in x-file-name, or set Content-Type."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hint_that_says_something_decides() {
        let hints = |name: &str, header: &str, query: &str| Hints {
            file_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            content_type: Some(header.to_owned()).filter(|header| !header.is_empty()),
            content_type_parameter: Some(query.to_owned()).filter(|query| !query.is_empty()),
        };
        let octets = "application/octet-stream";
        let cases = [
            (
                hints("x.csv", "application/x-ndjson", ""),
                "{}",
                PartKind::Csv,
            ),
            (hints("x.TSV.gz", "", ""), "{}", PartKind::Tsv),
            (
                hints("x.dat", "text/csv; charset=utf-8", ""),
                "{}",
                PartKind::Csv,
            ),
            (
                hints("x", octets, "application/x-ndjson"),
                "a,b",
                PartKind::Ndjson,
            ),
            (hints("", octets, ""), "PAR1....", PartKind::Parquet),
            (hints("", "", ""), "\u{feff} {\"a\":1}", PartKind::Ndjson),
            (hints("", "", ""), "a,b\n", PartKind::Csv),
            (hints("", "", ""), "BZh9,b\n", PartKind::Csv),
            (hints("", "", ""), "PARE....", PartKind::Parquet),
            (hints("", "", ""), "", PartKind::Csv),
        ];
        for (hints, content, expected) in cases {
            assert_eq!(
                detect(&hints, content.as_bytes()),
                Ok(expected),
                "{hints:?}"
            );
        }
        for (hints, content) in [
            (hints("", "image/png", ""), "a,b"),
            (hints("", "", ""), "\0\0\0\0"),
            (hints("x.csv", "", ""), "PK\u{3}\u{4}"),
            (hints("x.csv", "", ""), "BZh91AY&SY"),
        ] {
            let refused = detect(&hints, content.as_bytes()).unwrap_err();
            assert_eq!(refused.code, ErrorCode::UnsupportedFormat);
        }
    }
}
