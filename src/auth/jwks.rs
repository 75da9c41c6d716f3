//! An issuer's keys by URL (RFC 7517): fetched when they are first needed, kept, and fetched again when they are old or a token
//! names one that is not among them.
//!
//! **Bounds.** One fetch at a time, one in [`FETCH_PAUSE`], each within [`FETCH_DEADLINE`] and [`KEY_SET_BYTES_MAX`], without
//! redirects; so tokens with made-up key ids cannot make us a burden to the issuer. While an issuer does not answer its known
//! keys go on being used, for [`KEPT_MAX`].
//!
//! **Algorithms** follow from the kind of key, never from the token: RS256 for RSA, ES256 for P-256, EdDSA for Ed25519.
//! Symmetric keys are not taken from a URL.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Reason;

/// Longest wait for an issuer.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two fetches.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// Keys older than this are fetched again beside the request that finds it.
const REFRESHED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Keys older than this are not used.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Largest key set.
const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// Most keys of a set.
const KEYS_MAX: usize = 100;

/// A key and the one algorithm that it is used with.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    id: Option<String>,
}

impl Verifier {
    pub(super) fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self {
            algorithm,
            key,
            id: None,
        }
    }
}

/// The keys of one issuer. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeySet(Arc<Shared>);

struct Shared {
    url: String,
    client: reqwest::Client,
    known: RwLock<Option<Known>>,
    /// When the last fetch began; held by who fetches.
    fetching: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<[Verifier]>,
    fetched_at: Instant,
}

impl Known {
    /// The key that a token names; where it names none, the only one of its algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Verifier> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)).cloned(),
            None => {
                let first = fitting.next();
                first.filter(|_| fitting.next().is_none()).cloned()
            }
        }
    }
}

impl KeySet {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .timeout(FETCH_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("calve/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("cannot make a client for {url}: {error}"))?;
        Ok(Self(Arc::new(Shared {
            url: url.to_owned(),
            client,
            known: RwLock::new(None),
            fetching: Mutex::new(None),
        })))
    }

    /// The key that a token says it is signed with.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Verifier, Reason> {
        if let Some(known) = self.known() {
            if known.fetched_at.elapsed() > REFRESHED_AFTER {
                let again = self.clone();
                actix_web::rt::spawn(async move { again.fetch().await });
            }
            if let Some(key) = known.find(id, algorithm) {
                return Ok(key);
            }
        }
        self.fetch().await;
        let known = self.known().ok_or("the issuer's keys could not be had")?;
        known
            .find(id, algorithm)
            .ok_or_else(|| "a JWT with a key that is not its issuer's".to_owned())
    }

    fn known(&self) -> Option<Known> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .clone()
            .filter(|known| known.fetched_at.elapsed() < KEPT_MAX)
    }

    /// Fetches the keys, unless that was done just now.
    async fn fetch(&self) {
        let mut last = self.0.fetching.lock().await;
        if last.is_some_and(|last| last.elapsed() < FETCH_PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        match self.received().await {
            Ok(keys) => {
                tracing::info!(
                    url = self.0.url,
                    keys = keys.len(),
                    "fetched an issuer's keys"
                );
                let known = Known {
                    keys: keys.into(),
                    fetched_at: Instant::now(),
                };
                *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
            }
            Err(error) => {
                tracing::warn!(
                    url = self.0.url,
                    error,
                    "an issuer's keys could not be fetched"
                );
            }
        }
    }

    async fn received(&self) -> Result<Vec<Verifier>, String> {
        let sent = self.0.client.get(&self.0.url).send().await;
        let mut response = sent
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| error.without_url().to_string())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
            if bytes.len() + chunk.len() > KEY_SET_BYTES_MAX {
                return Err(format!("it has more than {KEY_SET_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        keys_in(&bytes)
    }
}

/// The keys of a set that can be used; those that cannot, of which other programs may know more, are left out.
fn keys_in(bytes: &[u8]) -> Result<Vec<Verifier>, String> {
    let set: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Err("it is not a set of keys".to_owned());
    };
    Ok(keys.iter().take(KEYS_MAX).filter_map(verifier).collect())
}

fn verifier(key: &Value) -> Option<Verifier> {
    let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    let is_for_signatures = match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(_) => false,
    };
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    // What a key says of itself must be that; one of RSA may be meant for RS512.
    let said = key.get("alg").and_then(Value::as_str);
    let is_meant = said.is_none_or(|said| said == format!("{algorithm:?}"));
    if !is_for_signatures || !is_meant {
        return None;
    }
    Some(Verifier {
        algorithm,
        key: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ec(extra: Value) -> Value {
        let mut key = json!({
            "kty": "EC", "crv": "P-256",
            // RFC 7515 appendix A.3.
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        for (name, value) in extra.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn known(keys: Value) -> Known {
        Known {
            keys: keys_in(&serde_json::to_vec(&json!({ "keys": keys })).unwrap())
                .unwrap()
                .into(),
            fetched_at: Instant::now(),
        }
    }

    #[test]
    fn a_key_is_only_used_for_what_it_is() {
        let usable = |key: Value| known(json!([key])).keys.len() == 1;
        assert!(usable(ec(json!({"alg": "ES256", "use": "sig"}))));
        assert!(usable(ec(json!({}))));
        assert!(!usable(ec(json!({"use": "enc"}))));
        assert!(!usable(ec(json!({"alg": "ES384"}))));
        assert!(!usable(ec(json!({"alg": "HS256"}))));
        assert!(!usable(
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"})
        ));
        assert!(!usable(json!({"kty": "unheard of"})));
        assert!(!usable(json!(7)));
        assert!(keys_in(b"[]").is_err());
        assert!(keys_in(b"{\"keys\": {}}").is_err());
    }

    #[test]
    fn a_token_without_a_key_id_has_the_only_key_there_is() {
        let two = known(json!([ec(json!({"kid": "a"})), ec(json!({"kid": "b"}))]));
        assert!(two.find(Some("a"), Algorithm::ES256).is_some());
        assert!(two.find(Some("c"), Algorithm::ES256).is_none());
        assert!(two.find(Some("a"), Algorithm::RS256).is_none());
        assert!(two.find(None, Algorithm::ES256).is_none());
        let one = known(json!([ec(json!({"kid": "a"}))]));
        assert!(one.find(None, Algorithm::ES256).is_some());
        assert!(one.find(None, Algorithm::HS256).is_none());
    }
}
