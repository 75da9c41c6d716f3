//! What a session actor does with each message.

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::SessionActor;
use super::messages::{Abort, BeginPart, Commit, DeletePart, FinishPart, Inspect, PartLease};
use crate::blocking::blocking;
use crate::domain::session::{CommitStart, Deletion, already_committed, part_superseded};
use crate::domain::{
    Caller, CommitReceipt, CommitRequest, PartNumber, PartRecord, Session, SessionState,
};
use crate::error::{Error, Result};
use crate::store::journal::WriteError;
use crate::store::staging::StagedFiles;
use crate::store::{keys, records};

impl Handler<BeginPart> for SessionActor {
    type Result = Result<PartLease>;

    fn handle(&mut self, message: BeginPart, _context: &mut Self::Context) -> Self::Result {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        message.caller.check_use(session)?;
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
        // The write gets its place in the journal's queue here, in the order of handling.
        let recording = match self.queue_part(&record, &files) {
            Ok(recording) => recording,
            Err(error) => return refused(error),
        };
        // From here on the record may be found after a restart, whatever becomes of this actor.
        files.keep();
        let sequence = self.begin_change();
        let recording = recording.instrument(span).into_actor(self);
        Box::pin(recording.map(move |written, actor, context| {
            let outcome = actor.part_recorded(written, sequence, *record, context);
            actor.end_change(context);
            outcome
        }))
    }
}

/// Other messages are handled while the record is on its way to the disk.
impl Handler<DeletePart> for SessionActor {
    type Result = ResponseActFuture<Self, Result<()>>;

    fn handle(&mut self, message: DeletePart, _context: &mut Self::Context) -> Self::Result {
        let part = message.part;
        let recording = match self.queue_deletion(part, &message.caller) {
            Ok(Some(recording)) => recording,
            Ok(None) => return Box::pin(fut::ready(Ok(()))),
            Err(error) => return refused(error),
        };
        let sequence = self.begin_change();
        let recording = recording.instrument(message.span).into_actor(self);
        Box::pin(recording.map(move |written, actor, context| {
            let outcome = actor.deletion_recorded(written, sequence, part, context);
            actor.end_change(context);
            outcome
        }))
    }
}

impl Handler<Inspect> for SessionActor {
    type Result = Result<Box<Session>>;

    fn handle(&mut self, message: Inspect, _context: &mut Self::Context) -> Self::Result {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        message.caller.check_see(session)?;
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

/// Other messages are handled while the record is on its way to the disk; they find the session ended.
impl Handler<Abort> for SessionActor {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, message: Abort, context: &mut Self::Context) -> Self::Result {
        match self.begin_abort(&message.caller) {
            Ok(AbortStart::Answered) => return std::future::ready(Ok(())).boxed(),
            Err(error) => return std::future::ready(Err(error)).boxed(),
            Ok(AbortStart::Join) => {}
            Ok(AbortStart::Run) => self.waiting_abort = Some(message.span),
        }
        let (sender, outcome) = oneshot::channel();
        self.abort_listeners.push(sender);
        self.start_waiting_abort(context);
        Box::pin(async move {
            let ended = |_| Error::internal("the session's actor ended during an abort");
            outcome.await.map_err(ended)?
        })
    }
}

/// What `begin_abort` found.
enum AbortStart {
    /// The session has ended now, in memory: record it.
    Run,
    /// That is being recorded: wait for its outcome.
    Join,
    /// It was recorded before.
    Answered,
}

fn refused(error: Error) -> ResponseActFuture<SessionActor, Result<()>> {
    Box::pin(fut::ready(Err(error)))
}

impl SessionActor {
    /// Queues a part's record, with the session's renewal where that is configured.
    fn queue_part(
        &mut self,
        record: &PartRecord,
        files: &StagedFiles,
    ) -> Result<impl Future<Output = std::result::Result<(), WriteError>> + use<>> {
        let now = self.surroundings.clock.now();
        let config = &self.surroundings.sessions;
        let renewed = config.renew_on_activity.then(|| now + config.ttl);
        let columns_max = config.columns_max;
        let session = self.session()?;
        session.check_parts_may_change(now)?;
        session.check_columns(record, columns_max)?;
        let mut write = records::stage_part(session, record)?;
        write.packs.extend(files.pack().cloned());
        let expires_at = session.expires_at;
        if let Some(renewed) = renewed {
            session.expires_at = renewed;
            let value = records::session_value(session);
            session.expires_at = expires_at;
            write.puts.push((keys::session(&session.id), value?));
        }
        let recording = self.surroundings.journal.write(write)?;
        // Only what is queued counts: the next write expects the record to say this.
        self.session()?.expires_at = renewed.unwrap_or(expires_at);
        Ok(recording)
    }

