//! What a session actor does with each message.

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::SessionActor;
use super::messages::{BeginPart, Commit, DeletePart, FinishPart, Inspect, PartLease};
use crate::domain::session::{CommitStart, Deletion};
use crate::domain::{CommitReceipt, CommitRequest, PartNumber, PartRecord, Session};
use crate::error::{Error, ErrorCode, Result};
use crate::store::journal::{Write, WriteError};
use crate::store::{keys, records};

impl Handler<BeginPart> for SessionActor {
    type Result = Result<PartLease>;

    fn handle(&mut self, message: BeginPart, _context: &mut Self::Context) -> Self::Result {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        session.check_parts_may_change(now)?;
        // A generation is above the recorded one even when the clock went back over a restart.
        let recorded = session.parts.get(&message.part);
        let recorded = recorded.map_or(0, |record| record.generation);
        let target = session.target.clone();
        self.last_generation = self.last_generation.max(recorded);
        Ok(PartLease {
            generation: self.next_generation(),
            target,
        })
    }
}

/// Other messages are handled while the record is on its way to the disk.
impl Handler<FinishPart> for SessionActor {
    type Result = ResponseActFuture<Self, Result<()>>;

    fn handle(&mut self, message: FinishPart, _context: &mut Self::Context) -> Self::Result {
        let FinishPart {
            record,
            files,
            span,
        } = message;
        let write = match self.stage(&record) {
            Ok(write) => write,
            Err(error) => return refused(error),
        };
        // From here on the record may be found after a restart, whatever becomes of this actor.
        files.keep();
        let sequence = self.begin_change();
        let journal = self.surroundings.journal.clone();
        let recording = async move { journal.write(write).await }.instrument(span);
        Box::pin(
            recording
                .into_actor(self)
                .map(move |written, actor, context| {
                    let outcome = actor.part_recorded(written, sequence, *record);
                    actor.end_change(context);
                    outcome
                }),
        )
    }
}

/// Other messages are handled while the record is on its way to the disk.
impl Handler<DeletePart> for SessionActor {
    type Result = ResponseActFuture<Self, Result<()>>;

    fn handle(&mut self, message: DeletePart, _context: &mut Self::Context) -> Self::Result {
        let now = self.surroundings.clock.now();
        let part = message.part;
        let checked = self
            .session()
            .and_then(|session| session.check_delete(part, now));
        let removed = match checked {
            Ok(Deletion::Present(record)) => record,
            Ok(Deletion::Repeated) => return Box::pin(fut::ready(Ok(()))),
            Err(error) => return refused(error),
        };
        let write = match records::delete_part(&self.id, part) {
            Ok(write) => write,
            Err(error) => return refused(error),
        };
        let sequence = self.begin_change();
        let journal = self.surroundings.journal.clone();
        let recording = async move { journal.write(write).await }.instrument(message.span);
        Box::pin(
            recording
                .into_actor(self)
                .map(move |written, actor, context| {
                    let outcome = actor.deletion_recorded(written, sequence, part, &removed);
                    actor.end_change(context);
                    outcome
                }),
        )
    }
}

impl Handler<Inspect> for SessionActor {
    type Result = Result<Box<Session>>;

    fn handle(&mut self, _message: Inspect, _context: &mut Self::Context) -> Self::Result {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        session.check_not_expired(now)?;
        Ok(Box::new(session.clone()))
    }
}

/// Other messages are handled while the commit runs; they find the session committing.
impl Handler<Commit> for SessionActor {
    type Result = ResponseFuture<Result<CommitReceipt>>;

    fn handle(&mut self, message: Commit, context: &mut Self::Context) -> Self::Result {
        let span = message.span.clone();
        match self.begin_commit(message) {
            Ok((_, CommitStart::Answered(receipt))) => std::future::ready(Ok(receipt)).boxed(),
            Ok((_, CommitStart::Join)) => self.listen(),
            Ok((request, CommitStart::Run)) => {
                let outcome = self.listen();
                self.waiting_commit = Some((request, span));
                self.start_waiting_commit(context);
                outcome
            }
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }
}

fn refused(error: Error) -> ResponseActFuture<SessionActor, Result<()>> {
    Box::pin(fut::ready(Err(error)))
}

impl SessionActor {
    /// The write that stages a part, with the session's renewal where that is configured.
    fn stage(&mut self, record: &PartRecord) -> Result<Write> {
        let now = self.surroundings.clock.now();
        let config = &self.surroundings.sessions;
        let renewal = config.renew_on_activity.then_some(config.ttl);
        let session = self.session()?;
        session.check_parts_may_change(now)?;
        let mut write = records::stage_part(&session.id, record)?;
        if let Some(ttl) = renewal {
            session.expires_at = now + ttl;
            let value = records::session_value(session)?;
            write.puts.push((keys::session(&session.id), value));
        }
        Ok(write)
    }

