//! The way there and back: random tables, in every format and coding, in several parts, are read back by PyIceberg and DuckDB
//! with every value as it was.
//!
//! A run prints its seed; `CALVE_TEST_SEED` repeats it. `CALVE_TEST_LONG=1` makes a thousand tables of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod csv;
mod json;
#[path = "../fuzz/spelling.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "of what prints back only the forms of dates are used here"
)]
mod spelling;
#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::client::{Api, Target};
use support::data::Expectation;
use support::python::run_json;
use support::random::{Random, seed};
use support::server::{TestServer, write_file};
use support::table::assert_tables_hold;
use tables::Table;

/// Every format and coding comes as often as every other; how a part is written is random.
const FORMATS: [Format; 4] = [
    Format::Csv,
    Format::Ndjson,
    Format::JsonArray,
    Format::Parquet,
];
const CODINGS: [&str; 5] = ["", "gzip", "deflate", "br", "zstd"];
/// Tables whose readings are compared at once.
const TABLES_AT_ONCE: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    Csv,
    Ndjson,
    JsonArray,
    Parquet,
}

/// A part as it is sent.
struct Part {
    query: String,
    file_name: &'static str,
    coding: &'static str,
    body: Vec<u8>,
}

/// A table and its parts.
struct Case {
    target: Target,
    table: Table,
    parts: Vec<Part>,
}

#[test]
fn every_value_comes_back_from_every_format_and_coding() {
    let seed = seed();
    let cases = if support::is_long() { 1000 } else { 60 };
    let numbers: Vec<u64> = (0..cases).collect();
    for numbers in numbers.chunks(TABLES_AT_ONCE) {
        let server = TestServer::start();
        let api = server.api();
        let cases = made(numbers, seed, &server.scratch("parquet"));
        let tables: Vec<(PathBuf, Expectation)> = cases
            .iter()
            .map(|case| {
                load(&api, case);
                (server.table_dir(&case.target), expectation(&case.table))
            })
            .collect();
        assert_tables_hold(&tables);
    }
}

