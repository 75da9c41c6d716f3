//! What the clients know: of each part what it may be now, of each session which commits were asked for and answered.
//!
//! Of a part the ledger keeps the set of contents that it may have. A change that was sent adds its outcome; its
//! acknowledgement leaves that outcome alone, and those of the changes that overlapped it in time. What is observed while
//! nothing is under way, as after a restart, must be in the set, and leaves that alone. So an acknowledged part can only
//! be what was acknowledged, and an unknown one is there wholly or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::bodies::Body;
use crate::support::client::Target;

/// What a part may be.
#[derive(Clone, PartialEq)]
pub enum Content {
    Never,
    Deleted,
    Body(Arc<Body>),
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => formatter.write_str("never there"),
            Self::Deleted => formatter.write_str("deleted"),
            Self::Body(body) => write!(formatter, "upload {} ({:?})", body.number, body.form),
        }
    }
}

/// A commit as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRequest {
    pub target: Target,
    pub mode: &'static str,
    /// Whether the request names the target; a bound session's need not.
    pub names_target: bool,
}

impl CommitRequest {
    pub fn body(&self) -> Value {
        match self.names_target {
            true => json!({"target": self.target.json(), "conflict_resolution": self.mode}),
            false => json!({"conflict_resolution": self.mode}),
        }
    }
}

/// A session, shared by the clients that use it and the checks.
pub struct Session {
    pub id: String,
    /// The table it is bound to.
    pub bound: Option<Target>,
    pages: Mutex<Pages>,
}

/// A session's part of the ledger.
#[derive(Default)]
pub struct Pages {
    parts: BTreeMap<u32, Part>,
    last_change: u64,
    /// Every commit that was asked for.
    pub commits: Vec<CommitRequest>,
    commits_under_way: usize,
    /// The answered one.
    pub receipt: Option<(CommitRequest, Value)>,
    /// A commit that got no answer and whose client has given up.
    pub lost_commit: Option<CommitRequest>,
    /// Whether nobody uses it any more, and a check has found it committed after a restart.
    pub is_checked: bool,
    history: Vec<String>,
}

struct Part {
    possible: Vec<Content>,
    pending: Vec<Change>,
}

/// A change that was sent and not answered.
struct Change {
    number: u64,
    outcome: Content,
    /// Outcomes of the changes that were acknowledged meanwhile.
    overlapped: Vec<Content>,
}

/// Names a change that is under way.
#[derive(Clone, Copy)]
pub struct ChangeId {
    part: u32,
    number: u64,
}

impl Session {
    pub fn new(id: String, bound: Option<Target>) -> Self {
        Self {
            id,
            bound,
            pages: Mutex::default(),
        }
    }

    /// Its pages, for a moment.
    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Fails the test, with what happened to the session.
    #[track_caller]
    pub fn assert(&self, holds: bool, message: impl FnOnce() -> String) {
        assert!(
            holds,
            "{}\nThe session's history:\n  {}",
            message(),
            self.history.join("\n  ")
        );
    }

    pub fn note(&mut self, event: String) {
        self.history.push(event);
    }

    /// A change is about to be sent.
    pub fn begin(&mut self, part: u32, outcome: Content) -> ChangeId {
        self.note(format!("part {part}: to be {outcome:?}"));
        self.last_change += 1;
        let number = self.last_change;
        let pending = &mut self
            .parts
            .entry(part)
            .or_insert_with(|| Part {
                possible: vec![Content::Never],
                pending: Vec::new(),
            })
            .pending;
        pending.push(Change {
            number,
            outcome,
            overlapped: Vec::new(),
        });
        ChangeId { part, number }
    }

    /// The change was acknowledged.
    pub fn applied(&mut self, id: ChangeId) {
        let change = self.take(id);
        self.note(format!("part {}: is {:?}", id.part, change.outcome));
        let part = self.parts.get_mut(&id.part).expect("a part with a change");
        for other in &mut part.pending {
            other.overlapped.push(change.outcome.clone());
        }
        part.possible = change.overlapped;
        part.possible.push(change.outcome);
    }

    /// The change was refused, or its client has given it up after a restart has shown what became of it.
    pub fn not_applied(&mut self, id: ChangeId, why: &str) {
        let change = self.take(id);
        self.note(format!("part {}: {why}, not {:?}", id.part, change.outcome));
    }

    fn take(&mut self, id: ChangeId) -> Change {
        let pending = &mut self
            .parts
            .get_mut(&id.part)
            .expect("a part with a change")
            .pending;
        let index = pending.iter().position(|change| change.number == id.number);
        pending.remove(index.expect("a change that is under way"))
    }

