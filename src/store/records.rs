//! The journal's records: what each looks like on disk, with its version.
//!
//! Every record is JSON with a `v`. A newer `v` than this build knows is refused by name; an older one
//! would be migrated here. Part records are the many and the long ones, so they are compressed (a start that has
//! to read a million of them takes a third of the time); those of store format 1 are not, and are read as they are. sled
//! wants small values, so they are cut into chunks of `CHUNK_BYTES`: each value starts with the number of chunks
//! (u16, big-endian).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Read;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::journal::{Expectation, Journal, Write};
use super::keys;
use crate::domain::{
    CommitIntent, CommitReceipt, CommitRequest, Expired, PartNumber, PartRecord, Session,
    SessionId, SessionState, Target,
};
use crate::error::{Error, Result};

/// Record version this build writes.
const VERSION: u32 = 1;
/// Largest payload of one value.
const CHUNK_BYTES: usize = 4096;
/// Largest part record; that of the widest part that the configuration allows has a tenth of it.
const PART_RECORD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What a compressed record starts with (RFC 8878 section 3.1.1); JSON starts with a brace.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Records are small and many: the quickest level.
const ZSTD_LEVEL: i32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    record: T,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionRecord {
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    target: Option<Target>,
    /// The user who opened it; left out when authentication was off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    committed: Option<CommittedRecord>,
    /// Whether the sweep has ended it.
    #[serde(default)]
    is_expired: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct CommittedRecord {
    request: CommitRequest,
    receipt: CommitReceipt,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum StoredPart {
    Staged { part: Box<PartRecord> },
    Deleted,
}

#[derive(Debug, Serialize, Deserialize)]
struct IntentRecord {
    session: SessionId,
    target: Target,
    begun_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableRecord {
    metadata_location: String,
}

pub(super) fn encode<T: Serialize>(record: T) -> Result<Vec<u8>> {
    serde_json::to_vec(&Versioned { v: VERSION, record }).map_err(Error::internal)
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let unreadable = |cause: &dyn std::fmt::Display| {
        Error::internal(format_args!("the record of {what} cannot be read: {cause}"))
    };
    let version: Version = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    if version.v > VERSION {
        return Err(unreadable(&format_args!(
            "it has version {}, this calve knows {VERSION}; start the newer calve that wrote it",
            version.v
        )));
    }
    let versioned: Versioned<T> =
        serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    Ok(versioned.record)
}

/// The session's own record (without its parts), as stored. A session that is committing is stored
/// open: only the transaction that publishes its snapshot stores it committed.
pub fn session_value(session: &Session) -> Result<Vec<u8>> {
    let committed = match &session.state {
        SessionState::Open | SessionState::Expired | SessionState::Committing { .. } => None,
        SessionState::Committed { request, receipt } => Some(CommittedRecord {
            request: request.clone(),
            receipt: receipt.clone(),
        }),
    };
    encode(SessionRecord {
        created_at: session.created_at,
        expires_at: session.expires_at,
        target: session.target.clone(),
        owner: session.owner.clone(),
        committed,
        is_expired: session.state == SessionState::Expired,
    })
}

/// The write that opens a session, unless as many are open as may be.
pub fn open_session(session: &Session, open_max: u64) -> Result<Write> {
    let key = keys::session(&session.id);
    Ok(Write {
        expectations: vec![Expectation {
            key: key.clone(),
            value: None,
        }],
        puts: vec![(key, session_value(session)?)],
        counts: vec![(keys::OPEN_SESSIONS, 1)],
        ceilings: vec![(keys::OPEN_SESSIONS, open_max)],
        ..Write::default()
    })
}

/// The write that stages a part.
pub fn stage_part(session: &Session, record: &PartRecord) -> Result<Write> {
    let part = Box::new(record.clone());
    put_part(session, record.part, StoredPart::Staged { part })
}

/// The write that deletes a part and remembers that it was there.
pub fn delete_part(session: &Session, part: PartNumber) -> Result<Write> {
    put_part(session, part, StoredPart::Deleted)
}

/// Expects the session's record as it is known here, so that nothing is added to a session that was
/// committed behind its actor's back.
fn put_part(session: &Session, part: PartNumber, stored: StoredPart) -> Result<Write> {
    let bytes = compressed(&encode(stored)?)?;
    let prefix = keys::part(&session.id, part);
    let count = bytes.len().div_ceil(CHUNK_BYTES);
    let count_prefix = u16::try_from(count)
        .map_err(|_| Error::internal("a part's record is too long to store"))?
        .to_be_bytes();
    let puts = bytes
        .chunks(CHUNK_BYTES)
        .zip(0u16..)
        .map(|(chunk, index)| {
            let key = [prefix.as_slice(), &index.to_be_bytes()].concat();
            (key, [&count_prefix, chunk].concat())
        })
        .collect();
    Ok(Write {
        expectations: vec![expected(session)?],
        puts,
        ..Write::default()
    })
}

/// The session in its own record's bytes, without its parts.
pub fn session_in(id: &SessionId, session_value: &[u8]) -> Result<Session> {
    let record: SessionRecord = decode(&format!("session {id}"), session_value)?;
    let mut session = Session::open(
        id.clone(),
        record.target,
        record.created_at,
        record.expires_at,
    );
    session.owner = record.owner;
    if let Some(committed) = record.committed {
        session.commit_succeeded(committed.request, committed.receipt);
    } else if record.is_expired {
        session.state = SessionState::Expired;
    }
    Ok(session)
}

/// The write that ends a session whose time is over: its parts are forgotten, the session is not. Blocks.
pub fn expire_session(journal: &Journal, session: &Session) -> Result<Write> {
    let key = keys::session(&session.id);
    let mut expired = session.clone();
    expired.state = SessionState::Expired;
    Ok(Write {
        expectations: vec![expected(session)?],
        puts: vec![(key, session_value(&expired)?)],
        removes: part_keys(journal, &session.id)?,
        counts: vec![(keys::OPEN_SESSIONS, -1), (keys::EXPIRED_SESSIONS, 1)],
        ..Write::default()
    })
}

/// The write that forgets a session that has ended. Blocks.
pub fn forget_session(journal: &Journal, session: &Session) -> Result<Write> {
    let state = match session.state {
        SessionState::Committed { .. } => keys::COMMITTED_SESSIONS,
        SessionState::Expired => keys::EXPIRED_SESSIONS,
        SessionState::Open | SessionState::Committing { .. } => {
            return Err(Error::internal(
                "a session that goes on cannot be forgotten",
            ));
        }
    };
    let mut removes = part_keys(journal, &session.id)?;
    removes.push(keys::session(&session.id));
    Ok(Write {
        expectations: vec![expected(session)?],
        removes,
        counts: vec![(state, -1)],
        ..Write::default()
    })
}

/// That the session's own record is as it is known here.
fn expected(session: &Session) -> Result<Expectation> {
    Ok(Expectation {
        key: keys::session(&session.id),
        value: Some(session_value(session)?),
    })
}

fn part_keys(journal: &Journal, id: &SessionId) -> Result<Vec<Vec<u8>>> {
    journal
        .scan(&keys::session_parts(id))?
        .map(|entry| entry.map(|(key, _)| key))
        .collect()
}

/// Loads a session with its parts. Blocks.
pub fn load_session(journal: &Journal, id: &SessionId) -> Result<Option<Session>> {
    let Some(bytes) = journal.get(&keys::session(id))? else {
        return Ok(None);
    };
    let mut session = session_in(id, &bytes)?;
    let prefix = keys::session_parts(id);
    let mut current: Option<(PartNumber, Vec<Vec<u8>>)> = None;
    for entry in journal.scan(&prefix)? {
        let (key, value) = entry?;
        let part = keys::part_number(&key, prefix.len()).ok_or_else(|| damaged_part(id))?;
        match &mut current {
            Some((number, chunks)) if *number == part => chunks.push(value),
            other => {
                if let Some((number, chunks)) = other.replace((part, vec![value])) {
                    add_part(&mut session, number, &chunks)?;
                }
            }
        }
    }
    if let Some((number, chunks)) = current {
        add_part(&mut session, number, &chunks)?;
    }
    Ok(Some(session))
}

/// Takes those packs out of `packs` in which an open session has a part. Blocks; reads no further than to the last of them.
pub fn without_parts(journal: &Journal, packs: &mut HashSet<u64>) -> Result<()> {
    let mut sessions = journal.scan(keys::SESSIONS)?;
    while !packs.is_empty() {
        let Some(entry) = sessions.next() else {
            break;
        };
        let (key, value) = entry?;
        let Some(id) = keys::session_id(&key) else {
            continue;
        };
        if session_in(&id, &value)?.state != SessionState::Open {
            continue;
        }
        let Some(session) = load_session(journal, &id)? else {
            continue;
        };
        for place in session.records().filter_map(|record| record.packed) {
            packs.remove(&place.pack);
        }
    }
    Ok(())
}

/// Adds to a session what a part's chunks say, given in order; gives the number of chunks that the record has. A
/// replacement may be shorter than what it replaced: chunks after its last are old.
pub fn add_part<Chunk: AsRef<[u8]>>(
    session: &mut Session,
    part: PartNumber,
    chunks: &[Chunk],
) -> Result<usize> {
    let damaged = || damaged_part(&session.id);
    let mut bytes = Vec::new();
    let mut count = 1;
    let mut index = 0;
    while index < count {
        let value = chunks.get(index).ok_or_else(damaged)?.as_ref();
        let (count_prefix, chunk) = value.split_first_chunk::<2>().ok_or_else(damaged)?;
        if index == 0 {
            // A record has a first chunk.
            count = usize::from(u16::from_be_bytes(*count_prefix)).max(1);
        }
        bytes.extend_from_slice(chunk);
        index += 1;
    }
    let bytes = decompressed(&bytes).map_err(|_| damaged())?;
    match decode(&format!("part {part} of session {}", session.id), &bytes)? {
        StoredPart::Staged { part } => {
            session.put_part(*part);
        }
        StoredPart::Deleted => {
            session.deleted.insert(part);
        }
    }
    Ok(count)
}

fn damaged_part(id: &SessionId) -> Error {
    Error::internal(format_args!("a part record of session {id} is damaged"))
}

thread_local! {
    /// Making one costs more than using it on a record.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// A part record's JSON as it is stored.
fn compressed(json: &[u8]) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = match kept.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(Error::internal)?,
        };
        let bytes = compressor.compress(json).map_err(Error::internal);
        *kept = Some(compressor);
        bytes
    })
}

