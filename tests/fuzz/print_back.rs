//! Text to value to text is the identity, but for spelling that carries no meaning: for every type, for generated and for nasty
//! values, and for columns of them. What "prints back" means is written in `bodies::spelling`, apart from the code.

use calve::ingest::raw::RawColumn;
use calve::schema::text_value::{
    DateForms, parse_boolean, parse_date, parse_decimal, parse_float64, parse_int64,
    parse_json_float64, parse_time_micros, parse_timestamp, parse_timestamptz,
};
use calve::schema::{CellKind, Evidence, TextType};
use chrono::{DateTime, NaiveDate, NaiveTime};

use crate::bodies::spelling::{DATE_FORMS, Number, Typed, date_of, print_date, prints_back};
use crate::bodies::values::check_column;
use crate::fixed_seed;
use crate::support::random::Random;

const VALUES: usize = 40_000;
/// 0001-01-01 and 9999-12-31.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
/// Text that is easily taken for a value, and is none.
const STAYS_TEXT: [&str; 57] = [
    "007",
    "00",
    "-01",
    "+1",
    "+0.5",
    "1e5",
    "1E5",
    "-1e5",
    "1e05",
    "00.5",
    "007.5",
    "-00.5",
    "1_000",
    "1,000",
    "1 000",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "100000000000000000000",
    "0.10000000000000001",
    "0.12345678901234567",
    "3.14159265358979323846",
    "9007199254740993.0",
    "4.9e-324",
    "1.0e309",
    "1.0e-400",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "0x10",
    "1.5e",
    "1.5e+",
    ".",
    "-",
    "-.",
    ".e5",
    "1.5f",
    "1.5.0",
    "t",
    "yes",
    "on",
    " true",
    "12:30",
    "24:00:00",
    "2024-13-01",
    "2023-02-29",
    "0000-01-01",
    "24-01-01",
    "2024-01-01T24:00:00",
    "2024-01-01T10:60",
    "2024-01-01T10:00:60",
    "2024-01-01T10:00:00.1234567",
    "2024-01-01T10:00:00z",
    "2024-01-01T10:00:00 GMT",
    "2024-01-01T10:00:00+16:00",
];

fn column_of(texts: &[String]) -> RawColumn {
    let mut column = RawColumn::default();
    for text in texts {
        column.push(CellKind::Plain, text);
    }
    column
}

fn type_of(texts: &[String]) -> Option<TextType> {
    let mut evidence = Evidence::default();
    for text in texts {
        evidence.observe(CellKind::Plain, text);
    }
    evidence.text_type()
}

/// Every typed value that the code takes a text for.
fn accepted(text: &str) -> Vec<Typed> {
    let mut found = Vec::new();
    found.extend(parse_boolean(text).map(Typed::Boolean));
    found.extend(parse_int64(text).map(Typed::Int64));
    found.extend(parse_float64(text).map(Typed::Float64));
    for form in DateForms::ALL.iter() {
        found.extend(parse_date(text, form).map(Typed::Date));
        found.extend(parse_timestamp(text, form).map(Typed::Timestamp));
        found.extend(parse_timestamptz(text, form).map(Typed::TimestampTz));
    }
    found
}

#[track_caller]
fn assert_prints_back(text: &str) {
    for value in accepted(text) {
        let is_printed = DATE_FORMS
            .iter()
            .any(|form| prints_back(value, text, *form, false));
        assert!(is_printed, "`{text}` became {value:?}");
    }
    let json = parse_json_float64(text).map(Typed::Float64);
    assert!(
        json.is_none_or(|value| prints_back(value, text, DATE_FORMS[0], true)),
        "{text}"
    );
}

#[test]
fn text_that_is_easily_taken_for_a_value_stays_text() {
    for text in STAYS_TEXT {
        assert_prints_back(text);
        assert_eq!(accepted(text), [], "{text}");
        assert_eq!(type_of(&[text.to_owned()]), Some(TextType::Text), "{text}");
    }
}

#[test]
fn whatever_is_accepted_prints_back() {
    let mut random = Random::new(fixed_seed(), 1);
    for _ in 0..VALUES {
        assert_prints_back(&nasty(&mut random));
    }
}

#[test]
fn numbers_are_accepted_exactly_when_they_print_back() {
    let mut random = Random::new(fixed_seed(), 2);
    let mut floats = 0;
    for _ in 0..VALUES {
        let text = nasty_number(&mut random);
        let whole = text
            .parse::<i64>()
            .ok()
            .filter(|value| value.to_string() == text);
        assert_eq!(parse_int64(&text), whole, "{text}");
        for (is_json, found) in [
            (false, parse_float64(&text)),
            (true, parse_json_float64(&text)),
        ] {
            let nearest = text.parse::<f64>().ok();
            let expected = nearest
                .filter(|value| prints_back(Typed::Float64(*value), &text, DATE_FORMS[0], is_json));
            assert_eq!(
                found.map(f64::to_bits),
                expected.map(f64::to_bits),
                "{text}"
            );
            floats += usize::from(found.is_some());
        }
    }
    assert!(floats > VALUES / 10, "{floats} floats say little");
}

