//! Which Parquet files can be data files of a table as they are. Pure.
//!
//! [`edits`] walks the file's schema and the table's fields side by side. Where every element is one that all
//! readers of tables take for the field's type, it gives the footer's edits; else the reason why the file is written anew. The
//! rules are narrow on purpose: what is not known to be read alike everywhere is written anew.
//!
//! | adopted | as |
//! |---|---|
//! | BOOLEAN; INT32, INT64, signed; FLOAT, DOUBLE | boolean; int, long; float, double |
//! | INT 8, 16 and UINT 8, 16 | int, the annotation dropped |
//! | DECIMAL in INT32 (to 9 digits), INT64 (10 to 18), FIXED_LEN_BYTE_ARRAY | decimal |
//! | DATE; TIME and TIMESTAMP in microseconds | date; time, timestamp, timestamptz |
//! | STRING; BYTE_ARRAY; FIXED_LEN_BYTE_ARRAY | string; binary; fixed |
//! | LIST and MAP of three levels; groups | list, map, struct |

use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use parquet::basic::{
    Compression, ConvertedType, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::Type as Element;

use super::footer::ElementEdit;
use crate::schema::types;

/// The edits that make the file a data file with these fields, one for each column; or why it cannot be one.
pub fn edits(
    footer: &ParquetMetaData,
    fields: &[NestedFieldRef],
) -> Result<Vec<ElementEdit>, String> {
    let columns = footer.file_metadata().schema().get_fields();
    if columns.len() != fields.len() {
        return Err("a column holds only nulls and has no type".to_owned());
    }
    let mut edits = vec![ElementEdit::default()];
    for (element, field) in columns.iter().zip(fields) {
        if element.name() != field.name {
            return Err(format!("column `{}`: another is in its place", field.name));
        }
        push_field(element, field, &mut edits)
            .map_err(|reason| format!("column `{}`: {reason}", field.name))?;
    }
    for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
        let refused = |what: String| {
            let path = chunk.column_path();
            let column = path.parts().first().map_or("", String::as_str);
            Err(format!(
                "column `{column}`: {what}, which not every reader knows"
            ))
        };
        match chunk.compression() {
            Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::ZSTD(_)
            | Compression::LZ4_RAW => {}
            other => return refused(format!("its pages are compressed by {other}")),
        }
        let is_common = |encoding: &Encoding| {
            #[expect(deprecated, reason = "old files name it for their levels")]
            let levels = *encoding == Encoding::BIT_PACKED;
            levels
                || matches!(
                    encoding,
                    Encoding::PLAIN
                        | Encoding::PLAIN_DICTIONARY
                        | Encoding::RLE
                        | Encoding::RLE_DICTIONARY
                )
        };
        if let Some(other) = chunk.encodings().find(|encoding| !is_common(encoding)) {
            return refused(format!("its pages are encoded by {other}"));
        }
    }
    Ok(edits)
}

fn push_field(
    element: &Element,
    field: &NestedField,
    edits: &mut Vec<ElementEdit>,
) -> Result<(), String> {
    let info = element.get_basic_info();
    let is_optional = info.has_repetition() && info.repetition() == Repetition::OPTIONAL;
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return Err("it is a list without the standard's levels".to_owned());
    }
    if field.required && is_optional {
        return Err("the table requires a value, and the file's column may lack one".to_owned());
    }
    let mut edit = ElementEdit {
        field_id: Some(field.id),
        drops_annotation: false,
    };
    match &*field.field_type {
        Type::Primitive(primitive) => {
            edit.drops_annotation = is_small_integer(element, primitive);
            if !edit.drops_annotation && !is_plain(element, primitive) {
                let declared = types::logical_name(&field.field_type);
                return Err(format!("{} is stored as {declared}", describe(element)));
            }
            edits.push(edit);
            Ok(())
        }
        Type::Struct(fields) => {
            if element.is_primitive() || is_annotated(element) {
                return Err("it is no plain group".to_owned());
            }
            edits.push(edit);
            push_children(element, fields.fields(), edits)
        }
        Type::List(list) => {
            let repeated = repeated_group(element, LogicalType::List, &[ConvertedType::LIST])?;
            // The standard takes a group of these names for the element itself.
            let name = repeated.name();
            if name == "array" || name == format!("{}_tuple", element.name()) {
                return Err("it is a list of two levels".to_owned());
            }
            let [child] = repeated.get_fields() else {
                return Err("it is a list of two levels".to_owned());
            };
            edits.extend([edit, ElementEdit::default()]);
            push_field(child, &list.element_field, edits)
        }
        Type::Map(map) => {
            let converted = [ConvertedType::MAP, ConvertedType::MAP_KEY_VALUE];
            let repeated = repeated_group(element, LogicalType::Map, &converted)?;
            let [key, value] = repeated.get_fields() else {
                return Err("it is a map without values".to_owned());
            };
            edits.extend([edit, ElementEdit::default()]);
            push_field(key, &map.key_field, edits)?;
            push_field(value, &map.value_field, edits)
        }
    }
}

fn push_children(
    element: &Element,
    fields: &[NestedFieldRef],
    edits: &mut Vec<ElementEdit>,
) -> Result<(), String> {
    let children = element.get_fields();
    let are_same = children.len() == fields.len()
        && children
            .iter()
            .zip(fields)
            .all(|(child, field)| child.name() == field.name);
    if !are_same {
        return Err("its fields are others".to_owned());
    }
    children
        .iter()
        .zip(fields)
        .try_for_each(|(child, field)| push_field(child, field, edits))
}

