//! Parquet: what is accepted reads back through arrow with the rows and nulls that the answer says, value by value.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use calve::config::VerifyParquet;
use calve::domain::part::Coding;
use calve::domain::{ColumnType, DataFileRecord, PartKind};
use calve::ingest::Limits;
use calve::ingest::convert::{self, Discovered, Source};
use calve::ingest::part_bytes::PartBytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::allocation::bounded;

/// Bytes that reading a part may hold at once: of each column its largest page (a page may claim 64 MiB whatever its size),
/// unpacked, and its values; and a footer in memory.
const PARQUET_BYTES_MAX: usize = 400 << 20;

/// The first byte of the input chooses how much is verified.
pub fn check(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, output) = (folder.path().join("part"), folder.path().join("output"));
    std::fs::write(&path, content).expect("write a temporary file");
    let is_full = choice % 2 == 0;
    let source = source(&path, is_full);
    let found = bounded(PARQUET_BYTES_MAX, || {
        convert::discover(&source, None, &output)
    });
    let Ok(found) = found else {
        assert!(!output.exists(), "a refused part leaves nothing");
        return;
    };
    let Some(data_file) = &found.data_file else {
        return;
    };
    let is_adopted = found
        .parquet
        .as_ref()
        .is_some_and(|parquet| parquet.adopted);
    let written = if is_adopted { &path } else { &output };
    assert_eq!(
        written.metadata().expect("a data file").len(),
        data_file.file_bytes
    );
    if is_adopted {
        let after = std::fs::read(&path).expect("a part");
        assert!(
            after.starts_with(content),
            "an adopted part keeps its bytes"
        );
    } else if is_full {
        assert_eq!(std::fs::read(&path).expect("a part"), content);
    }
    if !is_full && is_adopted {
        // The pages were not looked at, as the configuration says.
        return;
    }
    let batches = read(written).expect("what was accepted can be read");
    assert_told(&found, data_file, &batches);
    if is_adopted {
        let original = folder.path().join("original");
        std::fs::write(&original, content).expect("write a temporary file");
        assert_eq!(
            rows_of(&read(&original).expect("the part itself")),
            rows_of(&batches)
        );
    }
}

/// A part with small limits.
fn source(path: &Path, is_full: bool) -> Source {
    Source {
        bytes: PartBytes::File(path.to_path_buf()),
        kind: PartKind::Parquet,
        coding: Coding::Identity,
        csv: None,
        limits: Limits {
            decoded_bytes_max: 1 << 20,
            parquet_content_bytes_max: 64 << 20,
            columns_max: 100,
            field_bytes_max: 1 << 20,
            verify_parquet: match is_full {
                true => VerifyParquet::Full,
                false => VerifyParquet::Structure,
            },
        },
    }
}

/// The answer says how many rows there are, and how many nulls in each column.
fn assert_told(found: &Discovered, data_file: &DataFileRecord, batches: &[RecordBatch]) {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows as u64, found.rows);
    for (index, field) in data_file.fields.iter().enumerate() {
        let nulls: usize = batches
            .iter()
            .map(|batch| batch.column(index).logical_null_count())
            .sum();
        let told = found
            .columns
            .iter()
            .find(|column| column.name == field.name);
        match told.map(|column| &column.content) {
            Some(ColumnType::Typed { null_count, .. }) => assert_eq!(nulls as u64, *null_count),
            Some(_) | None => assert_eq!(nulls, rows, "`{}`", field.name),
        }
    }
}

/// All rows; nothing when the reader refuses them, or fails.
fn read(path: &Path) -> Option<Vec<RecordBatch>> {
    let read = || {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let file = File::open(path).ok()?;
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).ok()?;
        builder.build().ok()?.collect::<Result<Vec<_>, _>>().ok()
    };
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// Every value as text: the types of nested columns differ by their field ids.
fn rows_of(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("\0");
    let mut values = Vec::new();
    for column in batches.iter().flat_map(RecordBatch::columns) {
        let formatter = ArrayFormatter::try_new(column, &options).expect("a type to print");
        values.extend((0..column.len()).map(|row| formatter.value(row).to_string()));
    }
    values
}
