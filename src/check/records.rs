//! Reads everything in the journal, and says what of it cannot be read or counted.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::repair::Repair;
use super::report::{Finding, Kind, Mode};
use super::{Context, cause};
use crate::control::Entries;
use crate::domain::{Expired, PartNumber, Session, SessionId, SessionState, Target};
use crate::store::{credentials, keys, records};

/// What the records say.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Sessions with their parts.
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Sessions of which something cannot be read: what they refer to is not known.
    pub(super) opaque_sessions: BTreeSet<SessionId>,
    /// Where the tables' current metadata files are.
    pub(super) tables: BTreeMap<Target, String>,
    /// Tables whose pointer cannot be read.
    pub(super) opaque_tables: BTreeSet<Target>,
    /// Tables whose version hint has yet to be written.
    pub(super) due_hints: BTreeSet<Target>,
    /// What expired snapshots of tables alone needed and is yet to be removed.
    pub(super) expired: BTreeMap<Target, Vec<Expired>>,
    /// Commit attempts that have not ended. Their files have these ids in their names.
    pub(super) attempts: BTreeSet<Uuid>,
}

/// A session's part chunks: values by key, in the order of keys.
type Chunks<'a> = Vec<(&'a Vec<u8>, &'a Vec<u8>)>;

/// Reads all records.
pub(super) fn read(context: &Context, entries: &Entries, findings: &mut Vec<Finding>) -> Records {
    let mut records = Records::default();
    let mut parts: BTreeMap<SessionId, BTreeMap<PartNumber, Chunks>> = BTreeMap::new();
    for (key, value) in entries {
        if let Some(id) = keys::session_id(key) {
            records.read_session(&id, value, findings);
        } else if let Some((id, part, _)) = keys::part_chunk(key) {
            let chunks = parts.entry(id).or_default().entry(part).or_default();
            chunks.push((key, value));
        } else if let Some(target) = keys::table_target(key) {
            records.read_pointer(target, value, findings);
        } else if let Some(target) = keys::pending_hint_target(key) {
            records.due_hints.insert(target);
        } else if let Some(target) = keys::expired_target(key) {
            records.read_expired(target, value, findings);
        } else if let Some(attempt) = keys::intent_attempt(key) {
            records.attempts.insert(attempt);
        } else if key.starts_with(keys::ACCESS_TOKENS) {
            if let Err(error) = credentials::token_in(value) {
                findings.push(Finding::new(Kind::RecordUnreadable, cause(&error)));
            }
        } else if !is_known(key) {
            let name = key.escape_ascii();
            findings.push(Finding::new(
                Kind::RecordUnknown,
                format!("the record `{name}`"),
            ));
        }
    }
    for (id, parts) in parts {
        records.read_parts(&id, &parts, findings);
    }
    if context.mode == Mode::Offline && records.opaque_sessions.is_empty() {
        records.compare_counters(entries, findings);
    }
    records
}

fn is_known(key: &[u8]) -> bool {
    [
        keys::MARKER,
        keys::OPEN_SESSIONS,
        keys::EXPIRED_SESSIONS,
        keys::COMMITTED_SESSIONS,
        keys::SERVER_KEYS,
    ]
    .contains(&key)
}

impl Records {
    fn read_session(&mut self, id: &SessionId, value: &[u8], findings: &mut Vec<Finding>) {
        match records::session_in(id, value) {
            Ok(session) => {
                self.sessions.insert(id.clone(), session);
            }
            Err(error) => {
                findings.push(Finding::new(Kind::RecordUnreadable, cause(&error)).session(id));
                self.opaque_sessions.insert(id.clone());
            }
        }
    }

    fn read_pointer(&mut self, target: Target, value: &[u8], findings: &mut Vec<Finding>) {
        match records::metadata_location(value) {
            Ok(location) => {
                self.tables.insert(target, location);
            }
            Err(error) => {
                findings.push(Finding::new(Kind::RecordUnreadable, cause(&error)).table(&target));
                self.opaque_tables.insert(target);
            }
        }
    }

