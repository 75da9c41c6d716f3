//! Parquet parts: verified; then adopted as they are, or every column cast exactly and written anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use iceberg::spec::NestedFieldRef;

use super::{Discovered, Source, adopted_part, file_fields, format_error, not_castable};
use crate::config::VerifyParquet;
use crate::domain::part::{Coding, ParquetRecord};
use crate::domain::{ColumnRecord, ColumnType, DataFileRecord};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::codec;
use crate::ingest::data_file::{DataFileWriter, UnsyncedFile};
use crate::ingest::parquet::{self, ParquetFile};
use crate::ingest::parquet_types::cast_exactly;
use crate::ingest::statistics::StatisticsCheck;
use crate::schema::plan::TableColumns;
use crate::schema::{UnifiedColumn, UnifiedType, types};
use crate::store::durable;
use crate::store::fault::Artifact;

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
            Coding::Identity => (source.bytes.file()?.to_path_buf(), None),
            Coding::Gzip | Coding::Deflate | Coding::Br | Coding::Zstd => {
                let path = output.with_extension("unpacked.tmp");
                unpack(source, &path).inspect_err(|_| durable::remove_quietly(&path))?;
                (path.clone(), Some(path))
            }
        };
        let decoded_bytes = std::fs::metadata(&path)
            .map_err(|error| Error::storage("reading a part", &error))?
            .len();
        let opened = parquet::verify(&path).and_then(|()| ParquetFile::open(&path, &source.limits));
        let file = match opened {
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
    fn write(&mut self, fields: Vec<NestedFieldRef>, output: &Path) -> Result<UnsyncedFile> {
        let mut writer = DataFileWriter::create(output, fields, false)?;
        while let Some(batch) = self.file.next_batch()? {
            self.count(&batch);
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
                        not_castable(
                            &field.name,
                            inexact.row_in_batch.map(|row| self.rows + row as u64 + 1),
                            &inexact.value,
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

    fn count(&mut self, batch: &RecordBatch) {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let nulls = column.logical_null_count() as u64;
            *self.null_counts.entry(field.name().clone()).or_default() += nulls;
        }
    }

    /// Believes the footer: rows, and nulls where it counts them.
    fn believe(&mut self) {
        let footer = self.file.footer.clone();
        self.rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0);
        for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
            let path = chunk.column_path();
            let column = path.parts().first().cloned().unwrap_or_default();
            let is_optional = chunk.column_descr().max_def_level() > 0;
            let counted = chunk.statistics().and_then(|one| one.null_count_opt());
            // One that may have nulls and does not count them counts as one that has.
            let nulls = counted.unwrap_or(u64::from(is_optional));
            *self.null_counts.entry(column).or_default() += nulls;
        }
    }

    /// Reads every row; gives a column whose statistics are wrong.
    fn read_all(&mut self) -> Result<Option<String>> {
        let mut check = StatisticsCheck::default();
        while let Some(batch) = self.file.next_batch()? {
            self.count(&batch);
            self.rows += batch.num_rows() as u64;
            check.add(&self.file.footer, &batch);
        }
        let claimed = self.file.footer.file_metadata().num_rows();
        if u64::try_from(claimed) != Ok(self.rows) {
            return Err(parquet::unreadable(&format!(
                "its footer claims {claimed} rows, and its pages have {}",
                self.rows
            )));
        }
        Ok(check.wrong_column().map(str::to_owned))
    }

    /// The file that is read.
    fn path<'a>(&'a self, source: &'a Source) -> Result<&'a Path> {
        match &self.unpacked {
            Some(unpacked) => Ok(unpacked),
            None => source.bytes.file(),
        }
    }

    fn restart(&mut self, source: &Source) -> Result<()> {
        self.file = ParquetFile::open(self.path(source)?, &source.limits)?;
        self.rows = 0;
        self.null_counts.clear();
        Ok(())
    }

    /// Verifies the file and makes it a data file by a footer; or tells why it must be written anew.
    fn adopt(
        &mut self,
        source: &Source,
        fields: &[NestedFieldRef],
        output: &Path,
    ) -> Result<std::result::Result<u64, String>> {
        let path = self.path(source)?;
        let footer = adopted_part::new_footer(path, self.decoded_bytes, &self.file.footer, fields)?;
        let metadata = match footer {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Err(reason)),
        };
        let wrong_column = match source.limits.verify_parquet {
            VerifyParquet::Full => self.read_all()?,
            VerifyParquet::Structure => {
                self.believe();
                None
            }
        };
        if let Some(column) = wrong_column {
            // Read once more from the start, by the caller.
            self.restart(source)?;
            return Ok(Err(format!("column `{column}`: its statistics are wrong")));
        }
        if self.rows == 0 {
            return Ok(Ok(0));
        }
        match self.unpacked.take() {
            // Synced with the part's own bytes, which it stays.
            None => {
                adopted_part::append(source.bytes.file()?, self.decoded_bytes, &metadata).map(Ok)
            }
            Some(unpacked) => {
                let written = durable::rename_file(Artifact::DataFile, &unpacked, output)
                    .map_err(|error| Error::storage("adopting a part", &error))
                    .and_then(|()| adopted_part::append(output, self.decoded_bytes, &metadata))
                    .and_then(|file_bytes| {
                        adopted_part::sync(output)?;
                        Ok(file_bytes)
                    });
                if written.is_err() {
                    durable::remove_quietly(&unpacked);
                    durable::remove_quietly(output);
                }
                written.map(Ok)
            }
        }
    }
}

/// Writes a Parquet part's data file with these columns; it is not durable yet.
pub(super) fn convert(
    source: &Source,
    fields: &[NestedFieldRef],
    output: &Path,
) -> Result<UnsyncedFile> {
    ParquetScan::open(source, output)?.write(fields.to_vec(), output)
}

fn unpack(source: &Source, path: &Path) -> Result<()> {
    let mut read = codec::open(
        &source.bytes,
        source.coding,
        source.limits.decoded_bytes_max,
    )
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
    let (data_file, parquet) = data_file(&mut scan, source, fields, output)?;
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
        parquet,
    })
}

/// Adopts the part or writes it anew; nothing when there is no row or no typed column.
fn data_file(
    scan: &mut ParquetScan,
    source: &Source,
    fields: Vec<NestedFieldRef>,
    output: &Path,
) -> Result<(Option<DataFileRecord>, Option<ParquetRecord>)> {
    if fields.is_empty() {
        return Ok((None, None));
    }
    let (file_bytes, reason) = match scan.adopt(source, &fields, output)? {
        Ok(file_bytes) => (file_bytes, None),
        Err(reason) => (scan.write(fields.clone(), output)?.sync()?, Some(reason)),
    };
    if scan.rows == 0 {
        durable::remove_quietly(output);
        return Ok((None, None));
    }
    let parquet = ParquetRecord {
        adopted: reason.is_none(),
        reason,
    };
    Ok((Some(DataFileRecord { file_bytes, fields }), Some(parquet)))
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
