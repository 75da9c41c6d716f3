//! Tables of single values, and properties against independent implementations (`std`, `chrono`).

use chrono::{DateTime, Days, NaiveDate};
use proptest::prelude::*;

use super::*;

/// Each text with what the parser must answer.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(
    parse: impl Fn(&str) -> Option<T>,
    table: &[(&str, Option<T>)],
) {
    for (text, expected) in table {
        assert_eq!(&parse(text), expected, "{text:?}");
    }
}

#[test]
fn booleans_and_null_words() {
    check(
        parse_boolean,
        &[
            ("true", Some(true)),
            ("FALSE", Some(false)),
            ("tRuE", Some(true)),
            ("t", None),
            ("1", None),
            ("", None),
        ],
    );
    for word in ["NULL", "null", "Null", "\\N", "NA", "N/A", "n/a"] {
        assert!(is_null_word(word), "{word}");
    }
    for word in ["", "nULL", "na", "None", "nan", "NULL ", "-"] {
        assert!(!is_null_word(word), "{word}");
    }
}

#[test]
fn integers_have_one_spelling() {
    check(
        parse_int64,
        &[
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("-0", None),
            ("00", None),
            ("007", None),
            ("-01", None),
            ("+1", None),
            ("1.0", None),
            (" 1", None),
            ("1 ", None),
            ("1_000", None),
            ("1,000", None),
            ("٣", None),
            ("-", None),
            ("", None),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of values")]
fn floats_print_back() {
    check(
        parse_float64,
        &[
            ("10.50", Some(10.5)),
            (".5", Some(0.5)),
            ("-.5", Some(-0.5)),
            ("5.", Some(5.0)),
            ("5", Some(5.0)),
            ("1500", Some(1500.0)),
            ("0.1", Some(0.1)),
            ("0.30000000000000004", Some(0.1 + 0.2)),
            ("1.5e5", Some(150_000.0)),
            ("1e-5", Some(1e-5)),
            ("1e+5", Some(1e5)),
            ("1E-05", Some(1e-5)),
            ("100000000000000000000.0", Some(1e20)),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("2.2250738585072014e-308", Some(f64::MIN_POSITIVE)),
            ("5e-324", Some(5e-324)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("-9007199254740994", Some(-9_007_199_254_740_994.0)),
            ("1000000000000000000", Some(1e18)),
            ("9007199254740993", None),
            ("9223372036854775807", None),
            ("9223372036854775000", None),
            ("10000000000000000000", None),
            ("100000000000000000000", None),
            ("0.1000000000000000055511151231257827", None),
            ("3.14159265358979323846", None),
            ("4.9e-324", None),
            ("1.0e309", None),
            ("1.0e-400", None),
            ("1.0e99999999999999999999", None),
            ("1e5", None),
            ("1E5", None),
            ("007.5", None),
            ("-00.5", None),
            ("+1.5", None),
            ("1.5e", None),
            ("1.5e+", None),
            ("1.5.0", None),
            ("1.5f", None),
            (".", None),
            ("-", None),
            (".e5", None),
            ("e5", None),
            ("-.", None),
            ("1,5", None),
            ("nan", None),
            ("inf", None),
            ("Infinity", None),
            ("0x10", None),
            ("", None),
        ],
    );
    for negative_zero in ["-0", "-0.0", "-.0", "-0e+3"] {
        assert!(
            parse_float64(negative_zero).is_some_and(|zero| zero == 0.0 && zero.is_sign_negative())
        );
    }
    check(
        parse_json_float64,
        &[
            ("1e5", Some(1e5)),
            ("1E5", Some(1e5)),
            ("1e400", None),
            ("0.10", Some(0.1)),
        ],
    );
    check(
        parse_float32,
        &[
            ("0.1", Some(0.1)),
            ("16777216", Some(16_777_216.0)),
            ("16777217", None),
            ("0.123456789", None),
            ("1e5", None),
        ],
    );
    check(parse_json_float32, &[("1e5", Some(1e5)), ("1e39", None)]);
}

#[test]
fn dates_exist() {
    check(
        |text| parse_date(text, DateForm::ISO),
        &[
            ("1970-01-01", Some(0)),
            ("1969-12-31", Some(-1)),
            ("2000-02-29", Some(11016)),
            ("0001-01-01", Some(-719_162)),
            ("9999-12-31", Some(2_932_896)),
            ("1900-02-29", None),
            ("2023-02-29", None),
            ("2024-04-31", None),
            ("2024-00-01", None),
            ("2024-13-01", None),
            ("2024-01-00", None),
            ("0000-01-01", None),
            ("2024-1-1", None),
            ("2024/01/01", None),
            ("20240101", None),
            ("01-02-2024", None),
            ("2024-01-01 ", None),
            ("2024-01-0é", None),
        ],
    );
}

#[test]
fn timestamps_keep_microseconds_and_zones_apart() {
    check(
        |text| parse_timestamp(text, DateForm::ISO),
        &[
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-01 00:00:00.5", Some(500_000)),
            ("1970-01-01 00:00:00.000001000", Some(1)),
            ("1969-12-31T23:59:59.999999", Some(-1)),
            ("1970-01-01T00:00:00.0000001", None),
            ("1970-01-01T00:00:00.", None),
            ("1970-01-01T24:00:00", None),
            ("1970-01-01T00:60:00", None),
            ("1970-01-01T00:00:60", None),
            ("1970-01-01t00:00:00", None),
            ("1970-01-01T00:01", Some(60_000_000)),
            ("1970-01-01T00:00:00,5", Some(500_000)),
            ("1970-01-01T00", None),
            ("1970-01-01T00:1", None),
            ("1970-01-01T00:00:", None),
            ("1970-01-01T00:00:1", None),
            ("1970-01-01", None),
            ("1970-01-01T00:00:00Z", None),
            ("1970-01-01  00:00:00", None),
        ],
    );
    check(
        |text| parse_timestamptz(text, DateForm::ISO),
        &[
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T02:00:00+02:00", Some(0)),
            ("1970-01-01T02:00:00 +0200", Some(0)),
            ("1969-12-31 19:00:00.25-05", Some(250_000)),
            ("1970-01-01T05:45:00+05:45", Some(0)),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00 Z", None),
            ("1970-01-01T00:00:00z", None),
            ("1970-01-01T00:00:00+16:00", None),
            ("1970-01-01T00:00:00+02:60", None),
            ("1970-01-01T00:00:00+2", None),
            ("1970-01-01T00:00:00+02:", None),
            ("1970-01-01T00:00:00+02::0", None),
            ("1970-01-01T00:00:00+02:000", None),
            ("1970-01-01T00:00:00  +02", None),
            ("1970-01-01T00:00:00 UTC", Some(0)),
            ("1970-01-01T00:01UTC", Some(60_000_000)),
            ("1970-01-01T00:00:00  UTC", None),
            ("1970-01-01T00:00:00 GMT", None),
            ("0001-01-01T00:00:00+01", None),
            ("9999-12-31T23:30:00-01", None),
            ("0001-01-01T01:00:00+01", Some(-719_162 * MICROS_PER_DAY)),
        ],
    );
    check(
        parse_time_micros,
        &[
            ("23:59:59.999999", Some(MICROS_PER_DAY - 1)),
            ("00:00:00", Some(0)),
            ("1:00:00", None),
            ("00:01", Some(60_000_000)),
            ("1:00", None),
        ],
    );
}

#[test]
fn decimals_are_exact() {
    let table: &[(&str, u8, i8, Option<i128>)] = &[
        ("12.50", 5, 2, Some(1250)),
        ("12.500", 5, 2, Some(1250)),
        ("12.501", 5, 2, None),
        ("-12.5", 5, 2, Some(-1250)),
        ("999.99", 5, 2, Some(99999)),
        ("1000", 5, 2, None),
        (".5", 5, 2, Some(50)),
        ("5.", 5, 2, Some(500)),
        ("0", 5, 2, Some(0)),
        ("-0", 5, 2, None),
        ("1500", 3, -2, Some(15)),
        ("1550", 3, -2, None),
        ("0.000", 3, -2, Some(0)),
        (
            "99999999999999999999999999999999999999",
            38,
            0,
            Some(99999999999999999999999999999999999999),
        ),
        ("100000000000000000000000000000000000000", 38, 0, None),
        ("007", 5, 2, None),
        ("1e2", 5, 2, None),
        ("+1", 5, 2, None),
        (".", 5, 2, None),
        ("-", 5, 2, None),
        ("", 5, 2, None),
        ("1", 39, 0, None),
    ];
    for (text, precision, scale, expected) in table {
        assert_eq!(
            parse_decimal(text, *precision, *scale),
            *expected,
            "{text:?} as ({precision}, {scale})"
        );
    }
}

#[test]
fn every_day_of_the_calendar_is_the_one_of_chrono() {
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    for day in 0..(DAYS_END_EXCLUSIVE as u64 + DAYS_TO_EPOCH as u64) {
        let date = first.checked_add_days(Days::new(day)).unwrap();
        assert_eq!(
            parse_date(&date.format("%Y-%m-%d").to_string(), DateForm::ISO),
            Some(day as i32 - DAYS_TO_EPOCH)
        );
    }
}

/// Text near the languages of this module, so that most cases lie at their edges.
pub(crate) fn nasty_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "-?[0-9]{0,21}",
        4 => "-?[0-9]{0,19}\\.?[0-9]{0,19}([eE][-+]?[0-9]{1,3})?",
        2 => "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,3}",
        1 => any::<i64>().prop_map(|integer| integer.to_string()),
        2 => any::<f64>().prop_map(|float| format!("{float:?}")),
        1 => any::<f64>().prop_map(|float| format!("{float}")),
        2 => "[0-9]{4}-[01][0-9]-[0-3][0-9]",
        3 => "[0-9]{4}-0[0-9]-[0-2][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6}0{0,3})?( ?(Z|[-+][01][0-9](:?[0-5][0-9])?))?",
        1 => "(true|false|TRUE|False|NULL|null|NA|N/A|\\\\N|nan|inf|\\+1|1e5|)",
        1 => "[-+.0-9eETZ: ]{0,24}",
        1 => "\\PC{0,8}",
    ]
}

/// A number in one normal form, by text alone: sign, digits without zeros at either end, exponent.
fn normal_form(text: &str) -> (bool, String, i64) {
    let (negative, unsigned) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let lower = unsigned.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let significant = kept.trim_start_matches('0').to_owned();
    if significant.is_empty() {
        return (negative, significant, 0);
    }
    let exponent: i64 = exponent.parse().unwrap();
    (
        negative,
        significant,
        exponent - fraction.len() as i64 + (digits.len() - kept.len()) as i64,
    )
}

proptest! {
    #[test]
    fn an_accepted_float_is_the_nearest_and_prints_back(text in nasty_text()) {
        for value in [parse_float64(&text), parse_json_float64(&text)].into_iter().flatten() {
            let nearest: f64 = text.parse().unwrap();
            prop_assert_eq!(value.to_bits(), nearest.to_bits());
            prop_assert_eq!(normal_form(&text), normal_form(&format!("{value:?}")));
        }
        if let Some(value) = parse_float32(&text) {
            prop_assert_eq!(normal_form(&text), normal_form(&format!("{value:?}")));
        }
    }

    #[test]
    fn every_printed_double_is_accepted(float in any::<f64>()) {
        if float.is_finite() {
            let exponent_form = format!("{float:e}");
            prop_assert_eq!(parse_json_float64(&exponent_form).map(f64::to_bits), Some(float.to_bits()));
            let fraction_form = format!("{float:?}");
            prop_assert_eq!(parse_json_float64(&fraction_form).map(f64::to_bits), Some(float.to_bits()));
        }
    }

    #[test]
    fn an_accepted_integer_prints_back(text in nasty_text()) {
        if let Some(value) = parse_int64(&text) {
            prop_assert_eq!(&value.to_string(), &text);
        }
    }

    #[test]
    fn decimals_agree_with_their_digits(unscaled in -99_999_999i128..=99_999_999, scale in 0i8..=8) {
        let digits = format!("{:0width$}", unscaled.abs(), width = scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        let text = format!("{}{whole}.{fraction}000", if unscaled < 0 { "-" } else { "" });
        prop_assert_eq!(parse_decimal(&text, 8, scale), Some(unscaled));
    }

    #[test]
    fn zoned_timestamps_are_those_of_chrono(text in nasty_text()) {
        if let Ok(expected) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
            let found = parse_timestamptz(&text, DateForm::ISO);
            let nanos = expected.timestamp_subsec_nanos();
            if text.as_bytes()[10].is_ascii_uppercase() && nanos < 1_000_000_000 && found.is_some() {
                prop_assert_eq!(found, Some(expected.timestamp_micros()));
            }
        }
    }

    #[test]
    fn the_languages_do_not_overlap(text in nasty_text()) {
        let number = parse_int64(&text).is_some() || parse_float64(&text).is_some();
        let others = [
            parse_boolean(&text).is_some(),
            number,
            parse_date(&text, DateForm::ISO).is_some(),
            parse_timestamp(&text, DateForm::ISO).is_some(),
            parse_timestamptz(&text, DateForm::ISO).is_some(),
            parse_time_micros(&text).is_some(),
            is_null_word(&text),
        ];
        prop_assert!(others.iter().filter(|found| **found).count() <= 1, "{others:?}");
    }
}
