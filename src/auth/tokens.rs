//! Access tokens, and the keys of this server.
//!
//! A token is `calve_<id>_<secret>`: 16 hex digits that name it, and 64 that prove it. Its record has a keyed hash of the
//! secret (HMAC-SHA-256, RFC 2104), which is as good as a slow hash for 256 random bits, and cheap enough for every request.
//!
//! All tokens are in memory (at most [`TOKENS_MAX`]), so that no request waits for the disk. A change is recorded first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Reason;
use super::own_jwt::{self, SigningKey, Subject};
use crate::clock::SharedClock;
use crate::domain::{Grant, User};
use crate::store::credentials::{AccessToken, CredentialStore, KeysRecord, TokenFacts};

/// What every access token begins with.
pub const PREFIX: &str = "calve_";
/// Most tokens that are not revoked; they are in memory.
pub const TOKENS_MAX: usize = 10_000;
/// Hex digits of an id.
const ID_LENGTH: usize = 16;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Signing keys that are kept: the present one, and the one before, whose JWTs live on for minutes.
const SIGNING_KEYS_KEPT: usize = 2;

/// What a new token is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Whose it is.
    pub user: String,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// Whether it may see and abort every session.
    pub is_admin: bool,
    /// When it ends; `None` for never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The tokens and keys of a server, or of a data folder whose server is not running.
pub struct Tokens {
    store: CredentialStore,
    clock: SharedClock,
    /// The `iss` of our JWTs.
    issuer: String,
    /// Held by whoever changes anything, over the write to the disk. Requests wait for `state` only, which is never held so long.
    changing: Mutex<()>,
    state: RwLock<State>,
}

struct State {
    record: KeysRecord,
    hash_key: hmac::Key,
    /// The newest first.
    signing: Vec<SigningKey>,
    tokens: BTreeMap<String, AccessToken>,
}

impl TokenFacts {
    /// Whose it is, and what they may do with it.
    pub fn user(&self) -> User {
        User {
            name: self.user.clone(),
            grants: self.grants.clone(),
            is_admin: self.is_admin,
        }
    }
}

impl Tokens {
    /// Reads everything, and makes keys where there are none. Blocks.
    pub fn load(store: CredentialStore, clock: SharedClock, issuer: &str) -> Result<Self, String> {
        let text = |error: crate::error::Error| error.to_string();
        let record = match store.keys().map_err(text)? {
            Some(record) => record,
            None => {
                let record = KeysRecord {
                    hash_key: hex::encode(random::<SECRET_BYTES>()?),
                    signing: vec![SigningKey::make(clock.random_id(), clock.now())?],
                };
                store.put_keys(None, &record).map_err(text)?;
                record
            }
        };
        let tokens = store.tokens().map_err(text)?.into_iter();
        let state = State {
            hash_key: hash_key(&record)?,
            signing: signing_keys(&record)?,
            record,
            tokens: tokens
                .map(|token| (token.facts.id.clone(), token))
                .collect(),
        };
        Ok(Self {
            store,
            clock,
            issuer: issuer.to_owned(),
            changing: Mutex::default(),
            state: RwLock::new(state),
        })
    }

    /// Makes a token. Its text is returned and nowhere else. Blocks.
    pub fn create(&self, new: NewToken) -> Result<(TokenFacts, String), String> {
        let _changing = self.begin_change();
        if self.read().tokens.len() >= TOKENS_MAX {
            return Err(format!(
                "there are {TOKENS_MAX} tokens, which is as many as there may be; revoke those that are not used"
            ));
        }
        let id = hex::encode(random::<{ ID_LENGTH / 2 }>()?);
        let secret = hex::encode(random::<SECRET_BYTES>()?);
        let facts = TokenFacts {
            id: id.clone(),
            user: new.user,
            grants: new.grants,
            is_admin: new.is_admin,
            created_at: self.clock.now(),
            expires_at: new.expires_at,
        };
        let token = AccessToken {
            facts: facts.clone(),
            hash: hex::encode(hmac::sign(&self.read().hash_key, secret.as_bytes())),
        };
        self.store
            .put_token(&token)
            .map_err(|error| error.to_string())?;
        let text = format!("{PREFIX}{id}_{secret}");
        self.write().tokens.insert(id, token);
        Ok((facts, text))
    }

