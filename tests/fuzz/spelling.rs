//! What "prints back" means, written a second time and by text alone.
//!
//! A typed value is printed by `std` and `chrono`; it must be the text that it came from, but for the spellings that the
//! README says carry no meaning. Nothing here uses the code that is tested.

use std::fmt;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, Timelike};

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Typed {
    Boolean(bool),
    Int64(i64),
    Float64(f64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00 of its own clock.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz(i64),
}

/// How a column may write its dates: chrono's format, and whether the month is in capitals.
pub const DATE_FORMS: [(&str, bool); 26] = [
    ("%Y-%m-%d", false),
    ("%Y-%-m-%-d", false),
    ("%Y/%m/%d", false),
    ("%Y/%-m/%-d", false),
    ("%Y.%m.%d", false),
    ("%Y.%-m.%-d", false),
    ("%d-%m-%Y", false),
    ("%-d-%-m-%Y", false),
    ("%d/%m/%Y", false),
    ("%-d/%-m/%Y", false),
    ("%d.%m.%Y", false),
    ("%-d.%-m.%Y", false),
    ("%m-%d-%Y", false),
    ("%-m-%-d-%Y", false),
    ("%m/%d/%Y", false),
    ("%-m/%-d/%Y", false),
    ("%m.%d.%Y", false),
    ("%-m.%-d.%Y", false),
    ("%d-%b-%Y", false),
    ("%-d-%b-%Y", false),
    ("%d %b %Y", false),
    ("%-d %b %Y", false),
    ("%d-%b-%Y", true),
    ("%-d-%b-%Y", true),
    ("%d %b %Y", true),
    ("%-d %b %Y", true),
];

/// The date as a form writes it.
pub fn print_date(form: (&str, bool), date: NaiveDate) -> String {
    let (format, is_capital) = form;
    let text = date.format(format).to_string();
    if is_capital {
        text.to_ascii_uppercase()
    } else {
        text
    }
}

/// The form in which all of these values print back as these texts; nothing, naming the first value that does not in any
/// form that the others have, if there is none.
pub fn common_form(
    values: &[(Typed, &str)],
    is_json: bool,
) -> Result<(&'static str, bool), String> {
    let mut left = DATE_FORMS.to_vec();
    for (value, text) in values {
        left.retain(|form| prints_back(*value, text, *form, is_json));
        if left.is_empty() {
            return Err(format!("{value:?} does not print back as `{text}`"));
        }
    }
    Ok(left[0])
}

/// Whether the value, printed, is the text.
pub fn prints_back(value: Typed, text: &str, form: (&str, bool), is_json: bool) -> bool {
    match value {
        Typed::Boolean(value) => value.to_string().eq_ignore_ascii_case(text),
        Typed::Int64(value) => value.to_string() == text,
        Typed::Float64(value) => {
            let is_exact =
                text.parse::<i64>().is_err() || value as i128 == text.parse().unwrap_or(0);
            value.is_finite()
                && is_exact
                && Number::of(text, is_json)
                    .is_some_and(|number| Some(number) == Number::of(&format!("{value:?}"), true))
        }
        Typed::Date(days) => date_of(days).is_some_and(|date| print_date(form, date) == text),
        Typed::Timestamp(micros) => clock_of(micros).is_some_and(|clock| {
            after_date_and_clock(clock, text, form).is_some_and(str::is_empty)
        }),
        Typed::TimestampTz(micros) => zone_of(text).is_some_and(|(minutes, zone)| {
            let local = micros + minutes * 60_000_000;
            clock_of(local)
                .is_some_and(|clock| after_date_and_clock(clock, text, form) == Some(zone))
        }),
    }
}

/// The date so many days after 1970-01-01, if its year has four digits.
pub fn date_of(days: i32) -> Option<NaiveDate> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = if days < 0 {
        epoch.checked_sub_days(distance)
    } else {
        epoch.checked_add_days(distance)
    };
    let years = NaiveDate::from_ymd_opt(1, 1, 1)?..=NaiveDate::from_ymd_opt(9999, 12, 31)?;
    date.filter(|date| years.contains(date))
}

