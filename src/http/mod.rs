//! The HTTP surface. A handler reads its request, makes one call, and shows the answer; everything else is
//! elsewhere.
//!
//! * [`guard`] finds out who asks, before anything of a body is read.
//! * [`error`] is the only home of status codes for refusals.
//! * [`extract`] reads ids, parameters and bodies, and makes the 422 answers.
//! * [`views`] are the answers' shapes, which the OpenAPI document is made from.
//! * [`observe`] gives every request an id, a span, a log line and its metrics.

pub mod docs;
pub mod error;
pub mod extract;
pub mod guard;
pub mod observe;
pub mod openapi;
mod origin;
pub mod routes;
pub mod views;

use std::sync::Arc;

use actix_cors::Cors;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use actix_web::middleware::{Condition, DefaultHeaders};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::actors::{Sessions, Surroundings};
use crate::audit::Audit;
use crate::auth::Authentication;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::quotas::rates::Rates;
use crate::upload::Uploads;

/// What handlers need.
pub struct Api {
    /// The sessions.
    pub sessions: Sessions,
    /// Takes parts in.
    pub uploads: Uploads,
    /// Records, catalog, metrics.
    pub surroundings: Arc<Surroundings>,
    /// Finds out who asks.
    pub authentication: Authentication,
    /// What users may ask for in a second.
    pub rates: Rates,
    /// Who changed what.
    pub audit: Audit,
    /// Whether connections are encrypted.
    pub is_encrypted: bool,
    /// The configuration.
    pub config: Config,
}

/// Who may come to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Public,
    /// Who has proven who they are. What they may do there, the handler has decided ([`crate::domain::access`]).
    Known,
}

/// Adds a path's handlers to it.
type Handlers = fn(actix_web::Resource) -> actix_web::Resource;

/// Every route: path, who may come, allowed methods, handlers. What is not here is 404; another method is 405. The first that
/// matches counts, and is found the sooner the further up it stands.
pub const ROUTES: [(&str, Access, &str, Handlers); 12] = [
    ("/v1/upload/session", Access::Known, "POST", |it| {
        it.route(web::post().to(routes::sessions::start_session))
    }),
    (
        "/v1/upload/{session_id}",
        Access::Known,
        "PUT, DELETE",
        |it| {
            it.route(web::put().to(routes::parts::upload_part))
                .route(web::delete().to(routes::sessions::abort_session))
        },
    ),
    (
        "/v1/upload/{session_id}/commit",
        Access::Known,
        "POST",
        |it| it.route(web::post().to(routes::commits::commit_session)),
    ),
    (
        "/v1/upload/{session_id}/inspect",
        Access::Known,
        "GET",
        |it| it.route(web::get().to(routes::sessions::inspect_session)),
    ),
    (
        "/v1/upload/{session_id}/part/{part}",
        Access::Known,
        "DELETE",
        |it| it.route(web::delete().to(routes::parts::delete_part)),
    ),
    ("/health", Access::Public, "GET, HEAD", |it| {
        it.route(web::get().to(routes::health::health))
            .route(web::head().to(routes::health::health))
    }),
    ("/metrics", Access::Known, "GET", |it| {
        it.route(web::get().to(routes::health::metrics))
    }),
    ("/openapi.json", Access::Public, "GET", |it| {
        it.route(web::get().to(openapi::document))
    }),
    ("/docs", Access::Public, "GET", |it| {
        it.route(web::get().to(docs::page))
    }),
    ("/docs/{file}", Access::Public, "GET", |it| {
        it.route(web::get().to(docs::file))
    }),
    ("/token", Access::Public, "POST", |it| {
        it.route(web::post().to(routes::tokens::issue_token))
    }),
    ("/.well-known/jwks.json", Access::Public, "GET", |it| {
        it.route(web::get().to(routes::tokens::key_set))
    }),
];

/// The route that a request goes to. Found once for each request: matching costs more than the rest of what a request goes
/// through before its handler.
#[derive(Debug, Clone, Copy)]
struct Matched {
    /// `None` for what is no route, where there is nothing to guard.
    pattern: Option<&'static str>,
    access: Access,
}

impl Matched {
    fn of(request: &ServiceRequest) -> Self {
        let pattern = request.match_pattern();
        let route = ROUTES
            .iter()
            .find(|(path, ..)| Some(*path) == pattern.as_deref());
        Self {
            pattern: route.map(|(path, ..)| *path),
            access: route.map_or(Access::Public, |(_, access, ..)| *access),
        }
    }
}

/// Adds every route to an app.
pub fn configure(app: &mut ServiceConfig, api: web::Data<Api>) {
    app.app_data(api);
    for (path, _, allowed, handlers) in ROUTES {
        app.service(handlers(web::resource(path)).default_service(not_allowed(allowed)));
    }
    app.default_service(web::to(route_not_found));
}

/// Headers that every answer has: a browser must neither guess types nor run or frame anything of ours.
pub fn security_headers(is_encrypted: bool) -> DefaultHeaders {
    let headers = DefaultHeaders::new()
        .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((X_FRAME_OPTIONS, "DENY"))
        .add((REFERRER_POLICY, "no-referrer"))
        .add((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ));
    if is_encrypted {
        headers.add((STRICT_TRANSPORT_SECURITY, "max-age=31536000"))
    } else {
        headers
    }
}

/// Lets web pages of the configured origins use the API; of no other.
pub fn cross_origin(origins: &[String]) -> Condition<Cors> {
    let cors = origins
        .iter()
        .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    let cors = cors
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allow_any_header()
        .expose_headers([
            "x-request-id",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
        ])
        .max_age(600);
    Condition::new(!origins.is_empty(), cors)
}

async fn route_not_found(request: HttpRequest) -> Result<HttpResponse> {
    Err(Error::new(
        ErrorCode::RouteNotFound,
        format!(
            "There is nothing at {}; the API is described at /docs.",
            request.path()
        ),
    ))
}

fn not_allowed(allowed: &'static str) -> actix_web::Route {
    web::to(move |request: HttpRequest| async move {
        Err::<HttpResponse, Error>(
            Error::new(
                ErrorCode::MethodNotAllowed,
                format!(
                    "{} is not allowed here; allowed: {allowed}.",
                    request.method()
                ),
            )
            .with("allow", allowed),
        )
    })
}
