//! Who asks: from an `Authorization` header to a [`Caller`], and from credentials to a short-lived token.
//!
//! ```text
//! Authorization: Bearer …     calve_<id>_<secret>   access token: made by `calve token create`, kept hashed   [tokens]
//!                             a JWT of ours         from POST /token, lives minutes                            [own_jwt]
//!                             another issuer's JWT  verified with its keys                                     [issuers]
//! ```
//!
//! What a caller may do then is decided in [`crate::domain::access`].
//!
//! Invariants: nothing of a request's body is read before its caller is known. A credential that proves nothing is refused in
//! one way, whatever the reason, and no sooner than `REFUSAL_TIME` after it came, so that neither answer nor time tells an
//! attacker how far it got; the reason is in the log. Secrets are compared in constant time. No secret is ever logged.
//!
//! **What is durable when.** Tokens and keys are records in the journal ([`crate::store::credentials`]). A token that was shown
//! was recorded before; one whose revocation was acknowledged is refused from then on, and so is every JWT that was made from it.

pub mod commands;
mod issuers;
mod jwks;
mod own_jwt;
pub mod tokens;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::config::{AuthConfig, AuthMode};
use crate::domain::{Caller, Principal, User};
use crate::error::{Error, ErrorCode, Result};
use crate::store::credentials::CredentialStore;
use issuers::Issuers;
use own_jwt::Subject;
use tokens::Tokens;

/// How long every refusal of a credential takes: longer than any way to find it wrong, but for fetching an issuer's keys.
const REFUSAL_TIME: Duration = Duration::from_millis(50);
/// Longest credential that is looked at.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// Establishes who asks. One per server.
pub struct Authentication {
    mode: AuthMode,
    tokens: Arc<Tokens>,
    issuers: Issuers,
    clock: SharedClock,
    /// How long the JWTs live that we make.
    token_lifetime: Duration,
    anyone: Caller,
}

/// What `POST /token` asks for (RFC 6749 section 4.4, RFC 8693).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRequest {
    /// `grant_type=client_credentials`
    ClientCredentials {
        /// The name of the token's user, or the token's id.
        client_id: String,
        /// The access token.
        client_secret: String,
    },
    /// `grant_type=urn:ietf:params:oauth:grant-type:token-exchange`
    Exchange {
        /// A JWT of an issuer that is configured.
        subject_token: String,
    },
}

/// Answer of `POST /token`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IssuedToken {
    /// Goes into `Authorization: Bearer …`.
    pub access_token: String,
    /// `bearer`
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
    /// Of a token exchange: `urn:ietf:params:oauth:token-type:access_token` (RFC 8693 section 2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
}

/// Why a credential proves nothing; for the log.
type Reason = String;

impl Authentication {
    /// Reads the tokens and keys, and makes keys where there are none. Blocks.
    pub fn new(
        config: &AuthConfig,
        public_url: Option<&str>,
        store: CredentialStore,
        clock: SharedClock,
    ) -> std::result::Result<Self, String> {
        let tokens = Tokens::load(store, clock.clone(), public_url.unwrap_or("calve"))?;
        Ok(Self {
            mode: config.mode,
            tokens: Arc::new(tokens),
            issuers: Issuers::new(config)?,
            clock,
            token_lifetime: config.token_lifetime,
            anyone: Arc::new(Principal::Anyone),
        })
    }

    /// The access tokens and keys.
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.clone()
    }

    /// Whether callers have to prove who they are.
    pub fn is_required(&self) -> bool {
        self.mode != AuthMode::None
    }

    /// The public halves of the keys that our JWTs are signed with (RFC 7517).
    pub fn key_set(&self) -> serde_json::Value {
        self.tokens.key_set()
    }

    /// Who sent this `Authorization` header.
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller> {
        if !self.is_required() {
            return Ok(self.anyone.clone());
        }
        let Some(authorization) = authorization else {
            return Err(Error::new(
                ErrorCode::Unauthenticated,
                "This server needs a credential: send an access token as `Authorization: Bearer TOKEN`.",
            ));
        };
        let user = self.no_sooner(self.bearer(authorization)).await?;
        Ok(Arc::new(Principal::User(user)))
    }

    /// Exchanges a credential for a JWT of ours; gives its user's name, too.
    pub async fn issue(&self, request: TokenRequest) -> Result<(IssuedToken, String)> {
        self.no_sooner(self.try_issue(request)).await
    }

    /// Makes every refusal look the same and take the same time.
    async fn no_sooner<T>(
        &self,
        proving: impl Future<Output = std::result::Result<T, Reason>>,
    ) -> Result<T> {
        let earliest = Instant::now() + REFUSAL_TIME;
        match proving.await {
            Ok(proven) => Ok(proven),
            Err(reason) => {
                tokio::time::sleep_until(earliest).await;
                let refusal = Error::new(ErrorCode::Unauthenticated, "authentication failed");
                Err(refusal.caused_by(reason))
            }
        }
    }

    async fn bearer(&self, authorization: &str) -> std::result::Result<User, Reason> {
        let (scheme, credential) = authorization.split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err("the scheme is not Bearer".to_owned());
        }
        let credential = credential.trim();
        check_length(credential)?;
        let now = self.clock.now();
        if credential.starts_with(tokens::PREFIX) {
            if !self.mode.takes_tokens() {
                return Err("an access token, and auth.mode is `jwt`".to_owned());
            }
            return self.tokens.prove(credential, now).map(|token| token.user());
        }
        if own_jwt::is_ours(credential) {
            return self.tokens.prove_own_jwt(credential, now);
        }
        if !self.mode.takes_jwt() {
            return Err(
                "neither an access token nor a JWT of ours, and auth.mode is `tokens`".to_owned(),
            );
        }
        self.issuers.prove(credential, now).await
    }

    async fn try_issue(
        &self,
        request: TokenRequest,
    ) -> std::result::Result<(IssuedToken, String), Reason> {
        let now = self.clock.now();
        let (user, subject, issued_token_type) = match request {
            TokenRequest::ClientCredentials {
                client_id,
                client_secret,
            } => {
                check_length(&client_secret)?;
                let token = self.tokens.prove(&client_secret, now)?;
                if !self.mode.takes_tokens() {
                    return Err("client credentials, and auth.mode does not take tokens".to_owned());
                }
                if client_id != token.user && client_id != token.id {
                    return Err(format!(
                        "the token {} is not one of that client_id",
                        token.id
                    ));
                }
                (token.user, Subject::Token(token.id), None)
            }
            TokenRequest::Exchange { subject_token } => {
                check_length(&subject_token)?;
                if !self.mode.takes_jwt() {
                    return Err("a token exchange, and auth.mode does not take JWTs".to_owned());
                }
                let user = self.issuers.prove_pinned(&subject_token, now).await?;
                let kind = "urn:ietf:params:oauth:token-type:access_token";
                (user.name.clone(), Subject::User(user), Some(kind))
            }
        };
        let lifetime = self.token_lifetime;
        let issued = IssuedToken {
            access_token: self.tokens.sign(&user, subject, now, lifetime)?,
            token_type: "bearer",
            expires_in: lifetime.as_secs(),
            issued_token_type,
        };
        Ok((issued, user))
    }
}

fn check_length(credential: &str) -> std::result::Result<(), Reason> {
    if credential.len() > CREDENTIAL_BYTES_MAX {
        return Err(format!("a credential of {} bytes", credential.len()));
    }
    Ok(())
}
