//! Where the table of a reading starts, and what its first rows are. Pure.
//!
//! * Lines that start with `#` are comments where the first column has numbers or dates, or if they are no rows by their
//!   length; the last of those at the start may be the header.
//! * Titles above the header are skipped: lines shorter than the table, and rows that are mostly empty if words stand above
//!   numbers or dates in the row after them.
//! * The first row is the header, unless it holds the same kind of values as the rows below it. More rows belong to
//!   it while they have words where the rows below have numbers or dates.

use std::collections::BTreeMap;

use super::dialect::{Comments, Given};
use super::records::{Cell, Record, RecordSlice, Records};
use crate::schema::text_value::{is_null_word, is_temporal, parse_boolean, parse_float64};

/// Header rows that are found without being told.
const HEADER_ROWS_FOUND_MAX: usize = 4;
/// What a comment starts with.
pub(super) const COMMENT: u8 = b'#';

/// Whether a cell stands there that is neither empty nor a number, date, time or truth value.
fn has_word(record: Record<'_>, column: usize) -> bool {
    record
        .cell(column)
        .is_some_and(|cell| !cell.text.is_empty() && !cell.is_datum() && !is_null_word(cell.text))
}

/// Whether this is a title that was filled up with delimiters, or delimiters alone.
fn is_mostly_empty(record: Record<'_>) -> bool {
    let is_filled = |cell: &Cell<'_>| !cell.text.trim().is_empty();
    let filled = record.cells().filter(is_filled).count();
    let is_title = record.cell(0).is_some_and(|cell| is_filled(&cell));
    filled == 0 || (is_title && filled * 2 < record.len())
}

/// The length of most records; of rare ones, the longer.
pub(super) fn most_common_length<'a>(records: impl Iterator<Item = Record<'a>>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for record in records {
        *counts.entry(record.len()).or_default() += 1;
    }
    let weight = |length: usize, count: usize| count * if length > 1 { 2 } else { 1 };
    let longest = counts
        .into_iter()
        .max_by_key(|(length, count)| (weight(*length, *count), *length));
    longest.map_or(0, |(length, _)| length)
}

/// Takes the comments out; gives which there are, and whether some stand in front of the first row.
pub(super) fn set_comments_aside(records: &mut Records) -> (Comments, bool) {
    let all = records.as_slice();
    if !all.iter().any(Record::starts_like_a_comment) {
        return (Comments::None, false);
    }
    let rows = || all.iter().filter(|one| !one.starts_like_a_comment());
    let length = most_common_length(rows());
    let has_other_length = |one: Record<'_>| one.len() != length;
    let marked = || all.iter().filter(|one| one.starts_like_a_comment());
    let comments = if length == 0 {
        return (Comments::None, false);
    } else if columns_of(rows().skip(1), length, Cell::is_datum).contains(&0) {
        Comments::All
    } else if length > 1 && !marked().any(has_other_length) {
        return (Comments::None, false);
    } else {
        Comments::OtherLength
    };
    let is_marked = |one: &Record<'_>| one.starts_like_a_comment();
    let mut leading = all.iter().take_while(is_marked).count();
    let last = leading.checked_sub(1).and_then(|last| all.get(last));
    if length > 1
        && last.is_some_and(|last| !has_other_length(last))
        && !has_words_above_data(all.from(leading), length)
    {
        leading -= 1;
    }
    let header = leading;
    records.retain(|index, one| {
        let is_marked = one.starts_like_a_comment() && index > header;
        index >= header && !(is_marked && (comments == Comments::All || has_other_length(one)))
    });
    (comments, leading > 0)
}

/// Whether a cell holds a number, date, time or truth value, in a wide sense: no word.
pub(super) fn is_datum(text: &str) -> bool {
    let text = text.trim();
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_alphabetic()),
        false => text.chars().any(char::is_alphabetic),
    };
    (has_digit && !has_letter)
        || parse_boolean(text).is_some()
        || (has_digit && (parse_float64(text).is_some() || is_temporal(text)))
}

/// The columns that have values, and nothing but such, in records of this length.
fn columns_of<'a>(
    records: impl Iterator<Item = Record<'a>> + Clone,
    length: usize,
    is_such: fn(Cell<'a>) -> bool,
) -> Vec<usize> {
    let rows = || records.clone().filter(|record| record.len() == length);
    (0..length)
        .filter(|column| {
            let mut cells = rows()
                .filter_map(|record| record.cell(*column))
                .filter(|cell| !cell.text.is_empty() && !is_null_word(cell.text))
                .peekable();
            cells.peek().is_some() && cells.all(is_such)
        })
        .collect()
}

