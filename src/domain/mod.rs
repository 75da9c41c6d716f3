//! What an upload is, without any disk, network or actor: ids, parts, the session's state machine.
//!
//! Nothing here does I/O; time and randomness come in as arguments.

pub mod access;
pub mod cleaning;
pub mod expiry;
pub mod ids;
pub mod part;
pub mod session;

pub use access::{Caller, Grant, Principal, Role, User};
pub use expiry::{Expired, ListedSnapshot, Retention};
pub use ids::{PartNumber, SessionId, Target};
pub use part::{ColumnRecord, ColumnType, DataFileRecord, PartKind, PartRecord};
pub use session::{
    AskedCommit, CommitIntent, CommitReceipt, CommitRequest, ConflictResolution, SchemaEvolution,
    Session, SessionState,
};
