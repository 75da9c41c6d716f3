//! Cells into arrays, and the way there and back.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use chrono::{DateTime, NaiveDate, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::schema::evidence::tests::any_column;
use crate::schema::evidence::{CellKind::*, Evidence, TextType};
use crate::schema::text_value::DateForms;

fn column_of<'a>(cells: impl IntoIterator<Item = (CellKind, &'a str)>) -> RawColumn {
    let mut column = RawColumn::default();
    cells
        .into_iter()
        .for_each(|(kind, text)| column.push(kind, text));
    column
}

fn timestamp(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

fn data_type(text_type: TextType) -> DataType {
    match text_type {
        TextType::Boolean => DataType::Boolean,
        TextType::Int64 => DataType::Int64,
        TextType::Float64 => DataType::Float64,
        TextType::Date => DataType::Date32,
        TextType::Timestamp => timestamp(None),
        TextType::TimestampTz => timestamp(Some("+00:00")),
        TextType::Text => DataType::Utf8,
    }
}

#[test]
fn one_cell_for_each_target() {
    let decimal = DataType::Decimal128(9, 2);
    let time = DataType::Time64(TimeUnit::Microsecond);
    let (local, utc, zero) = (
        timestamp(None),
        timestamp(Some("UTC")),
        timestamp(Some("+00:00")),
    );
    let table: &[(DataType, CellKind, &str, bool)] = &[
        (DataType::Boolean, Plain, "TRUE", true),
        (DataType::Boolean, JsonString, "true", false),
        (DataType::Boolean, Plain, "1", false),
        (DataType::Int32, Plain, "2147483647", true),
        (DataType::Int32, Plain, "2147483648", false),
        (DataType::Int64, Quoted, "5", true),
        (DataType::Int64, JsonNumber, "5", true),
        (DataType::Int64, JsonString, "5", false),
        (DataType::Int64, JsonNumber, "5.0", false),
        (DataType::Int64, Quoted, "", false),
        (DataType::Int64, Quoted, "NA", false),
        (DataType::Float32, Plain, "0.1", true),
        (DataType::Float32, Plain, "0.123456789", false),
        (DataType::Float64, Plain, "9007199254740993", false),
        (DataType::Float64, Plain, "1e5", false),
        (DataType::Float64, JsonNumber, "1e5", true),
        (decimal.clone(), Plain, "12.50", true),
        (decimal.clone(), JsonNumber, "12.5", true),
        (decimal, Plain, "12.505", false),
        (DataType::Date32, JsonString, "2024-02-29", true),
        (DataType::Date32, JsonNumber, "20240229", false),
        (time.clone(), Plain, "12:00:00.5", true),
        (time, Plain, "12:00", true),
        (local.clone(), Plain, "2024-02-29T00:00:00", true),
        (local.clone(), Plain, "2024-02-29", false),
        (local, Plain, "2024-02-29T00:00:00Z", false),
        (utc, Plain, "2024-02-29T00:00:00Z", true),
        (zero.clone(), Plain, "2024-02-29T00:00:00", false),
        (zero, JsonString, "2024-02-29T00:00:00+01", true),
        (
            timestamp(Some("Europe/Berlin")),
            Plain,
            "2024-02-29T00:00:00Z",
            false,
        ),
        (DataType::Utf8, JsonNested, "[1]", true),
        (DataType::Binary, Plain, "x", false),
        (DataType::Decimal128(0, 0), Plain, "1", false),
    ];
    for (target, kind, text, fits) in table {
        let column = column_of([(Null, ""), (*kind, *text)]);
        let encoded = encode_column(&column, target, DateForm::ISO);
        match encoded {
            Ok(array) => {
                assert!(*fits, "{kind:?} {text:?} as {target}");
                assert_eq!(
                    (array.data_type(), array.len(), array.null_count()),
                    (target, 2, 1)
                );
            }
            Err(misfit) => {
                assert!(!*fits, "{kind:?} {text:?} as {target}");
                assert_eq!(
                    misfit,
                    Misfit {
                        row_in_batch: 1,
                        value: (*text).to_owned()
                    }
                );
            }
        }
    }
}

#[test]
fn null_words_are_text_only_in_text() {
    let column = column_of([(Plain, "NA"), (Null, "")]);
    for target in [
        DataType::Int64,
        DataType::Boolean,
        DataType::Date32,
        DataType::Binary,
        DataType::Decimal128(5, 2),
    ] {
        let array = encode_column(&column, &target, DateForm::ISO).unwrap();
        assert_eq!((array.null_count(), array.data_type()), (2, &target));
    }
    let text = encode_column(&column, &DataType::Utf8, DateForm::ISO).unwrap();
    assert_eq!(
        text.as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("NA"), None]
    );
}

