//! Records that are only looked at. Pure.
//!
//! The text of all cells lies in one place, so that no cell has memory of its own: a small part is mostly read to find how it
//! is written.

use std::cell::OnceCell;
use std::ops::Range;

use super::table::{COMMENT, is_datum};

/// Records in the order of their lines.
#[derive(Default)]
pub(super) struct Records {
    text: String,
    cells: Vec<CellPlace>,
    records: Vec<RecordPlace>,
    /// Cells that belong to a record.
    recorded: usize,
}

struct CellPlace {
    /// Where its text is.
    start: usize,
    end: usize,
    is_quoted: bool,
    /// Found when it is first asked for.
    is_datum: OnceCell<bool>,
}

struct RecordPlace {
    /// The line that it starts in.
    line: u64,
    cells: Range<usize>,
}

/// Some of the records, one after the other.
#[derive(Clone, Copy)]
pub(super) struct RecordSlice<'a> {
    all: &'a Records,
    places: &'a [RecordPlace],
}

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    all: &'a Records,
    place: &'a RecordPlace,
}

/// One field of a record.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) text: &'a str,
    pub(super) is_quoted: bool,
    is_datum: &'a OnceCell<bool>,
}

impl Records {
    /// Adds a cell to the record that is being added.
    pub(super) fn push_cell(&mut self, text: &str, is_quoted: bool) {
        let start = self.text.len();
        self.text.push_str(text);
        self.push_place(start, self.text.len(), is_quoted);
    }

    /// Adds a record whose fields are all that lies between the delimiters.
    pub(super) fn push_bare_record(&mut self, text: &str, delimiter: u8, line: u64) {
        let start = self.text.len();
        self.text.push_str(text);
        let mut cell_start = start;
        for at in memchr::memchr_iter(delimiter, text.as_bytes()) {
            self.push_place(cell_start, start + at, false);
            cell_start = start + at + 1;
        }
        self.push_place(cell_start, self.text.len(), false);
        self.end_record(line);
    }

    fn push_place(&mut self, start: usize, end: usize, is_quoted: bool) {
        self.cells.push(CellPlace {
            start,
            end,
            is_quoted,
            is_datum: OnceCell::new(),
        });
    }

    /// The cells added since the last one are a record.
    pub(super) fn end_record(&mut self, line: u64) {
        let cells = self.recorded..self.cells.len();
        self.recorded = cells.end;
        self.records.push(RecordPlace { line, cells });
    }

    /// Takes the last record away.
    pub(super) fn pop(&mut self) {
        self.records.pop();
    }

    /// Keeps the records of which this is true; the index is that before.
    pub(super) fn retain(&mut self, is_kept: impl Fn(usize, Record<'_>) -> bool) {
        let mut places = std::mem::take(&mut self.records);
        let mut index = 0;
        places.retain(|place| {
            index += 1;
            is_kept(index - 1, Record { all: self, place })
        });
        self.records = places;
    }

    pub(super) fn as_slice(&self) -> RecordSlice<'_> {
        RecordSlice {
            all: self,
            places: &self.records,
        }
    }
}

impl<'a> RecordSlice<'a> {
    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    pub(super) fn get(self, index: usize) -> Option<Record<'a>> {
        let (all, place) = (self.all, self.places.get(index)?);
        Some(Record { all, place })
    }

    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = Record<'a>> + Clone {
        let all = self.all;
        self.places.iter().map(move |place| Record { all, place })
    }

    /// The records from this one on.
    pub(super) fn from(self, first: usize) -> Self {
        let places = self.places.get(first..).unwrap_or_default();
        Self { places, ..self }
    }

    /// The records before this one.
    pub(super) fn until(self, end: usize) -> Self {
        let places = self.places.get(..end).unwrap_or(self.places);
        Self { places, ..self }
    }
}

impl<'a> Record<'a> {
    pub(super) fn line(self) -> u64 {
        self.place.line
    }

    /// Cells.
    pub(super) fn len(self) -> usize {
        self.place.cells.len()
    }

    pub(super) fn cell(self, column: usize) -> Option<Cell<'a>> {
        let index = self.place.cells.start + column;
        (column < self.len()).then(|| self.all.cell(index))
    }

    pub(super) fn cells(self) -> impl DoubleEndedIterator<Item = Cell<'a>> + Clone {
        let all = self.all;
        self.place.cells.clone().map(move |index| all.cell(index))
    }

    pub(super) fn starts_like_a_comment(self) -> bool {
        let first = self.cell(0);
        first.is_some_and(|cell| !cell.is_quoted && cell.text.as_bytes().first() == Some(&COMMENT))
    }
}

impl Records {
    fn cell(&self, index: usize) -> Cell<'_> {
        let place = &self.cells[index];
        Cell {
            text: &self.text[place.start..place.end],
            is_quoted: place.is_quoted,
            is_datum: &place.is_datum,
        }
    }
}

impl Cell<'_> {
    /// [`is_datum`] of its text.
    pub(super) fn is_datum(self) -> bool {
        *self.is_datum.get_or_init(|| is_datum(self.text))
    }
}
