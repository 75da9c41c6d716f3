//! Runs the operations of a case against the server and compares every answer with the model's.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::data::{Cell, Column, Part};
use crate::model::{Model, Prediction, Request, Table};
use crate::operations::{Content, Damage, Operation, PARTS, TARGETS};
use crate::support::client::{AS_CSV, Answer, Headers, Target, session_id_of};
use crate::support::data::Expectation;
use crate::support::server::{TestServer, files_below};
use crate::support::table::{assert_tables_hold, snapshot_chain};

/// A table of a case as its readers must find it.
pub struct Expected {
    target: Target,
    table: Option<Table>,
    /// The ids of the sessions that made it, oldest first.
    commits: Vec<String>,
}

/// How often which operation was answered how.
pub type Tally = BTreeMap<String, usize>;

/// Runs one case on targets of its own; gives what its tables must hold.
pub fn run_case(
    server: &mut TestServer,
    case: usize,
    operations: &[Operation],
    tally: &mut Tally,
) -> Vec<Expected> {
    let targets = (0..TARGETS).map(|target| Target::new(&format!("acme.case{case}.table{target}")));
    let mut run = Run {
        server,
        model: Model::new(targets.collect()),
        ids: Vec::new(),
        rows: Counter::new(0),
        tally,
    };
    for operation in operations {
        run.step(operation);
    }
    (0..run.ids.len()).for_each(|session| run.look_at(session));
    let commits = |table: &Table| {
        let commits = table.commits.iter();
        commits.map(|session| run.ids[*session].clone()).collect()
    };
    let tables = run.model.tables.iter().zip(&run.model.targets);
    tables
        .map(|(table, target)| Expected {
            target: target.clone(),
            table: table.clone(),
            commits: table.as_ref().map_or(Vec::new(), commits),
        })
        .collect()
}

struct Run<'a> {
    server: &'a mut TestServer,
    model: Model,
    /// The sessions' ids, oldest first.
    ids: Vec<String>,
    /// Rows made so far: each has its own `id`.
    rows: Counter<i32>,
    tally: &'a mut Tally,
}

impl Run<'_> {
    fn step(&mut self, operation: &Operation) {
        // From the youngest; a case opens one first.
        let count = self.ids.len();
        let index = |session: usize| count - 1 - session.min(count - 1);
        match operation {
            Operation::Open { bound } => self.open(*bound),
            Operation::Put {
                session,
                part,
                content,
            } => self.put(index(*session), *part, content),
            Operation::Delete { session, part } => {
                let predicted = self.delete(index(*session), *part);
                self.count("delete", &predicted);
            }
            Operation::Inspect { session } => self.inspect(index(*session)),
            Operation::Commit {
                session,
                target,
                mode,
            } => {
                let request = Request {
                    target: *target,
                    mode,
                };
                self.commit(index(*session), request);
            }
            Operation::Repeat { session } => {
                let session = index(*session);
                if let Some(request) = self.model.sessions[session].last_request {
                    self.commit(session, request);
                }
            }
            Operation::Restart => {
                self.server.kill();
                self.server.restart();
                (0..count).for_each(|session| self.look_at(session));
            }
        }
    }

    fn open(&mut self, bound: Option<usize>) {
        let predicted = self.model.open(bound);
        let api = self.server.api();
        let target = bound.map(|target| self.model.targets[target].json());
        let answer = api.send_json("POST", "/v1/upload/session", &json!({"target": target}));
        let told = assert_predicted(answer, &predicted);
        assert_eq!(told.get("target").is_some(), bound.is_some(), "{told}");
        self.ids.push(session_id_of(&told));
    }

    fn put(&mut self, session: usize, number: u32, content: &Content) {
        let api = self.server.api();
        let id = &self.ids[session];
        let (predicted, answer) = match content {
            Content::Damaged(damage) => (
                self.model.put_damaged(session, number, *damage),
                api.put_part(id, number, damaged(*damage), headers(*damage)),
            ),
            Content::EmptyFile | Content::Rows { .. } => {
                let part = self.part(content);
                let csv = part.csv();
                (
                    self.model.put(session, number, part),
                    api.put_part(id, number, csv.as_bytes(), AS_CSV),
                )
            }
        };
        self.count("put", &predicted);
        assert_predicted(answer, &predicted);
    }

    fn count(&mut self, operation: &str, predicted: &Prediction) {
        let code = predicted.body["code"].as_str().unwrap_or_default();
        let outcome = format!("{operation} {} {code}", predicted.status);
        *self.tally.entry(outcome).or_default() += 1;
    }

    /// The part, with a number for each of its rows.
    fn part(&self, content: &Content) -> Part {
        let Content::Rows { rows, columns } = content else {
            return Part {
                columns: Vec::new(),
            };
        };
        let ids = (0..*rows).map(|_| {
            self.rows.set(self.rows.get() + 1);
            Cell::Whole(self.rows.get())
        });
        let id = Column {
            name: "id",
            cells: ids.collect(),
        };
        let others = columns.iter().map(|(name, cells)| Column {
            name,
            cells: cells.clone(),
        });
        Part {
            columns: std::iter::once(id).chain(others).collect(),
        }
    }

    fn delete(&mut self, session: usize, number: u32) -> Prediction {
        let predicted = self.model.delete(session, number);
        let answer = self.server.api().delete_part(&self.ids[session], number);
        assert_predicted(answer, &predicted);
        predicted
    }

    /// Everything that can be asked of a session without changing it: a part that is not there can be deleted again if it
    /// was there once, and a commit can be repeated.
    fn look_at(&mut self, session: usize) {
        self.inspect(session);
        let missing = (0..PARTS).filter(|part| !self.model.sessions[session].has(*part));
        for part in missing.collect::<Vec<_>>() {
            self.delete(session, part);
        }
        if let Some(done) = self.model.sessions[session].committed_with() {
            self.commit(session, done);
        }
    }

    fn inspect(&self, session: usize) {
        let answer = self.server.api().inspect(&self.ids[session]);
        assert_predicted(answer, &self.model.inspect(session));
    }

    fn commit(&mut self, session: usize, request: Request) {
        let predicted = self.model.commit(session, request);
        self.count(request.mode, &predicted);
        self.model.sessions[session].last_request = Some(request);
        let target = request
            .target
            .map(|target| self.model.targets[target].json());
        let body = json!({"target": target, "conflict_resolution": request.mode});
        let answer = self.server.api().commit_body(&self.ids[session], &body);
        let told = assert_predicted(answer, &predicted);
        if predicted.status == 200 {
            let commit_id = format!("snap_{}", told["snapshot_id"]);
            assert_eq!(told["commit_id"], commit_id, "{told}");
            self.model.committed(session, request, &told);
        }
    }
}

