//! Parquet parts: every page decoded, every column cast exactly, written anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use iceberg::spec::NestedFieldRef;

use super::{Discovered, Source, file_fields, format_error, not_castable};
use crate::domain::part::Coding;
use crate::domain::{ColumnRecord, ColumnType, DataFileRecord};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::codec;
use crate::ingest::data_file::DataFileWriter;
use crate::ingest::parquet::ParquetFile;
use crate::ingest::parquet_types::{cast_exactly, display_value};
use crate::schema::plan::TableColumns;
use crate::schema::{UnifiedColumn, UnifiedType, types};
use crate::store::durable;

/// One reading of a Parquet part; a compressed body is unpacked beside the output first.
struct ParquetScan {
    file: ParquetFile,
    decoded_bytes: u64,
    unpacked: Option<PathBuf>,
    null_counts: HashMap<String, u64>,
    rows: u64,
}

impl Drop for ParquetScan {
    fn drop(&mut self) {
        if let Some(path) = &self.unpacked {
            durable::remove_quietly(path);
        }
    }
}

impl ParquetScan {
    fn open(source: &Source, output: &Path) -> Result<Self> {
        let (path, unpacked) = match source.coding {
            Coding::Identity => (source.path.clone(), None),
            Coding::Gzip | Coding::Deflate | Coding::Br | Coding::Zstd => {
                let path = output.with_extension("unpacked.tmp");
                unpack(source, &path).inspect_err(|_| durable::remove_quietly(&path))?;
                (path.clone(), Some(path))
            }
        };
        let decoded_bytes = std::fs::metadata(&path)
            .map_err(|error| Error::storage("reading a part", &error))?
            .len();
        let file = match ParquetFile::open(&path, &source.limits) {
            Ok(file) => file,
            Err(error) => {
                if let Some(path) = &unpacked {
                    durable::remove_quietly(path);
                }
                return Err(error);
            }
        };
        Ok(Self {
            file,
            decoded_bytes,
            unpacked,
            null_counts: HashMap::new(),
            rows: 0,
        })
    }

    /// Reads every row; writes those columns that have a field.
    fn write(&mut self, fields: Vec<NestedFieldRef>, output: &Path) -> Result<u64> {
        let mut writer = DataFileWriter::create(output, fields)?;
        while let Some(batch) = self.file.next_batch()? {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let nulls = column.logical_null_count() as u64;
                *self.null_counts.entry(field.name().clone()).or_default() += nulls;
            }
            let schema = writer.schema().clone();
            let arrays = schema
                .fields()
                .iter()
                .zip(writer.fields())
                .map(|(target, field)| match batch.column_by_name(&field.name) {
                    None => Ok(arrow_array::new_null_array(
                        target.data_type(),
                        batch.num_rows(),
                    )),
                    Some(column) => cast_exactly(column, target.data_type()).map_err(|inexact| {
                        let row = inexact.row_in_batch;
                        let value = row.map_or_else(String::new, |row| display_value(column, row));
                        not_castable(
                            &field.name,
                            row.map(|row| self.rows + row as u64 + 1),
                            &value,
                            &field.field_type,
                            Some(&inexact.reason),
                        )
                    }),
                })
                .collect::<Result<Vec<_>>>()?;
            writer.write(arrays)?;
            self.rows += batch.num_rows() as u64;
        }
        writer.finish()
    }
}

/// Writes a Parquet part's data file with these columns.
pub(super) fn convert(source: &Source, fields: &[NestedFieldRef], output: &Path) -> Result<u64> {
    ParquetScan::open(source, output)?.write(fields.to_vec(), output)
}

fn unpack(source: &Source, path: &Path) -> Result<()> {
    let mut read = codec::open(&source.path, source.coding, source.limits.decoded_bytes_max)
        .map_err(|error| format_error(error.into()))?;
    let mut file =
        File::create(path).map_err(|error| Error::storage("unpacking a part", &error))?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = read
            .read(&mut buffer)
            .map_err(|error| format_error(error.into()))?;
        if count == 0 {
            return Ok(());
        }
        std::io::Write::write_all(&mut file, &buffer[..count])
            .map_err(|error| Error::storage("unpacking a part", &error))?;
    }
}

/// Reads every page of a Parquet part and writes its data file.
pub(super) fn discover(
    source: &Source,
    table: Option<&TableColumns>,
    output: &Path,
) -> Result<Discovered> {
    let mut scan = ParquetScan::open(source, output)?;
    let columns: Vec<UnifiedColumn> = scan
        .file
        .columns
        .iter()
        .map(|column| UnifiedColumn {
            name: column.name.clone(),
            content: match &column.r#type {
                Some(r#type) => UnifiedType::Typed(r#type.clone()),
                None => UnifiedType::Open,
            },
        })
        .collect();
    let fields = file_fields(&columns, table);
    check_declared(&columns, &fields)?;
    let file_bytes = if fields.is_empty() {
        None
    } else {
        Some(scan.write(fields.clone(), output)?)
    };
    let data_file = match file_bytes {
        Some(file_bytes) if scan.rows > 0 => Some(DataFileRecord { file_bytes, fields }),
        Some(_) => {
            durable::remove_quietly(output);
            None
        }
        None => None,
    };
    Ok(Discovered {
        rows: scan.rows,
        decoded_bytes: scan.decoded_bytes,
        columns: columns
            .into_iter()
            .map(|column| ColumnRecord {
                content: match column.content {
                    UnifiedType::Typed(r#type) => ColumnType::Typed {
                        r#type,
                        null_count: scan.null_counts.get(&column.name).copied().unwrap_or(0),
                    },
                    UnifiedType::Text(_) | UnifiedType::Open => ColumnType::Void,
                },
                name: column.name,
            })
            .collect(),
        csv: None,
        issues: Vec::new(),
        data_file,
    })
}

/// Refuses columns whose type has no widening to the declared one.
fn check_declared(columns: &[UnifiedColumn], fields: &[NestedFieldRef]) -> Result<()> {
    for column in columns {
        let field = fields.iter().find(|field| field.name == column.name);
        if let (Some(field), Some(own)) = (field, column.own_type())
            && !types::widens_to(&own, &field.field_type)
        {
            let (found, declared) = (
                types::logical_name(&own),
                types::logical_name(&field.field_type),
            );
            return Err(Error::new(
                ErrorCode::SchemaMismatch,
                format!(
                    "The column `{}` is {found}, and the table declares {declared}; convert it before the upload.",
                    column.name
                ),
            )
            .with("column", column.name.as_str())
            .with("found", found)
            .with("declared", declared));
        }
    }
    Ok(())
}
