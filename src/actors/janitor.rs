//! Ends expired sessions, forgets ended ones, and removes what nothing refers to: staged files, and table files of commits
//! that a crash cut off.
//!
//! A sweep runs soon after the start and then every `cleaning.interval`, on a blocking thread, one at a time.
//!
//! **Which.** Only sessions that are not in memory are ended: in memory a commit may be running that began in time.
//! One that is not can only come back to find its time over, so nothing begins meanwhile.
//!
//! **Order.** The journal first, the files after: a session is ended in the journal (expecting its record as it was
//! read, so that a renewal in between wins) before its files go. A crash in between leaves files without a
//! reference, which later sweeps find.
//!
//! **Commits that were cut off.** An intent that is in the journal when the server starts belongs to an attempt that never
//! published and never will; its files carry its id. They go in the first sweep, the files before the intent.
//!
//! **Packs.** One that takes no more parts goes when no open session has a part in it. Where this run of the server counts
//! the parts of a pack it goes sooner, with its last part.
//!
//! **Tables.** Version hints that readers see already are made durable. What snapshots alone needed that expired `cleaning.grace`
//! ago is removed ([`crate::table::removal`]).
//!
//! **What is never removed**: what a record refers to; staged files that were written within `cleaning.grace`, or that only
//! one sweep has seen; table files without an intent that is known to be dead. What cannot be read is left alone.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::runtime::Handle;

use super::{Sessions, Surroundings};
use crate::config::CleaningConfig;
use crate::domain::cleaning::{Sightings, Verdict, verdict};
use crate::domain::{CommitIntent, PartRecord, Session, SessionId, SessionState};
use crate::error::Result;
use crate::quotas::usage::Used;
use crate::store::journal::{Write, WriteError};
use crate::store::{durable, keys, packs, records};
use crate::table::removal;

/// Sessions ended or forgotten in one sweep; the rest waits for the next.
const SESSIONS_PER_SWEEP_MAX: usize = 10_000;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Sessions ended because their time was over.
    pub expired_sessions: usize,
    /// Sessions forgotten.
    pub forgotten_sessions: usize,
    /// Commits that were cut off, of which nothing is left now.
    pub undone_commits: usize,
    /// Version hints made durable.
    pub settled_hints: usize,
    /// Files removed, in the staging folder and in tables' folders.
    pub removed_files: usize,
}

/// Whether a session has an actor.
pub type InMemory = Box<dyn Fn(&SessionId) -> bool + Send>;

/// Sweeps, and remembers what it has seen.
pub struct Sweeper {
    surroundings: Arc<Surroundings>,
    is_in_memory: InMemory,
    grace: TimeDelta,
    retention: TimeDelta,
    sightings: Sightings<PathBuf>,
    /// Commits that the last run of the server left unfinished.
    cut_off: Vec<CommitIntent>,
}

impl Sweeper {
    /// A sweeper that has seen nothing yet. `cut_off` was read before this run of the server began any commit.
    pub fn new(
        surroundings: Arc<Surroundings>,
        is_in_memory: InMemory,
        cut_off: Vec<CommitIntent>,
        config: &CleaningConfig,
    ) -> Self {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        Self {
            surroundings,
            is_in_memory,
            grace: delta(config.grace),
            retention: delta(config.retention),
            sightings: Sightings::default(),
            cut_off,
        }
    }

    /// One sweep. Blocks; must run on a thread of a tokio runtime's blocking pool.
    pub fn sweep(&mut self) -> Result<SweepReport> {
        let now = self.surroundings.clock.now();
        let mut report = SweepReport::default();
        self.undo_cut_off_commits(&mut report);
        self.tidy_tables(now, &mut report);
        for session in self.ended_sessions(now)? {
            let journal = &self.surroundings.journal;
            match verdict(&session, now, self.retention) {
                Verdict::Keep => {}
                Verdict::Expire => {
                    if self.record(records::expire_session(journal, &session)?)? {
                        report.expired_sessions += 1;
                        report.removed_files += self.remove_folder(&session.id);
                    }
                }
                Verdict::Forget => {
                    if self.record(records::forget_session(journal, &session)?)? {
                        report.forgotten_sessions += 1;
                    }
                }
            }
        }
        let staged_before = self.surroundings.staged.get();
        let (mut unreferenced, staged_bytes) = self.unreferenced_files(now)?;
        let (packs, pack_bytes) = self.unreferenced_packs(now)?;
        unreferenced.extend(packs);
        let staged = &self.surroundings.staged;
        staged.correct(staged_before, staged_bytes + pack_bytes);
        for path in self.sightings.see(unreferenced, now, self.grace) {
            tracing::info!(path = %path.display(), "removing a staged file that nothing refers to");
            match packs::number_of(&path) {
                Some(number) => self.surroundings.packs.remove(number),
                None => durable::remove_quietly(&path),
            }
            report.removed_files += 1;
        }
        self.remove_empty_folders();
        self.count_usage()?;
        let removed = report.removed_files as u64;
        self.surroundings.metrics.swept_files.inc_by(removed);
        Ok(report)
    }

