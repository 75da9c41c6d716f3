//! The hot pieces one by one, each on one thread: `cargo bench --bench pieces [-- NAME]`. Compare runs of the same minute only.
//!
//! Text is that of `calve bench`. Throughput is of its bytes, also where a piece works on cells that another read from it.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, TimeUnit};
use calve::bench::parts::{Coding, Format, Recipe};
use calve::clock::{Clock, SystemClock};
use calve::config::PartsConfig;
use calve::domain::part::{self, PackPlace};
use calve::domain::{PartKind, PartNumber, PartRecord, Session, SessionId};
use calve::ingest::Limits;
use calve::ingest::convert::{Source, discover_text};
use calve::ingest::csv::dialect::{Dialect, Given};
use calve::ingest::csv::sample::Sample;
use calve::ingest::csv::sniff::sniff;
use calve::ingest::csv::{CsvLimits, CsvReader};
use calve::ingest::encode::encode_column;
use calve::ingest::footer::{self, ElementEdit};
use calve::ingest::ndjson::{NdjsonOptions, NdjsonReader};
use calve::ingest::part_bytes::PartBytes;
use calve::ingest::raw::RawBatch;
use calve::schema::evidence::Evidence;
use calve::schema::text_value::DateForm;
use calve::store::journal::Journal;
use calve::store::layout::Layout;
use calve::store::records;
use calve::telemetry::Metrics;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::try_join_all;

const TEXT_BYTES: u64 = 8 << 20;
const SNIFFED_BYTES: u64 = 128 << 10;
const GROUPED_WRITES: usize = 64;

fn made(format: Format, bytes: u64) -> Vec<u8> {
    let recipe = Recipe {
        format,
        coding: Coding::Identity,
        bytes,
        seed: 1,
    };
    recipe.part(0).expect("a part").bytes.to_vec()
}

fn csv_reader(text: &[u8]) -> CsvReader<&[u8]> {
    let limits = CsvLimits {
        columns_max: 100,
        field_bytes_max: 1 << 20,
    };
    CsvReader::new(text, Dialect::standard(b','), limits).expect("a header")
}

fn ndjson_reader(text: &[u8]) -> NdjsonReader<&[u8]> {
    let options = NdjsonOptions {
        columns_max: 100,
        field_bytes_max: 1 << 20,
        line_bytes_max: 1 << 20,
    };
    NdjsonReader::new(text, options).expect("objects")
}

fn text_formats(criterion: &mut Criterion) {
    let csv = made(Format::Csv, TEXT_BYTES);
    let ndjson = made(Format::Ndjson, TEXT_BYTES);
    let mut group = criterion.benchmark_group("text");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(csv.len() as u64));
    let mut batch = RawBatch::default();
    group.bench_function("read csv", |bencher| {
        bencher.iter(|| {
            let mut reader = csv_reader(&csv);
            while reader.next_batch(&mut batch).expect("rows") {
                black_box(&batch);
            }
        });
    });
    group.throughput(Throughput::Bytes(ndjson.len() as u64));
    group.bench_function("read ndjson", |bencher| {
        bencher.iter(|| {
            let mut reader = ndjson_reader(&ndjson);
            while reader.next_batch(&mut batch).expect("rows") {
                black_box(&batch);
            }
        });
    });
    let sample = made(Format::Csv, SNIFFED_BYTES);
    group.throughput(Throughput::Bytes(sample.len() as u64));
    group.bench_function("sniff csv", |bencher| {
        let given = Given::default();
        let sample = Sample {
            bytes: &sample,
            is_whole: false,
        };
        bencher.iter(|| sniff(sample, b',', &given));
    });
    group.finish();
}

/// The types of `calve bench`'s columns as they are found in CSV.
fn column_types() -> [DataType; 12] {
    use DataType::{Boolean, Date32, Float64, Int64, Timestamp, Utf8};
    let zoned = Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    [
        Int64, zoned, Utf8, Utf8, Utf8, Int64, Float64, Float64, Boolean, Date32, Float64, Utf8,
    ]
}

