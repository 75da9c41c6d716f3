//! How fast a part on disk becomes a data file, by format: the work of one conversion turn, on one thread.
//!
//! `cargo bench --bench conversion`. Throughput is of decoded bytes. Compare runs of the same minute only.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::path::Path;

use calve::bench::parts::{Format, Recipe};
use calve::domain::PartKind;
use calve::domain::part::Coding;
use calve::ingest::Limits;
use calve::ingest::convert::{Source, discover};
use calve::ingest::part_bytes::PartBytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PART_BYTES: u64 = 20 << 20;
const FORMATS: [(PartKind, Format); 3] = [
    (PartKind::Csv, Format::Csv),
    (PartKind::Ndjson, Format::Ndjson),
    (PartKind::Parquet, Format::Parquet),
];

/// As `calve bench` sends it.
fn part(format: Format) -> Vec<u8> {
    let recipe = Recipe {
        format,
        coding: calve::bench::parts::Coding::Identity,
        bytes: PART_BYTES,
        seed: 1,
    };
    recipe.part(0).expect("a part").bytes.to_vec()
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
    let sources = FORMATS.map(|(kind, format)| {
        let bytes = part(format);
        let source = source(folder.path(), kind, &bytes).expect("a source file");
        (source, bytes.len() as u64)
    });
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
