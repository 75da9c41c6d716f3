//! Iceberg types: equality of shape, widening, names for people, and field ids.
//!
//! Widening follows the Iceberg specification, "Schema Evolution": int to long, float to double, and a
//! decimal to more digits at the same scale. Field ids are given out in the specification's order: all
//! fields of one level first, then what is nested in each.

use std::sync::Arc;

use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type,
};

use super::evidence::{Evidence, TextType};
use super::nested::{Nested, Shape};

/// The Iceberg type that a text column's type is stored as.
pub fn of_text(text_type: TextType) -> Type {
    Type::Primitive(match text_type {
        TextType::Boolean => PrimitiveType::Boolean,
        TextType::Int64 => PrimitiveType::Long,
        TextType::Float64 => PrimitiveType::Double,
        TextType::Date => PrimitiveType::Date,
        TextType::Timestamp => PrimitiveType::Timestamp,
        TextType::TimestampTz => PrimitiveType::Timestamptz,
        TextType::Text => PrimitiveType::String,
    })
}

/// The type of a text column; nothing while only nulls are known. Ids inside are of no meaning.
pub fn of_evidence(evidence: &Evidence) -> Option<Type> {
    let text_type = evidence.text_type()?;
    let nested = evidence.nested().and_then(of_nested);
    Some(nested.unwrap_or_else(|| of_text(text_type)))
}

/// The struct or list that nested values have in common; nothing when they are text. A struct must have a field.
fn of_nested(nested: &Nested) -> Option<Type> {
    let inner = |evidence: &Evidence| of_evidence(evidence).unwrap_or_else(open);
    match &nested.shape {
        Shape::Object(fields) if !fields.is_empty() => {
            let fields = fields
                .iter()
                .map(|field| NestedField::optional(0, &field.name, inner(&field.evidence)).into());
            Some(Type::Struct(StructType::new(fields.collect())))
        }
        Shape::Array(element) => Some(Type::List(ListType {
            element_field: NestedField::list_element(0, inner(element), false).into(),
        })),
        Shape::Object(_) | Shape::Text(_) => None,
    }
}

/// Whether there is a type and it has others inside.
pub fn is_nested(r#type: Option<&Type>) -> bool {
    r#type.is_some_and(|known| !known.is_primitive())
}

/// The type of a column of which only nulls are known: it reads as text until it becomes something.
pub fn open() -> Type {
    Type::Primitive(PrimitiveType::String)
}

/// A type's name in answers, in the vocabulary of the hosted service.
pub fn logical_name(r#type: &Type) -> String {
    match r#type {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => "BOOLEAN".to_owned(),
            PrimitiveType::Int => "INT32".to_owned(),
            PrimitiveType::Long => "INT64".to_owned(),
            PrimitiveType::Float => "FLOAT32".to_owned(),
            PrimitiveType::Double => "FLOAT64".to_owned(),
            PrimitiveType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            PrimitiveType::Date => "DATE".to_owned(),
            PrimitiveType::Time => "TIME[us]".to_owned(),
            PrimitiveType::Timestamp => "TIMESTAMP[us]".to_owned(),
            PrimitiveType::Timestamptz => "TIMESTAMPTZ[us]".to_owned(),
            PrimitiveType::TimestampNs => "TIMESTAMP[ns]".to_owned(),
            PrimitiveType::TimestamptzNs => "TIMESTAMPTZ[ns]".to_owned(),
            PrimitiveType::String => "VARCHAR".to_owned(),
            PrimitiveType::Uuid => "UUID".to_owned(),
            PrimitiveType::Fixed(length) => format!("VARBINARY({length})"),
            PrimitiveType::Binary => "VARBINARY".to_owned(),
        },
        Type::Struct(fields) => {
            let inner: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name, logical_name(&field.field_type)))
                .collect();
            format!("STRUCT<{}>", inner.join(", "))
        }
        Type::List(list) => format!("ARRAY<{}>", logical_name(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "MAP<{}, {}>",
            logical_name(&map.key_field.field_type),
            logical_name(&map.value_field.field_type)
        ),
    }
}

/// A column's type's name in answers; `NULL` where only nulls are known.
pub fn name_or_null(r#type: Option<&Type>) -> String {
    r#type.map_or_else(|| "NULL".to_owned(), logical_name)
}

/// Whether two types are the same but for field ids, comments and nullability.
pub fn same_shape(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Primitive(left), Type::Primitive(right)) => left == right,
        (Type::Struct(left), Type::Struct(right)) => {
            left.fields().len() == right.fields().len()
                && left
                    .fields()
                    .iter()
                    .zip(right.fields())
                    .all(|(left, right)| {
                        left.name == right.name && same_shape(&left.field_type, &right.field_type)
                    })
        }
        (Type::List(left), Type::List(right)) => same_shape(
            &left.element_field.field_type,
            &right.element_field.field_type,
        ),
        (Type::Map(left), Type::Map(right)) => {
            same_shape(&left.key_field.field_type, &right.key_field.field_type)
                && same_shape(&left.value_field.field_type, &right.value_field.field_type)
        }
        (Type::Primitive(_) | Type::Struct(_) | Type::List(_) | Type::Map(_), _) => false,
    }
}

