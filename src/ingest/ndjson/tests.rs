//! Values and layouts case by case, errors by their place, growth of columns, and small reads.

use proptest::prelude::*;

use super::*;
use crate::ingest::csv::tests::DripReader;
use crate::schema::evidence::CellKind;
use crate::schema::evidence::CellKind::{JsonBool, JsonNested, JsonNumber, JsonString, Null};

const OPTIONS: NdjsonOptions = NdjsonOptions {
    columns_max: 6,
    field_bytes_max: 200,
    line_bytes_max: 1000,
};

type Cells = Vec<Vec<(CellKind, String)>>;

/// All rows, those of earlier batches filled up as a caller does it.
fn rows_of<R: Read>(mut reader: NdjsonReader<R>) -> Result<(Vec<String>, Cells), FormatError> {
    let (mut batch, mut rows) = (RawBatch::default(), Cells::new());
    while reader.next_batch(&mut batch)? {
        assert_eq!(batch.first_row, rows.len() as u64 + 1);
        assert_eq!(batch.columns.len(), reader.columns().len());
        assert!(
            batch
                .columns
                .iter()
                .all(|column| column.len() == batch.row_count)
        );
        rows.extend((0..batch.row_count).map(|row| {
            batch
                .columns
                .iter()
                .map(|column| column.get(row))
                .map(|(kind, text)| (kind, text.to_owned()))
                .collect()
        }));
    }
    let columns = reader.columns().to_vec();
    for row in &mut rows {
        row.resize(columns.len(), (Null, String::new()));
    }
    Ok((columns, rows))
}

fn read(bytes: &[u8]) -> Result<(Vec<String>, Cells), FormatError> {
    let whole = NdjsonReader::new(bytes, OPTIONS).and_then(rows_of);
    // How the first object is written is told only if the buffer holds it.
    let is_told = scan::breaks_lines(bytes.trim_ascii_start());
    let least_bytes = if is_told { bytes.len() } else { 0 };
    for drip_bytes in [3, 4, 5, 7, 64] {
        let drip = DripReader::new(bytes, drip_bytes);
        let buffer_bytes = drip_bytes.max(least_bytes);
        let dripped =
            NdjsonReader::with_buffer_bytes(drip, OPTIONS, buffer_bytes).and_then(rows_of);
        assert_eq!(dripped, whole, "buffer of {buffer_bytes}");
    }
    whole
}

#[track_caller]
fn check(text: &str, columns: &[&str], rows: &[&[(CellKind, &str)]]) {
    let (found_columns, found_rows) = read(text.as_bytes()).unwrap();
    assert_eq!(found_columns, columns, "{text:?}");
    let found: Vec<Vec<_>> = found_rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|(kind, text)| (*kind, text.as_str()))
                .collect()
        })
        .collect();
    assert_eq!(found, rows, "{text:?}");
}

#[test]
fn values_become_cells() {
    check(
        r#"{"a": "x\n\ud83d\ude00", "b":-1.50e+3, "c" :true,"d":null,"e": {"k" : [1]} , "f":"" }"#,
        &["a", "b", "c", "d", "e", "f"],
        &[&[
            (JsonString, "x\n😀"),
            (JsonNumber, "-1.50e+3"),
            (JsonBool, "true"),
            (Null, ""),
            (JsonNested, "{\"k\" : [1]}"),
            (JsonString, ""),
        ]],
    );
    check(
        "{\"a\":12345678901234567890123}",
        &["a"],
        &[&[(JsonNumber, "12345678901234567890123")]],
    );
    check("{\"a\":1e999}", &["a"], &[&[(JsonNumber, "1e999")]]);
    check(
        "{\"a\":[1e999,{\"b\":1,\"b\":2}]}",
        &["a"],
        &[&[(JsonNested, "[1e999,{\"b\":1,\"b\":2}]")]],
    );
    check(
        "{\"\\u0061\":1}\n{\"a\":2}",
        &["a"],
        &[&[(JsonNumber, "1")], &[(JsonNumber, "2")]],
    );
}

