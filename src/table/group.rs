//! Commits of one table, from frozen sessions to published snapshots. Appends that wait for each other are published together.
//!
//! 1. Load the table; it is in memory when it was committed to lately.
//! 2. Plan the schema: pure, and the place of every refusal that the columns cause.
//! 3. Record the intents: these attempts, at this table. Every file that an attempt makes carries its id in its name.
//! 4. Make every part's data file one of the table's ([`super::commit`]).
//! 5. Build the snapshots, one for each session, each on the one before it, and one metadata file with all of them.
//! 6. Make all of these files durable together.
//! 7. Publish: one transaction that moves the pointer, commits the sessions and ends the intents.
//!
//! **What is published together.** Appends that are quick: the table's columns stay as they are, and their data files are final or
//! made of few bytes. Everything else is alone, so that nobody waits for another's conversion. One that fails while its files are
//! made is refused and the others go on; one whose session is no longer what it was makes the others start again without it.
//!
//! | the crash falls | a restart finds | and does |
//! |---|---|---|
//! | before the intents are durable | open sessions | nothing |
//! | after it, before the transaction is durable | open sessions, intents, files that nothing refers to | the first sweep removes the files, then the intents |
//! | after the transaction | committed sessions; perhaps a version hint that is due | the start writes the hint |
//!
//! A refusal before the transaction removes the files and then the intents. Of an unknown outcome of the transaction
//! nothing is touched; the next start finds out what it was.
//!
//! The caller serialises commits of one table; the catalog's expectation guards against everybody else.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use uuid::Uuid;

pub(super) mod writing;

use super::catalog::{self, BaseTable, PublishError};
use super::commit::{CommitContext, CommitPlan, plan_commit};
use super::data_files::{
    FILES_AT_ONCE, TableFile, each_refusal, file_groups, has_final_file, table_file,
};
use super::values::{all_or_refusal, plan_session};
use crate::blocking::blocking;
use crate::domain::{
    CommitIntent, CommitReceipt, CommitRequest, ConflictResolution, PartRecord, Session, SessionId,
};
use crate::error::{Error, Result};
use crate::schema::TableColumns;

/// Commits that are published together at most. More would only make the first of them wait longer.
pub const GROUP_COMMITS_MAX: usize = 32;
/// Parts of a group at most.
const GROUP_PARTS_MAX: usize = 256;
/// Bytes of parts that a group converts at most.
const GROUP_CONVERTED_BYTES_MAX: u64 = 1024 * 1024;

/// A commit that waits: a frozen session, and what to do with it.
#[derive(Debug, Clone)]
pub struct WaitingCommit {
    /// The session.
    pub session: Arc<Session>,
    /// What was asked.
    pub request: CommitRequest,
}

/// Commits that have ended, by their sessions.
pub type Ended = Vec<(SessionId, Result<CommitReceipt>)>;

/// A commit of the group that is running.
struct Member {
    commit: WaitingCommit,
    plan: CommitPlan,
    intent: CommitIntent,
}

impl Member {
    fn new(context: &CommitContext, commit: WaitingCommit, plan: CommitPlan) -> Self {
        let intent = CommitIntent {
            attempt: context.clock.random_id(),
            session: commit.session.id.clone(),
            target: commit.request.target.clone(),
            begun_at: context.clock.now(),
        };
        Self {
            commit,
            plan,
            intent,
        }
    }
}

/// Runs the first of these commits of one table, and those after it that can be published with it. At least one has ended
/// then; those that have not are to be given again, in their order.
pub async fn run(context: &CommitContext, waiting: &[WaitingCommit]) -> Ended {
    let mut ended = Ended::new();
    let Some((first, others)) = waiting.split_first() else {
        return ended;
    };
    match prepare(context, first, others).await {
        Ok(Prepared::Committed(receipt)) => ended.push((first.session.id.clone(), Ok(receipt))),
        Ok(Prepared::Group(base, members)) => {
            write_and_publish(context, base, members, &mut ended).await;
        }
        Err(error) => ended.push((first.session.id.clone(), Err(error))),
    }
    ended
}

