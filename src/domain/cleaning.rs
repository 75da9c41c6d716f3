//! What may be removed, and when. Pure: a sweep hands in what it saw, and the time.

use std::collections::HashMap;
use std::hash::Hash;

use chrono::{DateTime, TimeDelta, Utc};

use super::session::{Session, SessionState};

/// What a sweep does with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it.
    Keep,
    /// Its time is over: end it, its parts go.
    Expire,
    /// It ended long enough ago: forget it.
    Forget,
}

/// What to do with a session at `now`.
pub fn verdict(session: &Session, now: DateTime<Utc>, retention: TimeDelta) -> Verdict {
    match ended_at(session) {
        None if session.is_expired(now) => Verdict::Expire,
        Some(ended_at) if now - ended_at >= retention => Verdict::Forget,
        None | Some(_) => Verdict::Keep,
    }
}

/// When a session that has ended did so. A committing session is on disk as an open one; its commit decides.
pub fn ended_at(session: &Session) -> Option<DateTime<Utc>> {
    match &session.state {
        SessionState::Open | SessionState::Committing { .. } => None,
        SessionState::Expired => Some(session.expires_at),
        SessionState::Committed { receipt, .. } => Some(receipt.committed_at),
    }
}

/// Since when things have been seen without a reference, without a break.
#[derive(Debug)]
pub struct Sightings<K>(HashMap<K, DateTime<Utc>>);

impl<K> Default for Sightings<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Sightings<K> {
    /// Takes in what one sweep saw; gives back what may go: seen before, at least `grace` ago, and by every
    /// sweep since. Whatever was not seen this time is forgotten.
    pub fn see(&mut self, seen: Vec<K>, now: DateTime<Utc>, grace: TimeDelta) -> Vec<K> {
        let mut current = HashMap::with_capacity(seen.len());
        let mut removable = Vec::new();
        for thing in seen {
            match self.0.get(&thing) {
                Some(first) if now - *first >= grace => removable.push(thing),
                Some(first) => {
                    current.insert(thing, *first);
                }
                None => {
                    current.insert(thing, now);
                }
            }
        }
        self.0 = current;
        removable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, time};

    #[test]
    fn sessions_expire_at_their_time_and_are_forgotten_after_the_retention() {
        let retention = TimeDelta::seconds(50);
        let mut session = testing::session(1, time(0), TimeDelta::seconds(100));
        assert_eq!(verdict(&session, time(99), retention), Verdict::Keep);
        assert_eq!(verdict(&session, time(100), retention), Verdict::Expire);
        session.state = SessionState::Expired;
        assert_eq!(verdict(&session, time(149), retention), Verdict::Keep);
        assert_eq!(verdict(&session, time(150), retention), Verdict::Forget);
        let (request, receipt) = testing::commit("t", time(10));
        session.state = SessionState::Committing {
            request: request.clone(),
        };
        assert_eq!(verdict(&session, time(999), retention), Verdict::Keep);
        session.commit_succeeded(request, receipt);
        assert_eq!(verdict(&session, time(59), retention), Verdict::Keep);
        assert_eq!(verdict(&session, time(60), retention), Verdict::Forget);
    }

    #[test]
    fn only_what_was_seen_throughout_the_grace_may_go() {
        let grace = TimeDelta::seconds(10);
        let mut sightings = Sightings::default();
        let none: Vec<&str> = Vec::new();
        assert_eq!(sightings.see(vec!["a", "b"], time(0), grace), none);
        assert_eq!(sightings.see(vec!["a"], time(9), grace), none);
        // `b` was referenced in between: its time starts anew.
        assert_eq!(sightings.see(vec!["a", "b"], time(10), grace), ["a"]);
        assert_eq!(sightings.see(vec!["b"], time(19), grace), none);
        assert_eq!(sightings.see(vec!["b"], time(20), grace), ["b"]);
        assert_eq!(sightings.see(vec!["b"], time(21), TimeDelta::zero()), none);
    }
}
