//! The undisturbed run: which points the server passes, and which of them a fault is tried at.

use std::fs;
use std::path::Path;

use crate::scenario::{Commit, Restart, SCENARIO, World};
use crate::support::{PATIENCE, is_long, wait_until};
use crate::{WAYS, assert_end};

/// The undisturbed run: every point in order, and which of them lie in which operation.
pub(crate) struct Record {
    pub(crate) points: Vec<String>,
    /// Number of points passed before each operation, and at the end.
    pub(crate) begins: Vec<usize>,
    /// Number of points passed when the server was started again; the new process counts its own.
    pub(crate) restart: usize,
    pub(crate) files: [usize; 2],
}

pub(crate) fn points_in(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn record() -> Record {
    let mut world = World::new();
    let log = world.server.scratch("points");
    world.server.set_variable("FAULT_LOG", log.to_str());
    world.server.restart();
    let (mut begins, mut restart) = (Vec::new(), 0);
    for &operation in SCENARIO {
        begins.push(points_in(&log).len());
        if operation == Restart {
            world.server.terminate();
            restart = points_in(&log).len();
            world.server.restart();
            await_first_sweep(&log, restart);
            continue;
        }
        let answer = world.attempt(operation).expect("an answer");
        assert!(answer.status < 300, "{operation:?}: {answer:?}");
        world.note(operation, &answer);
    }
    begins.push(points_in(&log).len());
    assert_end(&mut world);
    Record {
        points: points_in(&log)[..begins[SCENARIO.len()]].to_vec(),
        begins,
        restart,
        files: world.files(),
    }
}

/// Waits until the sweep has removed what is due, and recorded that.
pub(crate) fn await_first_sweep(log: &Path, restart: usize) {
    wait_until("the first sweep is over", PATIENCE, || {
        let points = points_in(log);
        let removes = |point: &String| point == "After Remove ManifestList";
        let last_removal = points[restart..].iter().rposition(removes)?;
        let is_recorded = |point: &String| point == "After SyncFolder Journal";
        let since = &points[restart + last_removal..];
        since.iter().any(is_recorded).then_some(())
    });
}

impl Record {
    /// What arms the fault at a point in the process that passes it: the first, or the one started by the scenario.
    pub(crate) fn fault(&self, index: usize, way: &str) -> [Option<String>; 2] {
        match index.checked_sub(self.restart) {
            None => [Some(format!("{index}:{way}")), None],
            Some(after) => [None, Some(format!("{after}:{way}"))],
        }
    }

    /// The operation that a point lies in; `None` is the start.
    pub(crate) fn operation_at(&self, index: usize) -> Option<usize> {
        self.begins.iter().rposition(|begin| *begin <= index)
    }

    /// The point at which an operation is in the journal: the first group's flush, or for a commit, whose first
    /// group is its intent, the second's.
    pub(crate) fn decisive(&self, number: usize) -> usize {
        let nth = usize::from(matches!(SCENARIO[number], Commit(..)));
        let range = self.begins[number]..self.begins[number + 1];
        range
            .filter(|index| self.points[*index] == "After Flush Journal")
            .nth(nth)
            .expect("every operation is journaled")
    }

    /// Whether the disk's failure at a point must be told to the client: until an operation is synced in the journal,
    /// nothing may be acknowledged. (After it there may be more, as a commit's version hint.)
    pub(crate) fn must_refuse(&self, number: usize, index: usize) -> bool {
        if SCENARIO[number] == Restart {
            return false;
        }
        // What follows the flush: two points each for the log's and the folder's sync.
        const POINTS_OF_SYNCS: usize = 4;
        (self.begins[number]..=self.decisive(number) + POINTS_OF_SYNCS).contains(&index)
    }

    /// Points to fail, and ways to do so.
    pub(crate) fn cases(&self) -> Vec<(usize, &'static str)> {
        let is_taken = |index: usize| {
            let point = &self.points[index];
            is_long()
                || !self.points[..index].contains(point)
                || !self.points[index + 1..].contains(point)
        };
        let taken: Vec<usize> = (0..self.points.len())
            .filter(|index| is_taken(*index))
            .collect();
        WAYS.iter()
            .flat_map(|way| taken.iter().map(move |index| (*index, *way)))
            .collect()
    }
}
