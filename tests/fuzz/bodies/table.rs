//! All cells that a reader gave, and what holds of them whatever was read.

use std::collections::HashSet;
use std::io::{self, Read};

use calve::domain::part::PartIssue;
use calve::ingest::FormatError;
use calve::ingest::raw::{COLUMN_NAME_BYTES_MAX, RawBatch, RawColumn};

/// Bytes that reading a part may hold at once, whatever the part: a batch is at most 4,000,000 cells of five bytes in
/// vectors that double, the text of its cells, and a buffer.
pub const READER_BYTES_MAX: usize = 128 << 20;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<String>,
    pub cells: Vec<RawColumn>,
    pub rows: usize,
    pub issues: Vec<PartIssue>,
}

/// A reader of a text format.
pub trait Batches {
    fn next(&mut self, batch: &mut RawBatch) -> Result<bool, FormatError>;
    fn names(&self) -> &[String];
    fn issues(&self) -> Vec<PartIssue>;
}

/// Reads to the end.
pub fn read_all(reader: &mut impl Batches) -> Result<Table, FormatError> {
    let (mut batch, mut cells, mut rows) = (RawBatch::default(), Vec::<RawColumn>::new(), 0);
    while reader.next(&mut batch)? {
        assert_eq!(batch.first_row, rows as u64 + 1);
        assert!(batch.row_count > 0);
        assert!(batch.columns.len() >= cells.len(), "a column went away");
        cells.resize_with(batch.columns.len(), RawColumn::default);
        for (all, column) in cells.iter_mut().zip(&batch.columns) {
            assert_eq!(column.len(), batch.row_count);
            all.fill_nulls(rows);
            for (kind, text) in column.iter() {
                all.push(kind, text);
            }
        }
        rows += batch.row_count;
    }
    assert_eq!(batch.row_count, 0);
    assert!(!reader.next(&mut batch)?, "the end stays the end");
    Ok(Table {
        columns: reader.names().to_vec(),
        cells,
        rows,
        issues: reader.issues(),
    })
}

impl Table {
    /// What holds of everything that was accepted.
    pub fn assert_sound(&self, columns_max: usize, cell_bytes_max: usize) {
        assert!(self.columns.len() <= columns_max);
        assert!(self.rows == 0 || self.columns.len() == self.cells.len());
        let names: HashSet<&str> = self.columns.iter().map(String::as_str).collect();
        assert_eq!(names.len(), self.columns.len(), "{:?}", self.columns);
        for name in names {
            assert!(
                (1..=COLUMN_NAME_BYTES_MAX).contains(&name.len()),
                "{name:?}"
            );
        }
        for column in &self.cells {
            assert_eq!(column.len(), self.rows);
            for (_, text) in column.iter() {
                assert!(text.len() <= cell_bytes_max, "{} bytes", text.len());
                assert!(!text.contains('\0'));
            }
        }
    }
}

/// The same cells, or the same refusal; only the excerpt of a value depends on how much of it was at hand.
pub fn assert_same(
    one: &Result<Table, FormatError>,
    other: &Result<Table, FormatError>,
    what: &str,
) {
    // An encoding is refused where it is found to be wrong, which may be before or after a row that is.
    let is_encoding = |error: &FormatError| {
        error
            .reason
            .contains("which the text seems to be encoded in")
    };
    match (one, other) {
        (Err(one), Err(other)) if is_encoding(one) || is_encoding(other) => {}
        (Err(one), Err(other)) => {
            let value = one.value.clone();
            let other = FormatError {
                value,
                ..other.clone()
            };
            assert_eq!(&other, one, "{what}");
        }
        _ => assert_eq!(other, one, "{what}"),
    }
}

/// Gives a few bytes a read, and is interrupted now and then.
pub struct Drip<'a> {
    bytes: &'a [u8],
    turn: usize,
}

impl<'a> Drip<'a> {
    pub fn new(bytes: &'a [u8], turn: usize) -> Self {
        Self { bytes, turn }
    }
}

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = (self.turn * 3 % 11 + 1)
            .min(buffer.len())
            .min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}
