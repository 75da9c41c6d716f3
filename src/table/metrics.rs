//! A manifest's entry for a data file, from the file's footer.
//!
//! Rules (Iceberg specification, "Manifests" and Appendix D): a bound is given only if every row group that
//! has values has it; text and binary bounds are cut to `BOUND_LENGTH_MAX` (an upper bound is then raised);
//! NaN is no bound; zero is one with its sign, because a footer may leave the sign out and Iceberg orders -0 before 0; bounds
//! of bytes need a footer that says their order, because older writers took bytes for signed; columns inside lists and maps have neither counts nor bounds, because a footer counts
//! their values and not the rows.

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Type,
};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use crate::error::{Error, Result};
use crate::ingest::statistics::{cut_text, has_order};

/// Characters (text) or bytes (binary) of a bound; what other writers use.
const BOUND_LENGTH_MAX: usize = 16;

/// The entry of the data file at `location`, which has this footer, in a table of this schema.
pub fn data_file(
    location: String,
    file_bytes: u64,
    footer: &ParquetMetaData,
    schema: &Schema,
) -> Result<DataFile> {
    let mut columns: HashMap<i32, ColumnMetrics> = HashMap::new();
    let mut rows = 0u64;
    let mut split_offsets = Vec::with_capacity(footer.num_row_groups());
    for row_group in footer.row_groups() {
        rows += u64::try_from(row_group.num_rows()).unwrap_or(0);
        if let Some(first) = row_group.columns().first() {
            let dictionary = first.dictionary_page_offset().unwrap_or(i64::MAX);
            split_offsets.push(first.data_page_offset().min(dictionary));
        }
        for chunk in row_group.columns() {
            let has_order = has_order(footer, chunk);
            let info = chunk.column_descr().self_type().get_basic_info();
            if !info.has_id() {
                return Err(Error::internal(
                    "a data file has a column without a field id",
                ));
            }
            let field = schema.field_by_id(info.id());
            let Some(Type::Primitive(primitive)) = field.map(|field| &*field.field_type) else {
                return Err(Error::internal(
                    "a data file has a column that is not in its table",
                ));
            };
            columns
                .entry(info.id())
                .or_insert_with(|| ColumnMetrics::new(primitive.clone()))
                .add(chunk, has_order);
        }
    }
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .record_count(rows)
        .file_size_in_bytes(file_bytes)
        .column_sizes(collect(&columns, |column| Some(column.compressed_bytes)))
        .value_counts(collect(&columns, |column| column.value_count))
        .null_value_counts(collect(&columns, |column| column.null_count))
        .lower_bounds(collect(&columns, |column| column.lower.clone().known()))
        .upper_bounds(collect(&columns, |column| column.upper.clone().known()))
        .split_offsets(Some(split_offsets));
    builder.build().map_err(Error::internal)
}

fn collect<T>(
    columns: &HashMap<i32, ColumnMetrics>,
    value: impl Fn(&ColumnMetrics) -> Option<T>,
) -> HashMap<i32, T> {
    columns
        .iter()
        .filter_map(|(id, column)| Some((*id, value(column)?)))
        .collect()
}

/// A bound over the row groups so far.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    /// No value yet.
    None,
    /// Over all of them.
    Known(Datum),
    /// At least one row group does not say.
    Unknown,
}

impl Bound {
    fn known(self) -> Option<Datum> {
        match self {
            Self::Known(datum) => Some(datum),
            Self::None | Self::Unknown => None,
        }
    }

    fn meet(&mut self, other: Option<Datum>, keeps_left: impl Fn(&Datum, &Datum) -> bool) {
        *self = match (std::mem::replace(self, Self::Unknown), other) {
            (Self::Unknown, _) | (_, None) => Self::Unknown,
            (Self::None, Some(datum)) => Self::Known(datum),
            (Self::Known(left), Some(right)) => Self::Known(if keeps_left(&left, &right) {
                left
            } else {
                right
            }),
        };
    }
}

struct ColumnMetrics {
    primitive: PrimitiveType,
    compressed_bytes: u64,
    value_count: Option<u64>,
    null_count: Option<u64>,
    lower: Bound,
    upper: Bound,
}

impl ColumnMetrics {
    fn new(primitive: PrimitiveType) -> Self {
        Self {
            primitive,
            compressed_bytes: 0,
            value_count: Some(0),
            null_count: Some(0),
            lower: Bound::None,
            upper: Bound::None,
        }
    }

