//! The OpenAPI document, made from the handlers and views.

use actix_web::HttpResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, openapi};

use super::{routes, views};
use crate::domain::ConflictResolution;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Calve",
        description = "A self-hosted upload service: files in over HTTP, one commit makes an Apache Iceberg snapshot.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        routes::health::health,
        routes::sessions::start_session,
        routes::parts::upload_part,
        routes::sessions::inspect_session,
        routes::sessions::abort_session,
        routes::tokens::issue_token,
        routes::tokens::key_set,
        routes::parts::delete_part,
        routes::commits::commit_session,
    ),
    components(schemas(
        views::Target,
        views::StartSessionResponse,
        views::CommitRequest,
        views::CommitResponse,
        views::DryRunResponse,
        views::InspectResponse,
        views::HTTPValidationError,
        views::ValidationError,
        ConflictResolution,
    )),
    modifiers(&Bearer),
    security((), ("bearer" = [])),
    tags(
        (name = "service", description = "The server itself"),
        (name = "upload", description = "Sessions, parts and commits"),
    )
)]
struct Document;

/// How a caller may prove who they are. Both are allowed to be missing: a server without authentication asks for neither.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().json(Document::openapi())
}
