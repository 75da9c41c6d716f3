//! A batch of cells as the file wrote them, column by column, before any type is known.
//!
//! Owns [`RawColumn`] and [`RawBatch`], which the readers of text formats fill and which typing and
//! encoding read, and the limits of a batch. A batch is reused: clearing it keeps its memory.
//!
//! Invariants:
//! * Cell text is UTF-8: the readers validate, and the type of [`RawColumn::push`] says so.
//! * After a reader has answered, every column of the batch has exactly `row_count` cells.

use std::ops::Range;

use crate::schema::evidence::CellKind;

/// Rows of a batch.
pub const BATCH_ROWS_MAX: usize = 8192;
/// Bytes of cell text after which a batch takes no further row. One row may go beyond.
pub const BATCH_CELL_BYTES_TARGET: usize = 2 << 20;
/// Cells of a batch, nulls included: keeps a wide table's batches small, because even a null takes
/// five bytes.
pub const BATCH_CELLS_MAX: usize = 4_000_000;
/// Bytes of a column's name.
pub const COLUMN_NAME_BYTES_MAX: usize = 255;
/// No reader lets a single cell be larger than this many bytes, whatever its options say, so that
/// the end offsets of a column fit 32 bits.
pub const CELL_BYTES_CEILING: usize = 1 << 30;

/// The cells of one column.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawColumn {
    text: String,
    /// For each cell the offset in `text` of its end.
    ends: Vec<u32>,
    kinds: Vec<CellKind>,
}

impl RawColumn {
    /// Adds a cell.
    pub fn push(&mut self, kind: CellKind, text: &str) {
        self.text.push_str(text);
        self.end_cell(kind);
    }

    /// Adds a cell without a value.
    pub fn push_null(&mut self) {
        self.end_cell(CellKind::Null);
    }

    /// Adds cells without a value until there are `cell_count` cells; does nothing if there are
    /// that many.
    pub fn fill_nulls(&mut self, cell_count: usize) {
        if cell_count > self.len() {
            let end = self.end_offset();
            self.ends.resize(cell_count, end);
            self.kinds.resize(cell_count, CellKind::Null);
        }
    }

    /// Cells.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Bytes of the text of all cells.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The cell of that row of the batch; a null if there is none.
    pub fn get(&self, row_in_batch: usize) -> (CellKind, &str) {
        let (Some(&kind), Some(&end)) = (self.kinds.get(row_in_batch), self.ends.get(row_in_batch))
        else {
            return (CellKind::Null, "");
        };
        let start = row_in_batch
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        (
            kind,
            self.text
                .get(start as usize..end as usize)
                .unwrap_or_default(),
        )
    }

    /// All cells in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (CellKind, &str)> {
        let mut start = 0;
        self.kinds.iter().zip(&self.ends).map(move |(&kind, &end)| {
            let text = self
                .text
                .get(start as usize..end as usize)
                .unwrap_or_default();
            start = end;
            (kind, text)
        })
    }

    /// A copy of the cells of these rows of the batch.
    #[must_use]
    pub fn copy_of(&self, rows: Range<usize>) -> Self {
        let mut copy = Self::default();
        for row in rows {
            let (kind, text) = self.get(row);
            copy.push(kind, text);
        }
        copy
    }

    /// The text of all cells one behind the other, the offset of the end of each in it, and what they are.
    pub fn parts(&self) -> (&str, &[u32], &[CellKind]) {
        (&self.text, &self.ends, &self.kinds)
    }

    /// Keeps the first `cell_count` cells.
    pub fn truncate(&mut self, cell_count: usize) {
        if cell_count < self.len() {
            self.kinds.truncate(cell_count);
            self.ends.truncate(cell_count);
            self.text
                .truncate(self.ends.last().map_or(0, |&end| end as usize));
        }
    }

    /// Removes all cells and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    fn end_cell(&mut self, kind: CellKind) {
        self.ends.push(self.end_offset());
        self.kinds.push(kind);
    }

    fn end_offset(&self) -> u32 {
        debug_assert!(
            u32::try_from(self.text.len()).is_ok(),
            "readers bound cells and batches"
        );
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

/// Consecutive rows of one part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawBatch {
    /// The columns in the order of the reader's `columns()`.
    pub columns: Vec<RawColumn>,
    /// Rows; the cells of every column.
    pub row_count: usize,
    /// 1-based number of the first data row in the part.
    pub first_row: u64,
}

impl RawBatch {
    /// Makes the batch empty, with `column_count` columns, to start at `first_row`. Memory of
    /// columns is kept.
    pub fn reset(&mut self, column_count: usize, first_row: u64) {
        for column in &mut self.columns {
            column.clear();
        }
        self.columns.resize_with(column_count, RawColumn::default);
        self.row_count = 0;
        self.first_row = first_row;
    }

    /// Whether no further row should be added, given the bytes of cell text added so far.
    pub fn is_full(&self, cell_bytes: usize) -> bool {
        self.row_count >= BATCH_ROWS_MAX
            || cell_bytes >= BATCH_CELL_BYTES_TARGET
            || (self.row_count > 0
                && (self.row_count + 1).saturating_mul(self.columns.len()) > BATCH_CELLS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_in_order_and_a_missing_cell_is_null() {
        let mut column = RawColumn::default();
        column.push(CellKind::Plain, "é");
        column.push_null();
        column.push(CellKind::Quoted, "");
        column.push(CellKind::Quoted, "ab");
        let expected = [
            (CellKind::Plain, "é"),
            (CellKind::Null, ""),
            (CellKind::Quoted, ""),
            (CellKind::Quoted, "ab"),
        ];
        assert_eq!(column.iter().collect::<Vec<_>>(), expected);
        assert_eq!(
            (0..column.len())
                .map(|row| column.get(row))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(column.get(4), (CellKind::Null, ""));
        assert_eq!(column.text_bytes(), 4);
    }

    #[test]
    fn truncate_and_fill_keep_the_cells_before() {
        let mut column = RawColumn::default();
        column.push(CellKind::Plain, "a");
        column.push(CellKind::Plain, "b");
        column.truncate(1);
        column.fill_nulls(3);
        column.fill_nulls(2);
        column.push(CellKind::Plain, "c");
        let expected = [
            (CellKind::Plain, "a"),
            (CellKind::Null, ""),
            (CellKind::Null, ""),
            (CellKind::Plain, "c"),
        ];
        assert_eq!(column.iter().collect::<Vec<_>>(), expected);
        column.clear();
        assert!(column.is_empty());
    }

    #[test]
    fn a_wide_batch_is_full_before_it_holds_too_many_cells() {
        let mut batch = RawBatch::default();
        batch.reset(BATCH_CELLS_MAX, 1);
        assert!(!batch.is_full(0), "one row always fits");
        batch.row_count = 1;
        assert!(batch.is_full(0));
        batch.reset(2, 7);
        assert!(!batch.is_full(BATCH_CELL_BYTES_TARGET - 1));
        assert!(batch.is_full(BATCH_CELL_BYTES_TARGET));
        batch.row_count = BATCH_ROWS_MAX;
        assert!(batch.is_full(0));
    }
}