/// One batch, whose bytes are what throughput counts.
fn columns(criterion: &mut Criterion) {
    let csv = made(Format::Csv, TEXT_BYTES);
    let mut batch = RawBatch::default();
    csv_reader(&csv)
        .next_batch(&mut batch)
        .expect("a first batch");
    let bytes: usize = batch.columns.iter().map(|column| column.text_bytes()).sum();
    let mut group = criterion.benchmark_group("columns");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("infer types", |bencher| {
        bencher.iter(|| {
            for column in &batch.columns {
                let mut evidence = Evidence::default();
                for (kind, text) in column.iter() {
                    evidence.observe(kind, text);
                }
                black_box(&evidence);
            }
        });
    });
    group.bench_function("encode", |bencher| {
        let types = column_types();
        bencher.iter(|| {
            for (column, data_type) in batch.columns.iter().zip(&types) {
                black_box(encode_column(column, data_type, DateForm::ISO).expect("values"));
            }
        });
    });
    group.finish();
}

fn parquet_footer(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("part.parquet");
    let bytes = made(Format::Parquet, 1 << 20);
    std::fs::write(&path, &bytes).expect("a file");
    let file = std::fs::File::open(&path).expect("the file");
    let metadata = footer::read(&file, bytes.len() as u64).expect("its footer");
    let edits: Vec<ElementEdit> = (0..13)
        .map(|number| ElementEdit {
            field_id: (number > 0).then_some(number),
            drops_annotation: false,
        })
        .collect();
    criterion.bench_function("splice a footer", |bencher| {
        bencher.iter(|| footer::splice(&metadata, &edits).expect("a new footer"));
    });
}

fn session() -> Session {
    let now = SystemClock.now();
    let id = SessionId::new(now, SystemClock.random_id());
    Session::open(id, None, now, now + Duration::from_secs(3600))
}

/// A part's record as a small CSV leaves it.
fn part_record() -> PartRecord {
    let csv = made(Format::Csv, 4 << 10);
    let wire_bytes = csv.len() as u64;
    let source = Source {
        bytes: PartBytes::Memory(csv.into()),
        kind: PartKind::Csv,
        coding: part::Coding::Identity,
        csv: None,
        limits: Limits::from(&PartsConfig::default()),
    };
    let found = discover_text(&source, None).expect("a readable part");
    PartRecord {
        part: PartNumber(0),
        generation: 1_790_000_000_000_000,
        kind: PartKind::Csv,
        coding: part::Coding::Identity,
        file_name: Some("part.csv".to_owned()),
        wire_bytes,
        decoded_bytes: found.decoded_bytes,
        rows: found.rows,
        sha256: "0".repeat(64),
        uploaded_at: SystemClock.now(),
        columns: found.columns,
        csv: found.csv,
        issues: found.issues,
        data_file: found.data_file,
        packed: Some(PackPlace { pack: 1, offset: 0 }),
        parquet: None,
    }
}

fn store(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let layout = Layout::new(folder.path().to_path_buf());
    let store_id = SystemClock.random_id();
    let (journal, writer) =
        Journal::open(&layout, store_id, Arc::new(Metrics::new())).expect("a journal");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("store");
    group.sample_size(20);
    let (record, owner) = (part_record(), session());
    group.bench_function("make a part's record", |bencher| {
        bencher.iter(|| records::stage_part(&owner, &record).expect("a record"));
    });
    for writes in [1, GROUPED_WRITES] {
        group.throughput(Throughput::Elements(writes as u64));
        group.bench_function(format!("journal, {writes} at once"), |bencher| {
            bencher.iter(|| {
                let queued: Vec<_> = (0..writes)
                    .map(|_| records::open_session(&session(), u64::MAX).expect("a record"))
                    .map(|write| journal.write(write).expect("a place in the queue"))
                    .collect();
                runtime.block_on(try_join_all(queued)).expect("durable");
            });
        });
    }
    group.finish();
    drop(journal);
    writer.join();
}

criterion_group!(benches, text_formats, columns, parquet_footer, store);
criterion_main!(benches);
