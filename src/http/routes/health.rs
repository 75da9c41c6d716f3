//! Health and metrics.

use actix_web::{HttpResponse, web};

use crate::blocking::blocking;
use crate::error::{Error, ErrorCode, Result};
use crate::http::Api;
use crate::http::views::{HealthResponse, Refusal};
use crate::store::{durable, keys};

/// Says whether uploads are taken.
#[utoipa::path(
    get, path = "/health", tag = "service", operation_id = "health", summary = "Health",
    responses(
        (status = 200, description = "Uploads are taken", body = HealthResponse),
        (status = 503, description = "The disk refused writes; a restart is needed", body = Refusal),
    )
)]
pub async fn health(api: web::Data<Api>) -> Result<HttpResponse> {
    if api.surroundings.journal.is_failed() {
        return Err(not_ready(
            "The disk refused a write, so no upload is taken; mend it and restart the server. What was acknowledged is safe.",
        ));
    }
    let root = api.surroundings.layout.root().to_path_buf();
    let writing = blocking(move || {
        durable::check_writable(&root).map_err(|error| Error::storage("a probe", &error))
    });
    let status = match writing.await {
        Ok(()) => "ok",
        Err(error) if error.code == ErrorCode::NoSpace => "full",
        Err(error) => {
            let refusal = not_ready(
                "The disk takes no writes, so no upload is taken until it does. What was acknowledged is safe.",
            );
            return Err(refusal.caused_by(error));
        }
    };
    Ok(HttpResponse::Ok().json(HealthResponse {
        status,
        ready: true,
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn not_ready(detail: &str) -> Error {
    Error::new(ErrorCode::StorageUnavailable, detail)
        .with("status", "failing")
        .with("ready", false)
}

/// The metrics, in Prometheus' text format.
pub async fn metrics(api: web::Data<Api>) -> Result<HttpResponse> {
    let surroundings = api.surroundings.clone();
    let rendering = blocking(move || {
        let metrics = &surroundings.metrics;
        for (state, key) in [
            ("open", keys::OPEN_SESSIONS),
            ("committed", keys::COMMITTED_SESSIONS),
            ("expired", keys::EXPIRED_SESSIONS),
        ] {
            let count = i64::try_from(surroundings.journal.count(key)?).unwrap_or(i64::MAX);
            metrics.sessions.with_label_values(&[state]).set(count);
        }
        metrics.render().map_err(Error::internal)
    });
    let text = rendering.await?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text))
}
