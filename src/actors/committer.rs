//! One committer per target: commits of a table happen one after the other, those of different tables side
//! by side.
//!
//! A committer is started when a commit names its target and ends when it was idle for a while. It holds no
//! state but the queue of commits that wait while others run; appends among them are published together
//! ([`crate::table::group`]). The table's state is in the catalog, the session's comes with the message.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use super::{
    ASK_ATTEMPTS, ArbiterPool, RunningCommit, RunningCommits, Surroundings, unreachable_actor,
};
use crate::domain::{CommitReceipt, CommitRequest, Session, SessionId, Target};
use crate::error::Result;
use crate::table::group::{self, GROUP_COMMITS_MAX, WaitingCommit};

/// Commits waiting for one table; more are refused, and their clients come again. One session has one commit.
const QUEUED_COMMITS_MAX: usize = 1024;
/// A committer without work leaves memory after this time.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Runs commits; the handle of all committers.
#[derive(Clone)]
pub struct Committers {
    surroundings: Arc<Surroundings>,
    arbiters: Arc<ArbiterPool>,
    live: Arc<Mutex<HashMap<Target, Addr<Committer>>>>,
    running: RunningCommits,
}

impl Committers {
    /// The committers of one server.
    pub fn new(
        surroundings: Arc<Surroundings>,
        arbiters: Arc<ArbiterPool>,
        running: RunningCommits,
    ) -> Self {
        Self {
            surroundings,
            arbiters,
            live: Arc::default(),
            running,
        }
    }

    /// Commits a frozen session, in its target's turn.
    pub(crate) async fn commit(
        &self,
        session: Box<Session>,
        request: CommitRequest,
        span: Span,
    ) -> Result<CommitReceipt> {
        let session: Arc<Session> = session.into();
        let mode = request.conflict_resolution.name();
        let mut outcome = Err(unreachable_actor("committer"));
        for _ in 0..ASK_ATTEMPTS {
            let message = RunCommit {
                session: session.clone(),
                request: request.clone(),
                span: span.clone(),
                running: self.running.enter(),
            };
            // A closed mailbox: the committer left at this moment, or panicked. Whatever it did is settled
            // by the catalog: the session commits at most once.
            if let Ok(answer) = self.find(&request.target).send(message).await {
                outcome = answer;
                break;
            }
        }
        let label = match &outcome {
            Ok(_) => "committed",
            Err(error) => error.code.wire_name(),
        };
        let metrics = &self.surroundings.metrics;
        metrics.commits.with_label_values(&[mode, label]).inc();
        outcome
    }

    /// The target's committer, started if there is none.
    fn find(&self, target: &Target) -> Addr<Committer> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = live.get(target).filter(|address| address.connected()) {
            return address.clone();
        }
        let committer = Committer {
            target: target.clone(),
            surroundings: self.surroundings.clone(),
            live: self.live.clone(),
            queue: VecDeque::new(),
            is_running: false,
            last_activity: Instant::now(),
        };
        let address = Committer::start_in_arbiter(&self.arbiters.pick(), |_| committer);
        live.insert(target.clone(), address.clone());
        address
    }
}

/// Commit this session now.
#[derive(Debug, Message)]
#[rtype(result = "Result<CommitReceipt>")]
struct RunCommit {
    session: Arc<Session>,
    request: CommitRequest,
    span: Span,
    running: RunningCommit,
}

/// A commit in the queue, and who wants its outcome. A shutdown waits for it, also when nobody wants it any more.
struct Queued {
    commit: WaitingCommit,
    span: Span,
    reply: oneshot::Sender<Result<CommitReceipt>>,
    _running: RunningCommit,
}

/// The actor of one target.
struct Committer {
    target: Target,
    surroundings: Arc<Surroundings>,
    live: Arc<Mutex<HashMap<Target, Addr<Committer>>>>,
    queue: VecDeque<Queued>,
    is_running: bool,
    last_activity: Instant,
}

impl Actor for Committer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(QUEUED_COMMITS_MAX);
        context.run_interval(IDLE_MAX, |actor, context| {
            let is_idle = !actor.is_running && actor.queue.is_empty();
            if is_idle && actor.last_activity.elapsed() >= IDLE_MAX {
                let mut live = actor.live.lock().unwrap_or_else(PoisonError::into_inner);
                live.remove(&actor.target);
                context.stop();
            }
        });
    }
}

/// Other messages are handled while the commit waits and runs; they queue behind it.
impl Handler<RunCommit> for Committer {
    type Result = ResponseActFuture<Self, Result<CommitReceipt>>;

    fn handle(&mut self, message: RunCommit, context: &mut Self::Context) -> Self::Result {
        if self.queue.len() >= QUEUED_COMMITS_MAX {
            return Box::pin(fut::ready(Err(unreachable_actor("committer"))));
        }
        let RunCommit {
            session,
            request,
            span,
            running,
        } = message;
        let (reply, outcome) = oneshot::channel();
        self.queue.push_back(Queued {
            commit: WaitingCommit { session, request },
            span,
            reply,
            _running: running,
        });
        self.run_next(context);
        // Dropped with the actor, so that its asker asks the next one.
        let outcome = outcome.into_actor(self);
        Box::pin(outcome.map(|outcome, _actor, _context| {
            outcome.unwrap_or_else(|_| Err(unreachable_actor("committer")))
        }))
    }
}

impl Committer {
    /// Runs what waits, unless something is running.
    fn run_next(&mut self, context: &mut Context<Self>) {
        if self.is_running || self.queue.is_empty() {
            return;
        }
        self.is_running = true;
        let waiting: Vec<WaitingCommit> = self
            .queue
            .iter()
            .take(GROUP_COMMITS_MAX)
            .map(|queued| queued.commit.clone())
            .collect();
        let span = self.queue.front().map(|queued| queued.span.clone());
        let surroundings = self.surroundings.clone();
        let started = Instant::now();
        let running = async move { group::run(&surroundings.commits, &waiting).await };
        let running = running.instrument(span.unwrap_or_else(Span::none));
        context.spawn(running.into_actor(self).map(move |ended, actor, context| {
            actor.is_running = false;
            actor.last_activity = Instant::now();
            for (session, outcome) in ended {
                actor.answer(&session, outcome, started);
            }
            actor.run_next(context);
        }));
    }

    /// Gives a commit's outcome to who waits for it.
    fn answer(&mut self, session: &SessionId, outcome: Result<CommitReceipt>, started: Instant) {
        let place = self
            .queue
            .iter()
            .position(|queued| queued.commit.session.id == *session);
        let Some(queued) = place.and_then(|place| self.queue.remove(place)) else {
            return;
        };
        let metrics = &self.surroundings.metrics;
        let seconds = started.elapsed().as_secs_f64();
        metrics.commit_seconds.observe(seconds);
        if let Ok(receipt) = &outcome {
            let _in_span = queued.span.entered();
            tracing::info!(
                session_id = %session, table = %self.target,
                mode = queued.commit.request.conflict_resolution.name(),
                commit_id = receipt.commit_id(), rows = receipt.rows_written,
                files = receipt.files_created, "committed"
            );
        }
        // Who asked may be gone; a repeat gets the stored answer.
        let _ = queued.reply.send(outcome);
    }
}
