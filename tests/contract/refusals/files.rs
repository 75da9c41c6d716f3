//! Files that cannot be read, or have no place in a table.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, IntervalYearMonthArray, RecordBatch, TimestampNanosecondArray,
};
use calve::error::ErrorCode;
use parquet::arrow::ArrowWriter;

use super::Refusals;
use crate::support::client::{AS_CSV, AS_NDJSON, AS_PARQUET, Api, Headers};
use crate::support::codings::gzip;
use crate::support::server::TestServer;

pub(super) fn note(found: &mut Refusals) {
    let server = TestServer::start_with(&[
        ("CALVE_PARTS__WIRE_BYTES_MAX", "64KiB"),
        ("CALVE_PARTS__DECODED_BYTES_MAX", "128KiB"),
        ("CALVE_PARTS__COLUMNS_MAX", "4"),
        ("CALVE_PARTS__FIELD_BYTES_MAX", "100B"),
        ("CALVE_PARTS__PARQUET_CONTENT_BYTES_MAX", "256KiB"),
    ]);
    let api = server.api();
    csv(found, &api);
    json(found, &api);
    compressed(found, &api);
    parquet(found, &api);
}

#[track_caller]
fn refused(
    found: &mut Refusals,
    api: &Api,
    code: ErrorCode,
    asked: &str,
    body: &[u8],
    headers: Headers,
) {
    let session = api.open_session();
    found.note(code, asked, &api.put_part(&session, 3, body, headers));
}

fn csv(found: &mut Refusals, api: &Api) {
    let long = "x".repeat(101);
    let wide = "a,b,c,d,e\n1,2,3,4,5\n";
    let cases: [(&str, Vec<u8>); 8] = [
        (
            "CSV with a row of more values",
            b"id,city\n1,Bern\n2,Oslo,709037\n".to_vec(),
        ),
        (
            "CSV with a row of one field",
            b"id,city,area\n1,Bern,51.62\nTotal\n2,Oslo,480.75\n".to_vec(),
        ),
        (
            "CSV with a quote that never closes",
            b"id,city\n1,\"Bern\n2,Oslo\n".to_vec(),
        ),
        ("CSV with a NUL byte", b"id,city\n1,Be\0rn\n".to_vec()),
        (
            "CSV that is not UTF-8",
            b"id,city\n1,\xc3\xa9\n2,\xe9\n".to_vec(),
        ),
        (
            "CSV with a byte that no encoding has",
            b"id,city\n1,\x81\n".to_vec(),
        ),
        (
            "CSV with a field beyond the limit",
            format!("id,city\n1,{long}\n").into_bytes(),
        ),
        (
            "CSV with more columns than are allowed",
            wide.as_bytes().to_vec(),
        ),
    ];
    for (asked, body) in cases {
        refused(
            found,
            api,
            ErrorCode::FormatUnreadable,
            asked,
            &body,
            AS_CSV,
        );
    }
    let long = format!("a\n{}", "1\n".repeat(40_000));
    refused(
        found,
        api,
        ErrorCode::PartTooLarge,
        "a part of more bytes than are allowed",
        long.as_bytes(),
        AS_CSV,
    );
}

fn json(found: &mut Refusals, api: &Api) {
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(200));
    let cases: [(&str, &[u8]); 11] = [
        ("NDJSON with a trailing comma", b"{\"a\":1}\n{\"a\":2,}\n"),
        ("NDJSON with NaN", b"{\"a\":1}\n{\"a\":NaN}\n"),
        (
            "NDJSON with a line that is no object",
            b"{\"a\":1}\n[1,2]\n",
        ),
        ("NDJSON with a line that was cut", b"{\"a\":1}\n{\"a\":\"x"),
        (
            "NDJSON with half of a surrogate pair",
            b"{\"a\":\"\\ud800\"}\n",
        ),
        ("NDJSON with a control character", b"{\"a\":\"\x01\"}\n"),
        ("NDJSON that is not UTF-8", b"{\"a\":\"\xe9\"}\n"),
        (
            "NDJSON with more keys than are allowed",
            b"{\"a\":1,\"b\":2,\"c\":3}\n{\"d\":4,\"e\":5}\n",
        ),
        ("NDJSON with a line beyond the limit", long.as_bytes()),
        ("a JSON array that was cut", b"[{\"a\":1},\n{\"a\":2}"),
        ("a JSON array of numbers", b"[1,2]"),
    ];
    for (asked, body) in cases {
        refused(
            found,
            api,
            ErrorCode::FormatUnreadable,
            asked,
            body,
            AS_NDJSON,
        );
    }
    refused(
        found,
        api,
        ErrorCode::FormatUnreadable,
        "JSON objects without a key",
        b"{}\n{}\n",
        AS_NDJSON,
    );
}

