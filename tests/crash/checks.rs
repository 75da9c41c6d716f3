//! What must hold of the server's answers, its staging folder and its tables, by the ledger.
//!
//! Checks run while nothing else does: between a restart and the clients' return, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clients::{World, inspected};
use crate::ledger::{CommitRequest, Pages, Session};
use crate::support::client::{Api, Target, commit_request};
use crate::support::data::{Expectation, numbered_csv};
use crate::support::server::{TestServer, files_below, packed_bytes};
use crate::support::table::{assert_tables_hold, snapshot_chain};
use crate::support::{PATIENCE, wait_until};

/// What tables publish, read once.
type Tables = BTreeMap<String, Vec<(Value, String)>>;

/// After a restart: every session that may have changed since the last one.
pub fn check_after_restart(server: &TestServer, world: &World) {
    let api = server.api();
    let mut tables = Tables::new();
    for session in world.sessions() {
        if session.pages().is_checked {
            continue;
        }
        check_session(server, &api, &session, &mut tables);
        let mut pages = session.pages();
        if pages.receipt.is_some() {
            assert_repeats(&api, &session, &pages);
            pages.is_checked = !pages.is_busy();
        }
    }
}

/// Compares what is staged, told and published of a session with the ledger.
fn check_session(server: &TestServer, api: &Api, session: &Session, tables: &mut Tables) {
    let told = inspected(api.inspect(&session.id));
    let mut pages = session.pages();
    pages.note("after a restart:".to_owned());
    pages.observe(&told);
    if told["state"] != "committed" {
        pages.assert(pages.receipt.is_none(), || {
            format!("an acknowledged commit is forgotten: {told}")
        });
        for path in assert_staged(server, &pages, &told) {
            pages.assert(path.exists(), || format!("{} is gone", path.display()));
        }
        return;
    }
    let commit = &told["commit"];
    let first = pages.receipt.as_ref().map(|(_, answer)| answer);
    pages.assert(first.is_none_or(|first| first == commit), || {
        format!("inspect tells of another commit: {told}")
    });
    pages.assert(commit["rows_written"] == told["rows_estimate"], || {
        format!("other rows were committed than those of the parts: {told}")
    });
    let table = commit["table"].as_str().expect("a table's name");
    let mut wanted = pages.commits.iter().map(|wanted| wanted.target.dotted());
    pages.assert(wanted.any(|wanted| wanted == table), || {
        format!("nobody asked for this commit: {told}")
    });
    // Also when the answer got lost: what is committed is there for readers.
    let published = tables
        .entry(table.to_owned())
        .or_insert_with(|| published(server, &Target::new(table)));
    let snapshot = (commit["snapshot_id"].clone(), session.id.clone());
    pages.assert(published.contains(&snapshot), || {
        format!("readers of {table} do not find {snapshot:?}")
    });
}

