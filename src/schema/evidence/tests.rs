//! The type of small columns, and the algebra of evidence.

use proptest::prelude::*;

use super::CellKind::{JsonBool, JsonNested, JsonNumber, JsonString, Null, Plain, Quoted};
use super::TextType::{Boolean, Date, Float64, Int64, Text, Timestamp, TimestampTz};
use super::*;
use crate::schema::text_value::tests::nasty_text;

fn evidence_of<'a>(cells: impl IntoIterator<Item = (CellKind, &'a str)>) -> Evidence {
    let mut evidence = Evidence::default();
    cells
        .into_iter()
        .for_each(|(kind, text)| evidence.observe(kind, text));
    evidence
}

fn plain(texts: &[&str]) -> Evidence {
    evidence_of(
        texts
            .iter()
            .map(|text| (if text.is_empty() { Null } else { Plain }, *text)),
    )
}

#[test]
fn columns_of_csv() {
    let table: &[(&[&str], Option<TextType>)] = &[
        (&[], None),
        (&["", ""], None),
        (&["NA", ""], Some(Text)),
        (&["NA", "1"], Some(Int64)),
        (&["NA", "x"], Some(Text)),
        (&["true", "FALSE"], Some(Boolean)),
        (&["true", "1"], Some(Text)),
        (&["1", "-2", ""], Some(Int64)),
        (&["1", "2.5"], Some(Float64)),
        (&["1", "-0"], Some(Float64)),
        (&["9007199254740993", "1"], Some(Int64)),
        (&["9007199254740993", "1.5"], Some(Text)),
        (&["1.5", "9223372036854775808"], Some(Text)),
        (&["1", "9223372036854775808"], Some(Text)),
        (&["007", "8"], Some(Text)),
        (&["1e5", "1"], Some(Text)),
        (&["2024-01-01", "2024-02-29"], Some(Date)),
        (&["2024-01-01", "2023-02-29"], Some(Text)),
        (&["2024-01-01", "2024-01-01T00:00:00"], Some(Text)),
        (
            &["2024-01-01T00:00:00", "2024-01-01 00:00:00.5"],
            Some(Timestamp),
        ),
        (
            &["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+02"],
            Some(TimestampTz),
        ),
        (&["2024-01-01T00:00:00Z", "2024-01-01T00:00:00"], Some(Text)),
        (&["12:30:00"], Some(Text)),
        (&["01/02/2024"], Some(Text)),
        (&["2024-01-01", "5"], Some(Text)),
        (&[" 1"], Some(Text)),
    ];
    for (texts, expected) in table {
        assert_eq!(plain(texts).text_type(), *expected, "{texts:?}");
    }
}

#[test]
fn what_wrote_the_value_counts() {
    type Cells = &'static [(CellKind, &'static str)];
    let table: &[(Cells, Option<TextType>)] = &[
        (&[(Quoted, "5")], Some(Int64)),
        (&[(Quoted, "")], Some(Text)),
        (&[(Quoted, ""), (Plain, "5")], Some(Text)),
        (&[(Quoted, "NA"), (Plain, "5")], Some(Text)),
        (&[(Quoted, "2024-01-01")], Some(Date)),
        (&[(JsonNumber, "5")], Some(Int64)),
        (&[(JsonNumber, "1e5")], Some(Float64)),
        (&[(JsonNumber, "1e400")], Some(Text)),
        (&[(JsonNumber, "5"), (JsonString, "5")], Some(Text)),
        (&[(JsonString, "true")], Some(Text)),
        (&[(JsonString, "NA")], Some(Text)),
        (&[(JsonString, "2024-01-01")], Some(Date)),
        (
            &[(JsonString, "2024-01-01"), (Plain, "2024-01-02")],
            Some(Date),
        ),
        (&[(JsonBool, "true"), (Null, "")], Some(Boolean)),
        (&[(JsonBool, "true"), (JsonNumber, "1")], Some(Text)),
        (&[(JsonNested, "1")], Some(Text)),
        (&[(Null, "")], None),
    ];
    for (cells, expected) in table {
        assert_eq!(
            evidence_of(cells.iter().copied()).text_type(),
            *expected,
            "{cells:?}"
        );
    }
}

#[test]
fn counts_nulls_and_widths() {
    let evidence = plain(&["NA", "", "2147483648", "5"]);
    assert_eq!(
        (
            evidence.value_count,
            evidence.null_count,
            evidence.null_word_count
        ),
        (2, 1, 1)
    );
    assert!(!evidence.fits_int32() && plain(&["2147483647", "-2147483648"]).fits_int32());
    assert!(evidence.allows(Float64) && evidence.allows(Text) && !evidence.allows(Boolean));
    let words_only = plain(&["NA"]);
    assert!(words_only.allows(Date) && words_only.has_nulls(Date) && !words_only.has_nulls(Text));
    assert!(plain(&[""]).has_nulls(Text));
}

