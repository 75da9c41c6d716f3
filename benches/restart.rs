//! How long a start takes, from the process's start to the first answered request, on a store of many open sessions; and what
//! the server holds in memory then.
//!
//! `cargo bench --bench restart [-- SESSIONS PARTS]`, by default 10,000 sessions of 100 parts of 5 columns. The records are
//! written straight into the journal; there are no staged files, which no start looks at.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use calve::clock::{Clock, SystemClock};
use calve::config::PartsConfig;
use calve::domain::part::{Coding, PackPlace};
use calve::domain::{PartKind, PartNumber, PartRecord, Session, SessionId};
use calve::ingest::Limits;
use calve::ingest::convert::{Source, discover_text};
use calve::ingest::part_bytes::PartBytes;
use calve::store::journal::Journal;
use calve::store::layout::Layout;
use calve::store::records;
use calve::telemetry::Metrics;
use futures_util::future::try_join_all;

const STARTS: usize = 5;

/// A part's record as a CSV of five columns leaves it.
fn part_record() -> PartRecord {
    let csv = "id,name,amount,day,at\n1,Bern,1.25,2024-02-15,2024-02-15T10:20:30Z\n";
    let source = Source {
        bytes: PartBytes::Memory(csv.into()),
        kind: PartKind::Csv,
        coding: Coding::Identity,
        csv: None,
        limits: Limits::from(&PartsConfig::default()),
    };
    let found = discover_text(&source, None).expect("a readable part");
    PartRecord {
        part: PartNumber(0),
        generation: 1_790_000_000_000_000,
        kind: PartKind::Csv,
        coding: Coding::Identity,
        file_name: Some("part.csv".to_owned()),
        wire_bytes: csv.len() as u64,
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

/// Writes the records of so many open sessions; gives one of their ids.
async fn fill(data_dir: &Path, sessions: usize, parts: u16) -> SessionId {
    let layout = Layout::new(data_dir.to_path_buf());
    let (journal, writer) =
        Journal::open(&layout, SystemClock.random_id(), Arc::new(Metrics::new()))
            .expect("a journal");
    let mut record = part_record();
    let mut last = None;
    for _ in 0..sessions {
        let now = SystemClock.now();
        let id = SessionId::new(now, SystemClock.random_id());
        let session = Session::open(id.clone(), None, now, now + Duration::from_secs(86_400));
        let mut queued = vec![
            journal
                .write(records::open_session(&session, u64::MAX).expect("a session's record"))
                .expect("a place in the queue"),
        ];
        let mut written = Vec::new();
        for part in 0..parts {
            record.part = PartNumber(part);
            let write = records::stage_part(&session, &record).expect("a part's record");
            written.push(journal.write(write).expect("a place in the queue"));
        }
        try_join_all(queued.drain(..))
            .await
            .expect("a durable session");
        try_join_all(written).await.expect("durable parts");
        last = Some(id);
    }
    drop(journal);
    writer.join();
    last.expect("a session")
}

struct Running {
    child: Child,
    base_url: String,
}

fn start(data_dir: &Path) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_calve"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its standard output"))
        .read_line(&mut line)
        .expect("the line that says where it listens");
    let base_url = line.trim().rsplit(' ').next().expect("a URL").to_owned();
    Running { child, base_url }
}

fn resident_mib(child: &Child) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .expect("its memory");
    kib.parse::<u64>().expect("a number") / 1024
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok());
    let sessions = numbers.next().unwrap_or(10_000);
    let parts = numbers.next().unwrap_or(100);
    let parts = u16::try_from(parts).expect("at most 65,535 parts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().join("data");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let filling = Instant::now();
    let id = runtime.block_on(fill(&data_dir, sessions, parts));
    let journal_mib = std::fs::metadata(data_dir.join("journal/db"))
        .expect("sled's log")
        .len()
        >> 20;
    println!(
        "{sessions} sessions of {parts} parts written in {:.1} s, sled's log has {journal_mib} MiB",
        filling.elapsed().as_secs_f64()
    );
    for number in 0..STARTS {
        let starting = Instant::now();
        let mut running = start(&data_dir);
        let listening = starting.elapsed();
        ureq::get(format!("{}/v1/upload/{id}/inspect", running.base_url))
            .call()
            .expect("an answer");
        let answered = starting.elapsed();
        println!(
            "start {number}: listening after {:.0} ms, first session answered after {:.0} ms, {} MiB resident",
            listening.as_secs_f64() * 1e3,
            answered.as_secs_f64() * 1e3,
            resident_mib(&running.child)
        );
        // Killed, so that the next start has to recover.
        running.child.kill().expect("kill the server");
        running.child.wait().expect("its end");
    }
}
