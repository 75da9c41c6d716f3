//! Recognises one value written as text: boolean, integer, float, decimal, date, time, timestamp.
//!
//! The rule behind every function here is the loss guard of the contract (`upload-api.md`,
//! "Types"): a text is accepted only if the typed value prints back as the same text, but for
//! spelling that carries no meaning. Such spellings are: trailing zeros of a fraction, a missing
//! digit before or after the point (`.5`, `5.`), how an exponent is written, the letter case of
//! `true` and `false`, `T` or a blank between date and time, seconds of zero left out, a comma before their fraction, and how
//! a zone offset is written. Dates have one of the forms of [`DateForm`], the same in all of a column.
//!
//! Invariants:
//! * Every function is pure, works on bytes, allocates nothing and accepts any input without a
//!   panic.
//! * The languages of booleans, numbers, dates, local timestamps and zoned timestamps do not
//!   overlap, except that an integer may be a float too.
//! * Inference and encoding use the same functions, so a type that was inferred always encodes.

mod date_form;
mod scanned_decimal;

pub use date_form::{DateForm, DateForms};
use scanned_decimal::ScannedDecimal;

/// Microseconds in a second.
const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in a day of 24 hours.
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 0001-01-01 to 1970-01-01 in the proleptic Gregorian calendar.
const DAYS_TO_EPOCH: i32 = 719_162;
/// Days from 1970-01-01 to 10000-01-01: the first day that has no four-digit year.
const DAYS_END_EXCLUSIVE: i64 = 2_932_897;
/// Largest zone offset, in whole hours, that is taken for one.
const OFFSET_HOURS_MAX: i64 = 15;

/// `true` or `false` in any letter case.
pub fn parse_boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// An integer of 64 bits in its one plain spelling: `-?(0|[1-9][0-9]*)`, but not `-0`.
pub fn parse_int64(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'0', ..] => return None,
        // 19 digits hold every value of 64 bits; 20 never do.
        more if more.len() > 19 => return None,
        _ => {}
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = digit_of(byte)?;
        // 19 digits stay under 10^19, which fits 64 bits without a sign.
        magnitude = magnitude * 10 + digit;
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// A finite decimal that its nearest double prints back.
///
/// An exponent counts only with a point in the mantissa or a sign in the exponent, because `1e5` is
/// as likely a name as a number. Digits alone are a float only if the double is exactly that
/// integer.
pub fn parse_float64(text: &str) -> Option<f64> {
    let decimal = ScannedDecimal::scan(text.as_bytes())?;
    if decimal.is_bare_exponent() {
        None
    } else {
        decimal.to_float64(text)
    }
}

/// [`parse_float64`] for the token of a JSON number, where `1e5` can be nothing but a number.
pub fn parse_json_float64(text: &str) -> Option<f64> {
    ScannedDecimal::scan(text.as_bytes())?.to_float64(text)
}

/// A finite decimal that its nearest 32-bit float prints back; spellings as for [`parse_float64`].
pub fn parse_float32(text: &str) -> Option<f32> {
    let decimal = ScannedDecimal::scan(text.as_bytes())?;
    if decimal.is_bare_exponent() {
        None
    } else {
        decimal.to_float32(text)
    }
}

/// [`parse_float32`] for the token of a JSON number.
pub fn parse_json_float32(text: &str) -> Option<f32> {
    ScannedDecimal::scan(text.as_bytes())?.to_float32(text)
}

/// A calendar date of the years 0001 to 9999, in days since 1970-01-01.
pub fn parse_date(text: &str, form: DateForm) -> Option<i32> {
    match split_date(text.as_bytes(), form)? {
        (days, []) => Some(days),
        _ => None,
    }
}

/// A local timestamp `YYYY-MM-DD[T ]HH:MM[:SS[.f+]]`, or with a date of another form, in microseconds since 1970-01-01 00:00:00 of
/// its own clock. Digits of the fraction beyond the sixth must be zeros.
pub fn parse_timestamp(text: &str, form: DateForm) -> Option<i64> {
    match split_timestamp(text.as_bytes(), form)? {
        (micros, []) => Some(micros),
        _ => None,
    }
}

