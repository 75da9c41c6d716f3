//! What is answered of one part.

use serde::Serialize;
use utoipa::ToSchema;

use super::Issue;
use crate::domain::{ColumnRecord, ColumnType, PartRecord};
use crate::ingest::csv::dialect::{Dialect, Escape};
use crate::schema::plan::TableColumns;
use crate::schema::types;
use crate::schema::unify::{describe_part, part_type};

/// A column of a part.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartColumn {
    /// Its name.
    pub name: String,
    /// What the data is now.
    #[schema(example = "INT64")]
    pub r#type: String,
    /// What it arrived as.
    pub from: String,
    /// `keep`, `widen`, `cast`, or `undeclared` where there is nothing to compare with.
    pub action: &'static str,
    /// Whether a row has no value.
    pub nullable: bool,
}

/// The columns of a part.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartSchema {
    /// In the file's order.
    pub columns: Vec<PartColumn>,
}

/// How a CSV part is written, as it was found or given.
#[derive(Debug, Serialize, ToSchema)]
pub struct CsvDialect {
    /// Between two fields.
    #[schema(example = ",")]
    pub delimiter: String,
    /// Around a field; null when there is none.
    pub quote: Option<char>,
    /// What stands before a quote inside of quotes: the quote itself, or a backslash.
    pub escape: Option<char>,
    /// Whether the columns' names are in the file.
    pub header: bool,
    /// Rows that name the columns.
    pub header_rows: u32,
    /// The character encoding.
    pub encoding: String,
    /// `lf`, `crlf`, `cr` or `mixed`.
    pub newline: &'static str,
    /// Lines before the header.
    pub skipped_rows: u64,
}

impl From<&Dialect> for CsvDialect {
    fn from(dialect: &Dialect) -> Self {
        let quote = dialect.quote.map(char::from);
        Self {
            delimiter: dialect.delimiter_text(),
            quote,
            escape: match dialect.escape {
                Escape::Doubled => quote,
                Escape::Backslash => Some('\\'),
            },
            header: dialect.header_rows > 0,
            header_rows: dialect.header_rows,
            encoding: dialect.charset.name(),
            newline: dialect.newline.name(),
            skipped_rows: dialect.skipped_lines,
        }
    }
}

/// Answer of Upload Part.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadPartResponse {
    /// `stored`: on stable storage.
    pub status: &'static str,
    /// The part's number.
    pub part: u16,
    /// Its rows.
    pub rows: u64,
    /// Its bytes as sent.
    pub bytes: u64,
    /// Its format.
    pub kind: &'static str,
    /// SHA-256 of the bytes as sent, in hex.
    pub sha256: String,
    /// How it is written, if it is CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvDialect>,
    /// Its columns.
    pub schema: PartSchema,
    /// For Parquet: whether its pages are kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetPages>,
    /// What the sender should know.
    pub issues: Vec<Issue>,
}

/// What becomes of a Parquet part's pages.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParquetPages {
    /// Whether they go into the table as they are; else they are written anew.
    pub adopted: bool,
    /// Why they are written anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "column `t`: INT64 in milliseconds is stored as TIMESTAMP[us]")]
    pub reason: Option<String>,
}

impl ParquetPages {
    pub(super) fn of(record: &PartRecord) -> Option<Self> {
        record.parquet.as_ref().map(|parquet| Self {
            adopted: parquet.adopted,
            reason: parquet.reason.clone(),
        })
    }
}

impl UploadPartResponse {
    /// The answer for an acknowledged part.
    pub fn new(record: &PartRecord, table: Option<&TableColumns>, is_bound: bool) -> Self {
        Self {
            status: "stored",
            part: record.part.0,
            rows: record.rows,
            bytes: record.wire_bytes,
            kind: record.kind.name(),
            sha256: record.sha256.clone(),
            csv: record.csv.as_ref().map(CsvDialect::from),
            schema: PartSchema {
                columns: record
                    .columns
                    .iter()
                    .map(|column| part_column(column, table))
                    .collect(),
            },
            parquet: ParquetPages::of(record),
            issues: part_issues(record, is_bound).collect(),
        }
    }
}

pub(super) fn part_issues(record: &PartRecord, is_bound: bool) -> impl Iterator<Item = Issue> {
    record.issues.iter().map(move |issue| Issue {
        issue: issue.issue.clone(),
        part: record.part.0,
        column: issue.column.clone().filter(|_| is_bound),
    })
}

fn part_column(column: &ColumnRecord, table: Option<&TableColumns>) -> PartColumn {
    let from = describe_part(&column.content);
    let own = part_type(&column.content);
    let declared = table
        .and_then(|table| table.field(&column.name).map(|field| (table, field)))
        .filter(|(table, field)| !table.open.contains(&field.id))
        .map(|(_, field)| field);
    let (r#type, action) = match (declared, own) {
        (None, _) => (from.clone(), "undeclared"),
        (Some(field), None) => (types::logical_name(&field.field_type), "keep"),
        (Some(field), Some(own)) => {
            let action = if types::same_shape(&own, &field.field_type) {
                "keep"
            } else if types::widens_to(&own, &field.field_type) {
                "widen"
            } else {
                "cast"
            };
            (types::logical_name(&field.field_type), action)
        }
    };
    PartColumn {
        name: column.name.clone(),
        r#type,
        from,
        action,
        nullable: has_nulls(column),
    }
}

pub(super) fn has_nulls(column: &ColumnRecord) -> bool {
    match &column.content {
        ColumnType::Text(evidence) => match evidence.text_type() {
            Some(text_type) => evidence.has_nulls(text_type),
            None => true,
        },
        ColumnType::Typed { null_count, .. } => *null_count > 0,
        ColumnType::Void => true,
    }
}

/// Answer of Delete Part.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletePartResponse {
    /// `deleted`, also when it was deleted before.
    pub status: &'static str,
    /// The part's number.
    pub part: u16,
}
