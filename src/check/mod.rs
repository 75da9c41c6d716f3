//! `calve check`: compares the journal's records with the staging folder, the tables' metadata, manifests and data files, and
//! says what is damaged, what is left over, and what the next sweep will do.
//!
//! * [`kinds`] lists everything that can be found; [`report`] renders it. Both are pure.
//! * `records` reads the journal, `staging`, `tables`, `snapshots` and `receipts` compare; `files` looks at the disk.
//! * [`repair`] mends what is safe to mend.
//!
//! **Where records come from.** A running server lists them on its control socket; the check then changes nothing. Without a
//! server the journal is opened (which locks the folder, so that no server can start meanwhile). A folder without a
//! journal is refused; the check never makes one.
//!
//! **Under a running server** records and files change while they are compared. So everything is looked at twice, and only what
//! both looks saw, with the same names and numbers, is a finding. Files that changed within `cleaning.grace` may belong to an
//! upload or a commit that is running, so nothing is said of them; nor of counters, attempts and hints that are due.
//!
//! **What it proves.** A staged file is compared with the SHA-256 that was acknowledged. Of a data file the size, and the rows
//! in its footer, are compared with its manifest; `--deep` decodes every page as well. The Parquet files carry no
//! checksums, so a changed byte that still decodes is not seen.
//!
//! **What a repair may do.** Remove unreferenced files below the staging folder and the tables' folders; write version hints;
//! correct counters; remove records that belong to nothing. Nothing of a table or session that has damage, and no file at all when the
//! journal seems to be older than the tables. What a crash leaves of a repair is found by the next check.

mod files;
pub mod kinds;
mod receipts;
mod records;
pub mod repair;
pub mod report;
mod snapshots;
mod staging;
mod tables;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::runtime::Runtime;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::control::{self, Entries};
use crate::error::Error;
use crate::store::journal::Journal;
use crate::store::layout::Layout;
use crate::table::LocalStorage;
use crate::telemetry::Metrics;
use report::{Finding, Kind, Looked, Mode, Report, Severity, Subject};

/// What to check, and how.
#[derive(Debug, Clone)]
pub struct Check {
    /// Says where the data folder is, and what the sweep would do.
    pub config: Config,
    /// The time.
    pub clock: SharedClock,
    /// Decode every page of every data file.
    pub is_deep: bool,
    /// Mend what is safe to mend.
    pub repairs: bool,
}

/// What all parts of a check need.
struct Context {
    layout: Layout,
    storage: LocalStorage,
    runtime: Runtime,
    now: DateTime<Utc>,
    grace: TimeDelta,
    retention: TimeDelta,
    mode: Mode,
    is_deep: bool,
}

impl Context {
    fn new(check: &Check, layout: &Layout, mode: Mode) -> Result<Self, String> {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            layout: layout.clone(),
            storage: LocalStorage::new(layout.clone()),
            runtime,
            now: check.clock.now(),
            grace: delta(check.config.cleaning.grace),
            retention: delta(check.config.cleaning.retention),
            mode,
            is_deep: check.is_deep,
        })
    }

    /// A path as reports show it.
    fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(self.layout.root()).unwrap_or(path);
        relative.display().to_string()
    }

    /// Whether something that happened then is so long ago that nothing still depends on it.
    fn is_settled(&self, then: DateTime<Utc>) -> bool {
        self.now - then >= self.grace
    }
}

impl Check {
    /// Checks, repairs if asked to, and reports. A failure is one of the check, not a finding. Blocks.
    pub fn run(&self) -> Result<Report, String> {
        let layout = Layout::new(self.data_dir()?);
        match control::fetch(&layout)? {
            Some(entries) => self.run_beside_server(&layout, &entries),
            None => self.run_offline(&layout),
        }
    }

    fn data_dir(&self) -> Result<PathBuf, String> {
        let data_dir = &self.config.storage.data_dir;
        data_dir.canonicalize().map_err(|error| {
            format!(
                "cannot use `{}` as the data folder: {error}. Give the folder that `calve serve` uses (--data-dir)",
                data_dir.display()
            )
        })
    }

