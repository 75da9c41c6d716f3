//! The type of small nested columns, the limits, and the algebra of shapes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::evidence::CellKind::JsonNested;
use crate::schema::types;

/// The evidence of a column with these JSON values.
fn column(values: &[&str]) -> Evidence {
    let mut evidence = Evidence::default();
    for value in values {
        let (kind, text) = json::cell(value);
        evidence.observe(kind, &text);
    }
    evidence
}

fn type_of(evidence: &Evidence) -> String {
    types::name_or_null(types::of_evidence(evidence).as_ref())
}

#[test]
fn columns_of_nested_values() {
    let table: &[(&[&str], &str)] = &[
        (
            &[r#"{"a":1}"#, "null", r#"{"b":"x","a":2.5}"#],
            "STRUCT<a FLOAT64, b VARCHAR>",
        ),
        (&["[1,2]", "[null]", "[]", "[2.5]"], "ARRAY<FLOAT64>"),
        (
            &[r#"[{"a":[{"b":true}]}]"#, r#"[{"c":"2024-01-31"}]"#],
            "ARRAY<STRUCT<a ARRAY<STRUCT<b BOOLEAN>>, c DATE>>",
        ),
        (&["[[1],[2,3],[]]"], "ARRAY<ARRAY<INT64>>"),
        // Mixed shapes are text, each on its own level.
        (&["[1]", "1"], "VARCHAR"),
        (&["1", "[1]"], "VARCHAR"),
        (&["[1]", "\"x\""], "VARCHAR"),
        (&["[1]", r#"{"a":1}"#], "VARCHAR"),
        (
            &[r#"{"a":1,"b":2}"#, r#"{"a":{"c":1}}"#],
            "STRUCT<a VARCHAR, b INT64>",
        ),
        (&["[1,[2]]"], "ARRAY<VARCHAR>"),
        (&["[1,\"x\"]"], "ARRAY<VARCHAR>"),
        // Nothing but nulls is text; a struct without a field is no struct.
        (&["null"], "NULL"),
        (&["[]"], "ARRAY<VARCHAR>"),
        (&["{}"], "VARCHAR"),
        (&["{}", r#"{"a":null}"#], "STRUCT<a VARCHAR>"),
        (&[r#"{"a":{},"b":1}"#], "STRUCT<a VARCHAR, b INT64>"),
        // Digits are never lost.
        (&["[1, 9223372036854775808]"], "ARRAY<VARCHAR>"),
        (&["[1, 9223372036854775807]"], "ARRAY<INT64>"),
        (&["[0.1234567890123456789]"], "ARRAY<VARCHAR>"),
        (&["[1E400]"], "ARRAY<VARCHAR>"),
        (&["[-0, 1.0, 1e5]"], "ARRAY<FLOAT64>"),
        // Names that a table cannot keep apart.
        (&[r#"{"a":1,"A":2}"#], "VARCHAR"),
        (&[r#"{"a":1}"#, r#"{"A":2}"#], "VARCHAR"),
        (&[r#"{"a":1,"b":2,"a":3}"#], "VARCHAR"),
        (&[r#"{"a":1,"a":1}"#], "VARCHAR"),
        (&[r#"{"":1}"#], "VARCHAR"),
        (&[r#"{"a.b":1}"#], "VARCHAR"),
        (&[r#"{"a\u0000":1}"#], "VARCHAR"),
        (
            &[r#"{"x":{"ß":1,"\u00df":2},"y":1}"#],
            "STRUCT<x VARCHAR, y INT64>",
        ),
    ];
    for (values, expected) in table {
        assert_eq!(type_of(&column(values)), *expected, "{values:?}");
    }
}

#[test]
fn depth_and_width_are_bounded() {
    let deep = |levels: usize| "[".repeat(levels) + "1" + &"]".repeat(levels);
    let list = |levels: usize| "ARRAY<".repeat(levels) + "INT64" + &">".repeat(levels);
    assert_eq!(
        type_of(&column(&[&deep(NESTED_LEVELS_MAX)])),
        list(NESTED_LEVELS_MAX)
    );
    assert!(type_of(&column(&[&deep(NESTED_LEVELS_MAX + 1)])).contains("VARCHAR"));

    let wide = |from: usize, to: usize| {
        let members: Vec<String> = (from..to).map(|key| format!("\"k{key}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    let (front, back) = (wide(0, 600), wide(400, NESTED_FIELDS_MAX));
    let widest = column(&[&front, &back]);
    assert_eq!(widest.nested().unwrap().leaves(), NESTED_FIELDS_MAX);
    assert!(type_of(&widest).starts_with("STRUCT<k0 INT64, "));
    let one_more = column(&[&front, &back, r#"{"more":1}"#]);
    assert_eq!(one_more.nested(), Some(&Nested::text(TextCause::TooLarge)));
    let mut merged = widest;
    merged.merge(&column(&[r#"{"more":1}"#]));
    assert_eq!(merged, one_more);

    // Many elements are fine, but not with many fields for each.
    let many = |count: usize| format!("[{}1]", "1,".repeat(count));
    assert_eq!(type_of(&column(&[&many(100_000)])), "ARRAY<INT64>");
    let elements = format!("[{}{{}}]", "{},".repeat(100_000));
    let fields = format!("[{}]", wide(0, 100));
    assert_eq!(type_of(&column(&[&elements, &fields])), "VARCHAR");
    assert_eq!(type_of(&column(&[&fields, &elements])), "VARCHAR");
}

#[test]
fn records_hold_the_deepest_shape() {
    let deep = "[{\"a\":".repeat(NESTED_LEVELS_MAX / 2) + "1" + &"}]".repeat(NESTED_LEVELS_MAX / 2);
    let evidence = column(&[&deep]);
    let record = serde_json::to_string(
        &json!({"v": 1, "record": {"columns": [{"content": {"text": evidence}}]}}),
    );
    let read: Value = serde_json::from_str(&record.unwrap()).unwrap();
    let back: Evidence =
        serde_json::from_value(read["record"]["columns"][0]["content"]["text"].clone()).unwrap();
    assert_eq!(back, evidence);
    let r#type = types::of_evidence(&evidence).unwrap();
    let json =
        serde_json::to_string(&json!({"schemas": [{"fields": [{"type": r#type}]}]})).unwrap();
    assert!(serde_json::from_str::<Value>(&json).is_ok());
    let old = r#"{"candidates":0,"value_count":3,"null_count":1,"null_word_count":0}"#;
    let old: Evidence = serde_json::from_str(old).unwrap();
    assert_eq!((type_of(&old).as_str(), old.nested()), ("VARCHAR", None));
}

#[test]
fn fallbacks_are_found_where_they_are() {
    let evidence = column(&[r#"{"a":[{"b":1},{"b":[2]}],"c":{"":1}}"#]);
    let mut found = Vec::new();
    evidence
        .nested()
        .unwrap()
        .for_each_text("x", &mut |path, cause| found.push((path.to_owned(), cause)));
    assert_eq!(
        found,
        [
            ("x.a[].b".to_owned(), TextCause::Mixed),
            ("x.c".to_owned(), TextCause::Names)
        ]
    );
}

/// Values that mostly share a shape, so that they meet in many ways.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(0.5)),
        Just(json!("2024-01-31")),
        "[a\"\\\\é\n]{0,3}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abcA]|b\\.c", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Values of one column, all objects or all arrays in two of three.
pub(crate) fn any_column() -> impl Strategy<Value = Vec<Value>> {
    let object = proptest::collection::btree_map("[abc]", any_value(), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    let array = proptest::collection::vec(any_value(), 0..3).prop_map(Value::from);
    prop_oneof![
        proptest::collection::vec(any_value(), 1..6),
        proptest::collection::vec(object, 1..6),
        proptest::collection::vec(array, 1..6),
    ]
}

/// The type with the fields of structs in the order of their names.
fn sorted(evidence: &Evidence) -> Value {
    fn sort(value: &mut Value) {
        match value {
            Value::Array(values) => {
                values.iter_mut().for_each(sort);
                values.sort_by_key(|value| value["name"].as_str().map(str::to_owned));
            }
            Value::Object(members) => members.values_mut().for_each(sort),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(types::of_evidence(evidence)).unwrap();
    sort(&mut value);
    value
}

proptest! {
    #[test]
    fn no_order_of_values_or_parts_matters(values in any_column(), cut in 0usize..6, seed in any::<u64>()) {
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let cut = cut.min(texts.len());
        let whole = column(&texts);
        let mut merged = column(&texts[..cut]);
        merged.merge(&column(&texts[cut..]));
        prop_assert_eq!(sorted(&merged), sorted(&whole));
        prop_assert_eq!(types::of_evidence(&merged), types::of_evidence(&whole));
        let mut turned = column(&texts[cut..]);
        turned.merge(&column(&texts[..cut]));
        prop_assert_eq!(sorted(&turned), sorted(&whole));
        let mut shuffled = texts.clone();
        let length = shuffled.len().max(1);
        shuffled.rotate_left(usize::try_from(seed % length as u64).unwrap().min(texts.len()));
        shuffled.reverse();
        prop_assert_eq!(sorted(&column(&shuffled)), sorted(&whole));
    }

    #[test]
    fn any_text_is_observed_without_a_panic(text in "[\\[{][\\[\\]{}\",:a1\\\\ ]{0,20}") {
        let mut evidence = Evidence::default();
        evidence.observe(JsonNested, &text);
        let _ = types::of_evidence(&evidence);
    }
}