#[test]
fn values_are_exact() {
    let decimal = encode_column(
        &column_of([(Plain, "-12.5")]),
        &DataType::Decimal128(9, 2),
        DateForm::ISO,
    )
    .unwrap();
    assert_eq!(decimal.as_primitive::<Decimal128Type>().value(0), -1250);
    let zoned = encode_column(
        &column_of([(Plain, "1970-01-01T01:00:00+01")]),
        &timestamp(Some("UTC")),
        DateForm::ISO,
    )
    .unwrap();
    assert_eq!(zoned.as_primitive::<TimestampMicrosecondType>().value(0), 0);
}

/// The value as its type prints it, in the spelling that [`canonical`] reduces every accepted text
/// to.
fn print_back(array: &ArrayRef, text_type: TextType, form: DateForm, row: usize) -> String {
    let micros = || array.as_primitive::<TimestampMicrosecondType>().value(row);
    match text_type {
        TextType::Boolean => array.as_boolean().value(row).to_string(),
        TextType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        TextType::Float64 => canonical(
            &format!("{:e}", array.as_primitive::<Float64Type>().value(row)),
            text_type,
            form,
        ),
        TextType::Date => {
            let days = TimeDelta::days(array.as_primitive::<Date32Type>().value(row).into());
            form.print(NaiveDate::default() + days)
        }
        TextType::Timestamp => {
            let time = DateTime::from_timestamp_micros(micros()).unwrap();
            let clock = time.format("%H:%M:%S.%6f");
            format!("{}T{clock}", form.print(time.date_naive()))
        }
        TextType::TimestampTz => DateTime::from_timestamp_micros(micros())
            .unwrap()
            .format("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string(),
        TextType::Text => array.as_string::<i32>().value(row).to_owned(),
    }
}

/// A clock with seconds, and six digits of their fraction.
fn full_clock(clock: &str) -> String {
    let (whole, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, ""));
    let seconds = if whole.len() == 5 { ":00" } else { "" };
    format!("{whole}{seconds}.{:0<6}", fraction.trim_end_matches('0'))
}

fn form_of(evidence: &Evidence) -> DateForm {
    let form = evidence.date_forms().and_then(DateForms::decided);
    form.unwrap_or(DateForm::ISO)
}

