//! Reads Parquet parts: every page of every column, decoded and cast to a data file's types.
//!
//! The parquet crate can panic on hostile files, so everything here runs under `catch_unwind` in
//! [`super::convert`]. The file's `ARROW:schema` key is ignored: the types are Parquet's own. Memory is
//! bounded by small batches and by the content limit, counted as decoded, not as the footer claims.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, FieldRef, Fields, Schema};
use iceberg::spec::{PrimitiveType, Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::Limits;
use super::error::{FormatError, FormatErrorKind};
use super::structure::{self, Damage};
use super::{footer, int96, parquet_types};
use crate::error::{Error, ErrorCode, Result};

/// Rows decoded at once, unless they would take more than [`BATCH_BYTES_MAX`].
const BATCH_ROWS_MAX: usize = 2048;
/// Memory that rows decoded at once may take.
const BATCH_BYTES_MAX: u64 = 128 << 20;
/// Magic at both ends of a file; `PARE` marks an encrypted footer.
const MAGIC: &[u8; 4] = b"PAR1";

/// A column of a Parquet file.
#[derive(Debug, Clone, PartialEq)]
pub struct ParquetColumn {
    /// Its name.
    pub name: String,
    /// Its type in a table, without field ids; `None` when it can only hold nulls.
    pub r#type: Option<Type>,
}

/// A Parquet file that is being read.
pub struct ParquetFile {
    /// Its columns.
    pub columns: Vec<ParquetColumn>,
    /// Its footer.
    pub footer: Arc<ParquetMetaData>,
    reader: ParquetRecordBatchReader,
    /// Reads the columns with INT96 once more, as seconds; their indices and names.
    in_seconds: Option<(Vec<usize>, ParquetRecordBatchReader)>,
    content_bytes: u64,
    content_bytes_max: u64,
    rows_read: u64,
}

impl ParquetFile {
    /// Reads the footer and maps the columns' types. The file's structure was checked by [`verify`].
    pub fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::storage("opening a part", &error))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let file = Arc::new(file);
        let handle = file
            .try_clone()
            .map_err(|error| Error::storage("opening a part", &error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(handle, options)
            .map_err(|error| unreadable(&format!("its footer cannot be read: {error}")))?;
        let fields = builder.schema().fields().clone();
        if fields.len() > limits.columns_max {
            return Err(super::convert::format_error(FormatError::new(
                FormatErrorKind::TooManyColumns,
                format!(
                    "the file has {} columns; at most {} are allowed",
                    fields.len(),
                    limits.columns_max
                ),
            )));
        }
        let mut names = std::collections::HashSet::new();
        let mut columns = Vec::with_capacity(fields.len());
        for field in &fields {
            if field.name().is_empty() {
                return Err(unreadable("it has a column without a name; give it one"));
            }
            if !names.insert(field.name().as_str()) {
                return Err(unreadable(&format!(
                    "two columns are named `{}`; rename one of them",
                    field.name()
                ))
                .with("column", field.name().as_str()));
            }
            let r#type = parquet_types::iceberg_type(field.data_type()).map_err(|unsupported| {
                Error::new(
                    ErrorCode::UnsupportedType,
                    format!(
                        "The column `{}` has the type {}, which has no place in a table; convert it before the upload.",
                        field.name(),
                        unsupported.0
                    ),
                )
                .with("column", field.name().as_str())
                .with("type", unsupported.0)
            })?;
            columns.push(ParquetColumn {
                name: field.name().clone(),
                r#type,
            });
        }
        let footer = builder.metadata().clone();
        let batch_rows = structure::rows_at_once(&file, &footer, BATCH_ROWS_MAX, BATCH_BYTES_MAX)
            .map_err(|error| Error::storage("reading a part", &error))?;
        let in_seconds = reader_of_seconds(path, &footer, &fields, batch_rows)?;
        let reader = builder
            .with_batch_size(batch_rows)
            .build()
            .map_err(|error| unreadable(&error.to_string()))?;
        Ok(Self {
            columns,
            footer,
            reader,
            in_seconds,
            content_bytes: 0,
            content_bytes_max: limits.parquet_content_bytes_max,
            rows_read: 0,
        })
    }

    /// The next rows; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let rows_read = self.rows_read;
        let damaged = |error: ArrowError| {
            unreadable(&format!("after row {rows_read} it is damaged: {error}"))
                .with("row", rows_read)
        };
        let Some(batch) = self.reader.next() else {
            return Ok(None);
        };
        let mut batch = batch.map_err(damaged)?;
        if let Some((columns, reader)) = &mut self.in_seconds {
            let seconds = reader.next().transpose().map_err(damaged)?;
            let seconds = seconds.filter(|seconds| seconds.num_rows() == batch.num_rows());
            let seconds = seconds
                .ok_or_else(|| unreadable("its INT96 columns have fewer rows than the others"))?;
            batch = with_microseconds(&batch, columns, &seconds, rows_read)?;
        }
        self.rows_read += batch.num_rows() as u64;
        self.content_bytes += batch.get_array_memory_size() as u64;
        if self.content_bytes > self.content_bytes_max {
            return Err(Error::new(
                ErrorCode::DecodedTooLarge,
                format!(
                    "The file's content is larger than {} bytes (parts.parquet_content_bytes_max); split it into smaller parts.",
                    self.content_bytes_max
                ),
            ));
        }
        Ok(Some(batch))
    }
}

