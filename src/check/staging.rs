//! Compares part records with the staging folder, in both directions, and says which sessions the sweep will end or forget.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Context;
use super::files::{self, Found};
use super::records::Records;
use super::repair::Repair;
use super::report::{Finding, Kind, Looked, Mode};
use crate::domain::cleaning::{Verdict, ended_at, verdict};
use crate::domain::{PartRecord, Session, SessionId, SessionState};
use crate::ingest::part_bytes::PartBytes;
use crate::store::packs;

/// Checks every session and the whole staging folder.
pub(super) fn check(
    context: &Context,
    records: &Records,
    looked: &mut Looked,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    for session in records.sessions.values() {
        looked.sessions += 1;
        if session.state == SessionState::Open {
            looked.open_sessions += 1;
            for record in session.records() {
                looked.parts += 1;
                check_part(context, &session.id, record, looked, findings);
            }
        }
        findings.extend(due(context, session));
    }
    check_folder(context, records, findings)?;
    check_packs(context, records, findings)
}

/// What the sweep will do with a session.
fn due(context: &Context, session: &Session) -> Option<Finding> {
    let seconds = |time: chrono::DateTime<chrono::Utc>| {
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let bytes = session.records().map(PartRecord::staged_bytes);
    match verdict(session, context.now, context.retention) {
        Verdict::Keep => None,
        Verdict::Expire => {
            let (parts, end) = (session.parts.len(), seconds(session.expires_at));
            let detail = format!("its time was over at {end}; staged parts: {parts}");
            let finding = Finding::new(Kind::SessionToEnd, detail).session(&session.id);
            Some(finding.bytes(bytes.sum()))
        }
        Verdict::Forget => {
            let end = ended_at(session).map_or_else(String::new, seconds);
            let detail = format!("it ended at {end}");
            Some(Finding::new(Kind::SessionToForget, detail).session(&session.id))
        }
    }
}

/// Compares a part's two files with its record.
fn check_part(
    context: &Context,
    session: &SessionId,
    record: &PartRecord,
    looked: &mut Looked,
    findings: &mut Vec<Finding>,
) {
    let layout = &context.layout;
    let (raw, data) = match record.packed {
        None => (
            layout.part_file(session, record),
            layout.part_data_file(session, record),
        ),
        Some(place) => {
            let pack = packs::path(&layout.packs_folder(), place.pack);
            (pack.clone(), pack)
        }
    };
    let mut report = |path: &Path, fault: Option<(Kind, String)>| {
        findings.extend(fault.map(|(kind, detail)| {
            let finding = Finding::new(kind, detail)
                .session(session)
                .part(record.part);
            finding.path(context.relative(path))
        }));
    };
    let fault = staged_fault(&raw, &layout.part_bytes(session, record), record);
    // What is wrong with a file that is both is said once.
    let is_told = fault.is_some() && record.is_own_data_file();
    report(&raw, fault);
    looked.staged_bytes += record.staged_bytes();
    if let Some(data_file) = record.data_file.as_ref().filter(|_| !is_told) {
        report(
            &data,
            early_fault(context, &data, data_file.file_bytes, record.rows),
        );
    }
}

fn staged_fault(path: &Path, bytes: &PartBytes, record: &PartRecord) -> Option<(Kind, String)> {
    match files::size(path) {
        Ok(None) => return Some((Kind::StagedFileMissing, "it is not there".to_owned())),
        Ok(Some(found)) if let Some(place) = record.packed => {
            let end = place.offset.saturating_add(record.wire_bytes);
            if found < end {
                let detail = format!("it has {found} bytes, the part ends at {end}");
                return Some((Kind::StagedFileSize, detail));
            }
        }
        Ok(Some(bytes)) if bytes != record.file_bytes() => {
            let detail = format!(
                "it has {bytes} bytes, acknowledged were {}",
                record.file_bytes()
            );
            return Some((Kind::StagedFileSize, detail));
        }
        Ok(Some(_)) | Err(_) => {}
    }
    match files::sha256(bytes, record.wire_bytes) {
        Ok(sha256) if sha256 == record.sha256 => None,
        Ok(sha256) => {
            let detail = format!(
                "its SHA-256 is {sha256}, acknowledged was {}",
                record.sha256
            );
            Some((Kind::StagedFileChecksum, detail))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some((Kind::StagedFileMissing, "it is not there".to_owned()))
        }
        Err(error) => Some((
            Kind::StagedFileChecksum,
            format!("it cannot be read: {error}"),
        )),
    }
}

fn early_fault(
    context: &Context,
    path: &Path,
    file_bytes: u64,
    rows: u64,
) -> Option<(Kind, String)> {
    match files::size(path) {
        Ok(None) => return Some((Kind::EarlyFileMissing, "it is not there".to_owned())),
        Ok(Some(bytes)) if bytes != file_bytes => {
            let detail = format!("it has {bytes} bytes, its record says {file_bytes}");
            return Some((Kind::EarlyFileSize, detail));
        }
        Ok(Some(_)) | Err(_) => {}
    }
    match files::parquet_rows(path, context.is_deep) {
        Ok(found) if found == rows => None,
        Ok(found) => {
            let detail = format!("it has {found} rows, its part {rows}");
            Some((Kind::EarlyFileRows, detail))
        }
        Err(reason) => Some((Kind::EarlyFileUnreadable, reason)),
    }
}

/// Looks for staged files that no record refers to.
fn check_folder(
    context: &Context,
    records: &Records,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let staging = context.layout.staging_folder();
    for file in files::files_in(&staging)? {
        push_foreign(context, &file, findings);
    }
    for folder in files::folders_in(&staging)? {
        let name = folder.file_name().and_then(|name| name.to_str());
        let id = name.and_then(SessionId::parse);
        // What a record that cannot be read refers to is not known.
        if id
            .as_ref()
            .is_some_and(|id| records.opaque_sessions.contains(id))
        {
            continue;
        }
        let session = id.and_then(|id| records.sessions.get(&id));
        let referenced = referenced_files(context, session);
        for file in files::files_below(&folder)? {
            if referenced.contains(&file.path) {
                continue;
            }
            if file.path.parent() == Some(folder.as_path()) && file.is_plain {
                findings.extend(unreferenced(context, session, &file));
            } else {
                push_foreign(context, &file, findings);
            }
        }
    }
    Ok(())
}

/// Looks for packs that no record refers to.
fn check_packs(
    context: &Context,
    records: &Records,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let open = records.sessions.values();
    let open = open.filter(|session| session.state == SessionState::Open);
    let places = open.flat_map(|session| session.records().filter_map(|record| record.packed));
    let referenced: HashSet<u64> = places.map(|place| place.pack).collect();
    for file in files::files_below(&context.layout.packs_folder())? {
        match packs::number_of(&file.path) {
            Some(number) if referenced.contains(&number) => {}
            // What a record that cannot be read refers to is not known.
            Some(_) if !records.opaque_sessions.is_empty() => {}
            Some(_) if file.is_plain => findings.extend(unreferenced(context, None, &file)),
            Some(_) | None => push_foreign(context, &file, findings),
        }
    }
    Ok(())
}

fn referenced_files(context: &Context, session: Option<&Session>) -> HashSet<PathBuf> {
    session
        .filter(|session| session.state == SessionState::Open)
        .into_iter()
        .flat_map(|session| {
            let files = |record| context.layout.part_files(&session.id, record);
            session.records().flat_map(files)
        })
        .collect()
}

fn unreferenced(context: &Context, session: Option<&Session>, file: &Found) -> Option<Finding> {
    // Under a running server the file may be one of an upload, or about to be removed after a commit.
    let ended_at = session.and_then(ended_at);
    let is_settled = context.is_settled(file.changed_at)
        && ended_at.is_none_or(|ended_at| context.is_settled(ended_at));
    if context.mode == Mode::Running && !is_settled {
        return None;
    }
    let reason = match session.map(|session| &session.state) {
        None if file.path.starts_with(context.layout.packs_folder()) => {
            "no part that is staged is in it"
        }
        None => "there is no such session",
        Some(SessionState::Open | SessionState::Committing { .. }) => {
            "it is of an upload that was not finished, or of a part that was replaced or deleted"
        }
        Some(SessionState::Committed { .. }) => "its session was committed",
        Some(SessionState::Expired) => "its session has expired",
    };
    let finding = Finding::new(Kind::StagedFileUnreferenced, reason)
        .path(context.relative(&file.path))
        .bytes(file.bytes)
        .repair(Repair::RemoveFile(file.path.clone()));
    Some(match session {
        Some(session) => finding.session(&session.id),
        None => finding,
    })
}

/// A file where Calve puts none.
pub(super) fn push_foreign(context: &Context, file: &Found, findings: &mut Vec<Finding>) {
    let foreign = Finding::new(Kind::ForeignFile, "it is not one of Calve's");
    findings.push(foreign.path(context.relative(&file.path)).bytes(file.bytes));
}
