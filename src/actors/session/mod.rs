//! One upload session: its part map, its state, and the order of changes to it.
//!
//! **Life.** Started by the supervisor when a request names the session; loads itself from the journal before
//! the first message is handled. Ends when it was idle for `sessions.idle_in_memory`, when there is no such
//! session, or when it panics; the next request starts it again.
//!
//! **Ordering.** Changes of the part map are queued in the journal in the order in which they are handled, and
//! take effect in the map when they are durable. Several may be on their way at once (they share syncs); each
//! has a sequence number, and per part the highest wins, which is the order in the journal too. A commit waits
//! for those on their way, and takes none that comes later.
//!
//! **Abort.** The session has ended for every message that comes later; its end is recorded once no change is under way, and
//! taken back when that fails. A repeat joins it.
//!
//! **Commit.** Runs detached from the request: a client that goes away does not stop it, and a repeat joins it.

mod handlers;
pub(crate) mod messages;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::Span;

use super::Surroundings;
use super::committer::Committers;
use super::supervisor::LiveSessions;
use crate::blocking::blocking;
use crate::domain::part::PackPlace;
use crate::domain::session::session_not_found;
use crate::domain::{CommitReceipt, CommitRequest, PartNumber, PartRecord, Session, SessionId};
use crate::error::{Error, Result};
use crate::store::packs::Packs;
use crate::store::{durable, records};

/// Messages waiting for one session; senders beyond that wait. More than the connections one client uses.
const MAILBOX_MESSAGES_MAX: usize = 256;

/// The actor of one session.
pub(crate) struct SessionActor {
    id: SessionId,
    surroundings: Arc<Surroundings>,
    committers: Committers,
    live: LiveSessions,
    session: Loaded,
    last_generation: u64,
    /// Sequence of the latest change handled.
    last_sequence: u64,
    /// Sequence of the latest change applied, by part.
    applied_sequences: HashMap<PartNumber, u64>,
    /// Changes queued in the journal.
    changes_under_way: usize,
    /// The commit that starts when no change is under way.
    waiting_commit: Option<(CommitRequest, Span)>,
    /// The abort that is recorded when no change is under way.
    waiting_abort: Option<Span>,
    /// Who wants the abort's outcome.
    abort_listeners: Vec<oneshot::Sender<Result<()>>>,
    /// Who wants the running commit's outcome.
    commit_listeners: Vec<oneshot::Sender<Result<CommitReceipt>>>,
    last_activity: Instant,
}

/// What loading found.
enum Loaded {
    /// Not loaded yet.
    Pending,
    /// The session.
    Found(Box<Session>),
    /// There is none, or it cannot be read: the answer to everything.
    Refused(Error),
}

impl SessionActor {
    pub(crate) fn new(
        id: SessionId,
        surroundings: Arc<Surroundings>,
        committers: Committers,
        live: LiveSessions,
    ) -> Self {
        Self {
            id,
            surroundings,
            committers,
            live,
            session: Loaded::Pending,
            last_generation: 0,
            last_sequence: 0,
            applied_sequences: HashMap::new(),
            changes_under_way: 0,
            waiting_commit: None,
            waiting_abort: None,
            abort_listeners: Vec::new(),
            commit_listeners: Vec::new(),
            last_activity: Instant::now(),
        }
    }

    /// The session, for a message that arrives now.
    fn session(&mut self) -> Result<&mut Session> {
        self.last_activity = Instant::now();
        match &mut self.session {
            Loaded::Found(session) => Ok(session),
            Loaded::Refused(error) => Err(error.clone()),
            Loaded::Pending => Err(Error::internal("a session was used before it was loaded")),
        }
    }

