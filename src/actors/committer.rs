//! One committer per target: commits of a table happen one after the other, those of different tables side
//! by side.
//!
//! A committer is started when a commit names its target and ends when it was idle for a while. It holds no
//! state: the table's is in the catalog, the session's comes with the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use tracing::{Instrument, Span};

use super::{ASK_ATTEMPTS, ArbiterPool, RunningCommits, Surroundings, unreachable_actor};
use crate::domain::{CommitReceipt, CommitRequest, Session, Target};
use crate::error::Result;
use crate::table::commit;

/// Commits waiting for one table; sessions beyond that wait to enqueue. One session has one commit.
const MAILBOX_MESSAGES_MAX: usize = 1024;
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
        let _running = self.running.enter();
        let mode = request.conflict_resolution.name();
        let mut outcome = Err(unreachable_actor("committer"));
        for _ in 0..ASK_ATTEMPTS {
            let message = RunCommit {
                session: session.clone(),
                request: request.clone(),
                span: span.clone(),
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
    session: Box<Session>,
    request: CommitRequest,
    span: Span,
}

/// The actor of one target.
struct Committer {
    target: Target,
    surroundings: Arc<Surroundings>,
    live: Arc<Mutex<HashMap<Target, Addr<Committer>>>>,
    last_activity: Instant,
}

impl Actor for Committer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        context.run_interval(IDLE_MAX, |actor, context| {
            if actor.last_activity.elapsed() >= IDLE_MAX {
                let mut live = actor.live.lock().unwrap_or_else(PoisonError::into_inner);
                live.remove(&actor.target);
                context.stop();
            }
        });
    }
}

/// Exclusive: the next commit of the table starts when this one has ended.
impl Handler<RunCommit> for Committer {
    type Result = AtomicResponse<Self, Result<CommitReceipt>>;

    fn handle(&mut self, message: RunCommit, _context: &mut Self::Context) -> Self::Result {
        let RunCommit {
            session,
            request,
            span,
        } = message;
        let surroundings = self.surroundings.clone();
        let running = async move {
            let started = Instant::now();
            let outcome = commit::commit(&surroundings.commits, &session, &request).await;
            let metrics = &surroundings.metrics;
            metrics
                .commit_seconds
                .observe(started.elapsed().as_secs_f64());
            if let Ok(receipt) = &outcome {
                tracing::info!(
                    session_id = %session.id, table = %request.target,
                    mode = request.conflict_resolution.name(),
                    commit_id = receipt.commit_id(), rows = receipt.rows_written,
                    files = receipt.files_created, "committed"
                );
            }
            outcome
        };
        AtomicResponse::new(Box::pin(running.instrument(span).into_actor(self).map(
            |outcome, actor, _context| {
                actor.last_activity = Instant::now();
                outcome
            },
        )))
    }
}
