//! The JWTs that we make: short-lived, ES256 (RFC 7518 section 3.4), told from others by their `typ`.
//!
//! One made from an access token names that token, and is worth as much as it: grants come from the token's record, so
//! revoking the token ends the JWT. One made by a token exchange carries its user.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Reason;
use crate::domain::User;
use crate::store::credentials::SigningKeyRecord;

/// Says whose it is (RFC 7515 section 4.1.9): other issuers' JWTs are never taken for ours.
const TYPE: &str = "calve+jwt";
const AUDIENCE: &str = "calve";

/// On whose behalf a JWT speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// Whoever holds the access token with this id.
    Token(String),
    /// A user of another issuer.
    User(User),
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    calve: Subject,
}

/// A pair of keys.
pub(super) struct SigningKey {
    id: String,
    private: EncodingKey,
    public: DecodingKey,
    /// Both coordinates of the public key, base64url.
    coordinates: [String; 2],
}

impl SigningKey {
    /// A new pair, as it is recorded.
    pub(super) fn make(id: Uuid, now: DateTime<Utc>) -> Result<SigningKeyRecord, String> {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = made.map_err(|_| "the system gave no random numbers for a key".to_owned())?;
        Ok(SigningKeyRecord {
            id: id.simple().to_string(),
            created_at: now,
            pkcs8: STANDARD.encode(pkcs8.as_ref()),
        })
    }

    pub(super) fn read(record: &SigningKeyRecord) -> Result<Self, String> {
        let unreadable = || format!("the signing key {} cannot be read", record.id);
        let pkcs8 = STANDARD.decode(&record.pkcs8).map_err(|_| unreadable())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| unreadable())?;
        // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(unreadable());
        };
        let coordinates = [x, y].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let [x, y] = &coordinates;
        Ok(Self {
            id: record.id.clone(),
            private: EncodingKey::from_ec_der(&pkcs8),
            public: DecodingKey::from_ec_components(x, y).map_err(|_| unreadable())?,
            coordinates,
        })
    }

    /// The public key (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let [x, y] = &self.coordinates;
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": self.id, "x": x, "y": y,
        })
    }

    /// A JWT that lives for so long.
    pub(super) fn sign(
        &self,
        issuer: &str,
        name: &str,
        subject: Subject,
        now: DateTime<Utc>,
        lifetime: Duration,
    ) -> Result<String, Reason> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.id.clone());
        let lifetime = i64::try_from(lifetime.as_secs()).map_err(|error| error.to_string())?;
        let claims = Claims {
            iss: issuer.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: name.to_owned(),
            iat: now.timestamp(),
            exp: now.timestamp() + lifetime,
            calve: subject,
        };
        jsonwebtoken::encode(&header, &claims, &self.private).map_err(|error| error.to_string())
    }
}

/// Whether a credential says that it is a JWT of ours.
pub(super) fn is_ours(credential: &str) -> bool {
    jsonwebtoken::decode_header(credential).is_ok_and(|header| header.typ.as_deref() == Some(TYPE))
}

/// On whose behalf a JWT of ours speaks, if it does at this time.
pub(super) fn verify(
    credential: &str,
    keys: &[SigningKey],
    now: DateTime<Utc>,
) -> Result<Subject, Reason> {
    let header = jsonwebtoken::decode_header(credential).map_err(|error| error.to_string())?;
    let key = keys
        .iter()
        .find(|key| header.kid.as_deref() == Some(&key.id))
        .ok_or("a JWT of ours with a key that is gone")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    // The time is handed in.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(credential, &key.public, &validation)
        .map_err(|error| error.to_string())?
        .claims;
    if now.timestamp() >= claims.exp {
        return Err("a JWT of ours that has expired".to_owned());
    }
    Ok(claims.calve)
}
