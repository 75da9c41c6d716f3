//! Bounds of data files whose columns were widened after they were written.
//!
//! A manifest keeps a bound in the width of its column's type. The specification lets readers take a 4-byte bound
//! for a long, but some do not, so the manifests of a widened table are written anew with wider bounds.

use std::collections::HashMap;

use iceberg::spec::{
    DataFile, DataFileBuilder, Datum, NestedFieldRef, PrimitiveLiteral, PrimitiveType, Schema, Type,
};

use crate::error::{Error, Result};

/// Whether a column has another type after than before.
pub fn is_widened(before: &[NestedFieldRef], after: &[NestedFieldRef]) -> bool {
    after.iter().any(|field| {
        before
            .iter()
            .any(|old| old.id == field.id && old.field_type != field.field_type)
    })
}

/// The file's entry with bounds of the schema's types; `None` when they are of these types already.
pub fn with_bounds_of(file: &DataFile, schema: &Schema) -> Result<Option<DataFile>> {
    let lower = converted(file.lower_bounds(), schema);
    let upper = converted(file.upper_bounds(), schema);
    if lower == *file.lower_bounds() && upper == *file.upper_bounds() {
        return Ok(None);
    }
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(lower)
        .upper_bounds(upper)
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec));
    Ok(Some(builder.build().map_err(Error::internal)?))
}

fn converted(bounds: &HashMap<i32, Datum>, schema: &Schema) -> HashMap<i32, Datum> {
    bounds
        .iter()
        .filter_map(|(id, bound)| {
            let widened = match schema.field_by_id(*id).map(|field| &*field.field_type) {
                // A column that is no longer in the schema is read through older ones.
                None => Some(bound.clone()),
                Some(Type::Primitive(primitive)) if bound.data_type() == primitive => {
                    Some(bound.clone())
                }
                Some(r#type) => widen(bound, r#type),
            };
            // A missing bound only costs a reader a look into the file.
            widened.map(|bound| (*id, bound))
        })
        .collect()
}

fn widen(bound: &Datum, r#type: &Type) -> Option<Datum> {
    match (bound.literal(), r#type) {
        (PrimitiveLiteral::Float(value), Type::Primitive(PrimitiveType::Double)) => {
            Some(Datum::double(f64::from(value.0)))
        }
        _ => bound.clone().to(r#type).ok(),
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataContentType, DataFileFormat, NestedField};

    use super::*;

    #[test]
    fn bounds_take_the_schemas_types() {
        let decimal = |precision| PrimitiveType::Decimal {
            precision,
            scale: 2,
        };
        let small = Datum::try_from_bytes(&[1, 0], decimal(9)).unwrap();
        let lower = HashMap::from([
            (1, Datum::int(-5)),
            (2, Datum::float(0.5f32)),
            (3, small),
            (4, Datum::string("x")),
        ]);
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path("file:///x".to_owned())
            .file_format(DataFileFormat::Parquet)
            .record_count(7)
            .file_size_in_bytes(8)
            .lower_bounds(lower)
            .build()
            .unwrap();
        let field = |id, primitive| -> NestedFieldRef {
            NestedField::optional(id, format!("c{id}"), Type::Primitive(primitive)).into()
        };
        let schema = |types: [PrimitiveType; 4]| {
            let fields = (1..).zip(types).map(|(id, r#type)| field(id, r#type));
            Schema::builder().with_fields(fields).build().unwrap()
        };
        let same = schema([
            PrimitiveType::Int,
            PrimitiveType::Float,
            decimal(9),
            PrimitiveType::String,
        ]);
        assert_eq!(with_bounds_of(&file, &same).unwrap(), None);
        let wide = schema([
            PrimitiveType::Long,
            PrimitiveType::Double,
            decimal(12),
            PrimitiveType::String,
        ]);
        let changed = with_bounds_of(&file, &wide).unwrap().unwrap();
        let bounds = changed.lower_bounds();
        assert_eq!(bounds[&1], Datum::long(-5));
        assert_eq!(bounds[&2], Datum::double(0.5));
        assert_eq!(bounds[&3].data_type(), &decimal(12));
        assert_eq!(bounds[&4], Datum::string("x"));
        assert_eq!(changed.record_count(), 7);
    }
}
