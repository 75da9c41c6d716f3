//! Random sequences of operations.
//!
//! The data is of a kind that is loaded again and again: columns have a usual type, and sometimes no value, another
//! type, or a single value that does not fit.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::data::Cell;

/// One step. Sessions are counted from the youngest, targets are those of the case.
#[derive(Clone, Debug)]
pub enum Operation {
    Open {
        bound: Option<usize>,
    },
    Put {
        session: usize,
        part: u32,
        content: Content,
    },
    Delete {
        session: usize,
        part: u32,
    },
    Inspect {
        session: usize,
    },
    Commit {
        session: usize,
        target: Option<usize>,
        mode: &'static str,
    },
    /// Once more what the session was last committed with.
    Repeat {
        session: usize,
    },
    /// `kill -9`, a new start, and a look at every session.
    Restart,
}

/// What is sent as a part.
#[derive(Clone, Debug)]
pub enum Content {
    /// So many rows of these columns, and the column `id` before the others.
    Rows {
        rows: usize,
        columns: Vec<(&'static str, Vec<Cell>)>,
    },
    EmptyFile,
    Damaged(Damage),
}

/// Why a part must be refused.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    ExtraField,
    MissingField,
    OpenQuote,
    NoUtf8,
    WrongDigest,
}

/// Targets of a case.
pub const TARGETS: usize = 3;
/// Part numbers below this are used.
pub const PARTS: u32 = 3;
const ROWS_MAX: usize = 4;
const OPERATIONS_MAX: usize = 30;
/// Enough of them that most cases are as long as they may be.
const STEPS: std::ops::RangeInclusive<usize> = 6..=20;

/// A case: it opens a session first.
pub fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let steps = prop_oneof![
        1 => load().boxed(),
        2 => operation().prop_map(|one| vec![one]).boxed(),
    ];
    (open(), vec(steps, STEPS)).prop_map(|(first, others)| {
        let mut all = vec![first];
        all.extend(others.into_iter().flatten());
        all.truncate(OPERATIONS_MAX);
        all
    })
}

/// A session from its opening to its commit.
fn load() -> impl Strategy<Value = Vec<Operation>> {
    let change = prop_oneof![4 => put().boxed(), 1 => delete().boxed()];
    (open(), put(), vec(change, 0..=4), commit()).prop_map(|(open, put, changes, commit)| {
        let mut all = vec![open, put];
        all.extend(changes);
        all.push(commit);
        all
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => open(),
        8 => put(),
        2 => delete(),
        2 => session().prop_map(|session| Operation::Inspect { session }),
        4 => commit(),
        1 => session().prop_map(|session| Operation::Repeat { session }),
        1 => Just(Operation::Restart),
    ]
}

fn put() -> impl Strategy<Value = Operation> {
    (session(), 0..PARTS, content()).prop_map(|(session, part, content)| Operation::Put {
        session,
        part,
        content,
    })
}

fn delete() -> impl Strategy<Value = Operation> {
    (session(), 0..PARTS).prop_map(|(session, part)| Operation::Delete { session, part })
}

fn commit() -> impl Strategy<Value = Operation> {
    (session(), option::weighted(0.8, target()), mode()).prop_map(|(session, target, mode)| {
        Operation::Commit {
            session,
            target,
            mode,
        }
    })
}

fn open() -> impl Strategy<Value = Operation> {
    option::weighted(0.6, target()).prop_map(|bound| Operation::Open { bound })
}

/// Mostly the youngest.
fn session() -> impl Strategy<Value = usize> {
    prop_oneof![10 => Just(0_usize), 1 => Just(1), 1 => Just(2)]
}

/// Mostly the first, so that many sessions are committed to one table.
fn target() -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(0), 1 => 1..TARGETS]
}

fn mode() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("append"), 1 => Just("overwrite"), 1 => Just("fail")]
}

fn content() -> impl Strategy<Value = Content> {
    use Damage::{ExtraField, MissingField, NoUtf8, OpenQuote, WrongDigest};
    let damage = prop_oneof![
        Just(ExtraField),
        Just(MissingField),
        Just(OpenQuote),
        Just(NoUtf8),
        Just(WrongDigest)
    ];
    prop_oneof![
        16 => rows(),
        1 => Just(Content::EmptyFile),
        2 => damage.prop_map(Content::Damaged),
    ]
}

/// A column's usual values.
type Usual = fn() -> BoxedStrategy<Cell>;

const COLUMNS: [(&str, Usual); 5] = [
    ("whole", whole),
    ("fraction", fraction),
    ("day", day),
    ("flag", flag),
    ("word", word),
];

fn whole() -> BoxedStrategy<Cell> {
    (-1000..1000).prop_map(Cell::Whole).boxed()
}

fn fraction() -> BoxedStrategy<Cell> {
    let half = (-1000..1000).prop_map(Cell::Fraction);
    prop_oneof![3 => half, 1 => whole()].boxed()
}

fn day() -> BoxedStrategy<Cell> {
    any::<u8>().prop_map(Cell::Date).boxed()
}

fn flag() -> BoxedStrategy<Cell> {
    any::<bool>().prop_map(Cell::Boolean).boxed()
}

fn word() -> BoxedStrategy<Cell> {
    any::<u8>().prop_map(Cell::Text).boxed()
}

fn rows() -> impl Strategy<Value = Content> {
    let names = subsequence((0..COLUMNS.len()).collect::<Vec<_>>(), 0..=COLUMNS.len());
    (0..=ROWS_MAX, names.prop_shuffle()).prop_flat_map(|(rows, indices)| {
        let columns: Vec<_> = indices
            .into_iter()
            .map(|index| {
                let (name, usual) = COLUMNS[index];
                cells(rows, usual).prop_map(move |cells| (name, cells))
            })
            .collect();
        columns.prop_map(move |columns| Content::Rows { rows, columns })
    })
}

/// The cells of one column.
fn cells(rows: usize, usual: Usual) -> impl Strategy<Value = Vec<Cell>> {
    let with_nulls = prop_oneof![4 => usual(), 1 => Just(Cell::Null)];
    let anything = prop_oneof![whole(), fraction(), day(), flag(), word(), Just(Cell::Null)];
    let with_a_misfit = (vec(usual(), rows), any::<prop::sample::Index>(), word()).prop_map(
        move |(mut cells, index, misfit)| {
            if !cells.is_empty() {
                let row = index.index(cells.len());
                cells[row] = misfit;
            }
            cells
        },
    );
    prop_oneof![
        12 => vec(with_nulls, rows),
        2 => Just(vec![Cell::Null; rows]),
        1 => vec(anything, rows),
        1 => with_a_misfit,
    ]
}
