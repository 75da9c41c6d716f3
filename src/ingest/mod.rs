//! From the bytes of a part to a data file: content codings, checksums, formats, typed columns, Parquet.
//!
//! ```text
//! bytes as sent ──codec──> decoded bytes ──[charset] csv | ndjson──> raw cells ──encode──> arrays ──data_file──> Parquet
//!                                        └─────parquet (arrays as they are, cast)──────┘
//! ```
//!
//! Everything here blocks and runs on blocking threads, but for the reading of a few KiB that lie in memory. Memory is bounded by
//! the batch, one row group and the limits of [`Limits`], not by the part.

pub mod adoption;
pub mod arrival;
pub mod byte_source;
pub mod charset;
pub mod codec;
pub mod convert;
pub mod csv;
pub mod data_file;
pub mod digest;
pub mod encode;
pub mod error;
pub mod footer;
pub mod format;
mod int96;
mod looks;
pub mod ndjson;
pub mod parquet;
pub mod parquet_types;
pub mod part_bytes;
pub mod raw;
pub mod statistics;
pub mod structure;
pub mod text;
pub mod thrift;

use crate::config::VerifyParquet;
pub use error::{FormatError, FormatErrorKind};

/// What a part may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes after decoding.
    pub decoded_bytes_max: u64,
    /// Bytes of a Parquet file's content in memory form.
    pub parquet_content_bytes_max: u64,
    /// Columns.
    pub columns_max: usize,
    /// Bytes of one CSV field or NDJSON line.
    pub field_bytes_max: usize,
    /// How far a Parquet file that is adopted was read.
    pub verify_parquet: VerifyParquet,
}

impl From<&crate::config::PartsConfig> for Limits {
    fn from(config: &crate::config::PartsConfig) -> Self {
        Self {
            decoded_bytes_max: config.decoded_bytes_max.as_u64(),
            parquet_content_bytes_max: config.parquet_content_bytes_max.as_u64(),
            columns_max: config.columns_max,
            field_bytes_max: usize::try_from(config.field_bytes_max.as_u64()).unwrap_or(usize::MAX),
            verify_parquet: config.verify_parquet,
        }
    }
}
