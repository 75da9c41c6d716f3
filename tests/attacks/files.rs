//! Files that are small as sent and large in memory, or nested until a stack ends.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::attack::Expected::{Refused, Statuses};
use super::attack::{Attack, Expected, upload};

const CSV: &[(&str, &str)] = &[("x-file-name", "a.csv")];
const NDJSON: &[(&str, &str)] = &[("x-file-name", "a.ndjson")];
const PARQUET: &[(&str, &str)] = &[("x-file-name", "a.parquet")];

pub(crate) fn attacks(session: &str) -> Vec<Attack> {
    let part =
        |name: &str, headers, body: &[u8], expected| upload(name, session, headers, body, expected);
    let unreadable = || Refused(422, "format_unreadable");
    let mut attacks = Vec::new();

    let names: String = (0..1_000_000).map(|number| format!("c{number},")).collect();
    let commas = ",".repeat(1_000_000);
    let field = "a".repeat(5 << 20);
    for (name, body, expected) in [
        ("a million columns", format!("{names}z\n"), unreadable()),
        (
            "a million columns in the second row",
            format!("a,b\n1,2\n{commas}\n"),
            Statuses(&[201]),
        ),
        (
            "a million empty columns",
            format!("{commas}\n{commas}\n"),
            unreadable(),
        ),
        ("one huge field", format!("a,b\n1,{field}\n"), unreadable()),
        (
            "one huge quoted field",
            format!("a,b\n1,\"{field}\"\n"),
            unreadable(),
        ),
        ("one huge name", format!("{field},b\n1,2\n"), unreadable()),
        (
            "a quote that does not end",
            format!("a,b\n1,\"{}", "x\n".repeat(1 << 20)),
            unreadable(),
        ),
        ("nothing but quotes", "\"".repeat(1 << 20), Statuses(&[201])),
        (
            "nothing but line feeds",
            "\n".repeat(1 << 20),
            Statuses(&[201]),
        ),
        (
            "nothing but commas and line feeds",
            ",\n".repeat(1 << 19),
            Statuses(&[201]),
        ),
        (
            "ten thousand names that are one",
            format!("{}a\n", "a,".repeat(9_999)),
            Statuses(&[201]),
        ),
        (
            "formulas",
            "=cmd|' /C calc'!A0,@SUM(1)\n+1,-1\n".to_owned(),
            Statuses(&[201]),
        ),
        ("NULs", "a,b\n\0,\0\n".to_owned(), unreadable()),
    ] {
        attacks.push(part(
            &format!("CSV: {name}"),
            CSV,
            body.as_bytes(),
            expected,
        ));
    }

    let deep_list = format!(
        "{{\"a\": {}1{}}}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_object = format!("{}1{}\n", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let keys = |count: usize| -> String {
        let members: Vec<String> = (0..count)
            .map(|number| format!("\"k{number}\": 1"))
            .collect();
        format!("{{{}}}\n", members.join(","))
    };
    // Each object has its keys the other way round, so that none is where it was the last time.
    let nested = |from_end: bool| -> String {
        let mut members: Vec<String> = (0..500).map(|number| format!("\"k{number}\": 1")).collect();
        if from_end {
            members.reverse();
        }
        format!("{{\"a\": {{{}}}}}\n", members.join(","))
    };
    let unordered = [nested(false), nested(true)].concat().repeat(100);
    let rows_of_new_keys: String = (0..20_000)
        .map(|number| format!("{{\"k{number}\": 1}}\n"))
        .collect();
    let rows_of_nested_keys: String = (0..20_000)
        .map(|number| format!("{{\"a\": {{\"k{number}\": 1}}}}\n"))
        .collect();
    for (name, body, expected) in [
        ("a list in lists", deep_list, unreadable()),
        ("an object in objects", deep_object, unreadable()),
        ("lists that do not end", "[".repeat(1 << 20), unreadable()),
        (
            "objects that do not end",
            "{\"a\":".repeat(200_000),
            unreadable(),
        ),
        ("a hundred thousand keys", keys(100_000), unreadable()),
        ("a new key in every row", rows_of_new_keys, unreadable()),
        ("nested keys in no order", unordered, Statuses(&[201])),
        (
            "a new nested key in every row",
            rows_of_nested_keys,
            Statuses(&[201]),
        ),
        (
            "one huge text",
            format!("{{\"a\": \"{field}\"}}\n"),
            unreadable(),
        ),
        (
            "a huge number",
            format!("{{\"a\": {}}}\n", "9".repeat(1 << 20)),
            Statuses(&[201]),
        ),
        (
            "a huge exponent",
            "{\"a\": 1e999999999}\n{\"a\": 1e-999999999}\n".to_owned(),
            Statuses(&[201]),
        ),
        (
            "half a surrogate",
            "{\"a\": \"\\ud800\"}\n".to_owned(),
            unreadable(),
        ),
        (
            "a NUL in a name",
            "{\"a\\u0000b\": 1}\n".to_owned(),
            Statuses(&[201]),
        ),
        (
            "an object of the same key",
            format!("{{{}\"a\": 1}}\n", "\"a\": 1,".repeat(100_000)),
            unreadable(),
        ),
    ] {
        attacks.push(part(
            &format!("NDJSON: {name}"),
            NDJSON,
            body.as_bytes(),
            expected,
        ));
    }

    for (name, body, expected) in parquet_files() {
        attacks.push(part(&format!("Parquet: {name}"), PARQUET, &body, expected));
    }
    // 30 KB as sent, and a GB if every row group were looked at before the first is refused.
    let many = 30_000_000;
    let schema = list(1, &[element(None, "root", None)]);
    let groups = [
        &schema[..],
        &[0x16, 0, 0x19],
        &list(many, &[]),
        &vec![0; many],
    ]
    .concat();
    attacks.push(part(
        "Parquet: thirty million row groups of nothing",
        &[("x-file-name", "a.parquet"), ("content-encoding", "gzip")],
        &crate::support::codings::gzip(&footer_alone(&groups)),
        unreadable(),
    ));
    attacks.push(part(
        "a form around a file",
        &[("content-type", "multipart/form-data; boundary=x")],
        b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\na\n1\n\r\n--x--\r\n",
        Refused(422, "unsupported_format"),
    ));
    attacks.push(part(
        "a form without an end",
        &[("content-type", "multipart/form-data")],
        b"--",
        Refused(422, "unsupported_format"),
    ));
    attacks
}