/// A part record's JSON.
fn decompressed(bytes: &[u8]) -> std::io::Result<Cow<'_, [u8]>> {
    if !bytes.starts_with(&ZSTD_MAGIC) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut json = Vec::new();
    zstd::Decoder::new(bytes)?
        .take(PART_RECORD_BYTES_MAX)
        .read_to_end(&mut json)?;
    Ok(Cow::Owned(json))
}

/// The receipt in a session record's bytes, if it is committed.
pub fn receipt_in(session_value: &[u8]) -> Result<Option<CommitReceipt>> {
    let record: SessionRecord = decode("a session", session_value)?;
    Ok(record.committed.map(|committed| committed.receipt))
}

/// The write that says what commit attempts are about to do.
pub fn begin_commits<'a>(intents: impl Iterator<Item = &'a CommitIntent>) -> Result<Write> {
    let put = |intent: &CommitIntent| {
        let value = encode(IntentRecord {
            session: intent.session.clone(),
            target: intent.target.clone(),
            begun_at: intent.begun_at,
        })?;
        Ok((keys::intent(intent.attempt), value))
    };
    Ok(Write {
        puts: intents.map(put).collect::<Result<_>>()?,
        ..Write::default()
    })
}

/// The write that forgets commit attempts of which nothing is left.
pub fn end_commits(attempts: &[Uuid]) -> Write {
    Write {
        removes: attempts.iter().map(|id| keys::intent(*id)).collect(),
        ..Write::default()
    }
}

