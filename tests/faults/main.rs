//! Fails every durable step, in every way, and asserts what the next start finds.
//!
//! One run of a fixed scenario records all points that the server passes (`calve::store::fault`). Then the scenario is run
//! again for points of that record: the server is killed there, or the step fails as a disk would make it fail. Each
//! such run asserts that the point was hit; what of the operation is found after the restart; that the operation, repeated as
//! a client would, succeeds; and that at the end the table and the folders are those of the undisturbed run.
//!
//! `CALVE_TEST_LONG=1` takes every point of the record; else the first and the last of each name.

#![cfg(debug_assertions)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod record;
mod scenario;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use calve::store::fault::{Moment, Point, STEPS};
use record::{Record, points_in, record};
use scenario::{Restart, SCENARIO, SESSIONS, SNAPSHOTS, World, expectation, target};
use serde_json::Value;
use support::client::{Answer, Api};
use support::server::files_below;
use support::table::{assert_files_are_sound, assert_tables_hold, kept_chain};
use support::{PATIENCE, is_long, wait_until};

const SIGKILL: i32 = 9;
const WAYS: [&str; 3] = ["kill", "eio", "enospc"];
/// Cases that run at once; most of their time is spent waiting for the disk.
const WORKERS: usize = 6;
/// Attempts at one operation; a fault comes once, and a restart may lie between.
const ATTEMPTS: usize = 4;
/// Runs the scenario with one fault.
fn run_case(record: &Record, index: usize, way: &str) -> World {
    let mut world = World::new();
    let log = world.server.scratch("points");
    let [first, second] = record.fault(index, way);
    start_with_fault(&mut world, record, (index, way), &log, first.as_deref());
    for (number, &operation) in SCENARIO.iter().enumerate() {
        if operation == Restart {
            restart_with_fault(&mut world, record, index, &log, second.as_deref());
            continue;
        }
        let mut is_done = false;
        let mut must_refuse = record.must_refuse(number, index);
        for _ in 0..ATTEMPTS {
            if let Some(answer) = world.attempt(operation) {
                is_done = answer.status < 300;
                assert!(
                    !(is_done && must_refuse),
                    "{operation:?} was acknowledged over {way} at `{}`",
                    record.points[index]
                );
                must_refuse = false;
                if is_done {
                    world.note(operation, &answer);
                    break;
                }
                assert_ne!(way, "kill", "{operation:?}: {answer:?}");
                assert_refusal(&world.server.api(), answer, way);
                if world.server.api().get("/health").status == 200 {
                    continue;
                }
                // Never acknowledged afterwards, whatever it is.
                let again = world.attempt(operation).expect("an answer");
                again.expect_refusal(503, "storage_unavailable");
                world.server.kill();
                disarm(&mut world, record, index, &log);
                world.server.restart();
            } else {
                assert_eq!(world.server.wait_for_end().signal(), Some(SIGKILL));
                must_refuse = false;
                disarm(&mut world, record, index, &log);
                world.server.restart();
                let is_due = index >= record.decisive(number);
                assert!(
                    world.is_done(operation).is_none_or(|done| done == is_due),
                    "after a kill at `{}` in {operation:?} it should be done: {is_due}",
                    record.points[index]
                );
                assert_eq!(record.operation_at(index), Some(number));
            }
        }
        assert!(is_done, "{operation:?} is stuck");
    }
    assert_eq!(
        points_in(&log).get(index),
        Some(&record.points[index]),
        "the fault was not hit"
    );
    assert_end(&mut world);
    let files = || (world.files() == record.files).then_some(());
    wait_until(
        "the table has no more files than undisturbed",
        PATIENCE,
        files,
    );
    world
}

/// Starts the server for the first time, where the fault may hit it.
fn start_with_fault(
    world: &mut World,
    record: &Record,
    (index, way): (usize, &str),
    log: &Path,
    first: Option<&str>,
) {
    world.server.set_variable("FAULT_LOG", log.to_str());
    world.server.set_variable("FAULT_AT", first);
    if let Err(end) = world.server.try_start() {
        // Killed, or a disk that refuses at the start: a message and an exit.
        if way == "kill" {
            assert_eq!(end.signal(), Some(SIGKILL));
        } else {
            assert_eq!(end.code(), Some(1));
        }
        disarm(world, record, index, log);
        world.server.restart();
    }
}

