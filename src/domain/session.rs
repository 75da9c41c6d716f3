//! The state machine of an upload session. Pure: every method takes the time it needs and either
//! changes the session or refuses and leaves it as it was.
//!
//! ```text
//! Open ──begin_commit──> Committing ──commit_succeeded──> Committed (final)
//!  │ ^                       │
//!  │ └─────commit_failed─────┘
//!  └──sweep, past its time──> Expired (final)
//! ```
//!
//! * **Open**: parts come, are replaced and go. Leaves by `begin_commit`. Past `expires_at` every
//!   operation answers 410, whether or not the sweep has been there yet.
//! * **Committing**: parts are frozen. Known to memory only: on disk a session is open, with a
//!   [`CommitIntent`] beside it, until the one transaction that moves the table's pointer also records it
//!   as committed. A crash in between finds it open with nothing visible, and knows which files to remove.
//! * **Expired**: its parts are gone.
//! * **Committed**: the receipt is the answer to every repeat.
//!
//! Invariants: S1 only the arrows above; S2 the receipt never changes; P2 of two uploads of one part
//! the one recorded later (the higher sequence) is in the map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{PartNumber, SessionId, Target};
use super::part::PartRecord;
use crate::error::{Error, ErrorCode, Result};

/// What a commit does when the table exists.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ConflictResolution {
    /// Refuse.
    #[default]
    Fail,
    /// Replace content and schema in one snapshot; history stays.
    Overwrite,
    /// Add the rows.
    Append,
}

impl ConflictResolution {
    /// The wire name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Overwrite => "overwrite",
            Self::Append => "append",
        }
    }
}

/// What an append does with columns that the table does not have.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SchemaEvolution {
    /// Refuses them.
    #[default]
    Strict,
    /// Adds them to the table, behind its own; older rows have no value there.
    AddColumns,
}

/// What the body of a commit asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedCommit {
    /// The table; may be left out when the session is bound.
    pub target: Option<Target>,
    /// What the snapshot's summary will say.
    pub snapshot_message: Option<String>,
    /// What to do when the table exists.
    pub conflict_resolution: ConflictResolution,
    /// What to do with columns that the table does not have.
    pub schema_evolution: SchemaEvolution,
}

/// What a commit was asked to do, with the target resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The table.
    pub target: Target,
    /// What the snapshot's summary will say.
    pub snapshot_message: Option<String>,
    /// What to do when the table exists.
    pub conflict_resolution: ConflictResolution,
    /// What to do with columns that the table does not have.
    #[serde(default)]
    pub schema_evolution: SchemaEvolution,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReceipt {
    /// The table.
    pub table: Target,
    /// The snapshot it made.
    pub snapshot_id: i64,
    /// Rows in the data files it added.
    pub rows_written: u64,
    /// Data files it added.
    pub files_created: u64,
    /// When.
    pub committed_at: DateTime<Utc>,
}

impl CommitReceipt {
    /// The commit's id as clients see it: `snap_` and the snapshot id.
    pub fn commit_id(&self) -> String {
        format!("snap_{}", self.snapshot_id)
    }
}

/// One attempt at a commit, recorded before it writes its first file. Every file that it makes in its table's folders
/// has `attempt` in its name, so what a cut-off attempt left is known, not guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitIntent {
    /// Random; in the name of every file of the attempt.
    pub attempt: Uuid,
    /// The session that is committed.
    pub session: SessionId,
    /// The table.
    pub target: Target,
    /// When.
    pub begun_at: DateTime<Utc>,
}

/// Where a session is in its life. See the module's diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// Takes parts.
    Open,
    /// A commit is running.
    Committing {
        /// What it was asked.
        request: CommitRequest,
    },
    /// Its time is over and its parts are gone; final.
    Expired,
    /// Done; final.
    Committed {
        /// What was asked.
        request: CommitRequest,
        /// What was done.
        receipt: CommitReceipt,
    },
}

/// What `begin_commit` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitStart {
    /// The session is now committing: run it.
    Run,
    /// The same commit is running: wait for its outcome.
    Join,
    /// It was done before: this is the answer.
    Answered(CommitReceipt),
}

/// What `delete_part` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The part is there and may be deleted.
    Present,
    /// It was deleted before.
    Repeated,
}

