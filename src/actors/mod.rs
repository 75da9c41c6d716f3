//! Who owns what, and in which order things happen to it.
//!
//! * The **supervisor** owns the map of session actors in memory. Handlers look the map up themselves and
//!   ask the supervisor only to start what is not there.
//! * A **session** actor owns its session's part map and state. It is started on demand, loads itself from
//!   the journal, and leaves memory when idle. Nothing is lost with it: every acknowledged change is recorded.
//! * A **committer** actor serialises the commits of one target.
//! * The **janitor** ends expired sessions and removes what nothing refers to.
//!
//! House rules:
//!
//! * Outside this folder only the handles [`Sessions`] and [`committer::Committers`] are seen; no address, no message.
//! * Part bytes never pass through a mailbox; a message carries the receipt and the guard of its files.
//! * No handler blocks: disk work runs on blocking threads, journal writes are awaited.
//! * A closed mailbox (the actor left memory, or panicked) means: forget it, start it from the records, ask
//!   again. That is safe, because every message may be processed twice with the same outcome.
//! * Handlers that await say in their doc whether other messages run meanwhile.
//! * Actors live on a small fixed pool of arbiters; a panic ends one actor's task, not its neighbours'.

pub mod committer;
pub mod janitor;
pub mod session;
pub mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::watch;

use crate::admission::StagedBytes;
use crate::clock::SharedClock;
use crate::config::SessionsConfig;
use crate::domain::Role;
use crate::error::{Error, ErrorCode};
use crate::quotas::usage::Usage;
use crate::store::journal::Journal;
use crate::store::layout::Layout;
use crate::store::packs::Packs;
use crate::table::commit::CommitContext;
use crate::telemetry::Metrics;
pub use supervisor::Sessions;

/// Longest wait for an actor's answer, but for commits. Each of them makes one durable write at most.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Tries to reach an actor that leaves memory at the moment it is asked.
const ASK_ATTEMPTS: usize = 4;

/// What actors need; one instance per server.
pub struct Surroundings {
    /// The records.
    pub journal: Journal,
    /// Where files are.
    pub layout: Layout,
    /// Time and ids.
    pub clock: SharedClock,
    /// The files that small parts share.
    pub packs: Packs,
    /// Bytes of all staged files.
    pub staged: StagedBytes,
    /// What users use.
    pub usage: Usage,
    /// How sessions live.
    pub sessions: SessionsConfig,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The role that overwriting a table needs.
    pub overwrite_needs: Role,
    /// What commits need.
    pub commits: CommitContext,
}

/// Arbiters that actors are spread over.
pub struct ArbiterPool {
    arbiters: Vec<Arbiter>,
    next: AtomicUsize,
}

impl ArbiterPool {
    /// A pool of so many threads.
    pub fn new(size: usize) -> Self {
        Self {
            arbiters: (0..size.max(1)).map(|_| Arbiter::new()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// The next arbiter in turn.
    pub fn pick(&self) -> ArbiterHandle {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.arbiters.len();
        self.arbiters[index].handle()
    }

    /// Ends the threads; actors on them are dropped.
    pub fn stop(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

/// Counts commits that run, so that a shutdown can wait for them.
#[derive(Debug, Clone)]
pub struct RunningCommits(Arc<watch::Sender<usize>>);

impl Default for RunningCommits {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl RunningCommits {
    /// Counts one commit until the guard is dropped.
    pub fn enter(&self) -> RunningCommit {
        self.0.send_modify(|count| *count += 1);
        RunningCommit(self.0.clone())
    }

    /// Waits until none runs.
    pub async fn finished(&self) {
        // The sender is alive in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One running commit.
#[derive(Debug)]
pub struct RunningCommit(Arc<watch::Sender<usize>>);

impl Drop for RunningCommit {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The refusal when an actor could not be reached or did not answer in time.
fn unreachable_actor(what: &str) -> Error {
    Error::new(
        ErrorCode::Overloaded,
        "The server is too busy to answer this now; send the same request again.",
    )
    .caused_by(format_args!("no answer from a {what} actor"))
}
