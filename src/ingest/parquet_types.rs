//! Which Iceberg type each Parquet type becomes, and the cast that keeps every value.
//!
//! Files are read without their `ARROW:schema` key, so the types here are those that Parquet's own
//! annotations give. What Iceberg or its readers cannot take is rewritten, exactly or not at all:
//!
//! | Parquet | table |
//! |---|---|
//! | INT 8, 16, 32; UINT 8, 16 | int |
//! | INT 64; UINT 32; UINT 64 within the signed range | long |
//! | FLOAT16, FLOAT / DOUBLE | float / double |
//! | DECIMAL up to 38 digits | decimal |
//! | DATE; TIME (ms, us, ns) | date; time |
//! | TIMESTAMP (ms, us, ns; INT96) local / UTC | timestamp / timestamptz, microseconds |
//! | STRING, ENUM, JSON; BYTE_ARRAY | string; binary |
//! | FIXED_LEN_BYTE_ARRAY, UUID | fixed |
//! | LIST, MAP, groups | list, map, struct |
//! | only nulls (UNKNOWN) | open column |
//! | INTERVAL; DECIMAL beyond 38 digits | refused |

use arrow_array::ArrayRef;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, TimeUnit};
use iceberg::spec::{ListType, MapType, NestedField, PrimitiveType, StructType, Type};

/// A type that has no place in a table: what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// The Iceberg type of a Parquet column as Arrow shows it, without field ids (all zero); `None` for a
/// column that can only hold nulls.
pub fn iceberg_type(data_type: &DataType) -> Result<Option<Type>, Unsupported> {
    let primitive = match data_type {
        DataType::Null => return Ok(None),
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            PrimitiveType::Int
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => PrimitiveType::Long,
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *precision <= 38 && *scale >= 0 =>
        {
            PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: scale.unsigned_abs().into(),
            }
        }
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(_) => PrimitiveType::Time,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(length) => PrimitiveType::Fixed(length.unsigned_abs().into()),
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| Ok(NestedField::optional(0, field.name(), nested(field)?).into()))
                .collect::<Result<_, Unsupported>>()?;
            return Ok(Some(Type::Struct(StructType::new(fields))));
        }
        DataType::List(element) | DataType::LargeList(element) => {
            return Ok(Some(Type::List(ListType {
                element_field: NestedField::list_element(0, nested(element)?, false).into(),
            })));
        }
        DataType::Map(entries, _) => return map_type(entries).map(Some),
        other => return Err(Unsupported(other.to_string())),
    };
    Ok(Some(Type::Primitive(primitive)))
}

/// The type of something inside another; a nested column of nulls alone reads as text.
fn nested(field: &Field) -> Result<Type, Unsupported> {
    Ok(iceberg_type(field.data_type())?.unwrap_or_else(crate::schema::types::open))
}

fn map_type(entries: &Field) -> Result<Type, Unsupported> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Unsupported(entries.data_type().to_string()));
    };
    let [key, value] = fields.as_ref() else {
        return Err(Unsupported(entries.data_type().to_string()));
    };
    Ok(Type::Map(MapType {
        key_field: NestedField::map_key_element(0, nested(key)?).into(),
        value_field: NestedField::map_value_element(0, nested(value)?, false).into(),
    }))
}

/// A value that a cast would change or refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexact {
    /// Index of the first such row, if it was found.
    pub row_in_batch: Option<usize>,
    /// The value in it, as text.
    pub value: String,
    /// What is wrong.
    pub reason: String,
}

/// Casts a column to a data file's type, or names the first row that the cast would change.
pub fn cast_exactly(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, Inexact> {
    const STRICT: CastOptions<'static> = CastOptions {
        safe: false,
        format_options: arrow_cast::display::FormatOptions::new(),
    };
    if array.data_type() == target {
        return Ok(array.clone());
    }
    let inexact = |row: Option<usize>, reason: String| Inexact {
        row_in_batch: row,
        value: row.map_or_else(String::new, |row| display_value(array, row)),
        reason,
    };
    let refused = |error: arrow_schema::ArrowError| {
        let is_refused =
            |row: &usize| cast_with_options(&array.slice(*row, 1), target, &STRICT).is_err();
        inexact((0..array.len()).find(is_refused), error.to_string())
    };
    let cast = cast_with_options(array, target, &STRICT).map_err(refused)?;
    if !may_lose_digits(array.data_type()) {
        return Ok(cast);
    }
    // Arrow cuts nanoseconds off without a word. What was cut does not come back.
    let back = cast_with_options(&cast, array.data_type(), &STRICT).map_err(refused)?;
    let differs = |row: usize| array.slice(row, 1).to_data() != back.slice(row, 1).to_data();
    if array.to_data() == back.to_data() {
        return Ok(cast);
    }
    let reason = "it has nanoseconds, and tables keep microseconds; round it before the upload";
    Err(inexact(
        (0..array.len()).find(|row| differs(*row)),
        reason.to_owned(),
    ))
}

/// Whether a type has digits that the table's type does not keep.
fn may_lose_digits(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Time64(TimeUnit::Nanosecond) => {
            true
        }
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| may_lose_digits(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            may_lose_digits(field.data_type())
        }
        _ => false,
    }
}

/// A value of a column as text, for an error message; a date that no calendar has, as its number.
pub fn display_value(array: &ArrayRef, row: usize) -> String {
    let options = arrow_cast::display::FormatOptions::new();
    let shown = |array: &ArrayRef, row: usize| {
        arrow_cast::display::ArrayFormatter::try_new(array, &options)
            .and_then(|formatter| formatter.value(row).try_to_string())
    };
    let number = || arrow_cast::cast(&array.slice(row, 1), &DataType::Int64);
    shown(array, row)
        .or_else(|error| {
            number()
                .and_then(|number| shown(&number, 0))
                .map_err(|_| error)
        })
        .unwrap_or_else(|error| format!("({error})"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Int64Array, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
    };

    use super::*;

    #[test]
    fn a_cast_keeps_every_value_or_names_the_row() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let whole: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(-1000), None]));
        let expected: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]));
        assert_eq!(&cast_exactly(&whole, &micros).unwrap(), &expected);
        let cut: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1000, 1001]));
        assert_eq!(
            cast_exactly(&cut, &micros).unwrap_err().row_in_batch,
            Some(1)
        );
        let fits: ArrayRef = Arc::new(UInt64Array::from(vec![7]));
        let expected: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        assert_eq!(&cast_exactly(&fits, &DataType::Int64).unwrap(), &expected);
        let beyond: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(cast_exactly(&beyond, &DataType::Int64).is_err());
    }

    #[test]
    fn what_has_no_place_is_refused() {
        assert!(iceberg_type(&DataType::Decimal256(39, 2)).is_err());
        assert!(iceberg_type(&DataType::Interval(arrow_schema::IntervalUnit::DayTime)).is_err());
        assert_eq!(iceberg_type(&DataType::Null), Ok(None));
    }
}
