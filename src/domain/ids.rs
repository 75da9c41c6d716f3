//! Identifiers: sessions, parts, targets. Parsing is the only way to make one from outside text, so a
//! value of these types is always safe to use in a path or a key.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A session's id: `YYYYMMDDhhmmss-` and 32 lower-case hex digits of a random UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    const STAMP_LENGTH: usize = 14;
    /// Characters of an id (all ASCII).
    pub const LENGTH: usize = Self::STAMP_LENGTH + 1 + 32;

    /// The id of a session that opens at `now`.
    pub fn new(now: DateTime<Utc>, random: Uuid) -> Self {
        Self(format!(
            "{}-{}",
            now.format("%Y%m%d%H%M%S"),
            random.simple()
        ))
    }

    /// The id in `text`, or `None` when it does not have the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() == Self::LENGTH
            && bytes.iter().enumerate().all(|(index, byte)| {
                if index < Self::STAMP_LENGTH {
                    byte.is_ascii_digit()
                } else if index == Self::STAMP_LENGTH {
                    *byte == b'-'
                } else {
                    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
                }
            });
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for SessionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a session id"))
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

/// A part's number within its session, from 0. The configured maximum is checked where it comes in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct PartNumber(pub u16);

impl fmt::Display for PartNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a name cannot be part of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a letter followed by letters, digits and underscores, or too long.
    #[error(
        "`{name}` is not a valid name: 1 to {max} characters, a letter first, then letters, digits or underscore",
        max = Target::NAME_LENGTH_MAX
    )]
    Malformed {
        /// The name as it came, cut.
        name: String,
    },
    /// A workspace that Calve keeps for itself.
    #[error("the workspace `{name}` is reserved; choose another name")]
    Reserved {
        /// The reserved name.
        name: String,
    },
}

/// The three names of a table. Lower case; no name can leave the warehouse's folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    workspace: String,
    collection: String,
    dataset: String,
}

impl Target {
    /// Longest name, in characters (all ASCII).
    pub const NAME_LENGTH_MAX: usize = 128;
    /// Workspaces that nobody can write to.
    pub const RESERVED_WORKSPACES: [&'static str; 1] = ["system"];

    /// The target with these names, which must have been through [`Target::parse_name`] and, the
    /// first, [`Target::parse_workspace`].
    pub fn new(workspace: &str, collection: &str, dataset: &str) -> Result<Self, NameError> {
        Ok(Self {
            workspace: Self::parse_workspace(workspace)?,
            collection: Self::parse_name(collection)?,
            dataset: Self::parse_name(dataset)?,
        })
    }

    /// One name in its stored (lower-case) form.
    pub fn parse_name(text: &str) -> Result<String, NameError> {
        let mut bytes = text.bytes();
        let first_is_letter = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let rest_fits = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if first_is_letter && rest_fits && text.len() <= Self::NAME_LENGTH_MAX {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(NameError::Malformed {
                name: text.chars().take(Self::NAME_LENGTH_MAX).collect(),
            })
        }
    }

    /// A workspace name in its stored form; reserved ones are refused.
    pub fn parse_workspace(text: &str) -> Result<String, NameError> {
        let name = Self::parse_name(text)?;
        if Self::RESERVED_WORKSPACES.contains(&name.as_str()) {
            return Err(NameError::Reserved { name });
        }
        Ok(name)
    }

    /// First name.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Second name.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// Third name.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The folder of the table below the warehouse, with `/` between the names.
    pub fn relative_path(&self) -> String {
        format!("{}/{}/{}", self.workspace, self.collection, self.dataset)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}.{}.{}",
            self.workspace, self.collection, self.dataset
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_have_one_form() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let id = SessionId::new(now, Uuid::from_u128(0xabc));
        assert_eq!(
            id.as_str(),
            "20260921141320-00000000000000000000000000000abc"
        );
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        for bad in [
            "",
            "x",
            "20260921141320-00000000000000000000000000000ABC",
            "20260921141320_00000000000000000000000000000abc",
            "20260921141320-00000000000000000000000000000ab/",
            "../260921141320-00000000000000000000000000000abc",
        ] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_lower_case_and_cannot_leave_the_warehouse() {
        assert_eq!(
            Target::new("Acme", "Sec_1", "FLIGHTS").unwrap().to_string(),
            "acme.sec_1.flights"
        );
        let long = "a".repeat(Target::NAME_LENGTH_MAX);
        assert!(Target::parse_name(&long).is_ok());
        let too_long = format!("{long}a");
        for bad in [
            "", "1a", "_a", "a-b", "a.b", "..", "a/b", "a b", "é", "a\0", &too_long,
        ] {
            assert!(Target::parse_name(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Target::parse_workspace("System"),
            Err(NameError::Reserved {
                name: "system".to_owned()
            })
        );
    }
}
