//! What every request gets: an id (taken from `x-request-id` or made), a span that carries it, one log line
//! when it is answered, and its metrics. The id is in the answer's header and in every error body.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};
use tracing::Instrument;

use super::{Api, Matched};

/// The header in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client; what is longer, or not plain text, is replaced.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// The name of what is no operation.
pub(super) const UNKNOWN_OPERATION: &str = "unknown";

tokio::task_local! {
    static CURRENT_REQUEST_ID: String;
}

/// The id of the request that is being answered.
pub fn request_id() -> String {
    CURRENT_REQUEST_ID
        .try_with(Clone::clone)
        .unwrap_or_default()
}

/// The middleware.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let api = request.app_data::<web::Data<Api>>().cloned();
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty() && text.len() <= REQUEST_ID_LENGTH_MAX)
        .map_or_else(
            || {
                let random = api.as_ref().map(|api| api.surroundings.clock.random_id());
                random.map_or_else(String::new, |id| id.simple().to_string())
            },
            str::to_owned,
        );
    let matched = Matched::of(&request);
    request.extensions_mut().insert(matched);
    let operation = operation(request.method(), matched.pattern);
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let span = tracing::info_span!("request", request_id = %id, operation);
    let answered = CURRENT_REQUEST_ID
        .scope(id.clone(), next.call(request))
        .instrument(span.clone());
    let mut response = answered.await?;
    let status = response.status();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let elapsed = started.elapsed();
    if let Some(api) = api {
        let metrics = &api.surroundings.metrics;
        let labels = [operation, status.as_str()];
        metrics.requests.with_label_values(&labels).inc();
        let latency = metrics.request_seconds.with_label_values(&[operation]);
        latency.observe(elapsed.as_secs_f64());
    }
    span.in_scope(|| {
        tracing::info!(
            %method, path, status = status.as_u16(),
            elapsed_ms = elapsed.as_millis() as u64, "answered"
        );
    });
    Ok(response)
}

/// The operation's name in logs and metrics: a closed list, whatever is asked for.
pub(super) fn operation(method: &Method, pattern: Option<&str>) -> &'static str {
    match (method.as_str(), pattern) {
        ("GET" | "HEAD", Some("/health")) => "health",
        ("GET", Some("/metrics")) => "metrics",
        ("GET", Some("/openapi.json" | "/docs" | "/docs/{file}")) => "docs",
        ("POST", Some("/v1/upload/session")) => "start_session",
        ("PUT", Some("/v1/upload/{session_id}")) => "upload_part",
        ("POST", Some("/token")) => "issue_token",
        ("GET", Some("/.well-known/jwks.json")) => "key_set",
        ("DELETE", Some("/v1/upload/{session_id}")) => "abort_session",
        ("GET", Some("/v1/upload/{session_id}/inspect")) => "inspect_session",
        ("DELETE", Some("/v1/upload/{session_id}/part/{part}")) => "delete_part",
        ("POST", Some("/v1/upload/{session_id}/commit")) => "commit_session",
        _ => UNKNOWN_OPERATION,
    }
}