    fn begin_change(&mut self) -> u64 {
        self.changes_under_way += 1;
        self.last_sequence += 1;
        self.last_sequence
    }

    fn end_change(&mut self, context: &mut Context<Self>) {
        self.changes_under_way -= 1;
        self.start_waiting_commit(context);
    }

    /// Whether a durable change is the latest of its part.
    fn is_latest(&mut self, part: PartNumber, sequence: u64) -> bool {
        let applied = self.applied_sequences.entry(part).or_default();
        let is_latest = sequence > *applied;
        *applied = sequence.max(*applied);
        is_latest
    }

    fn part_recorded(
        &mut self,
        written: std::result::Result<(), WriteError>,
        sequence: u64,
        record: PartRecord,
    ) -> Result<()> {
        // After a failed write it is not known whether a restart will find the record: its files stay.
        written?;
        let part = record.part;
        if !self.is_latest(part, sequence) {
            self.remove_files(&record);
            return Err(Error::new(
                ErrorCode::PartSuperseded,
                format!(
                    "Another request that completed later has replaced part {part}; its bytes are the part now."
                ),
            )
            .with("part", part.0));
        }
        if let Some(replaced) = self.session()?.put_part(record) {
            self.remove_files(&replaced);
        }
        Ok(())
    }

    fn deletion_recorded(
        &mut self,
        written: std::result::Result<(), WriteError>,
        sequence: u64,
        part: PartNumber,
        removed: &PartRecord,
    ) -> Result<()> {
        written?;
        if self.is_latest(part, sequence) {
            self.session()?.delete_part(part);
            self.remove_files(removed);
        }
        Ok(())
    }

    fn begin_commit(&mut self, message: Commit) -> Result<(CommitRequest, CommitStart)> {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        session.check_not_expired(now)?;
        let request = CommitRequest {
            target: session.resolve_target(message.target)?,
            snapshot_message: message.snapshot_message,
            conflict_resolution: message.conflict_resolution,
        };
        let start = session.begin_commit(&request, now)?;
        Ok((request, start))
    }

    /// The outcome of the running commit, when it is there.
    fn listen(&mut self) -> ResponseFuture<Result<CommitReceipt>> {
        let (sender, outcome) = oneshot::channel();
        self.commit_listeners.push(sender);
        Box::pin(async move {
            outcome.await.unwrap_or_else(|_| {
                Err(Error::internal(
                    "the session's actor ended during the commit",
                ))
            })
        })
    }

    /// Starts the commit that waits, once no change is under way.
    fn start_waiting_commit(&mut self, context: &mut Context<Self>) {
        if self.changes_under_way > 0 {
            return;
        }
        let Some((request, span)) = self.waiting_commit.take() else {
            return;
        };
        let session = match self.session() {
            Ok(session) => Box::new(session.clone()),
            Err(error) => return self.commit_ended(request, Err(error)),
        };
        let committers = self.committers.clone();
        let running = {
            let (request, span) = (request.clone(), span.clone());
            async move { committers.commit(session, request, span).await }
        };
        let running = running.instrument(span);
        context.spawn(
            running
                .into_actor(self)
                .map(move |outcome, actor, _context| actor.commit_ended(request, outcome)),
        );
    }

    fn commit_ended(&mut self, request: CommitRequest, outcome: Result<CommitReceipt>) {
        if let Ok(session) = self.session() {
            match &outcome {
                Ok(receipt) => session.commit_succeeded(request, receipt.clone()),
                Err(_) => session.commit_failed(),
            }
        }
        if outcome.is_ok() {
            self.remove_staging();
        }
        for listener in self.commit_listeners.drain(..) {
            // A client that went away repeats its commit and gets the stored answer.
            let _ = listener.send(outcome.clone());
        }
    }
}