/// The bytes of what a publication made superfluous.
pub fn expired_value(expired: &Expired) -> Result<Vec<u8>> {
    encode(expired)
}

/// What a publication made superfluous, in its bytes.
pub fn expired_in(value: &[u8]) -> Result<Expired> {
    decode("expired snapshots", value)
}

/// Commit attempts that have not ended. Blocks.
pub fn intents(journal: &Journal) -> Result<Vec<CommitIntent>> {
    let mut intents = Vec::new();
    for entry in journal.scan(keys::INTENTS)? {
        let (key, value) = entry?;
        let attempt = keys::intent_attempt(&key)
            .ok_or_else(|| Error::internal("a commit attempt has an unreadable key"))?;
        let record: IntentRecord = decode(&format!("commit attempt {attempt}"), &value)?;
        intents.push(CommitIntent {
            attempt,
            session: record.session,
            target: record.target,
            begun_at: record.begun_at,
        });
    }
    Ok(intents)
}

/// A table pointer's bytes.
pub fn table_value(metadata_location: &str) -> Result<Vec<u8>> {
    encode(TableRecord {
        metadata_location: metadata_location.to_owned(),
    })
}

/// The metadata location in a table pointer's bytes.
pub fn metadata_location(table_value: &[u8]) -> Result<String> {
    let record: TableRecord = decode("a table", table_value)?;
    Ok(record.metadata_location)
}

#[cfg(test)]
mod tests;
