//! Sessions that users have open, and bytes that they have staged.
//!
//! Changed with every session and part that comes or goes, and set right by every sweep, which looks at the records. From a
//! start to the end of its first sweep the counts are too low, so the limits are soft; a sweep may count what changes while it
//! looks twice, until the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::QuotasConfig;
use crate::error::{Error, ErrorCode, Result};

/// What one user uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Open sessions.
    pub sessions: u64,
    /// Bytes staged in them.
    pub staged_bytes: u64,
}

/// What every user uses. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Usage {
    sessions_open_max: u64,
    staged_bytes_max: u64,
    users: Arc<Mutex<HashMap<String, Used>>>,
}

impl Usage {
    /// Nobody uses anything, as far as is known.
    pub fn new(config: &QuotasConfig) -> Self {
        Self {
            sessions_open_max: config.sessions_open_max,
            staged_bytes_max: config.staged_bytes_max.as_u64(),
            users: Arc::default(),
        }
    }

    /// Whether anything is limited, and so counted.
    pub fn is_counted(&self) -> bool {
        self.sessions_open_max > 0 || self.staged_bytes_max > 0
    }

    /// A user opens a session, unless they have as many as they may.
    pub fn open_session(&self, user: Option<&str>) -> Result<()> {
        let limit = self.sessions_open_max;
        self.change(user, |used| {
            if limit > 0 && used.sessions >= limit {
                return Err(Error::new(
                    ErrorCode::LimitReached,
                    format!("You have as many sessions open as you may ({limit}). Commit or abort those that are no longer needed, or try again later."),
                )
                .with("limit", "quotas.sessions_open_max")
                .with("limit_sessions", limit));
            }
            used.sessions += 1;
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// A user's session, with so many bytes staged, has ended.
    pub fn end_session(&self, user: Option<&str>, staged_bytes: u64) {
        self.change(user, |used| {
            used.sessions = used.sessions.saturating_sub(1);
            used.staged_bytes = used.staged_bytes.saturating_sub(staged_bytes);
        });
    }

    /// Refuses a part that would be more than a user may have staged.
    pub fn check_staged(&self, user: Option<&str>, announced_bytes: u64) -> Result<()> {
        let limit = self.staged_bytes_max;
        let (true, Some(user)) = (limit > 0, user) else {
            return Ok(());
        };
        let staged = self.locked().get(user).map_or(0, |used| used.staged_bytes);
        if staged.saturating_add(announced_bytes) > limit {
            return Err(Error::new(
                ErrorCode::LimitReached,
                "Your open sessions have as many bytes staged as they may have together; nothing was read. Commit, delete or abort what is staged.",
            )
            .with("limit", "quotas.staged_bytes_max")
            .with("limit_bytes", limit)
            .with("staged_bytes", staged));
        }
        Ok(())
    }

    /// A user staged so many bytes.
    pub fn stage(&self, user: Option<&str>, bytes: u64) {
        self.change(user, |used| used.staged_bytes += bytes);
    }

    /// So many of a user's bytes are staged no more.
    pub fn unstage(&self, user: Option<&str>, bytes: u64) {
        self.change(user, |used| {
            used.staged_bytes = used.staged_bytes.saturating_sub(bytes);
        });
    }

    /// What is known now.
    pub fn known(&self) -> HashMap<String, Used> {
        self.locked().clone()
    }

    /// A look at the records that began when `before` was known has found this; what changed meanwhile is kept.
    pub fn correct(&self, before: &HashMap<String, Used>, mut found: HashMap<String, Used>) {
        let mut users = self.locked();
        for (user, used) in users.iter() {
            let (found, before) = (
                found.entry(user.clone()).or_default(),
                before.get(user).copied().unwrap_or_default(),
            );
            found.sessions = (found.sessions + used.sessions).saturating_sub(before.sessions);
            found.staged_bytes =
                (found.staged_bytes + used.staged_bytes).saturating_sub(before.staged_bytes);
        }
        found.retain(|_, used| *used != Used::default());
        *users = found;
    }

    fn change<T>(&self, user: Option<&str>, act: impl FnOnce(&mut Used) -> T) -> Option<T> {
        let user = user.filter(|_| self.is_counted())?;
        let mut users = self.locked();
        let used = users.entry(user.to_owned()).or_default();
        let outcome = act(used);
        if *used == Used::default() {
            users.remove(user);
        }
        Some(outcome)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    fn usage() -> Usage {
        Usage::new(&QuotasConfig {
            sessions_open_max: 2,
            staged_bytes_max: ByteSize::b(100),
            ..QuotasConfig::default()
        })
    }

    #[test]
    fn one_user_does_not_use_up_what_is_anothers() {
        let usage = usage();
        for user in ["a", "a", "b"] {
            assert_eq!(usage.open_session(Some(user)), Ok(()));
        }
        let refused = usage.open_session(Some("a")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::LimitReached);
        usage.stage(Some("a"), 60);
        assert!(usage.check_staged(Some("a"), 41).is_err());
        assert!(usage.check_staged(Some("a"), 40).is_ok());
        assert!(usage.check_staged(Some("b"), 100).is_ok());
        assert!(usage.check_staged(None, 1000).is_ok());
        usage.end_session(Some("a"), 60);
        assert!(usage.check_staged(Some("a"), 100).is_ok());
        assert_eq!(usage.open_session(Some("a")), Ok(()));
        for _ in 0..5 {
            usage.end_session(Some("a"), 0);
        }
        usage.end_session(Some("b"), 0);
        assert!(usage.known().is_empty());
    }

    #[test]
    fn a_sweep_sets_right_what_was_missed_and_keeps_what_changed_meanwhile() {
        let usage = usage();
        let used = |sessions, staged_bytes| Used {
            sessions,
            staged_bytes,
        };
        usage.stage(Some("gone"), 7);
        usage.stage(Some("a"), 10);
        let before = usage.known();
        usage.stage(Some("a"), 5);
        let found = HashMap::from([("a".to_owned(), used(1, 30)), ("b".to_owned(), used(2, 0))]);
        usage.correct(&before, found);
        let expected = HashMap::from([("a".to_owned(), used(1, 35)), ("b".to_owned(), used(2, 0))]);
        assert_eq!(usage.known(), expected);
    }
}
