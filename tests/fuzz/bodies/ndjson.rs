//! JSON: read whole and in small pieces; what is accepted is what another reader finds, value by value.

use std::collections::HashMap;
use std::io::Read;

use calve::domain::part::PartIssue;
use calve::ingest::FormatError;
use calve::ingest::ndjson::{NdjsonOptions, NdjsonReader};
use calve::ingest::raw::RawBatch;
use calve::schema::CellKind;
use serde_json::value::RawValue;

use super::allocation::bounded;
use super::table::{Batches, Drip, READER_BYTES_MAX, Table, assert_same, read_all};
use super::values;

/// By the first byte of an input.
const OPTIONS: [NdjsonOptions; 2] = [
    NdjsonOptions {
        columns_max: 64,
        field_bytes_max: 4096,
        line_bytes_max: 4096,
    },
    NdjsonOptions {
        columns_max: 3,
        field_bytes_max: 20,
        line_bytes_max: 60,
    },
];

/// See the module.
pub fn check(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let options = OPTIONS[usize::from(*choice) % OPTIONS.len()];
    let whole = bounded(READER_BYTES_MAX, || {
        NdjsonReader::new(content, options).and_then(|reader| read_all(&mut Ndjson(reader)))
    });
    for buffer_bytes in [16, 61, 4096] {
        let buffer_bytes = buffer_bytes.max(start_bytes(content));
        let drip = Drip::new(content, buffer_bytes);
        let dripped = NdjsonReader::with_buffer_bytes(drip, options, buffer_bytes)
            .and_then(|reader| read_all(&mut Ndjson(reader)));
        assert_same(&whole, &dripped, &format!("buffer of {buffer_bytes}"));
    }
    let Ok(table) = whole else {
        return;
    };
    table.assert_sound(options.columns_max, options.field_bytes_max);
    assert_says_the_same(&table, content);
    table.cells.iter().for_each(values::check_column);
}

/// The bytes of the start that tell how objects follow one another: they must fit the buffer.
fn start_bytes(content: &[u8]) -> usize {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let content = content.trim_ascii_start();
    if !content.starts_with(b"{") {
        return 0;
    }
    let line = content.iter().position(|byte| *byte == b'\n');
    let behind = line.map_or(content.len(), |line| {
        let rest = &content[line..];
        line + rest.len() - rest.trim_ascii_start().len()
    });
    behind + 1
}

/// Compares every row with the objects that serde_json finds.
fn assert_says_the_same(table: &Table, content: &[u8]) {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let records: Vec<&RawValue> = serde_json::Deserializer::from_slice(content)
        .into_iter::<&RawValue>()
        .map(|record| record.expect("what was accepted is JSON"))
        .collect();
    let records: Vec<&RawValue> = match records[..] {
        [array] if array.get().starts_with('[') => {
            serde_json::from_str(array.get()).expect("an array")
        }
        _ => records,
    };
    assert_eq!(records.len(), table.rows);
    let index: HashMap<&str, usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect();
    let is_renamed = !table.issues.is_empty();
    for (row, record) in records.iter().enumerate() {
        let object: HashMap<String, &RawValue> =
            serde_json::from_str(record.get()).expect("an object");
        let values = table
            .cells
            .iter()
            .filter(|column| column.get(row).0 != CellKind::Null)
            .count();
        let given = object
            .values()
            .filter(|value| value.get() != "null")
            .count();
        if is_renamed {
            // A map has the last of equal keys only.
            assert!(values >= given, "row {row}: a value was lost");
            continue;
        }
        assert_eq!(values, given, "row {row}");
        for (key, value) in &object {
            let column = index.get(key.as_str()).expect("a column for every key");
            assert_eq!(
                table.cells[*column].get(row),
                cell(value.get(), &mut String::new())
            );
        }
    }
}

/// The cell that a JSON value makes.
fn cell<'a>(value: &'a str, content: &'a mut String) -> (CellKind, &'a str) {
    match value.as_bytes()[0] {
        b'n' => (CellKind::Null, ""),
        b't' | b'f' => (CellKind::JsonBool, value),
        b'"' => {
            *content = serde_json::from_str(value).expect("a string");
            (CellKind::JsonString, content)
        }
        b'{' | b'[' => (CellKind::JsonNested, value),
        _ => (CellKind::JsonNumber, value),
    }
}

struct Ndjson<R>(NdjsonReader<R>);

impl<R: Read> Batches for Ndjson<R> {
    fn next(&mut self, batch: &mut RawBatch) -> Result<bool, FormatError> {
        self.0.next_batch(batch)
    }

    fn names(&self) -> &[String] {
        self.0.columns()
    }

    fn issues(&self) -> Vec<PartIssue> {
        self.0.issues()
    }
}
