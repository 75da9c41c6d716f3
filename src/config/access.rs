//! `[tls]`, `[auth]`, `[quotas]` and `[audit]`: who gets in, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Config, check};
use crate::domain::access::{Grant, Role, parse_user};

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The certificate and those that it is signed with, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// Who may come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// How callers prove who they are.
    pub mode: AuthMode,
    /// Whether a server without authentication may listen on an address that others can reach.
    pub insecure_open: bool,
    /// The role that overwriting a table needs.
    pub overwrite_needs: Role,
    /// How long a JWT from `POST /token` lives.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// How far an issuer's clock may be from ours.
    #[serde(with = "humantime_serde")]
    pub clock_skew_max: Duration,
    /// Whose JWTs are believed.
    pub issuers: Vec<IssuerConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::None,
            insecure_open: false,
            overwrite_needs: Role::Owner,
            token_lifetime: Duration::from_secs(300),
            clock_skew_max: Duration::from_secs(60),
            issuers: Vec::new(),
        }
    }
}

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMode {
    /// They do not.
    #[serde(rename = "none")]
    None,
    /// With access tokens that this server made.
    #[serde(rename = "tokens")]
    Tokens,
    /// With JWTs of issuers that are configured.
    #[serde(rename = "jwt")]
    Jwt,
    /// With either.
    #[serde(rename = "tokens+jwt")]
    TokensAndJwt,
}

impl AuthMode {
    /// Whether access tokens are taken.
    pub const fn takes_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::TokensAndJwt)
    }

    /// Whether other issuers' JWTs are taken.
    pub const fn takes_jwt(self) -> bool {
        matches!(self, Self::Jwt | Self::TokensAndJwt)
    }
}

/// An issuer of JWTs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What its users' names begin with.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that its tokens for this server have.
    pub audience: String,
    /// Where its keys are.
    pub jwks_url: Option<String>,
    /// Its only key: PEM, or the secret of HS256.
    pub key_file: Option<PathBuf>,
    /// What that key is used with.
    pub algorithm: Option<KeyAlgorithm>,
    /// The claim that names the user.
    #[serde(default = "user_claim")]
    pub user_claim: String,
    /// The claim that lists grants.
    pub grants_claim: Option<String>,
    /// Who gets which grants.
    #[serde(default)]
    pub identities: Vec<IdentityConfig>,
}

impl IssuerConfig {
    fn validate(&self) -> Result<(), String> {
        let refused = |why: String| format!("auth.issuers `{}`: {why}", self.name);
        parse_user(&self.name).map_err(refused)?;
        if self.identities.is_empty() && self.grants_claim.is_none() {
            return Err(refused(
                "there are neither identities nor a grants_claim, so nobody would get a grant"
                    .to_owned(),
            ));
        }
        for user in self.identities.iter().filter_map(|one| one.user.as_ref()) {
            parse_user(user).map_err(refused)?;
        }
        if let Some(url) = &self.jwks_url {
            let is_local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"]
                .iter()
                .any(|local| url.starts_with(local));
            if !url.starts_with("https://") && !is_local {
                return Err(refused(format!(
                    "jwks_url `{url}` must start with https://: whoever can change the keys on their way can be anyone"
                )));
            }
        }
        Ok(())
    }
}

fn user_claim() -> String {
    "sub".to_owned()
}

/// Whoever has these claims in a token of an issuer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Their name, in place of the claim's.
    pub user: Option<String>,
    /// All of these must be as they say.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// What they may do.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Whether they may see and abort every session.
    #[serde(default)]
    pub admin: bool,
}

/// The algorithms of RFC 7518 and RFC 8037 that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// RSA with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
}

/// How much one user may do; 0 for as much as the server can.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotasConfig {
    /// Sessions that a user may have open.
    pub sessions_open_max: u64,
    /// Bytes that a user may have staged.
    pub staged_bytes_max: ByteSize,
    /// Requests of a user in a second.
    pub requests_per_second_max: u32,
    /// Bytes of parts of a user in a second.
    pub bytes_per_second_max: ByteSize,
}

/// What is written down about who did what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Whether anything is.
    pub enabled: bool,
    /// The file; by default `audit/audit.log` in the data folder.
    pub file: Option<PathBuf>,
    /// Size at which the next file is begun.
    pub file_bytes_max: ByteSize,
    /// Files that are kept beside the present one.
    pub files_kept: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            file: None,
            file_bytes_max: ByteSize::mib(64),
            files_kept: 15,
        }
    }
}

/// Refuses what would let in whoever comes, or nobody.
pub(super) fn validate(config: &Config) -> Result<(), String> {
    let (server, auth) = (&config.server, &config.auth);
    let is_open = auth.mode == AuthMode::None && !server.listen.ip().is_loopback();
    if is_open && !auth.insecure_open {
        return Err(format!(
            "server.listen: {} can be reached by others, and authentication is off. Set `mode = \"tokens\"` in [auth] (or CALVE_AUTH__MODE=tokens) and make a token: `calve token create --user NAME --grant 'WORKSPACE.*:owner'`. If whoever reaches the server may do everything, set insecure_open = true",
            server.listen
        ));
    }
    check("server.connections_max", server.connections_max, |n| *n > 0)?;
    check("auth.overwrite_needs", auth.overwrite_needs, |role| {
        *role != Role::Reader
    })?;
    check("auth.token_lifetime", auth.token_lifetime, |lifetime| {
        (1..=24 * 3600).contains(&lifetime.as_secs())
    })?;
    check("auth.clock_skew_max", auth.clock_skew_max, |skew| {
        skew.as_secs() <= 600
    })?;
    check(
        "audit.file_bytes_max",
        config.audit.file_bytes_max,
        |bytes| bytes.as_u64() >= 4096,
    )?;
    if config.tls.certificate.is_some() != config.tls.key.is_some() {
        return Err("tls: certificate and key are given together".to_owned());
    }
    if auth.mode.takes_jwt() && auth.issuers.is_empty() {
        return Err("auth.mode: JWTs are taken, and there is no [[auth.issuers]]".to_owned());
    }
    auth.issuers.iter().try_for_each(IssuerConfig::validate)?;
    let names: BTreeSet<_> = auth.issuers.iter().map(|issuer| &issuer.name).collect();
    if names.len() < auth.issuers.len() {
        return Err("auth.issuers: two of them have the same name".to_owned());
    }
    Ok(())
}