/// An upload session and its part map.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it stops taking requests, unless committed by then.
    pub expires_at: DateTime<Utc>,
    /// The table it is bound to, if it was opened with one.
    pub target: Option<Target>,
    /// The user who opened it; `None` when authentication was off.
    pub owner: Option<String>,
    /// Where it is in its life.
    pub state: SessionState,
    /// The staged parts.
    pub parts: BTreeMap<PartNumber, Arc<PartRecord>>,
    /// Parts that were deleted and not uploaded again.
    pub deleted: BTreeSet<PartNumber>,
    /// Columns of the staged parts together.
    column_count: usize,
}

impl Session {
    /// A new open session.
    pub fn open(
        id: SessionId,
        target: Option<Target>,
        created_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            created_at,
            expires_at,
            target,
            owner: None,
            state: SessionState::Open,
            parts: BTreeMap::new(),
            deleted: BTreeSet::new(),
            column_count: 0,
        }
    }

    /// The staged parts' records, in order of their numbers.
    pub fn records(&self) -> impl Iterator<Item = &PartRecord> + Clone {
        self.parts.values().map(Arc::as_ref)
    }

    /// Whether the session's time is over. A committed session stays readable.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            SessionState::Open => now >= self.expires_at,
            SessionState::Expired => true,
            SessionState::Committing { .. } | SessionState::Committed { .. } => false,
        }
    }

    /// Refuses when the session's time is over.
    pub fn check_not_expired(&self, now: DateTime<Utc>) -> Result<()> {
        if self.is_expired(now) {
            return Err(self.expired());
        }
        Ok(())
    }

    fn expired(&self) -> Error {
        let expires_at = self.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Error::new(ErrorCode::SessionExpired, "session expired").with("expires_at", expires_at)
    }

    /// Refuses unless parts may change now.
    pub fn check_parts_may_change(&self, now: DateTime<Utc>) -> Result<()> {
        self.check_not_expired(now)?;
        match &self.state {
            SessionState::Expired => Err(self.expired()),
            SessionState::Open => Ok(()),
            SessionState::Committing { .. } => Err(Error::new(
                ErrorCode::SessionCommitting,
                "This session is being committed, so its parts cannot change; open a new session for further parts.",
            )),
            SessionState::Committed { receipt, .. } => Err(already_committed(receipt)),
        }
    }

    /// Puts a part, replacing an older one, which is returned.
    pub fn put_part(&mut self, record: PartRecord) -> Option<Arc<PartRecord>> {
        self.deleted.remove(&record.part);
        self.column_count += record.column_count();
        let replaced = self.parts.insert(record.part, Arc::new(record));
        self.uncount(replaced.as_deref());
        replaced
    }

    fn uncount(&mut self, gone: Option<&PartRecord>) {
        self.column_count -= gone.map_or(0, PartRecord::column_count);
    }

    /// Whether a part can be deleted; the caller removes it once that is durable.
    pub fn check_delete(&self, part: PartNumber, now: DateTime<Utc>) -> Result<Deletion> {
        self.check_parts_may_change(now)?;
        if self.parts.contains_key(&part) {
            return Ok(Deletion::Present);
        }
        if self.deleted.contains(&part) {
            return Ok(Deletion::Repeated);
        }
        Err(Error::new(
            ErrorCode::PartNotFound,
            format!("This session never had a part {part}; GET /v1/upload/{}/inspect lists what it has.", self.id),
        )
        .with("part", part.0))
    }

    /// Removes a part, which is returned, and remembers that it was there.
    pub fn delete_part(&mut self, part: PartNumber) -> Option<Arc<PartRecord>> {
        self.deleted.insert(part);
        let deleted = self.parts.remove(&part);
        self.uncount(deleted.as_deref());
        deleted
    }

    /// Refuses a part whose columns would be more than a session may have over all its parts.
    pub fn check_columns(&self, record: &PartRecord, columns_max: usize) -> Result<()> {
        let replaced = self.parts.get(&record.part);
        let others = self.column_count - replaced.map_or(0, |one| one.column_count());
        if others + record.column_count() > columns_max {
            return Err(Error::new(
                ErrorCode::PartTooLarge,
                format!(
                    "The parts of a session may have {columns_max} columns in all, counted part by part; commit this session and go on in another."
                ),
            )
            .with("limit_columns", columns_max));
        }
        Ok(())
    }

    /// Resolves a commit's target against the one the session is bound to.
    pub fn resolve_target(&self, named: Option<Target>) -> Result<Target> {
        match (named, &self.target) {
            (None, Some(bound)) => Ok(bound.clone()),
            (Some(named), None) => Ok(named),
            (Some(named), Some(bound)) if named == *bound => Ok(named),
            (Some(named), Some(bound)) => Err(Error::new(
                ErrorCode::TargetMismatch,
                format!(
                    "This session is bound to {bound} and cannot be committed to {named}; commit without a target, or open another session."
                ),
            )
            .with("bound", bound.to_string())
            .with("named", named.to_string())),
            (None, None) => Err(Error::validation(
                serde_json::json!(["body", "target"]),
                "Field required: the session is not bound to a target",
                "missing",
                serde_json::Value::Null,
            )),
        }
    }

    /// The commit that is asked for, of this session.
    pub fn resolve_commit(&self, asked: AskedCommit) -> Result<CommitRequest> {
        Ok(CommitRequest {
            target: self.resolve_target(asked.target)?,
            snapshot_message: asked.snapshot_message,
            conflict_resolution: asked.conflict_resolution,
            schema_evolution: asked.schema_evolution,
        })
    }

    /// Refuses what only an open session allows.
    pub fn check_open(&self, now: DateTime<Utc>) -> Result<()> {
        self.check_not_expired(now)?;
        match &self.state {
            SessionState::Open => Ok(()),
            SessionState::Expired => Err(self.expired()),
            SessionState::Committing { request } => Err(commit_in_progress(request)),
            SessionState::Committed { receipt, .. } => Err(already_committed(receipt)),
        }
    }

    /// Starts, joins or answers a commit.
    pub fn begin_commit(
        &mut self,
        request: &CommitRequest,
        now: DateTime<Utc>,
    ) -> Result<CommitStart> {
        self.check_not_expired(now)?;
        match &self.state {
            SessionState::Expired => Err(self.expired()),
            SessionState::Open => {
                self.state = SessionState::Committing {
                    request: request.clone(),
                };
                Ok(CommitStart::Run)
            }
            SessionState::Committing { request: running } if running == request => {
                Ok(CommitStart::Join)
            }
            SessionState::Committing { request: running } => Err(commit_in_progress(running)),
            SessionState::Committed {
                request: done,
                receipt,
            } if done == request => Ok(CommitStart::Answered(receipt.clone())),
            SessionState::Committed { receipt, .. } => Err(already_committed(receipt)),
        }
    }

    /// The running commit failed: parts may change again.
    pub fn commit_failed(&mut self) {
        if matches!(self.state, SessionState::Committing { .. }) {
            self.state = SessionState::Open;
        }
    }

    /// The running commit is durable.
    pub fn commit_succeeded(&mut self, request: CommitRequest, receipt: CommitReceipt) {
        self.state = SessionState::Committed { request, receipt };
    }
}

