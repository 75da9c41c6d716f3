//! Nested values into a data file and back.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int64Type};
use arrow_schema::DataType;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::data_file::{DataFileWriter, arrow_schema};
use crate::schema::evidence::Evidence;
use crate::schema::nested::tests::any_column;
use crate::schema::types::{self, FieldIds};

fn column_of(values: &[Value]) -> (RawColumn, Evidence) {
    let (mut column, mut evidence) = (RawColumn::default(), Evidence::default());
    for value in values {
        let text = value.to_string();
        let (kind, text) = json::cell(&text);
        column.push(kind, &text);
        evidence.observe(kind, &text);
    }
    (column, evidence)
}

fn fields_of(r#type: Type) -> Vec<NestedFieldRef> {
    types::number_fields(
        vec![("x".to_owned(), r#type, None)],
        &mut FieldIds::after(0),
    )
}

/// What a table of this type must hold for a JSON value.
fn expected(value: &Value, r#type: &Type) -> Value {
    match (r#type, value) {
        (_, Value::Null) => Value::Null,
        (Type::Struct(fields), Value::Object(members)) => fields
            .fields()
            .iter()
            .map(|field| {
                let member = members.get(&field.name).unwrap_or(&Value::Null);
                (field.name.clone(), expected(member, &field.field_type))
            })
            .collect(),
        (Type::List(list), Value::Array(elements)) => elements
            .iter()
            .map(|element| expected(element, &list.element_field.field_type))
            .collect(),
        (Type::Primitive(PrimitiveType::String), Value::String(text)) => json!(text),
        (Type::Primitive(PrimitiveType::String), value) => json!(value.to_string()),
        (Type::Primitive(PrimitiveType::Double), value) => json!(value.as_f64()),
        (Type::Primitive(PrimitiveType::Date), value) => {
            json!(crate::schema::text_value::parse_date(
                value.as_str().unwrap(),
                DateForm::ISO
            ))
        }
        (_, value) => value.clone(),
    }
}

/// What an array holds in a row.
fn found(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Struct(fields) => fields
            .iter()
            .zip(array.as_struct().columns())
            .map(|(field, column)| (field.name().clone(), found(column, row)))
            .collect(),
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len())
                .map(|index| found(&elements, index))
                .collect()
        }
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        other => panic!("{other} is not expected here"),
    }
}

fn written_and_read(fields: &[NestedFieldRef], array: ArrayRef) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let rows = array.len();
    let mut writer = DataFileWriter::create(&path, fields.to_vec(), false).unwrap();
    writer.write(vec![array]).unwrap();
    writer.finish().unwrap().sync().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    // Every leaf's element carries a field id, or readers lose it.
    for leaf in builder.metadata().file_metadata().schema_descr().columns() {
        assert!(leaf.self_type().get_basic_info().has_id(), "{leaf:?}");
    }
    let mut reader = builder.with_batch_size(rows.max(1)).build().unwrap();
    reader.next().unwrap().unwrap()
}

proptest! {
    #[test]
    fn every_value_comes_back(values in any_column()) {
        let (column, evidence) = column_of(&values);
        let r#type = types::of_evidence(&evidence).unwrap_or_else(types::open);
        let fields = fields_of(r#type.clone());
        let schema = arrow_schema(&fields).unwrap();
        let array = encode_column(&column, schema.field(0).data_type(), DateForm::ISO).unwrap();
        prop_assert_eq!(array.data_type(), schema.field(0).data_type());
        let batch = written_and_read(&fields, array);
        for (row, value) in values.iter().enumerate() {
            prop_assert_eq!(found(batch.column(0), row), expected(value, &r#type), "{} as {}", value, types::logical_name(&r#type));
        }
    }
}

#[test]
fn what_a_declared_type_cannot_hold_is_a_misfit() {
    let (_, evidence) = column_of(&[json!([{"a": 1, "b": ["x"]}])]);
    let declared = types::of_evidence(&evidence).unwrap();
    let encode = |r#type: &Type, values: &[&str]| {
        let schema = arrow_schema(&fields_of(r#type.clone())).unwrap();
        let mut column = RawColumn::default();
        for value in values {
            let (kind, text) = json::cell(value);
            column.push(kind, &text);
        }
        encode_column(&column, schema.field(0).data_type(), DateForm::ISO)
    };
    let fits = encode(
        &declared,
        &["[]", "null", r#"[{}, {"b":[null], "a":-5}, null]"#],
    )
    .unwrap();
    assert_eq!(
        found(&fits, 2),
        json!([{"a": null, "b": null}, {"a": -5, "b": [null]}, null])
    );
    for (misfit, told) in [
        (r#"[{"a":1},{"a":1.5}]"#, "1.5"),
        (r#"[{"c":1}]"#, r#"{"c":1}"#),
        (r#"[{"a":1,"b":[],"a":2}]"#, r#"{"a":1,"b":[],"a":2}"#),
        (r#"[{"b":{}}]"#, "{}"),
        (r#"{"a":1}"#, r#"{"a":1}"#),
        ("5", "5"),
        (r#""[]""#, "[]"),
    ] {
        let refused = encode(
            &declared,
            &["[{\"a\":1},{\"b\":[\"x\",\"y\"]}]", "null", misfit],
        );
        assert_eq!(
            refused.unwrap_err(),
            Misfit {
                row_in_batch: 2,
                value: told.to_owned()
            },
            "{misfit}"
        );
    }
    let list_of_required = |required| {
        Type::List(iceberg::spec::ListType {
            element_field: NestedField::list_element(
                2,
                Type::Primitive(PrimitiveType::Long),
                required,
            )
            .into(),
        })
    };
    let list = |required| {
        let field = NestedField::optional(1, "x", list_of_required(required));
        let schema = arrow_schema(&[field.into()]).unwrap();
        let mut column = RawColumn::default();
        column.push(CellKind::JsonNested, "[1]");
        column.push(CellKind::JsonNested, "[1,null]");
        encode_column(&column, schema.field(0).data_type(), DateForm::ISO).map(|array| array.len())
    };
    assert_eq!(list(false), Ok(2));
    assert_eq!(
        list(true),
        Err(Misfit {
            row_in_batch: 1,
            value: "[1,null]".to_owned()
        })
    );
}