fn parquet_files() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let unreadable = || Refused(422, "format_unreadable");
    let leaf = |name: &str| element(Some(1), name, None);
    let nested = |levels: usize| {
        let mut schema = vec![element(None, "root", Some(1))];
        schema.extend((0..levels).map(|_| element(None, "a", Some(1))));
        schema.push(leaf("a"));
        file(&list(schema.len(), &schema), 0)
    };
    let flat = |columns: usize| {
        let mut schema = vec![element(None, "root", i32::try_from(columns).ok())];
        schema.extend((0..columns).map(|number| leaf(&format!("c{number}"))));
        file(&list(schema.len(), &schema), 0)
    };
    let two = [element(None, "root", Some(1)), leaf("a")];
    let lying = |children: i32| {
        file(
            &list(2, &[element(None, "root", Some(children)), leaf("a")]),
            0,
        )
    };
    vec![
        ("groups in a hundred groups", nested(100), unreadable()),
        (
            "groups in a hundred thousand groups",
            nested(100_000),
            unreadable(),
        ),
        ("a million columns", flat(1_000_000), unreadable()),
        (
            "a schema of two thousand million columns",
            file(&list(2_000_000_000, &two), 0),
            unreadable(),
        ),
        (
            "a group of two thousand million",
            lying(i32::MAX),
            unreadable(),
        ),
        ("a group of less than nothing", lying(-1), unreadable()),
        ("a group of less than there is", lying(0), unreadable()),
        (
            "a second schema behind the first",
            // Field 2, once more.
            footer_alone(
                &[
                    &list(2, &two)[..],
                    &[9, 4],
                    &list(2, &two),
                    &[0x16, 0, 0x19, 0x0c],
                ]
                .concat(),
            ),
            unreadable(),
        ),
        (
            "more rows than there are",
            file(&list(2, &two), i64::MAX),
            unreadable(),
        ),
        (
            "less rows than none",
            file(&list(2, &two), -1),
            unreadable(),
        ),
        (
            "a value of 80 MiB in a few KB",
            zeros(1, 80 << 20),
            Refused(413, "decoded_too_large"),
        ),
        (
            "a MiB two thousand times in each of twelve columns",
            one_value(12, 1 << 20),
            Refused(413, "decoded_too_large"),
        ),
        (
            "a MiB a hundred times in one page",
            zeros(100, 1 << 20),
            Refused(413, "decoded_too_large"),
        ),
    ]
}

