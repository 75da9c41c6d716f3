//! What the fuzzers start from: the corpus, and files that are made here.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt32Array,
};
use calve::domain::part::Coding;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::bodies::codings;

/// Columns of values, one a line.
const COLUMNS: [&str; 14] = [
    "true\nFALSE\nTrue\n",
    "1\n-2\n9223372036854775807\n-9223372036854775808",
    "1\n2.50\n.5\n5.\n1.5e3\n1e-3\n-0.0",
    "007\n+1\n1e5\n0.30000000000000004\n0.1000000000000000055",
    "9007199254740993\n0.5",
    "2024-02-29\n\n1969-12-31\nNULL",
    "2024-02-29T10:20:30\n1970-01-01 00:00\n1969-12-31 23:59:59,123456000",
    "2024-02-29T10:20:30Z\n2024-02-29 10:20:30 +0530\n2024-02-29 10:20 UTC\n2024-02-29T10:20:30.5-05",
    "13/04/2024\n01/02/2024\n31/12/1999",
    "4/13/2024\n12/1/2024 10:00",
    "31-DEC-2024\n01-JAN-2025",
    "1 Jan 2024 10:00:00\n31 Dec 2024 23:59:59Z",
    "NA\nN/A\n\\N\nnull",
    "text\n\u{e9}\n12:30\nnan\ninf",
];

/// The seeds of a target; a first byte, which chooses settings, stands before each.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "csv" => with_choices(&corpus("csv"), 12),
        "ndjson" => with_choices(&corpus("json"), 2),
        "parquet" => with_choices(&parquet_files(), 2),
        "codings" => bodies_of_every_coding(),
        "values" => with_choices(&COLUMNS.map(|column| column.as_bytes().to_vec()), 4),
        _ => panic!("no target is named {target}"),
    }
}

/// Each with the first choice and one of the others, which come in turn.
fn with_choices(contents: &[Vec<u8>], choices: u8) -> Vec<Vec<u8>> {
    let turns = (1..choices).cycle();
    let both = contents
        .iter()
        .zip(turns)
        .flat_map(|(content, turn)| [0, turn].map(|choice| [&[choice][..], content].concat()));
    both.collect()
}

fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut paths: Vec<_> = fs::read_dir(path)
        .expect("the corpus")
        .map(|entry| entry.expect("a file of the corpus").path())
        .collect();
    paths.sort();
    let files = paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus"));
    files.filter(|file| file.len() <= 8 << 10).collect()
}

fn bodies_of_every_coding() -> Vec<Vec<u8>> {
    let content = b"city,population\nBern,134591\nOslo,709037\n".repeat(20);
    let mut seeds = Vec::new();
    let codings = [
        Coding::Identity,
        Coding::Gzip,
        Coding::Deflate,
        Coding::Br,
        Coding::Zstd,
    ];
    for (choice, coding) in (0u8..).zip(codings) {
        seeds.push([&[choice][..], &codings::encoded(&content, coding)].concat());
        let bomb = codings::encoded(&vec![0; 150_000], coding);
        seeds.push([&[choice][..], &bomb[..bomb.len().min(4000)]].concat());
        seeds.push([&[choice + 10][..], &content].concat());
    }
    seeds
}

/// Small files of every codec and both page versions, with several row groups and pages.
fn parquet_files() -> Vec<Vec<u8>> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    let mut files = Vec::new();
    for codec in codecs {
        for version in versions {
            for batch in [flat(), nested()] {
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_max_row_group_row_count(Some(25))
                    .set_data_page_row_count_limit(10)
                    .set_write_batch_size(5)
                    .build();
                let mut bytes = Vec::new();
                let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))
                    .expect("a writer");
                writer.write(&batch).expect("written to memory");
                writer.close().expect("written to memory");
                files.push(bytes);
            }
        }
    }
    files
}

fn flat() -> RecordBatch {
    const ROWS: i64 = 40;
    let some = |row: i64| (row % 5 > 0).then_some(row);
    let texts = (0..ROWS).map(|row| some(row).map(|row| format!("t{}", row % 4)));
    let decimals = Decimal128Array::from_iter((0..ROWS).map(|row| some(row).map(i128::from)));
    let columns: [(&str, ArrayRef); 8] = [
        (
            "number",
            Arc::new(Int64Array::from_iter((0..ROWS).map(some))),
        ),
        (
            "half",
            Arc::new(Float64Array::from_iter(
                (0..ROWS).map(|row| row as f64 / 2.0).map(Some),
            )),
        ),
        ("text", Arc::new(StringArray::from_iter(texts))),
        (
            "truth",
            Arc::new(BooleanArray::from_iter(
                (0..ROWS).map(|row| Some(row % 2 == 0)),
            )),
        ),
        ("day", Arc::new(Date32Array::from_iter((0..40).map(Some)))),
        (
            "moment",
            Arc::new(TimestampMicrosecondArray::from_iter((0..ROWS).map(some))),
        ),
        ("unsigned", Arc::new(UInt32Array::from_iter_values(0..40))),
        (
            "price",
            Arc::new(decimals.with_precision_and_scale(9, 2).expect("a decimal")),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

fn nested() -> RecordBatch {
    let lists = (0..40).map(|row| (row % 5 > 0).then(|| (0..row % 4).map(Some)));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..40).map(|row| (row % 3 > 0).then_some(row)),
    ));
    let structs = StructArray::try_from(vec![("a", numbers.clone()), ("b", lists.clone())]);
    let structs: ArrayRef = Arc::new(structs.expect("a struct"));
    RecordBatch::try_from_iter([("numbers", numbers), ("lists", lists), ("structs", structs)])
        .expect("a batch")
}
