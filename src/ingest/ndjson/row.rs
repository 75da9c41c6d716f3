//! From the text of one JSON object to one row of cells.
//!
//! Owns the mapping of JSON values to cells: a string is its content, a number its token as
//! written, an object or array its JSON text, `null` is null. No value tree is built: `serde_json`
//! checks the grammar and lends the text of each value.
//!
//! Invariants: a row is added whole or not at all where the batch is too wide for it; an error
//! leaves a batch that is to be thrown away.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scan::nested_fault;
use super::{BATCH_CELLS_MAX, ColumnIndex, NdjsonOptions};
use crate::ingest::error::{FormatError, FormatErrorKind};
use crate::ingest::raw::{COLUMN_NAME_BYTES_MAX, RawBatch, RawColumn};
use crate::schema::evidence::CellKind;

/// What became of a row without an error.
pub(super) enum RowOutcome {
    /// All its cells are in the batch.
    Added {
        /// Bytes of the text of its cells.
        cell_bytes: usize,
    },
    /// Its new keys would make the batch too large; nothing of it is in the batch.
    BatchTooWide,
}

/// Where the cells of one row go.
pub(super) struct RowSink<'a> {
    batch: &'a mut RawBatch,
    columns: &'a mut ColumnIndex,
    options: &'a NdjsonOptions,
    columns_before: usize,
    cell_bytes: usize,
    /// Of each key that stands again, by its first column: how often it stood so far.
    times: HashMap<usize, u32>,
    /// Why the row was given up; the parser's own error is then only a means to stop it.
    stop: Option<Stop>,
}

enum Stop {
    BatchTooWide,
    Fault(FormatError),
}

/// Reads one object. A `byte` of the error counts from the start of `text`.
pub(super) fn read_row(text: &str, sink: &mut RowSink<'_>) -> Result<RowOutcome, FormatError> {
    if !text.starts_with('{') {
        return Err(not_an_object(text));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = RowSeed(sink)
        .deserialize(&mut parser)
        .and_then(|()| parser.end());
    match (sink.stop.take(), parsed) {
        (None, Ok(())) => Ok(RowOutcome::Added {
            cell_bytes: sink.cell_bytes,
        }),
        (Some(Stop::BatchTooWide), _) => {
            sink.take_back();
            Ok(RowOutcome::BatchTooWide)
        }
        (Some(Stop::Fault(error)), _) => Err(error),
        (None, Err(error)) => Err(syntax_error(text, &error)),
    }
}

impl<'a> RowSink<'a> {
    /// A sink for the row after those that the batch has.
    pub(super) fn new(
        batch: &'a mut RawBatch,
        columns: &'a mut ColumnIndex,
        options: &'a NdjsonOptions,
    ) -> Self {
        let columns_before = columns.names.len();
        Self {
            batch,
            columns,
            options,
            columns_before,
            cell_bytes: 0,
            times: HashMap::new(),
            stop: None,
        }
    }

    /// The column of a key, made if the key is new. A key that stands again in one object has a column of its own for each
    /// time, so that no value is lost.
    fn column_of(&mut self, key: &str) -> Result<usize, Stop> {
        let index = match self.columns.by_key.get(key) {
            Some(&index) => index,
            None => {
                let index = self.new_column(key)?;
                self.columns.by_key.insert(key.to_owned(), index);
                index
            }
        };
        if !self.is_filled(index) {
            return Ok(index);
        }
        let time = self.times.entry(index).or_insert(1);
        *time += 1;
        let repeated = (key.to_owned(), *time);
        if let Some(&index) = self.columns.by_repeated_key.get(&repeated) {
            return Ok(index);
        }
        let index = self.new_column(key)?;
        self.columns.by_repeated_key.insert(repeated, index);
        Ok(index)
    }

    /// Whether the row at hand has a cell in the column.
    fn is_filled(&self, index: usize) -> bool {
        self.batch.columns[index].len() > self.batch.row_count
    }

    /// A column for the key, which may be named otherwise.
    fn new_column(&mut self, key: &str) -> Result<usize, Stop> {
        let index = self.columns.names.len();
        if index >= self.options.columns_max {
            let reason = format!(
                "the file has more than the {} different keys that are allowed here; put keys that are data into a \
                 nested object or into a column of their own",
                self.options.columns_max
            );
            return Err(Stop::Fault(
                FormatError::new(FormatErrorKind::TooManyColumns, reason).in_column(key),
            ));
        }
        if key.len() > COLUMN_NAME_BYTES_MAX {
            let reason = format!(
                "a key of {} bytes is longer than the {COLUMN_NAME_BYTES_MAX} that a name may have",
                key.len()
            );
            return Err(Stop::Fault(FormatError::malformed(reason).with_value(key)));
        }
        let rows = self.batch.row_count;
        if rows > 0 && (index + 1).saturating_mul(rows + 1) > BATCH_CELLS_MAX {
            return Err(Stop::BatchTooWide);
        }
        self.columns.add(key);
        self.batch.columns.push(RawColumn::default());
        Ok(index)
    }

    /// Adds the value of a column of this row, given as its JSON text.
    fn push(&mut self, index: usize, json: &str) -> Result<(), Stop> {
        let name = &self.columns.names[index];
        let column = &mut self.batch.columns[index];
        column.fill_nulls(self.batch.row_count);
        let bytes_before = column.text_bytes();
        match json.as_bytes() {
            [b'"', content @ .., b'"'] if memchr::memchr(b'\\', content).is_none() => {
                column.push(CellKind::JsonString, &json[1..json.len() - 1]);
            }
            [b'"', ..] => {
                with_content(json, |text| column.push(CellKind::JsonString, text)).map_err(
                    |error| {
                        let reason = nested_fault(json).unwrap_or_else(|| {
                            format!("the string is not valid JSON: {}", bare_message(&error))
                        });
                        Stop::Fault(
                            FormatError::malformed(reason)
                                .in_column(name)
                                .with_value(json),
                        )
                    },
                )?;
            }
            [b'{' | b'[', ..] => {
                if let Some(fault) = nested_fault(json) {
                    return Err(Stop::Fault(
                        FormatError::malformed(fault)
                            .in_column(name)
                            .with_value(json),
                    ));
                }
                column.push(CellKind::JsonNested, json);
            }
            [b't' | b'f', ..] => column.push(CellKind::JsonBool, json),
            [b'n', ..] => column.push_null(),
            _ => column.push(CellKind::JsonNumber, json),
        }
        let field_bytes = column.text_bytes() - bytes_before;
        if field_bytes > self.options.field_bytes_max {
            let reason = format!(
                "the value is larger than the {} bytes that are allowed here (parts.field_bytes_max)",
                self.options.field_bytes_max
            );
            let error = FormatError::new(FormatErrorKind::FieldTooLarge, reason);
            return Err(Stop::Fault(error.in_column(name).with_value(json)));
        }
        self.cell_bytes += field_bytes;
        Ok(())
    }

    /// Removes what this row has added.
    fn take_back(&mut self) {
        self.columns.truncate(self.columns_before);
        self.batch.columns.truncate(self.columns_before);
        for column in &mut self.batch.columns {
            column.truncate(self.batch.row_count);
        }
    }

    fn stop<E: serde::de::Error>(&mut self, stop: Stop) -> E {
        self.stop = Some(stop);
        E::custom("stopped")
    }
}

/// Reads the object at hand into the sink.
struct RowSeed<'s, 'a>(&'s mut RowSink<'a>);

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let sink = self.0;
        loop {
            let mut column = Ok(0);
            if map
                .next_key_seed(TextSeed(|key: &str| column = sink.column_of(key)))?
                .is_none()
            {
                return Ok(());
            }
            let index = column.map_err(|stop| sink.stop::<A::Error>(stop))?;
            let json: &RawValue = map.next_value()?;
            sink.push(index, json.get())
                .map_err(|stop| sink.stop::<A::Error>(stop))?;
        }
    }
}

