//! The row group that is being written, a column behind the other, and when it ends.

use std::fs::File;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::flat::{FlatColumn, Kind, Packer};

/// Bytes in pages after which a row group ends.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Rows after which a row group ends.
const ROWS_MAX: usize = 1024 * 1024;

/// The row groups of a file, one at a time.
pub(super) struct RowGroups {
    schema: SchemaRef,
    descriptor: SchemaDescriptor,
    /// Makes writers for the columns that are not flat.
    factory: ArrowRowGroupWriterFactory,
    packer: Packer,
    /// Of the row group at hand; none before its first row.
    columns: Vec<Column>,
    rows: usize,
}

/// One column of a row group.
enum Column {
    Flat(Box<dyn FlatColumn>),
    /// By the parquet crate, one writer for each leaf.
    Other(Vec<ArrowColumnWriter>),
}

impl RowGroups {
    /// For a file with this schema, which the parquet crate has as `descriptor`.
    pub(super) fn new(
        schema: SchemaRef,
        descriptor: SchemaDescriptor,
        properties: &WriterProperties,
        packer: Packer,
    ) -> Result<Self> {
        Ok(Self {
            factory: other_columns(&schema, properties)?,
            schema,
            descriptor,
            packer,
            columns: Vec::new(),
            rows: 0,
        })
    }

    /// Adds rows to the row group at hand; writes it to the file when it is large enough.
    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        file: &mut SerializedFileWriter<File>,
    ) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = self.new_columns()?;
        }
        let fields = self.schema.fields().iter().zip(batch.columns());
        for (column, (field, array)) in self.columns.iter_mut().zip(fields) {
            match column {
                Column::Flat(flat) => flat.write(array, &mut self.packer)?,
                Column::Other(leaves) => {
                    for (leaf, array) in leaves.iter_mut().zip(&compute_leaves(field, array)?) {
                        leaf.write(array)?;
                    }
                }
            }
        }
        self.rows += batch.num_rows();
        let bytes: usize = self.columns.iter().map(Column::bytes).sum();
        if self.rows >= ROWS_MAX || bytes >= BYTES_MAX {
            self.end(file)?;
        }
        Ok(())
    }

    /// Writes the row group at hand to the file, if it has rows.
    pub(super) fn end(&mut self, file: &mut SerializedFileWriter<File>) -> Result<()> {
        let columns = std::mem::take(&mut self.columns);
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        let mut row_group = file.next_row_group()?;
        for column in columns {
            match column {
                Column::Flat(flat) => {
                    let (chunk, closed) = flat.finish(&mut self.packer)?;
                    row_group.append_column(&chunk, closed)?;
                }
                Column::Other(leaves) => {
                    for leaf in leaves {
                        leaf.close()?.append_to_row_group(&mut row_group)?;
                    }
                }
            }
        }
        row_group.close()?;
        Ok(())
    }

    fn new_columns(&self) -> Result<Vec<Column>> {
        let mut others = self.factory.create_column_writers(0)?.into_iter();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        let mut leaf = 0;
        for (index, field) in self.schema.fields().iter().enumerate() {
            let first = leaf;
            while leaf < self.descriptor.num_columns()
                && self.descriptor.get_column_root_idx(leaf) == index
            {
                leaf += 1;
            }
            columns.push(match Kind::of(field.data_type()) {
                Some(kind) => Column::Flat(kind.column(self.descriptor.column(first))),
                None => Column::Other(others.by_ref().take(leaf - first).collect()),
            });
        }
        Ok(columns)
    }
}

impl Column {
    /// Bytes that it holds.
    fn bytes(&self) -> usize {
        match self {
            Self::Flat(flat) => flat.bytes(),
            Self::Other(leaves) => leaves
                .iter()
                .map(ArrowColumnWriter::get_estimated_total_bytes)
                .sum(),
        }
    }
}

/// What makes writers for the columns that are not flat. The crate has one for all columns of a schema only, so these get a schema
/// of their own.
fn other_columns(
    schema: &SchemaRef,
    properties: &WriterProperties,
) -> Result<ArrowRowGroupWriterFactory> {
    let fields = schema.fields().iter();
    let others = fields.filter(|field| Kind::of(field.data_type()).is_none());
    let others = Arc::new(Schema::new(others.cloned().collect::<Vec<_>>()));
    let options = ArrowWriterOptions::new()
        .with_properties(properties.clone())
        .with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), others, options)?;
    Ok(writer.into_serialized_writer()?.1)
}
