//! Writes data files: Parquet with a field id on every column, statistics per column chunk, zstd; tiny ones are not compressed,
//! because a compressor costs more than it spares in a few KiB.
//!
//! Columns of the usual flat types are written by `flat`, all others by the parquet crate, and so is everything around them. No
//! `ARROW:schema` key is written: with it some readers take the key's types over Parquet's own. Row groups are cut by size,
//! which bounds the memory of a writer.

mod dictionary;
mod flat;
mod row_group;
mod value;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedFieldRef, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use zstd::bulk::Compressor;

use crate::error::{Error, ErrorCode, Result};
use crate::store::durable;
use crate::store::fault::Artifact;
use row_group::RowGroups;

/// A data file that is written and not yet durable. It is the caller's to remove.
#[derive(Debug)]
pub struct UnsyncedFile {
    /// The file.
    pub file: File,
    /// Its size.
    pub bytes: u64,
}

impl UnsyncedFile {
    /// Makes its bytes durable; its name is the caller's to sync. Returns its size.
    pub fn sync(self) -> Result<u64> {
        durable::sync_file(Artifact::DataFile, &self.file)
            .map_err(|error| Error::storage("syncing a data file", &error))?;
        Ok(self.bytes)
    }
}

/// A data file that is being written. Dropped unfinished, it removes what it wrote.
pub struct DataFileWriter {
    /// None when the file is finished.
    file: Option<SerializedFileWriter<File>>,
    path: PathBuf,
    schema: SchemaRef,
    fields: Vec<NestedFieldRef>,
    row_groups: RowGroups,
}

impl DataFileWriter {
    /// Starts a new file with these columns; a tiny one is made of a few KiB.
    pub fn create(path: &Path, fields: Vec<NestedFieldRef>, is_tiny: bool) -> Result<Self> {
        let schema = arrow_schema(&fields)?;
        let converter = ArrowSchemaConverter::new();
        let descriptor = converter.convert(&schema).map_err(Error::internal)?;
        let root = descriptor.root_schema_ptr();
        let properties = Arc::new(properties(is_tiny));
        let level = ZstdLevel::default().compression_level();
        let packer = (!is_tiny).then(|| Compressor::new(level)).transpose();
        let packer = packer.map_err(Error::internal)?;
        let row_groups = RowGroups::new(schema.clone(), descriptor, &properties, packer)
            .map_err(Error::internal)?;
        let file = durable::create_new(path)
            .map_err(|error| Error::storage("creating a data file", &error))?;
        let started = SerializedFileWriter::new(file, root, properties);
        let file = started.map_err(|error| {
            durable::remove_quietly(path);
            parquet_error(error)
        })?;
        Ok(Self {
            file: Some(file),
            path: path.to_path_buf(),
            schema,
            fields,
            row_groups,
        })
    }

    /// The file's columns.
    pub fn fields(&self) -> &[NestedFieldRef] {
        &self.fields
    }

    /// The Arrow schema that arrays must have.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds rows.
    pub fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(Error::internal)?;
        match &mut self.file {
            Some(file) => self.row_groups.write(&batch, file).map_err(parquet_error),
            None => Err(Error::internal("the data file is finished")),
        }
    }

    /// Ends the file. Neither its bytes nor its name are durable.
    pub fn finish(mut self) -> Result<UnsyncedFile> {
        let Some(mut file) = self.file.take() else {
            return Err(Error::internal("the data file is finished"));
        };
        let ended = self.row_groups.end(&mut file);
        let ended = ended.and_then(|()| file.into_inner());
        let finished = ended.map_err(parquet_error).and_then(|file| {
            let metadata = file.metadata();
            let metadata =
                metadata.map_err(|error| Error::storage("reading a data file's size", &error))?;
            let bytes = metadata.len();
            Ok(UnsyncedFile { file, bytes })
        });
        if finished.is_err() {
            durable::remove_quietly(&self.path);
        }
        finished
    }
}

impl Drop for DataFileWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            durable::remove_quietly(&self.path);
        }
    }
}

fn properties(is_tiny: bool) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(match is_tiny {
            true => Compression::UNCOMPRESSED,
            false => Compression::ZSTD(ZstdLevel::default()),
        })
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_created_by(concat!("calve ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// The Arrow schema of a data file with these columns.
pub fn arrow_schema(fields: &[NestedFieldRef]) -> Result<SchemaRef> {
    Ok(Arc::new(schema_to_arrow_schema(&iceberg_schema(fields)?)?))
}

/// The Iceberg schema of these columns. Names can clash: a column `a.b` with the child `b` of a struct `a`.
pub fn iceberg_schema(fields: &[NestedFieldRef]) -> Result<Schema> {
    Schema::builder()
        .with_fields(fields.iter().cloned())
        .build()
        .map_err(|error| {
            Error::new(
                ErrorCode::UnsupportedType,
                format!(
                    "The columns' names cannot be told apart in a table: {}. Rename one of them.",
                    error.message()
                ),
            )
        })
}

/// A write failure of the parquet crate: the disk's, if the disk is the cause.
fn parquet_error(error: ParquetError) -> Error {
    if let ParquetError::External(source) = &error
        && let Some(io) = source.downcast_ref::<std::io::Error>()
    {
        return Error::storage("writing a data file", io);
    }
    Error::internal(error)
}

#[cfg(test)]
mod tests;