/// A reader of the columns with INT96 as seconds, if there are any.
fn reader_of_seconds(
    path: &Path,
    footer: &ParquetMetaData,
    fields: &Fields,
    batch_rows: usize,
) -> Result<Option<(Vec<usize>, ParquetRecordBatchReader)>> {
    let descriptor = footer.file_metadata().schema_descr();
    let columns = int96::columns_in_seconds(descriptor, fields);
    if columns.is_empty() {
        return Ok(None);
    }
    let mut supplied: Vec<FieldRef> = fields.iter().cloned().collect();
    for (index, field) in &columns {
        supplied[*index] = field.clone();
    }
    let indices: Vec<usize> = columns.into_iter().map(|(index, _)| index).collect();
    let file = File::open(path).map_err(|error| Error::storage("opening a part", &error))?;
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(supplied)));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .and_then(|builder| {
            let columns = ProjectionMask::roots(descriptor, indices.iter().copied());
            builder
                .with_projection(columns)
                .with_batch_size(batch_rows)
                .build()
        })
        .map_err(|error| unreadable(&error.to_string()))?;
    Ok(Some((indices, reader)))
}

/// The batch with microseconds for INT96.
fn with_microseconds(
    batch: &RecordBatch,
    columns: &[usize],
    seconds: &RecordBatch,
    rows_read: u64,
) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    let mut arrays = batch.columns().to_vec();
    for (index, seconds) in columns.iter().zip(seconds.columns()) {
        let (field, array) = (&mut fields[*index], &mut arrays[*index]);
        *array = int96::in_microseconds(array, seconds).map_err(|inexact| {
            let row = inexact.row_in_batch.map(|row| rows_read + row as u64 + 1);
            let timestamp = Type::Primitive(PrimitiveType::Timestamp);
            super::convert::not_castable(
                field.name(),
                row,
                &inexact.value,
                &timestamp,
                Some(&inexact.reason),
            )
        })?;
        *field = Arc::new(Field::clone(field).with_data_type(array.data_type().clone()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| unreadable(&error.to_string()))
}

/// Checks the file's structure: what [`ParquetFile::open`] and its reader may believe.
pub fn verify(path: &Path) -> Result<()> {
    let storage = |error| Error::storage("reading a part", &error);
    let mut file = File::open(path).map_err(storage)?;
    check_magic(&mut file)?;
    let file_bytes = file.metadata().map_err(storage)?.len();
    let metadata = match footer::read(&file, file_bytes) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(unreadable(
                "its footer claims to be longer than the file: it is cut or damaged",
            ));
        }
        Err(error) => return Err(storage(error)),
    };
    let bad_footer = |reason: &str| unreadable(&format!("its footer cannot be read: {reason}"));
    structure::check_footer(&metadata).map_err(|malformed| bad_footer(malformed.0))?;
    let pages_end = file_bytes - footer::TAIL_BYTES - metadata.len() as u64;
    let metadata = ParquetMetaDataReader::decode_metadata(&metadata)
        .map_err(|error| bad_footer(&error.to_string()))?;
    structure::check_pages(&file, pages_end, &metadata).map_err(|damage| match damage {
        Damage::Wrong(reason) => unreadable(&reason),
        Damage::Io(error) => storage(error),
    })
}

/// Tells a file that is no Parquet, cut, or encrypted from a damaged one.
fn check_magic(file: &mut File) -> Result<()> {
    let mut ends = [[0u8; 4]; 2];
    let read = (|| {
        file.rewind()?;
        file.read_exact(&mut ends[0])?;
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut ends[1])?;
        file.rewind()
    })();
    match (read, &ends[0], &ends[1]) {
        (Ok(()), MAGIC, MAGIC) => Ok(()),
        (Ok(()), _, b"PARE") | (Ok(()), b"PARE", _) => {
            Err(unreadable("it is encrypted; upload it unencrypted"))
        }
        (Ok(()), MAGIC, _) => Err(unreadable(
            "it does not end with PAR1: it is cut, send it whole",
        )),
        (Ok(()) | Err(_), _, _) => Err(unreadable(
            "it does not start and end with PAR1, so it is no Parquet file, or its start is missing; send it whole, or name its format in x-file-name",
        )),
    }
}

/// A file that is not well-formed Parquet.
pub fn unreadable(reason: &str) -> Error {
    Error::new(
        ErrorCode::FormatUnreadable,
        format!("The Parquet file cannot be read: {reason}."),
    )
    .with("reason", reason)
}
