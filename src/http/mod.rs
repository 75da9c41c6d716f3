//! The HTTP surface. A handler reads its request, makes one call, and shows the answer; everything else is
//! elsewhere.
//!
//! * [`error`] is the only home of status codes for refusals.
//! * [`extract`] reads ids, parameters and bodies, and makes the 422 answers.
//! * [`views`] are the answers' shapes, which the OpenAPI document is made from.
//! * [`observe`] gives every request an id, a span, a log line and its metrics.

pub mod docs;
pub mod error;
pub mod extract;
pub mod observe;
pub mod openapi;
pub mod routes;
pub mod views;

use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::actors::{Sessions, Surroundings};
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::upload::Uploads;

/// What handlers need.
pub struct Api {
    /// The sessions.
    pub sessions: Sessions,
    /// Takes parts in.
    pub uploads: Uploads,
    /// Records, catalog, metrics.
    pub surroundings: Arc<Surroundings>,
    /// The configuration.
    pub config: Config,
}

/// Adds a path's handlers to it.
type Handlers = fn(actix_web::Resource) -> actix_web::Resource;

/// Every route: path, allowed methods, handlers. What is not here is 404; another method is 405. The first that
/// matches counts.
const ROUTES: [(&str, &str, Handlers); 10] = [
    ("/health", "GET, HEAD", |it| {
        it.route(web::get().to(routes::health::health))
            .route(web::head().to(routes::health::health))
    }),
    ("/metrics", "GET", |it| {
        it.route(web::get().to(routes::health::metrics))
    }),
    ("/openapi.json", "GET", |it| {
        it.route(web::get().to(openapi::document))
    }),
    ("/docs", "GET", |it| it.route(web::get().to(docs::page))),
    ("/docs/{file}", "GET", |it| {
        it.route(web::get().to(docs::file))
    }),
    ("/v1/upload/session", "POST", |it| {
        it.route(web::post().to(routes::sessions::start_session))
    }),
    ("/v1/upload/{session_id}/inspect", "GET", |it| {
        it.route(web::get().to(routes::sessions::inspect_session))
    }),
    ("/v1/upload/{session_id}/commit", "POST", |it| {
        it.route(web::post().to(routes::commits::commit_session))
    }),
    ("/v1/upload/{session_id}/part/{part}", "DELETE", |it| {
        it.route(web::delete().to(routes::parts::delete_part))
    }),
    ("/v1/upload/{session_id}", "PUT", |it| {
        it.route(web::put().to(routes::parts::upload_part))
    }),
];

/// Adds every route to an app.
pub fn configure(app: &mut ServiceConfig, api: web::Data<Api>) {
    app.app_data(api);
    for (path, allowed, handlers) in ROUTES {
        app.service(handlers(web::resource(path)).default_service(not_allowed(allowed)));
    }
    app.default_service(web::to(route_not_found));
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