/// What is to be done.
enum Prepared {
    /// Nothing: the first is committed already.
    Committed(CommitReceipt),
    /// To publish these on top of that.
    Group(Option<BaseTable>, Vec<Member>),
}

/// Plans. An error is that of the first commit.
async fn prepare(
    context: &CommitContext,
    first: &WaitingCommit,
    others: &[WaitingCommit],
) -> Result<Prepared> {
    // A session may have been committed by a run whose actor did not live to see it.
    if let Some(receipt) = receipt(context, &first.session.id).await? {
        return Ok(Prepared::Committed(receipt));
    }
    let base = catalog::load(&context.catalog, &first.request.target).await?;
    let columns = base.as_ref().map(BaseTable::columns);
    let plan = plan_session(context, &first.session, columns.as_ref(), &first.request).await?;
    let mut planned = vec![(first.clone(), plan)];
    if let Some(columns) = &columns {
        add_followers(context, columns, &mut planned, others).await?;
    }
    let members = planned
        .into_iter()
        .map(|(commit, plan)| Member::new(context, commit, plan))
        .collect();
    Ok(Prepared::Group(base, members))
}

async fn receipt(context: &CommitContext, session: &SessionId) -> Result<Option<CommitReceipt>> {
    let (catalog, id) = (context.catalog.clone(), session.clone());
    blocking(move || catalog.receipt(&id)).await
}

/// Adds the commits that can be published with the first one: up to the first that cannot. One that is to be refused is refused
/// in its own turn, because that may take reading all of its parts.
async fn add_followers(
    context: &CommitContext,
    columns: &TableColumns,
    planned: &mut Vec<(WaitingCommit, CommitPlan)>,
    others: &[WaitingCommit],
) -> Result<()> {
    let mut load = Load::default();
    if !planned
        .iter()
        .all(|(commit, plan)| load.takes(commit, plan, columns))
    {
        return Ok(());
    }
    for next in others.iter().take(GROUP_COMMITS_MAX - 1) {
        let id = &next.session.id;
        let is_there = planned.iter().any(|(other, _)| other.session.id == *id);
        let plan = plan_commit(
            next.session.records(),
            Some(columns),
            next.request.conflict_resolution,
            next.request.schema_evolution,
        );
        let plan = plan.ok().filter(|_| !is_there);
        let Some(plan) = plan.filter(|plan| load.takes(next, plan, columns)) else {
            return Ok(());
        };
        if receipt(context, id).await?.is_some() {
            return Ok(());
        }
        planned.push((next.clone(), plan));
    }
    Ok(())
}

/// What a group has to do beside writing metadata.
#[derive(Debug, Default)]
struct Load {
    parts: usize,
    converted_bytes: u64,
}

impl Load {
    /// Whether a commit can be published with others, and so much more can be done; it counts then.
    fn takes(&mut self, commit: &WaitingCommit, plan: &CommitPlan, columns: &TableColumns) -> bool {
        let is_plain = commit.request.conflict_resolution == ConflictResolution::Append
            && plan.schema.fields == columns.fields
            && plan.schema.open == columns.open;
        let converted =
            parts(&commit.session).filter(|record| !has_final_file(record, &plan.schema));
        let converted_bytes: u64 = converted.map(|record| record.decoded_bytes).sum();
        self.parts += parts(&commit.session).count();
        self.converted_bytes += converted_bytes;
        is_plain
            && self.parts <= GROUP_PARTS_MAX
            && self.converted_bytes <= GROUP_CONVERTED_BYTES_MAX
    }
}

/// Parts that have rows, and so become data files.
fn parts(session: &Session) -> impl Iterator<Item = &PartRecord> {
    session.records().filter(|record| record.rows > 0)
}

