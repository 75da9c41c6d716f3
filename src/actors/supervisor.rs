//! Which sessions are in memory, and the handle that everybody else talks to.
//!
//! The map of live sessions is shared for reading: a request for a session that is in memory does not pass
//! through the supervisor. Only the supervisor adds to it, so a session is never started twice; an entry is
//! removed by the actor that leaves, or by whoever finds its mailbox closed.
//!
//! A session's actor runs on the thread that asked for it first. Most requests of a session come over connections of that thread,
//! and a message that stays on its thread costs a fraction of one that wakes another. When that thread ends, which it does in a
//! shutdown after its requests have ended, so does the actor; what it had under way is in the journal or with a committer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use actix::dev::ToEnvelope;
use actix::prelude::*;

use super::committer::Committers;
use super::session::SessionActor;
use super::session::messages::{Abort, BeginPart, Commit, DeletePart, FinishPart, Inspect};
use super::{ANSWER_DEADLINE, ASK_ATTEMPTS, ArbiterPool, Surroundings, unreachable_actor};
use crate::domain::{
    AskedCommit, Caller, CommitReceipt, PartNumber, PartRecord, Session, SessionId, Target,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::records;
use crate::store::staging::StagedFiles;
use crate::table::dry_run::{DryRun, dry_run};

pub use super::session::messages::PartLease;

/// Requests waiting for the supervisor; it only inserts into a map, so it is never behind for long.
const MAILBOX_MESSAGES_MAX: usize = 4096;

/// The sessions in memory.
#[derive(Clone, Default)]
pub(crate) struct LiveSessions {
    addresses: Arc<RwLock<HashMap<SessionId, Addr<SessionActor>>>>,
    /// Actors that exist, including those that are leaving.
    count: Arc<AtomicUsize>,
}

impl LiveSessions {
    fn get(&self, id: &SessionId) -> Option<Addr<SessionActor>> {
        let addresses = self
            .addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        addresses
            .get(id)
            .filter(|address| address.connected())
            .cloned()
    }

    /// Removes an entry, unless another actor has taken its place.
    pub(crate) fn forget(&self, id: &SessionId, address: &Addr<SessionActor>) {
        let mut addresses = self
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if addresses.get(id) == Some(address) {
            addresses.remove(id);
        }
    }

    /// An actor has ended.
    pub(crate) fn left(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts session actors.
pub struct Supervisor {
    surroundings: Arc<Surroundings>,
    committers: Committers,
    arbiters: Arc<ArbiterPool>,
    live: LiveSessions,
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
    }
}

/// The address of a session's actor, started if it is not in memory.
#[derive(Debug, Message)]
#[rtype(result = "Result<Addr<SessionActor>>")]
struct Find {
    id: SessionId,
    /// The thread that asks, if actors can run there.
    arbiter: Option<ArbiterHandle>,
}

impl Handler<Find> for Supervisor {
    type Result = Result<Addr<SessionActor>>;

    fn handle(&mut self, message: Find, _context: &mut Self::Context) -> Self::Result {
        let Find { id, arbiter } = message;
        if let Some(address) = self.live.get(&id) {
            return Ok(address);
        }
        let limit = self.surroundings.sessions.in_memory_max;
        if self.live.count.fetch_add(1, Ordering::Relaxed) >= limit {
            self.live.left();
            return Err(Error::new(
                ErrorCode::Overloaded,
                "Too many sessions are active at once; send the same request again shortly.",
            ));
        }
        let actor = SessionActor::new(
            id.clone(),
            self.surroundings.clone(),
            self.committers.clone(),
            self.live.clone(),
        );
        let arbiter = arbiter.unwrap_or_else(|| self.arbiters.pick());
        let address = SessionActor::start_in_arbiter(&arbiter, |_| actor);
        let mut addresses = self
            .live
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        addresses.insert(id, address.clone());
        Ok(address)
    }
}

/// Open a session.
#[derive(Debug, Message)]
#[rtype(result = "Result<Box<Session>>")]
struct Open {
    target: Option<Target>,
    caller: Caller,
}

/// Other messages are handled while the record is on its way to the disk.
impl Handler<Open> for Supervisor {
    type Result = ResponseFuture<Result<Box<Session>>>;

    fn handle(&mut self, message: Open, _context: &mut Self::Context) -> Self::Result {
        let surroundings = self.surroundings.clone();
        Box::pin(async move {
            let Open { target, caller } = message;
            surroundings.usage.open_session(caller.user())?;
            let opened = open(&surroundings, target, &caller).await;
            if opened.is_err() {
                surroundings.usage.end_session(caller.user(), 0);
            }
            opened
        })
    }
}

async fn open(
    surroundings: &Surroundings,
    target: Option<Target>,
    caller: &Caller,
) -> Result<Box<Session>> {
    let now = surroundings.clock.now();
    let id = SessionId::new(now, surroundings.clock.random_id());
    let expires_at = now + surroundings.sessions.ttl;
    let mut session = Box::new(Session::open(id, target, now, expires_at));
    session.owner = caller.user().map(str::to_owned);
    let write = records::open_session(&session, surroundings.sessions.open_max)?;
    surroundings.journal.write(write)?.await?;
    Ok(session)
}

/// The handle of all sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    supervisor: Addr<Supervisor>,
    live: LiveSessions,
    surroundings: Arc<Surroundings>,
}

impl Sessions {
    /// Starts the supervisor on one of the arbiters.
    pub fn start(
        surroundings: Arc<Surroundings>,
        committers: Committers,
        arbiters: Arc<ArbiterPool>,
    ) -> Self {
        let live = LiveSessions::default();
        let supervisor = Supervisor {
            surroundings: surroundings.clone(),
            committers,
            arbiters: arbiters.clone(),
            live: live.clone(),
        };
        Self {
            supervisor: Supervisor::start_in_arbiter(&arbiters.pick(), |_| supervisor),
            live,
            surroundings,
        }
    }

    /// Whether a session has an actor now.
    pub fn is_in_memory(&self, id: &SessionId) -> bool {
        self.live.get(id).is_some()
    }

    /// Opens a session; durable when this returns.
    pub async fn open(&self, target: Option<Target>, caller: &Caller) -> Result<Box<Session>> {
        caller.check_open(target.as_ref())?;
        let caller = caller.clone();
        let message = Open { target, caller };
        let answer = tokio::time::timeout(ANSWER_DEADLINE, self.supervisor.send(message));
        match answer.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) | Err(_) => Err(unreachable_actor("supervisor")),
        }
    }

    /// Asks whether a part may be uploaded now.
    pub async fn begin_part(
        &self,
        id: &SessionId,
        part: PartNumber,
        caller: &Caller,
    ) -> Result<PartLease> {
        self.ask(id, || BeginPart {
            caller: caller.clone(),
            part,
        })
        .await
    }

    /// Records a part whose files are durable under their final names. On an error nothing was
    /// acknowledged.
    pub async fn finish_part(
        &self,
        id: &SessionId,
        record: Box<PartRecord>,
        files: StagedFiles,
    ) -> Result<()> {
        let span = tracing::Span::current();
        self.ask(id, || FinishPart {
            record: record.clone(),
            files: files.clone(),
            span: span.clone(),
        })
        .await
    }

    /// Deletes a part; durable when this returns. Deleting it again is fine.
    pub async fn delete_part(
        &self,
        id: &SessionId,
        part: PartNumber,
        caller: &Caller,
    ) -> Result<()> {
        let span = tracing::Span::current();
        self.ask(id, || DeletePart {
            caller: caller.clone(),
            part,
            span: span.clone(),
        })
        .await
    }

    /// The session as it is.
    pub async fn inspect(&self, id: &SessionId, caller: &Caller) -> Result<Box<Session>> {
        self.ask(id, || Inspect {
            caller: caller.clone(),
        })
        .await
    }

    /// Ends the session; durable when this returns. Ending it again is fine.
    pub async fn abort(&self, id: &SessionId, caller: &Caller) -> Result<()> {
        let span = tracing::Span::current();
        self.ask(id, || Abort {
            caller: caller.clone(),
            span: span.clone(),
        })
        .await
    }

    /// Commits the session, joins its running commit, or returns the stored answer.
    pub async fn commit(
        &self,
        id: &SessionId,
        asked: AskedCommit,
        caller: &Caller,
    ) -> Result<CommitReceipt> {
        let span = tracing::Span::current();
        // No deadline: a commit takes what it takes, and the client may go and come back.
        self.send(id, || Commit {
            caller: caller.clone(),
            asked: asked.clone(),
            span: span.clone(),
        })
        .await
    }

    /// What that commit would do now; the session and the table stay as they are.
    pub async fn dry_run(
        &self,
        id: &SessionId,
        asked: AskedCommit,
        caller: &Caller,
    ) -> Result<DryRun> {
        let session = self.inspect(id, caller).await?;
        caller.check_use(&session)?;
        session.check_open(self.surroundings.clock.now())?;
        let request = session.resolve_commit(asked)?;
        caller.check_commit(
            &request.target,
            request.conflict_resolution,
            self.surroundings.overwrite_needs,
        )?;
        dry_run(&self.surroundings.commits, &session, &request).await
    }

    async fn ask<M, T>(&self, id: &SessionId, message: impl Fn() -> M) -> Result<T>
    where
        M: Message<Result = Result<T>> + Send + 'static,
        SessionActor: Handler<M>,
        <SessionActor as Actor>::Context: ToEnvelope<SessionActor, M>,
        T: Send + 'static,
    {
        tokio::time::timeout(ANSWER_DEADLINE, self.send(id, message))
            .await
            .unwrap_or_else(|_| Err(unreachable_actor("session")))
    }

    /// Sends a message to a session's actor; when its mailbox is closed, to the one that takes its place.
    async fn send<M, T>(&self, id: &SessionId, message: impl Fn() -> M) -> Result<T>
    where
        M: Message<Result = Result<T>> + Send + 'static,
        SessionActor: Handler<M>,
        <SessionActor as Actor>::Context: ToEnvelope<SessionActor, M>,
        T: Send + 'static,
    {
        for attempt in 0..ASK_ATTEMPTS {
            let address = match self.live.get(id) {
                Some(address) => address,
                None => {
                    // Not again on a thread that may be ending.
                    let arbiter = Arbiter::try_current().filter(|_| attempt == 0);
                    let id = id.clone();
                    let found = self.supervisor.send(Find { id, arbiter }).await;
                    found.map_err(|_| unreachable_actor("supervisor"))??
                }
            };
            match address.send(message()).await {
                Ok(answer) => return answer,
                Err(_) => self.live.forget(id, &address),
            }
        }
        Err(unreachable_actor("session"))
    }
}
