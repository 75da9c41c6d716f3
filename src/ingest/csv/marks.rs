//! Where the bytes are that a CSV reader has to look at, found 64 bytes at a time. Pure.
//!
//! A byte after the other would cost a wrong guess of the processor for nearly every field, because their lengths differ. Here
//! all bytes of a block are compared in one step, which the compiler turns into vector instructions, and the places of those that
//! were found are the bits of one number.

const BLOCK_BYTES: usize = 64;

/// The bytes that are looked for; some may be the same.
pub(super) type MarkBytes = [u8; 5];

/// The marks of a text, from front to back.
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    wanted: MarkBytes,
    /// Where the block at hand starts.
    block: usize,
    /// The marks in it that were not given yet, the first one lowest.
    found: u64,
}

impl<'a> Marks<'a> {
    pub(super) fn new(bytes: &'a [u8], wanted: MarkBytes) -> Self {
        Self {
            bytes,
            wanted,
            block: 0,
            found: found_in(block_at(bytes, 0), wanted),
        }
    }

    /// The place of the next mark.
    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            let next = self.block + BLOCK_BYTES;
            if next >= self.bytes.len() {
                return None;
            }
            self.block = next;
            self.found = found_in(block_at(self.bytes, next), self.wanted);
        }
        let at = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        (at < self.bytes.len()).then_some(at)
    }
}

/// The block that starts there, with bytes behind the end that the caller must not take for marks.
#[inline]
fn block_at(bytes: &[u8], start: usize) -> [u8; BLOCK_BYTES] {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return *block;
    }
    let mut block = [0; BLOCK_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

#[inline]
fn found_in(block: [u8; BLOCK_BYTES], wanted: MarkBytes) -> u64 {
    let [a, b, c, d, e] = wanted;
    let is_mark = block.map(|byte| {
        u8::from(byte == a)
            | u8::from(byte == b)
            | u8::from(byte == c)
            | u8::from(byte == d)
            | u8::from(byte == e)
    });
    let (eights, _) = is_mark.as_chunks::<8>();
    eights.iter().rev().fold(0, |found, eight| {
        // Each of eight bytes is 0 or 1: the product has them side by side in its highest byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        found << 8 | bits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_found_where_they_are(
            bytes in prop::collection::vec(prop::sample::select(b",\"\n\r\0ab\xff".to_vec()), 0..300),
        ) {
            let wanted = [b',', b'"', b'\n', b'\r', 0];
            let mut marks = Marks::new(&bytes, wanted);
            let found: Vec<usize> = std::iter::from_fn(|| marks.next()).collect();
            let expected: Vec<usize> = (0..bytes.len()).filter(|at| wanted.contains(&bytes[*at])).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
