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

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

mod check;
mod disk;
mod history;
mod parts;
mod recorded;
mod recorder;
mod workload;

use check::{Check, Tally};
use disk::{Image, Survival};
use history::History;
use recorded::{Cuts, Recorded};
use recorder::Operation;
use support::client::Target;
use support::is_long;
use support::random::Random;

/// sled's: the unit in which it moves its log.
const SEGMENT_BYTES: usize = 512 * 1024;

/// How many times as much the long version does.
fn effort() -> usize {
    if is_long() { 10 } else { 1 }
}

/// Of cuts everywhere in a first start, every image that differs from those before it.
#[test]
fn a_first_start_that_was_cut_is_finished_by_the_next() {
    let mut recorded = Recorded::start();
    recorded.server.terminate();
    let mut cuts = recorded.finish();
    let mut random = Random::new(1, 0);
    let mut planned = Vec::new();
    for position in cuts.ends_of_operations() {
        planned.extend([Survival::Nothing, Survival::Everything].map(|one| (position, one)));
        let mixtures = (0..20 * effort()).map(|_| Survival::Mixture(random.fork()));
        planned.extend(mixtures.map(|survival| (position, survival)));
    }
    let (mut seen, mut count) = (HashSet::new(), 0);
    let is_new = |image: &Image| {
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        seen.insert(hasher.finish())
    };
    cuts.cut_at(planned, is_new, |server, _| {
        let api = server.api();
        let session = api.open_session();
        api.put_csv(&session, 0, "a\n1\n");
        api.inspect(&session).expect(200);
        count += 1;
    });
    println!("started on {count} images");
    assert!(count >= 30, "a first start has more than {count} images");
}

/// Of every cut after an acknowledgement at which nothing survived that was not synced.
#[test]
fn what_was_acknowledged_was_synced() {
    let (mut cuts, history) = record(workload::run);
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
    let (mut cuts, history) = record(workload::run);
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

/// Of cuts while the journal's log goes over places where it was before: what it moved from there must have been synced.
#[test]
fn a_journal_that_moves_its_records_loses_none() {
    let (mut cuts, history) = record(workload::run_until_moved);
    let mut random = Random::new(3, 0);
    let moments = cuts.overwriting_syncs("db", SEGMENT_BYTES);
    assert!(!moments.is_empty(), "the journal never overwrote anything");
    let mut planned: Vec<(usize, Survival)> = (0..60 * effort())
        .map(|turn| {
            let position = moments[turn % moments.len()];
            (position, Survival::Mixture(random.fork()))
        })
        .collect();
    planned.sort_by_key(|(position, _)| *position);
    let read_every = planned.len() / (3 * effort());
    check_all(&mut cuts, &history, planned, read_every);
}

fn record(work: impl FnOnce(&mut Recorded) -> History) -> (Cuts, History) {
    let mut recorded = Recorded::start();
    let history = work(&mut recorded);
    (recorded.finish(), history)
}

/// Has every cut checked, and every so-many'th with other readers, too.
fn check_all(
    cuts: &mut Cuts,
    history: &History,
    planned: Vec<(usize, Survival)>,
    read_every: usize,
) {
    let tables = workload::TABLES.map(Target::new);
    let mut tally = Tally::default();
    cuts.cut_at(
        planned,
        |_| true,
        |server, position| {
            tally.cuts += 1;
            let check = Check {
                server,
                history,
                position,
                is_read: tally.cuts % read_every == 0,
            };
            check.run(&tables, &mut tally);
        },
    );
    println!("{tally:?}");
    let Tally {
        cuts,
        staged_parts,
        packed_parts,
        answers_repeated,
        sessions_committed,
        tables_continued,
        tables_read,
        sessions_read,
    } = tally;
    let staged = staged_parts.min(packed_parts);
    let counts = [cuts, staged, answers_repeated, sessions_committed];
    assert!(
        counts.into_iter().all(|count| count >= 50),
        "too little was checked: {counts:?}"
    );
    let counts = [tables_continued, tables_read, sessions_read];
    assert!(
        counts.into_iter().all(|count| count > 0),
        "too little was read: {counts:?}"
    );
}
