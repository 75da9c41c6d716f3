//! Findings, and the reports made of them. Pure.

use std::fmt::{self, Write as _};

use bytesize::ByteSize;
use serde::Serialize;

pub use super::kinds::{Kind, Severity};
use super::repair::{Repair, Repaired};
use crate::domain::{PartNumber, SessionId, Target};

/// Findings of one kind that a text report lists; the JSON report lists all.
const LISTED_PER_KIND_MAX: usize = 20;

/// What a finding is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Subject {
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<u16>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The file, relative to the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.session.as_ref().map(|id| format!("session {id}")),
            self.part.map(|part| format!("part {part}")),
            self.table.as_ref().map(|table| format!("table {table}")),
            self.path.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        formatter.write_str(&parts.join(", "))
    }
}

/// One thing that was found. Two that are equal are the same thing, seen twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// What it is about.
    pub subject: Subject,
    /// The facts.
    pub detail: String,
    /// Bytes that it takes up, if that is of interest.
    pub bytes: u64,
    /// What mends it, where that is safe.
    pub repair: Option<Repair>,
}

impl Finding {
    /// A finding without a subject yet.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            subject: Subject::default(),
            detail: detail.into(),
            bytes: 0,
            repair: None,
        }
    }

    /// It is about this session.
    #[must_use]
    pub fn session(mut self, id: &SessionId) -> Self {
        self.subject.session = Some(id.clone());
        self
    }

    /// It is about this part.
    #[must_use]
    pub fn part(mut self, part: PartNumber) -> Self {
        self.subject.part = Some(part.0);
        self
    }

    /// It is about this table.
    #[must_use]
    pub fn table(mut self, target: &Target) -> Self {
        self.subject.table = Some(target.to_string());
        self
    }

    /// It is about this file.
    #[must_use]
    pub fn path(mut self, path: String) -> Self {
        self.subject.path = Some(path);
        self
    }

    /// It takes up so many bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// This mends it.
    #[must_use]
    pub fn repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Sessions in the journal.
    pub sessions: u64,
    /// Those of them that take parts.
    pub open_sessions: u64,
    /// Parts of open sessions.
    pub parts: u64,
    /// Bytes of their staged files.
    pub staged_bytes: u64,
    /// Tables.
    pub tables: u64,
    /// Their snapshots.
    pub snapshots: u64,
    /// Their data files.
    pub data_files: u64,
    /// Bytes of those.
    pub data_bytes: u64,
}

/// How the folder was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing else used it.
    Offline,
    /// A server was running on it.
    Running,
}

/// Everything about one check.
#[derive(Debug, Clone)]
pub struct Report {
    /// The data folder.
    pub data_dir: String,
    /// How it was checked.
    pub mode: Mode,
    /// Whether every page of every data file was decoded.
    pub is_deep: bool,
    /// What was looked at.
    pub looked: Looked,
    /// What was found, and is still there.
    pub findings: Vec<Finding>,
    /// What a repair did.
    pub repairs: Vec<Repaired>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    kind: Kind,
    severity: Severity,
    #[serde(flatten)]
    subject: &'a Subject,
    detail: &'a str,
    advice: &'a str,
    bytes: u64,
}

impl Report {
    /// The most serious severity that was found.
    fn worst(&self) -> Option<Severity> {
        self.findings
            .iter()
            .map(|finding| finding.kind.severity())
            .min()
    }

