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

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use calve::store::fault::{Moment, Point, STEPS};
use serde_json::Value;
use support::client::{AS_NDJSON, Answer, Api, Target, session_id_of};
use support::data::{Expectation, numbered_csv};
use support::server::{TestServer, files_below};
use support::table::{assert_files_are_sound, assert_tables_hold, kept_chain};
use support::{PATIENCE, is_long, wait_until};

const SIGKILL: i32 = 9;
const WAYS: [&str; 3] = ["kill", "eio", "enospc"];
/// Cases that run at once; most of their time is spent waiting for the disk.
const WORKERS: usize = 6;
/// Attempts at one operation; a fault comes once, and a restart may lie between.
const ATTEMPTS: usize = 4;

/// What the clients do, in order. `usize` numbers the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Open(usize),
    Put(usize, u32, Content),
    Delete(usize, u32),
    Commit(usize, &'static str),
    /// The server ends in order and starts again; its first sweep removes what expired.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// `numbered_csv` of this part number.
    Csv(u32),
    /// The same, so small that it shares a file with others.
    Small(u32),
    /// One row whose amount makes the others' early types not final.
    Ndjson,
}

use Content::{Csv, Ndjson, Small};
use Operation::{Commit, Delete, Open, Put, Restart};

const SESSIONS: usize = 3;
/// Snapshots that the table keeps: that of the first session expires with the third's.
const SNAPSHOTS: usize = 2;
const SCENARIO: &[Operation] = &[
    Open(0),
    Put(0, 0, Csv(1)),
    Put(0, 0, Csv(2)),
    Put(0, 1, Csv(3)),
    Delete(0, 1),
    Put(0, 2, Small(6)),
    Put(0, 2, Small(7)),
    Put(0, 3, Small(8)),
    Delete(0, 3),
    Commit(0, "fail"),
    Open(1),
    Put(1, 0, Csv(4)),
    Put(1, 1, Ndjson),
    Commit(1, "overwrite"),
    Open(2),
    Put(2, 0, Csv(5)),
    Put(2, 1, Small(9)),
    Put(2, 2, Small(10)),
    Commit(2, "append"),
    Restart,
];
const NDJSON: &str = r#"{"part":4,"row":0.5,"word":"w","amount":1.25,"day":"2024-02-20","moment":"2024-02-20T10:20:30Z","flag":null}"#;

/// The rows of the table at the end: sessions 1 and 2.
fn expectation() -> Expectation {
    let row = serde_json::json!([[
        4,
        0.5,
        "w",
        1.25,
        "2024-02-20",
        "2024-02-20T10:20:30Z",
        null
    ]]);
    let columns: Vec<(&str, &str)> = support::data::NUMBERED_COLUMNS
        .iter()
        .map(|(name, kind)| (*name, if *name == "row" { "double" } else { *kind }))
        .collect();
    Expectation::new(&columns)
        .csv(&Csv(4).text())
        .rows(&row)
        .csv(&Csv(5).text())
        .csv(&Small(9).text())
        .csv(&Small(10).text())
}

impl Content {
    fn text(self) -> String {
        match self {
            Csv(part) => numbered_csv(part, 20),
            Small(part) => numbered_csv(part, 1),
            Ndjson => NDJSON.to_owned(),
        }
    }
}

/// A server and what its clients know.
struct World {
    server: TestServer,
    sessions: [String; SESSIONS],
}

fn target() -> Target {
    Target::new("acme.sales.orders")
}

impl World {
    fn new() -> Self {
        // One conversion at a time, so that every run passes the points in the same order.
        // The small parts share a file, the others have one each.
        let environment = [
            ("CALVE_PARTS__CONCURRENT_CONVERSIONS", "1"),
            ("CALVE_PARTS__PACKED_BYTES_MAX", "200 B"),
            ("CALVE_TABLES__SNAPSHOTS_MAX", "2"),
            ("CALVE_TABLES__SNAPSHOTS_MIN", "1"),
            ("CALVE_TABLES__PREVIOUS_METADATA_MAX", "1"),
            // Only a start sweeps, and removes what is due at once.
            ("CALVE_CLEANING__GRACE", "0s"),
            ("CALVE_CLEANING__INTERVAL", "1h"),
        ];
        Self {
            server: TestServer::not_started(&environment),
            sessions: Default::default(),
        }
    }

    /// Does an operation once; nothing when no answer came.
    fn attempt(&self, operation: Operation) -> Option<Answer> {
        let api = self.server.api();
        let (method, path, headers, body) = match operation {
            Open(_) => (
                "POST",
                "/v1/upload/session".to_owned(),
                &[][..],
                String::new(),
            ),
            Put(session, part, content) => (
                "PUT",
                format!("/v1/upload/{}?part={part}", self.sessions[session]),
                if content == Ndjson {
                    AS_NDJSON
                } else {
                    support::client::AS_CSV
                },
                content.text(),
            ),
            Delete(session, part) => (
                "DELETE",
                format!("/v1/upload/{}/part/{part}", self.sessions[session]),
                &[][..],
                String::new(),
            ),
            Commit(session, mode) => (
                "POST",
                format!("/v1/upload/{}/commit", self.sessions[session]),
                &[("content-type", "application/json")][..],
                support::client::commit_request(&target(), mode).to_string(),
            ),
            Restart => unreachable!("it is no request"),
        };
        let body = (!body.is_empty()).then_some(body.as_bytes());
        api.try_send(method, &path, headers, body).ok()
    }

