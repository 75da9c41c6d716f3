//! JWTs that others issued (RFC 7519): which issuers are believed, with which keys, and who their tokens speak for.
//!
//! A token is believed when its issuer is configured, its signature is right under a key of that issuer with the one algorithm
//! that goes with that key, its audience is ours, and the time is within its own, give or take `auth.clock_skew_max`. The time
//! is checked here, not by the library, so that it can be handed in.
//!
//! **Grants.** An issuer's identities are looked through in order; the first whose claims all match gives its grants. Where
//! `grants_claim` is set, the token's own claim adds to them. A token that gets nothing from either proves nothing.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Reason;
use super::jwks::{KeySet, Verifier};
use crate::config::{AuthConfig, IdentityConfig, IssuerConfig, KeyAlgorithm};
use crate::domain::{Grant, User};

/// Longest value of a claim that becomes part of a user's name.
const CLAIM_CHARS_MAX: usize = 256;

/// Everyone whose JWTs are believed.
pub(super) struct Issuers {
    issuers: Vec<Issuer>,
    clock_skew_max_seconds: i64,
}

struct Issuer {
    config: IssuerConfig,
    keys: Keys,
}

enum Keys {
    /// From the issuer, by URL.
    Fetched(KeySet),
    /// From a file.
    Pinned(Verifier),
}

type Claims = Map<String, Value>;

impl Issuers {
    /// Reads the keys that are in files. Nothing is fetched before it is needed.
    pub(super) fn new(config: &AuthConfig) -> Result<Self, String> {
        let issuers = config.issuers.iter().map(Issuer::new);
        Ok(Self {
            issuers: issuers.collect::<Result<_, _>>()?,
            clock_skew_max_seconds: i64::try_from(config.clock_skew_max.as_secs())
                .map_err(|error| error.to_string())?,
        })
    }

    /// Who a token speaks for.
    pub(super) async fn prove(&self, jwt: &str, now: DateTime<Utc>) -> Result<User, Reason> {
        let (issuer, claims) = self.verified(jwt, now).await?;
        issuer.user(&claims)
    }

    /// Who a token speaks for, by an identity whose claims are pinned: anyone can have an account at a public issuer.
    pub(super) async fn prove_pinned(&self, jwt: &str, now: DateTime<Utc>) -> Result<User, Reason> {
        let (issuer, claims) = self.verified(jwt, now).await?;
        match issuer.identity(&claims) {
            Some(identity) if !identity.claims.is_empty() => issuer.user(&claims),
            Some(_) | None => Err(format!(
                "no identity of the issuer {} is pinned to these claims",
                issuer.config.name
            )),
        }
    }

    async fn verified(&self, jwt: &str, now: DateTime<Utc>) -> Result<(&Issuer, Claims), Reason> {
        let name = unverified_issuer(jwt)?;
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| issuer.config.issuer == name)
            .ok_or("a JWT of an issuer that is not configured")?;
        let claims = issuer.verify(jwt).await?;
        check_times(&claims, now.timestamp(), self.clock_skew_max_seconds)?;
        Ok((issuer, claims))
    }
}

impl Issuer {
    fn new(config: &IssuerConfig) -> Result<Self, String> {
        let place = format!("auth.issuers `{}`", config.name);
        let keys = match (&config.jwks_url, &config.key_file, config.algorithm) {
            (Some(url), None, None) => Keys::Fetched(KeySet::new(url)?),
            (None, Some(file), Some(algorithm)) => {
                let bytes = std::fs::read(file).map_err(|error| {
                    format!(
                        "{place}: cannot read key_file `{}`: {error}",
                        file.display()
                    )
                })?;
                let key = pinned_key(algorithm, &bytes)
                    .map_err(|error| format!("{place}: key_file: {error}"))?;
                Keys::Pinned(Verifier::new(algorithm.into(), key))
            }
            _ => {
                return Err(format!(
                    "{place}: give either jwks_url, or key_file and algorithm"
                ));
            }
        };
        Ok(Self {
            config: config.clone(),
            keys,
        })
    }

    /// The claims of a token whose signature, issuer and audience are right.
    async fn verify(&self, jwt: &str) -> Result<Claims, Reason> {
        let header = jsonwebtoken::decode_header(jwt).map_err(|error| error.to_string())?;
        let verifier = match &self.keys {
            Keys::Pinned(verifier) => verifier.clone(),
            Keys::Fetched(keys) => keys.find(header.kid.as_deref(), header.alg).await?,
        };
        let mut validation = Validation::new(verifier.algorithm);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        // The time is handed in: see `check_times`.
        validation.validate_exp = false;
        jsonwebtoken::decode::<Claims>(jwt, &verifier.key, &validation)
            .map(|token| token.claims)
            .map_err(|error| error.to_string())
    }