    /// Loads the session; no message is handled meanwhile.
    fn load(&mut self, context: &mut Context<Self>) {
        let (journal, id) = (self.surroundings.journal.clone(), self.id.clone());
        let loading = blocking(move || records::load_session(&journal, &id));
        context.wait(loading.into_actor(self).map(|loaded, actor, context| {
            actor.session = match loaded {
                Ok(Some(session)) => Loaded::Found(Box::new(session)),
                Ok(None) => Loaded::Refused(session_not_found(actor.id.as_str())),
                Err(error) => Loaded::Refused(error),
            };
            if matches!(actor.session, Loaded::Refused(_)) {
                // What is in the mailbox is answered first; the next request tries again.
                actor.leave_when_idle(context, std::time::Duration::ZERO);
            }
        }));
    }

    /// Leaves memory after this time without a message or unfinished work.
    fn leave_when_idle(&mut self, context: &mut Context<Self>, idle: std::time::Duration) {
        let wait = idle.saturating_sub(self.last_activity.elapsed());
        context.run_later(wait, move |actor, context| {
            let is_busy = actor.changes_under_way > 0 || !actor.commit_listeners.is_empty();
            if is_busy || actor.last_activity.elapsed() < idle {
                let recheck = idle.max(std::time::Duration::from_millis(10));
                actor.leave_when_idle(context, recheck);
            } else {
                actor.live.forget(&actor.id, &context.address());
                context.stop();
            }
        });
    }

    fn next_generation(&mut self) -> u64 {
        let now = self.surroundings.clock.now().timestamp_micros();
        self.last_generation = u64::try_from(now)
            .unwrap_or(0)
            .max(self.last_generation + 1);
        self.last_generation
    }

    /// Removes a part's files in the background; its record is gone or replaced, durably.
    fn remove_files(&self, record: &PartRecord) {
        let paths = self.surroundings.layout.part_files(&self.id, record);
        let (packs, packed) = (self.surroundings.packs.clone(), record.packed);
        tokio::task::spawn_blocking(move || remove_part(&paths, packed, &packs));
    }

    /// So many bytes more are staged.
    fn staged(&mut self, bytes: u64) {
        self.surroundings.staged.add(bytes);
        let usage = self.surroundings.usage.clone();
        usage.stage(self.owner(), bytes);
    }

    /// So many bytes are staged no more.
    fn unstaged(&mut self, bytes: u64) {
        self.surroundings.staged.subtract(bytes);
        let usage = self.surroundings.usage.clone();
        usage.unstage(self.owner(), bytes);
    }

    fn owner(&self) -> Option<&str> {
        match &self.session {
            Loaded::Found(session) => session.owner.as_deref(),
            Loaded::Refused(_) | Loaded::Pending => None,
        }
    }

    /// Removes the staged files of a session that was committed or aborted in the background; those of an upload that is still
    /// running are its own to remove. What a crash leaves of them is garbage that nothing refers to.
    fn remove_staging(&mut self) {
        let Ok(session) = self.session().cloned() else {
            return;
        };
        let staged_bytes = session.records().map(PartRecord::staged_bytes).sum();
        self.surroundings.staged.subtract(staged_bytes);
        let usage = &self.surroundings.usage;
        usage.end_session(session.owner.as_deref(), staged_bytes);
        let layout = self.surroundings.layout.clone();
        let packs = self.surroundings.packs.clone();
        tokio::task::spawn_blocking(move || {
            for record in session.records() {
                let paths = layout.part_files(&session.id, record);
                remove_part(&paths, record.packed, &packs);
            }
            // Not there when all parts were small; not empty while an upload runs, and then it stays.
            let _ = std::fs::remove_dir(layout.session_folder(&session.id));
        });
    }
}

/// Removes the files that are a part's alone, and gives up its place in a pack. Blocks.
fn remove_part(paths: &[PathBuf], packed: Option<PackPlace>, packs: &Packs) {
    for path in paths {
        durable::remove_quietly(path);
    }
    if let Some(place) = packed {
        packs.release(place.pack);
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        self.surroundings.metrics.session_actors.inc();
        self.load(context);
        self.leave_when_idle(context, self.surroundings.sessions.idle_in_memory);
    }

    fn stopped(&mut self, _context: &mut Self::Context) {
        self.live.left();
        self.surroundings.metrics.session_actors.dec();
    }
}
