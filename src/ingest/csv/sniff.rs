//! Finds the dialect of a CSV part from its first bytes. Pure.
//!
//! 1. Every delimiter, quote and escape that occurs is tried on the start of the part, with the reader itself. The best
//!    gives most rows one length, more than one column, and cells that look like values and not like pieces of
//!    quotes.
//! 2. Lines before the first row of that length are skipped, if they are few and shorter.
//! 3. The first row is the header, unless it holds the same kind of values as the rows below it. More rows belong to
//!    it while they have words where the rows below have numbers or dates.
//!
//! What the request gives is taken as it is. What cannot be told stays as RFC 4180 has it.

use std::collections::BTreeMap;

use super::dialect::{Dialect, Escape, Given, Newline};
use super::{Cell, CsvLimits, CsvReader};
use crate::schema::text_value::{is_null_word, is_temporal, parse_boolean, parse_float64};

/// Bytes of the start of a part that are looked at.
pub const SAMPLE_BYTES: usize = 128 << 10;
/// Records that are looked at.
const RECORDS_MAX: usize = 300;
/// Fields that are looked at.
const FIELDS_MAX: usize = 20_000;
/// Delimiters, the likelier first.
const DELIMITERS: [u8; 5] = [b',', b'\t', b';', b'|', b' '];
/// How much better a less likely reading must be.
const LEAD: f64 = 1.02;
/// Header rows that are found without being told.
const HEADER_ROWS_FOUND_MAX: usize = 4;

/// The start of a part, in UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// At most [`SAMPLE_BYTES`].
    pub bytes: &'a [u8],
    /// Whether that is all of the part.
    pub is_whole: bool,
}

/// What the start of a part tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How it is written.
    pub dialect: Dialect,
    /// For every column whether it has numbers, dates, times and truth values only: what rows of another length are
    /// held against.
    pub has_data_only: Vec<bool>,
}

impl From<Dialect> for Found {
    /// For a part that was read before, so that nothing in it is unclear.
    fn from(dialect: Dialect) -> Self {
        Self {
            dialect,
            has_data_only: Vec::new(),
        }
    }
}

/// The dialect of a part that starts like this. `usual` is the delimiter that its format's name promises.
pub fn sniff(sample: Sample<'_>, usual: u8, given: &Given) -> Found {
    let mut best: Option<(f64, Reading)> = None;
    for dialect in candidates(sample, usual, given) {
        let reading = Reading::new(sample, dialect);
        if given.quote.is_none() && !reading.may_be_unquoted() {
            continue;
        }
        let score = reading.score(usual);
        if best.as_ref().is_none_or(|(best, _)| score > best * LEAD) {
            best = Some((score, reading));
        }
    }
    let Some((_, reading)) = best else {
        return Dialect::standard(usual).into();
    };
    let mut dialect = reading.dialect.clone();
    dialect.newline = newline(sample.bytes);
    if given.delimiter.is_none() {
        dialect.blank_after_delimiter = reading.has_blanks_after_delimiters();
    }
    let table = Table::of(&reading, given);
    if given.skipped_lines.is_none() {
        dialect.skipped_lines = table.skipped_lines;
    }
    dialect.header_rows = given.header_rows.unwrap_or_else(|| table.header_rows());
    dialect.columns = match dialect.header_rows {
        0 => Some(reading.length).filter(|length| *length > 0),
        _ => table.ends_with_delimiter.then(|| reading.length - 1),
    };
    let mut has_data_only = vec![false; reading.length];
    for column in table.data_columns(dialect.header_rows as usize) {
        has_data_only[column] = true;
    }
    Found {
        dialect,
        has_data_only,
    }
}