    fn identity(&self, claims: &Claims) -> Option<&IdentityConfig> {
        let matches = |identity: &&IdentityConfig| {
            let pinned = &mut identity.claims.iter();
            pinned.all(|(name, value)| claims.get(name).is_some_and(|found| is_text(found, value)))
        };
        self.config.identities.iter().find(matches)
    }

    fn user(&self, claims: &Claims) -> Result<User, Reason> {
        let identity = self.identity(claims);
        let mut grants = identity.map_or_else(Vec::new, |identity| identity.grants.clone());
        if let Some(claim) = &self.config.grants_claim {
            grants.extend(granted(claims.get(claim))?);
        }
        let is_admin = identity.is_some_and(|identity| identity.admin);
        if grants.is_empty() && !is_admin {
            return Err(format!(
                "no identity of the issuer {} matches, and the token brings no grants",
                self.config.name
            ));
        }
        let named = identity.and_then(|identity| identity.user.clone());
        let name = match named {
            Some(name) => name,
            None => text_claim(claims, &self.config.user_claim)?,
        };
        Ok(User {
            // A name of one issuer is never that of another, or of a token.
            name: format!("{}:{name}", self.config.name),
            grants,
            is_admin,
        })
    }
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::Rs256 => Self::RS256,
            KeyAlgorithm::Es256 => Self::ES256,
            KeyAlgorithm::EdDsa => Self::EdDSA,
            KeyAlgorithm::Hs256 => Self::HS256,
        }
    }
}

fn pinned_key(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<DecodingKey, String> {
    let read = match algorithm {
        KeyAlgorithm::Rs256 => DecodingKey::from_rsa_pem(bytes),
        KeyAlgorithm::Es256 => DecodingKey::from_ec_pem(bytes),
        KeyAlgorithm::EdDsa => DecodingKey::from_ed_pem(bytes),
        KeyAlgorithm::Hs256 => {
            let secret = bytes.trim_ascii_end();
            // RFC 7518 section 3.2: at least as long as the hash.
            if secret.len() < 32 {
                return Err("a secret for HS256 has at least 32 bytes".to_owned());
            }
            Ok(DecodingKey::from_secret(secret))
        }
    };
    read.map_err(|error| error.to_string())
}

/// Whose a token says it is; that chooses the keys that it is verified with.
fn unverified_issuer(jwt: &str) -> Result<String, Reason> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = jwt.split('.').nth(1).ok_or("not a JWT")?;
    let json = URL_SAFE_NO_PAD
        .decode(payload)
        .map_err(|_| "a JWT whose claims are not base64url")?;
    let claims: Claims =
        serde_json::from_slice(&json).map_err(|_| "a JWT whose claims are not a JSON object")?;
    match claims.get("iss") {
        Some(Value::String(issuer)) => Ok(issuer.clone()),
        _ => Err("a JWT without an issuer".to_owned()),
    }
}

/// Refuses a token outside of its time, in seconds since 1970 (RFC 7519 sections 4.1.4 to 4.1.6).
fn check_times(claims: &Claims, now: i64, skew: i64) -> Result<(), Reason> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(format!("a JWT whose `{name}` is not a number")),
        },
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are far below 2^53"
    )]
    let (earliest, latest) = ((now - skew) as f64, (now + skew) as f64);
    let expires_at = time("exp")?.ok_or("a JWT that never expires")?;
    if expires_at <= earliest {
        return Err("a JWT that has expired".to_owned());
    }
    for (name, what) in [("nbf", "not valid yet"), ("iat", "issued in the future")] {
        if time(name)?.is_some_and(|time| time > latest) {
            return Err(format!("a JWT that is {what}"));
        }
    }
    Ok(())
}