#[test]
fn every_spelling_without_meaning_is_accepted() {
    let mut random = Random::new(fixed_seed(), 3);
    for _ in 0..VALUES {
        let form = *random.pick(&DATE_FORMS);
        let (value, text) = spelled(&mut random, form);
        assert!(
            prints_back(value, &text, form, false),
            "the test itself: {value:?} {text}"
        );
        assert!(accepted(&text).contains(&value), "`{text}` is {value:?}");
    }
}

#[test]
fn columns_print_back_in_one_form() {
    const COLUMNS: usize = 3000;
    let mut random = Random::new(fixed_seed(), 4);
    let mut typed = 0;
    for _ in 0..COLUMNS {
        let form = *random.pick(&DATE_FORMS);
        let kind = random.below(6);
        let mut texts: Vec<String> = (0..1 + random.index(12))
            .map(|_| spelled_of(kind, &mut random, form).1)
            .collect();
        if random.one_in(4) {
            let at = random.index(texts.len());
            texts[at] = nasty(&mut random);
        }
        check_column(&column_of(&texts));
        typed += usize::from(type_of(&texts) != Some(TextType::Text));
    }
    assert!(typed > COLUMNS / 2, "{typed} typed columns say little");
}

#[test]
fn decimals_and_times_print_back() {
    let mut random = Random::new(fixed_seed(), 5);
    for _ in 0..VALUES {
        let text = nasty_number(&mut random);
        let scale = random.below(6) as i8;
        if let Some(unscaled) = parse_decimal(&text, 38, scale) {
            let digits = format!(
                "{:0width$}",
                unscaled.unsigned_abs(),
                width = scale as usize + 1
            );
            let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
            let sign = if unscaled < 0 { "-" } else { "" };
            // A point makes it a number of any size.
            let printed = format!("{sign}{whole}.{fraction}");
            let plain = if text.contains('.') {
                text.clone()
            } else {
                format!("{text}.")
            };
            assert_eq!(
                Number::of(&plain, false),
                Number::of(&printed, false),
                "{text}"
            );
        }
        let (time, text) = spelled_clock(&mut random);
        assert_eq!(parse_time_micros(&text), Some(time), "{text}");
    }
}

/// A value of any type in any of its spellings.
fn spelled(random: &mut Random, form: (&str, bool)) -> (Typed, String) {
    let kind = random.below(6);
    spelled_of(kind, random, form)
}

fn spelled_of(kind: u64, random: &mut Random, form: (&str, bool)) -> (Typed, String) {
    let day = DAYS.start() + random.below((DAYS.end() - DAYS.start() + 1) as u64) as i64;
    let date = date_of(day as i32).expect("a date");
    match kind {
        0 => {
            let value = random.one_in(2);
            let word = value.to_string();
            let letters = word.chars().map(|letter| match random.one_in(2) {
                true => letter.to_ascii_uppercase(),
                false => letter,
            });
            (Typed::Boolean(value), letters.collect())
        }
        1 => {
            let value = any_integer(random);
            (Typed::Int64(value), value.to_string())
        }
        2 => spelled_float(random),
        3 => (Typed::Date(day as i32), print_date(form, date)),
        4 => {
            let (time, clock) = spelled_clock(random);
            let separator = random.pick(&["T", " "]);
            let text = format!("{}{separator}{clock}", print_date(form, date));
            (Typed::Timestamp(day * 86_400_000_000 + time), text)
        }
        _ => {
            // Far from the ends of the calendar, which an offset may go beyond.
            let date = date.clamp(
                NaiveDate::from_ymd_opt(2, 1, 1).unwrap(),
                NaiveDate::from_ymd_opt(9998, 1, 1).unwrap(),
            );
            let (time, clock) = spelled_clock(random);
            let (minutes, zone) = spelled_zone(random);
            let separator = random.pick(&["T", " "]);
            let text = format!("{}{separator}{clock}{zone}", print_date(form, date));
            let midnight = date.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
            (
                Typed::TimestampTz(midnight + time - minutes * 60_000_000),
                text,
            )
        }
    }
}

fn any_integer(random: &mut Random) -> i64 {
    const EDGES: [i64; 10] = [
        0,
        -1,
        i64::MAX,
        i64::MIN,
        1 << 53,
        (1 << 53) + 1,
        -(1 << 53) - 1,
        i32::MAX as i64,
        i32::MIN as i64 - 1,
        10,
    ];
    match random.below(3) {
        0 => *random.pick(&EDGES),
        1 => random.below(100_000) as i64 - 50_000,
        _ => any_bits(random).cast_signed(),
    }
}

fn any_bits(random: &mut Random) -> u64 {
    random.below(1 << 32) << 32 | random.below(1 << 32)
}

fn any_float(random: &mut Random) -> f64 {
    const EDGES: [f64; 9] = [
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        1e22,
        9_007_199_254_740_992.0,
    ];
    let any = f64::from_bits(any_bits(random));
    match random.below(3) {
        0 => *random.pick(&EDGES),
        1 => random.below(1_000_000) as f64 / *random.pick(&[1.0, 10.0, 1000.0]),
        _ if any.is_finite() => any,
        _ => 1.5,
    }
}