/// The ways to read a part that its bytes allow, the likeliest first.
fn candidates(sample: Sample<'_>, usual: u8, given: &Given) -> Vec<Dialect> {
    let has = |byte: u8| memchr::memchr(byte, sample.bytes).is_some();
    let base = Dialect {
        header_rows: given.header_rows.unwrap_or(1),
        skipped_lines: given.skipped_lines.unwrap_or(0),
        nulls: given.nulls.clone(),
        ragged: given.ragged.unwrap_or_default(),
        ..Dialect::standard(usual)
    };
    let delimiters = match given.delimiter {
        Some(given) => vec![given],
        None => {
            let others = DELIMITERS
                .into_iter()
                .filter(|byte| *byte != usual && has(*byte));
            std::iter::once(usual)
                .chain(others)
                .map(|byte| (byte, false))
                .collect()
        }
    };
    let quotes = match given.quote {
        Some(given) => vec![given],
        None => match (has(b'"'), has(b'\'')) {
            (false, false) => vec![Some(b'"')],
            (false, true) => vec![Some(b'"'), Some(b'\'')],
            (true, false) => vec![Some(b'"'), None],
            (true, true) => vec![Some(b'"'), Some(b'\''), None],
        },
    };
    let mut found = Vec::new();
    for (delimiter, blank_after_delimiter) in delimiters {
        for &quote in quotes.iter().filter(|quote| **quote != Some(delimiter)) {
            for &escape in escapes(sample, quote, given) {
                found.push(Dialect {
                    delimiter,
                    blank_after_delimiter,
                    quote,
                    escape,
                    ..base.clone()
                });
            }
        }
    }
    found
}

fn escapes(sample: Sample<'_>, quote: Option<u8>, given: &Given) -> &'static [Escape] {
    let is_escaped = quote.is_some_and(|quote| {
        memchr::memchr_iter(b'\\', sample.bytes).any(|at| sample.bytes.get(at + 1) == Some(&quote))
    });
    match given.escape {
        Some(Escape::Doubled) => &[Escape::Doubled],
        Some(Escape::Backslash) => &[Escape::Backslash],
        None if is_escaped => &[Escape::Doubled, Escape::Backslash],
        None => &[Escape::Doubled],
    }
}

fn newline(bytes: &[u8]) -> Newline {
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
        (_, 0, 0) => Newline::Lf,
        (0, _, 0) => Newline::Crlf,
        (0, 0, _) => Newline::Cr,
        _ => Newline::Mixed,
    }
}

/// A record and the line that it starts in.
struct Record {
    line: u64,
    cells: Vec<Cell>,
}

/// A sample, read in one dialect.
struct Reading {
    dialect: Dialect,
    records: Vec<Record>,
    /// Fields of most records.
    length: usize,
    stray_quotes: u64,
    has_failed: bool,
}

impl Reading {
    fn new(sample: Sample<'_>, dialect: Dialect) -> Self {
        let mut reading = Self {
            dialect: dialect.clone(),
            records: Vec::new(),
            length: 0,
            stray_quotes: 0,
            has_failed: false,
        };
        let limits = CsvLimits {
            columns_max: FIELDS_MAX,
            field_bytes_max: SAMPLE_BYTES,
        };
        let skipped_lines = dialect.skipped_lines;
        let Ok(mut reader) = CsvReader::before_header(sample.bytes, dialect, limits, SAMPLE_BYTES)
        else {
            return reading;
        };
        for _ in 0..skipped_lines {
            reading.has_failed |= reader.skip_line().is_err();
        }
        let mut fields = 0;
        let mut is_cut = false;
        while reading.records.len() < RECORDS_MAX && fields < FIELDS_MAX {
            let line = reader.next_line();
            match reader.next_record() {
                Ok(Some(cells)) => {
                    fields += cells.len();
                    reading.records.push(Record { line, cells });
                }
                Ok(None) => {
                    is_cut = !sample.is_whole;
                    break;
                }
                Err(_) => {
                    reading.has_failed = sample.is_whole;
                    break;
                }
            }
        }
        if is_cut && reading.records.len() > 1 {
            reading.records.pop();
        }
        reading.stray_quotes = reader.oddities.stray_quotes.count;
        reading.length = reading.most_common_length();
        reading
    }