    fn add(&mut self, chunk: &ColumnChunkMetaData, has_order: bool) {
        self.compressed_bytes += u64::try_from(chunk.compressed_size()).unwrap_or(0);
        if chunk.column_descr().max_rep_level() > 0 {
            (self.value_count, self.null_count) = (None, None);
            (self.lower, self.upper) = (Bound::Unknown, Bound::Unknown);
            return;
        }
        let values = u64::try_from(chunk.num_values()).unwrap_or(0);
        let nulls = chunk
            .statistics()
            .and_then(|statistics| statistics.null_count_opt());
        self.value_count = self.value_count.map(|count| count + values);
        self.null_count = self
            .null_count
            .zip(nulls)
            .map(|(count, nulls)| count + nulls);
        if nulls == Some(values) {
            return;
        }
        let statistics = chunk.statistics().filter(|_| has_order);
        let physical = chunk.column_type();
        let bound = |bytes: Option<&[u8]>, is_upper| {
            bytes.and_then(|bytes| datum(bytes, physical, &self.primitive, is_upper))
        };
        let lower = bound(statistics.and_then(|one| one.min_bytes_opt()), false);
        let upper = bound(statistics.and_then(|one| one.max_bytes_opt()), true);
        self.lower.meet(lower, |left, right| left <= right);
        self.upper.meet(upper, |left, right| left >= right);
    }
}

/// A footer's minimum or maximum as an Iceberg bound; `None` when it cannot be one.
fn datum(
    bytes: &[u8],
    physical: PhysicalType,
    primitive: &PrimitiveType,
    is_upper: bool,
) -> Option<Datum> {
    let value = match primitive {
        PrimitiveType::Decimal { .. }
            if matches!(physical, PhysicalType::INT32 | PhysicalType::INT64) =>
        {
            // A footer has these little-endian, a bound is big-endian.
            bytes.iter().rev().copied().collect()
        }
        PrimitiveType::String => {
            cut_text(std::str::from_utf8(bytes).ok()?, BOUND_LENGTH_MAX, is_upper)?.into_bytes()
        }
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => cut_binary(bytes, is_upper)?,
        PrimitiveType::Float | PrimitiveType::Double if is_zero(bytes) => {
            let mut zero = vec![0; bytes.len()];
            if let Some(last) = zero.last_mut().filter(|_| !is_upper) {
                *last = 0x80;
            }
            zero
        }
        _ => bytes.to_vec(),
    };
    Datum::try_from_bytes(&value, primitive.clone())
        .ok()
        .filter(|datum| !datum.is_nan())
}

/// Whether a little-endian number is zero, of either sign.
fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .split_last()
        .is_some_and(|(last, rest)| last & 0x7f == 0 && rest.iter().all(|byte| *byte == 0))
}

/// The first bytes of a bound; an upper one that was cut is raised at its last byte below 255.
fn cut_binary(bytes: &[u8], is_upper: bool) -> Option<Vec<u8>> {
    if bytes.len() <= BOUND_LENGTH_MAX {
        return Some(bytes.to_vec());
    }
    let mut kept = bytes[..BOUND_LENGTH_MAX].to_vec();
    if !is_upper {
        return Some(kept);
    }
    while let Some(last) = kept.pop() {
        if last < u8::MAX {
            kept.push(last + 1);
            return Some(kept);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_upper_bound_of_bytes_is_above_every_value() {
        assert_eq!(cut_binary(&[255; 17], true), None);
        assert_eq!(cut_binary(&[1; 17], true).unwrap()[15], 2);
    }

    #[test]
    fn a_row_group_without_a_bound_takes_the_bound_away() {
        let mut bound = Bound::None;
        bound.meet(Some(Datum::long(5)), |left, right| left <= right);
        bound.meet(Some(Datum::long(3)), |left, right| left <= right);
        assert_eq!(bound, Bound::Known(Datum::long(3)));
        bound.meet(None, |left, right| left <= right);
        bound.meet(Some(Datum::long(1)), |left, right| left <= right);
        assert_eq!(bound.known(), None);
    }

    #[test]
    fn decimals_of_small_physical_types_are_turned_around() {
        let primitive = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        let negative = datum(
            &(-1234i32).to_le_bytes(),
            PhysicalType::INT32,
            &primitive,
            false,
        );
        assert_eq!(
            negative.unwrap().to_bytes().unwrap().as_slice(),
            (-1234i16).to_be_bytes()
        );
        let zero = |is_upper| {
            let bound = datum(
                &0f64.to_le_bytes(),
                PhysicalType::DOUBLE,
                &PrimitiveType::Double,
                is_upper,
            );
            bound.unwrap().to_bytes().unwrap().to_vec()
        };
        assert_eq!(zero(false), (-0f64).to_le_bytes());
        assert_eq!(zero(true), 0f64.to_le_bytes());
        assert_eq!(
            datum(
                &f64::NAN.to_le_bytes(),
                PhysicalType::DOUBLE,
                &PrimitiveType::Double,
                true
            ),
            None
        );
    }
}
