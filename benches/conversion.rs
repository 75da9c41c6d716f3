//! How fast a part on disk becomes a data file, by format: the work of one conversion turn, on one thread.
//!
//! `cargo bench --bench conversion`. Throughput is of decoded bytes. Compare runs of the same minute only.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::fmt::Write;
use std::path::Path;

use calve::domain::PartKind;
use calve::domain::part::Coding;
use calve::ingest::Limits;
use calve::ingest::convert::{Source, discover};
use calve::ingest::part_bytes::PartBytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 200_000;

fn csv() -> String {
    let mut text = String::from("id,name,amount,day,at\n");
    for row in 0..ROWS {
        let (cents, day, second) = (row * 7 % 100_000, row % 28 + 1, row % 60);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{row},name {},{}.{:02},2024-02-{day:02},2024-02-{day:02}T10:20:{second:02}Z",
            row % 1000,
            cents / 100,
            cents % 100
        );
    }
    text
}

fn ndjson() -> String {
    let mut text = String::new();
    for row in 0..ROWS {
        let _ = writeln!(
            text,
            "{{\"id\":{row},\"name\":\"name {}\",\"amount\":{}.25,\"is_even\":{}}}",
            row % 1000,
            row % 777,
            row % 2 == 0
        );
    }
    text
}

fn source(folder: &Path, kind: PartKind, bytes: &[u8]) -> std::io::Result<Source> {
    let path = folder.join(kind.name());
    std::fs::write(&path, bytes)?;
    Ok(Source {
        bytes: PartBytes::File(path),
        kind,
        coding: Coding::Identity,
        csv: None,
        limits: Limits::from(&calve::config::PartsConfig::default()),
    })
}

fn conversions(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("output.parquet");
    let texts = [(PartKind::Csv, csv()), (PartKind::Ndjson, ndjson())];
    let mut sources: Vec<(Source, u64)> = texts
        .iter()
        .map(|(kind, text)| {
            let source = source(folder.path(), *kind, text.as_bytes()).expect("a source file");
            (source, text.len() as u64)
        })
        .collect();
    discover(&sources[0].0, None, &output).expect("the CSV converts");
    let parquet = std::fs::read(&output).expect("the data file");
    let source = source(folder.path(), PartKind::Parquet, &parquet).expect("a source file");
    sources.push((source, parquet.len() as u64));
    let mut group = criterion.benchmark_group("part to data file");
    group.sample_size(10);
    for (source, bytes) in &sources {
        group.throughput(Throughput::Bytes(*bytes));
        group.bench_function(source.kind.name(), |bencher| {
            bencher.iter_batched(
                || std::fs::remove_file(&output),
                |_| discover(source, None, &output).expect("the part converts"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, conversions);
criterion_main!(benches);
