//! Rows with nothing unusual in them, many at a time.
//!
//! Most lines of most files hold one object whose keys were seen before, in the order in which they were seen. Such a row goes
//! from the buffer into the batch in one pass over its bytes: keys are compared with the expected ones, and values are taken where
//! they stand. Strings with escapes and nested values are checked by `serde_json`, one at a time. At the first row that is anything
//! else, also one that is wrong, the reader goes on with [`super::row`], which knows the grammar and every refusal; both give the
//! same cells for what both take.

use std::io::Read;

use serde_json::value::RawValue;

use super::row::with_content;
use super::scan::nested_fault;
use super::{ColumnIndex, NdjsonReader};
use crate::ingest::raw::{RawBatch, RawColumn};
use crate::schema::evidence::CellKind;

/// Columns behind the last one that a key is compared with before it is looked up.
const KEYS_AHEAD: usize = 4;

impl<R: Read> NdjsonReader<R> {
    /// Adds the plain rows that lie whole in the buffer, up to the first other one or a full batch.
    pub(super) fn take_plain_rows(&mut self, batch: &mut RawBatch, cell_bytes: &mut usize) {
        let available = self.source.available();
        let block = &available[..available.len().min(self.looks.block_bytes())];
        let whole_lines = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&block[..whole_lines]);
        let Some(mut rest) = text.ok().filter(|_| self.columns.renamed.is_empty()) else {
            return self.looks.looked(false, false);
        };
        let (mut rows, mut lines) = (0, 0);
        let mut all_plain = whole_lines > 0;
        while !batch.is_full(*cell_bytes) {
            let Some(end) = memchr::memchr(b'\n', rest.as_bytes()) else {
                break;
            };
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let object = line.strip_suffix('\r').unwrap_or(line);
            if !object.is_empty() {
                let is_small = line.len() <= self.options.line_bytes_max;
                let field_bytes_max = self.options.field_bytes_max;
                let added = is_small
                    .then(|| add_plain_row(object, &self.columns, field_bytes_max, batch))
                    .flatten();
                let Some(added) = added else {
                    for column in &mut batch.columns {
                        column.truncate(batch.row_count);
                    }
                    all_plain = false;
                    break;
                };
                *cell_bytes += added;
                batch.row_count += 1;
                rows += 1;
            }
            lines += 1;
            rest = after;
        }
        let taken = whole_lines - rest.len();
        self.source.consume(taken);
        self.row += rows;
        self.line += lines;
        self.looks.looked(all_plain, rows > 0);
    }
}

/// Adds the cells of one row; gives their bytes, or nothing when the row is not plain.
fn add_plain_row(
    object: &str,
    columns: &ColumnIndex,
    field_bytes_max: usize,
    batch: &mut RawBatch,
) -> Option<usize> {
    let bytes = object.as_bytes();
    // Without an early end, so that many bytes are looked at in one step.
    let has_control = bytes
        .iter()
        .fold(false, |found, byte| found | (*byte < b' '));
    if has_control {
        return None;
    }
    let mut at = behind(bytes, 0, b'{')?;
    let (mut expected, mut cell_bytes) = (0, 0);
    loop {
        let (index, behind_key) = key(object, behind(bytes, at, b'"')?, columns, expected)?;
        let start = behind(bytes, behind_key, b':')?;
        let column = batch.columns.get_mut(index)?;
        if column.len() > batch.row_count {
            return None;
        }
        column.fill_nulls(batch.row_count);
        let bytes_before = column.text_bytes();
        at = push_value(object, start, column)?;
        let field_bytes = column.text_bytes() - bytes_before;
        if field_bytes > field_bytes_max {
            return None;
        }
        cell_bytes += field_bytes;
        expected = index + 1;
        at = skip_blanks(bytes, at);
        if bytes.get(at)? == &b'}' {
            let is_end = skip_blanks(bytes, at + 1) == bytes.len();
            return is_end.then_some(cell_bytes);
        }
        at = behind(bytes, at, b',')?;
    }
}

/// The column of the key whose first byte is there, and where the byte behind its quote is. Only of a key that was seen before.
fn key(object: &str, at: usize, columns: &ColumnIndex, expected: usize) -> Option<(usize, usize)> {
    let rest = object.as_bytes().get(at..)?;
    let names = columns.names.get(expected..).unwrap_or_default();
    for (ahead, name) in names.iter().take(KEYS_AHEAD).enumerate() {
        if rest.get(name.len()) == Some(&b'"') && rest.starts_with(name.as_bytes()) {
            return Some((
                expected + ahead,
                skip_blanks(object.as_bytes(), at + name.len() + 1),
            ));
        }
    }
    let end = memchr::memchr2(b'"', b'\\', rest).filter(|end| rest[*end] == b'"')?;
    let index = columns.by_key.get(object.get(at..at + end)?)?;
    Some((*index, skip_blanks(object.as_bytes(), at + end + 1)))
}

/// Adds the value that starts there; gives where it ends.
fn push_value(object: &str, start: usize, column: &mut RawColumn) -> Option<usize> {
    let rest = object.as_bytes().get(start..)?;
    let (kind, length) = match rest.first()? {
        b'"' => return push_string(object, start, column),
        b'-' | b'0'..=b'9' => (CellKind::JsonNumber, number_length(rest)?),
        b't' if rest.starts_with(b"true") => (CellKind::JsonBool, 4),
        b'f' if rest.starts_with(b"false") => (CellKind::JsonBool, 5),
        b'n' if rest.starts_with(b"null") => {
            column.push_null();
            return Some(start + 4);
        }
        b'{' | b'[' => (CellKind::JsonNested, nested_length(object.get(start..)?)?),
        _ => return None,
    };
    column.push(kind, object.get(start..start + length)?);
    Some(start + length)
}

fn push_string(object: &str, start: usize, column: &mut RawColumn) -> Option<usize> {
    let bytes = object.as_bytes();
    let content = start + 1;
    let mut end = content + memchr::memchr2(b'"', b'\\', bytes.get(content..)?)?;
    if bytes[end] == b'"' {
        column.push(CellKind::JsonString, object.get(content..end)?);
        return Some(end + 1);
    }
    while bytes[end] == b'\\' {
        let behind_escape = end + 2;
        end = behind_escape + memchr::memchr2(b'"', b'\\', bytes.get(behind_escape..)?)?;
    }
    let json = object.get(start..end + 1)?;
    with_content(json, |text| column.push(CellKind::JsonString, text)).ok()?;
    Some(end + 1)
}

/// The length of the number at the front, as RFC 8259 has it.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let first = usize::from(bytes.first() == Some(&b'-'));
    let mut end = match bytes.get(first)? {
        b'0' => first + 1,
        _ => digits(first)?,
    };
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let has_sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(has_sign))?;
    }
    Some(end)
}

/// The length of the object or array at the front, if nothing is wrong with it.
fn nested_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let json = values.next()?.ok()?.get();
    nested_fault(json).is_none().then_some(json.len())
}

/// Behind this byte and blanks, if it is there.
fn behind(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then(|| match byte {
        b'"' => at + 1,
        _ => skip_blanks(bytes, at + 1),
    })
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}