/// Hands the content of the JSON string that starts there to a function.
pub(super) fn with_content(json: &str, take: impl FnOnce(&str)) -> serde_json::Result<()> {
    TextSeed(take).deserialize(&mut serde_json::Deserializer::from_str(json))
}

/// Hands the content of a JSON string to a function, without a copy of its own.
struct TextSeed<F>(F);

impl<'de, F: FnOnce(&str)> DeserializeSeed<'de> for TextSeed<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<F: FnOnce(&str)> Visitor<'_> for TextSeed<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        (self.0)(text);
        Ok(())
    }
}

fn not_an_object(text: &str) -> FormatError {
    let found = match text.trim_end() {
        "null" => "null",
        "true" | "false" => "a boolean",
        other => match other.as_bytes().first() {
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => "text that is not JSON",
        },
    };
    let reason = format!(
        "expected a JSON object, found {found}; NDJSON holds one whole object on each line"
    );
    FormatError::malformed(reason).with_value(text)
}

/// What would help, where the parser's message alone does not tell.
fn hint(error: &serde_json::Error) -> &'static str {
    match bare_message(error).as_str() {
        "expected value" => {
            "; a value is text in double quotes, a number, true, false, null, an object or an array (JSON has no NaN, no \
             Infinity, no single quotes and no comments)"
        }
        "trailing comma" => "; no comma may stand before a closing bracket",
        "key must be a string" => "; keys stand in double quotes",
        message if message.starts_with("control character") => {
            "; write it as an escape, like \\n or \\u0001"
        }
        _ => "",
    }
}

fn syntax_error(text: &str, error: &serde_json::Error) -> FormatError {
    let reason = if error.is_eof() {
        "the line, or the file, ends inside of a JSON object; NDJSON holds one whole object on each line".to_owned()
    } else {
        format!(
            "the line is not a valid JSON object: {}{}",
            bare_message(error),
            hint(error)
        )
    };
    let line_start: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let byte = line_start + error.column().saturating_sub(1);
    let near = text.floor_char_boundary(byte.saturating_sub(20));
    FormatError::malformed(reason)
        .at_byte(byte as u64)
        .with_value(&text[near..])
}

/// The message without the place that the parser adds, which counts from the start of the record.
fn bare_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}
