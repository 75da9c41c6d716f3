//! What is known of one staged part: the receipt of its bytes, what it holds, and the data file that
//! was made from it on arrival.
//!
//! A [`PartRecord`] is written once, after its bytes are on stable storage, and never changed; a
//! replacement is a new record with a higher `generation`.

use chrono::{DateTime, Utc};
use iceberg::spec::{NestedFieldRef, Type};
use serde::{Deserialize, Serialize};

use super::ids::PartNumber;
use crate::ingest::csv::dialect::Dialect;
use crate::schema::Evidence;
use crate::schema::nested::Nested;

/// The format of a part's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Comma-separated text with a header (RFC 4180).
    Csv,
    /// Tab-separated text with a header.
    Tsv,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

impl PartKind {
    /// The kind's name in answers, metrics and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }
}

/// The content coding that a part's bytes were sent in (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// As they are.
    Identity,
    /// gzip, one or several members.
    Gzip,
    /// zlib, or raw deflate as some clients send it.
    Deflate,
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// The file name suffix of the coding, with its dot; empty for identity.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => ".gz",
            Self::Deflate => ".deflate",
            Self::Br => ".br",
            Self::Zstd => ".zst",
        }
    }
}

/// What a column of a part holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// A column of a text format: what all its values allow. The type is decided over all parts.
    Text(Evidence),
    /// A column whose file says its type. Field ids inside are of no meaning here.
    Typed {
        /// The Iceberg type of the column.
        r#type: Type,
        /// Number of rows without a value.
        null_count: u64,
    },
    /// A column of a typed format that says "no type": only nulls.
    Void,
}

/// A column of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnRecord {
    /// Name as in the file (made unique).
    pub name: String,
    /// What it holds.
    pub content: ColumnType,
}

/// The Parquet file that was made from a part, or adopted, when it arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFileRecord {
    /// Its size.
    pub file_bytes: u64,
    /// The columns in it, with the field ids written into it. Columns without a type are left out.
    pub fields: Vec<NestedFieldRef>,
}

/// What became of a Parquet part's pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParquetRecord {
    /// Whether they are the data file's as they are; else they were written anew.
    pub adopted: bool,
    /// Why they were written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a small part's bytes are: in a file that it shares with others (see [`crate::store::packs`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackPlace {
    /// The pack's number.
    pub pack: u64,
    /// Offset in it of the part's first byte.
    pub offset: u64,
}

/// Something about a part that its sender should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartIssue {
    /// One sentence.
    pub issue: String,
    /// The column it is about.
    pub column: Option<String>,
}

impl PartRecord {
    /// Columns, the fields nested in them counted too.
    pub fn column_count(&self) -> usize {
        let nested = |column: &ColumnRecord| match &column.content {
            ColumnType::Text(evidence) => evidence.nested().map_or(0, Nested::leaves),
            ColumnType::Typed { .. } | ColumnType::Void => 0,
        };
        self.columns.iter().map(|column| 1 + nested(column)).sum()
    }

    /// Bytes of the part's files in the staging folder.
    pub fn staged_bytes(&self) -> u64 {
        let data_file_bytes = self.data_file.as_ref().map_or(0, |file| file.file_bytes);
        if self.is_own_data_file() {
            return data_file_bytes;
        }
        self.wire_bytes.saturating_add(data_file_bytes)
    }

    /// Whether the data file has the pages of the Parquet file that was sent: that file's bytes are its first
    /// `decoded_bytes`, then comes a footer with field ids.
    pub fn is_adopted(&self) -> bool {
        self.data_file.is_some() && self.parquet.as_ref().is_some_and(|parquet| parquet.adopted)
    }

    /// Whether the part's own file is its data file, too: the bytes as sent are its first `wire_bytes`.
    pub fn is_own_data_file(&self) -> bool {
        self.is_adopted() && self.coding == Coding::Identity
    }

    /// Size of the file that holds the part's bytes.
    pub fn file_bytes(&self) -> u64 {
        match &self.data_file {
            Some(data_file) if self.is_own_data_file() => data_file.file_bytes,
            Some(_) | None => self.wire_bytes,
        }
    }
}

/// One staged part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its number.
    pub part: PartNumber,
    /// Grows with every upload of the number; names the part's files.
    pub generation: u64,
    /// Its format.
    pub kind: PartKind,
    /// The coding of the stored bytes.
    pub coding: Coding,
    /// Base name of the source file, when the client said one.
    pub file_name: Option<String>,
    /// Bytes as sent, which is what is stored.
    pub wire_bytes: u64,
    /// Bytes after decoding.
    pub decoded_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the bytes as sent, lower-case hex.
    pub sha256: String,
    /// When it was acknowledged.
    pub uploaded_at: DateTime<Utc>,
    /// Its columns, in the file's order.
    pub columns: Vec<ColumnRecord>,
    /// Its dialect, if it is CSV; none in records from before dialects were found, which are as RFC 4180 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<Dialect>,
    /// What its sender should know.
    pub issues: Vec<PartIssue>,
    /// The data file made on arrival; none when there is no row or no typed column, and none for a part in a pack: the
    /// commit makes one of all of these.
    pub data_file: Option<DataFileRecord>,
    /// Where its bytes are, if they have no file of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<PackPlace>,
    /// For Parquet parts with a data file: whether its pages are those that were sent. Parts of older
    /// versions say nothing; theirs were written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetRecord>,
}