fn compressed(found: &mut Refusals, api: &Api) {
    let whole = gzip(b"a,b\n1,2\n");
    let headers: Headers = &[("x-file-name", "a.csv"), ("content-encoding", "gzip")];
    let cut = &whole[..whole.len() - 4];
    refused(
        found,
        api,
        ErrorCode::FormatUnreadable,
        "a gzip body that was cut",
        cut,
        headers,
    );
    let text = b"a,b\n1,2\n";
    refused(
        found,
        api,
        ErrorCode::FormatUnreadable,
        "a gzip body that is none",
        text,
        headers,
    );
    let longer = gzip(&[b"a\n".to_vec(), b"1\n".repeat(100_000)].concat());
    refused(
        found,
        api,
        ErrorCode::DecodedTooLarge,
        "a body that decodes to more than is allowed",
        &longer,
        headers,
    );
}

fn parquet(found: &mut Refusals, api: &Api) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let sound = parquet_file("n", numbers.clone());
    let unreadable: [(&str, Vec<u8>); 5] = [
        (
            "a Parquet file that was cut",
            sound[..sound.len() - 20].to_vec(),
        ),
        (
            "a Parquet file whose start is missing",
            sound[20..].to_vec(),
        ),
        (
            "a Parquet file with a footer length that is a lie",
            with_bytes(&sound, sound.len() - 8, &[0xff; 4]),
        ),
        (
            "a Parquet file with a damaged page header",
            with_bytes(&sound, 4, &[0xff; 8]),
        ),
        ("a Parquet file that is text", b"id,city\n1,Bern\n".to_vec()),
    ];
    for (asked, body) in unreadable {
        refused(
            found,
            api,
            ErrorCode::FormatUnreadable,
            asked,
            &body,
            AS_PARQUET,
        );
    }
    let nameless = parquet_file("", numbers);
    refused(
        found,
        api,
        ErrorCode::FormatUnreadable,
        "a Parquet column without a name",
        &nameless,
        AS_PARQUET,
    );
    let months: ArrayRef = Arc::new(IntervalYearMonthArray::from_iter_values([1, 2]));
    let months = parquet_file("age", months);
    refused(
        found,
        api,
        ErrorCode::UnsupportedType,
        "a Parquet column of intervals",
        &months,
        AS_PARQUET,
    );
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values([1000, 1001]));
    let nanos = parquet_file("at", nanos);
    refused(
        found,
        api,
        ErrorCode::ValueNotCastable,
        "a Parquet timestamp with nanoseconds",
        &nanos,
        AS_PARQUET,
    );
    let many: ArrayRef = Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(
        7, 100_000,
    )));
    let many = parquet_file("n", many);
    refused(
        found,
        api,
        ErrorCode::DecodedTooLarge,
        "a Parquet file of more content than is allowed",
        &many,
        AS_PARQUET,
    );
}

pub(super) fn parquet_file(column: &str, array: ArrayRef) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([(column, array)]).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written to memory");
    writer.close().expect("written to memory");
    bytes
}

fn with_bytes(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = file.to_vec();
    (&mut changed[at..])
        .write_all(bytes)
        .expect("inside of the file");
    changed
}