/// Ends the server and starts it again, while the fault may hit either.
fn restart_with_fault(
    world: &mut World,
    record: &Record,
    index: usize,
    log: &Path,
    second: Option<&str>,
) {
    world.server.send_sigterm();
    world.server.wait_for_end();
    world.server.set_variable("FAULT_AT", second);
    if world.server.try_start().is_err() {
        disarm(world, record, index, log);
        return world.server.restart();
    }
    // What the first sweep does is answered to nobody.
    wait_until("the fault is hit", PATIENCE, || {
        (points_in(log).len() > index).then_some(())
    });
    if second.is_some_and(|fault| fault.ends_with("kill")) {
        assert_eq!(world.server.wait_for_end().signal(), Some(SIGKILL));
        disarm(world, record, index, log);
        world.server.restart();
    }
}

/// Asserts that the point was reached, and takes the fault out of the next start's environment.
fn disarm(world: &mut World, record: &Record, index: usize, log: &Path) {
    assert_eq!(
        points_in(log).get(index),
        Some(&record.points[index]),
        "another point was hit"
    );
    world.server.set_variable("FAULT_AT", None);
}

fn assert_refusal(api: &Api, answer: Answer, way: &str) {
    let is_ready = api.get("/health").status == 200;
    if is_ready && way == "enospc" {
        answer.expect_refusal(507, "no_space");
    } else {
        answer.expect_refusal(503, "storage_unavailable");
    }
}

/// What must be so at the end of every run, at a server that was started anew: all sessions committed, the snapshots that the table
/// keeps once each, in order; and nothing staged.
fn assert_end(world: &mut World) {
    world
        .server
        .set_variable("CALVE_CLEANING__GRACE", Some("0s"));
    world
        .server
        .set_variable("CALVE_CLEANING__INTERVAL", Some("50ms"));
    world.server.set_variable("FAULT_AT", None);
    world.server.set_variable("FAULT_LOG", None);
    world.server.send_sigterm();
    world.server.wait_for_end();
    world.server.restart();
    let folders = ["staging", "packs"].map(|folder| world.server.data_dir().join(folder));
    wait_until("nothing is staged", PATIENCE, || {
        let mut folders = folders.iter();
        folders
            .all(|folder| files_below(folder).is_empty())
            .then_some(())
    });
    let api = world.server.api();
    for session in &world.sessions {
        let inspected = api.inspect(session).expect_json(200);
        assert_eq!(inspected["state"], "committed", "{inspected}");
    }
    let kept = &world.sessions[SESSIONS - SNAPSHOTS..];
    assert_eq!(committed_sessions(world), kept);
}

/// The sessions in the current metadata file's snapshots, oldest first.
fn committed_sessions(world: &World) -> Vec<String> {
    let metadata = world.server.table_dir(&target()).join("metadata");
    let version = fs::read_to_string(metadata.join("version-hint.text")).expect("the version hint");
    let text = fs::read(metadata.join(format!("{version}.metadata.json"))).expect("its file");
    let metadata: Value = serde_json::from_slice(&text).expect("JSON");
    let mut snapshots = metadata["snapshots"].as_array().expect("snapshots").clone();
    snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
    let session = |snapshot: &Value| {
        snapshot["summary"]["calve.session-id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    snapshots.iter().map(session).collect()
}

#[test]
fn every_durable_step_can_fail_and_nothing_is_lost_or_doubled() {
    let record = record();
    let passed: BTreeSet<&str> = record.points.iter().map(String::as_str).collect();
    let listed: BTreeSet<String> = STEPS
        .iter()
        .flat_map(|&(operation, artifact)| {
            [Moment::Before, Moment::After].map(|moment| {
                Point {
                    moment,
                    operation,
                    artifact,
                }
                .to_string()
            })
        })
        .collect();
    assert_eq!(
        passed,
        listed.iter().map(String::as_str).collect(),
        "the scenario passes every point"
    );
    let cases = record.cases();
    let next = AtomicUsize::new(0);
    let last_worlds = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((index, way)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    eprintln!("{way} at {index}, {}", record.points[*index]);
                    let mut world = run_case(&record, *index, way);
                    world.server.terminate();
                    last_worlds.lock().expect("no case failed").push(world);
                }
            });
        }
    });
    let worlds = last_worlds.into_inner().expect("no case failed");
    assert_eq!(worlds.len(), cases.len());
    // Every value of every row, in every fourth of the tables at least.
    let read = || worlds.iter().step_by(if is_long() { 1 } else { 4 });
    let tables: Vec<_> = read()
        .map(|world| (world.server.table_dir(&target()), expectation()))
        .collect();
    for (world, table) in read().zip(assert_tables_hold(&tables)) {
        world.server.assert_sound();
        assert_eq!(
            kept_chain(&table).len(),
            SNAPSHOTS,
            "{}",
            world.server.log_tail()
        );
    }
    assert_files_are_sound(&worlds[0].server, &target());
}
