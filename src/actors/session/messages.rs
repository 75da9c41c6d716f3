//! What a session actor is asked. Every message carries the asker's span, so that log lines of the work
//! keep the request's id.

use actix::Message;
use tracing::Span;

use crate::domain::{AskedCommit, Caller, CommitReceipt, PartNumber, PartRecord, Session, Target};
use crate::error::Result;
use crate::store::staging::StagedFiles;

/// May this part be uploaded now?
#[derive(Debug, Message)]
#[rtype(result = "Result<PartLease>")]
pub(crate) struct BeginPart {
    pub(crate) caller: Caller,
    pub(crate) part: PartNumber,
}

/// The right to upload a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartLease {
    /// Names the upload's files; higher than that of every earlier upload of the session.
    pub generation: u64,
    /// The table the session is bound to.
    pub target: Option<Target>,
}

/// A part's bytes are durable under their final names: record it.
#[derive(Debug, Message)]
#[rtype(result = "Result<()>")]
pub(crate) struct FinishPart {
    pub(crate) record: Box<PartRecord>,
    pub(crate) files: StagedFiles,
    pub(crate) span: Span,
}

/// Delete a part.
#[derive(Debug, Message)]
#[rtype(result = "Result<()>")]
pub(crate) struct DeletePart {
    pub(crate) caller: Caller,
    pub(crate) part: PartNumber,
    pub(crate) span: Span,
}

/// The session as it is.
#[derive(Debug, Message)]
#[rtype(result = "Result<Box<Session>>")]
pub(crate) struct Inspect {
    pub(crate) caller: Caller,
}

/// End the session; its parts go.
#[derive(Debug, Message)]
#[rtype(result = "Result<()>")]
pub(crate) struct Abort {
    pub(crate) caller: Caller,
    pub(crate) span: Span,
}

/// Commit the session.
#[derive(Debug, Message)]
#[rtype(result = "Result<CommitReceipt>")]
pub(crate) struct Commit {
    pub(crate) caller: Caller,
    pub(crate) asked: AskedCommit,
    pub(crate) span: Span,
}