    /// Everything the part may be while this change is under way, but for its own outcome.
    pub fn possible_beside(&self, id: ChangeId) -> Vec<Content> {
        let part = &self.parts[&id.part];
        let mut possible = part.possible.clone();
        for change in &part.pending {
            match change.number == id.number {
                true => possible.extend(change.overlapped.iter().cloned()),
                false => possible.push(change.outcome.clone()),
            }
        }
        possible
    }

    /// Whether a part is surely staged now.
    pub fn is_staged(&self, part: u32) -> bool {
        self.parts.get(&part).is_some_and(|part| {
            part.pending.is_empty()
                && part
                    .possible
                    .iter()
                    .all(|content| matches!(content, Content::Body(_)))
        })
    }

    /// The session's parts as inspect tells them (null: none) while nothing changes them.
    pub fn observe(&mut self, inspected: &Value) {
        let listed = inspected["parts"].as_array().map_or(&[][..], Vec::as_slice);
        let found: BTreeMap<u64, &Value> = listed
            .iter()
            .map(|part| (part["id"].as_u64().expect("a part's number"), part))
            .collect();
        let is_known = |number: &u64| self.parts.keys().any(|known| u64::from(*known) == *number);
        let unknown: Vec<&u64> = found.keys().filter(|number| !is_known(number)).collect();
        self.assert(unknown.is_empty(), || {
            format!("parts that nobody sent: {unknown:?}")
        });
        let numbers: Vec<u32> = self.parts.keys().copied().collect();
        for number in numbers {
            let part = &self.parts[&number];
            let pending = part.pending.iter().map(|change| &change.outcome);
            let possible: Vec<&Content> = part.possible.iter().chain(pending).collect();
            let record = found.get(&u64::from(number)).copied();
            let mut matching: Vec<Content> = Vec::new();
            for content in &possible {
                if is_told_by(content, record) && !matching.contains(content) {
                    matching.push((*content).clone());
                }
            }
            self.assert(!matching.is_empty(), || {
                let found = record.map_or("absent".to_owned(), Value::to_string);
                format!("part {number} is {found}, but can only be one of {possible:?}")
            });
            self.note(format!("part {number}: seen as {matching:?}"));
            let part = self.parts.get_mut(&number).expect("a known part");
            part.possible = matching;
            for change in &mut part.pending {
                change.overlapped.clear();
            }
        }
    }

    /// The parts that are staged, once it is known of each.
    pub fn bodies(&self) -> BTreeMap<u32, Arc<Body>> {
        let staged = self.parts.iter().filter_map(|(number, part)| {
            self.assert(part.possible.len() == 1 || !is_staged(part), || {
                format!("part {number} may be any of {:?}", part.possible)
            });
            match part.possible.first() {
                Some(Content::Body(body)) => Some((*number, body.clone())),
                _ => None,
            }
        });
        staged.collect()
    }

    /// Whether a change or a commit is under way.
    pub fn is_busy(&self) -> bool {
        self.commits_under_way > 0 || self.parts.values().any(|part| !part.pending.is_empty())
    }

    /// A commit is about to be sent.
    pub fn begin_commit(&mut self, request: &CommitRequest) {
        self.note(format!("to be committed: {request:?}"));
        self.commits.push(request.clone());
        self.commits_under_way += 1;
    }

    /// A commit was answered with 200: the first such answer is kept, every other must be the same.
    pub fn committed(&mut self, request: &CommitRequest, answer: &Value) {
        self.note(format!("committed: {answer}"));
        match &self.receipt {
            Some((_, first)) => self.assert(first == answer, || {
                format!("a commit was answered twice, with {first} and with {answer}")
            }),
            None => self.receipt = Some((request.clone(), answer.clone())),
        }
    }

    /// No answer to a commit is awaited any more.
    pub fn end_commit(&mut self) {
        self.commits_under_way -= 1;
    }
}

fn is_staged(part: &Part) -> bool {
    let is_body = |content: &Content| matches!(content, Content::Body(_));
    part.possible.iter().any(is_body)
}

/// Whether inspect's record of a part (none: it lists no such part) says that it is this.
fn is_told_by(content: &Content, record: Option<&Value>) -> bool {
    match (content, record) {
        (Content::Never | Content::Deleted, None) => true,
        (Content::Body(body), Some(record)) => {
            record["sha256"] == body.sha256.as_str()
                && record["rows"] == body.rows
                && record["bytes"] == body.byte_count
                && record["kind"] == body.kind()
        }
        (Content::Never | Content::Deleted, Some(_)) | (Content::Body(_), None) => false,
    }
}
