//! Clients as they should be: whatever got no answer is sent again, the same, when the server is back.
//!
//! Each writes what it knows into the ledger: before a request is sent, and when its answer has come.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::bodies::{Body, Form};
use crate::gate::{Gate, Line, Request};
use crate::ledger::{CommitRequest, Content, Session};
use crate::support::client::{Answer, Headers, Target, session_id_of};
use crate::support::random::Random;

const AS_JSON: Headers = &[("content-type", "application/json")];
/// Tables that all clients commit to.
const SHARED: [&str; 3] = ["acme.shared.one", "acme.shared.two", "acme.shared.three"];
/// Parts of a session.
const PARTS_MAX: u64 = 6;

/// What all clients share.
pub struct World {
    pub gate: Gate,
    sessions: Mutex<Vec<Arc<Session>>>,
    bodies: AtomicU32,
    /// Tables that an acknowledged commit has made.
    tables: Mutex<BTreeSet<String>>,
}

impl World {
    pub fn new() -> Self {
        Self {
            gate: Gate::new(),
            sessions: Mutex::default(),
            bodies: AtomicU32::new(0),
            tables: Mutex::default(),
        }
    }

    /// Every session that was opened.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn body(&self, random: &mut Random) -> Arc<Body> {
        let number = self.bodies.fetch_add(1, Ordering::Relaxed);
        let rows = match random.one_in(12) {
            true => 2000 + random.below(2000),
            false => 1 + random.below(60),
        };
        let rows = u32::try_from(rows).expect("few rows");
        let form = match random.below(8) {
            0 => Form::GzipCsv,
            1 => Form::Ndjson,
            2 => Form::Parquet,
            _ => Form::Csv,
        };
        Arc::new(Body::new(number, rows, form))
    }

    fn exists(&self, target: &Target) -> bool {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.contains(&target.dotted())
    }

    fn made(&self, target: &Target) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(target.dotted());
    }
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    /// Refused: there is such a table.
    Exists,
    /// The answer was lost and the client did not ask again.
    Lost,
}

/// One client, which works until it is asked to begin nothing more.
pub struct Client<'a> {
    world: &'a World,
    line: Line<'a>,
    random: Random,
    name: String,
    /// Tables that one session each is committed to.
    own_tables: u32,
}

impl<'a> Client<'a> {
    pub fn new(world: &'a World, random: Random, number: usize) -> Self {
        Self {
            world,
            line: world.gate.enter(),
            random,
            name: format!("client{number}"),
            own_tables: 0,
        }
    }

    pub fn work(mut self) {
        while !self.world.gate.is_ending() {
            match self.random.below(10) {
                0 => self.upload_and_leave(),
                1 | 2 => self.race_for_a_part(),
                3 | 4 => self.race_with_the_commit(),
                _ => self.upload_and_commit(),
            }
        }
    }

    /// The usual: parts, some replaced and deleted, and a commit.
    fn upload_and_commit(&mut self) {
        let (session, request) = self.open();
        self.upload(&session);
        self.commit(&session, &request);
    }

    /// A session that stays open until the end of the run.
    fn upload_and_leave(&mut self) {
        let (session, _) = self.open();
        self.upload(&session);
    }

    /// Two writers of one part, or a writer and a deletion, at the same time.
    fn race_for_a_part(&mut self) {
        let (session, request) = self.open();
        self.upload(&session);
        for _ in 0..=self.random.below(3) {
            let part = u32::try_from(self.random.below(PARTS_MAX)).expect("small");
            let world = self.world;
            let left = world.body(&mut self.random);
            if self.random.one_in(3) && session.pages().is_staged(part) {
                self.line.race(
                    |line| put(line, &session, part, &left, false),
                    |line| delete(line, &session, part, false),
                );
            } else {
                let right = world.body(&mut self.random);
                self.line.race(
                    |line| put(line, &session, part, &left, false),
                    |line| put(line, &session, part, &right, false),
                );
            }
            inspect(&self.line, &session);
        }
        self.commit(&session, &request);
    }

