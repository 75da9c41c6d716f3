//! What clients do while they are recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::history::{Commit, Deed, Event, History, Opened};
use super::parts::{Form, NARROW, Part};
use super::recorded::Recorded;
use super::recorder::Recorder;
use super::support::PATIENCE;
use super::support::client::{Answer, Api, Target, commit_request, session_id_of};
use super::support::server::files_below;

/// The tables that the workload makes.
pub const TABLES: [&str; 3] = ["acme.cut.orders", "acme.cut.bound", "acme.cut.wide"];
const THREADS: u32 = 4;

/// A client of one run of the server, which writes down what it does.
struct Client<'a> {
    api: Api,
    warehouse: PathBuf,
    recorder: Arc<Recorder>,
    notes: &'a Notes,
}

/// What all clients share.
#[derive(Default)]
struct Notes {
    history: Mutex<History>,
    rows: AtomicUsize,
}

impl Notes {
    /// A part of rows that were never sent before.
    fn part(&self, form: Form, rows: usize) -> Arc<Part> {
        let first = self.rows.fetch_add(rows, Ordering::Relaxed);
        Arc::new(Part::new(form, first, rows))
    }
}

impl Client<'_> {
    fn open(&self, bound: Option<&Target>) -> String {
        let id = match bound {
            Some(target) => session_id_of(&self.api.open_bound_session(target)),
            None => self.api.open_session(),
        };
        let opened = Opened {
            id: id.clone(),
            bound: bound.cloned(),
            answered: self.recorder.position(),
        };
        let mut history = self.notes.history.lock().expect("no client failed");
        history.sessions.push(opened);
        id
    }

    /// Notes what was asked of a session, and what became of it. Says whether an answer came.
    fn note(
        &self,
        session: &str,
        deed: Deed,
        ask: impl FnOnce() -> Result<Answer, ureq::Error>,
        hear: impl FnOnce(Answer, &mut Deed),
    ) -> bool {
        let sent = self.recorder.position();
        let index = {
            let mut history = self.notes.history.lock().expect("no client failed");
            history.events.push(Event {
                session: session.to_owned(),
                sent,
                answered: None,
                deed,
            });
            history.events.len() - 1
        };
        let Ok(answer) = ask() else {
            return false;
        };
        let answered = self.recorder.position();
        let mut history = self.notes.history.lock().expect("no client failed");
        let event = &mut history.events[index];
        event.answered = Some(answered);
        hear(answer, &mut event.deed);
        true
    }

    fn put(&self, session: &str, number: u32, part: &Arc<Part>) -> bool {
        let path = format!("/v1/upload/{session}?part={number}");
        self.note(
            session,
            Deed::Put(number, part.clone()),
            || {
                self.api
                    .try_send("PUT", &path, part.headers(), Some(&part.body))
            },
            |answer, _| {
                let answer = answer.expect_json(201);
                assert_eq!(answer["sha256"], part.sha256, "{answer}");
            },
        )
    }

    fn put_new(&self, session: &str, number: u32, form: Form, rows: usize) -> bool {
        self.put(session, number, &self.notes.part(form, rows))
    }

    fn delete(&self, session: &str, number: u32) -> bool {
        let path = format!("/v1/upload/{session}/part/{number}");
        self.note(
            session,
            Deed::Delete(number),
            || self.api.try_send("DELETE", &path, &[], None),
            |answer, _| {
                answer.expect(200);
            },
        )
    }

    fn commit(&self, session: &str, target: &Target, mode: &'static str) {
        let commit = Commit {
            target: target.clone(),
            mode,
            answer: json!(null),
            files: Vec::new(),
        };
        let body = commit_request(target, mode).to_string();
        let path = format!("/v1/upload/{session}/commit");
        let headers = [("content-type", "application/json")];
        let table_dir = self.warehouse.join(target.dotted().replace('.', "/"));
        let is_answered = self.note(
            session,
            Deed::Commit(commit),
            || {
                self.api
                    .try_send("POST", &path, &headers, Some(body.as_bytes()))
            },
            |answer, deed| {
                if let Deed::Commit(commit) = deed {
                    commit.answer = answer.expect_json(200);
                    commit.files = hashes_below(&table_dir);
                }
            },
        );
        assert!(is_answered, "the commit got no answer");
    }
}

/// A table's files, which never change; the version hint does.
fn hashes_below(table_dir: &Path) -> Vec<(PathBuf, String)> {
    let files = files_below(table_dir).into_iter();
    files
        .filter(|file| !file.ends_with("version-hint.text"))
        .map(|file| {
            let bytes = fs::read(table_dir.join(&file)).expect("a file of the table");
            (file, hex::encode(Sha256::digest(bytes)))
        })
        .collect()
}

/// Runs everything; gives what the clients know.
pub fn run(recorded: &mut Recorded) -> History {
    let notes = Notes::default();
    let [orders, bound, wide] = TABLES.map(Target::new);
    one_client(&recorded.client(&notes), &orders, &bound);
    recorded.server.terminate();
    recorded.server.restart();
    first_parts(&recorded.client(&notes));
    many_clients(&recorded.client(&notes), &orders);
    killed_clients(recorded, &notes);
    recorded.server.restart();
    wide_parts(&recorded.client(&notes), &wide, 300, 6);
    last_client(&recorded.client(&notes), &orders, &bound);
    recorded.server.terminate();
    notes.history.into_inner().expect("no client failed")
}

