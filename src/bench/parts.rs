//! The bodies that a run sends, made before it starts.
//!
//! A run has a small pool of different bodies and sends them in turn: making every body anew would cost more than sending it. The pool
//! is bounded in bytes.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::rows::{CSV_HEADER, Row, Rows, record_batch};

/// Different bodies of one run.
const POOL_PARTS_MAX: u64 = 16;
/// Bytes of all of them together, if there is more than one.
const POOL_BYTES_MAX: u64 = 64 << 20;
/// Numbers of orders that one part may take.
const ORDERS_PER_PART: i64 = 1 << 32;
/// A row of a Parquet part takes about so many bytes.
const PARQUET_ROW_BYTES: u64 = 64;

/// What parts look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Their format.
    pub format: Format,
    /// How they are packed; Parquet parts are packed already.
    pub coding: Coding,
    /// About how many bytes each has before packing.
    pub bytes: u64,
    /// From which everything in them comes.
    pub seed: u64,
}

/// Formats of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma, header, double quotes where needed.
    Csv,
    /// One object a line.
    Ndjson,
    /// Snappy pages, as most writers make them.
    Parquet,
}

/// Codings of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Coding {
    /// As they are.
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// One body.
#[derive(Debug, Clone)]
pub struct TestPart {
    /// As sent.
    pub bytes: Bytes,
    /// Rows in it.
    pub rows: u64,
}

impl Recipe {
    /// The bodies of a run that sends `parts` parts.
    pub fn pool(&self, parts: u64) -> Result<Arc<[TestPart]>, String> {
        let fitting = (POOL_BYTES_MAX / self.bytes.max(1)).clamp(1, POOL_PARTS_MAX);
        (0..fitting.min(parts))
            .map(|number| self.part(number))
            .collect()
    }

    /// The extension of a file name that says the format.
    pub fn extension(&self) -> &'static str {
        match self.format {
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
            Format::Parquet => "parquet",
        }
    }

    /// The value of `Content-Encoding`, if there is one.
    pub fn content_encoding(&self) -> Option<&'static str> {
        match self.coding {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// The body with this number of the pool.
    pub fn part(&self, number: u64) -> Result<TestPart, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot make a part: {error}");
        let first_order_id = i64::try_from(number).unwrap_or(0) * ORDERS_PER_PART;
        let rows = Rows::new(self.seed.wrapping_add(number), first_order_id);
        let (plain, rows) = match self.format {
            Format::Csv => text(CSV_HEADER, Row::push_csv, rows, self.bytes),
            Format::Ndjson => text("", Row::push_ndjson, rows, self.bytes),
            Format::Parquet => parquet_file(rows, self.bytes).map_err(|error| failed(&error))?,
        };
        let bytes = pack(plain, self.coding).map_err(|error| failed(&error))?;
        Ok(TestPart {
            bytes: bytes.into(),
            rows,
        })
    }
}

/// As many rows as fit, one at least.
fn text(
    header: &str,
    push: impl Fn(&Row, &mut String),
    rows: Rows,
    bytes_max: u64,
) -> (Vec<u8>, u64) {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut text = header.to_owned();
    let mut count = 0;
    for row in rows {
        let end = text.len();
        push(&row, &mut text);
        if text.len() > bytes_max && count > 0 {
            text.truncate(end);
            break;
        }
        count += 1;
    }
    (text.into_bytes(), count)
}

/// A file of about this size: it ends with the batch of rows whose pages, as far as they are estimated, pass it. Below some MiB
/// the estimate is up to twice the size.
fn parquet_file(
    mut rows: Rows,
    bytes: u64,
) -> Result<(Vec<u8>, u64), parquet::errors::ParquetError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let batch_rows = (bytes as u64 / PARQUET_ROW_BYTES / 16).clamp(8, 8192);
    let batch_rows = usize::try_from(batch_rows).unwrap_or(8);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let schema = record_batch(&[])?.schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    let mut count = 0;
    while count == 0 || writer.bytes_written() + writer.in_progress_size() < bytes {
        let batch: Vec<Row> = rows.by_ref().take(batch_rows).collect();
        writer.write(&record_batch(&batch)?)?;
        count += batch.len() as u64;
    }
    Ok((writer.into_inner()?, count))
}

fn pack(plain: Vec<u8>, coding: Coding) -> std::io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(plain),
        Coding::Gzip => {
            let mut writer =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(&plain)?;
            writer.finish()
        }
        Coding::Zstd => zstd::encode_all(plain.as_slice(), 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(format: Format, bytes: u64) -> Recipe {
        Recipe {
            format,
            coding: Coding::Identity,
            bytes,
            seed: 1,
        }
    }

    #[test]
    fn text_parts_have_the_size_and_the_rows_they_say() {
        for (format, header_lines) in [(Format::Csv, 1), (Format::Ndjson, 0)] {
            let part = recipe(format, 10_000).part(0).unwrap();
            let lines = part.bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(lines - header_lines, part.rows);
            assert!(
                (9_000..=10_000).contains(&part.bytes.len()),
                "{}",
                part.bytes.len()
            );
        }
    }

    #[test]
    fn parquet_parts_have_about_the_size_and_the_rows_they_say() {
        let part = recipe(Format::Parquet, 1 << 20).part(0).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
            part.bytes.clone(),
            1024,
        )
        .unwrap();
        let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, part.rows);
        let size = part.bytes.len() as f64 / f64::from(1 << 20);
        assert!((0.5..1.2).contains(&size), "{size} MiB");
    }

    #[test]
    fn packed_parts_unpack_to_the_plain_one() {
        let plain = recipe(Format::Csv, 5_000).part(3).unwrap().bytes;
        let packed = |coding| {
            Recipe {
                coding,
                ..recipe(Format::Csv, 5_000)
            }
            .part(3)
            .unwrap()
            .bytes
        };
        assert_eq!(zstd::decode_all(&packed(Coding::Zstd)[..]).unwrap(), plain);
        let mut unpacked = Vec::new();
        let gzip = packed(Coding::Gzip);
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip[..]), &mut unpacked)
            .unwrap();
        assert_eq!(unpacked, plain);
    }

    #[test]
    fn a_pool_is_bounded_and_its_parts_differ() {
        let pool = recipe(Format::Csv, 1_000).pool(100).unwrap();
        assert_eq!(pool.len(), 16);
        assert_ne!(pool[0].bytes, pool[1].bytes);
        assert_eq!(recipe(Format::Csv, 1_000).pool(3).unwrap().len(), 3);
        assert_eq!(
            recipe(Format::Csv, POOL_BYTES_MAX / 2)
                .pool(3)
                .unwrap()
                .len(),
            2
        );
    }
}