fn commit_in_progress(running: &CommitRequest) -> Error {
    Error::new(
        ErrorCode::CommitInProgress,
        format!(
            "Another commit of this session, to {} with conflict_resolution `{}`, is running; wait for its outcome.",
            running.target,
            running.conflict_resolution.name()
        ),
    )
}

/// The refusal of a part whose number another request, which completed later, has given to other bytes.
pub fn part_superseded(part: PartNumber) -> Error {
    Error::new(
        ErrorCode::PartSuperseded,
        format!(
            "Another request that completed later has replaced part {part}; its bytes are the part now. Send the part again if these bytes are the right ones."
        ),
    )
    .with("part", part.0)
}

/// The refusal of anything that names a session there is not.
pub fn session_not_found(id: &str) -> Error {
    Error::new(
        ErrorCode::SessionNotFound,
        "There is no such session; open one with POST /v1/upload/session.",
    )
    .with("session_id", id)
}

/// The refusal of anything that would change a committed session.
pub fn already_committed(receipt: &CommitReceipt) -> Error {
    Error::new(
        ErrorCode::AlreadyCommitted,
        format!(
            "This session was committed to {} as {}; open a new session for further parts.",
            receipt.table,
            receipt.commit_id()
        ),
    )
    .with("commit_id", receipt.commit_id())
    .with("table", receipt.table.to_string())
}

#[cfg(test)]
mod tests;