/// So many columns of two thousand rows, all of which are one value of so many zeros in a dictionary.
fn one_value(columns: usize, value_bytes: usize) -> Vec<u8> {
    let value: ArrayRef = Arc::new(BinaryArray::from(vec![vec![0; value_bytes].as_slice()]));
    let keys = Int32Array::from(vec![0; 2000]);
    let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, value));
    let columns = (0..columns).map(|number| (format!("c{number}"), column.clone()));
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(2 << 20)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("write");
    let file = writer.into_inner().expect("a file");
    assert!(file.len() < 20 << 10, "{} bytes", file.len());
    file
}

/// Rows of one value of so many zeros.
fn zeros(rows: usize, value_bytes: usize) -> Vec<u8> {
    let value = vec![0; value_bytes];
    let column: ArrayRef = Arc::new(BinaryArray::from(vec![value.as_slice(); rows.min(100)]));
    let batch = RecordBatch::try_from_iter([("a", column)]).expect("a column");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(2 << 20)
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    for _ in 0..rows.div_ceil(100) {
        writer.write(&batch).expect("write");
    }
    let file = writer.into_inner().expect("a file");
    assert!(file.len() < 100 << 10, "{} bytes", file.len());
    file
}

/// A Parquet file without row groups: its schema as Thrift has it, and how many rows it says there are.
fn file(schema: &[u8], rows: i64) -> Vec<u8> {
    let mut fields = [schema, &[0x16]].concat();
    varint(&mut fields, zigzag(rows));
    fields.extend_from_slice(&[0x19, 0x0c]);
    footer_alone(&fields)
}

/// A Parquet file that is nothing but a footer, with what follows the header of its schema's list.
fn footer_alone(fields: &[u8]) -> Vec<u8> {
    let footer = [&[0x15, 2, 0x19], fields, &[0]].concat();
    let length = u32::try_from(footer.len()).expect("a footer");
    [b"PAR1", &footer[..], &length.to_le_bytes(), b"PAR1"].concat()
}

/// A Thrift list of structs, which says that it has `count`.
fn list(count: usize, elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0xfc];
    varint(&mut bytes, count as u64);
    bytes.extend(elements.iter().flatten());
    bytes
}

/// A schema's element: a column's physical type, or the number of a group's children.
fn element(kind: Option<i32>, name: &str, children: Option<i32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(kind) = kind {
        bytes.push(0x15);
        varint(&mut bytes, zigzag(i64::from(kind)));
    }
    // Optional.
    bytes.extend_from_slice(&[if kind.is_some() { 0x25 } else { 0x35 }, 2, 0x18]);
    varint(&mut bytes, name.len() as u64);
    bytes.extend_from_slice(name.as_bytes());
    if let Some(children) = children {
        bytes.push(0x15);
        varint(&mut bytes, zigzag(i64::from(children)));
    }
    bytes.push(0);
    bytes
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}