fn clock_of(micros: i64) -> Option<NaiveDateTime> {
    let clock = DateTime::from_timestamp_micros(micros)?.naive_utc();
    date_of(i32::try_from(micros.div_euclid(86_400_000_000)).ok()?).map(|_| clock)
}

/// What follows the date and the time of day in a text that starts with these.
fn after_date_and_clock<'a>(
    clock: NaiveDateTime,
    text: &'a str,
    form: (&str, bool),
) -> Option<&'a str> {
    let rest = text.strip_prefix(&print_date(form, clock.date()))?;
    let rest = rest.strip_prefix(['T', ' '])?;
    let rest = rest.strip_prefix(&clock.format("%H:%M").to_string())?;
    let Some(rest) = rest.strip_prefix(&clock.format(":%S").to_string()) else {
        // Seconds that are zero may be left out.
        return (clock.second() == 0 && clock.nanosecond() == 0).then_some(rest);
    };
    let Some(digits) = rest.strip_prefix(['.', ',']) else {
        return (clock.nanosecond() == 0).then_some(rest);
    };
    let length = digits
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(digits.len());
    let (fraction, rest) = digits.split_at(length);
    let printed = format!("{:06}", clock.nanosecond() / 1000);
    (length > 0 && fraction.trim_end_matches('0') == printed.trim_end_matches('0')).then_some(rest)
}

/// The offset in minutes at the end of a text, and how it is written there.
fn zone_of(text: &str) -> Option<(i64, &str)> {
    for utc in [" UTC", "UTC", "Z"] {
        if text.ends_with(utc) {
            return Some((0, &text[text.len() - utc.len()..]));
        }
    }
    // The last sign, unless it is one between the parts of a date.
    let at = text
        .rfind(['+', '-'])
        .filter(|at| text[..*at].contains(':'))?;
    let sign = if text[at..].starts_with('-') { -1 } else { 1 };
    let digits = &text[at + 1..];
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = match digits.len() {
        2 if all_digits(digits) => (digits, "0"),
        4 if all_digits(digits) => digits.split_at(2),
        5 => digits.split_once(':').filter(|(hours, minutes)| {
            hours.len() == 2 && all_digits(hours) && all_digits(minutes)
        })?,
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let start = if text[..at].ends_with(' ') {
        at - 1
    } else {
        at
    };
    (hours <= 15 && minutes <= 59).then(|| (sign * (hours * 60 + minutes), &text[start..]))
}

/// A number in one normal form, by text alone: sign, digits without zeros at either end, exponent. Zeros before the
/// digits of a whole number carry meaning, and so have no normal form.
#[derive(PartialEq, Eq, Clone)]
pub struct Number {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    /// Nothing for what is no number, or may be something else: `007`, `+1`, `1e5` unless it stands in JSON, digits that no
    /// integer of 64 bits holds.
    pub fn of(text: &str, is_json: bool) -> Option<Self> {
        let (is_negative, unsigned) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_zeros_before = whole.len() > 1 && whole.starts_with('0');
        if !is_digits(whole) || !is_digits(fraction) || has_zeros_before {
            return None;
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let has_point = mantissa.contains('.');
        // Digits alone are no double beyond the integers of 64 bits, whatever they print as.
        let is_plain = !has_point && exponent.is_none();
        if is_plain && text.parse::<i64>().is_err() {
            return None;
        }
        if let Some(digits) = exponent {
            let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            let is_bare = !has_point && unsigned == digits;
            if unsigned.is_empty() || !is_digits(unsigned) || (is_bare && !is_json) {
                return None;
            }
        }
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        let significant = kept.trim_start_matches('0').to_owned();
        if significant.is_empty() {
            return Some(Self {
                is_negative,
                digits: significant,
                exponent: 0,
            });
        }
        let exponent: i64 = exponent.unwrap_or("0").parse().ok()?;
        let zeros = (digits.len() - kept.len()) as i64;
        Some(Self {
            is_negative,
            digits: significant,
            exponent: exponent.checked_add(zeros - fraction.len() as i64)?,
        })
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        write!(formatter, "{sign}{}e{}", self.digits, self.exponent)
    }
}
