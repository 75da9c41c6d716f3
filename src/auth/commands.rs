//! What `calve token …` asks for: of the running server over its control socket, or done in its place when none is running.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::tokens::{NewToken, Tokens};
use crate::audit::{Audit, Entry};
use crate::domain::Grant;
use crate::store::credentials::AccessToken;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCommand {
    /// Make a token.
    Create {
        /// Whose it is.
        user: String,
        /// What it allows.
        grants: Vec<Grant>,
        /// Whether it may see and abort every session.
        is_admin: bool,
        /// When it ends; `None` for never.
        expires_at: Option<DateTime<Utc>>,
    },
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
    Created(ListedToken, String),
    /// Every token.
    Listed(Vec<ListedToken>),
    /// The token that was ended.
    Revoked(ListedToken),
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

/// A token as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedToken {
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

impl From<AccessToken> for ListedToken {
    fn from(token: AccessToken) -> Self {
        Self {
            id: token.id,
            user: token.user,
            grants: token.grants,
            is_admin: token.is_admin,
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

impl TokenCommand {
    /// Its name in the audit log.
    const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create_token",
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
            Self::Create {
                user,
                grants,
                is_admin,
                expires_at,
            } => {
                let (token, text) = tokens.create(NewToken {
                    user,
                    grants,
                    is_admin,
                    expires_at,
                })?;
                Ok(TokenAnswer::Created(token.into(), text))
            }
            Self::List => {
                let tokens = tokens.list().into_iter();
                Ok(TokenAnswer::Listed(tokens.map(Into::into).collect()))
            }
            Self::Revoke { id } => Ok(TokenAnswer::Revoked(tokens.revoke(&id)?.into())),
            Self::RotateKey => Ok(TokenAnswer::Rotated(tokens.rotate_key()?)),
        }
    }
}
