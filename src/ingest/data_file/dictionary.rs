//! A column's different values, each written once, and the values of a page as their places. Pure.
//!
//! Format: Parquet, "Encodings", `RLE_DICTIONARY`: the width of a place in bits as one byte, then runs; a bit-packed one here, or
//! one of a value repeated.

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::value::{Extremes, Value};

/// The values of one column chunk, in the order in which they came.
#[derive(Default)]
pub(super) struct Dictionary {
    /// All of them in `PLAIN`.
    plain: Vec<u8>,
    /// Where each of them starts in that.
    starts: Vec<u32>,
    places: HashTable<u32>,
    /// Seeded anew for each, so that nobody can send values that meet in one place.
    hashing: RandomState,
    /// The values of the page at hand.
    page: Vec<u32>,
    /// Their bytes in `PLAIN`.
    page_plain_bytes: usize,
}

impl Dictionary {
    /// Different values.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Values of the page at hand.
    pub(super) fn page_len(&self) -> usize {
        self.page.len()
    }

    /// Bytes that they would have in `PLAIN`.
    pub(super) fn page_plain_bytes(&self) -> usize {
        self.page_plain_bytes
    }

    /// Bytes of the different values.
    pub(super) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Bytes that it holds in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let for_each = 2 * size_of::<u32>() + size_of::<u64>();
        self.plain.len() + self.starts.len() * for_each + self.page.len() * size_of::<u32>()
    }

    /// Adds a value to the page; one that is new to the extremes, too.
    #[inline]
    pub(super) fn push<V: Value>(&mut self, item: V::Item<'_>, extremes: &mut Extremes<V>) {
        let Self {
            plain,
            starts,
            places,
            hashing,
            page,
            page_plain_bytes,
        } = self;
        *page_plain_bytes += V::plain_bytes(item);
        let at = |place: &u32| value_at::<V>(plain, starts, *place);
        let hash = V::hash(item, hashing);
        if let Some(place) = places.find(hash, |place| V::is_same(at(place), item)) {
            page.push(*place);
            return;
        }
        // Both are bounded by the bytes of a dictionary and one batch.
        let place = u32::try_from(starts.len()).unwrap_or(u32::MAX);
        starts.push(u32::try_from(plain.len()).unwrap_or(u32::MAX));
        V::put(item, plain);
        V::widen(extremes, item);
        places.insert_unique(hash, place, |place| {
            V::hash(value_at::<V>(plain, starts, *place), hashing)
        });
        page.push(place);
    }

    /// The values of the page at hand in `PLAIN`.
    pub(super) fn page_as_plain<V: Value>(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.page_plain_bytes);
        for place in &self.page {
            let item = value_at::<V>(&self.plain, &self.starts, *place);
            V::put(item, &mut plain);
        }
        plain
    }

    /// Writes the page at hand, and begins the next one.
    pub(super) fn end_page(&mut self, encoded: &mut Vec<u8>) {
        let width = bits_of(self.starts.len().saturating_sub(1));
        encoded.push(width);
        if let Some(first) = self.page.first() {
            if self.page.iter().all(|place| place == first) {
                put_varint((self.page.len() as u64) << 1, encoded);
                let bytes = usize::from(width).div_ceil(8);
                encoded.extend_from_slice(&first.to_le_bytes()[..bytes]);
            } else {
                let groups = self.page.len().div_ceil(8);
                put_varint((groups as u64) << 1 | 1, encoded);
                pack(&self.page, width, encoded);
            }
        }
        self.page.clear();
        self.page_plain_bytes = 0;
    }

    /// How many values there are, and all of them in `PLAIN`.
    pub(super) fn into_plain(self) -> (usize, Vec<u8>) {
        (self.starts.len(), self.plain)
    }
}

fn value_at<'a, V: Value>(plain: &'a [u8], starts: &[u32], place: u32) -> V::Item<'a> {
    V::get(plain, starts[place as usize] as usize)
}

/// Bits of a number.
fn bits_of(number: usize) -> u8 {
    u8::try_from(usize::BITS - number.leading_zeros()).unwrap_or(u8::MAX)
}

/// Adds numbers of `width` bits (32 at the most), the first one lowest, filled up to whole groups of eight.
fn pack(numbers: &[u32], width: u8, packed: &mut Vec<u8>) {
    let end = packed.len() + numbers.len().div_ceil(8) * usize::from(width);
    let (mut waiting, mut waiting_bits) = (0u64, 0);
    for number in numbers {
        waiting |= u64::from(*number) << waiting_bits;
        waiting_bits += u32::from(width);
        if waiting_bits >= u32::BITS {
            packed.extend_from_slice(&waiting.to_le_bytes()[..4]);
            waiting >>= u32::BITS;
            waiting_bits -= u32::BITS;
        }
    }
    packed.extend_from_slice(&waiting.to_le_bytes());
    packed.resize(end, 0);
}

/// Adds a number in base 128 (ULEB128), which heads every run.
pub(super) fn put_varint(mut number: u64, encoded: &mut Vec<u8>) {
    while number >= 0x80 {
        encoded.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    encoded.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_packed_as_the_specification_shows() {
        // Parquet, "Encodings": 0 to 7 in three bits each.
        let mut packed = vec![9];
        pack(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut packed);
        assert_eq!(packed, [9, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        packed.clear();
        pack(&[1], 1, &mut packed);
        assert_eq!(packed, [1]);
        packed.clear();
        pack(&[u32::MAX, 0, 5], 32, &mut packed);
        assert_eq!(packed[..12], [255, 255, 255, 255, 0, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(packed.len(), 32);
    }

    #[test]
    fn lengths_of_runs_have_seven_bits_a_byte() {
        let mut encoded = Vec::new();
        for number in [0, 127, 128, 624_485] {
            put_varint(number, &mut encoded);
        }
        assert_eq!(encoded, [0, 127, 0x80, 1, 0xE5, 0x8E, 0x26]);
    }
}