#[test]
fn evidence_is_kept_as_json() {
    let evidence = plain(&["NA", "2.5"]);
    let json = serde_json::to_string(&evidence).unwrap();
    assert_eq!(
        json,
        r#"{"candidates":8,"value_count":1,"null_count":0,"null_word_count":1}"#
    );
    assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence);
    assert_eq!(Candidates::from(255), Candidates::ALL);
}

pub(crate) fn any_cell() -> impl Strategy<Value = (CellKind, String)> {
    let kind = prop_oneof![
        1 => Just(Null), 6 => Just(Plain), 2 => Just(Quoted), 2 => Just(JsonNumber), 1 => Just(JsonBool),
        2 => Just(JsonString), 1 => Just(JsonNested),
    ];
    (kind, nasty_text()).prop_map(|(kind, text)| {
        if kind == Null {
            (kind, String::new())
        } else {
            (kind, text)
        }
    })
}

/// Columns whose cells are alike, so that many of them are not text.
pub(crate) fn any_column() -> impl Strategy<Value = Vec<(CellKind, String)>> {
    let of_texts = |texts: BoxedStrategy<String>| {
        proptest::collection::vec(texts, 0..12)
            .prop_map(|texts| {
                texts
                    .into_iter()
                    .map(|text| (if text.is_empty() { Null } else { Plain }, text))
                    .collect()
            })
            .boxed()
    };
    prop_oneof![
        proptest::collection::vec(any_cell(), 0..8).boxed(),
        of_texts("(-?[1-9][0-9]{0,18}|NA|)".boxed()),
        of_texts("(-?[1-9][0-9]{0,5}(\\.[0-9]{0,9})?|NULL|)".boxed()),
        of_texts("(true|False|FALSE|\\\\N|)".boxed()),
        of_texts("(20[0-9]{2}-0[1-9]-[0-2][1-8]|n/a|)".boxed()),
        of_texts("(20[0-9]{2}/[1-9]/[1-9]|20[0-9]{2}/1[0-2]/[12][0-9]|)".boxed()),
        of_texts(
            "(0[1-9]|1[0-2])/(0[1-9]|1[0-9])/20[0-9]{2}( 1[0-9]:[0-5][0-9](:[0-5][0-9])?)?".boxed()
        ),
        of_texts("[1-9]\\.[1-9]\\.20[0-9]{2}|1[3-9]\\.1[0-2]\\.20[0-9]{2}".boxed()),
        of_texts("(0[1-9]|1[3-9])-(Mar|Oct)-20[0-9]{2}( 1[0-9]:[0-5][0-9]:00(,[0-9]0?)?)?".boxed()),
        of_texts(
            "(0[1-9]|1[3-9]) (MAR|OCT) 20[0-9]{2} 1[0-9]:[0-5][0-9](:00)?( ?UTC|Z| ?[+-]0[1-9])"
                .boxed()
        ),
        of_texts(
            "(20[0-9]{2}-0[1-9]-[0-2][1-8][T ]1[0-9]:[0-5][0-9]:00(\\.[0-9]{1,6}0)?|)".boxed()
        ),
        of_texts(
            "(20[0-9]{2}-0[1-9]-[0-2][1-8][T ]1[0-9]:[0-5][0-9]:00( ?[-+]0[0-9](:?[0-5]0)?|Z)|)"
                .boxed()
        ),
    ]
}

fn borrowed(cells: &[(CellKind, String)]) -> impl Iterator<Item = (CellKind, &str)> {
    cells.iter().map(|(kind, text)| (*kind, text.as_str()))
}

proptest! {
    #[test]
    fn order_does_not_matter(
        (cells, shuffled) in any_column().prop_flat_map(|cells| (Just(cells.clone()), Just(cells).prop_shuffle())),
    ) {
        prop_assert_eq!(evidence_of(borrowed(&cells)), evidence_of(borrowed(&shuffled)));
    }

    #[test]
    fn merging_equals_observing_everything(one in any_column(), two in any_column()) {
        let all = evidence_of(borrowed(&one).chain(borrowed(&two)));
        let (one, two) = (evidence_of(borrowed(&one)), evidence_of(borrowed(&two)));
        let (mut forward, mut backward) = (one.clone(), two.clone());
        forward.merge(&two);
        backward.merge(&one);
        prop_assert_eq!(&forward, &all);
        prop_assert_eq!(&backward, &all);
    }

    #[test]
    fn skipping_parsers_changes_nothing(cells in any_column()) {
        let (mut expected, mut all_forms) = (Candidates::ALL, DateForms::ALL);
        for (kind, text) in borrowed(&cells).filter(|(kind, text)| *kind != Null && !kind.is_null_word(text)) {
            let mut forms = DateForms::ALL;
            expected = expected.intersection(classify(kind, text, kind.candidates(), &mut forms));
            all_forms = all_forms.intersection(forms);
        }
        if all_forms.is_empty() {
            expected = expected.without(Candidates::TEMPORAL);
        }
        prop_assert_eq!(evidence_of(borrowed(&cells)).candidates, expected);
    }
}
