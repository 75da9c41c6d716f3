//! CSV: found how it is written, then read whole, in small pieces, and once more as a commit reads it.

use std::io::Read;

use calve::domain::part::PartIssue;
use calve::ingest::FormatError;
use calve::ingest::charset::{self, CharsetReader};
use calve::ingest::csv::dialect::{Charset, Dialect, Given};
use calve::ingest::csv::sample::{SAMPLE_BYTES, Sample};
use calve::ingest::csv::sniff::{self, Found};
use calve::ingest::csv::{CsvLimits, CsvReader};
use calve::ingest::raw::RawBatch;

use super::allocation::bounded;
use super::table::{Batches, Drip, READER_BYTES_MAX, Table, assert_same, read_all};
use super::values;

const LIMITS: CsvLimits = CsvLimits {
    columns_max: 64,
    field_bytes_max: 4096,
};
/// Parameters that a client may give, one set for each value of an input's first byte.
const GIVEN: [&[(&str, &str)]; 12] = [
    &[],
    &[("delimiter", ";")],
    &[("delimiter", "| ")],
    &[("quote", "'")],
    &[("quote", "none")],
    &[("escape", "backslash")],
    &[("header", "false")],
    &[("header", "2"), ("skip", "1")],
    &[("encoding", "utf-16le")],
    &[("encoding", "windows-1252"), ("ragged", "pad")],
    &[("null", "-"), ("ragged", "error")],
    &[("delimiter", "tab"), ("encoding", "shift_jis")],
];

/// See the module.
pub fn check(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let mut given = Given::default();
    for (name, value) in GIVEN[usize::from(*choice) % GIVEN.len()] {
        assert_eq!(given.take(name, value), Ok(true));
    }
    // A part whose start is not in the encoding that was given is refused before it is read.
    let Ok(found) = bounded(READER_BYTES_MAX, || find(content, &given)) else {
        return;
    };
    let whole = bounded(READER_BYTES_MAX, || {
        CsvReader::new(
            CharsetReader::new(content, found.dialect.charset),
            found.dialect.clone(),
            LIMITS,
        )
        .and_then(|reader| read(reader, &found))
    });
    let (cells, record) = split(whole);
    for buffer_bytes in [16, 61, 4096] {
        let drip = Drip::new(content, buffer_bytes);
        let dripped = CsvReader::with_buffer_bytes(
            CharsetReader::new(drip, found.dialect.charset),
            found.dialect.clone(),
            LIMITS,
            buffer_bytes,
        )
        .and_then(|reader| read(reader, &found));
        assert_same(
            &cells,
            &split(dripped).0,
            &format!("buffer of {buffer_bytes}"),
        );
    }
    let (Ok(table), Some(record)) = (&cells, record) else {
        return;
    };
    table.assert_sound(LIMITS.columns_max, LIMITS.field_bytes_max);
    let again = again(content, &record);
    assert_same(&cells, &again, "with the dialect of the part's record");
    table.cells.iter().for_each(values::check_column);
}

/// As [`calve::upload`] finds it.
fn find(content: &[u8], given: &Given) -> std::io::Result<Found> {
    let start = &content[..content.len().min(SAMPLE_BYTES)];
    let charset = given.charset.unwrap_or_else(|| charset::detect(start));
    let mut bytes = Vec::new();
    CharsetReader::new(content, charset)
        .take(SAMPLE_BYTES as u64)
        .read_to_end(&mut bytes)?;
    let sample = Sample {
        is_whole: bytes.len() < SAMPLE_BYTES,
        bytes: &bytes,
    };
    let mut found = sniff::sniff(sample, b',', given);
    found.dialect.charset = charset;
    Ok(found)
}

/// A reading, with the dialect that the part's record would have.
type Reading = Result<(Table, Dialect), FormatError>;

fn read<R: Read>(reader: CsvReader<CharsetReader<R>>, found: &Found) -> Reading {
    let mut reader = Csv(reader);
    reader
        .0
        .hold_short_rows_against(found.has_data_only.clone());
    let table = read_all(&mut reader)?;
    let dialect = Dialect {
        charset: reader.0.get_ref().charset(),
        ..reader.0.dialect().clone()
    };
    Ok((table, dialect))
}

fn split(reading: Reading) -> (Result<Table, FormatError>, Option<Dialect>) {
    match reading {
        Ok((table, dialect)) => (Ok(table), Some(dialect)),
        Err(error) => (Err(error), None),
    }
}

/// As a commit reads a part: with nothing but its record.
fn again(content: &[u8], record: &Dialect) -> Result<Table, FormatError> {
    let record = serde_json::to_string(record).expect("a record");
    let dialect: Dialect = serde_json::from_str(&record).expect("a record");
    let charset: Charset = dialect.charset;
    let read = CharsetReader::new(content, charset);
    read_all(&mut Csv(CsvReader::new(read, dialect, LIMITS)?))
}

struct Csv<R>(CsvReader<R>);

impl<R: Read> Batches for Csv<R> {
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
