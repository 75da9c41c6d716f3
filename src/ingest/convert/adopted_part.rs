//! Parquet parts whose pages become a table's as they are: only a footer is added.
//!
//! The bytes as sent stay the first of the file, whole and unchanged, so their checksum can be taken for as long as the part
//! lives; readers find the last footer. A part that is adopted can be read again, with either footer: both describe the same
//! pages.

use std::fs::{File, OpenOptions};
use std::path::Path;

use iceberg::spec::NestedFieldRef;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::ingest::data_file::iceberg_schema;
use crate::ingest::{adoption, footer};
use crate::store::durable;
use crate::store::fault::Artifact;

/// The footer that makes the first `content_bytes` bytes of a file a data file with these fields; or why there is none.
pub(super) fn new_footer(
    path: &Path,
    content_bytes: u64,
    old: &ParquetMetaData,
    fields: &[NestedFieldRef],
) -> Result<std::result::Result<Vec<u8>, String>> {
    iceberg_schema(fields)?;
    let edits = match adoption::edits(old, fields) {
        Ok(edits) => edits,
        Err(reason) => return Ok(Err(reason)),
    };
    let metadata = File::open(path)
        .and_then(|file| footer::read(&file, content_bytes))
        .map_err(|error| Error::storage("reading a part's footer", &error))?;
    let spliced = match footer::splice(&metadata, &edits) {
        Ok(spliced) => spliced,
        Err(malformed) => return Ok(Err(format!("its footer is unusual: {}", malformed.0))),
    };
    // Two readings of one footer that differ would be found by the table's readers.
    let is_same = ParquetMetaDataReader::decode_metadata(&spliced).is_ok_and(|new| {
        let ids = new.file_metadata().schema_descr();
        new.row_groups().len() == old.row_groups().len()
            && new.file_metadata().num_rows() == old.file_metadata().num_rows()
            && ids
                .columns()
                .iter()
                .all(|leaf| leaf.self_type().get_basic_info().has_id())
    });
    Ok(if is_same {
        Ok(spliced)
    } else {
        Err("its footer is unusual".to_owned())
    })
}

/// Puts a footer after the content. Not yet synced. Returns the size.
pub(super) fn append(path: &Path, content_bytes: u64, metadata: &[u8]) -> Result<u64> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| footer::append(&file, content_bytes, metadata))
        .map_err(|error| Error::storage("writing a data file's footer", &error))
}

/// See [`super::adopt_again`].
pub(super) fn adopt_again(
    staged: &Path,
    content_bytes: u64,
    fields: &[NestedFieldRef],
    output: &Path,
) -> Result<Option<u64>> {
    let old = File::open(staged)
        .and_then(|file| footer::read(&file, content_bytes))
        .map_err(|error| Error::storage("reading a part's footer", &error))?;
    let old = ParquetMetaDataReader::decode_metadata(&old).map_err(Error::internal)?;
    let Ok(metadata) = new_footer(staged, content_bytes, &old, fields)? else {
        return Ok(None);
    };
    let written = std::fs::copy(staged, output)
        .map_err(|error| Error::storage("copying a data file", &error))
        .and_then(|_| append(output, content_bytes, &metadata))
        .and_then(|file_bytes| {
            sync(output)?;
            Ok(Some(file_bytes))
        });
    if written.is_err() {
        durable::remove_quietly(output);
    }
    written
}

/// Makes a data file's bytes durable.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| durable::sync_file(Artifact::DataFile, &file))
        .map_err(|error| Error::storage("syncing a data file", &error))
}