    /// Removes the files of commits that were cut off, then their intents. What fails is left for the next sweep.
    fn undo_cut_off_commits(&mut self, report: &mut SweepReport) {
        for intent in std::mem::take(&mut self.cut_off) {
            match self.undo(&intent) {
                Ok(removed_files) => {
                    tracing::info!(
                        session_id = %intent.session, table = %intent.target, begun_at = %intent.begun_at, removed_files,
                        "undid a commit that was cut off before it published"
                    );
                    report.undone_commits += 1;
                    report.removed_files += removed_files;
                }
                Err(error) => {
                    tracing::warn!(table = %intent.target, attempt = %intent.attempt, %error, "cannot undo a commit that was cut off");
                    self.cut_off.push(intent);
                }
            }
        }
    }

    /// Gives the number of files removed.
    fn undo(&self, intent: &CommitIntent) -> Result<usize> {
        let commits = &self.surroundings.commits;
        let attempts = [intent.attempt];
        let removed_files = commits.storage.remove_attempts(&intent.target, &attempts)?;
        Handle::current().block_on(commits.catalog.abandon(&attempts))?;
        Ok(removed_files)
    }

    /// Makes version hints durable, and removes what tables' expired snapshots alone needed. What fails is left for the next
    /// sweep.
    fn tidy_tables(&self, now: DateTime<Utc>, report: &mut SweepReport) {
        let commits = &self.surroundings.commits;
        let (catalog, storage) = (commits.catalog.as_ref(), commits.storage.as_ref());
        match Handle::current().block_on(catalog.settle_hints()) {
            Ok(settled) => report.settled_hints += settled,
            Err(error) => tracing::warn!(%error, "version hints are due"),
        }
        match removal::remove_due(catalog, storage, now - self.grace) {
            Ok(removed) => report.removed_files += removed,
            Err(error) => tracing::warn!(%error, "files of expired snapshots stay for now"),
        }
    }

    /// Sessions that are to be ended or forgotten.
    fn ended_sessions(&self, now: DateTime<Utc>) -> Result<Vec<Session>> {
        let mut ended = Vec::new();
        for entry in self.surroundings.journal.scan(keys::SESSIONS)? {
            let (key, value) = entry?;
            let Some(id) = keys::session_id(&key) else {
                continue;
            };
            let session = records::session_in(&id, &value)?;
            let is_due = verdict(&session, now, self.retention) != Verdict::Keep;
            if is_due && !(self.is_in_memory)(&id) {
                ended.push(session);
            }
            if ended.len() >= SESSIONS_PER_SWEEP_MAX {
                break;
            }
        }
        Ok(ended)
    }

