//! The one closed table of error codes, and the error type every layer answers with.
//!
//! A layer that refuses something builds an [`Error`] with the code, one sentence a person can act
//! on, and the facts as fields. Only `http::error` knows which status a code becomes. Internal causes
//! (paths, library messages of a 5xx) travel in `source` and reach the log, never the client.
//!
//! Invariants: codes are stable wire names; a new code must be placed in [`ErrorCode::ALL`], in the
//! README's table (a test compares the two) and in the status mapping (an exhaustive match).

use std::fmt;

use serde_json::{Map, Value};

/// Why a request was refused. The wire name is the snake_case form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A parameter, header or body does not have the documented form.
    ValidationError,
    /// A checksum or digest header cannot be parsed.
    InvalidDigest,
    /// The bytes received do not have the checksum the client sent.
    ChecksumMismatch,
    /// The connection ended before the announced body was complete.
    BodyIncomplete,
    /// The request brings no credential, or one that proves nothing.
    Unauthenticated,
    /// The user may not do this.
    NotPermitted,
    /// No such path.
    RouteNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// No session with this id.
    SessionNotFound,
    /// The session never had this part.
    PartNotFound,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The session is being committed; its parts cannot change now.
    SessionCommitting,
    /// Another commit of this session, with other arguments, is running.
    CommitInProgress,
    /// The session was committed before.
    AlreadyCommitted,
    /// Another upload of the same part completed later.
    PartSuperseded,
    /// The commit names another target than the session is bound to.
    TargetMismatch,
    /// The table exists and the conflict resolution is `fail`.
    DatasetExists,
    /// The parts do not fit the table's schema.
    SchemaMismatch,
    /// The parts of one session disagree about a column.
    SourcesDisagree,
    /// A value does not fit the declared type of its column.
    ValueNotCastable,
    /// The session's time is over.
    SessionExpired,
    /// The body is larger than a part may be.
    PartTooLarge,
    /// The body decodes to more than a part may hold.
    DecodedTooLarge,
    /// The request body of a control operation is too large.
    RequestTooLarge,
    /// The content coding is not one of those supported.
    UnsupportedEncoding,
    /// The file's format is not one of those supported.
    UnsupportedFormat,
    /// The file has a type or feature that has no place in a table.
    UnsupportedType,
    /// The file is not well-formed.
    FormatUnreadable,
    /// There is nothing to commit.
    NoParts,
    /// The user sends more requests or bytes a second than allowed.
    RateLimited,
    /// As much as the configuration allows is open or staged.
    LimitReached,
    /// Something failed inside; the request id finds it in the log.
    Internal,
    /// Too much is going on; the same request will succeed later.
    Overloaded,
    /// The disk refuses writes.
    StorageUnavailable,
    /// The disk is full.
    NoSpace,
}

impl ErrorCode {
    /// Every code, in the order of the documentation's table.
    pub const ALL: [ErrorCode; 35] = [
        Self::ValidationError,
        Self::InvalidDigest,
        Self::ChecksumMismatch,
        Self::BodyIncomplete,
        Self::Unauthenticated,
        Self::NotPermitted,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::SessionNotFound,
        Self::PartNotFound,
        Self::BodyTimeout,
        Self::SessionCommitting,
        Self::CommitInProgress,
        Self::AlreadyCommitted,
        Self::PartSuperseded,
        Self::TargetMismatch,
        Self::DatasetExists,
        Self::SchemaMismatch,
        Self::SourcesDisagree,
        Self::ValueNotCastable,
        Self::SessionExpired,
        Self::PartTooLarge,
        Self::DecodedTooLarge,
        Self::RequestTooLarge,
        Self::UnsupportedEncoding,
        Self::UnsupportedFormat,
        Self::UnsupportedType,
        Self::FormatUnreadable,
        Self::NoParts,
        Self::RateLimited,
        Self::LimitReached,
        Self::Internal,
        Self::Overloaded,
        Self::StorageUnavailable,
        Self::NoSpace,
    ];

