//! Short-lived tokens, and the keys that they are signed with.

use std::collections::HashMap;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::{IssuedToken, TokenRequest};
use crate::error::{Error, ErrorCode, Result};
use crate::http::views::{HTTPValidationError, Refusal};
use crate::http::{Api, extract, guard};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Kinds of tokens that may be exchanged (RFC 8693 section 3).
const SUBJECT_TOKEN_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
];

/// The form of `POST /token`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read field by field; this is its description")]
pub struct TokenForm {
    /// `client_credentials`, or `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The user of an access token, or its id.
    client_id: Option<String>,
    /// The access token.
    client_secret: Option<String>,
    /// A JWT of an issuer that is configured.
    subject_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`.
    subject_token_type: Option<String>,
}

/// Exchanges an access token, or another issuer's JWT, for a JWT that lives some minutes.
#[utoipa::path(
    post, path = "/token", tag = "service", operation_id = "issue_token", summary = "Issue Token",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = IssuedToken),
        (status = 400, description = "The body is incomplete", body = Refusal),
        (status = 401, description = "Authentication failed", body = Refusal),
        (status = 404, description = "Authentication is off", body = Refusal),
        (status = 408, description = "The body did not arrive in time", body = Refusal),
        (status = 413, description = "Too large", body = Refusal),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
    )
)]
pub async fn issue_token(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse> {
    if !api.authentication.is_required() {
        return Err(Error::new(
            ErrorCode::RouteNotFound,
            "Authentication is off on this server: no token is needed.",
        ));
    }
    let bytes = extract::small_body(body, api.config.server.pace()).await?;
    let asked = token_request(&fields(&request, &bytes)?)?;
    let (issued, user) = api.authentication.issue(asked).await?;
    guard::is_by(&request, user);
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(issued))
}

/// The keys of the JWTs that this server makes.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "service", operation_id = "key_set", summary = "Key Set",
    responses((status = 200, description = "The public keys (RFC 7517)", body = Object))
)]
pub async fn key_set(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=300"))
        .json(api.authentication.key_set())
}

fn fields(request: &HttpRequest, bytes: &[u8]) -> Result<HashMap<String, String>> {
    let refused =
        |message: &str| Error::validation(json!(["body"]), message, "form_parsing", Value::Null);
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|text| {
        let kind = text.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        return Err(refused(
            "The body should be a form: Content-Type: application/x-www-form-urlencoded",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refused("The form is not UTF-8"))?;
    let fields = web::Query::<HashMap<String, String>>::from_query(text);
    fields
        .map(web::Query::into_inner)
        .map_err(|_| refused("The form cannot be read"))
}

fn token_request(fields: &HashMap<String, String>) -> Result<TokenRequest> {
    let field = |name: &str| {
        fields.get(name).cloned().ok_or_else(|| {
            Error::validation(
                json!(["body", name]),
                "Field required",
                "missing",
                Value::Null,
            )
        })
    };
    match field("grant_type")?.as_str() {
        CLIENT_CREDENTIALS => {
            let (client_id, client_secret) =
                extract::both(field("client_id"), field("client_secret"))?;
            Ok(TokenRequest::ClientCredentials {
                client_id,
                client_secret,
            })
        }
        TOKEN_EXCHANGE => {
            let (subject_token, kind) =
                extract::both(field("subject_token"), field("subject_token_type"))?;
            if !SUBJECT_TOKEN_TYPES.contains(&kind.as_str()) {
                return Err(not_one_of("subject_token_type", &SUBJECT_TOKEN_TYPES, kind));
            }
            Ok(TokenRequest::Exchange { subject_token })
        }
        other => Err(not_one_of(
            "grant_type",
            &[CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
            other.to_owned(),
        )),
    }
}

fn not_one_of(name: &str, [one, other]: &[&str; 2], found: String) -> Error {
    Error::validation(
        json!(["body", name]),
        &format!("Input should be '{one}' or '{other}'"),
        "enum",
        found.into(),
    )
}