/// Whether every value of `from` is a value of `to` by a promotion that Iceberg allows, or they are
/// the same.
pub fn widens_to(from: &Type, to: &Type) -> bool {
    let (Type::Primitive(from), Type::Primitive(to)) = (from, to) else {
        return same_shape(from, to);
    };
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long)
        | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision, scale },
            PrimitiveType::Decimal {
                precision: wider,
                scale: same_scale,
            },
        ) => scale == same_scale && precision <= wider,
        _ => from == to,
    }
}

/// The narrower type's wider partner, when one widens to the other.
pub fn common(left: &Type, right: &Type) -> Option<Type> {
    if widens_to(left, right) {
        Some(right.clone())
    } else if widens_to(right, left) {
        Some(left.clone())
    } else {
        None
    }
}

/// Gives out field ids.
#[derive(Debug)]
pub struct FieldIds {
    next: i32,
}

impl FieldIds {
    /// Ids from `last + 1` on.
    pub fn after(last: i32) -> Self {
        Self { next: last + 1 }
    }

    /// The next id.
    pub fn take(&mut self) -> i32 {
        let id = self.next;
        self.next += 1;
        id
    }

    /// The type with new ids for everything nested in it, all of it optional but map keys.
    pub fn number(&mut self, r#type: &Type) -> Type {
        match r#type {
            Type::Primitive(primitive) => Type::Primitive(primitive.clone()),
            Type::Struct(fields) => {
                let ids: Vec<i32> = fields.fields().iter().map(|_| self.take()).collect();
                let numbered = fields
                    .fields()
                    .iter()
                    .zip(ids)
                    .map(|(field, id)| {
                        NestedField::optional(id, &field.name, self.number(&field.field_type))
                            .into()
                    })
                    .collect();
                Type::Struct(StructType::new(numbered))
            }
            Type::List(list) => {
                let id = self.take();
                let element = self.number(&list.element_field.field_type);
                Type::List(ListType {
                    element_field: NestedField::list_element(id, element, false).into(),
                })
            }
            Type::Map(map) => {
                let key_id = self.take();
                let key = self.number(&map.key_field.field_type);
                let value_id = self.take();
                let value = self.number(&map.value_field.field_type);
                Type::Map(MapType {
                    key_field: NestedField::map_key_element(key_id, key).into(),
                    value_field: NestedField::map_value_element(value_id, value, false).into(),
                })
            }
        }
    }
}

/// Top-level fields with these names and types and new ids, in the specification's order. The
/// given id, if any, is kept with the ids nested in its type.
pub fn number_fields(
    columns: Vec<(String, Type, Option<i32>)>,
    ids: &mut FieldIds,
) -> Vec<NestedFieldRef> {
    let numbered: Vec<_> = columns
        .into_iter()
        .map(|(name, r#type, kept)| {
            let id = kept.unwrap_or_else(|| ids.take());
            (name, r#type, kept.is_some(), id)
        })
        .collect();
    numbered
        .into_iter()
        .map(|(name, r#type, is_kept, id)| {
            let r#type = if is_kept { r#type } else { ids.number(&r#type) };
            Arc::new(NestedField::optional(id, name, r#type))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primitive(primitive: PrimitiveType) -> Type {
        Type::Primitive(primitive)
    }

    fn decimal(precision: u32, scale: u32) -> Type {
        primitive(PrimitiveType::Decimal { precision, scale })
    }

    #[test]
    fn widening_is_what_iceberg_allows() {
        let (int, long) = (
            primitive(PrimitiveType::Int),
            primitive(PrimitiveType::Long),
        );
        let double = primitive(PrimitiveType::Double);
        assert!(widens_to(&int, &long));
        assert!(!widens_to(&long, &int));
        assert!(!widens_to(&long, &double));
        assert!(widens_to(&decimal(9, 2), &decimal(12, 2)));
        assert!(!widens_to(&decimal(9, 2), &decimal(12, 3)));
        assert_eq!(common(&long, &int), Some(long));
        assert_eq!(common(&int, &double), None);
    }

    #[test]
    fn ids_are_given_level_by_level() {
        let list = Type::List(ListType {
            element_field: NestedField::list_element(0, primitive(PrimitiveType::Int), true).into(),
        });
        let inner = Type::Struct(StructType::new(vec![
            NestedField::optional(0, "x", list).into(),
            NestedField::optional(0, "y", primitive(PrimitiveType::Int)).into(),
        ]));
        let columns = vec![
            ("a".to_owned(), inner, None),
            ("b".to_owned(), primitive(PrimitiveType::Long), None),
        ];
        let fields = number_fields(columns, &mut FieldIds::after(0));
        assert_eq!((fields[0].id, fields[1].id), (1, 2));
        let Type::Struct(inner) = &*fields[0].field_type else {
            panic!("not a struct");
        };
        assert_eq!((inner.fields()[0].id, inner.fields()[1].id), (3, 4));
        let Type::List(list) = &*inner.fields()[0].field_type else {
            panic!("not a list");
        };
        assert_eq!(list.element_field.id, 5);
        assert_eq!(
            logical_name(&fields[0].field_type),
            "STRUCT<x ARRAY<INT32>, y INT32>"
        );
    }
}
