//! The grammar case by case, errors by their place, and the round trip through small reads and
//! small buffers.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::ingest::FormatErrorKind;
use crate::schema::evidence::CellKind::{Null, Plain, Quoted};

const COMMAS: Dialect = Dialect::standard(b',');
const LIMITS: CsvLimits = CsvLimits {
    columns_max: 8,
    field_bytes_max: 1000,
};

/// Gives 1 to 7 bytes a read, and is interrupted now and then.
pub(crate) struct DripReader<'a> {
    bytes: &'a [u8],
    turn: usize,
}

impl<'a> DripReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], turn: usize) -> Self {
        Self { bytes, turn }
    }
}

impl Read for DripReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = (self.turn * 3 % 7 + 1)
            .min(buffer.len())
            .min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

type Cells = Vec<Vec<(CellKind, String)>>;

fn rows_of<R: Read>(mut reader: CsvReader<R>) -> Result<(Vec<String>, Cells), FormatError> {
    let (mut batch, mut rows) = (RawBatch::default(), Cells::new());
    while reader.next_batch(&mut batch)? {
        assert_eq!(batch.first_row, rows.len() as u64 + 1);
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
    assert!(
        batch.row_count == 0 && !reader.next_batch(&mut batch)?,
        "the end stays the end"
    );
    Ok((reader.columns().to_vec(), rows))
}

/// Reads whole, and through every kind of boundary; all must agree.
fn read(bytes: &[u8]) -> Result<(Vec<String>, Cells), FormatError> {
    let whole = CsvReader::new(bytes, COMMAS, LIMITS).and_then(rows_of);
    for buffer_bytes in [10, 11, 13, 64] {
        let dripped = CsvReader::with_buffer_bytes(
            DripReader::new(bytes, buffer_bytes),
            COMMAS,
            LIMITS,
            buffer_bytes,
        )
        .and_then(rows_of);
        match (&whole, &dripped) {
            // The excerpt of a field that is not complete depends on how much of it was at hand.
            (Err(one), Err(two)) => {
                let value = one.value.clone();
                assert_eq!(
                    &FormatError {
                        value,
                        ..two.clone()
                    },
                    one,
                    "buffer of {buffer_bytes}"
                );
            }
            _ => assert_eq!(dripped, whole, "buffer of {buffer_bytes}"),
        }
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
fn records_and_fields() {
    let one_two: &[&[(CellKind, &str)]] = &[&[(Plain, "1"), (Plain, "2")]];
    for text in [
        "a,b\n1,2\n",
        "a,b\n1,2",
        "a,b\r\n1,2\r\n",
        "a,b\r1,2\r",
        "\u{FEFF}a,b\n1,2",
        "\n\r\n\ra,b\n\n\r\n1,2\n\n",
    ] {
        check(text, &["a", "b"], one_two);
    }
    check(
        "\u{FEFF}\"a\",\"b\"\r\n\"1\",\"2\"",
        &["a", "b"],
        &[&[(Quoted, "1"), (Quoted, "2")]],
    );
    check("a,b\n,\"\"\n", &["a", "b"], &[&[(Null, ""), (Quoted, "")]]);
    check(
        "a,b\n\"x\"\"\r\n,y\",\"\"\"\"\n",
        &["a", "b"],
        &[&[(Quoted, "x\"\r\n,y"), (Quoted, "\"")]],
    );
    check(
        "a,b\nx\"y\", \"z\"\n",
        &["a", "b"],
        &[&[(Plain, "x\"y\""), (Quoted, "z")]],
    );
    check(
        "a\n1\n\n\r\n2\n",
        &["a"],
        &[
            &[(Plain, "1")],
            &[(Null, "")],
            &[(Null, "")],
            &[(Plain, "2")],
        ],
    );
    // The LF of a CRLF is taken once: the next LF is a blank line of its own.
    check(
        "a\n\r\n\n\n2\n",
        &["a"],
        &[&[(Null, "")], &[(Null, "")], &[(Null, "")], &[(Plain, "2")]],
    );
    check(
        "a,b\né€😀,ü",
        &["a", "b"],
        &[&[(Plain, "é€😀"), (Plain, "ü")]],
    );
    check("a,b\n1,", &["a", "b"], &[&[(Plain, "1"), (Null, "")]]);
    for empty in ["", "\u{FEFF}", "\n\n", "\r\n"] {
        check(empty, &[], &[]);
    }
    check("a,,a", &["a", "column_2", "a_2"], &[]);
}

#[test]
fn changed_names_are_reported() {
    let reader = CsvReader::new(&b"a,,a"[..], COMMAS, LIMITS).unwrap();
    let columns: Vec<_> = reader
        .issues()
        .into_iter()
        .filter_map(|issue| issue.column)
        .collect();
    assert_eq!(columns, ["column_2", "a_2"]);
}

#[test]
fn other_delimiters() {
    let dialect = Dialect {
        quote: Some(b'\''),
        ..Dialect::standard(b'\t')
    };
    let (columns, rows) = CsvReader::new(&b"a\tb\n'1\t\"'\t2,3"[..], dialect, LIMITS)
        .and_then(rows_of)
        .unwrap();
    assert_eq!(columns, ["a", "b"]);
    assert_eq!(
        rows,
        [[(Quoted, "1\t\"".to_owned()), (Plain, "2,3".to_owned())]]
    );
}

#[test]
fn errors_name_the_place() {
    let table: &[(&[u8], &str)] = &[
        (
            b"a,b,c\n1,2,3\n3\n",
            "row 2, line 3: the row has 1 field, but the header has 3 columns",
        ),
        (
            b"a,b\n\n\"x\ny\",2\n1,2,3\n",
            "row 2, line 5: the row has 3 fields, but the header has 2 columns",
        ),
        (
            b"a,b\n1,\"x\r\ny",
            "row 1, line 2, column `b`, value `x\\r\\ny`: the file ends inside of a quoted field",
        ),
        (
            b"a,b\n1,x\xFFy\n",
            "row 1, line 2, column `b`, byte 7, value `x\u{FFFD}y`: the byte 0xFF is not valid UTF-8",
        ),
        (
            b"a,b\n1,\"\"\"\xC3\"\n",
            "row 1, line 2, column `b`, byte 9, value `\"\u{FFFD}`: the byte 0xC3 is not",
        ),
        (
            b"a,b\n1,x\0\n",
            "row 1, line 2, column `b`, byte 7, value `x\\0`: a NUL byte is not text",
        ),
        (b"\xFF\xFEa\0", "line 1, column `column 1`, byte 0"),
        (
            b"1,2,3,4,5,6,7,8,9\n",
            "line 1: the header has more than the 8 columns",
        ),
    ];
    for (bytes, expected) in table {
        let error = read(bytes).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.starts_with(expected), "{sentence}");
    }
    let cut = read(b"a\n\"x").unwrap_err();
    assert!(
        cut.reason.contains("splits a file at newline bytes")
            && cut.reason.contains("send the file whole")
    );
}

#[test]
fn limits_hold_before_the_field_is_stored() {
    for (head, kind) in [
        ("a\n", FormatErrorKind::FieldTooLarge),
        ("a\n\"", FormatErrorKind::FieldTooLarge),
    ] {
        let endless = Read::chain(head.as_bytes(), io::repeat(b'x'));
        let mut reader = CsvReader::with_buffer_bytes(endless, COMMAS, LIMITS, 64).unwrap();
        let error = reader.next_batch(&mut RawBatch::default()).unwrap_err();
        assert_eq!((error.kind, error.row), (kind, Some(1)));
        assert!(reader.scratch.capacity() <= 2048);
    }
    let columns = CsvReader::with_buffer_bytes(io::repeat(b','), COMMAS, LIMITS, 64)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(columns.kind, FormatErrorKind::TooManyColumns);
    let exactly = format!("a\n{0}\n\"{0}\"\n", "x".repeat(1000));
    assert_eq!(read(exactly.as_bytes()).unwrap().1.len(), 2);
}

#[test]
fn a_failing_read_is_passed_on() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(FormatError::new(
                FormatErrorKind::DecodedTooLarge,
                "too much",
            )))
        }
    }
    for head in ["a,b\n1,", "a,b\n1,\"x", "a,b\n", "a,\"b\""] {
        let mut batch = RawBatch::default();
        let error = CsvReader::new(Read::chain(head.as_bytes(), Failing), COMMAS, LIMITS)
            .and_then(|mut reader| reader.next_batch(&mut batch))
            .unwrap_err();
        assert_eq!(
            (error.kind, error.reason.as_str()),
            (FormatErrorKind::DecodedTooLarge, "too much")
        );
        assert_eq!(batch.row_count, 0);
    }
}