    /// Makes a write durable; `false` when the session has changed since it was read.
    fn record(&self, write: Write) -> Result<bool> {
        let written = self
            .surroundings
            .journal
            .write(write)
            .and_then(|queued| Handle::current().block_on(queued));
        match written {
            Ok(()) => Ok(true),
            Err(WriteError::Unexpected { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an ended session's staged files.
    fn remove_folder(&self, id: &SessionId) -> usize {
        let files = files_in(&self.surroundings.layout.session_folder(id));
        for path in &files {
            durable::remove_quietly(path);
        }
        files.len()
    }

    /// Staged files that no record refers to and that were not written lately; and the bytes of all staged files.
    fn unreferenced_files(&self, now: DateTime<Utc>) -> Result<(Vec<PathBuf>, u64)> {
        let layout = &self.surroundings.layout;
        let (mut unreferenced, mut staged_bytes) = (Vec::new(), 0);
        for folder in folders_in(&layout.staging_folder()) {
            let mut files = files_in(&folder);
            // One that is gone by now, or cannot be looked at, is left alone.
            files.retain(|path| {
                std::fs::metadata(path).is_ok_and(|metadata| {
                    staged_bytes += metadata.len();
                    is_older_than(&metadata, now, self.grace)
                })
            });
            if files.is_empty() {
                continue;
            }
            let name = folder.file_name().and_then(|name| name.to_str());
            let referenced = match name.and_then(SessionId::parse) {
                Some(id) => self.referenced_files(&id)?,
                None => HashSet::new(),
            };
            files.retain(|path| !referenced.contains(path));
            unreferenced.extend(files);
        }
        Ok((unreferenced, staged_bytes))
    }

    /// Packs that take no more parts, were not written lately, and have no part that a record refers to; and the bytes of
    /// all packs.
    fn unreferenced_packs(&self, now: DateTime<Utc>) -> Result<(Vec<PathBuf>, u64)> {
        let folder = self.surroundings.layout.packs_folder();
        let files = files_in(&folder);
        let metadata = files.iter().filter_map(|path| std::fs::metadata(path).ok());
        let bytes = metadata.map(|metadata| metadata.len()).sum();
        let mut candidates: HashSet<u64> = self.surroundings.packs.closed().into_iter().collect();
        candidates.retain(|number| {
            let metadata = std::fs::metadata(packs::path(&folder, *number));
            metadata.is_ok_and(|metadata| is_older_than(&metadata, now, self.grace))
        });
        records::without_parts(&self.surroundings.journal, &mut candidates)?;
        let paths = candidates.into_iter();
        Ok((
            paths.map(|number| packs::path(&folder, number)).collect(),
            bytes,
        ))
    }

    fn referenced_files(&self, id: &SessionId) -> Result<HashSet<PathBuf>> {
        let layout = &self.surroundings.layout;
        match records::load_session(&self.surroundings.journal, id)? {
            Some(session) if session.state == SessionState::Open => Ok(session
                .records()
                .flat_map(|record| layout.part_files(id, record))
                .collect()),
            Some(_) | None => Ok(HashSet::new()),
        }
    }

    /// Whether a session takes parts, as far as can be told.
    fn may_be_open(&self, id: &SessionId) -> bool {
        match self.surroundings.journal.get(&keys::session(id)) {
            Ok(None) => false,
            Ok(Some(value)) => records::session_in(id, &value)
                .map_or(true, |session| session.state == SessionState::Open),
            Err(_) => true,
        }
    }

    /// Sets right what users are known to use, where that is limited.
    fn count_usage(&self) -> Result<()> {
        let (usage, journal) = (&self.surroundings.usage, &self.surroundings.journal);
        if !usage.is_counted() {
            return Ok(());
        }
        let before = usage.known();
        let mut found: HashMap<String, Used> = HashMap::new();
        for entry in journal.scan(keys::SESSIONS)? {
            let (key, value) = entry?;
            let Some(id) = keys::session_id(&key) else {
                continue;
            };
            let session = records::session_in(&id, &value)?;
            let (SessionState::Open, Some(owner)) = (session.state, session.owner) else {
                continue;
            };
            // Its parts; it may have ended since it was read.
            if let Some(session) = records::load_session(journal, &id)? {
                let used = found.entry(owner).or_default();
                used.sessions += 1;
                let staged = session.records().map(PartRecord::staged_bytes);
                used.staged_bytes += staged.sum::<u64>();
            }
        }
        usage.correct(&before, found);
        Ok(())
    }

    /// Folders of sessions that have ended, when they are empty.
    fn remove_empty_folders(&self) {
        for folder in folders_in(&self.surroundings.layout.staging_folder()) {
            let name = folder.file_name().and_then(|name| name.to_str());
            let is_open = name
                .and_then(SessionId::parse)
                .is_some_and(|id| self.may_be_open(&id));
            if !is_open {
                // Fails when it is not empty, which is the point.
                let _ = std::fs::remove_dir(&folder);
            }
        }
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder, |kind| kind.is_dir())
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder, |kind| kind.is_file())
}

/// What is in a folder; nothing when it cannot be read, so that nothing is removed either.
fn entries(folder: &Path, wanted: impl Fn(&std::fs::FileType) -> bool) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    listing
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| wanted(&kind)))
        .map(|entry| entry.path())
        .collect()
}

fn is_older_than(metadata: &Metadata, now: DateTime<Utc>, age: TimeDelta) -> bool {
    let modified = metadata.modified();
    modified.is_ok_and(|modified| now - DateTime::<Utc>::from(modified) >= age)
}

/// The actor that sweeps from time to time.
pub struct Janitor {
    interval: Duration,
    /// Away while a sweep runs.
    sweeper: Option<Sweeper>,
}

impl Janitor {
    /// A janitor; started, it sweeps at once and then after every interval.
    pub fn new(
        surroundings: Arc<Surroundings>,
        sessions: Sessions,
        cut_off: Vec<CommitIntent>,
        config: &CleaningConfig,
    ) -> Self {
        let is_in_memory = Box::new(move |id: &SessionId| sessions.is_in_memory(id));
        Self {
            interval: config.interval,
            sweeper: Some(Sweeper::new(surroundings, is_in_memory, cut_off, config)),
        }
    }

    /// Starts a sweep, unless one is running.
    fn sweep(&mut self, context: &mut Context<Self>) {
        let Some(mut sweeper) = self.sweeper.take() else {
            return;
        };
        let sweeping = tokio::task::spawn_blocking(move || {
            let outcome = sweeper.sweep();
            (sweeper, outcome)
        });
        context.spawn(sweeping.into_actor(self).map(|swept, actor, context| {
            match swept {
                Ok((sweeper, outcome)) => {
                    actor.sweeper = Some(sweeper);
                    log(outcome);
                }
                Err(error) => {
                    tracing::error!(%error, "the sweep panicked; nothing is cleaned until a restart");
                    context.stop();
                }
            }
        }));
    }
}

fn log(outcome: Result<SweepReport>) {
    match outcome {
        Ok(report) if report == SweepReport::default() => tracing::debug!("nothing to sweep"),
        Ok(report) => tracing::info!(
            expired_sessions = report.expired_sessions,
            forgotten_sessions = report.forgotten_sessions,
            undone_commits = report.undone_commits,
            settled_hints = report.settled_hints,
            removed_files = report.removed_files,
            "swept"
        ),
        Err(error) => {
            tracing::warn!(%error, "the sweep was not finished; the next one tries again")
        }
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.sweep(context);
        context.run_interval(self.interval, Self::sweep);
    }
}

#[cfg(test)]
mod tests;
