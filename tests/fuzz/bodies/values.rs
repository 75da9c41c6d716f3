//! Columns of text: what their values may become is what they encode to, and that prints back.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use calve::ingest::data_file::arrow_schema;
use calve::ingest::encode::encode_column;
use calve::ingest::raw::RawColumn;
use calve::schema::text_value::{DateForm, DateForms};
use calve::schema::types::{self, FieldIds};
use calve::schema::{CellKind, Evidence, TextType};
use iceberg::spec::Type;
use serde_json::value::RawValue;

use super::spelling::{DATE_FORMS, Typed, common_form, prints_back};

/// One value a line; the first byte of the input says how they are quoted.
pub fn check(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(content) else {
        return;
    };
    let mut column = RawColumn::default();
    for (row, line) in text.split('\n').enumerate() {
        let is_other = row % 2 == 1;
        match choice % 4 {
            _ if line.is_empty() => column.push_null(),
            0 => column.push(CellKind::Plain, line),
            1 => column.push(CellKind::Quoted, line),
            2 => column.push(CellKind::JsonString, line),
            _ if is_other => column.push(CellKind::Quoted, line),
            _ => column.push(CellKind::Plain, line),
        }
    }
    check_column(&column);
}

/// Every type that a column may have holds each of its values; the one that it gets is one of them.
pub fn check_column(column: &RawColumn) {
    let evidence = observed(column);
    assert_eq!(evidence, in_two_parts(column), "parts merge to the whole");
    let form = evidence.date_forms().and_then(DateForms::decided);
    let form = form.unwrap_or(DateForm::ISO);
    match types::of_evidence(&evidence) {
        None => assert!(column.iter().all(|(kind, _)| kind == CellKind::Null)),
        Some(r#type) => {
            let array = encoded(column, &r#type, form);
            if r#type.is_primitive() {
                let own = evidence.text_type().expect("there are values");
                assert_holds(column, &array, own);
            } else {
                for (row, (kind, text)) in column.iter().enumerate() {
                    if kind != CellKind::Null {
                        assert_nested_holds(text, &array, row);
                    }
                }
            }
        }
    }
    for other in [
        TextType::Boolean,
        TextType::Int64,
        TextType::Float64,
        TextType::Date,
        TextType::Timestamp,
        TextType::TimestampTz,
    ] {
        if evidence.value_count > 0 && evidence.allows(other) {
            let array = encoded(column, &types::of_text(other), form);
            assert_holds(column, &array, other);
        }
    }
}

fn observed(column: &RawColumn) -> Evidence {
    let mut evidence = Evidence::default();
    for (kind, text) in column.iter() {
        evidence.observe(kind, text);
    }
    evidence
}

fn in_two_parts(column: &RawColumn) -> Evidence {
    let middle = column.len() / 2;
    let mut evidence = observed(&column.copy_of(0..middle));
    evidence.merge(&observed(&column.copy_of(middle..column.len())));
    evidence
}

fn encoded(column: &RawColumn, r#type: &Type, form: DateForm) -> ArrayRef {
    let columns = vec![("c".to_owned(), r#type.clone(), None)];
    let fields = types::number_fields(columns, &mut FieldIds::after(0));
    let schema = arrow_schema(&fields).expect("a schema");
    let array = encode_column(column, schema.field(0).data_type(), form)
        .unwrap_or_else(|misfit| panic!("{type} was allowed, and refuses {misfit:?}"));
    assert_eq!(array.len(), column.len());
    array
}

/// Every cell is null, or prints back from the array; all dates in one form.
fn assert_holds(column: &RawColumn, array: &ArrayRef, text_type: TextType) {
    let mut values = BTreeMap::<bool, Vec<(Typed, &str)>>::new();
    for (row, (kind, text)) in column.iter().enumerate() {
        let is_null_word = text_type != TextType::Text && kind.is_null_word(text);
        let is_null = kind == CellKind::Null || is_null_word;
        assert_eq!(array.is_null(row), is_null, "`{text}`");
        if is_null {
            continue;
        }
        match typed(array, row) {
            None => assert_eq!(array.as_string::<i32>().value(row), text),
            Some(value) => {
                let is_json = kind == CellKind::JsonNumber;
                values.entry(is_json).or_default().push((value, text));
            }
        }
    }
    for (is_json, values) in values {
        common_form(&values, is_json).unwrap_or_else(|reason| panic!("{text_type:?}: {reason}"));
    }
}

/// The value of a row; nothing for text.
fn typed(array: &ArrayRef, row: usize) -> Option<Typed> {
    let micros = || array.as_primitive::<TimestampMicrosecondType>().value(row);
    match array.data_type() {
        DataType::Boolean => Some(Typed::Boolean(array.as_boolean().value(row))),
        DataType::Int64 => Some(Typed::Int64(array.as_primitive::<Int64Type>().value(row))),
        DataType::Float64 => Some(Typed::Float64(
            array.as_primitive::<Float64Type>().value(row),
        )),
        DataType::Date32 => Some(Typed::Date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Some(Typed::Timestamp(micros())),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Some(Typed::TimestampTz(micros())),
        DataType::Utf8 => None,
        other => panic!("{other} is no type of text"),
    }
}

/// The JSON value is what the row of the array holds, or the array keeps it as text.
fn assert_nested_holds(json: &str, array: &ArrayRef, row: usize) {
    if json == "null" {
        return assert!(array.is_null(row));
    }
    assert!(array.is_valid(row), "{json}");
    match array.data_type() {
        DataType::Struct(fields) => {
            let object: BTreeMap<String, &RawValue> =
                serde_json::from_str(json).expect("an object");
            for key in object.keys() {
                assert!(fields.find(key).is_some(), "`{key}` was lost");
            }
            for (field, inner) in fields.iter().zip(array.as_struct().columns()) {
                let value = object.get(field.name()).map_or("null", |value| value.get());
                assert_nested_holds(value, inner, row);
            }
        }
        DataType::List(_) => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).expect("an array");
            let list = array.as_list::<i32>().value(row);
            assert_eq!(list.len(), elements.len());
            for (index, element) in elements.iter().enumerate() {
                assert_nested_holds(element.get(), &list, index);
            }
        }
        _ => {
            let is_string = json.starts_with('"');
            let string: String = match is_string {
                true => serde_json::from_str(json).expect("a string"),
                false => json.to_owned(),
            };
            match typed(array, row) {
                None => assert_eq!(array.as_string::<i32>().value(row), string),
                // Inside of nested values dates have one form.
                Some(value) => assert!(
                    prints_back(value, &string, DATE_FORMS[0], !is_string),
                    "{value:?} does not print back as {json}"
                ),
            }
        }
    }
}