#[test]
fn batches_end_by_rows_and_by_bytes() {
    let many = format!("a\n{}", "1\n".repeat(20_000));
    let mut reader = CsvReader::new(many.as_bytes(), COMMAS, LIMITS).unwrap();
    let mut batch = RawBatch::default();
    let mut sizes = Vec::new();
    while reader.next_batch(&mut batch).unwrap() {
        sizes.push((batch.first_row, batch.row_count));
    }
    assert_eq!(sizes, [(1, 8192), (8193, 8192), (16385, 3616)]);
    let long = format!("a\n{}", format!("{}\n", "x".repeat(1000)).repeat(4000));
    let mut reader = CsvReader::new(long.as_bytes(), COMMAS, LIMITS).unwrap();
    reader.next_batch(&mut batch).unwrap();
    assert_eq!(batch.row_count, (2usize << 20).div_ceil(1000));
}

/// A table of 1 to 5 columns, whose cells are quoted or not.
fn any_table() -> impl Strategy<Value = Vec<Vec<(bool, String)>>> {
    let cell = (
        any::<bool>(),
        prop_oneof!["[a\",;\r\n é😀]{0,9}", "[a-z]{0,3}", "\\PC{0,12}"],
    );
    (1usize..=5).prop_flat_map(move |width| {
        proptest::collection::vec(proptest::collection::vec(cell.clone(), width), 0..6)
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        table in any_table(),
        newline in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        buffer_bytes in 3usize..40,
        turn in 0usize..7,
        newline_at_end in any::<bool>(),
    ) {
        let width = table.first().map_or(1, Vec::len);
        let mut expected = Cells::new();
        let header: Vec<String> = (0..width).map(|column| format!("c{column}")).collect();
        let mut lines = vec![header.join(",")];
        for row in &table {
            let must_quote = |text: &str| text.contains(['"', ',', '\n', '\r']);
            // An empty line at the end would be no row at all.
            let cells: Vec<(CellKind, String)> = row
                .iter()
                .map(|(quoted, text)| match (*quoted || must_quote(text) || width == 1, text.is_empty()) {
                    (true, _) => (Quoted, text.clone()),
                    (false, true) => (Null, String::new()),
                    (false, false) => (Plain, text.clone()),
                })
                .collect();
            let written: Vec<String> = cells
                .iter()
                .map(|(kind, text)| if *kind == Quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.clone() })
                .collect();
            lines.push(written.join(","));
            expected.push(cells);
        }
        let text = lines.join(newline) + if newline_at_end { newline } else { "" };
        let reader = CsvReader::with_buffer_bytes(DripReader::new(text.as_bytes(), turn), COMMAS,
            LIMITS, buffer_bytes);
        let (columns, rows) = reader.and_then(rows_of).unwrap();
        prop_assert_eq!(&columns, &header);
        prop_assert_eq!(&rows, &expected);
        let whole = CsvReader::new(text.as_bytes(), COMMAS, LIMITS).and_then(rows_of).unwrap();
        prop_assert_eq!(whole, (columns, rows));
    }

    #[test]
    fn any_bytes_are_read_or_refused_alike_at_every_boundary(bytes in "[ab\",\r\n\u{0}é]{0,30}", cut in 0usize..30) {
        let bytes = bytes.as_bytes();
        // Cuts a character in two now and then.
        let _ = read(&bytes[..cut.min(bytes.len())]);
    }
}