/// The group that a list or map repeats.
fn repeated_group<'a>(
    element: &'a Element,
    logical: LogicalType,
    converted: &[ConvertedType],
) -> Result<&'a Element, String> {
    let info = element.get_basic_info();
    let is_annotated = info.logical_type_ref() == Some(&logical)
        || info.logical_type_ref().is_none() && converted.contains(&info.converted_type());
    let nonstandard = || "it does not have the standard's levels".to_owned();
    if element.is_primitive() || !is_annotated {
        return Err(nonstandard());
    }
    match element.get_fields() {
        [child]
            if child.is_group()
                && child.get_basic_info().has_repetition()
                && child.get_basic_info().repetition() == Repetition::REPEATED =>
        {
            Ok(child)
        }
        _ => Err(nonstandard()),
    }
}

fn is_annotated(element: &Element) -> bool {
    let info = element.get_basic_info();
    info.logical_type_ref().is_some() || info.converted_type() != ConvertedType::NONE
}

/// Whether it is an INT32 that says it is of 8 or 16 bits, signed or not: all of them are an int.
fn is_small_integer(element: &Element, primitive: &PrimitiveType) -> bool {
    if *primitive != PrimitiveType::Int || element.get_physical_type() != Physical::INT32 {
        return false;
    }
    let info = element.get_basic_info();
    match info.logical_type_ref() {
        Some(LogicalType::Integer { bit_width, .. }) => *bit_width < 32,
        Some(_) => false,
        None => matches!(
            info.converted_type(),
            ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::UINT_8
                | ConvertedType::UINT_16
        ),
    }
}

/// Whether the element is stored just as the Iceberg specification says for this type.
fn is_plain(element: &Element, primitive: &PrimitiveType) -> bool {
    if !element.is_primitive() {
        return false;
    }
    let info = element.get_basic_info();
    let (physical, converted) = (element.get_physical_type(), info.converted_type());
    let logical = info.logical_type_ref();
    let signed = |bits: i8, old: ConvertedType| match logical {
        Some(LogicalType::Integer {
            bit_width,
            is_signed: true,
        }) => *bit_width == bits,
        Some(_) => false,
        None => converted == ConvertedType::NONE || converted == old,
    };
    let length = match element {
        Element::PrimitiveType { type_length, .. } => u64::try_from(*type_length).unwrap_or(0),
        Element::GroupType { .. } => 0,
    };
    match primitive {
        PrimitiveType::Boolean => physical == Physical::BOOLEAN && !is_annotated(element),
        PrimitiveType::Int => physical == Physical::INT32 && signed(32, ConvertedType::INT_32),
        PrimitiveType::Long => physical == Physical::INT64 && signed(64, ConvertedType::INT_64),
        PrimitiveType::Float => physical == Physical::FLOAT && !is_annotated(element),
        PrimitiveType::Double => physical == Physical::DOUBLE && !is_annotated(element),
        PrimitiveType::Decimal { precision, .. } => match physical {
            Physical::INT32 => *precision <= 9,
            Physical::INT64 => (10..=18).contains(precision),
            Physical::FIXED_LEN_BYTE_ARRAY => length <= 16,
            _ => false,
        },
        PrimitiveType::Date => {
            physical == Physical::INT32
                && (logical == Some(&LogicalType::Date) || converted == ConvertedType::DATE)
        }
        PrimitiveType::Time => {
            matches!(
                logical,
                Some(LogicalType::Time {
                    unit: TimeUnit::MICROS,
                    ..
                })
            )
        }
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
            let is_utc = *primitive == PrimitiveType::Timestamptz;
            matches!(
                logical,
                Some(LogicalType::Timestamp { is_adjusted_to_u_t_c, unit: TimeUnit::MICROS })
                    if *is_adjusted_to_u_t_c == is_utc
            )
        }
        PrimitiveType::String => {
            physical == Physical::BYTE_ARRAY
                && (logical == Some(&LogicalType::String)
                    || logical.is_none() && converted == ConvertedType::UTF8)
        }
        PrimitiveType::Binary => physical == Physical::BYTE_ARRAY && !is_annotated(element),
        PrimitiveType::Fixed(bytes) => {
            physical == Physical::FIXED_LEN_BYTE_ARRAY && length == *bytes && !is_annotated(element)
        }
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs | PrimitiveType::Uuid => false,
    }
}

/// A column's type as Parquet says it.
fn describe(element: &Element) -> String {
    if element.is_group() {
        return "a group".to_owned();
    }
    let info = element.get_basic_info();
    let physical = element.get_physical_type();
    match info.logical_type_ref() {
        Some(LogicalType::Timestamp { unit, .. } | LogicalType::Time { unit, .. }) => {
            let unit = match unit {
                TimeUnit::MILLIS => "milliseconds",
                TimeUnit::MICROS => "microseconds",
                TimeUnit::NANOS => "nanoseconds",
            };
            format!("{physical} in {unit}")
        }
        Some(LogicalType::Integer {
            bit_width,
            is_signed: false,
        }) => format!("unsigned INT{bit_width}"),
        Some(LogicalType::Float16) => "FLOAT16".to_owned(),
        Some(other) => format!("{physical} ({other:?})"),
        None if info.converted_type() == ConvertedType::NONE => physical.to_string(),
        None => format!("{physical} ({})", info.converted_type()),
    }
}