    /// The name clients branch on.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::ValidationError => "validation_error",
            Self::InvalidDigest => "invalid_digest",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::BodyIncomplete => "body_incomplete",
            Self::Unauthenticated => "unauthenticated",
            Self::NotPermitted => "not_permitted",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::SessionNotFound => "session_not_found",
            Self::PartNotFound => "part_not_found",
            Self::BodyTimeout => "body_timeout",
            Self::SessionCommitting => "session_committing",
            Self::CommitInProgress => "commit_in_progress",
            Self::AlreadyCommitted => "already_committed",
            Self::PartSuperseded => "part_superseded",
            Self::TargetMismatch => "target_mismatch",
            Self::DatasetExists => "dataset_exists",
            Self::SchemaMismatch => "schema_mismatch",
            Self::SourcesDisagree => "sources_disagree",
            Self::ValueNotCastable => "value_not_castable",
            Self::SessionExpired => "session_expired",
            Self::PartTooLarge => "part_too_large",
            Self::DecodedTooLarge => "decoded_too_large",
            Self::RequestTooLarge => "request_too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::UnsupportedFormat => "unsupported_format",
            Self::UnsupportedType => "unsupported_type",
            Self::FormatUnreadable => "format_unreadable",
            Self::NoParts => "no_parts",
            Self::RateLimited => "rate_limited",
            Self::LimitReached => "limit_reached",
            Self::Internal => "internal",
            Self::Overloaded => "overloaded",
            Self::StorageUnavailable => "storage_unavailable",
            Self::NoSpace => "no_space",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.wire_name())
    }
}

/// A refusal: code, sentence, facts, and the cause for the log.
///
/// Cloneable, because one commit's outcome is handed to every request that joined it.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// One sentence a person can act on; or, for [`ErrorCode::ValidationError`], unused.
    pub detail: String,
    /// Further facts, put beside `detail` in the answer.
    pub fields: Map<String, Value>,
    /// For [`ErrorCode::ValidationError`]: the FastAPI-shaped list that `detail` becomes.
    pub violations: Vec<Value>,
    /// The cause, for the log only.
    pub cause: Option<String>,
}

/// The result type of everything that can be refused.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refusal with its sentence.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Map::new(),
            violations: Vec::new(),
            cause: None,
        }
    }

    /// Something that should not happen: the client gets a reference, the log gets `cause`.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(
            ErrorCode::Internal,
            "An internal error occurred; nothing was changed by this request. The request id finds the cause in the server's log.",
        )
        .caused_by(cause)
    }

    /// The disk refused a read or write while `doing` something.
    ///
    /// `ENOSPC` and `EDQUOT` become [`ErrorCode::NoSpace`], everything else
    /// [`ErrorCode::StorageUnavailable`].
    pub fn storage(doing: &str, error: &std::io::Error) -> Self {
        let full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        );
        let refusal = if full {
            Self::new(
                ErrorCode::NoSpace,
                "The server's disk is full; nothing was stored by this request. Try again when space was freed.",
            )
        } else {
            Self::new(
                ErrorCode::StorageUnavailable,
                "The server's disk refused the operation; nothing was acknowledged by this request. Try again later.",
            )
        };
        refusal.caused_by(format_args!("{doing}: {error}"))
    }

    /// Adds a fact to the answer.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// Says which part is meant, in the sentence and as a fact.
    #[must_use]
    pub fn in_part(mut self, part: u16) -> Self {
        if !self.fields.contains_key("part") {
            self.detail = format!("Part {part}: {}", self.detail);
        }
        self.with("part", part)
    }

    /// Adds the cause that the log shows.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A request that does not have the documented form: one entry of the FastAPI-shaped list.
    ///
    /// `location` starts with `header`, `path`, `query` or `body`; `kind` is the machine-readable type.
    pub fn validation(location: Value, message: &str, kind: &str, input: Value) -> Self {
        let violation = serde_json::json!({
            "loc": location, "msg": message, "type": kind, "input": input,
        });
        let mut error = Self::new(ErrorCode::ValidationError, message);
        error.violations.push(violation);
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.detail)?;
        if let Some(cause) = &self.cause {
            write!(formatter, " ({cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<iceberg::Error> for Error {
    fn from(error: iceberg::Error) -> Self {
        Self::internal(format_args!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_wire_name() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.wire_name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::storage("x", &full).code, ErrorCode::NoSpace);
        let broken = std::io::Error::other("EIO");
        assert_eq!(
            Error::storage("x", &broken).code,
            ErrorCode::StorageUnavailable
        );
    }
}