    /// A writer or a deletion at the same time as the commit, or two of the same commit.
    fn race_with_the_commit(&mut self) {
        let (session, request) = self.open();
        self.upload(&session);
        let part = u32::try_from(self.random.below(PARTS_MAX)).expect("small");
        let world = self.world;
        let commits = |line: &Line| commit(world, line, &session, &request, false);
        match self.random.below(3) {
            0 => {
                let (left, right) = self.line.race(commits, commits);
                session.pages().assert(left == right, || {
                    format!("one commit ended as {left:?} and as {right:?}")
                });
            }
            // Part 0 stays, so that there is something to commit.
            1 if part > 0 && session.pages().is_staged(part) => {
                self.line
                    .race(|line| delete(line, &session, part, false), commits);
            }
            _ => {
                let body = world.body(&mut self.random);
                self.line
                    .race(|line| put(line, &session, part, &body, false), commits);
            }
        }
        self.commit(&session, &request);
    }

    /// Opens a session and decides what it will be committed to.
    fn open(&mut self) -> (Arc<Session>, CommitRequest) {
        let target = match self.random.below(8) {
            0 => {
                self.own_tables += 1;
                format!("acme.{}.table{}_alone", self.name, self.own_tables)
            }
            1 | 2 => format!("acme.{}.table0", self.name),
            _ => (*self.random.pick(&SHARED)).to_owned(),
        };
        let target = Target::new(&target);
        let is_bound = self.random.one_in(2);
        let body = match is_bound {
            true => json!({"target": target.json()}).to_string(),
            false => String::new(),
        };
        // A session whose answer was lost is one that nobody knows of: it holds nothing.
        let answer = self.line.send(&Request {
            method: "POST",
            path: "/v1/upload/session".to_owned(),
            headers: AS_JSON,
            body: Some(body.as_bytes()),
        });
        let session = Arc::new(Session::new(
            session_id_of(&answer.expect_json(201)),
            is_bound.then(|| target.clone()),
        ));
        self.world
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session.clone());
        let mode = *self.random.pick(&[
            "append",
            "append",
            "append",
            "append",
            "append",
            "append",
            "overwrite",
            "fail",
        ]);
        let names_target = !is_bound || self.random.one_in(2);
        let request = CommitRequest {
            target,
            mode,
            names_target,
        };
        (session, request)
    }

    /// Some parts, the first of them number 0, which stays; changed here and there.
    fn upload(&mut self, session: &Session) {
        let parts = 1 + self.random.below(PARTS_MAX);
        for part in 0..u32::try_from(parts).expect("small") {
            self.put(session, part);
        }
        while self.random.one_in(2) {
            let part = u32::try_from(self.random.below(parts)).expect("small");
            match self.random.below(4) {
                0 => inspect(&self.line, session),
                1 if part > 0 && session.pages().is_staged(part) => {
                    delete(&self.line, session, part, self.random.one_in(4));
                    if self.random.one_in(2) {
                        // Deleting it again is the same, and so is a repeat after a lost answer.
                        delete(&self.line, session, part, false);
                    }
                }
                _ => self.put(session, part),
            }
        }
    }

    fn put(&mut self, session: &Session, part: u32) {
        let body = self.world.body(&mut self.random);
        // Part 0 is there for certain.
        let gives_up = part > 0 && self.random.one_in(4);
        put(&self.line, session, part, &body, gives_up);
    }

    /// Commits; when the table exists and must not, in another mode. Then asks what became of it.
    fn commit(&mut self, session: &Session, request: &CommitRequest) {
        let gives_up = self.random.one_in(3);
        let mut request = request.clone();
        if commit(self.world, &self.line, session, &request, gives_up) == Outcome::Exists {
            request.mode = *self.random.pick(&["append", "append", "overwrite"]);
            if self.random.one_in(4) {
                // Left open, to be committed at the end of the run.
                return;
            }
            commit(self.world, &self.line, session, &request, gives_up);
        }
        if session.pages().receipt.is_none() {
            return;
        }
        match self.random.below(4) {
            0 => inspect(&self.line, session),
            1 => {
                let again = commit(self.world, &self.line, session, &request, false);
                session.pages().assert(again == Outcome::Committed, || {
                    format!("a repeat of an answered commit ended as {again:?}")
                });
            }
            2 => self.put(session, 0),
            _ => {}
        }
    }
}