fn damaged(damage: Damage) -> &'static [u8] {
    match damage {
        Damage::ExtraField => b"id,whole\n1,2\n3,4,5\n",
        Damage::MissingField => b"id,whole,third\n1,2,3\n4\n",
        Damage::OpenQuote => b"id,whole\n1,2\n3,\"4\n",
        Damage::NoUtf8 => b"id,word\n1,\xc3\xa9\n2,\xff\n",
        Damage::WrongDigest => b"id,whole\n1,2\n",
    }
}

fn headers(damage: Damage) -> Headers<'static> {
    match damage {
        Damage::WrongDigest => &[
            ("x-file-name", "data.csv"),
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ],
        _ => AS_CSV,
    }
}

/// Fails unless the answer is as predicted; gives its body.
#[track_caller]
fn assert_predicted(answer: Answer, predicted: &Prediction) -> Value {
    let request = answer.request.clone();
    assert_eq!(
        answer.status,
        predicted.status,
        "{request} answered {}, predicted was {}",
        answer.text(),
        predicted.body
    );
    let told = match answer.body.is_empty() {
        true => Value::Null,
        false => answer.json(),
    };
    assert_told(&request, &predicted.body, &told);
    told
}

/// Everything predicted is told; an object may tell more.
#[track_caller]
fn assert_told(place: &str, predicted: &Value, told: &Value) {
    match (predicted, told) {
        (Value::Object(predicted), Value::Object(_)) => {
            for (key, value) in predicted {
                assert_told(&format!("{place} {key}"), value, &told[key]);
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (wanted, found) in wanted.iter().zip(found) {
                assert_told(place, wanted, found);
            }
        }
        _ => assert_eq!(told, predicted, "{place}: not as predicted"),
    }
}

/// Compares every value of every row of the tables, and whose commits they hold, in order. Where no commit was, there must
/// be no file.
pub fn assert_tables(server: &TestServer, expected: &[Expected]) {
    let mut tables = Vec::new();
    let mut commits = Vec::new();
    for one in expected {
        let Some(table) = &one.table else {
            let files = files_below(&server.table_dir(&one.target));
            assert!(files.is_empty(), "{}: {files:?}", one.target.dotted());
            continue;
        };
        tables.push((server.table_dir(&one.target), expectation(table)));
        commits.push(&one.commits);
    }
    let found = assert_tables_hold(&tables);
    for (table, commits) in found.iter().zip(commits) {
        let chain = snapshot_chain(table);
        let sessions = chain.iter().map(|snapshot| {
            let session = snapshot["summary"]["calve.session-id"].as_str();
            session.expect("a session's id").to_owned()
        });
        assert_eq!(sessions.collect::<Vec<_>>(), *commits, "{table}");
    }
}

fn expectation(table: &Table) -> Expectation {
    let columns = table.columns.iter();
    let types: Vec<(&str, &str)> = columns
        .map(|(name, kind)| (*name, kind.iceberg_type()))
        .collect();
    let rows: Vec<Vec<Value>> = table
        .rows
        .iter()
        .map(|row| {
            let columns = table.columns.iter();
            columns
                .map(|(name, kind)| row.get(name).unwrap_or(&Cell::Null).read_as(*kind))
                .collect()
        })
        .collect();
    Expectation::new(&types).rows(&json!(rows))
}