/// Takes away the spelling that carries no meaning, and nothing else; by text alone where that is
/// possible.
fn canonical(text: &str, text_type: TextType, form: DateForm) -> String {
    match text_type {
        TextType::Boolean => text.to_lowercase(),
        TextType::Int64 | TextType::Date | TextType::Text => text.to_owned(),
        TextType::Float64 => {
            let lower = text.to_lowercase();
            let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
            let (sign, unsigned) = mantissa
                .strip_prefix('-')
                .map_or(("", mantissa), |rest| ("-", rest));
            let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
            let all = format!("{whole}{fraction}");
            let digits = all.trim_matches('0');
            let zeros = all.len() - all.trim_end_matches('0').len();
            let exponent = exponent.parse::<i64>().unwrap() - fraction.len() as i64 + zeros as i64;
            if digits.is_empty() {
                format!("{sign}0")
            } else {
                format!("{sign}{digits}e{exponent}")
            }
        }
        TextType::Timestamp => {
            let clock_at = text.rfind(['T', ' ']).unwrap();
            format!(
                "{}T{}",
                &text[..clock_at],
                full_clock(&text[clock_at + 1..])
            )
        }
        TextType::TimestampTz => {
            let clock_at = text.find(':').unwrap() - 2;
            let zone_at = clock_at + text[clock_at..].find(['Z', 'U', '+', '-', ' ']).unwrap();
            let digits = text[zone_at..].replace([':', ' '], "");
            let zone = match digits.as_str() {
                "Z" | "UTC" => "+0000".to_owned(),
                hours if hours.len() == 3 => format!("{hours}00"),
                both => both.to_owned(),
            };
            let date = NaiveDate::default()
                + TimeDelta::days(parse_date(&text[..clock_at - 1], form).unwrap().into());
            let spelled = format!("{date}T{}{zone}", full_clock(&text[clock_at..zone_at]));
            let fixed = DateTime::parse_from_str(&spelled, "%Y-%m-%dT%H:%M:%S%.f%z").unwrap();
            fixed.to_utc().format("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn text_to_inferred_type_to_text_is_the_identity(cells in any_column()) {
        let mut evidence = Evidence::default();
        cells.iter().for_each(|(kind, text)| evidence.observe(*kind, text));
        let Some(text_type) = evidence.text_type() else { return Ok(()) };
        let column = column_of(cells.iter().map(|(kind, text)| (*kind, text.as_str())));
        let form = form_of(&evidence);
        let array = encode_column(&column, &data_type(text_type), form).expect("an inferred type fits");
        prop_assert_eq!(array.null_count() > 0, evidence.has_nulls(text_type));
        for (row, (kind, text)) in cells.iter().enumerate() {
            if array.is_null(row) {
                prop_assert!(*kind == Null || (kind.is_null_word(text) && text_type != TextType::Text));
            } else {
                prop_assert_eq!(print_back(&array, text_type, form, row), canonical(text, text_type, form));
            }
        }
    }

    #[test]
    fn a_type_fits_exactly_if_evidence_allows_it(cells in any_column()) {
        let mut evidence = Evidence::default();
        cells.iter().for_each(|(kind, text)| evidence.observe(*kind, text));
        let column = column_of(cells.iter().map(|(kind, text)| (*kind, text.as_str())));
        let form = form_of(&evidence);
        for text_type in [
            TextType::Boolean, TextType::Int64, TextType::Float64, TextType::Date, TextType::Timestamp,
            TextType::TimestampTz, TextType::Text,
        ] {
            let encoded = encode_column(&column, &data_type(text_type), form);
            prop_assert_eq!(encoded.is_ok(), evidence.allows(text_type), "{:?}: {:?}", text_type, encoded.err());
        }
        prop_assert_eq!(encode_column(&column, &DataType::Int32, form).is_ok(), evidence.fits_int32());
    }
}

/// Cells of few kinds, so that columns of one type are common, and all sorts of misfits too.
fn cells() -> impl Strategy<Value = Vec<(CellKind, &'static str)>> {
    const VALUES: [&[&str]; 9] = [
        &["1", "-7", "0", "2147483648", "NA"],
        &["9007199254740993", "9007199254740992", "5"],
        &["0.5", "1.25", "-3", "NULL", "1e-3"],
        &["2024-03-04", "2024-12-31", "2024-3-4"],
        &["2024-03-04 10:00:00", "2024-03-04T23:59", "x"],
        &["2024-03-04 10:00:00Z", "2024-03-04T23:59+02:00", "NA", "x"],
        &["true", "FALSE", "NA", "yes"],
        &["é", "word", "", "NULL", "a, b"],
        &["", "1", "0.5", "2024-03-04", "007"],
    ];
    const KINDS: [&[CellKind]; 4] = [
        &[Plain, Plain, Quoted, Null, JsonNumber],
        &[Plain, Quoted, Null],
        &[JsonString, Null],
        &[JsonString, JsonBool, JsonNested, Null],
    ];
    (0..VALUES.len(), 0..KINDS.len()).prop_flat_map(|(set, kinds)| {
        let cell = (
            prop::sample::select(KINDS[kinds]),
            prop::sample::select(VALUES[set]),
        );
        let cell = cell.prop_map(|(kind, text)| match kind {
            Null => (kind, ""),
            Plain if text.is_empty() => (Null, text),
            kind => (kind, text),
        });
        prop::collection::vec(cell, 0..8)
    })
}

proptest! {
    #[test]
    fn looking_and_encoding_at_once_is_the_same_as_one_after_the_other(before in cells(), now in cells()) {
        let mut evidence = Evidence::default();
        for (kind, text) in &before {
            evidence.observe(*kind, text);
        }
        let mut column = RawColumn::default();
        let mut observed = evidence.clone();
        for (kind, text) in &now {
            column.push(*kind, text);
            observed.observe(*kind, text);
        }
        let targets = [
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Boolean,
            DataType::Utf8,
            timestamp(None),
            timestamp(Some("+00:00")),
        ];
        for target in targets {
            let mut at_once = evidence.clone();
            match encode_observed(&column, &target, &mut at_once) {
                None => prop_assert_eq!(&at_once, &evidence),
                Some(array) => {
                    prop_assert_eq!(&at_once, &observed);
                    let form = observed.date_forms().and_then(|forms| forms.decided());
                    let form = form.unwrap_or(DateForm::ISO);
                    prop_assert_eq!(array.to_data(), encode_column(&column, &target, form).unwrap().to_data());
                }
            }
        }
    }
}