/// Uploads a part. Says so if the answer was lost and the client did not ask again.
fn put(line: &Line, session: &Session, part: u32, body: &Arc<Body>, gives_up: bool) {
    let is_committed = session.pages().receipt.is_some();
    let change = session.pages().begin(part, Content::Body(body.clone()));
    let bytes = body.bytes();
    let request = Request {
        method: "PUT",
        path: format!("/v1/upload/{}?part={part}", session.id),
        headers: body.headers(),
        body: Some(&bytes),
    };
    let Some(answer) = answer(line, &request, gives_up) else {
        session.pages().not_applied(change, "given up");
        return;
    };
    let mut pages = session.pages();
    if answer.status == 201 {
        let stored = answer.json();
        let is_right = stored["sha256"] == body.sha256.as_str()
            && stored["rows"] == body.rows
            && stored["bytes"] == body.byte_count
            && stored["part"] == part;
        pages.assert(is_right, || {
            format!("{body:?} was stored as something else: {stored}")
        });
        pages.assert(!is_committed, || {
            "a part was stored in a committed session".to_owned()
        });
        pages.applied(change);
        return;
    }
    let refusal = answer.json();
    let may_be = match refusal["code"].as_str() {
        Some("part_superseded") => pages
            .possible_beside(change)
            .iter()
            .any(|other| *other != Content::Never),
        Some("session_committing" | "already_committed") => !pages.commits.is_empty(),
        _ => false,
    };
    pages.assert(may_be && answer.status == 409, || {
        format!("part {part} was refused: {refusal}")
    });
    pages.not_applied(change, refusal["code"].as_str().expect("a code"));
}

/// Deletes a part that was there.
fn delete(line: &Line, session: &Session, part: u32, gives_up: bool) {
    let change = session.pages().begin(part, Content::Deleted);
    let request = Request {
        method: "DELETE",
        path: format!("/v1/upload/{}/part/{part}", session.id),
        headers: &[],
        body: None,
    };
    let Some(answer) = answer(line, &request, gives_up) else {
        session.pages().not_applied(change, "given up");
        return;
    };
    let mut pages = session.pages();
    match (answer.status, answer.json()["code"].as_str()) {
        (200, None) => pages.applied(change),
        (409, Some(code @ ("session_committing" | "already_committed")))
            if !pages.commits.is_empty() =>
        {
            pages.not_applied(change, code);
        }
        _ => pages.assert(false, || {
            format!("part {part} could not be deleted: {}", answer.text())
        }),
    }
}

/// Compares what the server tells of a session that no one else changes now.
fn inspect(line: &Line, session: &Session) {
    let answer = line.send(&Request {
        method: "GET",
        path: format!("/v1/upload/{}/inspect", session.id),
        headers: &[],
        body: None,
    });
    session.pages().observe(&inspected(answer));
}

/// What inspect answered; null when nothing is staged.
pub fn inspected(answer: Answer) -> Value {
    match answer.status {
        204 => Value::Null,
        _ => answer.expect_json(200),
    }
}

fn commit(
    world: &World,
    line: &Line,
    session: &Session,
    wanted: &CommitRequest,
    gives_up: bool,
) -> Outcome {
    let existed = world.exists(&wanted.target) && session.pages().commits.is_empty();
    session.pages().begin_commit(wanted);
    let body = wanted.body().to_string();
    let request = Request {
        method: "POST",
        path: format!("/v1/upload/{}/commit", session.id),
        headers: AS_JSON,
        body: Some(body.as_bytes()),
    };
    let answer = answer(line, &request, gives_up);
    let mut pages = session.pages();
    pages.end_commit();
    let Some(answer) = answer else {
        pages.note("the commit is given up".to_owned());
        pages.lost_commit = Some(wanted.clone());
        return Outcome::Lost;
    };
    let told = answer.json();
    match (answer.status, told["code"].as_str()) {
        (200, None) => {
            pages.assert(!(existed && wanted.mode == "fail"), || {
                format!("the table was there before: {told}")
            });
            pages.assert(told["table"] == wanted.target.dotted(), || {
                format!("committed to another table: {told}")
            });
            pages.committed(wanted, &told);
            drop(pages);
            world.made(&wanted.target);
            Outcome::Committed
        }
        (409, Some("dataset_exists")) if wanted.mode == "fail" => {
            pages.assert(pages.receipt.is_none(), || {
                format!("a committed session was refused: {told}")
            });
            // A table that only this session is committed to exists only if it was.
            pages.assert(!wanted.target.dataset.ends_with("alone"), || {
                format!("refused because of its own commit: {told}")
            });
            pages.note("refused: the table exists".to_owned());
            Outcome::Exists
        }
        _ => {
            pages.assert(false, || format!("the commit was refused: {told}"));
            Outcome::Lost
        }
    }
}

/// Sends a request until it is answered, or once.
fn answer(line: &Line, request: &Request, gives_up: bool) -> Option<Answer> {
    match gives_up {
        true => line.send_once(request),
        false => Some(line.send(request)),
    }
}