    fn number_of(&self, severity: Severity) -> usize {
        self.of(severity).count()
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.kind.severity() == severity)
    }

    /// The exit code that says what was found.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Some(Severity::Damage) => 3,
            Some(Severity::Leftover) => 2,
            Some(Severity::Due | Severity::Note) | None => 0,
        }
    }

    const fn verdict(code: u8) -> &'static str {
        match code {
            3 => "damage",
            2 => "leftovers",
            _ => "sound",
        }
    }

    /// One JSON object with everything.
    pub fn json(&self) -> serde_json::Value {
        let findings: Vec<JsonFinding> = self.sorted().map(JsonFinding::from).collect();
        let mut counts = serde_json::Map::new();
        for severity in Severity::ALL {
            counts.insert(severity.name().to_owned(), self.number_of(severity).into());
        }
        serde_json::json!({
            "data_dir": self.data_dir, "mode": self.mode, "deep": self.is_deep,
            "verdict": Self::verdict(self.exit_code()), "exit_code": self.exit_code(),
            "looked_at": self.looked, "counts": counts, "findings": findings, "repairs": self.repairs,
        })
    }

    fn sorted(&self) -> impl Iterator<Item = &Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings
            .sort_by(|a, b| (a.kind, &a.subject, &a.detail).cmp(&(b.kind, &b.subject, &b.detail)));
        findings.into_iter()
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = self.summary();
        for severity in Severity::ALL {
            self.push_severity(&mut text, severity);
        }
        if !self.repairs.is_empty() {
            text.push_str("\nREPAIR\n");
            for repaired in &self.repairs {
                push_line(&mut text, format_args!("  {repaired}"));
            }
        }
        push_line(&mut text, format_args!("\n{}", self.last_line()));
        text
    }

    fn summary(&self) -> String {
        let Looked {
            sessions,
            open_sessions,
            parts,
            staged_bytes,
            tables,
            snapshots,
            data_files,
            data_bytes,
        } = self.looked;
        let mode = match self.mode {
            Mode::Offline => "no server was running",
            Mode::Running => "a server was running; only what two looks saw is listed",
        };
        let depth = if self.is_deep {
            ", every page decoded"
        } else {
            ""
        };
        format!(
            "Checked {} ({mode}).\n  {}, {open_sessions} open with {} staged ({})\n  {}, {}, {} ({}{depth})\n",
            self.data_dir,
            number(sessions, "session"),
            number(parts, "part"),
            ByteSize(staged_bytes),
            number(tables, "table"),
            number(snapshots, "snapshot"),
            number(data_files, "data file"),
            ByteSize(data_bytes),
        )
    }

    fn push_severity(&self, text: &mut String, severity: Severity) {
        let count = self.number_of(severity);
        if count == 0 {
            return;
        }
        let bytes: u64 = self.of(severity).map(|finding| finding.bytes).sum();
        let title = match severity {
            Severity::Damage => {
                "DAMAGE: what was acknowledged or committed is missing, altered or unreadable"
            }
            Severity::Leftover => "LEFTOVERS: harmless",
            Severity::Due => "DUE: what the server does by itself",
            Severity::Note => "NOTES: nothing has to be done",
        };
        push_line(text, format_args!("\n{title} ({})", amount(count, bytes)));
        let findings: Vec<&Finding> = self
            .sorted()
            .filter(|finding| finding.kind.severity() == severity)
            .collect();
        for group in findings.chunk_by(|a, b| a.kind == b.kind) {
            push_kind(text, group);
        }
    }

    fn last_line(&self) -> String {
        let damage = number(self.number_of(Severity::Damage) as u64, "finding");
        let leftovers = number(self.number_of(Severity::Leftover) as u64, "leftover");
        match self.exit_code() {
            3 => format!("Verdict: damage ({damage}), {leftovers}."),
            2 => format!("Verdict: sound, with {leftovers}."),
            _ => "Verdict: sound.".to_owned(),
        }
    }
}

impl<'a> From<&'a Finding> for JsonFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            kind: finding.kind,
            severity: finding.kind.severity(),
            subject: &finding.subject,
            detail: &finding.detail,
            advice: finding.kind.advice(),
            bytes: finding.bytes,
        }
    }
}

/// Findings of one kind: what it means, then each of them.
fn push_kind(text: &mut String, findings: &[&Finding]) {
    let Some(first) = findings.first() else {
        return;
    };
    push_line(
        text,
        format_args!("  {}: {}", first.kind.name(), first.kind.advice()),
    );
    for finding in findings.iter().take(LISTED_PER_KIND_MAX) {
        let Finding {
            subject,
            detail,
            bytes,
            ..
        } = finding;
        let subject = match subject.to_string() {
            subject if subject.is_empty() => subject,
            subject => format!("{subject}: "),
        };
        let size = match bytes {
            0 => String::new(),
            bytes => format!(" ({})", ByteSize(*bytes)),
        };
        push_line(text, format_args!("    {subject}{detail}{size}"));
    }
    if let Some(more @ 1..) = findings.len().checked_sub(LISTED_PER_KIND_MAX) {
        push_line(
            text,
            format_args!("    and {more} more; --format json lists them all"),
        );
    }
}

fn push_line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

fn amount(count: usize, bytes: u64) -> String {
    match bytes {
        0 => count.to_string(),
        bytes => format!("{count}, {}", ByteSize(bytes)),
    }
}

/// A number of things, in English.
fn number(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests;
