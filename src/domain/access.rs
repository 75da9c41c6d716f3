//! Who may do what: roles on patterns over tables, and whose a session is.
//!
//! Pure: a [`Principal`] comes in as an argument, whoever established it ([`crate::auth`]). Every decision there is, is a method of it.
//!
//! | to | needs |
//! |---|---|
//! | open a bound session, create, append | writer of the target |
//! | open a session without a target | writer of anything |
//! | overwrite | owner of the target, or writer where `auth.overwrite_needs` says so |
//! | send, inspect, delete parts, commit | to be who opened the session |
//! | inspect and abort others' sessions | owner of the session's target, or admin |
//!
//! Whoever may not see a session is told that there is none.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::Target;
use super::session::{ConflictResolution, Session, session_not_found};
use crate::error::{Error, ErrorCode, Result};

/// Longest name of a user, in bytes.
const USER_LENGTH_MAX: usize = 128;

/// What a grant allows. Each role includes those before it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads tables.
    Reader,
    /// Creates tables and appends to them.
    Writer,
    /// Replaces tables' content, and sees and aborts sessions that are bound to them.
    Owner,
}

impl Role {
    /// The role's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }
}

/// A role on every table that a pattern matches, written `acme.security.*:writer`.
///
/// The pattern is the names of a table, the last of which may be `*`: everything below. The workspace is never `*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// One to three names, in stored form.
    names: Vec<String>,
    /// What is allowed.
    role: Role,
}

impl Grant {
    fn covers(&self, target: &Target) -> bool {
        let names = [target.workspace(), target.collection(), target.dataset()];
        self.names.iter().zip(names).all(|(one, name)| one == name)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.names.len() < 3 { ".*" } else { "" };
        write!(
            formatter,
            "{}{all}:{}",
            self.names.join("."),
            self.role.name()
        )
    }
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let refused = |why: &str| {
            Err(format!(
                "`{text}` is not a grant: {why}. A grant is a pattern and a role, like `acme.security.*:writer`"
            ))
        };
        let Some((pattern, role)) = text.split_once(':') else {
            return refused("it has no role");
        };
        let role = match role {
            "reader" => Role::Reader,
            "writer" => Role::Writer,
            "owner" => Role::Owner,
            _ => return refused("a role is reader, writer or owner"),
        };
        let mut names: Vec<&str> = pattern.split('.').collect();
        if names.len() < 2 || names.len() > 3 {
            return refused(
                "a pattern is `workspace.collection.dataset`, `workspace.collection.*` or `workspace.*`",
            );
        }
        let is_subtree = names.last() == Some(&"*");
        if is_subtree {
            names.pop();
        } else if names.len() < 3 {
            return refused("a pattern of fewer than three names ends with `*`");
        }
        let mut stored = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let parsed = if index == 0 {
                Target::parse_workspace(name)
            } else {
                Target::parse_name(name)
            };
            match parsed {
                Ok(name) => stored.push(name),
                Err(error) => return refused(&error.to_string()),
            }
        }
        Ok(Self {
            names: stored,
            role,
        })
    }
}

impl TryFrom<String> for Grant {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// A user's name in stored form: what people and programs are called in tokens, records and the audit log.
pub fn parse_user(text: &str) -> std::result::Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-/".contains(&byte);
    if text.is_empty() || text.len() > USER_LENGTH_MAX || !text.bytes().all(fits) {
        return Err(format!(
            "`{}` is not a user name: 1 to {USER_LENGTH_MAX} letters, digits and `._@+-/`",
            text.chars().take(USER_LENGTH_MAX).collect::<String>()
        ));
    }
    Ok(text.to_owned())
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Anyone: authentication is off, and everything is allowed.
    Anyone,
    /// A user who has proven to be one.
    User(User),
}

/// A principal that is shared by everything that happens for one request.
pub type Caller = Arc<Principal>;

/// Someone with a name, and what they were granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name, unique over all ways to authenticate.
    pub name: String,
    /// What they may do with tables.
    pub grants: Vec<Grant>,
    /// Whether they may see and abort every session.
    #[serde(default)]
    pub is_admin: bool,
}

impl User {
    fn role_on(&self, target: &Target) -> Option<Role> {
        let grants = self.grants.iter().filter(|grant| grant.covers(target));
        grants.map(|grant| grant.role).max()
    }
}

impl Principal {
    /// The user's name; `None` when authentication is off.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::User(user) => Some(&user.name),
        }
    }

    /// Refuses to open a session, bound to a target or not.
    pub fn check_open(&self, target: Option<&Target>) -> Result<()> {
        match (self, target) {
            (Self::Anyone, _) => Ok(()),
            (Self::User(_), Some(target)) => self.check_role(target, Role::Writer, "create"),
            (Self::User(user), None) => {
                if user.grants.iter().any(|grant| grant.role >= Role::Writer) {
                    return Ok(());
                }
                Err(Error::new(
                    ErrorCode::NotPermitted,
                    format!(
                        "{} may not write to any table; ask the operator for a token with a writer's grant.",
                        user.name
                    ),
                )
                .with("action", "create"))
            }
        }
    }

    /// Refuses a commit to a target. Overwriting needs the role that is configured.
    pub fn check_commit(
        &self,
        target: &Target,
        resolution: ConflictResolution,
        overwrite_needs: Role,
    ) -> Result<()> {
        let needed = match resolution {
            ConflictResolution::Fail | ConflictResolution::Append => Role::Writer,
            ConflictResolution::Overwrite => overwrite_needs,
        };
        let action = match resolution {
            ConflictResolution::Fail => "create",
            ConflictResolution::Append | ConflictResolution::Overwrite => resolution.name(),
        };
        self.check_role(target, needed, action)
    }

    fn check_role(&self, target: &Target, needed: Role, action: &str) -> Result<()> {
        let Self::User(user) = self else {
            return Ok(());
        };
        if user.role_on(target).is_some_and(|role| role >= needed) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::NotPermitted,
            format!(
                "{} may not {action} {target}: that needs the role {} on it.",
                user.name,
                needed.name()
            ),
        )
        .with("action", action)
        .with("target", target.to_string())
        .with("needs", needed.name()))
    }

    /// Refuses to show a session.
    pub fn check_see(&self, session: &Session) -> Result<()> {
        if self.opened(session) || self.watches(session) {
            return Ok(());
        }
        Err(session_not_found(session.id.as_str()))
    }

    /// Refuses to change a session.
    pub fn check_use(&self, session: &Session) -> Result<()> {
        self.check_see(session)?;
        if self.opened(session) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::NotPermitted,
            "This session was opened by somebody else; you may inspect and abort it, and nothing more.",
        )
        .with("action", "use")
        .with("session_id", session.id.to_string()))
    }

    fn opened(&self, session: &Session) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(user) => session.owner.as_deref() == Some(&user.name),
        }
    }

    fn watches(&self, session: &Session) -> bool {
        let Self::User(user) = self else {
            return true;
        };
        let owns = |target| user.role_on(target) >= Some(Role::Owner);
        user.is_admin || session.target.as_ref().is_some_and(owns)
    }
}

#[cfg(test)]
mod tests;
