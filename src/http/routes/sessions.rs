//! Opening and inspecting sessions.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::error::Result;
use crate::http::views::{
    self, AbortSessionResponse, HTTPValidationError, InspectResponse, Refusal, StartSessionRequest,
    StartSessionResponse,
};
use crate::http::{Api, extract, guard};
use crate::table::catalog;

/// Opens a session, bound to a table or not.
#[utoipa::path(
    post, path = "/v1/upload/session", tag = "upload", operation_id = "start_upload_session",
    summary = "Start Upload Session",
    params(("authorization" = Option<String>, Header, description = "Bearer token")),
    request_body(content = Option<StartSessionRequest>, description = "Empty, or the table to bind the session to"),
    responses(
        (status = 201, description = "The session is open", body = StartSessionResponse),
        (status = 400, description = "The body is incomplete", body = Refusal),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 403, description = "Not permitted", body = Refusal),
        (status = 408, description = "The body stopped arriving, or arrives too slowly", body = Refusal),
        (status = 413, description = "The body is too large", body = Refusal),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
        (status = 429, description = "As many sessions are open as may be, or more requests than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses writes", body = Refusal),
        (status = 507, description = "The disk is full", body = Refusal),
    )
)]
pub async fn start_session(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse> {
    let caller = guard::caller(&request)?;
    let target = match extract::json_object(body, api.config.server.pace()).await? {
        Some(object) => extract::target(&object)?,
        None => None,
    };
    guard::is_about(&request, None, target.as_ref(), None);
    caller.check_open(target.as_ref())?;
    let declared = match &target {
        Some(target) => Some(catalog::load(&api.surroundings.commits.catalog, target).await?),
        None => None,
    };
    let session = api.sessions.open(target, &caller).await?;
    guard::is_about(
        &request,
        Some(session.id.to_string()),
        session.target.as_ref(),
        None,
    );
    let parts = &api.config.parts;
    Ok(HttpResponse::Created().json(StartSessionResponse {
        session_id: session.id.to_string(),
        url: format!("{}/v1/upload/{}", public_url(&request, &api), session.id),
        expires_at: views::timestamp(session.expires_at),
        parts: true,
        target: session.target.as_ref().map(Into::into),
        declared_schema: declared
            .map(|table| views::declared_schema(table.map(|table| table.columns()).as_ref())),
        part_wire_bytes_max: parts.wire_bytes_max.as_u64(),
        part_decoded_bytes_max: parts.decoded_bytes_max.as_u64(),
        part_number_max: parts.number_max,
    }))
}

/// Says what is staged and what a commit would write now.
#[utoipa::path(
    get, path = "/v1/upload/{session_id}/inspect", tag = "upload", operation_id = "inspect_session",
    summary = "Inspect Session",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("authorization" = Option<String>, Header, description = "Bearer token"),
    ),
    responses(
        (status = 200, description = "What is staged", body = InspectResponse),
        (status = 204, description = "Nothing is staged"),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 404, description = "No such session", body = Refusal),
        (status = 410, description = "The session expired", body = Refusal),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
        (status = 429, description = "More requests than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses reads", body = Refusal),
    )
)]
pub async fn inspect_session(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse> {
    let id = extract::session_id(&request)?;
    let session = api.sessions.inspect(&id, &guard::caller(&request)?).await?;
    if session.parts.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    Ok(HttpResponse::Ok().json(InspectResponse::new(&session)))
}

/// Ends a session that will not be committed; its parts go. Ending it again is fine.
#[utoipa::path(
    delete, path = "/v1/upload/{session_id}", tag = "upload", operation_id = "abort_session",
    summary = "Abort Session",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("authorization" = Option<String>, Header, description = "Bearer token"),
    ),
    responses(
        (status = 200, description = "The session has ended", body = AbortSessionResponse),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 404, description = "No such session", body = Refusal),
        (status = 409, description = "The session is committing or committed", body = Refusal),
        (status = 410, description = "The session expired", body = Refusal),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
        (status = 429, description = "More requests than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses writes", body = Refusal),
        (status = 507, description = "The disk is full", body = Refusal),
    )
)]
pub async fn abort_session(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse> {
    let id = extract::session_id(&request)?;
    api.sessions.abort(&id, &guard::caller(&request)?).await?;
    Ok(HttpResponse::Ok().json(AbortSessionResponse {
        status: "aborted",
        session_id: id.to_string(),
    }))
}

/// The base of the URLs handed out: as configured, else as the client reached us.
fn public_url(request: &HttpRequest, api: &Api) -> String {
    match (&api.config.server.public_url, guard::origin(request)) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(origin)) => format!("{}://{}", origin.scheme, origin.host),
        (None, None) => String::new(),
    }
}
