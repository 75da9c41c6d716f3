//! A Parquet file's footer with the field ids of a table in it, its pages as they are.
//!
//! [`splice`] is pure: it copies the thrift of `FileMetaData` and changes only field ids, dropped annotations of small
//! integers, and two metadata keys. The parquet crate's own footer writer loses statistics and invents exactness, so it is not
//! used. [`append`] puts the new footer after the old one, whose bytes are then dead: offsets in a footer count from the
//! file's start, so pages and page index stay where they are, and the bytes as sent stay the file's first.
//! The bytes are the caller's to sync.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use super::thrift::{self, Field, Malformed, Reader, Walk, Writer};

/// Magic at both ends of a file.
const MAGIC: &[u8; 4] = b"PAR1";
/// Length of a footer, and magic.
pub const TAIL_BYTES: u64 = 8;

/// Metadata keys that say types and ids which readers would take over those of the schema.
const DROPPED_KEYS: [&[u8]; 2] = [b"ARROW:schema", b"iceberg.schema"];

/// What becomes of one schema element. The elements of a file stand in depth-first order, the root first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ElementEdit {
    /// Its field id; none for the root and for the groups that lists and maps repeat.
    pub field_id: Option<i32>,
    /// Whether it loses its annotation, because the plain physical type says the same.
    pub drops_annotation: bool,
}

/// The `FileMetaData` with these edits.
pub fn splice(metadata: &[u8], edits: &[ElementEdit]) -> Walk<Vec<u8>> {
    let mut writer = Writer::default();
    let mut has_schema = false;
    for field in Reader::new(metadata).fields()? {
        match field.id {
            2 => {
                writer.field(field.id, field.kind, &schema_elements(field, edits)?);
                has_schema = true;
            }
            5 => {
                if let Some(kept) = key_values(field)? {
                    writer.field(field.id, field.kind, &kept);
                }
            }
            8 | 9 => return Err(Malformed("it is encrypted")),
            _ => writer.field(field.id, field.kind, field.value),
        }
    }
    if !has_schema {
        return Err(Malformed("it has no schema"));
    }
    Ok(writer.end())
}

fn schema_elements(field: Field<'_>, edits: &[ElementEdit]) -> Walk<Vec<u8>> {
    let elements = thrift::structs(field)?;
    if elements.len() != edits.len() {
        return Err(Malformed("its schema has another number of elements"));
    }
    let edited = elements
        .zip(edits)
        .map(|(element, edit)| Ok(schema_element(&element?.1, *edit)));
    Ok(thrift::list_of_structs(&edited.collect::<Walk<Vec<_>>>()?))
}

fn schema_element(fields: &[Field<'_>], edit: ElementEdit) -> Vec<u8> {
    const CONVERTED_TYPE: i16 = 6;
    const FIELD_ID: i16 = 9;
    const LOGICAL_TYPE: i16 = 10;
    let id = edit.field_id.map(thrift::i32_value);
    let mut writer = Writer::default();
    let mut is_written = false;
    for field in fields {
        if field.id == FIELD_ID
            || edit.drops_annotation && matches!(field.id, CONVERTED_TYPE | LOGICAL_TYPE)
        {
            continue;
        }
        if let Some(id) = id.as_ref().filter(|_| !is_written && field.id > FIELD_ID) {
            writer.field(FIELD_ID, thrift::I32, id);
            is_written = true;
        }
        writer.field(field.id, field.kind, field.value);
    }
    if let Some(id) = id.filter(|_| !is_written) {
        writer.field(FIELD_ID, thrift::I32, &id);
    }
    writer.end()
}

/// The key-value metadata without the dropped keys; `None` when nothing is left.
fn key_values(field: Field<'_>) -> Walk<Option<Vec<u8>>> {
    let mut kept = Vec::new();
    for element in thrift::structs(field)? {
        let (bytes, fields) = element?;
        let key = match fields.iter().find(|one| one.id == 1) {
            Some(key) if key.kind == thrift::BINARY => Reader::new(key.value).binary()?,
            Some(_) | None => return Err(Malformed("a metadata key is no text")),
        };
        if !DROPPED_KEYS.contains(&key) {
            kept.push(bytes.to_vec());
        }
    }
    Ok((!kept.is_empty()).then(|| thrift::list_of_structs(&kept)))
}

/// The `FileMetaData` of the Parquet file that is the first `file_bytes` bytes.
pub fn read(mut file: &File, file_bytes: u64) -> std::io::Result<Vec<u8>> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "no Parquet footer");
    let tail_at = file_bytes.checked_sub(TAIL_BYTES).ok_or_else(invalid)?;
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = [0u8; 8];
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let length = u32::from_le_bytes([a, b, c, d]);
    // The first four bytes are the magic, too.
    let start = tail_at
        .checked_sub(u64::from(length))
        .filter(|start| *start >= 4 && magic == *MAGIC)
        .ok_or_else(invalid)?;
    file.seek(SeekFrom::Start(start))?;
    let mut metadata = vec![0; length as usize];
    file.read_exact(&mut metadata)?;
    Ok(metadata)
}

/// Writes a footer after the first `file_bytes` bytes, which end with one. Gives the file's size then.
pub fn append(mut file: &File, file_bytes: u64, metadata: &[u8]) -> std::io::Result<u64> {
    let length = u32::try_from(metadata.len()).map_err(std::io::Error::other)?;
    file.set_len(file_bytes)?;
    file.seek(SeekFrom::Start(file_bytes))?;
    file.write_all(&[metadata, &length.to_le_bytes(), MAGIC].concat())?;
    Ok(file_bytes + u64::from(length) + TAIL_BYTES)
}

#[cfg(test)]
mod tests;
