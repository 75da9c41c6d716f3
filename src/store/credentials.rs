//! The records of access tokens and keys.
//!
//! They are in the journal, whose folder only the server's user can read ([`super::journal`]). A token's record has a hash of
//! its secret. Every change here is durable when its function returns; a crash leaves the old record or the new one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::journal::{Expectation, Journal, Write};
use super::keys;
use super::records::{decode, encode};
use crate::domain::Grant;
use crate::error::Result;

/// What is known of an access token to everyone who may list tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// Names it.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// Whether it may see and abort every session.
    pub is_admin: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; `None` for never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An access token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// What may be shown of it.
    #[serde(flatten)]
    pub facts: TokenFacts,
    /// HMAC-SHA-256 of the secret, in hex.
    pub hash: String,
}

/// A private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyRecord {
    /// Names it.
    pub id: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// PKCS #8, in base64.
    pub pkcs8: String,
}

/// The keys of a server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRecord {
    /// Key of the hashes of tokens' secrets, in hex.
    pub hash_key: String,
    /// Keys that JWTs are signed with, the newest first.
    pub signing: Vec<SigningKeyRecord>,
}

/// The records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CredentialStore {
    journal: Journal,
    runtime: Handle,
}

impl CredentialStore {
    /// The records in this journal; must be called within a tokio runtime.
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            runtime: Handle::current(),
        }
    }

    /// The keys, if there are any yet. Blocks.
    pub fn keys(&self) -> Result<Option<KeysRecord>> {
        let value = self.journal.get(keys::SERVER_KEYS)?;
        value.map(|value| decode("the keys", &value)).transpose()
    }

    /// Replaces the keys, if they are what is expected. Blocks.
    pub fn put_keys(&self, expected: Option<&KeysRecord>, record: &KeysRecord) -> Result<()> {
        let key = keys::SERVER_KEYS.to_vec();
        self.write(Write {
            expectations: vec![Expectation {
                key: key.clone(),
                value: expected.map(encode).transpose()?,
            }],
            puts: vec![(key, encode(record)?)],
            ..Write::default()
        })
    }

    /// Every token. Blocks.
    pub fn tokens(&self) -> Result<Vec<AccessToken>> {
        let entries = self.journal.scan(keys::ACCESS_TOKENS)?;
        entries
            .map(|entry| entry.and_then(|(_, value)| token_in(&value)))
            .collect()
    }

    /// Records a token. Blocks.
    pub fn put_token(&self, token: &AccessToken) -> Result<()> {
        let key = keys::access_token(&token.facts.id);
        self.write(Write {
            expectations: vec![Expectation {
                key: key.clone(),
                value: None,
            }],
            puts: vec![(key, encode(token)?)],
            ..Write::default()
        })
    }

    /// Forgets a token. Blocks.
    pub fn remove_token(&self, id: &str) -> Result<()> {
        self.write(Write {
            removes: vec![keys::access_token(id)],
            ..Write::default()
        })
    }

    fn write(&self, write: Write) -> Result<()> {
        Ok(self.runtime.block_on(self.journal.write(write)?)?)
    }
}

/// The token in its record's bytes.
pub fn token_in(value: &[u8]) -> Result<AccessToken> {
    decode("an access token", value)
}
