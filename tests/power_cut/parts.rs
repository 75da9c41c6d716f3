//! Parts of every format. Every row that is ever sent differs from every other.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::client::{AS_CSV, AS_NDJSON, AS_PARQUET, Headers};
use super::support::codings::gzip;
use super::support::data::Expectation;

/// How a part is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Csv,
    GzippedCsv,
    Ndjson,
    Parquet,
    /// With so many columns; the part's record is cut into chunks.
    Wide(usize),
}

/// The forms whose parts fit each other.
pub const NARROW: [Form; 4] = [Form::Csv, Form::GzippedCsv, Form::Ndjson, Form::Parquet];

/// A part as it is sent, and what is in it.
#[derive(Debug)]
pub struct Part {
    pub form: Form,
    pub body: Vec<u8>,
    pub sha256: String,
    pub rows: Vec<Value>,
}

impl Part {
    /// A part whose rows are numbered from `first` on.
    pub fn new(form: Form, first: usize, count: usize) -> Self {
        let rows: Vec<Value> = match form {
            Form::Wide(columns) => (first..first + count)
                .map(|number| wide_row(number, columns))
                .collect(),
            _ => (first..first + count)
                .map(|number| json!([number, word(number)]))
                .collect(),
        };
        let body = match form {
            Form::Csv => csv(first, count),
            Form::GzippedCsv => gzip(&csv(first, count)),
            Form::Ndjson => ndjson(first, count),
            Form::Parquet => parquet(first, count),
            Form::Wide(columns) => wide_csv(columns, &rows),
        };
        Self {
            form,
            sha256: hex::encode(Sha256::digest(&body)),
            body,
            rows,
        }
    }

    /// The headers that say what it is.
    pub fn headers(&self) -> Headers<'static> {
        match self.form {
            Form::Csv | Form::Wide(_) => AS_CSV,
            Form::GzippedCsv => &[("x-file-name", "data.csv.gz")],
            Form::Ndjson => AS_NDJSON,
            Form::Parquet => AS_PARQUET,
        }
    }
}

/// What a table of these parts holds; they must be of forms that fit.
pub fn expectation<'a>(parts: impl Iterator<Item = &'a Arc<Part>>) -> Expectation {
    let parts: Vec<&Arc<Part>> = parts.collect();
    let wide = parts.iter().find_map(|part| match part.form {
        Form::Wide(columns) => Some(wide_names(columns)),
        _ => None,
    });
    let columns: Vec<(&str, &str)> = match &wide {
        Some(names) => names.iter().map(|name| (name.as_str(), "long")).collect(),
        None => vec![("number", "long"), ("word", "string")],
    };
    let rows: Vec<&Value> = parts.iter().flat_map(|part| &part.rows).collect();
    Expectation::new(&columns).rows(&json!(rows))
}

fn word(number: usize) -> String {
    // Mixes the bits, so that files are not compressed to nothing.
    format!("word-{:x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn csv(first: usize, count: usize) -> Vec<u8> {
    let mut text = String::from("number,word\n");
    for number in first..first + count {
        writeln!(text, "{number},{}", word(number)).expect("write to a string");
    }
    text.into_bytes()
}

fn ndjson(first: usize, count: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in first..first + count {
        let row = json!({"number": number, "word": word(number)});
        writeln!(text, "{row}").expect("write to a string");
    }
    text.into_bytes()
}

fn parquet(first: usize, count: usize) -> Vec<u8> {
    let numbers = first..first + count;
    let words: StringArray = numbers.clone().map(|number| Some(word(number))).collect();
    let numbers: Int64Array = numbers.map(|number| i64::try_from(number).ok()).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("number", Arc::new(numbers) as _, true),
        ("word", Arc::new(words) as _, true),
    ])
    .expect("two columns of one length");
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a Parquet writer");
    writer.write(&batch).expect("write to memory");
    writer.into_inner().expect("write to memory")
}

/// Long names that do not compress, so that neither does the part's record.
fn wide_names(columns: usize) -> Vec<String> {
    (0..columns)
        .map(|column| {
            let digest = Sha256::digest(column.to_le_bytes());
            format!("column_{column}_{}", hex::encode(digest))
        })
        .collect()
}

fn wide_row(number: usize, columns: usize) -> Value {
    (0..columns)
        .map(|column| number * 10_000 + column)
        .collect()
}

fn wide_csv(columns: usize, rows: &[Value]) -> Vec<u8> {
    let mut text = wide_names(columns).join(",");
    for row in rows {
        text.push('\n');
        text.push_str(row.to_string().trim_matches(['[', ']']));
    }
    text.push('\n');
    text.into_bytes()
}
