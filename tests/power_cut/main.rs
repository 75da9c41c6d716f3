//! Proves that a power cut loses nothing that was acknowledged, and leaves nothing that the next start cannot take.
//!
//! The real server runs with a recorder preloaded that writes down every change of its files and every sync, in order. From the
//! beginning of such a recording up to any point, `disk` makes the folders that a cut at that point may leave; the server is
//! started on them, at the same path, and asked for everything that had been acknowledged by then.
//!
//! `CALVE_TEST_LONG=1` cuts at many more points.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; modules here have no other users"
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod disk;
mod history;
mod parts;
mod recorded;
mod recorder;
mod workload;

use check::{Check, Tally};
use disk::Survival;
use recorded::{Cuts, Recorded};
use recorder::Operation;
use support::client::Target;
use support::is_long;
use support::random::Random;

/// How many times as much the long version does.
fn effort() -> usize {
    if is_long() { 10 } else { 1 }
}

#[test]
fn a_first_start_that_was_cut_is_finished_by_the_next() {
    let mut recorded = Recorded::start();
    recorded.server.terminate();
    let mut cuts = recorded.finish();
    let mut random = Random::new(1, 0);
    let mut planned = Vec::new();
    for position in cuts.ends_of_operations() {
        planned.extend([
            (position, Survival::Nothing),
            (position, Survival::Everything),
        ]);
        let mixtures = (0..effort()).map(|_| Survival::Mixture(random.fork()));
        planned.extend(mixtures.map(|survival| (position, survival)));
    }
    cuts.cut_at(planned, |server, _| {
        let api = server.api();
        let session = api.open_session();
        api.put_csv(&session, 0, "a\n1\n");
        api.inspect(&session).expect(200);
    });
}

/// Of every cut after an acknowledgement at which nothing survived that was not synced.
#[test]
fn what_was_acknowledged_was_synced() {
    let (mut cuts, history) = record();
    let events = history.events.iter().filter_map(|event| event.answered);
    let opened = history.sessions.iter().map(|session| session.answered);
    let mut positions: Vec<usize> = events.chain(opened).collect();
    positions.sort_unstable();
    let read_every = positions.len() / (4 * effort()).min(positions.len());
    let planned = positions
        .into_iter()
        .map(|position| (position, Survival::Nothing));
    check_all(&mut cuts, &history, planned.collect(), read_every);
}

/// Of cuts anywhere, at which anything may have survived.
#[test]
fn whatever_survives_is_recovered() {
    let (mut cuts, history) = record();
    let mut random = Random::new(2, 0);
    let operations = &cuts.recording.operations;
    let syncs: Vec<usize> = (1..operations.len())
        .filter(|index| matches!(operations[*index].1, Operation::SyncEnded(_)))
        .collect();
    let count = 100 * effort();
    let mut planned: Vec<(usize, Survival)> = (0..count)
        .map(|turn| {
            // Just before a sync ends everything that it covers is still uncertain.
            let index = match turn % 2 {
                0 => random.index(operations.len()),
                _ => syncs[random.index(syncs.len())] - 1,
            };
            let survival = match turn % 10 {
                0 => Survival::Everything,
                _ => Survival::Mixture(random.fork()),
            };
            (operations[index].0, survival)
        })
        .collect();
    planned.sort_by_key(|(position, _)| *position);
    check_all(&mut cuts, &history, planned, count / (4 * effort()));
}

fn record() -> (Cuts, history::History) {
    let mut recorded = Recorded::start();
    let history = workload::run(&mut recorded);
    (recorded.finish(), history)
}

/// Has every cut checked, and every so-many'th with other readers, too.
fn check_all(
    cuts: &mut Cuts,
    history: &history::History,
    planned: Vec<(usize, Survival)>,
    read_every: usize,
) {
    let tables = workload::TABLES.map(Target::new);
    let mut tally = Tally::default();
    cuts.cut_at(planned, |server, position| {
        tally.cuts += 1;
        let check = Check {
            server,
            history,
            position,
            is_read: tally.cuts % read_every == 0,
        };
        check.run(&tables, &mut tally);
    });
    println!("{tally:?}");
    let Tally {
        cuts,
        staged_parts,
        answers_repeated,
        sessions_committed,
        tables_continued,
        tables_read,
        sessions_read,
    } = tally;
    let counts = [cuts, staged_parts, answers_repeated, sessions_committed];
    assert!(
        counts.into_iter().all(|count| count >= 50),
        "too little was checked"
    );
    let counts = [tables_continued, tables_read, sessions_read];
    assert!(
        counts.into_iter().all(|count| count > 0),
        "too little was checked"
    );
}