/// The staged files of an open session, of which those with the bytes as they were sent are compared.
fn assert_staged(server: &TestServer, pages: &Pages, told: &Value) -> Vec<PathBuf> {
    let bodies = pages.bodies();
    let mut files = Vec::new();
    for part in told["parts"].as_array().map_or(&[][..], Vec::as_slice) {
        let number = part["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let body = &bodies[&number.expect("a part's number")];
        if let Some(found) = packed_bytes(&server.data_dir(), part) {
            pages.assert(found == body.bytes(), || {
                format!("the packed part is not as it was sent: {part}")
            });
            continue;
        }
        let blob = part["blob"].as_str().expect("a name in the staging folder");
        let staging = server.data_dir().join("staging");
        let staged = staging.join(format!("{blob}.{}", body.extension()));
        let found = fs::read(&staged);
        pages.assert(
            // An adopted part has a footer more after the bytes that were sent.
            found.as_ref().is_ok_and(|found| {
                let is_longer = part["parquet"]["adopted"] == true;
                found.starts_with(&body.bytes()) && (found.len() > body.bytes().len()) == is_longer
            }),
            || {
                let found = found.as_ref().map(Vec::len);
                format!(
                    "{} is not as it was sent: {found:?} bytes",
                    staged.display()
                )
            },
        );
        files.push(staged);
        if part["parquet"]["adopted"] != true {
            files.push(staging.join(format!("{blob}.data.parquet")));
        }
    }
    files
}

/// A repeat of an acknowledged commit gets the same answer.
fn assert_repeats(api: &Api, session: &Session, pages: &Pages) {
    let (request, first) = pages.receipt.as_ref().expect("an answered commit");
    let again = api.commit_body(&session.id, &request.body());
    pages.assert(again.status == 200 && again.json() == *first, || {
        format!("{first} was answered first, then {}", again.text())
    });
}

/// Snapshot and session of every commit in a table's metadata, oldest first; each session once.
fn published(server: &TestServer, target: &Target) -> Vec<(Value, String)> {
    let folder = server.table_dir(target).join("metadata");
    let hint = fs::read_to_string(folder.join("version-hint.text"))
        .unwrap_or_else(|error| panic!("{}: no version hint: {error}", target.dotted()));
    let file = folder.join(format!("{hint}.metadata.json"));
    let metadata: Value = serde_json::from_slice(&fs::read(&file).expect("a metadata file"))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut parent = Value::Null;
    let mut sessions = BTreeSet::new();
    let mut snapshots = metadata["snapshots"].as_array().expect("snapshots").clone();
    snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
    let published = snapshots.iter().map(|snapshot| {
        assert_eq!(
            snapshot["parent-snapshot-id"], parent,
            "no chain: {metadata:#}"
        );
        parent = snapshot["snapshot-id"].clone();
        let session = &snapshot["summary"]["calve.session-id"];
        let session = session.as_str().expect("a session's id").to_owned();
        let is_first = sessions.insert(session.clone());
        assert!(is_first, "{session} is in {} twice", target.dotted());
        (parent.clone(), session)
    });
    published.collect()
}

/// The end of a run: nothing is unknown any more, nothing is stuck, nothing is lost or doubled, nothing is left over.
pub fn check_at_the_end(server: &mut TestServer, world: &World) {
    // A last kill; from here on whatever nothing refers to goes soon.
    server.kill();
    server.set_variable("CALVE_CLEANING__GRACE", Some("0s"));
    server.restart();
    let api = server.api();
    let sessions = world.sessions();
    let mut tables = Tables::new();
    for session in &sessions {
        check_session(server, &api, session, &mut tables);
        resolve_lost_commit(&api, session);
    }
    let open = open_sessions(&sessions);
    let referenced: BTreeSet<PathBuf> = open
        .iter()
        .flat_map(|session| {
            let told = inspected(api.inspect(&session.id));
            assert_staged(server, &session.pages(), &told)
        })
        .collect();
    await_staging(server, &referenced);
    for (number, session) in open.iter().enumerate() {
        let fresh = Target::new(&format!("acme.late.table{number}"));
        let target = session.bound.clone().unwrap_or(fresh);
        commit_at_last(&api, session, target);
    }
    for session in &sessions {
        assert_repeats(&api, session, &session.pages());
    }
    check_tables(server, &sessions);
    await_staging(server, &BTreeSet::new());
    // Nothing is left of commits that were killed, either.
    server.terminate();
    server.assert_sound();
}

fn open_sessions(sessions: &[Arc<Session>]) -> Vec<Arc<Session>> {
    let is_open = |session: &&Arc<Session>| session.pages().receipt.is_none();
    sessions.iter().filter(is_open).cloned().collect()
}

/// Repeats a commit whose answer nobody got.
fn resolve_lost_commit(api: &Api, session: &Session) {
    let mut pages = session.pages();
    let Some(request) = pages.lost_commit.clone() else {
        return;
    };
    let answer = api.commit_body(&session.id, &request.body());
    let told = answer.json();
    let is_refused = request.mode == "fail" && told["code"] == "dataset_exists";
    pages.assert(answer.status == 200 || is_refused, || {
        format!("the repeat of a lost commit got {told}")
    });
    if !is_refused {
        pages.committed(&request, &told);
    }
}

/// Commits a session that was left open; it must work.
fn commit_at_last(api: &Api, session: &Session, target: Target) {
    let mode = match session.bound {
        Some(_) => "append",
        None => "fail",
    };
    let answer = api.commit_body(&session.id, &commit_request(&target, mode));
    let mut pages = session.pages();
    pages.assert(answer.status == 200, || {
        format!("the session is stuck: {}", answer.text())
    });
    let request = CommitRequest {
        target,
        mode,
        names_target: true,
    };
    let told = answer.json();
    pages.committed(&request, &told);
    let rows: u32 = pages.bodies().values().map(|body| body.rows).sum();
    pages.assert(told["rows_written"] == rows, || {
        format!("other rows were committed than the {rows} of the parts: {told}")
    });
}

/// Waits until the sweep has left nothing in the staging folder but these files.
fn await_staging(server: &TestServer, expected: &BTreeSet<PathBuf>) {
    let staging = server.data_dir().join("staging");
    // That it goes shows that sweeps have run, also when nothing else was left over.
    let stray = staging.join("00000000000000-stray");
    fs::create_dir_all(&stray).expect("make a folder");
    fs::write(stray.join("stray"), b"x").expect("write a stray file");
    wait_until("a sweep has removed the stray file", PATIENCE, || {
        files_below(&stray).is_empty().then_some(())
    });
    let found = || -> BTreeSet<PathBuf> {
        let found = files_below(&staging).into_iter();
        found.map(|path| staging.join(path)).collect()
    };
    wait_until("only what is referred to is staged", PATIENCE, || {
        let found = found();
        let gone: Vec<&PathBuf> = expected.difference(&found).collect();
        assert!(gone.is_empty(), "the sweep has removed {gone:?}");
        (found == *expected).then_some(())
    });
}

/// Every value of every row of every table, by the ledger and the order of the snapshots.
fn check_tables(server: &TestServer, sessions: &[Arc<Session>]) {
    let by_id: BTreeMap<&str, &Arc<Session>> = sessions
        .iter()
        .map(|session| (session.id.as_str(), session))
        .collect();
    let mut committed: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for session in sessions {
        let (request, answer) = session.pages().receipt.clone().expect("a receipt");
        let entry = (answer["snapshot_id"].to_string(), session.id.clone());
        let table = committed.entry(request.target.dotted()).or_default();
        table.insert(entry);
    }
    let mut tables = Vec::new();
    let mut chains = Vec::new();
    for (name, expected) in committed {
        let target = Target::new(&name);
        let chain = published(server, &target);
        let found: BTreeSet<(String, String)> = chain
            .iter()
            .map(|(snapshot, session)| (snapshot.to_string(), session.clone()))
            .collect();
        assert_eq!(
            found, expected,
            "{name}: the commits in it are not those answered"
        );
        let mut csv = String::new();
        for (_, session) in &chain {
            let pages = by_id[session.as_str()].pages();
            let is_overwrite = pages
                .receipt
                .as_ref()
                .is_some_and(|(request, _)| request.mode == "overwrite");
            if csv.is_empty() || is_overwrite {
                csv = numbered_csv(0, 0);
            }
            for body in pages.bodies().values() {
                csv.write_str(&body.csv_lines()).expect("write to memory");
            }
        }
        tables.push((server.table_dir(&target), Expectation::numbered().csv(&csv)));
        chains.push(chain);
    }
    let found = assert_tables_hold(&tables);
    for (table, chain) in found.iter().zip(chains) {
        let seen: Vec<(Value, String)> = snapshot_chain(table)
            .iter()
            .map(|snapshot| {
                let session = snapshot["summary"]["calve.session-id"].as_str();
                let session = session.expect("a session's id").to_owned();
                (snapshot["id"].clone(), session)
            })
            .collect();
        assert_eq!(seen, chain, "readers see another chain: {}", json!(table));
    }
}
