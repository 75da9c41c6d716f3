//! What the clients upload: rows that no other upload has, in each of the formats.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use chrono::{DateTime, NaiveDate};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::client::{AS_CSV, AS_NDJSON, AS_PARQUET, Headers};
use crate::support::data::{NumberedRow, numbered_csv};

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Csv,
    GzipCsv,
    Ndjson,
    Parquet,
}

/// One upload. Its bytes are made again whenever they are asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// The value of all its rows' column `part`.
    pub number: u32,
    pub rows: u32,
    pub form: Form,
    pub byte_count: usize,
    pub sha256: String,
}

impl Body {
    pub fn new(number: u32, rows: u32, form: Form) -> Self {
        let bytes = bytes(number, rows, form);
        Self {
            number,
            rows,
            form,
            byte_count: bytes.len(),
            sha256: hex::encode(Sha256::digest(&bytes)),
        }
    }

    /// As it is sent, and as it must be staged.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(self.number, self.rows, self.form)
    }

    /// The headers that say what it is.
    pub fn headers(&self) -> Headers<'static> {
        match self.form {
            Form::Csv => AS_CSV,
            Form::GzipCsv => &[("x-file-name", "data.csv"), ("content-encoding", "gzip")],
            Form::Ndjson => AS_NDJSON,
            Form::Parquet => AS_PARQUET,
        }
    }

    /// What the server calls the format.
    pub fn kind(&self) -> &'static str {
        match self.form {
            Form::Csv | Form::GzipCsv => "csv",
            Form::Ndjson => "ndjson",
            Form::Parquet => "parquet",
        }
    }

    /// What the staged file's name ends with.
    pub fn extension(&self) -> &'static str {
        match self.form {
            Form::Csv => "csv",
            Form::GzipCsv => "csv.gz",
            Form::Ndjson => "ndjson",
            Form::Parquet => "parquet",
        }
    }

    /// Its rows as lines of CSV, without a header.
    pub fn csv_lines(&self) -> String {
        let csv = numbered_csv(self.number, self.rows);
        let (_, lines) = csv.split_once('\n').expect("a header");
        lines.to_owned()
    }
}

fn bytes(number: u32, rows: u32, form: Form) -> Vec<u8> {
    match form {
        Form::Csv => numbered_csv(number, rows).into_bytes(),
        Form::GzipCsv => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder
                .write_all(numbered_csv(number, rows).as_bytes())
                .expect("compress in memory");
            encoder.finish().expect("compress in memory")
        }
        Form::Ndjson => ndjson(number, rows),
        Form::Parquet => parquet(number, rows),
    }
}

fn ndjson(number: u32, rows: u32) -> Vec<u8> {
    let mut lines = Vec::new();
    for row in 0..rows {
        let values = NumberedRow::new(number, row);
        // By hand, for the order of the columns.
        writeln!(
            lines,
            "{{\"part\":{number},\"row\":{row},\"word\":{},\"amount\":{},\"day\":\"{}\",\"moment\":\"{}\",\"flag\":{}}}",
            json!(values.word), values.amount, values.day, values.moment, values.flag
        )
        .expect("write to memory");
    }
    lines
}

fn parquet(number: u32, rows: u32) -> Vec<u8> {
    let values: Vec<NumberedRow> = (0..rows).map(|row| NumberedRow::new(number, row)).collect();
    let epoch = NaiveDate::default();
    let day = |row: &NumberedRow| {
        let day: NaiveDate = row.day.parse().expect("a date");
        i32::try_from((day - epoch).num_days()).expect("few days")
    };
    let moment = |row: &NumberedRow| {
        DateTime::parse_from_rfc3339(&row.moment)
            .expect("a moment")
            .timestamp_micros()
    };
    let moments: PrimitiveArray<TimestampMicrosecondType> =
        values.iter().map(|row| Some(moment(row))).collect();
    let amounts = values
        .iter()
        .map(|row| row.amount.parse::<f64>().expect("a number"));
    let columns: [(&str, ArrayRef); 7] = [
        (
            "part",
            Arc::new(Int64Array::from(vec![i64::from(number); values.len()])),
        ),
        (
            "row",
            Arc::new((0..i64::from(rows)).collect::<Int64Array>()),
        ),
        (
            "word",
            Arc::new(StringArray::from_iter_values(
                values.iter().map(|row| &row.word),
            )),
        ),
        ("amount", Arc::new(amounts.collect::<Float64Array>())),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(values.iter().map(day))),
        ),
        ("moment", Arc::new(moments.with_timezone("UTC"))),
        (
            "flag",
            Arc::new(BooleanArray::from_iter(
                values.iter().map(|row| Some(row.flag)),
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("write to memory");
    writer.into_inner().expect("write to memory")
}