fn expectation(table: &Table) -> Expectation {
    let types: Vec<String> = table
        .columns
        .iter()
        .map(|(_, kind)| kind.iceberg())
        .collect();
    let columns: Vec<(&str, &str)> = table
        .columns
        .iter()
        .zip(&types)
        .map(|((name, _), r#type)| (name.as_str(), r#type.as_str()))
        .collect();
    let rows: Vec<Value> = table
        .rows
        .iter()
        .map(|row| row.iter().map(tables::Value::expected).collect())
        .collect();
    Expectation::new(&columns).rows(&json!(rows))
}

fn load(api: &Api, case: &Case) {
    let session = api.open_session();
    for (number, part) in case.parts.iter().enumerate() {
        let path = format!("/v1/upload/{session}?part={number}{}", part.query);
        let mut headers = vec![("x-file-name", part.file_name)];
        if !part.coding.is_empty() {
            headers.push(("content-encoding", part.coding));
        }
        let answer = api.send("PUT", &path, &headers, Some(&part.body));
        assert_eq!(
            answer.status,
            201,
            "{} part {number}{}: {}",
            case.target.dotted(),
            part.query,
            answer.text()
        );
    }
    let answer = api.commit(&session, &case.target, "fail");
    assert_eq!(
        answer.status,
        200,
        "{}: {}",
        case.target.dotted(),
        answer.text()
    );
}

/// A Parquet file to be written: where, with which rows, and how.
struct ParquetFile {
    out: PathBuf,
    rows: Expectation,
    how: Value,
}

/// Makes the cases; pyarrow writes the Parquet files of all of them at once.
fn made(numbers: &[u64], seed: u64, folder: &Path) -> Vec<Case> {
    fs::create_dir_all(folder).expect("a folder");
    let mut files = Vec::new();
    let mut cases: Vec<Case> = numbers
        .iter()
        .map(|number| case(*number, seed, folder, &mut files))
        .collect();
    let listed: Vec<Value> = files
        .iter()
        .map(|file| json!({"out": file.out, "from": file.rows.write("rows.json"), "how": file.how}))
        .collect();
    let list = write_file(
        folder.join("files.json"),
        json!(listed).to_string().as_bytes(),
    );
    let many = [
        "-".to_owned(),
        "--many".to_owned(),
        list.display().to_string(),
    ];
    run_json("make_parquet.py", &many);
    let mut files = files.iter();
    for part in cases.iter_mut().flat_map(|case| &mut case.parts) {
        if part.file_name == "part.parquet" {
            part.body = fs::read(&files.next().expect("a file").out).expect("a Parquet file");
        }
        part.body = encoded(&part.body, part.coding);
    }
    cases
}

/// A table and its parts, whose bodies are not encoded yet; those of Parquet are empty.
fn case(number: u64, seed: u64, folder: &Path, files: &mut Vec<ParquetFile>) -> Case {
    let mut random = Random::new(seed, number);
    let format = FORMATS[number as usize / CODINGS.len() % FORMATS.len()];
    let first_coding = CODINGS[number as usize % CODINGS.len()];
    let table = tables::random(
        format == Format::Parquet,
        format != Format::Csv,
        &mut random,
    );
    // One CSV in three comes without a word of how it is written.
    let is_told = format != Format::Csv || !random.one_in(3);
    let table = if is_told { table } else { table.tamed() };
    let has_header = !is_told || !random.one_in(5);
    let mut parts = Vec::new();
    for (index, piece) in pieces(&table, &mut random).iter().enumerate() {
        let coding = match index {
            0 => first_coding,
            _ => *random.pick(&CODINGS),
        };
        let (query, file_name, body) = match format {
            Format::Csv => {
                let (query, body) = csv::written(piece, has_header, is_told, &mut random);
                (query, "part.csv", body)
            }
            Format::Ndjson => (
                String::new(),
                "part.ndjson",
                json::lines(piece, &mut random),
            ),
            Format::JsonArray => (String::new(), "part.json", json::array(piece, &mut random)),
            Format::Parquet => {
                files.push(ParquetFile {
                    out: folder.join(format!("{number}-{index}.parquet")),
                    rows: expectation(piece),
                    how: how(&mut random),
                });
                (String::new(), "part.parquet", Vec::new())
            }
        };
        parts.push(Part {
            query,
            file_name,
            coding,
            body,
        });
    }
    let coding = if first_coding.is_empty() {
        "plain"
    } else {
        first_coding
    };
    let name = format!("round.trip.{format:?}_{coding}_{number}").to_ascii_lowercase();
    Case {
        target: Target::new(&name),
        table: if has_header || format != Format::Csv {
            table
        } else {
            table.without_names()
        },
        parts,
    }
}

/// The rows in one to four parts, in order; the first has at least the row that settles every type.
fn pieces(table: &Table, random: &mut Random) -> Vec<Table> {
    let mut cuts: Vec<usize> = (0..random.below(4))
        .map(|_| 1 + random.index(table.rows.len()))
        .collect();
    cuts.extend([0, table.rows.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|ends| Table {
            columns: table.columns.clone(),
            rows: table.rows[ends[0]..ends[1]].to_vec(),
        })
        .collect()
}

/// How pyarrow writes a file.
fn how(random: &mut Random) -> Value {
    json!({
        "compression": random.pick(&["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        "data_page_version": random.pick(&["1.0", "2.0"]),
        "row_group_size": 1 + random.below(40),
        // With pages of a few bytes pyarrow cannot read its own lists.
        "data_page_size": random.pick(&[256, 1 << 20]),
        "use_dictionary": random.one_in(2),
        "write_page_index": random.one_in(2),
        "write_page_checksum": random.one_in(2),
        "write_statistics": !random.one_in(4),
    })
}

/// A body in this content coding.
fn encoded(body: &[u8], coding: &str) -> Vec<u8> {
    let written = "written to memory";
    let level = flate2::Compression::default();
    match coding {
        "" => body.to_vec(),
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).expect(written);
            encoder.finish().expect(written)
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).expect(written);
            encoder.finish().expect(written)
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(body).expect(written);
            encoder.into_inner()
        }
        _ => zstd::encode_all(body, 3).expect(written),
    }
}
