//! What clients sent and were told, and what follows from it for a cut at any position of the recording.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::parts::Part;
use super::support::client::Target;

/// A session that was opened.
#[derive(Debug)]
pub struct Opened {
    pub id: String,
    pub bound: Option<Target>,
    /// The position when the answer had come.
    pub answered: usize,
}

/// Something asked of a session.
#[derive(Debug)]
pub struct Event {
    pub session: String,
    /// The position before it was sent.
    pub sent: usize,
    /// The position when its answer had come, if one came.
    pub answered: Option<usize>,
    pub deed: Deed,
}

/// What was asked.
#[derive(Debug)]
pub enum Deed {
    Put(u32, Arc<Part>),
    Delete(u32),
    Commit(Commit),
}

/// A commit, and what was seen of it.
#[derive(Debug)]
pub struct Commit {
    pub target: Target,
    pub mode: &'static str,
    pub answer: Value,
    /// The table's files after it, with the hashes of their bytes.
    pub files: Vec<(PathBuf, String)>,
}

/// Everything that clients did. Of one session and part, and of one table's commits, the order is that of sending, and
/// each was over before the next was sent.
#[derive(Debug, Default)]
pub struct History {
    pub sessions: Vec<Opened>,
    pub events: Vec<Event>,
}

/// What a part may be after a cut: the first is what it was when nothing was under way.
pub type Possible = Vec<Option<Arc<Part>>>;

impl Event {
    pub fn is_certain(&self, position: usize) -> bool {
        self.answered.is_some_and(|answered| answered <= position)
    }

    fn is_possible(&self, position: usize) -> bool {
        self.sent < position
    }
}

impl History {
    /// The sessions that exist for certain.
    pub fn sessions_at(&self, position: usize) -> impl Iterator<Item = &Opened> {
        let sessions = self.sessions.iter();
        sessions.filter(move |session| session.answered <= position)
    }

    /// All parts that a session may have.
    pub fn parts_at(&self, session: &str, position: usize) -> BTreeMap<u32, Possible> {
        let mut parts: BTreeMap<u32, Possible> = BTreeMap::new();
        for event in self.events_of(session, position) {
            let (number, state) = match &event.deed {
                Deed::Put(number, part) => (*number, Some(part.clone())),
                Deed::Delete(number) => (*number, None),
                Deed::Commit(_) => continue,
            };
            let possible = parts.entry(number).or_insert_with(|| vec![None]);
            if event.is_certain(position) {
                *possible = vec![state];
            } else {
                possible.push(state);
            }
        }
        parts
    }

    /// The session's commit, if it may have happened.
    pub fn commit_at(&self, session: &str, position: usize) -> Option<(&Event, &Commit)> {
        let mut commits = self.events_of(session, position);
        commits.find_map(|event| Some((event, event.commit()?)))
    }

    /// The parts of a session when it was committed.
    pub fn committed_parts(&self, event: &Event) -> Vec<Arc<Part>> {
        let parts = self.parts_at(&event.session, event.sent);
        parts
            .into_values()
            .flat_map(|mut one| one.swap_remove(0))
            .collect()
    }

    /// The commits to a table that may have happened, in order.
    pub fn commits_to(&self, target: &Target, position: usize) -> Vec<(&Event, &Commit)> {
        let events = self.events.iter();
        let events = events.filter(|event| event.is_possible(position));
        let commits = events.filter_map(|event| Some((event, event.commit()?)));
        commits
            .filter(|(_, commit)| commit.target == *target)
            .collect()
    }

    fn events_of(&self, session: &str, position: usize) -> impl Iterator<Item = &Event> {
        let events = self.events.iter();
        events.filter(move |event| event.session == session && event.is_possible(position))
    }
}

impl Event {
    fn commit(&self) -> Option<&Commit> {
        match &self.deed {
            Deed::Commit(commit) => Some(commit),
            Deed::Put(..) | Deed::Delete(_) => None,
        }
    }
}