/// Removes what attempts that published nothing have written. What cannot be removed now is found by the intents at the
/// next start.
async fn undo(context: &CommitContext, members: &[Member]) {
    let Some(target) = members.first().map(|one| one.intent.target.clone()) else {
        return;
    };
    let attempts: Vec<Uuid> = members.iter().map(|one| one.intent.attempt).collect();
    let (storage, owned) = (context.storage.clone(), (target.clone(), attempts.clone()));
    let undone = match blocking(move || storage.remove_attempts(&owned.0, &owned.1)).await {
        Ok(_) => context.catalog.abandon(&attempts).await,
        Err(error) => Err(error),
    };
    if let Err(error) = undone {
        tracing::warn!(?attempts, %target, %error, "files of refused commits are left until the next start");
    }
}

fn refuse(members: &[Member], error: &Error, ended: &mut Ended) {
    let sessions = members.iter().map(|one| one.intent.session.clone());
    ended.extend(sessions.map(|session| (session, Err(error.clone()))));
}

async fn write_and_publish(
    context: &CommitContext,
    base: Option<BaseTable>,
    members: Vec<Member>,
    ended: &mut Ended,
) {
    let intents: Vec<CommitIntent> = members.iter().map(|one| one.intent.clone()).collect();
    if let Err(error) = context.catalog.begin(&intents).await {
        return refuse(&members, &error, ended);
    }
    let (members, files) = make_data_files(context, base.is_none(), members, ended).await;
    if members.is_empty() {
        return;
    }
    let members = Arc::new(members);
    let written = writing::write(context, base, &members, files).await;
    let (publication, receipts) = match written {
        Ok(written) => written,
        Err(error) => {
            undo(context, &members).await;
            return refuse(&members, &error, ended);
        }
    };
    match context.catalog.publish(&publication).await {
        Ok(()) => ended.extend(receipts.into_iter().map(|(id, receipt)| (id, Ok(receipt)))),
        Err(PublishError::Unknown(error)) => refuse(&members, &error, ended),
        Err(PublishError::Refused(error)) => {
            undo(context, &members).await;
            refuse(&members, &error, ended);
        }
        Err(PublishError::SessionChanged(session, receipt)) => {
            // The others have not ended, and are run again without it.
            undo(context, &members).await;
            let changed = || Error::internal("the session changed while it was committed");
            ended.push((session, receipt.ok_or_else(changed)));
        }
    }
}

/// Makes the parts' data files the table's. Members of which that fails have ended, and are undone.
async fn make_data_files(
    context: &CommitContext,
    is_new_table: bool,
    members: Vec<Member>,
    ended: &mut Ended,
) -> (Vec<Member>, Vec<Vec<TableFile>>) {
    let making = members.into_iter().map(|member| async move {
        let files = data_files(context, is_new_table, &member).await;
        (member, files)
    });
    let mut making = stream::iter(making).buffered(FILES_AT_ONCE);
    let (mut made, mut files, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((member, outcome)) = making.next().await {
        match outcome {
            Ok(own) => {
                made.push(member);
                files.push(own);
            }
            Err(error) => {
                ended.push((member.intent.session.clone(), Err(error)));
                failed.push(member);
            }
        }
    }
    undo(context, &failed).await;
    (made, files)
}

async fn data_files(
    context: &CommitContext,
    is_new_table: bool,
    member: &Member,
) -> Result<Vec<TableFile>> {
    let Member {
        commit,
        plan,
        intent,
    } = member;
    if is_new_table {
        let (storage, target) = (context.storage.clone(), intent.target.clone());
        blocking(move || storage.prepare(&target)).await?;
    }
    let groups = file_groups(commit.session.records()).into_iter();
    let making = groups.map(|parts| table_file(context, intent, parts, plan));
    let outcomes: Vec<_> = stream::iter(making).buffered(FILES_AT_ONCE).collect().await;
    all_or_refusal(outcomes.into_iter().flat_map(each_refusal).collect())
}
