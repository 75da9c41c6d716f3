//! Writes data files: Parquet with a field id on every column, statistics per column chunk, zstd; tiny ones with Snappy, because
//! each column of each file makes a compressor, and zstd's costs more than compressing a few hundred bytes.
//!
//! No `ARROW:schema` key is written: with it some readers take the key's types over Parquet's own. Row
//! groups are cut by size, which bounds the memory of a writer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedFieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, ErrorCode, Result};
use crate::store::durable;
use crate::store::fault::Artifact;

/// Encoded bytes after which a row group ends.
const ROW_GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Rows after which a row group ends.
const ROW_GROUP_ROWS_MAX: usize = 1024 * 1024;

/// What is known of a data file's content before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Content<'a> {
    /// Columns in which nearly every value is another: a dictionary would cost time and space.
    pub varied_columns: &'a [&'a str],
    /// Whether it is made of a few KiB.
    pub is_tiny: bool,
}

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
    writer: Option<ArrowWriter<File>>,
    path: PathBuf,
    schema: SchemaRef,
    fields: Vec<NestedFieldRef>,
}

impl DataFileWriter {
    /// Starts a new file with these columns.
    pub fn create(path: &Path, fields: Vec<NestedFieldRef>, content: Content<'_>) -> Result<Self> {
        let schema = arrow_schema(&fields)?;
        let file = durable::create_new(path)
            .map_err(|error| Error::storage("creating a data file", &error))?;
        let mut properties = WriterProperties::builder()
            .set_compression(match content.is_tiny {
                true => Compression::SNAPPY,
                false => Compression::ZSTD(ZstdLevel::default()),
            })
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
            .set_created_by(concat!("calve ", env!("CARGO_PKG_VERSION")).to_owned());
        for name in content.varied_columns {
            let column = ColumnPath::new(vec![(*name).to_owned()]);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        let options = ArrowWriterOptions::new()
            .with_properties(properties.build())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options)
            .map_err(Error::internal)?;
        Ok(Self {
            writer: Some(writer),
            path: path.to_path_buf(),
            schema,
            fields,
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
        match &mut self.writer {
            Some(writer) => writer.write(&batch).map_err(parquet_error),
            None => Err(Error::internal("the data file is finished")),
        }
    }

    /// Ends the file. Neither its bytes nor its name are durable.
    pub fn finish(mut self) -> Result<UnsyncedFile> {
        let Some(writer) = self.writer.take() else {
            return Err(Error::internal("the data file is finished"));
        };
        let finished = writer.into_inner().map_err(parquet_error).and_then(|file| {
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
        if self.writer.take().is_some() {
            durable::remove_quietly(&self.path);
        }
    }
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
fn parquet_error(error: parquet::errors::ParquetError) -> Error {
    if let parquet::errors::ParquetError::External(source) = &error
        && let Some(io) = source.downcast_ref::<std::io::Error>()
    {
        return Error::storage("writing a data file", io);
    }
    Error::internal(error)
}