/// With zeros at the end of the fraction, a digit left out beside the point, or an exponent.
fn spelled_float(random: &mut Random) -> (Typed, String) {
    let value = any_float(random);
    let plain = format!("{value}");
    let plain = if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    };
    let text = match random.below(5) {
        0 => format!("{plain}000"),
        1 if plain.contains("0.") && value.abs() < 1.0 && value != 0.0 => {
            plain.replacen("0.", ".", 1)
        }
        1 => plain.trim_end_matches('0').to_owned(),
        2 => {
            let exponent = format!("{value:e}");
            let (mantissa, digits) = exponent.split_once('e').expect("an exponent");
            let point = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if digits.starts_with('-') {
                ""
            } else {
                *random.pick(&["", "+", "0"])
            };
            format!(
                "{mantissa}{point}{}{sign}{digits}",
                random.pick(&["e", "E"])
            )
        }
        _ => plain,
    };
    (Typed::Float64(value), text)
}

/// Microseconds of a day, and how they are written.
fn spelled_clock(random: &mut Random) -> (i64, String) {
    let micros = match random.below(4) {
        0 => random.below(1440) as i64 * 60_000_000,
        1 => random.below(86_400) as i64 * 1_000_000,
        2 => *random.pick(&[0, 1, 86_399_999_999, 500_000]),
        _ => random.below(86_400_000_000) as i64,
    };
    let clock = DateTime::from_timestamp_micros(micros)
        .expect("a time")
        .time();
    let is_whole_minute = micros % 60_000_000 == 0;
    let is_whole_second = micros % 1_000_000 == 0;
    let text = match random.below(3) {
        0 if is_whole_minute => clock.format("%H:%M").to_string(),
        0 | 1 if is_whole_second => clock.format("%H:%M:%S").to_string(),
        _ => {
            let fraction = format!("{:06}", micros % 1_000_000);
            let fraction = match random.below(3) {
                0 => format!("{fraction}000"),
                1 if fraction.trim_end_matches('0').is_empty() => "0".to_owned(),
                1 => fraction.trim_end_matches('0').to_owned(),
                _ => fraction,
            };
            format!(
                "{}{}{fraction}",
                clock.format("%H:%M:%S"),
                random.pick(&[".", ","])
            )
        }
    };
    (micros, text)
}

/// Minutes east of UTC, and how they are written.
fn spelled_zone(random: &mut Random) -> (i64, String) {
    if random.one_in(4) {
        return (0, (*random.pick(&["Z", "UTC", " UTC"])).to_owned());
    }
    let (hours, minutes) = (random.below(16) as i64, *random.pick(&[0, 30, 45, 59]));
    let sign = random.pick(&["+", "-"]);
    let east = if *sign == "+" { 1 } else { -1 };
    let blank = random.pick(&["", " "]);
    let text = match random.below(3) {
        0 if minutes == 0 => format!("{blank}{sign}{hours:02}"),
        0 | 1 => format!("{blank}{sign}{hours:02}{minutes:02}"),
        _ => format!("{blank}{sign}{hours:02}:{minutes:02}"),
    };
    (east * (hours * 60 + minutes), text)
}

/// Text near the languages of values, so that most cases lie at their edges.
fn nasty(random: &mut Random) -> String {
    let mut text = match random.below(3) {
        0 => nasty_number(random),
        _ => {
            let form = *random.pick(&DATE_FORMS);
            spelled(random, form).1
        }
    };
    if random.one_in(8) {
        text = (*random.pick(&STAYS_TEXT)).to_owned();
    }
    for _ in 0..random.below(3) {
        const MARKS: [char; 24] = [
            '0', '1', '5', '9', '.', '-', '+', 'e', 'E', ':', ' ', 'T', 'Z', '/', ',', '\u{e9}',
            '\u{663}', 'J', 'a', 'n', 't', '2', '3', '6',
        ];
        let places: Vec<usize> = text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect();
        let at = *random.pick(&places);
        if random.one_in(2) || at == text.len() {
            text.insert(at, *random.pick(&MARKS));
        } else {
            text.remove(at);
        }
    }
    text
}

fn nasty_number(random: &mut Random) -> String {
    let digits = |random: &mut Random, most: usize| {
        let count = random.index(most + 1);
        (0..count)
            .map(|_| char::from(b'0' + random.below(10) as u8))
            .collect::<String>()
    };
    match random.below(5) {
        0 => any_integer(random).to_string(),
        1 => spelled_float(random).1,
        2 => {
            let (whole, fraction) = (digits(random, 3), digits(random, 19));
            format!("{}{whole}.{fraction}", random.pick(&["", "-", "", "+"]))
        }
        3 => {
            let (whole, exponent) = (digits(random, 20), digits(random, 3));
            let mark = random.pick(&["e", "E", "e-", "e+", ".e", ".5e", "", ""]);
            format!("{}{whole}{mark}{exponent}", random.pick(&["", "-"]))
        }
        _ => digits(random, 21),
    }
}