    fn read_expired(&mut self, target: Target, value: &[u8], findings: &mut Vec<Finding>) {
        match records::expired_in(value) {
            Ok(expired) => self.expired.entry(target).or_default().push(expired),
            Err(error) => {
                findings.push(Finding::new(Kind::RecordUnreadable, cause(&error)).table(&target));
            }
        }
    }

    fn read_parts(
        &mut self,
        id: &SessionId,
        parts: &BTreeMap<PartNumber, Chunks>,
        findings: &mut Vec<Finding>,
    ) {
        if self.opaque_sessions.contains(id) {
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            let keys: Vec<Vec<u8>> = parts
                .values()
                .flatten()
                .map(|(key, _)| (*key).clone())
                .collect();
            let detail = format!("{} records of parts, and no session", keys.len());
            let orphaned = Finding::new(Kind::PartRecordOrphaned, detail).session(id);
            findings.push(orphaned.repair(Repair::RemoveRecords(keys)));
            return;
        };
        let mut superseded = Vec::new();
        for (part, chunks) in parts {
            match read_part(session, *part, chunks) {
                Ok(count) => {
                    superseded.extend(chunks[count..].iter().map(|(key, _)| (*key).clone()))
                }
                Err(reason) => {
                    let unreadable = Finding::new(Kind::RecordUnreadable, reason);
                    findings.push(unreadable.session(id).part(*part));
                    self.opaque_sessions.insert(id.clone());
                }
            }
        }
        if !superseded.is_empty() {
            let detail = format!("{} old chunks of records", superseded.len());
            let note = Finding::new(Kind::PartRecordSuperseded, detail).session(id);
            findings.push(note.repair(Repair::RemoveRecords(superseded)));
        }
    }

    fn compare_counters(&self, entries: &Entries, findings: &mut Vec<Finding>) {
        let (mut open, mut expired, mut committed) = (0u64, 0u64, 0u64);
        for session in self.sessions.values() {
            match session.state {
                SessionState::Open | SessionState::Committing { .. } => open += 1,
                SessionState::Expired => expired += 1,
                SessionState::Committed { .. } => committed += 1,
            }
        }
        for (key, counted) in [
            (keys::OPEN_SESSIONS, open),
            (keys::EXPIRED_SESSIONS, expired),
            (keys::COMMITTED_SESSIONS, committed),
        ] {
            let recorded = entries.get(key);
            let number = recorded.and_then(|bytes| bytes.as_slice().try_into().ok());
            let number = match (recorded, number) {
                (None, _) => Some(0),
                (Some(_), number) => number.map(u64::from_be_bytes),
            };
            if number == Some(counted) {
                continue;
            }
            let said = number.map_or_else(
                || "nothing readable".to_owned(),
                |number| number.to_string(),
            );
            let name = String::from_utf8_lossy(key);
            let detail = format!("the counter {name} says {said}, there are {counted}");
            findings.push(
                Finding::new(Kind::CounterWrong, detail).repair(Repair::SetCounter {
                    key: key.to_vec(),
                    recorded: recorded.cloned(),
                    counted,
                }),
            );
        }
    }
}

/// Adds a part to its session; gives the number of chunks that its record has.
fn read_part(session: &mut Session, part: PartNumber, chunks: &Chunks) -> Result<usize, String> {
    let values: Vec<&Vec<u8>> = chunks.iter().map(|(_, value)| *value).collect();
    let count = records::add_part(session, part, &values).map_err(|error| cause(&error))?;
    let numbered = chunks[..count].iter().zip(0u16..);
    let mut chunk_numbers = numbered.map(|((key, _), index)| (keys::part_chunk(key), index));
    if chunk_numbers.any(|(found, index)| found.is_none_or(|(_, _, chunk)| chunk != index)) {
        return Err("a chunk of its record is missing".to_owned());
    }
    // A record says which part it is of.
    match session.parts.get(&part) {
        Some(_) => Ok(count),
        None if session.deleted.contains(&part) => Ok(count),
        None => Err("its record is one of another part".to_owned()),
    }
}
