//! Finds the dialect of a CSV part from its first bytes. Pure.
//!
//! 1. Every delimiter, quote and escape that occurs is tried on the start of the part, with the reader itself. The best
//!    gives most rows one length, more than one column, and cells that look like values and not like pieces of
//!    quotes.
//! 2. Comments and titles before the table are skipped, and the header is found (see `table.rs`).
//!
//! What the request gives is taken as it is. What cannot be told stays as RFC 4180 has it.
//!
//! Small parts cost little else than this, so nothing is allocated for a cell, and what cannot make a reading the best is not
//! looked at: a quote that never stands where a field starts, the rest of a sample whose first rows are no table, values where
//! the rows alone are worse, and what follows on rows that leave no doubt.

use super::dialect::{Comments, Delimiter, Dialect, Escape, Given, Newline, Ragged};
use super::records::{Cell, Record, RecordSlice, Records};
use super::sample::{SAMPLE_BYTES, Sample};
use super::table::{self, Table};
use super::{CsvLimits, CsvReader};

/// Records that those must have.
const START_RECORDS_MIN: usize = 50;
/// Records that are looked at.
const RECORDS_MAX: usize = 300;
/// Fields that are looked at.
const FIELDS_MAX: usize = 20_000;
/// Delimiters, the likelier first.
pub(super) const DELIMITERS: [u8; 5] = [b',', b'\t', b';', b'|', b' '];
/// Delimiters that are looked for where none of those makes a table.
const RARE_DELIMITERS: [u8; 5] = [0x01, 0x1f, b'^', b'~', b':'];
/// How much better a less likely reading must be.
const LEAD: f64 = 1.02;
/// How much better the usual delimiter is.
const USUAL: f64 = 1.05;
/// What a blank counts that is not surely a delimiter.
const DOUBTFUL_BLANK: f64 = 0.001;

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
    let of_start = sample.start().and_then(|start| {
        let reading = likeliest_reading(start, usual, given)?;
        let found = found(&reading, given);
        (reading.is_all_alike() && found.dialect.is_standard(usual)).then_some(found)
    });
    let mut found = match of_start {
        Some(found) => found,
        None => match likeliest_reading(sample, usual, given) {
            Some(reading) => found(&reading, given),
            None => Dialect::standard(usual).into(),
        },
    };
    found.dialect.newline = Newline::of(sample.bytes);
    found
}