/// A timestamp with `Z`, `UTC` or a numeric offset (`+HH:MM`, `+HHMM`, `+HH`, either sign, optionally one
/// blank before it), in microseconds since 1970-01-01 00:00:00 UTC. The instant must lie in the
/// years 0001 to 9999 in UTC too, so that every reader can show it.
pub fn parse_timestamptz(text: &str, form: DateForm) -> Option<i64> {
    let (local_micros, zone) = split_timestamp(text.as_bytes(), form)?;
    if matches!(zone, b"Z" | b"UTC" | b" UTC") {
        return Some(local_micros);
    }
    let numeric = zone.strip_prefix(b" ").unwrap_or(zone);
    let (east, digits) = match numeric {
        [b'+', digits @ ..] => (true, digits),
        [b'-', digits @ ..] => (false, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [_, _] => (two_digits(digits)?, 0),
        [_, _, rest @ ..] => (
            two_digits(digits)?,
            two_digits_only(rest.strip_prefix(b":").unwrap_or(rest))?,
        ),
        _ => return None,
    };
    if hours > OFFSET_HOURS_MAX || minutes > 59 {
        return None;
    }
    let offset_micros = (hours * 3600 + minutes * 60) * MICROS_PER_SECOND;
    let micros = if east {
        local_micros - offset_micros
    } else {
        local_micros + offset_micros
    };
    let first_micros = -i64::from(DAYS_TO_EPOCH) * MICROS_PER_DAY;
    let end_micros_exclusive = DAYS_END_EXCLUSIVE * MICROS_PER_DAY;
    (first_micros..end_micros_exclusive)
        .contains(&micros)
        .then_some(micros)
}

/// Whether the text is a date or a timestamp of any form.
pub fn is_temporal(text: &str) -> bool {
    // Every form starts with a number.
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    DateForms::ALL
        .iter()
        .any(|form| match split_date(text.as_bytes(), form) {
            None => false,
            Some((_, [])) => true,
            Some(_) => {
                parse_timestamp(text, form).is_some() || parse_timestamptz(text, form).is_some()
            }
        })
}

/// A time of day `HH:MM[:SS[.f+]]`, in microseconds since midnight.
pub fn parse_time_micros(text: &str) -> Option<i64> {
    match split_clock(text.as_bytes())? {
        (micros, []) => Some(micros),
        _ => None,
    }
}

/// The unscaled value of plain digits with an optional fraction, exact or nothing. Zeros of the
/// fraction beyond `scale` are fine; a minus before zero is not, because a decimal has no negative
/// zero.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    let point = unsigned.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, &[][..]),
    };
    if (whole.is_empty() && fraction.is_empty()) || (whole.len() > 1 && whole[0] == b'0') {
        return None;
    }
    let bound_exclusive = 10i128.checked_pow(u32::from(precision))?;
    let mut unscaled: i128 = 0;
    // The power of ten of the digit at hand, counted in units of the last kept digit.
    let mut power = i64::try_from(whole.len()).ok()? + i64::from(scale);
    for &byte in whole.iter().chain(fraction) {
        let digit = digit_of(byte)?;
        power -= 1;
        if power >= 0 {
            unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit))?;
        } else if digit != 0 {
            return None;
        }
    }
    if unscaled != 0 {
        unscaled = unscaled.checked_mul(10i128.checked_pow(u32::try_from(power.max(0)).ok()?)?)?;
    }
    if unscaled >= bound_exclusive || (negative && unscaled == 0) {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled })
}

/// Whether the text is one of the words that stand for "no value": `NULL`, `null`, `Null`, `\N`,
/// `NA`, `N/A`, `n/a`.
///
/// Such a word counts as null only where the other values of its column make it a column that is
/// not text; in a text column it stays what it says (`NA` may be Namibia).
pub fn is_null_word(text: &str) -> bool {
    matches!(
        text,
        "NULL" | "null" | "Null" | "\\N" | "NA" | "N/A" | "n/a"
    )
}