    /// Whether an operation is found done; `None` where a client cannot tell.
    fn is_done(&self, operation: Operation) -> Option<bool> {
        let inspect = |session: usize| self.server.api().inspect(&self.sessions[session]);
        match operation {
            Open(_) | Restart => None,
            Put(session, part, content) => {
                use sha2::{Digest, Sha256};
                let sha256 = hex::encode(Sha256::digest(content.text().as_bytes()));
                Some(
                    part_in(&inspect(session), part).is_some_and(|found| found["sha256"] == sha256),
                )
            }
            Delete(session, part) => Some(part_in(&inspect(session), part).is_none()),
            Commit(session, _) => Some(inspect(session).expect_json(200)["state"] == "committed"),
        }
    }

    /// What the answer to a done operation tells its client.
    fn note(&mut self, operation: Operation, answer: &Answer) {
        if let Open(session) = operation {
            self.sessions[session] = session_id_of(&answer.json());
        }
    }

    /// Number of files in the table's folders, when all sweeping is done.
    fn files(&self) -> [usize; 2] {
        ["data", "metadata"]
            .map(|name| files_below(&self.server.table_dir(&target()).join(name)).len())
    }
}

fn part_in(inspected: &Answer, part: u32) -> Option<Value> {
    if inspected.status == 204 {
        return None;
    }
    assert_eq!(inspected.status, 200, "{inspected:?}");
    let parts = inspected.json()["parts"]
        .as_array()
        .expect("a list of parts")
        .clone();
    parts.into_iter().find(|found| found["id"] == part)
}

/// The undisturbed run: every point in order, and which of them lie in which operation.
struct Record {
    points: Vec<String>,
    /// Number of points passed before each operation, and at the end.
    begins: Vec<usize>,
    /// Number of points passed when the server was started again; the new process counts its own.
    restart: usize,
    files: [usize; 2],
}

fn points_in(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn record() -> Record {
    let mut world = World::new();
    let log = world.server.scratch("points");
    world.server.set_variable("FAULT_LOG", log.to_str());
    world.server.restart();
    let (mut begins, mut restart) = (Vec::new(), 0);
    for &operation in SCENARIO {
        begins.push(points_in(&log).len());
        if operation == Restart {
            world.server.terminate();
            restart = points_in(&log).len();
            world.server.restart();
            await_first_sweep(&log, restart);
            continue;
        }
        let answer = world.attempt(operation).expect("an answer");
        assert!(answer.status < 300, "{operation:?}: {answer:?}");
        world.note(operation, &answer);
    }
    begins.push(points_in(&log).len());
    assert_end(&mut world);
    Record {
        points: points_in(&log)[..begins[SCENARIO.len()]].to_vec(),
        begins,
        restart,
        files: world.files(),
    }
}

/// Waits until the sweep has removed what is due, and recorded that.
fn await_first_sweep(log: &Path, restart: usize) {
    wait_until("the first sweep is over", PATIENCE, || {
        let points = points_in(log);
        let removes = |point: &String| point == "After Remove ManifestList";
        let last_removal = points[restart..].iter().rposition(removes)?;
        let is_recorded = |point: &String| point == "After SyncFolder Journal";
        let since = &points[restart + last_removal..];
        since.iter().any(is_recorded).then_some(())
    });
}

impl Record {
    /// What arms the fault at a point in the process that passes it: the first, or the one started by the scenario.
    fn fault(&self, index: usize, way: &str) -> [Option<String>; 2] {
        match index.checked_sub(self.restart) {
            None => [Some(format!("{index}:{way}")), None],
            Some(after) => [None, Some(format!("{after}:{way}"))],
        }
    }

    /// The operation that a point lies in; `None` is the start.
    fn operation_at(&self, index: usize) -> Option<usize> {
        self.begins.iter().rposition(|begin| *begin <= index)
    }

    /// The point at which an operation is in the journal: the first group's flush, or for a commit, whose first
    /// group is its intent, the second's.
    fn decisive(&self, number: usize) -> usize {
        let nth = usize::from(matches!(SCENARIO[number], Commit(..)));
        let range = self.begins[number]..self.begins[number + 1];
        range
            .filter(|index| self.points[*index] == "After Flush Journal")
            .nth(nth)
            .expect("every operation is journaled")
    }

    /// Whether the disk's failure at a point must be told to the client: until an operation is synced in the journal,
    /// nothing may be acknowledged. (After it there may be more, as a commit's version hint.)
    fn must_refuse(&self, number: usize, index: usize) -> bool {
        if SCENARIO[number] == Restart {
            return false;
        }
        // What follows the flush: two points each for the log's and the folder's sync.
        const POINTS_OF_SYNCS: usize = 4;
        (self.begins[number]..=self.decisive(number) + POINTS_OF_SYNCS).contains(&index)
    }

    /// Points to fail, and ways to do so.
    fn cases(&self) -> Vec<(usize, &'static str)> {
        let is_taken = |index: usize| {
            let point = &self.points[index];
            is_long()
                || !self.points[..index].contains(point)
                || !self.points[index + 1..].contains(point)
        };
        let taken: Vec<usize> = (0..self.points.len())
            .filter(|index| is_taken(*index))
            .collect();
        WAYS.iter()
            .flat_map(|way| taken.iter().map(move |index| (*index, *way)))
            .collect()
    }
}

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