    /// Every token that was not revoked, in order of ids.
    pub fn list(&self) -> Vec<TokenFacts> {
        let state = self.read();
        let tokens = state.tokens.values();
        tokens.map(|token| token.facts.clone()).collect()
    }

    /// Ends a token, and every JWT that was made from it. Blocks.
    pub fn revoke(&self, id: &str) -> Result<TokenFacts, String> {
        let _changing = self.begin_change();
        let state = self.read();
        let revoked = state.tokens.get(id).map(|token| token.facts.clone());
        drop(state);
        let revoked = revoked.ok_or_else(|| {
            format!("there is no token {id}; `calve token list` shows those there are")
        })?;
        self.store
            .remove_token(id)
            .map_err(|error| error.to_string())?;
        self.write().tokens.remove(id);
        Ok(revoked)
    }

    /// Makes a new signing key; JWTs made with the one before are taken until they expire. Gives the new key's id. Blocks.
    pub fn rotate_key(&self) -> Result<String, String> {
        let _changing = self.begin_change();
        let key = SigningKey::make(self.clock.random_id(), self.clock.now())?;
        let id = key.id.clone();
        let before = self.read().record.clone();
        let mut record = before.clone();
        record.signing.insert(0, key);
        record.signing.truncate(SIGNING_KEYS_KEPT);
        let signing = signing_keys(&record)?;
        self.store
            .put_keys(Some(&before), &record)
            .map_err(|error| error.to_string())?;
        let mut state = self.write();
        state.signing = signing;
        state.record = record;
        Ok(id)
    }

    fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that this is the text of.
    pub(super) fn prove(&self, text: &str, now: DateTime<Utc>) -> Result<TokenFacts, Reason> {
        let (id, secret) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .unwrap_or_default();
        let state = self.read();
        let token = state.tokens.get(id);
        let hash = token.and_then(|token| hex::decode(&token.hash).ok());
        // A token that is not there is compared all the same.
        let is_right = hmac::verify(
            &state.hash_key,
            secret.as_bytes(),
            hash.as_deref().unwrap_or(&[0; 32]),
        );
        match (token, is_right) {
            (Some(AccessToken { facts, .. }), Ok(())) => {
                check_alive(facts, now).map(|()| facts.clone())
            }
            (Some(_), Err(_)) => Err(format!("a wrong secret for the token {id}")),
            (None, _) => Err("an access token that was never made, or was revoked".to_owned()),
        }
    }

    /// The user of a JWT of ours.
    pub(super) fn prove_own_jwt(&self, jwt: &str, now: DateTime<Utc>) -> Result<User, Reason> {
        let state = self.read();
        match own_jwt::verify(jwt, &state.signing, now)? {
            Subject::User(user) => Ok(user),
            Subject::Token(id) => {
                let token = state.tokens.get(&id);
                let token = token.ok_or_else(|| format!("a JWT of the revoked token {id}"))?;
                check_alive(&token.facts, now).map(|()| token.facts.user())
            }
        }
    }

    /// A JWT of ours.
    pub(super) fn sign(
        &self,
        user: &str,
        subject: Subject,
        now: DateTime<Utc>,
        lifetime: Duration,
    ) -> Result<String, Reason> {
        let state = self.read();
        let key = state.signing.first().ok_or("there is no signing key")?;
        key.sign(&self.issuer, user, subject, now, lifetime)
    }

    /// The public keys (RFC 7517).
    pub(super) fn key_set(&self) -> Value {
        let state = self.read();
        let keys: Vec<Value> = state.signing.iter().map(SigningKey::jwk).collect();
        json!({ "keys": keys })
    }
}

fn check_alive(token: &TokenFacts, now: DateTime<Utc>) -> Result<(), Reason> {
    if token.expires_at.is_some_and(|end| now >= end) {
        return Err(format!("the token {} has expired", token.id));
    }
    Ok(())
}

fn hash_key(record: &KeysRecord) -> Result<hmac::Key, String> {
    let bytes = hex::decode(&record.hash_key)
        .map_err(|_| "the key of the tokens' hashes cannot be read".to_owned())?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signing_keys(record: &KeysRecord) -> Result<Vec<SigningKey>, String> {
    record.signing.iter().map(SigningKey::read).collect()
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| "the system gave no random numbers".to_owned())?;
    Ok(bytes)
}