/// Found by the fuzzer: without a header nobody counted the columns.
#[test]
fn a_part_without_a_header_may_not_have_more_columns_either() {
    let columns = |count| Dialect {
        header_rows: 0,
        columns: Some(count),
        ..COMMAS
    };
    let wide = ",".repeat(LIMITS.columns_max);
    let refused = CsvReader::new(wide.as_bytes(), columns(LIMITS.columns_max + 1), LIMITS);
    let error = refused.err().unwrap();
    assert_eq!(error.kind, FormatErrorKind::TooManyColumns);
    let reader = CsvReader::new(&wide.as_bytes()[1..], columns(LIMITS.columns_max), LIMITS);
    assert_eq!(reader.unwrap().columns().len(), LIMITS.columns_max);
}

/// Found by the attacks: a part of one line took minutes of a core, a look at its end for each line to be skipped.
#[test]
fn no_more_lines_are_skipped_than_there_are() {
    for (text, skipped_lines, columns) in [("a\nb\n", u64::MAX, 0), ("a\r\nb,c", 1, 2), ("", 5, 0)]
    {
        let dialect = Dialect {
            skipped_lines,
            ..COMMAS
        };
        let reader = CsvReader::new(text.as_bytes(), dialect, LIMITS).unwrap();
        assert_eq!(reader.columns().len(), columns, "{text:?}");
    }
}
