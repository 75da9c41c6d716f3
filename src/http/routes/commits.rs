//! Committing sessions.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::AskedCommit;
use crate::error::Result;
use crate::http::views::{
    CommitAnswer, CommitRequest, CommitResponse, DryRunResponse, HTTPValidationError, Refusal,
};
use crate::http::{Api, extract, guard};

/// Turns the session's parts into a snapshot of the table. A repeat joins the running commit or gets the
/// stored answer. With `dry_run` nothing is written, and the answer is a `DryRunResponse`: what this commit would do.
#[utoipa::path(
    post, path = "/v1/upload/{session_id}/commit", tag = "upload", operation_id = "commit_session",
    summary = "Commit Session",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("authorization" = Option<String>, Header, description = "Bearer token"),
    ),
    request_body = CommitRequest,
    responses(
        (status = 200, description = "The rows are in the table; with `dry_run`, what the commit would do", body = inline(CommitAnswer)),
        (status = 400, description = "The body is incomplete", body = Refusal),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 403, description = "Not permitted", body = Refusal),
        (status = 404, description = "No such session", body = Refusal),
        (status = 408, description = "The body stopped arriving, or arrives too slowly", body = Refusal),
        (status = 409, description = "The table or the session does not allow it", body = Refusal),
        (status = 410, description = "The session expired", body = Refusal),
        (status = 413, description = "The body is too large", body = Refusal),
        (status = 422, description = "Validation Error, or nothing to commit", body = HTTPValidationError),
        (status = 429, description = "More requests than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses writes", body = Refusal),
        (status = 507, description = "The disk is full", body = Refusal),
    )
)]
pub async fn commit_session(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse> {
    let id = extract::session_id(&request)?;
    let body = extract::json_object(body, api.config.server.pace())
        .await?
        .unwrap_or_default();
    let target = extract::target(&body);
    let message = extract::snapshot_message(&body);
    let resolution = extract::conflict_resolution(&body);
    let evolution = extract::schema_evolution(&body);
    let is_dry_run = extract::dry_run(&body);
    let ((target, message), ((resolution, evolution), is_dry_run)) = extract::both(
        extract::both(target, message),
        extract::both(extract::both(resolution, evolution), is_dry_run),
    )?;
    guard::is_about(&request, None, target.as_ref(), None);
    let caller = guard::caller(&request)?;
    let asked = AskedCommit {
        target,
        snapshot_message: message,
        conflict_resolution: resolution,
        schema_evolution: evolution,
    };
    let answer = if is_dry_run {
        let found = api.sessions.dry_run(&id, asked, &caller).await?;
        CommitAnswer::DryRun(DryRunResponse::from(&found))
    } else {
        let receipt = api.sessions.commit(&id, asked, &caller).await?;
        let commit_id = Some(receipt.commit_id());
        guard::is_about(&request, None, Some(&receipt.table), commit_id);
        CommitAnswer::Commit(CommitResponse::from(&receipt))
    };
    Ok(HttpResponse::Ok().json(answer))
}