/// So many long records that the journal moves what it keeps, and overwrites the place where it was.
pub fn run_until_moved(recorded: &mut Recorded) -> History {
    let notes = Notes::default();
    let [orders, _, wide] = TABLES.map(Target::new);
    let client = recorded.client(&notes);
    let kept = client.open(None);
    client.put_new(&kept, 0, Form::Csv, 10);
    let committed = client.open(None);
    client.put_new(&committed, 0, Form::Parquet, 10);
    client.commit(&committed, &orders, "fail");
    wide_parts(&client, &wide, 1500, 60);
    recorded.server.terminate();
    notes.history.into_inner().expect("no client failed")
}

impl Recorded {
    fn client<'a>(&self, notes: &'a Notes) -> Client<'a> {
        Client {
            api: self.server.api(),
            warehouse: self.server.warehouse(),
            recorder: self.recorder.clone(),
            notes,
        }
    }
}

/// Every operation once, one after the other.
fn one_client(client: &Client, orders: &Target, bound: &Target) {
    let unbound = client.open(None);
    for (number, form) in (0..).zip(NARROW) {
        client.put_new(&unbound, number, form, 40);
    }
    // Larger than a block of the receiver: written in several pieces.
    client.put_new(&unbound, 7, Form::Csv, 20_000);
    client.put_new(&unbound, 1, Form::Ndjson, 30);
    client.delete(&unbound, 2);
    client.commit(&unbound, orders, "fail");
    let session = client.open(Some(bound));
    client.put_new(&session, 0, Form::Parquet, 50);
    client.put_new(&session, 3, Form::Csv, 50);
    client.commit(&session, bound, "append");
    let session = client.open(None);
    client.put_new(&session, 0, Form::GzippedCsv, 60);
    client.commit(&session, orders, "append");
    let repeated = client.api.commit(&session, orders, "append");
    repeated.expect(200);
    let left = client.open(None);
    client.put_new(&left, 0, Form::Csv, 20);
    client.put_new(&left, 1, Form::Parquet, 20);
    client.delete(&left, 0);
    client.open(Some(bound));
}

/// The first parts of a session come at once: one of them makes the folder, and the others use it.
fn first_parts(client: &Client) {
    for _ in 0..6 {
        let session = client.open(None);
        thread::scope(|scope| {
            for number in 0..3 {
                let session = &session;
                scope.spawn(move || client.put_new(session, number, Form::Csv, 5));
            }
        });
    }
}

/// Four threads upload to one session and to their own, while one more commits.
fn many_clients(client: &Client, orders: &Target) {
    let shared = client.open(None);
    let own: Vec<String> = (0..THREADS).map(|_| client.open(None)).collect();
    thread::scope(|scope| {
        for (thread, own) in (0..).zip(&own) {
            let shared = &shared;
            scope.spawn(move || {
                for (round, form) in (0..).zip(NARROW) {
                    client.put_new(shared, 4 * round + thread, form, 25);
                    client.put_new(own, round / 2, form, 25);
                }
                client.delete(shared, thread);
            });
        }
        scope.spawn(|| {
            for mode in ["append", "overwrite", "append"] {
                let session = client.open(None);
                client.put_new(&session, 0, Form::Csv, 70);
                client.put_new(&session, 1, Form::Ndjson, 70);
                client.commit(&session, orders, mode);
            }
        });
    });
    client.commit(&shared, orders, "append");
}

/// Four threads upload until the server is killed.
fn killed_clients(recorded: &mut Recorded, notes: &Notes) {
    const ACKNOWLEDGED: usize = 12;
    let client = &recorded.client(notes);
    let session = client.open(None);
    let (progress, acknowledgements) = mpsc::channel();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (session, progress) = (&session, progress.clone());
            scope.spawn(move || {
                let mut number = thread;
                while client.put_new(session, number % 32, Form::Csv, 15) {
                    number += THREADS;
                    // The receiver stops listening when it has heard enough.
                    let _unheard = progress.send(());
                }
            });
        }
        for _ in 0..ACKNOWLEDGED {
            acknowledgements
                .recv_timeout(PATIENCE)
                .expect("an acknowledged part");
        }
        recorded.kill();
    });
}

/// Parts whose records are long, replaced again and again by two threads.
fn wide_parts(client: &Client, wide: &Target, columns: usize, rounds: u32) {
    let sessions = [client.open(None), client.open(None)];
    thread::scope(|scope| {
        for session in &sessions {
            scope.spawn(move || {
                for round in 0..rounds {
                    client.put_new(session, round % 2, Form::Wide(columns), 1);
                }
            });
        }
    });
    client.commit(&sessions[0], wide, "fail");
}

/// Sessions and tables of runs that have ended are gone on with.
fn last_client(client: &Client, orders: &Target, bound: &Target) {
    let session = client.open(None);
    client.put_new(&session, 0, Form::Parquet, 35);
    client.commit(&session, orders, "append");
    let session = client.open(Some(bound));
    client.put_new(&session, 0, Form::Ndjson, 35);
    client.commit(&session, bound, "overwrite");
}