/// What a reading tells.
fn found(reading: &Reading, given: &Given) -> Found {
    let mut dialect = reading.dialect.clone();
    if given.delimiter.is_none() {
        dialect.blank_after_delimiter = reading.has_blanks_after_delimiters();
    }
    dialect.comments = match given.ragged {
        Some(Ragged::Pad) => Comments::None,
        Some(_) | None => reading.comments,
    };
    let table = Table::of(
        reading.records(),
        reading.length,
        reading.has_leading_comments,
        given,
    );
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

/// The sample in the dialect that makes the best table of it.
fn likeliest_reading(sample: Sample<'_>, usual: u8, given: &Given) -> Option<Reading> {
    let has = |byte: &u8| memchr::memchr(*byte, sample.bytes).is_some();
    let best_with = |delimiters: &[Delimiter]| {
        best_reading(
            candidates(sample, usual, delimiters, given),
            sample,
            given,
            usual,
        )
    };
    let others = DELIMITERS
        .into_iter()
        .filter(|byte| *byte != usual && has(byte));
    let likely: Vec<Delimiter> = std::iter::once(usual)
        .chain(others)
        .map(Delimiter::single)
        .collect();
    let mut best = match given.delimiter {
        Some(given) => best_with(&[given]),
        None => best_with(&likely),
    };
    let is_likely = best
        .as_ref()
        .is_some_and(|(_, reading)| reading.is_likely_a_table());
    if given.delimiter.is_none() && !is_likely {
        let rare = RARE_DELIMITERS
            .into_iter()
            .filter(has)
            .map(Delimiter::single);
        best = rare
            .filter_map(|delimiter| best_with(&[delimiter]))
            .find(|(_, reading)| reading.is_a_table_beyond_doubt())
            .or(best);
    }
    let (_, mut reading) = best?;
    if given.delimiter.is_none() && reading.has_doubled_delimiters() {
        let doubled_delimiter = true;
        let dialect = Dialect {
            doubled_delimiter,
            ..reading.dialect
        };
        reading = Reading::new(sample, dialect, |_| true)?;
    }
    Some(reading)
}

/// The reading that looks most like a table; of equal ones the first.
fn best_reading(
    candidates: Vec<Dialect>,
    sample: Sample<'_>,
    given: &Given,
    usual: u8,
) -> Option<(f64, Reading)> {
    let mut best: Option<(f64, Reading)> = None;
    for dialect in candidates {
        let to_beat = best.as_ref().map(|(score, _)| score * LEAD);
        let is_beaten = |score: f64| to_beat.is_some_and(|to_beat| score <= to_beat);
        let is_doubtful_blank_beaten =
            dialect.delimiter == b' ' && is_beaten(DOUBTFUL_BLANK * USUAL);
        let has_no_quotes = dialect.quote.is_none() && given.quote.is_none();
        let reading = Reading::new(sample, dialect, |rows| {
            !(is_doubtful_blank_beaten && rows.have_two_lengths
                || has_no_quotes && rows.end_with_quotes)
        });
        let Some(reading) = reading else { continue };
        if given.quote.is_none() && !reading.has_plausible_quotes() {
            continue;
        }
        if is_beaten(reading.score(usual, 1.0)) {
            continue;
        }
        let score = reading.score(usual, reading.quality());
        if !is_beaten(score) {
            best = Some((score, reading));
        }
    }
    best
}

/// The ways to read a part with these delimiters that its bytes allow, the likeliest first.
fn candidates(
    sample: Sample<'_>,
    usual: u8,
    delimiters: &[Delimiter],
    given: &Given,
) -> Vec<Dialect> {
    let has = |byte: u8| memchr::memchr(byte, sample.bytes).is_some();
    let base = Dialect {
        header_rows: given.header_rows.unwrap_or(1),
        skipped_lines: given.skipped_lines.unwrap_or(0),
        nulls: given.nulls.clone(),
        ragged: given.ragged.unwrap_or_default(),
        ..Dialect::standard(usual)
    };
    let quotes = match given.quote {
        Some(given) => vec![given],
        None => match (has(b'"'), may_open(b'\'', sample.bytes)) {
            (false, false) => vec![Some(b'"')],
            (false, true) => vec![Some(b'"'), Some(b'\'')],
            (true, false) => vec![Some(b'"'), None],
            (true, true) => vec![Some(b'"'), Some(b'\''), None],
        },
    };
    let mut found = Vec::new();
    for delimiter in delimiters {
        for &quote in quotes
            .iter()
            .filter(|quote| **quote != Some(delimiter.byte))
        {
            for &escape in escapes(sample, quote, given) {
                found.push(Dialect {
                    delimiter: delimiter.byte,
                    blank_after_delimiter: delimiter.blank_after,
                    doubled_delimiter: delimiter.doubled,
                    quote,
                    escape,
                    ..base.clone()
                });
            }
        }
    }
    found
}

/// Whether a quote stands where a field can start: not behind a letter or digit.
fn may_open(quote: u8, bytes: &[u8]) -> bool {
    let is_behind_word = |at: usize| at > 0 && bytes[at - 1].is_ascii_alphanumeric();
    memchr::memchr_iter(quote, bytes).any(|at| !is_behind_word(at))
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

/// A sample, read in one dialect.
struct Reading {
    dialect: Dialect,
    records: Records,
    /// Fields of most records.
    length: usize,
    comments: Comments,
    has_leading_comments: bool,
    stray_quotes: u64,
    has_failed: bool,
}

/// What is known of the records that surely belong to a reading, while others are still to come: not the last one, which may be
/// cut, and none that may be a comment.
#[derive(Default)]
struct SureRows {
    length: Option<usize>,
    have_two_lengths: bool,
    /// Whether a cell ends with a quote.
    end_with_quotes: bool,
}

impl SureRows {
    /// Looks for quotes where quotes are what it is about.
    fn add(&mut self, record: Record<'_>, looks_for_quotes: bool) {
        if record.starts_like_a_comment() {
            return;
        }
        let length = *self.length.get_or_insert(record.len());
        self.have_two_lengths |= length != record.len();
        self.end_with_quotes |= looks_for_quotes && record.cells().any(ends_with_quote);
    }
}

fn ends_with_quote(cell: Cell<'_>) -> bool {
    cell.text.ends_with('"')
}

impl Reading {
    /// Reads the sample as long as the rows are worth it.
    fn new(
        sample: Sample<'_>,
        dialect: Dialect,
        is_worth_it: impl Fn(&SureRows) -> bool,
    ) -> Option<Self> {
        let mut reading = Self {
            dialect: dialect.clone(),
            records: Records::default(),
            length: 0,
            comments: Comments::None,
            has_leading_comments: false,
            stray_quotes: 0,
            has_failed: false,
        };
        let limits = CsvLimits {
            columns_max: FIELDS_MAX,
            field_bytes_max: SAMPLE_BYTES,
        };
        let skipped_lines = dialect.skipped_lines;
        let looks_for_quotes = dialect.quote.is_none();
        let buffer_bytes = sample.bytes.len().max(1);
        let Ok(mut reader) = CsvReader::before_header(sample.bytes, dialect, limits, buffer_bytes)
        else {
            return Some(reading);
        };
        reading.has_failed = reader.skip_lines(skipped_lines).is_err();
        let mut fields = 0;
        let mut is_cut = false;
        let mut sure_rows = SureRows::default();
        while reading.records().len() < RECORDS_MAX && fields < FIELDS_MAX {
            match reader.next_record(&mut reading.records) {
                Ok(true) => {}
                Ok(false) => {
                    is_cut = !sample.is_whole;
                    break;
                }
                Err(_) => {
                    reading.has_failed = sample.is_whole;
                    break;
                }
            }
            let mut last = reading.records().iter().rev();
            fields += last.next().map_or(0, Record::len);
            if let Some(before) = last.next() {
                sure_rows.add(before, looks_for_quotes);
            }
            if !is_worth_it(&sure_rows) {
                return None;
            }
        }
        if is_cut && reading.records().len() > 1 {
            reading.records.pop();
        }
        reading.stray_quotes = reader.oddities.stray_quotes.count;
        (reading.comments, reading.has_leading_comments) =
            table::set_comments_aside(&mut reading.records);
        reading.length = table::most_common_length(reading.records().iter());
        Some(reading)
    }

    fn records(&self) -> RecordSlice<'_> {
        self.records.as_slice()
    }

    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.records().iter().flat_map(Record::cells)
    }

    fn fitting(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        let records = self.records().iter();
        records.filter(|record| record.len() == self.length)
    }

    /// How much this looks like a table whose cells are of this quality; 0 is not at all.
    fn score(&self, usual: u8, quality: f64) -> f64 {
        let fitting = self.fitting().count();
        if fitting == 0 {
            return 0.0;
        }
        let share = fitting as f64 / self.records().len() as f64;
        let columns = if self.length > 1 {
            1.0 - 1.0 / self.length as f64
        } else {
            0.01
        };
        let mut score = share * share * columns * quality / (1.0 + 0.2 * self.stray_quotes as f64);
        if self.has_failed {
            score *= 0.1;
        }
        if self.dialect.delimiter == b' ' && !self.is_surely_a_table() {
            score *= DOUBTFUL_BLANK;
        }
        if self.dialect.delimiter == usual {
            score *= USUAL;
        }
        score
    }

    /// How much the cells of rows look like values, up to 1.
    fn quality(&self) -> f64 {
        let cells = self.fitting().flat_map(Record::cells);
        let count = self.length * self.fitting().count();
        cells.map(quality).sum::<f64>() / count.max(1) as f64
    }

    /// Whether quotes are what the dialect says. They may be characters like others if several cells start with one, and none
    /// ends with one: a single one is rather a quote that is never closed, which nobody must lose rows to.
    fn has_plausible_quotes(&self) -> bool {
        let starts_with_quote = |cell: &Cell<'_>| cell.text.starts_with('"');
        match self.dialect.quote {
            Some(b'"') => true,
            Some(_) => self.cells().any(|cell| cell.is_quoted),
            None => {
                self.cells().filter(starts_with_quote).count() > 1
                    && !self.cells().any(ends_with_quote)
            }
        }
    }

    /// Whether most records have one length, and more than one cell.
    fn is_likely_a_table(&self) -> bool {
        self.length > 1 && self.fitting().count() * 10 >= self.records().len() * 9
    }

    /// Whether there are many rows without anything unusual.
    fn is_all_alike(&self) -> bool {
        self.records().len() >= START_RECORDS_MIN
            && self.fitting().count() == self.records().len()
            && self.length > 1
            && self.stray_quotes == 0
            && !self.has_failed
    }

    /// Whether a delimiter that is rarely one must be one here: all rows have one length, and words stand above numbers or
    /// dates, or it is a character that text does not have.
    fn is_a_table_beyond_doubt(&self) -> bool {
        let length_min = if self.dialect.delimiter == b':' { 3 } else { 2 };
        self.length >= length_min
            && self.records().len() > 1
            && self.records().iter().all(|one| one.len() == self.length)
            && (self.dialect.delimiter.is_ascii_control()
                || table::has_words_above_data(self.records(), self.length))
    }

    /// Words with blanks between them are text: only rows of one length with a column of numbers or dates are cells.
    fn is_surely_a_table(&self) -> bool {
        let rows = self.records().from(1);
        let is_datum_in =
            |record: Record<'_>, column| record.cell(column).is_some_and(Cell::is_datum);
        self.fitting().count() == self.records().len()
            && rows.len() > 0
            && (0..self.length).any(|column| rows.iter().all(|record| is_datum_in(record, column)))
    }

    /// Whether every second field is empty in every row, the header too. Commas and semicolons do that in tables with empty
    /// columns.
    fn has_doubled_delimiters(&self) -> bool {
        let has_doubled = |record: Record<'_>| {
            let mut between = record.cells().skip(1).step_by(2);
            record.len() % 2 == 1 && between.all(|cell| cell.text.is_empty() && !cell.is_quoted)
        };
        self.length > 2
            && self.records().len() > 1
            && !matches!(self.dialect.delimiter, b' ' | b',' | b';')
            && self.records().iter().all(has_doubled)
    }

    fn has_blanks_after_delimiters(&self) -> bool {
        let later = || {
            self.records()
                .iter()
                .flat_map(|record| record.cells().skip(1))
        };
        self.dialect.delimiter != b' '
            && later().all(|cell| cell.is_quoted || cell.text.starts_with(' '))
            && later().any(|cell| !cell.is_quoted)
    }
}

/// How much a cell looks like a value, up to 1.
fn quality(cell: Cell<'_>) -> f64 {
    let text = cell.text.trim();
    if cell.is_quoted || text.is_empty() || cell.is_datum() {
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
