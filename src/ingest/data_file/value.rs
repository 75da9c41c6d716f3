//! The kinds of values that a flat column can have: how one is written plainly, compared and counted. Pure.
//!
//! Format: Parquet, "Encodings", `PLAIN`: fixed-width numbers little-endian, text behind its length as four bytes little-endian.
//! Order of statistics: Parquet, `ColumnOrder`: signed numbers, text by its bytes; NaN is no bound, and a zero has the sign that
//! makes it one whichever zeros there are.

use std::hash::{BuildHasher, Hasher};
use std::mem::size_of;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type};
use foldhash::fast::RandomState;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use crate::ingest::statistics::cut_text;

/// Characters of a text that statistics have.
const BOUND_CHARACTERS_MAX: usize = 64;

/// The least and the greatest value, once there is one.
pub(super) type Extremes<V> = Option<(<V as Value>::Owned, <V as Value>::Owned)>;

/// A kind of values.
pub(super) trait Value: 'static {
    /// One of them, where it stands.
    type Item<'a>: Copy;
    /// One of them, kept.
    type Owned: Send;

    /// Gives all values that are not null.
    fn for_each(array: &dyn Array, take: impl FnMut(Self::Item<'_>));

    fn is_same(left: Self::Item<'_>, right: Self::Item<'_>) -> bool;

    fn hash(item: Self::Item<'_>, hashing: &RandomState) -> u64;

    /// Bytes of it in `PLAIN`.
    fn plain_bytes(item: Self::Item<'_>) -> usize;

    /// Adds it in `PLAIN`.
    fn put(item: Self::Item<'_>, plain: &mut Vec<u8>);

    /// The one that [`Self::put`] has written there.
    fn get(plain: &[u8], start: usize) -> Self::Item<'_>;

    fn widen(extremes: &mut Extremes<Self>, item: Self::Item<'_>);

    fn statistics(extremes: Extremes<Self>, null_count: u64) -> Statistics;
}

/// Numbers of a fixed width.
pub(super) trait Fixed: ArrowPrimitiveType {
    fn to_bits(value: Self::Native) -> u64;

    fn from_bits(bits: u64) -> Self::Native;

    fn statistics(min: Option<Self::Native>, max: Option<Self::Native>, nulls: u64) -> Statistics;
}

impl Fixed for Int32Type {
    fn to_bits(value: i32) -> u64 {
        u64::from(value.cast_unsigned())
    }

    #[expect(clippy::cast_possible_truncation, reason = "it was made of 32 bits")]
    fn from_bits(bits: u64) -> i32 {
        (bits as u32).cast_signed()
    }

    fn statistics(min: Option<i32>, max: Option<i32>, nulls: u64) -> Statistics {
        Statistics::int32(min, max, None, Some(nulls), false)
    }
}

impl Fixed for Int64Type {
    fn to_bits(value: i64) -> u64 {
        value.cast_unsigned()
    }

    fn from_bits(bits: u64) -> i64 {
        bits.cast_signed()
    }

    fn statistics(min: Option<i64>, max: Option<i64>, nulls: u64) -> Statistics {
        Statistics::int64(min, max, None, Some(nulls), false)
    }
}

impl Fixed for Float64Type {
    fn to_bits(value: f64) -> u64 {
        value.to_bits()
    }

    fn from_bits(bits: u64) -> f64 {
        f64::from_bits(bits)
    }

    fn statistics(min: Option<f64>, max: Option<f64>, nulls: u64) -> Statistics {
        let min = min.map(|min| if min == 0.0 { -0.0 } else { min });
        let max = max.map(|max| if max == 0.0 { 0.0 } else { max });
        Statistics::double(min, max, None, Some(nulls), false)
    }
}

impl<T: Fixed> Value for T {
    type Item<'a> = T::Native;
    type Owned = T::Native;

    fn for_each(array: &dyn Array, mut take: impl FnMut(T::Native)) {
        let array = array.as_primitive::<T>();
        let values = array.values();
        match array.nulls() {
            None => values.iter().for_each(|value| take(*value)),
            Some(nulls) => nulls.valid_indices().for_each(|index| take(values[index])),
        }
    }

    /// By their bits, so that every value is read as it was, also zeros and what is no number.
    fn is_same(left: T::Native, right: T::Native) -> bool {
        T::to_bits(left) == T::to_bits(right)
    }

    fn hash(item: T::Native, hashing: &RandomState) -> u64 {
        hashing.hash_one(T::to_bits(item))
    }

    fn plain_bytes(_: T::Native) -> usize {
        size_of::<T::Native>()
    }

    fn put(item: T::Native, plain: &mut Vec<u8>) {
        let bytes = T::to_bits(item).to_le_bytes();
        plain.extend_from_slice(&bytes[..size_of::<T::Native>()]);
    }

    fn get(plain: &[u8], start: usize) -> T::Native {
        let width = size_of::<T::Native>();
        let mut bits = [0; 8];
        bits[..width].copy_from_slice(&plain[start..start + width]);
        T::from_bits(u64::from_le_bytes(bits))
    }

    fn widen(extremes: &mut Extremes<T>, item: T::Native) {
        match extremes {
            Some((min, max)) => {
                if item < *min {
                    *min = item;
                }
                if item > *max {
                    *max = item;
                }
            }
            // What is no number is neither less nor greater than anything.
            None if item.partial_cmp(&item).is_some() => *extremes = Some((item, item)),
            None => {}
        }
    }

    fn statistics(extremes: Extremes<T>, null_count: u64) -> Statistics {
        let (min, max) = extremes.unzip();
        <T as Fixed>::statistics(min, max, null_count)
    }
}

/// Text, as its bytes.
pub(super) struct Text;

impl Value for Text {
    type Item<'a> = &'a [u8];
    type Owned = Vec<u8>;

    fn for_each(array: &dyn Array, mut take: impl FnMut(&[u8])) {
        let array = array.as_string::<i32>();
        match array.nulls() {
            None => (0..array.len()).for_each(|index| take(array.value(index).as_bytes())),
            Some(nulls) => nulls
                .valid_indices()
                .for_each(|index| take(array.value(index).as_bytes())),
        }
    }

    fn is_same(left: &[u8], right: &[u8]) -> bool {
        left == right
    }

    fn hash(item: &[u8], hashing: &RandomState) -> u64 {
        let mut hasher = hashing.build_hasher();
        hasher.write(item);
        hasher.finish()
    }

    fn plain_bytes(item: &[u8]) -> usize {
        size_of::<u32>() + item.len()
    }

    fn put(item: &[u8], plain: &mut Vec<u8>) {
        // Arrow's offsets have 31 bits.
        let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
        plain.extend_from_slice(&length.to_le_bytes());
        plain.extend_from_slice(item);
    }

    fn get(plain: &[u8], start: usize) -> &[u8] {
        let mut length = [0; 4];
        length.copy_from_slice(&plain[start..start + 4]);
        &plain[start + 4..][..u32::from_le_bytes(length) as usize]
    }

    fn widen(extremes: &mut Extremes<Self>, item: &[u8]) {
        match extremes {
            Some((min, max)) => {
                if item < min.as_slice() {
                    item.clone_into(min);
                } else if item > max.as_slice() {
                    item.clone_into(max);
                }
            }
            None => *extremes = Some((item.to_vec(), item.to_vec())),
        }
    }

    fn statistics(extremes: Extremes<Self>, null_count: u64) -> Statistics {
        let (min, max) = extremes.unzip();
        let bound = |value: Option<Vec<u8>>, is_upper| {
            let whole = String::from_utf8(value?).ok()?;
            let cut = cut_text(&whole, BOUND_CHARACTERS_MAX, is_upper)?;
            Some((cut == whole, ByteArray::from(cut.into_bytes())))
        };
        let (min_is_exact, min) = bound(min, false).unzip();
        let (max_is_exact, max) = bound(max, true).unzip();
        let bounds = ValueStatistics::new(min, max, None, Some(null_count), false)
            .with_min_is_exact(min_is_exact.unwrap_or(false))
            .with_max_is_exact(max_is_exact.unwrap_or(false));
        Statistics::ByteArray(bounds)
    }
}
