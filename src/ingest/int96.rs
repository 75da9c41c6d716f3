//! INT96 timestamps, exact whatever their year.
//!
//! An INT96 is a day and the nanoseconds since its midnight. The parquet crate reads it as nanoseconds or as seconds since
//! 1970. Nanoseconds wrap around before 1677 and after 2262, where real files have dates like 9999-12-31; seconds never do.
//! Both readings together give the instant: the difference of the two is the fraction of the second, modulo 2^64.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, TimestampSecondType};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, TimeUnit};
use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;

use super::parquet_types::{Inexact, display_value};

/// The columns of a file that have INT96 somewhere, as indices, with their fields as seconds.
pub(super) fn columns_in_seconds(
    parquet: &SchemaDescriptor,
    arrow: &Fields,
) -> Vec<(usize, FieldRef)> {
    let mut leaves = parquet
        .columns()
        .iter()
        .map(|leaf| leaf.physical_type() == PhysicalType::INT96);
    let fields = arrow.iter().enumerate();
    fields
        .map(|(index, field)| (index, in_seconds(field, &mut leaves)))
        .filter(|(index, field)| *field != arrow[*index])
        .collect()
}

/// The field with seconds for every leaf that is INT96; Arrow's leaves are Parquet's, in the same order.
fn in_seconds(field: &FieldRef, leaves: &mut impl Iterator<Item = bool>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| in_seconds(field, leaves))
                .collect(),
        ),
        DataType::List(element) => DataType::List(in_seconds(element, leaves)),
        DataType::Map(entries, is_sorted) => DataType::Map(in_seconds(entries, leaves), *is_sorted),
        leaf => match leaves.next() {
            Some(true) => DataType::Timestamp(TimeUnit::Second, None),
            Some(false) | None => leaf.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The microseconds of a column that was read as nanoseconds and as seconds, or the first row that has none.
pub(super) fn in_microseconds(nanos: &ArrayRef, seconds: &ArrayRef) -> Result<ArrayRef, Inexact> {
    if nanos.data_type() == seconds.data_type() {
        return Ok(nanos.clone());
    }
    let refused = |error: ArrowError| Inexact {
        row_in_batch: None,
        value: String::new(),
        reason: error.to_string(),
    };
    let nulls = nanos.nulls().cloned();
    Ok(match nanos.data_type() {
        DataType::Struct(fields) => {
            let (nanos, seconds) = (nanos.as_struct(), seconds.as_struct());
            let columns = nanos.columns().iter().zip(seconds.columns());
            let columns: Vec<ArrayRef> = columns
                .map(|(nanos, seconds)| in_microseconds(nanos, seconds))
                .collect::<Result<_, _>>()?;
            let fields = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| field_of(field, column))
                .collect();
            Arc::new(StructArray::try_new(fields, columns, nulls).map_err(refused)?)
        }
        DataType::List(field) => {
            let (nanos, seconds) = (nanos.as_list::<i32>(), seconds.as_list::<i32>());
            let values = in_microseconds(nanos.values(), seconds.values()).map_err(somewhere)?;
            let field = field_of(field, &values);
            Arc::new(
                ListArray::try_new(field, nanos.offsets().clone(), values, nulls)
                    .map_err(refused)?,
            )
        }
        DataType::Map(field, is_sorted) => {
            let (nanos, seconds) = (nanos.as_map(), seconds.as_map());
            let entries: [ArrayRef; 2] =
                [nanos, seconds].map(|map| Arc::new(map.entries().clone()) as ArrayRef);
            let entries = in_microseconds(&entries[0], &entries[1]).map_err(somewhere)?;
            let field = field_of(field, &entries);
            let (offsets, entries) = (nanos.offsets().clone(), entries.as_struct().clone());
            Arc::new(
                MapArray::try_new(field, offsets, entries, nulls, *is_sorted).map_err(refused)?,
            )
        }
        _ => Arc::new(leaf_in_microseconds(nanos, seconds)?),
    })
}

fn field_of(field: &FieldRef, column: &ArrayRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(column.data_type().clone()))
}

/// A row inside of a list is none of the column's.
fn somewhere(inexact: Inexact) -> Inexact {
    Inexact {
        row_in_batch: None,
        ..inexact
    }
}

fn leaf_in_microseconds(
    nanos: &ArrayRef,
    seconds: &ArrayRef,
) -> Result<TimestampMicrosecondArray, Inexact> {
    let whole = seconds.as_primitive::<TimestampSecondType>();
    let rows = nanos
        .as_primitive::<TimestampNanosecondType>()
        .iter()
        .zip(whole)
        .enumerate();
    rows.map(|(row, pair)| {
        let (Some(nanos), Some(whole)) = pair else {
            return Ok(None);
        };
        let fraction = nanos.wrapping_sub(whole.wrapping_mul(1_000_000_000));
        let micros = whole
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(fraction / 1000));
        let reason = match micros {
            Some(micros) if fraction % 1000 == 0 => return Ok(Some(micros)),
            Some(_) => {
                "it has nanoseconds, and tables keep microseconds; round it before the upload"
            }
            None => "it is beyond the years that a table holds",
        };
        Err(Inexact {
            row_in_batch: Some(row),
            value: format!("{}.{fraction:09}", display_value(seconds, row)),
            reason: reason.to_owned(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    /// What the parquet crate makes of a day since 1970 and nanoseconds.
    fn read(days: i64, nanos: i64) -> (ArrayRef, ArrayRef) {
        let wrapped = days.wrapping_mul(86_400_000_000_000).wrapping_add(nanos);
        let seconds = days * 86_400 + nanos / 1_000_000_000;
        (
            Arc::new(TimestampNanosecondArray::from(vec![None, Some(wrapped)])),
            Arc::new(TimestampSecondArray::from(vec![None, Some(seconds)])),
        )
    }

    #[test]
    fn instants_of_every_year_are_exact_or_named() {
        for (days, nanos, micros) in [
            (0, 1_000, 1),
            (-1, 86_399_999_999_000, -1),
            // 9999-12-31 23:59:59.999999 and 0001-01-01.
            (2_932_896, 86_399_999_999_000, 253_402_300_799_999_999),
            (-719_162, 0, -62_135_596_800_000_000),
        ] {
            let (nanos, seconds) = read(days, nanos);
            let expected: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from(vec![None, Some(micros)]));
            assert_eq!(
                in_microseconds(&nanos, &seconds).as_ref(),
                Ok(&expected),
                "{days}"
            );
        }
        let (nanos, seconds) = read(2_932_896, 1);
        let refused = in_microseconds(&nanos, &seconds).unwrap_err();
        assert_eq!(refused.row_in_batch, Some(1));
        assert_eq!(refused.value, "9999-12-31T00:00:00.000000001");
        let (nanos, seconds) = read(i64::from(i32::MAX), 0);
        let refused = in_microseconds(&nanos, &seconds).unwrap_err();
        assert!(refused.reason.contains("beyond"), "{}", refused.reason);
        assert_eq!(refused.value, "185542587100800.000000000");
    }
}
