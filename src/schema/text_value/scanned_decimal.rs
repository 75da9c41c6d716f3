//! A decimal number taken apart, and the check that a float prints it back.
//!
//! Owns the grammar of fractions and exponents. Invariant: two spellings of one number have the
//! same sign, mantissa and exponent, so comparing the parts of a text with the parts of the
//! shortest decimal of its float is the loss guard.

use std::fmt::Write;

use super::{digit_of, parse_int64};

/// No shortest decimal of a double has more significant digits than this.
const DOUBLE_DIGITS_MAX: u32 = 17;
/// Every decimal of this many significant digits survives the way through a (normal) double and
/// back.
const DOUBLE_DIGITS_SAFE: u32 = 15;
/// Exponents of ten outside of +-this may meet the subnormal or the infinite end of a double.
const DOUBLE_EXPONENT_SAFE: i64 = 280;
/// Written exponents are cut here: far outside of any double, and far from overflow.
const WRITTEN_EXPONENT_MAX: i64 = 1_000_000_000;
/// Powers of ten that a double holds exactly.
const EXACT_POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A decimal number taken apart: `mantissa * 10^exponent`, the mantissa without trailing zeros, so
/// that two spellings of one number give the same parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ScannedDecimal {
    negative: bool,
    /// At most [`DOUBLE_DIGITS_MAX`] digits; 0 only for zero, whose exponent is 0 too.
    mantissa: u64,
    exponent: i64,
    /// Digits of the mantissa.
    significant: u32,
    has_point: bool,
    has_exponent: bool,
    has_exponent_sign: bool,
}

impl ScannedDecimal {
    /// Nothing for text that is not a number in an accepted spelling, or has more digits than any
    /// double prints.
    pub(super) fn scan(bytes: &[u8]) -> Option<Self> {
        let (negative, mut rest) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let mut digits = DigitSum::default();
        let whole_len = digits.take(&mut rest)?;
        if whole_len > 1 && bytes[usize::from(negative)] == b'0' {
            return None;
        }
        let mut fraction_len = 0;
        let has_point = rest.first() == Some(&b'.');
        if has_point {
            rest = &rest[1..];
            fraction_len = digits.take(&mut rest)?;
        }
        if whole_len + fraction_len == 0 {
            return None;
        }
        let has_exponent = matches!(rest.first(), Some(b'e' | b'E'));
        let (written_exponent, has_exponent_sign) = match rest {
            [] => (0, false),
            [b'e' | b'E', exponent @ ..] => scan_exponent(exponent)?,
            _ => return None,
        };
        let exponent = if digits.mantissa == 0 {
            0
        } else {
            written_exponent + i64::try_from(digits.pending_zeros).ok()?
                - i64::try_from(fraction_len).ok()?
        };
        Some(Self {
            negative,
            mantissa: digits.mantissa,
            exponent,
            significant: digits.significant,
            has_point,
            has_exponent,
            has_exponent_sign,
        })
    }

    pub(super) fn is_bare_exponent(&self) -> bool {
        self.has_exponent && !self.has_point && !self.has_exponent_sign
    }

    fn is_digits_only(&self) -> bool {
        !self.has_exponent && !self.has_point
    }

    pub(super) fn to_float64(self, text: &str) -> Option<f64> {
        let safe_digits = self.significant <= DOUBLE_DIGITS_SAFE;
        let power = usize::try_from(self.exponent.unsigned_abs()).ok()?;
        // A long row of digits may exceed 64 bits however few of them are significant: it takes the
        // slow way.
        let short_enough = !self.is_digits_only() || text.len() <= DOUBLE_DIGITS_SAFE as usize;
        if safe_digits && short_enough && power < EXACT_POWERS_OF_TEN.len() {
            // Both operands are exact doubles, so the one operation rounds correctly.
            let magnitude = match self.exponent {
                0.. => self.mantissa as f64 * EXACT_POWERS_OF_TEN[power],
                _ => self.mantissa as f64 / EXACT_POWERS_OF_TEN[power],
            };
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        let value: f64 = text.parse().ok()?;
        if self.is_digits_only() && self.mantissa != 0 {
            let integer = parse_int64(text)?;
            if value as i128 != i128::from(integer) {
                return None;
            }
        }
        let prints_back = (safe_digits && self.exponent.abs() <= DOUBLE_EXPONENT_SAFE)
            || (value.is_finite() && self.has_parts_of(&printed(value)?));
        prints_back.then_some(value)
    }

    pub(super) fn to_float32(self, text: &str) -> Option<f32> {
        let value: f32 = text.parse().ok()?;
        if self.is_digits_only() && self.mantissa != 0 {
            let integer = parse_int64(text)?;
            if value as i128 != i128::from(integer) {
                return None;
            }
        }
        (value.is_finite() && self.has_parts_of(&printed(value)?)).then_some(value)
    }

    fn has_parts_of(&self, other: &Self) -> bool {
        (self.negative, self.mantissa, self.exponent)
            == (other.negative, other.mantissa, other.exponent)
    }
}

/// Digits summed up from the left; zeros wait until a digit after them makes them significant.
#[derive(Default)]
struct DigitSum {
    mantissa: u64,
    significant: u32,
    pending_zeros: usize,
}

impl DigitSum {
    /// Takes the run of digits at the front of `rest` and answers its length; nothing if there are
    /// too many digits.
    fn take(&mut self, rest: &mut &[u8]) -> Option<usize> {
        let mut taken = 0;
        while let Some(digit) = rest.get(taken).copied().and_then(digit_of) {
            taken += 1;
            if digit == 0 {
                self.pending_zeros += usize::from(self.mantissa != 0);
                continue;
            }
            let added = u32::try_from(self.pending_zeros).ok()?.checked_add(1)?;
            self.significant = self.significant.checked_add(added)?;
            if self.significant > DOUBLE_DIGITS_MAX {
                return None;
            }
            self.mantissa = self.mantissa * 10u64.pow(added) + digit;
            self.pending_zeros = 0;
        }
        *rest = &rest[taken..];
        Some(taken)
    }
}

/// What stands after the `e`: its value, and whether a sign was written.
fn scan_exponent(bytes: &[u8]) -> Option<(i64, bool)> {
    let (has_sign, negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, true, digits),
        [b'+', digits @ ..] => (true, false, digits),
        digits => (false, false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut magnitude: i64 = 0;
    for &byte in digits {
        let digit = digit_of(byte)?;
        magnitude = (magnitude * 10 + digit as i64).min(WRITTEN_EXPONENT_MAX);
    }
    Some((if negative { -magnitude } else { magnitude }, has_sign))
}

/// The shortest decimal of a finite float, taken apart.
fn printed(value: impl std::fmt::LowerExp) -> Option<ScannedDecimal> {
    let mut line = StackText {
        bytes: [0; 40],
        len: 0,
    };
    write!(line, "{value:e}").ok()?;
    ScannedDecimal::scan(&line.bytes[..line.len])
}

/// A short text without an allocation.
struct StackText {
    bytes: [u8; 40],
    len: usize,
}

impl Write for StackText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