    /// The length of most records; of rare ones, the longer.
    fn most_common_length(&self) -> usize {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.cells.len()).or_default() += 1;
        }
        let weight = |length: usize, count: usize| count * if length > 1 { 2 } else { 1 };
        let longest = counts
            .into_iter()
            .max_by_key(|(length, count)| (weight(*length, *count), *length));
        longest.map_or(0, |(length, _)| length)
    }

    /// How much this looks like a table; 0 is not at all.
    fn score(&self, usual: u8) -> f64 {
        let fitting: Vec<&Record> = self
            .records
            .iter()
            .filter(|record| record.cells.len() == self.length)
            .collect();
        if fitting.is_empty() {
            return 0.0;
        }
        let share = fitting.len() as f64 / self.records.len() as f64;
        let columns = if self.length > 1 {
            1.0 - 1.0 / self.length as f64
        } else {
            0.01
        };
        let cells = fitting.iter().flat_map(|record| &record.cells);
        let quality = cells.clone().map(quality).sum::<f64>() / cells.count().max(1) as f64;
        let mut score = share * share * columns * quality / (1.0 + 0.2 * self.stray_quotes as f64);
        if self.has_failed {
            score *= 0.1;
        }
        if self.dialect.delimiter == b' ' && !self.is_surely_a_table(&fitting) {
            score *= 0.001;
        }
        if self.dialect.delimiter == usual {
            score *= 1.05;
        }
        score
    }

    /// Whether quotes may be characters like others: several cells start with one, and none ends with one. A single
    /// one is rather a quote that is never closed, which nobody must lose rows to.
    fn may_be_unquoted(&self) -> bool {
        if self.dialect.quote.is_some() {
            return true;
        }
        let cells = || self.records.iter().flat_map(|record| &record.cells);
        cells().filter(|cell| cell.text.starts_with('"')).count() > 1
            && !cells().any(|cell| cell.text.ends_with('"'))
    }

    /// Words with blanks between them are text: only rows of one length with a column of numbers or dates are cells.
    fn is_surely_a_table(&self, fitting: &[&Record]) -> bool {
        fitting.len() == self.records.len()
            && fitting.len() > 1
            && (0..self.length).any(|column| {
                fitting[1..]
                    .iter()
                    .all(|record| is_datum(&record.cells[column].text))
            })
    }

    fn has_blanks_after_delimiters(&self) -> bool {
        let mut later = self
            .records
            .iter()
            .flat_map(|record| record.cells.iter().skip(1))
            .peekable();
        self.dialect.delimiter != b' '
            && later.peek().is_some()
            && later.all(|cell| cell.is_quoted || cell.text.starts_with(' '))
            && self
                .records
                .iter()
                .any(|record| record.cells.iter().skip(1).any(|cell| !cell.is_quoted))
    }
}

/// How much a cell looks like a value, up to 1.
fn quality(cell: &Cell) -> f64 {
    let text = cell.text.trim();
    if cell.is_quoted || text.is_empty() || is_datum(text) {
        return 1.0;
    }
    let edges = [text.bytes().next(), text.bytes().last()];
    if edges.iter().any(|edge| matches!(edge, Some(b'"' | b'\''))) {
        return 0.1;
    }
    if text
        .bytes()
        .any(|byte| matches!(byte, b'\t' | b';' | b'|' | b'"'))
    {
        return 0.5;
    }
    0.9
}

/// Whether a cell holds a number, date, time or truth value, in a wide sense: no word.
pub(super) fn is_datum(text: &str) -> bool {
    let text = text.trim();
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = text.chars().any(char::is_alphabetic);
    (has_digit && !has_letter)
        || parse_boolean(text).is_some()
        || (has_digit && (parse_float64(text).is_some() || is_temporal(text)))
}

/// Where the table of a reading starts, and what its first rows are.
struct Table<'a> {
    records: &'a [Record],
    length: usize,
    skipped_lines: u64,
    /// Whether every row, the header too, ends with a delimiter that no field follows.
    ends_with_delimiter: bool,
}

