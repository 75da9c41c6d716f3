//! Scenarios about what does not get slower with what is there already: snapshots of a table, open sessions.

use std::time::{Duration, Instant};

use calve::bench::process::Usage;
use calve::bench::{OwnServer, Workload, measure, suite};

use crate::Harness;
use crate::load::commit_p50_ms;
use crate::table::{Comparison, Target};

/// Commits that a latency is the median of.
const MEASURED_COMMITS: u64 = 50;
const SNAPSHOTS: u64 = 5_000;
const FILLING_MAX: Duration = Duration::from_secs(120);
const SESSIONS: u64 = 100_000;
const SESSION_FILLERS: usize = 64;
/// Sessions leave memory soon, and more may be open than the default says.
const IDLE: &[(&str, &str)] = &[
    ("CALVE_SESSIONS__IDLE_IN_MEMORY", "1s"),
    ("CALVE_SESSIONS__OPEN_MAX", "200000"),
];
/// The memory of idle sessions is looked at when it stays the same for so long.
const SETTLED: Duration = Duration::from_secs(3);
const SETTLING_MAX: Duration = Duration::from_secs(60);

fn start(harness: &Harness, environment: &[(&str, &str)]) -> OwnServer {
    OwnServer::start(&harness.calve, harness.folder(), environment).expect("the server started")
}

/// One round: filling a table takes a minute.
pub fn snapshots(harness: &Harness) -> Vec<Comparison> {
    let server = start(harness, &[]);
    let appends = suite::scenario("appends")
        .expect("a scenario of the suite")
        .workload;
    let one_by_one = Workload {
        clients: 1,
        sessions: MEASURED_COMMITS,
        ..appends
    };
    let run = |workload: &Workload| measure(server.peer(), workload, None).expect("a run");
    // The first fifty bring the table to fifty snapshots.
    run(&one_by_one);
    let early = commit_p50_ms(&run(&one_by_one));
    let filling = Workload {
        sessions: SNAPSHOTS - 3 * MEASURED_COMMITS,
        duration: FILLING_MAX,
        ..appends
    };
    let filled = run(&filling)
        .operations
        .get("commit")
        .map_or(0, |times| times.count);
    let target = if filled == filling.sessions {
        Target::AtMost(1.3)
    } else {
        println!(
            "snapshots: only {filled} of {} appends in {FILLING_MAX:?}",
            filling.sessions
        );
        Target::None
    };
    let late = commit_p50_ms(&run(&one_by_one));
    vec![Comparison {
        measure: "commit p50 ms at 5,000 snapshots",
        calve: late,
        peer: Some(("at 50", early)),
        target,
    }]
}

/// One round: opening 100,000 sessions takes half a minute.
pub fn idle_sessions(harness: &Harness) -> Vec<Comparison> {
    let server = start(harness, IDLE);
    let small = suite::scenario("appends")
        .expect("a scenario of the suite")
        .workload;
    let filling = Workload {
        clients: SESSION_FILLERS,
        sessions: SESSIONS,
        commits: false,
        duration: FILLING_MAX,
        ..small
    };
    // The same work on few sessions first, so that what every server holds is not counted.
    let warming = Workload {
        sessions: SESSION_FILLERS as u64,
        ..filling
    };
    measure(server.peer(), &warming, None).expect("a run");
    let before = settled_bytes(server.pid());
    let report = measure(server.peer(), &filling, None).expect("a run");
    let opened = report
        .operations
        .get("put_part")
        .map_or(0, |times| times.count);
    let refused: u64 = report.errors.values().sum();
    println!("idle-sessions: {opened} sessions with a part, {refused} requests refused");
    let after = settled_bytes(server.pid());
    let bytes_per_session = (after - before) / opened.max(1) as f64;
    let folder = server.kill();
    let starting = Instant::now();
    let server = OwnServer::start_on(folder, &harness.calve, IDLE).expect("the server started");
    let asked = Workload {
        clients: 1,
        sessions: 1,
        ..warming
    };
    measure(server.peer(), &asked, None).expect("an answer");
    let answered = starting.elapsed().as_secs_f64();
    vec![
        Comparison::alone(
            "resident B per idle session",
            bytes_per_session,
            Target::AtMost(1024.0),
        ),
        Comparison::alone("restart to first part, s", answered, Target::AtMost(1.0)),
    ]
}

/// Resident memory once it stands still.
fn settled_bytes(pid: u32) -> f64 {
    let started = Instant::now();
    let (mut least, mut since) = (f64::MAX, Instant::now());
    while since.elapsed() < SETTLED && started.elapsed() < SETTLING_MAX {
        std::thread::sleep(Duration::from_millis(100));
        let resident = Usage::of_family(pid)
            .expect("a running server")
            .resident_bytes as f64;
        if resident < least * 0.99 {
            (least, since) = (resident, Instant::now());
        }
    }
    least
}
