//! What `calve token …` asks for: of the running server over its control socket, or done in its place when none is running.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::tokens::{NewToken, Tokens};
use crate::audit::{Audit, Entry};
use crate::store::credentials::TokenFacts;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCommand {
    /// Make a token.
    Create(NewToken),
    /// Show every token.
    List,
    /// End a token.
    Revoke {
        /// Its id.
        id: String,
    },
    /// Make a new key for the JWTs of `POST /token`.
    RotateKey,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenAnswer {
    /// The new token and its text, which is shown this once.
    Created(TokenFacts, String),
    /// Every token.
    Listed(Vec<TokenFacts>),
    /// The token that was ended.
    Revoked(TokenFacts),
    /// The new key's id.
    Rotated(String),
}

impl TokenAnswer {
    /// The token that was changed.
    fn token_id(&self) -> Option<String> {
        match self {
            Self::Created(token, _) | Self::Revoked(token) => Some(token.id.clone()),
            Self::Listed(_) | Self::Rotated(_) => None,
        }
    }
}

impl TokenCommand {
    /// Its name in the audit log.
    const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create_token",
            Self::List => "list_tokens",
            Self::Revoke { .. } => "revoke_token",
            Self::RotateKey => "rotate_key",
        }
    }

    /// Does it, and writes that down. Blocks.
    pub fn run(
        self,
        tokens: &Tokens,
        audit: &Audit,
        now: DateTime<Utc>,
    ) -> Result<TokenAnswer, String> {
        let mut entry = Entry::new(now, "local".to_owned(), self.name());
        let answer = self.apply(tokens);
        match &answer {
            Ok(answer) => entry.token_id = answer.token_id(),
            Err(_) => entry.outcome = "refused",
        }
        audit.write_blocking(&entry);
        answer
    }

    fn apply(self, tokens: &Tokens) -> Result<TokenAnswer, String> {
        match self {
            Self::Create(new) => {
                let (token, text) = tokens.create(new)?;
                Ok(TokenAnswer::Created(token, text))
            }
            Self::List => Ok(TokenAnswer::Listed(tokens.list())),
            Self::Revoke { id } => Ok(TokenAnswer::Revoked(tokens.revoke(&id)?)),
            Self::RotateKey => Ok(TokenAnswer::Rotated(tokens.rotate_key()?)),
        }
    }
}
