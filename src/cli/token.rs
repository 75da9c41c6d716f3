//! `calve token`: makes, lists and revokes access tokens, on a data folder whose server runs or does not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::print;
use crate::audit::Audit;
use crate::auth::commands::{TokenAnswer, TokenCommand};
use crate::auth::tokens::{NewToken, Tokens};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::control;
use crate::domain::Grant;
use crate::domain::access::parse_user;
use crate::store::credentials::{CredentialStore, TokenFacts};
use crate::store::journal::Journal;
use crate::store::layout::Layout;
use crate::telemetry::Metrics;

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// Configuration file (TOML), the server's.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// The server's data folder [default: data].
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it; it is shown this once.
    Create {
        /// Whose it is: the name in records and in the audit log.
        #[arg(long, value_parser = parse_user)]
        user: String,
        /// What it allows, like `acme.security.*:writer`; may be repeated. Roles: reader, writer, owner.
        #[arg(long = "grant", value_name = "PATTERN:ROLE")]
        grants: Vec<Grant>,
        /// It may see and abort every session.
        #[arg(long)]
        admin: bool,
        /// How long it is good for, like `90d`, or `never`.
        #[arg(long, default_value = "90d", value_parser = parse_expiry)]
        expires: Expiry,
    },
    /// Show every token, without secrets.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// End a token and whatever was made from it, at once.
    Revoke {
        /// The token's id, as `list` shows it.
        id: String,
    },
    /// Make a new key for the short-lived tokens of POST /token; those made with the one before stay good.
    RotateKey,
}

/// How long a token is good for.
#[derive(Debug, Clone, Copy)]
enum Expiry {
    Never,
    After(Duration),
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let after = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Expiry::After(after))
}

impl Expiry {
    fn at(self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, String> {
        let Self::After(duration) = self else {
            return Ok(None);
        };
        let delta = TimeDelta::from_std(duration).ok();
        let end = delta.and_then(|delta| now.checked_add_signed(delta));
        end.map(Some)
            .ok_or_else(|| "--expires: that is too long".to_owned())
    }
}

impl TokenArguments {
    pub(super) fn run(self) -> Result<ExitCode, String> {
        let data_dir = self.data_dir.iter();
        let flags: Vec<_> = data_dir
            .map(|data_dir| ("storage.data_dir", data_dir.display().to_string()))
            .collect();
        let config = Config::load(self.config.as_deref(), &flags)?;
        let clock: SharedClock = Arc::new(SystemClock);
        let is_json = matches!(self.action, Action::List { json: true });
        let command = self.action.command(clock.now())?;
        match execute(&config, command, &clock)? {
            TokenAnswer::Created(token, text) => {
                // Only the token goes to standard output, so that a script can take it.
                eprintln!("{}", described(&token));
                eprintln!(
                    "The token is shown this once. As `client_id` and `client_secret`: {} and the token.",
                    token.user
                );
                print(&format!("{text}\n"))?;
            }
            TokenAnswer::Listed(tokens) => {
                for token in tokens {
                    let line = if is_json {
                        serde_json::to_string(&token).map_err(|error| error.to_string())?
                    } else {
                        described(&token)
                    };
                    print(&format!("{line}\n"))?;
                }
            }
            TokenAnswer::Revoked(token) => print(&format!("revoked {}\n", described(&token)))?,
            TokenAnswer::Rotated(id) => print(&format!("signing with the new key {id}\n"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Action {
    fn command(self, now: DateTime<Utc>) -> Result<TokenCommand, String> {
        Ok(match self {
            Self::Create {
                user,
                grants,
                admin,
                expires,
            } => {
                if grants.is_empty() && !admin {
                    return Err(
                        "a token needs a --grant, like `--grant 'acme.*:writer'`, or --admin"
                            .to_owned(),
                    );
                }
                TokenCommand::Create(NewToken {
                    user,
                    grants,
                    is_admin: admin,
                    expires_at: expires.at(now)?,
                })
            }
            Self::List { .. } => TokenCommand::List,
            Self::Revoke { id } => TokenCommand::Revoke { id },
            Self::RotateKey => TokenCommand::RotateKey,
        })
    }
}

/// Has the running server do it, or does it when none is running.
fn execute(
    config: &Config,
    command: TokenCommand,
    clock: &SharedClock,
) -> Result<TokenAnswer, String> {
    let root = &config.storage.data_dir;
    // A socket's path must be short: relative ones stay as they are.
    if let Some(answer) = control::token_command(&Layout::new(root.clone()), &command)? {
        return Ok(answer);
    }
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let _entered = runtime.enter();
    let layout = Layout::new(root.clone());
    let (journal, writer) = Journal::open(&layout, clock.random_id(), Arc::new(Metrics::new()))
        .map_err(|error| error.to_string())?;
    let (audit, audit_writer) = Audit::start(&config.audit, root)?;
    let store = CredentialStore::new(journal.clone());
    let answer = Tokens::load(store, clock.clone(), "calve")
        .and_then(|tokens| command.run(&tokens, &audit, clock.now()));
    drop(audit);
    drop(journal);
    writer.join();
    audit_writer.join();
    answer
}

fn described(token: &TokenFacts) -> String {
    let mut grants: Vec<String> = token.grants.iter().map(Grant::to_string).collect();
    if token.is_admin {
        grants.push("admin".to_owned());
    }
    let day = |time: DateTime<Utc>| time.format("%Y-%m-%d").to_string();
    format!(
        "{}  {}  {}  created {}  expires {}",
        token.id,
        token.user,
        grants.join(" "),
        day(token.created_at),
        token.expires_at.map_or_else(|| "never".to_owned(), day)
    )
}