    /// Queues a deletion; `None` when the part was deleted before.
    fn queue_deletion(
        &mut self,
        part: PartNumber,
        caller: &Caller,
    ) -> Result<Option<impl Future<Output = std::result::Result<(), WriteError>> + use<>>> {
        let now = self.surroundings.clock.now();
        let session = self.session()?;
        caller.check_use(session)?;
        let write = match session.check_delete(part, now)? {
            Deletion::Present => records::delete_part(session, part)?,
            Deletion::Repeated => return Ok(None),
        };
        Ok(Some(self.surroundings.journal.write(write)?))
    }

    fn begin_change(&mut self) -> u64 {
        self.changes_under_way += 1;
        self.last_sequence += 1;
        self.last_sequence
    }

    fn end_change(&mut self, context: &mut Context<Self>) {
        self.changes_under_way -= 1;
        self.start_waiting_commit(context);
        self.start_waiting_abort(context);
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
        context: &mut Context<Self>,
    ) -> Result<()> {
        if let Err(error) = written {
            return Err(self.not_written(error, context));
        }
        let (part, generation) = (record.part, record.generation);
        if !self.is_latest(part, sequence) {
            self.remove_files(&record);
            return Err(part_superseded(part));
        }
        let staged_bytes = record.staged_bytes();
        let replaced = self.session()?.put_part(record);
        // A message that was sent again after a panic finds its own record.
        if replaced
            .as_ref()
            .is_some_and(|replaced| replaced.generation == generation)
        {
            return Ok(());
        }
        self.staged(staged_bytes);
        if let Some(replaced) = replaced {
            self.unstaged(replaced.staged_bytes());
            self.remove_files(&replaced);
        }
        Ok(())
    }

    fn deletion_recorded(
        &mut self,
        written: std::result::Result<(), WriteError>,
        sequence: u64,
        part: PartNumber,
        context: &mut Context<Self>,
    ) -> Result<()> {
        if let Err(error) = written {
            return Err(self.not_written(error, context));
        }
        if self.is_latest(part, sequence)
            && let Some(removed) = self.session()?.delete_part(part)
        {
            self.unstaged(removed.staged_bytes());
            self.remove_files(&removed);
        }
        Ok(())
    }

    /// The refusal of a change that is not in the journal. When the session's record is not as this actor
    /// knows it, the session was changed behind its back: the next request loads it anew. The files of a part stay for a sweep,
    /// because its record may be there all the same: queued by an actor that ended before it could tell.
    fn not_written(&mut self, error: WriteError, context: &mut Context<Self>) -> Error {
        let WriteError::Unexpected { found, .. } = &error else {
            return error.into();
        };
        self.live.forget(&self.id, &context.address());
        context.stop();
        match found.as_deref().map(records::receipt_in) {
            Some(Ok(Some(receipt))) => already_committed(&receipt),
            _ => error.into(),
        }
    }

    fn begin_commit(&mut self, message: Commit) -> Result<(CommitRequest, CommitStart)> {
        let now = self.surroundings.clock.now();
        let overwrite_needs = self.surroundings.overwrite_needs;
        let session = self.session()?;
        message.caller.check_use(session)?;
        session.check_not_expired(now)?;
        let request = session.resolve_commit(message.asked)?;
        let resolution = request.conflict_resolution;
        let caller = message.caller;
        caller.check_commit(&request.target, resolution, overwrite_needs)?;
        let start = session.begin_commit(&request, now)?;
        Ok((request, start))
    }

    /// Ends the session in memory, unless that was done before.
    fn begin_abort(&mut self, caller: &Caller) -> Result<AbortStart> {
        let now = self.surroundings.clock.now();
        let is_under_way = !self.abort_listeners.is_empty();
        let session = self.session()?;
        caller.check_see(session)?;
        if session.state == SessionState::Expired {
            return Ok(match is_under_way {
                true => AbortStart::Join,
                false => AbortStart::Answered,
            });
        }
        session.check_open(now)?;
        session.state = SessionState::Expired;
        Ok(AbortStart::Run)
    }

    /// Records the end of an aborted session, once no change is under way.
    fn start_waiting_abort(&mut self, context: &mut Context<Self>) {
        if self.changes_under_way > 0 {
            return;
        }
        let Some(span) = self.waiting_abort.take() else {
            return;
        };
        let Ok(session) = self.session() else {
            return;
        };
        let mut before = session.clone();
        before.state = SessionState::Open;
        let journal = self.surroundings.journal.clone();
        let recording = async move {
            let write = blocking({
                let journal = journal.clone();
                move || records::expire_session(&journal, &before)
            });
            journal.write(write.await?)?.await?;
            Ok(())
        };
        self.changes_under_way += 1;
        context.spawn(recording.instrument(span).into_actor(self).map(
            move |outcome: Result<()>, actor, _context| {
                actor.changes_under_way -= 1;
                match &outcome {
                    Ok(()) => actor.remove_staging(),
                    Err(_) => {
                        if let Ok(session) = actor.session() {
                            session.state = SessionState::Open;
                        }
                    }
                }
                for listener in actor.abort_listeners.drain(..) {
                    // A client that went away repeats its request.
                    let _ = listener.send(outcome.clone());
                }
            },
        ));
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
