//! Compares what commits were acknowledged with the snapshots that are in the tables, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use super::records::Records;
use super::report::{Finding, Kind};
use super::tables::Tables;
use crate::domain::{CommitReceipt, SessionId, SessionState, Target};

/// Checks every committed session, and every session that a snapshot names.
pub(super) fn check(records: &Records, tables: &Tables, findings: &mut Vec<Finding>) {
    for session in records.sessions.values() {
        if let SessionState::Committed { receipt, .. } = &session.state {
            let fault = receipt_fault(records, tables, &session.id, receipt);
            findings.extend(fault.map(|(kind, detail)| {
                let finding = Finding::new(kind, detail).session(&session.id);
                finding.table(&receipt.table)
            }));
        }
    }
    for (name, snapshots) in snapshots_by_session(tables) {
        check_session(records, name, &snapshots, findings);
    }
}

fn receipt_fault(
    records: &Records,
    tables: &Tables,
    session: &SessionId,
    receipt: &CommitReceipt,
) -> Option<(Kind, String)> {
    let id = receipt.snapshot_id;
    if !records.tables.contains_key(&receipt.table)
        && !records.opaque_tables.contains(&receipt.table)
    {
        let detail = format!("snapshot {id}: the journal has no such table");
        return Some((Kind::ReceiptSnapshotMissing, detail));
    }
    // A table that cannot be read is a finding of its own.
    let table = tables.get(&receipt.table)?;
    let Some(snapshot) = table.snapshots.get(&id) else {
        // Old snapshots expire.
        let is_missing = !table.is_history_expired;
        return is_missing.then(|| (Kind::ReceiptSnapshotMissing, format!("snapshot {id}")));
    };
    if snapshot.session.as_deref() != Some(session.as_str()) {
        let said = snapshot.session.as_deref().unwrap_or("none");
        let detail = format!("snapshot {id} names another session: {said}");
        return Some((Kind::ReceiptDiffers, detail));
    }
    if snapshot.added_rows != receipt.rows_written {
        let (added, written) = (snapshot.added_rows, receipt.rows_written);
        let detail = format!("snapshot {id} added {added} rows, acknowledged were {written}");
        return Some((Kind::ReceiptDiffers, detail));
    }
    None
}

/// A session's snapshots, wherever they are.
type Snapshots<'a> = Vec<(&'a Target, i64)>;

fn snapshots_by_session(tables: &Tables) -> BTreeMap<&str, Snapshots<'_>> {
    let mut sessions: BTreeMap<&str, Snapshots> = BTreeMap::new();
    for (target, facts) in tables {
        for (id, snapshot) in &facts.snapshots {
            if let Some(session) = &snapshot.session {
                sessions.entry(session).or_default().push((target, *id));
            }
        }
    }
    sessions
}

fn check_session(
    records: &Records,
    name: &str,
    snapshots: &Snapshots,
    findings: &mut Vec<Finding>,
) {
    let Some(id) = SessionId::parse(name) else {
        return;
    };
    let named: Vec<String> = snapshots
        .iter()
        .map(|(target, snapshot)| format!("{snapshot} of {target}"))
        .collect();
    let is_open = records
        .sessions
        .get(&id)
        .is_some_and(|session| !matches!(session.state, SessionState::Committed { .. }));
    let targets: BTreeSet<&Target> = snapshots.iter().map(|(target, _)| *target).collect();
    for target in targets {
        let mut push = |kind| {
            let finding = Finding::new(kind, format!("snapshots: {}", named.join(", ")));
            findings.push(finding.session(&id).table(target));
        };
        if snapshots.len() > 1 {
            push(Kind::SessionDoubled);
        }
        if is_open {
            push(Kind::SnapshotOfOpenSession);
        }
    }
}