#[test]
fn lines_and_arrays() {
    let rows: &[&[(CellKind, &str)]] = &[
        &[(JsonNumber, "1"), (Null, "")],
        &[(Null, ""), (JsonString, "}],")],
        &[(Null, ""), (Null, "")],
    ];
    for text in [
        "{\"a\":1}\n{\"b\":\"}],\"}\n{}\n",
        "\u{FEFF}\n{\"a\":1}\r\n \t\n{\"b\":\"}],\"}\r\n  {}",
        "[{\"a\":1},{\"b\":\"}],\"},{}]",
        " [\n  {\n \"a\": 1\n },\n {\"b\" :\"}],\"}\n , {} ] \n",
    ] {
        check(text, &["a", "b"], rows);
    }
    for empty in ["", "\u{FEFF}", "\n \r\n", "[]", "[ ]\n"] {
        check(empty, &[], &[]);
    }
    check("{}\n{}", &[], &[&[], &[]]);
}

fn check_errors(table: &[(&[u8], &str)]) {
    for (bytes, expected) in table {
        let error = read(bytes).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.starts_with(expected),
            "{}: {sentence}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn errors_name_the_place() {
    let table: &[(&[u8], &str)] = &[
        (
            b"{\"a\":1}\n\n5\n",
            "row 2, line 3, value `5`: expected a JSON object, found a number",
        ),
        (
            b"{\"a\":1}\n[1]\n",
            "row 2, line 2, value `[1]`: expected a JSON object, found an array",
        ),
        (
            b"null",
            "row 1, line 1, value `null`: expected a JSON object, found null",
        ),
        (
            b"a,b\n1,2\n",
            "row 1, line 1, value `a,b`: expected a JSON object, found text that is not JSON",
        ),
        (b"{\"a\":1}\n{\"b\":tru}\n", "row 2, line 2, byte 16"),
    ];
    check_errors(table);
}

#[test]
fn errors_between_records_name_the_place() {
    let table: &[(&[u8], &str)] = &[
        (
            b"{\"a\":1\n{\"a\":1}\n",
            "row 1, line 1, byte 5, value `{\"a\":1`: the line, or the file, ends inside",
        ),
        (
            b"{\"a\":1}\n{\"a\":1} {\"b\":1}\n",
            "row 2, line 2, byte 16",
        ),
        (
            b"{\n\"a\":1}\n5",
            "row 2, line 3, byte 9: after an object stands",
        ),
        (b"{\n\"a\":1,\n\"b\":x}\n", "row 1, line 3, byte 13"),
        (b"{\n\"a\":1", "row 1, line 2, byte"),
        (b"{\"a\":1,}\n", "row 1, line 1, byte 7"),
        (b"{\"a\":NaN}\n", "row 1, line 1, byte 5"),
        (b"{\"a\":01}\n", "row 1, line 1, byte 6"),
        (
            b"{\"a\":\"\\ud83d\"}\n",
            "row 1, line 1, column `a`, value `\"\\ud83d\"`: a \\u escape is half of a surrogate pair",
        ),
        (
            b"{\"a\":[\"\\ud83d\"]}\n",
            "row 1, line 1, column `a`, value `[\"\\ud83d\"]`: a \\u escape is half",
        ),
        (b"{\"\\ud83d\":1}\n", "row 1, line 1, byte"),
        (b"{\"a\":\"x\ty\"}\n", "row 1, line 1, byte"),
        (
            b"{\"a\":\"\xFF\"}\n",
            "row 1, line 1, byte 6: the line holds bytes that are not valid UTF-8",
        ),
        (b"{\"a\":\"\0\"}\n", "row 1, line 1: a NUL byte"),
        (b"[{\"a\":1},\n{\"a\":,}]", "row 2, line 2, byte 15"),
        (
            b"[{\"a\":1},\n 5]",
            "row 2, line 2, byte 11: an element of the JSON array is not an object",
        ),
        (b"[{\"a\":1}\n {}]", "row 2, line 2, byte 10: a comma"),
        (b"[{\"a\":1},]", "row 2, line 1, byte 9: an element"),
        (
            b"[{\"a\":1},",
            "row 2, line 1, byte 9: the file ends inside of the JSON array",
        ),
        (
            b"[{\"a\":1}",
            "row 2, line 1, byte 8: the file ends inside of the JSON array",
        ),
        (b"[{\"a\":1", "row 1, line 1, byte 6"),
        (b"[{}] x", "row 2, line 1, byte 5: something follows"),
        (b"[{\"a\":1,\n\n\"b\":x}]", "row 1, line 3, byte"),
    ];
    check_errors(table);
}

#[test]
fn keys_that_are_no_names_lose_nothing() {
    check(
        "{\"a\":1}\n{\"a\":2,\"a\":3,\"a_2\":4,\"a\":5}\n{\"a_2\":6}",
        &["a", "a_2", "a_2_2", "a_3"],
        &[
            &[(JsonNumber, "1"), (Null, ""), (Null, ""), (Null, "")],
            &[
                (JsonNumber, "2"),
                (JsonNumber, "3"),
                (JsonNumber, "4"),
                (JsonNumber, "5"),
            ],
            &[(Null, ""), (Null, ""), (JsonNumber, "6"), (Null, "")],
        ],
    );
    check(
        "{\"\":1,\"column_1\":2,\"\":3}",
        &["column_1", "column_1_2", "column_3"],
        &[&[(JsonNumber, "1"), (JsonNumber, "2"), (JsonNumber, "3")]],
    );
    let mut reader = NdjsonReader::new(&b"{\"\":1,\"b\":2,\"b\":3}"[..], OPTIONS).unwrap();
    assert!(reader.next_batch(&mut RawBatch::default()).unwrap());
    let told: Vec<String> = reader
        .issues()
        .into_iter()
        .filter_map(|issue| issue.column)
        .collect();
    assert_eq!(told, ["column_1", "b_2"]);
}

#[test]
fn a_hundred_thousand_brackets_are_refused() {
    for bracket in ["[", "{\"a\":"] {
        let deep = bracket.repeat(100_000);
        let wide = NdjsonOptions {
            field_bytes_max: 1 << 20,
            line_bytes_max: 1 << 20,
            ..OPTIONS
        };
        for text in [
            deep.clone(),
            format!("{{\"a\":{deep}"),
            format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            let refused = NdjsonReader::new(text.as_bytes(), wide).and_then(rows_of);
            assert_eq!(refused.unwrap_err().row, Some(1));
        }
    }
}

#[test]
fn limits() {
    let keys: Vec<String> = (0..7).map(|key| format!("\"k{key}\":1")).collect();
    let table = [
        (
            format!("{{{}}}", keys.join(",")),
            FormatErrorKind::TooManyColumns,
        ),
        (
            format!("{{\"a\":\"{}\"}}", "x".repeat(201)),
            FormatErrorKind::FieldTooLarge,
        ),
        (
            format!("{{\"a\":1{}}}", " ".repeat(1000)),
            FormatErrorKind::FieldTooLarge,
        ),
        (
            format!("[{{\"a\":1{}}}]", " ".repeat(1000)),
            FormatErrorKind::FieldTooLarge,
        ),
        (
            format!("{{\"{}\":1}}", "k".repeat(256)),
            FormatErrorKind::Malformed,
        ),
        (
            format!("{{\"a\":{}1{}}}", "[".repeat(101), "]".repeat(101)),
            FormatErrorKind::Malformed,
        ),
    ];
    for (text, kind) in table {
        let error = read(text.as_bytes()).unwrap_err();
        assert_eq!((error.kind, error.row), (kind, Some(1)), "{error}");
    }
    let mut endless =
        NdjsonReader::with_buffer_bytes(Read::chain(&b"{"[..], std::io::repeat(b' ')), OPTIONS, 64)
            .unwrap();
    assert!(endless.next_batch(&mut RawBatch::default()).is_err());
    assert!(endless.record.capacity() <= 2048);
}

#[test]
fn a_row_that_would_widen_the_batch_too_far_waits_for_the_next() {
    let options = NdjsonOptions {
        columns_max: 5000,
        line_bytes_max: 1 << 20,
        ..OPTIONS
    };
    let narrow = "{\"a\":1}\n".repeat(4000);
    let wide: Vec<String> = (0..2000).map(|key| format!("\"k{key}\":{key}")).collect();
    let text = format!("{narrow}{{{}}}\n{{\"a\":2}}\n", wide.join(","));
    let mut reader = NdjsonReader::new(text.as_bytes(), options).unwrap();
    let mut batch = RawBatch::default();
    assert!(reader.next_batch(&mut batch).unwrap());
    assert_eq!(
        (batch.row_count, batch.columns.len(), reader.columns().len()),
        (4000, 1, 1)
    );
    assert!(reader.next_batch(&mut batch).unwrap());
    assert_eq!(
        (batch.first_row, batch.row_count, batch.columns.len()),
        (4001, 2, 2001)
    );
    assert_eq!(
        batch.columns[0].iter().collect::<Vec<_>>(),
        [(Null, ""), (JsonNumber, "2")]
    );
    assert_eq!(
        batch.columns[2000].iter().collect::<Vec<_>>(),
        [(JsonNumber, "1999"), (Null, "")]
    );
    assert!(!reader.next_batch(&mut batch).unwrap());
}

#[test]
fn objects_need_no_line_of_their_own() {
    let rows: &[&[(CellKind, &str)]] = &[
        &[(JsonNumber, "1"), (Null, "")],
        &[(JsonNumber, "2"), (JsonString, "}\n{")],
    ];
    let texts = [
        "{\n  \"a\": 1\n}\n{\n  \"a\": 2,\n  \"b\": \"}\\n{\"\n}\n",
        "{\"a\":1}{\"a\":2,\"b\":\"}\\n{\"}",
        "{\"a\":1} {\"a\":2,\"b\":\"}\\n{\"}\n\n",
        "{\"a\":1}\r{\"a\":2,\"b\":\"}\\n{\"}\r",
        " \n{\"a\"\n:1}\n\n{\"a\":2,\n\"b\":\"}\\n{\"}",
    ];
    for text in texts {
        check(text, &["a", "b"], rows);
    }
}

/// What is read of one text is what serde_json reads of it, which has no limits and takes no empty part.
fn assert_like_serde_json(text: &str) {
    if text.trim_start().starts_with('[') || text.trim().is_empty() {
        return;
    }
    let objects = serde_json::Deserializer::from_str(text);
    let objects = objects.into_iter::<serde_json::Map<String, serde_json::Value>>();
    let oracle = objects.collect::<Result<Vec<_>, _>>();
    match (read(text.as_bytes()), oracle) {
        (Ok((_, rows)), Ok(objects)) => assert_eq!(objects.len(), rows.len(), "{text}"),
        (Ok(_), Err(_)) => assert!(text.contains('e'), "{text}"),
        // Only a key that stands twice may be refused here and taken there.
        (Err(_), Ok(_)) => assert!(text.matches("\":").count() > 1, "{text}"),
        (Err(_), Err(_)) => {}
    }
}

#[test]
fn objects_without_anything_between_them_are_two() {
    assert_like_serde_json("{}{}");
    assert_like_serde_json("{\"a\":}{}");
}

proptest! {
    #[test]
    fn strings_are_read_back(texts in proptest::collection::vec("[\\PC\"\\\\\n\t\u{0}😀]{0,12}", 0..6), as_array in any::<bool>()) {
        let objects: Vec<String> = texts.iter().map(|text| serde_json::json!({ "a": text }).to_string()).collect();
        let text = if as_array { format!("[{}]", objects.join(",")) } else { objects.join("\n") };
        let (_, rows) = read(text.as_bytes()).unwrap();
        let expected: Cells = texts.iter().map(|text| vec![(JsonString, text.clone())]).collect();
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads(line in "[{}\\[\\]\":,a1e\\\\u. -]{0,20}", tail in "(1|\"a\"|[1]|\\{\\}|tru|-)[ ,}]{0,2}") {
        for text in [line.clone(), format!("{{{line}}}"), format!("{{\"a\":{tail}}}"), format!("{{\"a\":{line}}}")] {
            assert_like_serde_json(&text);
        }
    }
}