    fn run_beside_server(&self, layout: &Layout, entries: &Entries) -> Result<Report, String> {
        if self.repairs {
            return Err("a server is running on this data folder, so nothing can be repaired. Stop the server first, then run the same command again".to_owned());
        }
        let (_, first) = examine(&Context::new(self, layout, Mode::Running)?, entries)?;
        let entries = control::fetch(layout)?
            .ok_or("the server ended while its folder was checked. Run the check again")?;
        let context = Context::new(self, layout, Mode::Running)?;
        let (looked, mut findings) = examine(&context, &entries)?;
        let first: HashSet<Finding> = first.into_iter().collect();
        findings.retain(|finding| first.contains(finding));
        Ok(self.report(layout, Mode::Running, looked, findings))
    }

    fn report(
        &self,
        layout: &Layout,
        mode: Mode,
        looked: Looked,
        findings: Vec<Finding>,
    ) -> Report {
        Report {
            data_dir: layout.root().display().to_string(),
            mode,
            is_deep: self.is_deep,
            looked,
            findings,
            repairs: Vec::new(),
        }
    }

    fn run_offline(&self, layout: &Layout) -> Result<Report, String> {
        let (journal, writer) = Journal::open_existing(layout, Arc::new(Metrics::new()))
            .map_err(|error| error.to_string())?;
        let report = self.report_offline(layout, &journal);
        drop(journal);
        writer.join();
        report
    }

    fn report_offline(&self, layout: &Layout, journal: &Journal) -> Result<Report, String> {
        let context = Context::new(self, layout, Mode::Offline)?;
        let entries = journal
            .scan(b"")
            .and_then(Iterator::collect)
            .map_err(|error| cause(&error))?;
        let (looked, mut findings) = examine(&context, &entries)?;
        let repairs = if self.repairs {
            repair::apply(&context, journal, &mut findings)
        } else {
            Vec::new()
        };
        let report = self.report(layout, Mode::Offline, looked, findings);
        Ok(Report { repairs, ..report })
    }
}

/// One look at everything.
fn examine(context: &Context, entries: &Entries) -> Result<(Looked, Vec<Finding>), String> {
    let (mut looked, mut findings) = (Looked::default(), Vec::new());
    let records = records::read(context, entries, &mut findings);
    staging::check(context, &records, &mut looked, &mut findings)?;
    let tables = tables::check(context, &records, &mut looked, &mut findings)?;
    receipts::check(&records, &tables, &mut findings);
    spare_the_damaged(&mut findings);
    Ok((looked, findings))
}

/// Takes back the repairs of tables and sessions that have damage: whoever mends those by hand finds everything as it is. What
/// is lost may be in a file that nothing refers to.
fn spare_the_damaged(findings: &mut [Finding]) {
    let is_damage = |finding: &&Finding| {
        // A hint is mended from the journal alone.
        finding.kind.severity() == Severity::Damage && finding.kind != Kind::VersionHintWrong
    };
    let damaged: Vec<Subject> = findings
        .iter()
        .filter(is_damage)
        .map(|finding| finding.subject.clone())
        .collect();
    let tables: HashSet<_> = damaged
        .iter()
        .filter_map(|one| one.table.as_ref())
        .collect();
    let sessions: HashSet<_> = damaged
        .iter()
        .filter_map(|one| one.session.as_ref())
        .collect();
    for finding in findings {
        let Subject { table, session, .. } = &finding.subject;
        let is_spared = table.as_ref().is_some_and(|table| tables.contains(table))
            || session.as_ref().is_some_and(|id| sessions.contains(id));
        if is_spared && finding.repair.take().is_some() {
            let reason = "; --repair leaves it, because of the damage to its table or session";
            finding.detail.push_str(reason);
        }
    }
}

/// What really happened; the rest of an error is for clients.
fn cause(error: &Error) -> String {
    error.cause.clone().unwrap_or_else(|| error.detail.clone())
}