fn digit_of(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// The number that the first two bytes spell.
fn two_digits(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [tens, ones, ..] => Some((digit_of(*tens)? * 10 + digit_of(*ones)?) as i64),
        _ => None,
    }
}

fn two_digits_only(bytes: &[u8]) -> Option<i64> {
    if bytes.len() == 2 {
        two_digits(bytes)
    } else {
        None
    }
}

/// The date at the front, in days since 1970-01-01, and what follows it.
fn split_date(bytes: &[u8], form: DateForm) -> Option<(i32, &[u8])> {
    if form != DateForm::ISO {
        return form.split(bytes);
    }
    let (date, rest) = bytes.split_at_checked(10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = two_digits(date)? * 100 + two_digits(&date[2..])?;
    let (month, day) = (two_digits(&date[5..])?, two_digits(&date[8..])?);
    Some((
        days_since_epoch(year as i32, month as usize, day as i32)?,
        rest,
    ))
}

/// Days since 1970-01-01 of a date that exists; nothing for one that does not.
fn days_since_epoch(year: i32, month: usize, day: i32) -> Option<i32> {
    const DAYS_BEFORE_MONTH: [i32; 13] =
        [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    if year < 1 || !(1..=12).contains(&month) {
        return None;
    }
    let leap = i32::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let (before, after) = (DAYS_BEFORE_MONTH[month - 1], DAYS_BEFORE_MONTH[month]);
    let month_len = after - before + if month == 2 { leap } else { 0 };
    if !(1..=month_len).contains(&day) {
        return None;
    }
    let years = year - 1;
    let days_before_year = years * 365 + years / 4 - years / 100 + years / 400;
    let leap_day_before = if month > 2 { leap } else { 0 };
    Some(days_before_year + before + leap_day_before + day - 1 - DAYS_TO_EPOCH)
}

/// The local timestamp at the front, in microseconds, and what follows it.
fn split_timestamp(bytes: &[u8], form: DateForm) -> Option<(i64, &[u8])> {
    let (days, rest) = split_date(bytes, form)?;
    match rest {
        [b'T' | b' ', clock @ ..] => {
            let (micros, rest) = split_clock(clock)?;
            Some((i64::from(days) * MICROS_PER_DAY + micros, rest))
        }
        _ => None,
    }
}

/// The time of day at the front, in microseconds since midnight, and what follows it.
fn split_clock(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (clock, rest) = bytes.split_at_checked(5)?;
    let (hours, minutes) = (two_digits(clock)?, two_digits(&clock[3..])?);
    if clock[2] != b':' || hours > 23 || minutes > 59 {
        return None;
    }
    let minute_micros = (hours * 3600 + minutes * 60) * MICROS_PER_SECOND;
    let [b':', rest @ ..] = rest else {
        return Some((minute_micros, rest));
    };
    let (seconds, rest) = (two_digits(rest)?, &rest[2..]);
    if seconds > 59 {
        return None;
    }
    let whole_micros = minute_micros + seconds * MICROS_PER_SECOND;
    let [b'.' | b',', fraction @ ..] = rest else {
        return Some((whole_micros, rest));
    };
    let mut fraction_micros = 0;
    let mut digit_micros = MICROS_PER_SECOND;
    let mut taken = 0;
    while let Some(digit) = fraction.get(taken).copied().and_then(digit_of) {
        taken += 1;
        digit_micros /= 10;
        if digit_micros == 0 && digit != 0 {
            return None;
        }
        fraction_micros += digit as i64 * digit_micros;
    }
    if taken == 0 {
        None
    } else {
        Some((whole_micros + fraction_micros, &fraction[taken..]))
    }
}

#[cfg(test)]
pub(crate) mod tests;