/// Whether the first record has a word above numbers or dates, or a number above truth values.
pub(super) fn has_words_above_data(records: RecordSlice<'_>, length: usize) -> bool {
    let Some(first) = records.get(0) else {
        return false;
    };
    let rows = records.from(1);
    let is_truth = |cell: Cell<'_>| parse_boolean(cell.text.trim()).is_some();
    let is_number = |column: &usize| {
        let cell = first.cell(*column);
        cell.is_some_and(|cell| cell.is_datum() && !is_truth(cell))
    };
    let mut data = columns_of(rows.iter(), length, Cell::is_datum).into_iter();
    data.any(|column| has_word(first, column))
        || columns_of(rows.iter(), length, is_truth)
            .iter()
            .any(is_number)
}

/// A table in the sample.
pub(super) struct Table<'a> {
    records: RecordSlice<'a>,
    length: usize,
    pub(super) skipped_lines: u64,
    /// Whether every row, the header too, ends with a delimiter that no field follows.
    pub(super) ends_with_delimiter: bool,
}

impl<'a> Table<'a> {
    /// The table in records without comments, most of which have this length.
    pub(super) fn of(
        records: RecordSlice<'a>,
        length: usize,
        has_leading_comments: bool,
        given: &Given,
    ) -> Self {
        let has_last_field = |record: Record<'_>| {
            let last = record.cells().next_back();
            last.is_some_and(|cell| !cell.text.is_empty() || cell.is_quoted)
        };
        let mut full = records
            .iter()
            .filter(|record| record.len() == length)
            .peekable();
        let ends_with_delimiter = length > 1 && full.peek().is_some() && !full.any(has_last_field);
        let is_row = |record: Record<'_>| {
            record.len() >= length || (ends_with_delimiter && record.len() + 1 == length)
        };
        let mut skipped = match length {
            0 | 1 => 0,
            _ => records.iter().position(is_row).unwrap_or(0),
        };
        let is_title = |record: Record<'_>| length > 2 && is_mostly_empty(record);
        let titles = records
            .from(skipped)
            .iter()
            .take_while(|record| !is_row(*record) || is_title(*record));
        let behind_titles = skipped + titles.count();
        if has_words_above_data(records.from(behind_titles), length) {
            skipped = behind_titles;
        }
        // A preamble is short, and what follows it is a table.
        let rest = records.from(skipped);
        let fitting = rest.iter().filter(|record| is_row(*record)).count();
        if given.skipped_lines.is_some() || rest.len() < 2 || fitting * 10 < rest.len() * 9 {
            skipped = 0;
        }
        Self {
            records: records.from(skipped),
            length,
            skipped_lines: match records.get(skipped) {
                Some(record) if skipped > 0 || has_leading_comments => record.line() - 1,
                _ => 0,
            },
            ends_with_delimiter,
        }
    }

    /// How many rows name the columns.
    pub(super) fn header_rows(&self) -> u32 {
        let Some(first) = self.records.get(0) else {
            return 1;
        };
        if self.records.len() == 1 {
            let mut cells = first
                .cells()
                .filter(|cell| !cell.text.is_empty())
                .peekable();
            let is_data = cells.peek().is_some() && cells.all(Cell::is_datum);
            return u32::from(!is_data);
        }
        if has_words_above_data(self.records, self.length) {
            return 1;
        }
        for rows in 2..=HEADER_ROWS_FOUND_MAX.min(self.records.len() - 1) {
            let data_columns = self.data_columns(rows);
            let names = self.records.until(rows);
            let are_words = |column: &usize| names.iter().all(|record| has_word(record, *column));
            if data_columns.len() > 1 && data_columns.iter().all(are_words) {
                return rows as u32;
            }
        }
        let data: Vec<Cell<'_>> = self
            .data_columns(1)
            .iter()
            .filter_map(|column| first.cell(*column))
            .collect();
        let is_data = data.iter().any(|cell| cell.is_datum()) && !are_years(&data);
        u32::from(!is_data)
    }

    /// The columns that have values, and nothing but numbers, dates, times and truth values, from that row on.
    pub(super) fn data_columns(&self, first: usize) -> Vec<usize> {
        columns_of(self.records.from(first).iter(), self.length, Cell::is_datum)
    }
}

/// Whether these are years one after the other, as they stand above columns of figures.
fn are_years(cells: &[Cell<'_>]) -> bool {
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