impl<'a> Table<'a> {
    fn of(reading: &'a Reading, given: &Given) -> Self {
        let length = reading.length;
        let records = reading.records.as_slice();
        let ends_with_delimiter = length > 1 && {
            let mut full = records
                .iter()
                .filter(|record| record.cells.len() == length)
                .peekable();
            full.peek().is_some()
                && full.all(|record| {
                    record
                        .cells
                        .last()
                        .is_some_and(|cell| cell.text.is_empty() && !cell.is_quoted)
                })
        };
        let is_row = |record: &Record| {
            record.cells.len() >= length
                || (ends_with_delimiter && record.cells.len() + 1 == length)
        };
        let is_comment = |record: &Record| {
            record
                .cells
                .first()
                .is_some_and(|cell| !cell.is_quoted && cell.text.starts_with('#'))
        };
        let mut skipped = if length > 1 {
            records.iter().position(is_row).unwrap_or(0)
        } else {
            records
                .iter()
                .position(|record| !is_comment(record))
                .unwrap_or(0)
        };
        // A preamble is short, and what follows it is a table.
        let rest = &records[skipped..];
        let fitting = rest.iter().filter(|record| is_row(record)).count();
        let comments = records[..skipped].iter().all(is_comment);
        if given.skipped_lines.is_some()
            || (!comments && (rest.len() < 2 || fitting * 10 < rest.len() * 9))
        {
            skipped = 0;
        }
        Self {
            records: &records[skipped..],
            length,
            skipped_lines: match records.get(skipped) {
                Some(record) if skipped > 0 => record.line - 1,
                _ => 0,
            },
            ends_with_delimiter,
        }
    }

    fn header_rows(&self) -> u32 {
        let Some((first, rest)) = self.records.split_first() else {
            return 1;
        };
        if rest.is_empty() {
            let mut cells = first
                .cells
                .iter()
                .filter(|cell| !cell.text.is_empty())
                .peekable();
            let is_data = cells.peek().is_some() && cells.all(|cell| is_datum(&cell.text));
            return u32::from(!is_data);
        }
        let data_columns = self.data_columns(1);
        let is_word = |record: &Record, column: usize| {
            record.cells.get(column).is_some_and(|cell| {
                !cell.text.is_empty() && !is_datum(&cell.text) && !is_null_word(&cell.text)
            })
        };
        if data_columns.iter().any(|column| is_word(first, *column)) {
            return 1;
        }
        for rows in 2..=HEADER_ROWS_FOUND_MAX.min(self.records.len() - 1) {
            let data_columns = self.data_columns(rows);
            let names = &self.records[..rows];
            if data_columns.len() > 1
                && names
                    .iter()
                    .all(|record| data_columns.iter().all(|column| is_word(record, *column)))
            {
                return rows as u32;
            }
        }
        let data: Vec<&Cell> = data_columns
            .iter()
            .filter_map(|column| first.cells.get(*column))
            .collect();
        let is_data = data.iter().any(|cell| is_datum(&cell.text)) && !are_years(&data);
        u32::from(!is_data)
    }

    /// The columns that have values, and nothing but numbers, dates, times and truth values, from that row on.
    fn data_columns(&self, first: usize) -> Vec<usize> {
        let rows = self.records.get(first..).unwrap_or_default();
        (0..self.length)
            .filter(|column| {
                let mut cells = rows
                    .iter()
                    .filter(|record| record.cells.len() >= self.length)
                    .filter_map(|record| record.cells.get(*column))
                    .filter(|cell| !cell.text.is_empty() && !is_null_word(&cell.text))
                    .peekable();
                cells.peek().is_some() && cells.all(|cell| is_datum(&cell.text))
            })
            .collect()
    }
}

/// Whether these are years one after the other, as they stand above columns of figures.
fn are_years(cells: &[&Cell]) -> bool {
    let years: Vec<u32> = cells
        .iter()
        .filter_map(|cell| cell.text.parse().ok())
        .filter(|year| (1800..2200).contains(year))
        .collect();
    years.len() > 1
        && years.len() == cells.len()
        && years
            .windows(2)
            .all(|pair| pair[1] == pair[0] + 1 || pair[0] == pair[1] + 1)
}