/// Whether a claim is what the configuration says, which is text there: numbers and booleans as JSON writes them.
fn is_text(claim: &Value, text: &str) -> bool {
    match claim {
        Value::String(found) => found == text,
        Value::Number(_) | Value::Bool(_) => {
            let written = claim.to_string();
            written == text
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn text_claim(claims: &Claims, name: &str) -> Result<String, Reason> {
    let text = match claims.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(format!("a JWT without the claim `{name}`")),
    };
    let is_plain = text.chars().all(|one| one.is_ascii_graphic());
    if text.is_empty() || text.len() > CLAIM_CHARS_MAX || !is_plain {
        return Err(format!("a JWT whose `{name}` cannot be a user's name"));
    }
    Ok(text)
}

/// The grants in a claim: a list of texts, or one text with blanks between them (as `scope` is, RFC 8693 section 4.2).
fn granted(claim: Option<&Value>) -> Result<Vec<Grant>, Reason> {
    let texts: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err("a JWT whose grants are neither a list nor text".to_owned()),
    };
    // What is not a grant is one for something else.
    Ok(texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_token_has_its_time_and_some_seconds_more() {
        let check = |claims: Value| check_times(&object(claims), 1000, 60).is_ok();
        assert!(check(json!({"exp": 1001})));
        assert!(check(json!({"exp": 941})));
        assert!(!check(json!({"exp": 940})));
        assert!(!check(json!({})));
        assert!(!check(json!({"exp": "2000"})));
        assert!(!check(json!({"exp": null})));
        assert!(check(json!({"exp": 2000, "nbf": 1060, "iat": 1060})));
        assert!(!check(json!({"exp": 2000, "nbf": 1061})));
        assert!(!check(json!({"exp": 2000, "iat": 1061})));
        assert!(!check(json!({"exp": 2000, "nbf": []})));
        assert!(check(json!({"exp": 2000.5})));
    }

    fn issuer(identities: Vec<IdentityConfig>, grants_claim: Option<&str>) -> Issuer {
        let config = IssuerConfig {
            name: "ci".to_owned(),
            issuer: "https://issuer".to_owned(),
            audience: "calve".to_owned(),
            jwks_url: None,
            key_file: None,
            algorithm: None,
            user_claim: "sub".to_owned(),
            grants_claim: grants_claim.map(str::to_owned),
            identities,
        };
        let key = DecodingKey::from_secret(b"unused");
        Issuer {
            config,
            keys: Keys::Pinned(Verifier::new(Algorithm::HS256, key)),
        }
    }

    fn identity(claims: &[(&str, &str)], user: Option<&str>, grant: &str) -> IdentityConfig {
        IdentityConfig {
            user: user.map(str::to_owned),
            claims: claims
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            grants: vec![grant.parse().unwrap()],
            admin: false,
        }
    }

    #[test]
    fn the_first_identity_that_matches_in_all_claims_counts() {
        let issuer = issuer(
            vec![
                identity(
                    &[("repository_id", "12"), ("ref", "main")],
                    Some("release"),
                    "acme.*:owner",
                ),
                identity(&[("repository_id", "12")], None, "acme.*:writer"),
            ],
            None,
        );
        let user = |claims: Value| issuer.user(&object(claims)).map(|user| user.name);
        let main = json!({"sub": "s", "repository_id": 12, "ref": "main"});
        assert_eq!(user(main), Ok("ci:release".to_owned()));
        let branch = json!({"sub": "s", "repository_id": "12", "ref": "other"});
        assert_eq!(user(branch), Ok("ci:s".to_owned()));
        for claims in [
            json!({"sub": "s", "repository_id": "123"}),
            json!({"sub": "s", "repository_id": ["12"]}),
            json!({"sub": "s"}),
            json!({"repository_id": "12"}),
            json!({"sub": "a b", "repository_id": "12"}),
        ] {
            assert!(user(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn grants_may_come_in_a_claim() {
        let issuer = issuer(Vec::new(), Some("scope"));
        let grants = |claims: Value| {
            let user = issuer.user(&object(claims));
            user.map(|user| user.grants.iter().map(Grant::to_string).collect::<Vec<_>>())
        };
        let expected = Ok(vec![
            "acme.a.*:reader".to_owned(),
            "acme.b.*:writer".to_owned(),
        ]);
        let text = json!({"sub": "s", "scope": "openid acme.a.*:reader acme.b.*:writer"});
        assert_eq!(grants(text), expected);
        let list = json!({"sub": "s", "scope": ["acme.a.*:reader", 7, "acme.b.*:writer"]});
        assert_eq!(grants(list), expected);
        for claims in [
            json!({"sub": "s"}),
            json!({"sub": "s", "scope": "openid"}),
            json!({"sub": "s", "scope": "*:owner"}),
            json!({"sub": "s", "scope": {"acme.a.*": "reader"}}),
        ] {
            assert!(grants(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(pinned_key(KeyAlgorithm::Hs256, b"0123456789012345678901234567890\n").is_err());
        assert!(pinned_key(KeyAlgorithm::Hs256, b"01234567890123456789012345678901\n").is_ok());
        assert!(pinned_key(KeyAlgorithm::Es256, b"not PEM").is_err());
    }
}
