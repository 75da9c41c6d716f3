//! From a refusal to an HTTP answer: the one place that knows the statuses.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value};

use super::guard::{RATELIMIT, RATELIMIT_POLICY};
use super::observe;
use crate::error::{Error, ErrorCode};
use crate::ingest::codec;

/// Seconds after which an overloaded server is worth another try.
const RETRY_AFTER_SECONDS: &str = "1";

/// The status of a code.
pub const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::ChecksumMismatch | ErrorCode::InvalidDigest | ErrorCode::BodyIncomplete => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::NotPermitted => StatusCode::FORBIDDEN,
        ErrorCode::RouteNotFound | ErrorCode::SessionNotFound | ErrorCode::PartNotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::SessionCommitting
        | ErrorCode::CommitInProgress
        | ErrorCode::AlreadyCommitted
        | ErrorCode::PartSuperseded
        | ErrorCode::TargetMismatch
        | ErrorCode::DatasetExists
        | ErrorCode::SchemaMismatch
        | ErrorCode::SourcesDisagree
        | ErrorCode::ValueNotCastable => StatusCode::CONFLICT,
        ErrorCode::SessionExpired => StatusCode::GONE,
        ErrorCode::PartTooLarge | ErrorCode::DecodedTooLarge | ErrorCode::RequestTooLarge => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        ErrorCode::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::ValidationError
        | ErrorCode::UnsupportedFormat
        | ErrorCode::UnsupportedType
        | ErrorCode::FormatUnreadable
        | ErrorCode::NoParts => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimited | ErrorCode::LimitReached => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Overloaded | ErrorCode::StorageUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        status(self.code)
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        if status.is_server_error() {
            tracing::error!(code = %self.code, detail = self.detail, cause = self.cause, "refused");
        } else {
            tracing::info!(code = %self.code, detail = self.detail, cause = self.cause, "refused");
        }
        let mut body = Map::new();
        let detail = if self.violations.is_empty() {
            Value::from(self.detail.as_str())
        } else {
            Value::from(self.violations.clone())
        };
        body.insert("detail".to_owned(), detail);
        body.insert("code".to_owned(), self.code.wire_name().into());
        body.insert("request_id".to_owned(), observe::request_id().into());
        for (name, fact) in &self.fields {
            body.entry(name.as_str()).or_insert_with(|| fact.clone());
        }
        let mut response = HttpResponse::build(status);
        match status {
            StatusCode::UNAUTHORIZED => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let allowed = self.fields.get("allow").and_then(Value::as_str);
                response.insert_header((ALLOW, allowed.unwrap_or_default()));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                response.insert_header((ACCEPT_ENCODING, codec::ACCEPTED));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                let seconds = self.fields.get("retry_after_seconds");
                let seconds = seconds.map_or(RETRY_AFTER_SECONDS.to_owned(), Value::to_string);
                response.insert_header((RETRY_AFTER, seconds));
            }
            _ => {}
        }
        for header in [RATELIMIT, RATELIMIT_POLICY] {
            let name = header.as_str().replace('-', "_");
            if let Some(text) = body.remove(&name).as_ref().and_then(Value::as_str) {
                response.insert_header((header, text));
            }
        }
        let mut response = response.json(body);
        // For the audit log.
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_code_with_its_status() {
        let readme = include_str!("../../README.md");
        let (_, section) = readme.split_once("\n## Refusals\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let listed: Vec<&str> = rows.collect();
        assert_eq!(listed.len(), ErrorCode::ALL.len());
        for (code, line) in ErrorCode::ALL.into_iter().zip(listed) {
            let expected = format!("| `{code}` | {} |", status(code).as_u16());
            assert!(line.starts_with(&expected), "{line}");
        }
    }
}
