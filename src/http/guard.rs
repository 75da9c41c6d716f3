//! What every request goes through before its handler: who asks, and whether they ask too often; and what is written down of it
//! afterwards.
//!
//! Nothing of the body has been read when a request is refused here. A handler of a route that is not [`Access::Public`] finds
//! its caller with [`caller`]; what the caller may do is decided where the session is known.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError, web};

use super::{Access, Api, Matched, observe};
use crate::audit::Entry;
use crate::domain::{Caller, SessionId, Target};
use crate::error::{Error, ErrorCode, Result};
use crate::http::origin::Origin;

/// How much of the rate is left (draft-ietf-httpapi-ratelimit-headers).
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What the rate is.
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a handler adds to the line in the audit log.
#[derive(Debug, Clone, Default)]
struct Facts {
    user: Option<String>,
    session_id: Option<String>,
    target: Option<String>,
    commit_id: Option<String>,
}

type SharedFacts = Rc<RefCell<Facts>>;

/// The middleware.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> std::result::Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let Some(api) = request.app_data::<web::Data<Api>>().cloned() else {
        return Err(Error::internal("the app has no data").into());
    };
    let origin = Origin::new(
        request.peer_addr().map(|peer| peer.ip()),
        api.is_encrypted,
        host(&request),
        request.headers(),
        &api.config.server.trusted_proxies,
    );
    let address = origin.address_text();
    let facts = SharedFacts::default();
    request.extensions_mut().insert(origin);
    request.extensions_mut().insert(facts.clone());
    let found = find_caller(&request, &api).await;
    let user = match &found {
        Ok(Some(caller)) => caller.user().map(str::to_owned),
        Ok(None) | Err(_) => None,
    };
    let admitted = found.and_then(|caller| match caller {
        None => Ok(None),
        Some(caller) => {
            let rate = api.rates.take_request(&caller, Instant::now());
            request.extensions_mut().insert(caller);
            rate
        }
    });
    let mut response = match admitted {
        Ok(rate) => {
            let mut response = next.call(request).await?.map_into_left_body();
            if let Some((policy, state)) = rate {
                insert(&mut response, RATELIMIT_POLICY, &policy);
                insert(&mut response, RATELIMIT, &state);
            }
            response
        }
        Err(error) => {
            let refused = error.error_response();
            request.into_response(refused).map_into_right_body()
        }
    };
    if api.audit.is_enabled()
        && let Some(mut entry) = entry(&mut response, &api, address)
    {
        let facts = facts.take();
        entry.user = user.or(facts.user);
        entry.session_id = entry.session_id.or(facts.session_id);
        entry.target = facts.target;
        entry.commit_id = facts.commit_id;
        api.audit.write(&entry).await;
    }
    Ok(response)
}

/// Host and port as the request says them, in its target or its header. (actix's own answer believes any proxy.)
fn host(request: &ServiceRequest) -> &str {
    let header = request.headers().get(HOST);
    let header = header.and_then(|value| value.to_str().ok());
    let in_target = request.uri().authority().map(Authority::as_str);
    in_target.or(header).unwrap_or_default()
}

/// Finds out who asks; `None` where that does not matter.
async fn find_caller(request: &ServiceRequest, api: &Api) -> Result<Option<Caller>> {
    let matched = request.extensions().get::<Matched>().copied();
    match matched.map_or(Access::Known, |matched| matched.access) {
        Access::Public => Ok(None),
        Access::Known => {
            let mut headers = request.headers().get_all(AUTHORIZATION);
            let authorization = match (headers.next(), headers.next()) {
                (None, _) => None,
                (Some(header), None) => Some(header.to_str().unwrap_or_default()),
                // Of two, a proxy in front may have believed the other.
                (Some(_), Some(_)) => Some(""),
            };
            api.authentication.caller(authorization).await.map(Some)
        }
    }
}

fn insert<B>(response: &mut ServiceResponse<B>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The line for the audit log; `None` for what changes nothing and was not refused.
fn entry<B>(response: &mut ServiceResponse<B>, api: &Api, address: String) -> Option<Entry> {
    let status = response.status();
    let request = response.request();
    let matched = request.extensions().get::<Matched>().copied();
    let action = observe::operation(request.method(), matched?.pattern);
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_known = action != observe::UNKNOWN_OPERATION;
    if !is_known || !(is_change || status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let mut entry = Entry::new(api.surroundings.clock.now(), address, action);
    // A request that was refused here has not been routed: its path is all there is.
    let mut segments = request.path().split('/');
    let session_id = segments.find_map(SessionId::parse);
    entry.session_id = session_id.as_ref().map(ToString::to_string);
    entry.part = match segments.next() {
        Some("part") => segments.next().and_then(part_number),
        _ => part_in_query(request.query_string()),
    };
    entry.status = Some(status.as_u16());
    entry.request_id = Some(observe::request_id());
    if let Some(code) = response.response().extensions().get::<ErrorCode>() {
        entry.outcome = code.wire_name();
    }
    Some(entry)
}

fn part_in_query(query: &str) -> Option<String> {
    let mut pairs = query.split('&');
    pairs
        .find_map(|pair| pair.strip_prefix("part="))
        .and_then(part_number)
}

/// The part's number where it is one; anything else is not written down.
fn part_number(text: &str) -> Option<String> {
    text.parse::<u16>().ok().map(|number| number.to_string())
}

/// Who asks.
pub fn caller(request: &HttpRequest) -> Result<Caller> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Error::internal("a route without a caller asked for one"))
}

/// How the client reached us.
pub fn origin(request: &HttpRequest) -> Option<Origin> {
    request.extensions().get::<Origin>().cloned()
}

/// Who a request is by, for the audit log, where its credential is in its body.
pub fn is_by(request: &HttpRequest, user: String) {
    if let Some(facts) = request.extensions().get::<SharedFacts>() {
        facts.borrow_mut().user = Some(user);
    }
}

/// What a request is about, for the audit log.
pub fn is_about(
    request: &HttpRequest,
    session_id: Option<String>,
    target: Option<&Target>,
    commit_id: Option<String>,
) {
    let facts = request.extensions().get::<SharedFacts>().cloned();
    if let Some(facts) = facts {
        let mut facts = facts.borrow_mut();
        facts.session_id = session_id.or(facts.session_id.take());
        facts.target = target.map(ToString::to_string).or(facts.target.take());
        facts.commit_id = commit_id.or(facts.commit_id.take());
    }
}
