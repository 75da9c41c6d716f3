//! When to look for rows that are plain, and at how many bytes together. Pure.
//!
//! A reader of text takes rows with nothing unusual in them many at a time, and reads all others by its whole grammar. A look that
//! finds nothing costs, so after one there is a pause, the longer the more of them follow one another.

/// Bytes that are looked at together, at first and at most: more while rows are plain, fewer when they are not.
const BLOCK_BYTES_MIN: usize = 4 << 10;
const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Most rows that are read otherwise before the next look.
const PAUSE_ROWS_MAX: u32 = 64;

/// How often a reader looks for plain rows.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    block_bytes: usize,
    /// Rows to read otherwise before the next look.
    pause_rows: u32,
    next_pause_rows: u32,
}

impl Looks {
    /// For a file that can have plain rows, or not.
    pub(super) fn new(can_be_plain: bool) -> Self {
        Self {
            block_bytes: BLOCK_BYTES_MIN,
            pause_rows: if can_be_plain { 0 } else { u32::MAX },
            next_pause_rows: 1,
        }
    }

    /// Whether the file can have plain rows.
    pub(super) fn are_possible(&self) -> bool {
        self.pause_rows != u32::MAX
    }

    /// Whether to look now; else one row is to be read otherwise.
    pub(super) fn is_due(&mut self) -> bool {
        match self.pause_rows {
            0 => true,
            u32::MAX => false,
            _ => {
                self.pause_rows -= 1;
                false
            }
        }
    }

    /// Bytes to look at.
    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// A look found all rows plain, or one that was not.
    pub(super) fn looked(&mut self, all_plain: bool, found_any: bool) {
        if all_plain {
            self.block_bytes = (self.block_bytes * 2).min(BLOCK_BYTES_MAX);
        } else {
            self.block_bytes = BLOCK_BYTES_MIN;
        }
        if all_plain || found_any {
            self.next_pause_rows = 1;
        } else {
            self.pause_rows = self.next_pause_rows;
            self.next_pause_rows = (self.next_pause_rows * 2).min(PAUSE_ROWS_MAX);
        }
    }
}
