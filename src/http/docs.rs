//! The interactive page at `/docs`: Swagger UI, out of the binary. It refers to no other host.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpRequest, HttpResponse};

use crate::error::{Error, ErrorCode, Result};

/// The page's settings; the validator would be another host.
static CONFIG: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> = LazyLock::new(|| {
    Arc::new(utoipa_swagger_ui::Config::from("/openapi.json").validator_url("none"))
});

/// What the page may do: its own files, styles that its script makes, and requests to this server.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// The page itself. Its links are relative to a folder, and the page is at `/docs`.
pub async fn page() -> Result<HttpResponse> {
    let (_, bytes) = load("index.html")?;
    let html = String::from_utf8(bytes).map_err(Error::internal)?;
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(
            html.replace("=\"./", "=\"/docs/")
                .replace("=\"index.css", "=\"/docs/index.css"),
        ))
}

/// One of the page's files.
pub async fn file(request: HttpRequest) -> Result<HttpResponse> {
    let (content_type, bytes) = load(request.match_info().query("file"))?;
    Ok(HttpResponse::Ok().content_type(content_type).body(bytes))
}

fn load(name: &str) -> Result<(String, Vec<u8>)> {
    let found = utoipa_swagger_ui::serve(name, CONFIG.clone())
        .map_err(|error| Error::internal(error.to_string()))?;
    match found {
        Some(file) => Ok((file.content_type, file.bytes.into_owned())),
        None => Err(Error::new(
            ErrorCode::RouteNotFound,
            "There is no such file; the page is at /docs.",
        )),
    }
}
