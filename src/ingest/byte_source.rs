//! A buffer over `std::io::Read` that hands out what it holds without a copy.
//!
//! Owns the bytes between the decoder and the readers of text formats. Memory is one buffer of
//! fixed size. A read that was interrupted is repeated; any other error of the reader below becomes
//! a [`FormatError`]. After the end of input no further read is made.

use std::io::{ErrorKind, Read};

use super::error::FormatError;

/// Bytes of the buffer.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// The UTF-8 spelling of the byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes of a part, a buffer at a time.
pub(super) struct ByteSource<R> {
    read: R,
    buffer: Box<[u8]>,
    /// The bytes of `buffer` not handed out yet.
    start: usize,
    end: usize,
    /// Offset in the part of `buffer[0]`.
    buffer_offset: u64,
    at_end: bool,
    saw_nul: bool,
}

impl<R: Read> ByteSource<R> {
    /// A source that has skipped a byte order mark. The buffer holds at least the mark.
    pub(super) fn new(read: R, buffer_bytes: usize) -> Result<Self, FormatError> {
        let buffer = vec![0; buffer_bytes.max(BYTE_ORDER_MARK.len())].into_boxed_slice();
        let mut source = Self {
            read,
            buffer,
            start: 0,
            end: 0,
            buffer_offset: 0,
            at_end: false,
            saw_nul: false,
        };
        while source.end < BYTE_ORDER_MARK.len() && source.read_more()? {}
        if source.available().starts_with(BYTE_ORDER_MARK) {
            source.consume(BYTE_ORDER_MARK.len());
        }
        Ok(source)
    }

    /// The bytes at hand; empty before the first [`Self::fill`] and when all are consumed.
    pub(super) fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes sure that bytes are at hand; false at the end of the part.
    pub(super) fn fill(&mut self) -> Result<bool, FormatError> {
        if self.start < self.end {
            return Ok(true);
        }
        self.buffer_offset += self.end as u64;
        (self.start, self.end) = (0, 0);
        self.read_more()
    }

    /// The next byte, not consumed; nothing at the end of the part.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, FormatError> {
        Ok(if self.fill()? {
            Some(self.buffer[self.start])
        } else {
            None
        })
    }

    /// What is read from.
    pub(super) fn get_ref(&self) -> &R {
        &self.read
    }

    /// Makes sure that so many bytes are at hand, if the part has so many and the buffer the room; what was
    /// consumed is no longer in it.
    pub(super) fn look_ahead(&mut self, byte_count: usize) -> Result<(), FormatError> {
        if self.end - self.start >= byte_count {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.buffer_offset += self.start as u64;
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < byte_count.min(self.buffer.len()) && self.read_more()? {}
        Ok(())
    }

    /// Marks bytes at the front as handed out.
    pub(super) fn consume(&mut self, byte_count: usize) {
        self.start = (self.start + byte_count).min(self.end);
    }

    /// Bytes by their offsets in the part, consumed or not, that were read since [`Self::fill`]
    /// last replaced the buffer.
    pub(super) fn recent(&self, from_offset: u64, to_offset: u64) -> &[u8] {
        let index = |offset: u64| {
            usize::try_from(offset.saturating_sub(self.buffer_offset)).unwrap_or(usize::MAX)
        };
        self.buffer
            .get(index(from_offset)..index(to_offset))
            .unwrap_or_default()
    }

    /// All bytes at hand from this offset in the part on, consumed or not.
    pub(super) fn since(&self, offset: u64) -> &[u8] {
        self.recent(offset, self.buffer_offset + self.end as u64)
    }

    /// Offset in the part of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.buffer_offset + self.start as u64
    }

    /// Whether any byte read so far was a NUL; found once for each buffer, so that fields need no
    /// look of their own.
    pub(super) fn saw_nul(&self) -> bool {
        self.saw_nul
    }

    /// Reads once behind the bytes at hand; false at the end of the part.
    fn read_more(&mut self) -> Result<bool, FormatError> {
        while !self.at_end {
            match self.read.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(count) => {
                    let fresh = &self.buffer[self.end..self.end + count];
                    self.saw_nul |= memchr::memchr(0, fresh).is_some();
                    self.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
