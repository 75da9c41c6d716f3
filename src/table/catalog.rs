//! Which metadata file is a table's current one, and how that changes.
//!
//! The embedded catalog keeps the pointer in the journal. Its one write is [`Catalog::publish`]: in a single
//! transaction the pointer moves (if it still is what the commits were built on), the sessions' records become
//! *committed* (if they still are open), the attempts' intents go, and notes say that the version hint is due and what is to be
//! removed. So a commit happens exactly once, whoever repeats it and wherever a crash falls (invariants C1 and C3): an intent
//! that is found at a start is of an attempt that published nothing and never will. Commits that are published together are
//! all there, or none is.
//!
//! **Version hint.** Readers see it before a commit is answered. It is synced later, by a sweep or at the end of the
//! server; the note that it is due stays until then, and a start makes it right.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use iceberg::MetadataLocation;
use iceberg::spec::{MAIN_BRANCH, ManifestFile, TableMetadata};
use uuid::Uuid;

use super::cache::TableCache;
use super::recent::RecentManifests;
use super::storage::TableStorage;
use crate::blocking::blocking;
use crate::domain::{CommitIntent, CommitReceipt, Expired, Session, SessionId, Target};
use crate::error::{Error, ErrorCode, Result};
use crate::schema::TableColumns;
use crate::schema::plan::OPEN_COLUMNS_PROPERTY;
use crate::store::journal::{Expectation, Journal, Write, WriteError};
use crate::store::{keys, records};

/// A table as a commit finds it, or leaves it.
#[derive(Debug, Clone)]
pub struct BaseTable {
    /// Where its current metadata is.
    pub metadata_location: String,
    /// Size of that file.
    pub metadata_bytes: u64,
    /// Its current metadata.
    pub metadata: Arc<TableMetadata>,
    /// The manifests of its current snapshot, where they are known.
    pub manifests: Option<Arc<Vec<ManifestFile>>>,
    /// What some of them say.
    pub recent: Arc<RecentManifests>,
    /// Snapshots that branches other than the main one, and tags, name.
    pub named_snapshots: Arc<BTreeSet<i64>>,
}

impl BaseTable {
    /// About as many bytes as its metadata would take as files; in memory it is a few times as much.
    pub fn bytes(&self) -> u64 {
        self.metadata_bytes + self.recent.bytes()
    }

    /// The table's columns, for the schema rules.
    pub fn columns(&self) -> TableColumns {
        let open = self
            .metadata
            .properties()
            .get(OPEN_COLUMNS_PROPERTY)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        TableColumns {
            fields: self.metadata.current_schema().as_struct().fields().to_vec(),
            last_column_id: self.metadata.last_column_id(),
            open,
        }
    }
}

/// A session that a publication commits.
#[derive(Debug)]
pub struct PublishedSession {
    /// The attempt that wrote its files.
    pub attempt: Uuid,
    /// The session as it was when the commit began.
    pub before: Session,
    /// The session with its receipt.
    pub after: Session,
}

/// A new state of a table, and the sessions that made it.
#[derive(Debug)]
pub struct Publication {
    /// The table.
    pub target: Target,
    /// What the new state was built on.
    pub base: Option<BaseTable>,
    /// The new state; its files are durable.
    pub next: BaseTable,
    /// The sessions, one snapshot each.
    pub sessions: Vec<PublishedSession>,
    /// What it made superfluous.
    pub expired: Option<Expired>,
}

/// Why a publication did not happen.
#[derive(Debug)]
pub enum PublishError {
    /// Nothing was published, now or later; what was written for it may go.
    Refused(Error),
    /// The same; because this session's record is not what it was. Its receipt, if it was committed meanwhile.
    SessionChanged(SessionId, Option<CommitReceipt>),
    /// It may or may not be found published after a restart: touch nothing.
    Unknown(Error),
}

/// What is to be removed of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRemoval {
    /// The record's key.
    pub key: Vec<u8>,
    /// The table.
    pub target: Target,
    /// What.
    pub expired: Expired,
}

/// Knows tables. Calls may block; use them from blocking threads.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// A table's current state; `None` when there is no such table.
    fn load(&self, target: &Target) -> Result<Option<BaseTable>>;

    /// Records what is about to be written; durable when this returns.
    async fn begin(&self, intents: &[CommitIntent]) -> Result<()>;

    /// Forgets attempts that published nothing and of which no file is left.
    async fn abandon(&self, attempts: &[Uuid]) -> Result<()>;

    /// Attempts whose outcome was not recorded. At a start: those that a crash cut off.
    fn unfinished(&self) -> Result<Vec<CommitIntent>>;

    /// Makes a new state the current one, together with its sessions' records.
    async fn publish(&self, publication: &Publication) -> std::result::Result<(), PublishError>;

    /// The receipt of a session, if it is committed.
    fn receipt(&self, session: &SessionId) -> Result<Option<CommitReceipt>>;

    /// Makes the version hints right that a crash may have left wrong. Cheap, whatever number of tables there is. What
    /// cannot be done now stays due and is logged; it does not keep the server from starting.
    async fn recover(&self);

    /// Makes version hints durable and takes back the notes that they are due; gives their number.
    async fn settle_hints(&self) -> Result<usize>;

    /// What became superfluous at this time or earlier and has yet to be removed, the oldest first, without these keys.
    fn due_removals(
        &self,
        until: DateTime<Utc>,
        but: &BTreeSet<Vec<u8>>,
        count_max: usize,
    ) -> Result<Vec<DueRemoval>>;

    /// Forgets removals that are done.
    async fn removed(&self, keys: Vec<Vec<u8>>) -> Result<()>;
}

/// A table's current state, for callers that must not block.
pub async fn load(catalog: &Arc<dyn Catalog>, target: &Target) -> Result<Option<BaseTable>> {
    let (catalog, target) = (catalog.clone(), target.clone());
    blocking(move || catalog.load(&target)).await
}

/// The embedded catalog.
#[derive(Clone)]
pub struct JournalCatalog {
    journal: Journal,
    storage: Arc<dyn TableStorage>,
    cache: Arc<TableCache>,
}

/// A version hint that is not known to be durable.
struct DueHint {
    target: Target,
    /// What its record says.
    value: Vec<u8>,
    metadata_location: String,
}

impl JournalCatalog {
    /// The catalog in a journal, for tables in a storage.
    pub fn new(journal: Journal, storage: Arc<dyn TableStorage>) -> Self {
        Self {
            journal,
            storage,
            cache: Arc::default(),
        }
    }

    /// Version hints that are due. Blocks.
    fn due_hints(&self) -> Result<Vec<DueHint>> {
        let mut due = Vec::new();
        for entry in self.journal.scan(keys::PENDING_HINTS)? {
            let (key, value) = entry?;
            let target = keys::pending_hint_target(&key)
                .ok_or_else(|| Error::internal("a pending hint has an unreadable key"))?;
            if let Some(pointer) = self.journal.get(&keys::table(&target))? {
                due.push(DueHint {
                    metadata_location: records::metadata_location(&pointer)?,
                    target,
                    value,
                });
            }
        }
        Ok(due)
    }

    /// Syncs a version hint; gives the write that takes the note back, unless the hint says something else. Blocks.
    fn sync_hint(&self, due: DueHint) -> Result<Option<Write>> {
        let DueHint {
            target,
            value,
            metadata_location,
        } = due;
        let key = keys::pending_hint(&target);
        let is_right = self
            .storage
            .sync_version_hint(&target, &metadata_location)?;
        Ok(is_right.then(|| Write {
            removes: vec![key.clone()],
            // A commit since then has a note of its own, under the same key.
            expectations: vec![Expectation {
                key,
                value: Some(value),
            }],
            ..Write::default()
        }))
    }

    /// The transaction that publishes.
    fn publication_write(&self, publication: &Publication) -> Result<Write> {
        let target = &publication.target;
        let location = &publication.next.metadata_location;
        let mut write = Write::default();
        // Sessions first, so that one that is committed is told from a table that moved.
        for session in &publication.sessions {
            let key = keys::session(&session.before.id);
            write.expectations.push(Expectation {
                key: key.clone(),
                value: Some(records::session_value(&session.before)?),
            });
            write
                .puts
                .push((key, records::session_value(&session.after)?));
            write.removes.push(keys::intent(session.attempt));
        }
        let pointer_key = keys::table(target);
        let pointer_before = match &publication.base {
            Some(base) => Some(records::table_value(&base.metadata_location)?),
            None => None,
        };
        write.expectations.push(Expectation {
            key: pointer_key.clone(),
            value: pointer_before,
        });
        write
            .puts
            .push((pointer_key, records::table_value(location)?));
        let hint = (keys::pending_hint(target), location.clone().into_bytes());
        write.puts.push(hint);
        if let Some(expired) = &publication.expired {
            let key = keys::expired(target, expired.at.timestamp_millis());
            write.puts.push((key, records::expired_value(expired)?));
        }
        let count = i64::try_from(publication.sessions.len()).map_err(Error::internal)?;
        write.counts = vec![
            (keys::OPEN_SESSIONS, -count),
            (keys::COMMITTED_SESSIONS, count),
        ];
        Ok(write)
    }

    /// What follows a publication: readers see it, and old metadata files go. Blocks. What fails here is done later.
    fn follow_up(&self, target: &Target, location: &str, old_metadata: &[String]) -> Result<()> {
        self.storage.show_version_hint(target, location)?;
        self.storage.remove_metadata_files(target, old_metadata)?;
        Ok(())
    }
}

/// The snapshots that refs other than the main branch name. The crate's own list of refs cannot be read.
fn named_snapshots(metadata: &TableMetadata) -> Result<BTreeSet<i64>> {
    let json = serde_json::to_value(metadata).map_err(Error::internal)?;
    let refs = json["refs"].as_object().into_iter().flatten();
    let others = refs.filter(|(name, _)| *name != MAIN_BRANCH);
    Ok(others
        .filter_map(|(_, reference)| reference["snapshot-id"].as_i64())
        .collect())
}

#[async_trait]
impl Catalog for JournalCatalog {
    fn load(&self, target: &Target) -> Result<Option<BaseTable>> {
        let Some(value) = self.journal.get(&keys::table(target))? else {
            return Ok(None);
        };
        let metadata_location = records::metadata_location(&value)?;
        if let Some(table) = self.cache.get(target, &metadata_location) {
            return Ok(Some(table));
        }
        let input = self.storage.files().new_input(&metadata_location)?;
        let runtime = tokio::runtime::Handle::current();
        let metadata_bytes = runtime.block_on(input.metadata())?.size;
        let metadata = runtime.block_on(TableMetadata::read_from(
            self.storage.files(),
            &metadata_location,
        ))?;
        let table = BaseTable {
            metadata_location,
            metadata_bytes,
            manifests: None,
            recent: Arc::default(),
            named_snapshots: Arc::new(named_snapshots(&metadata)?),
            metadata: Arc::new(metadata),
        };
        self.cache.put(target, table.clone());
        Ok(Some(table))
    }

    async fn begin(&self, intents: &[CommitIntent]) -> Result<()> {
        let write = records::begin_commits(intents.iter())?;
        Ok(self.journal.write(write)?.await?)
    }

    async fn abandon(&self, attempts: &[Uuid]) -> Result<()> {
        let write = records::end_commits(attempts);
        Ok(self.journal.write(write)?.await?)
    }

    fn unfinished(&self) -> Result<Vec<CommitIntent>> {
        records::intents(&self.journal)
    }

    async fn publish(&self, publication: &Publication) -> std::result::Result<(), PublishError> {
        let write = self
            .publication_write(publication)
            .map_err(PublishError::Refused)?;
        let written = match self.journal.write(write) {
            Ok(queued) => queued.await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Unexpected { key, found }) => {
                return Err(refusal(publication, &key, found.as_deref()));
            }
            Err(
                error @ (WriteError::Busy
                | WriteError::Full
                | WriteError::Unsynced { .. }
                | WriteError::AtLimit { .. }),
            ) => {
                return Err(PublishError::Refused(error.into()));
            }
            Err(error @ WriteError::Failed { .. }) => {
                return Err(PublishError::Unknown(error.into()));
            }
        }
        // The commits are done, whatever follows.
        let target = publication.target.clone();
        self.cache.put(&target, publication.next.clone());
        let (catalog, owned_target) = (self.clone(), target.clone());
        let location = publication.next.metadata_location.clone();
        let expired = publication.expired.iter();
        let old_metadata: Vec<String> = expired
            .flat_map(|expired| expired.metadata_files.clone())
            .collect();
        let followed =
            blocking(move || catalog.follow_up(&owned_target, &location, &old_metadata)).await;
        if let Err(error) = followed {
            tracing::warn!(%target, %error, "the version hint or the removal of old metadata is due");
        }
        Ok(())
    }

    fn receipt(&self, session: &SessionId) -> Result<Option<CommitReceipt>> {
        match self.journal.get(&keys::session(session))? {
            Some(value) => records::receipt_in(&value),
            None => Ok(None),
        }
    }

    async fn recover(&self) {
        let catalog = self.clone();
        let recovering = blocking(move || {
            for due in catalog.due_hints()? {
                let (target, location) = (&due.target, &due.metadata_location);
                if catalog.storage.has_version_hint(target, location) {
                    continue;
                }
                match catalog.storage.show_version_hint(target, location) {
                    Ok(()) => tracing::info!(%target, "wrote the version hint that was due"),
                    Err(error) => tracing::warn!(%target, %error, "the version hint is due"),
                }
            }
            Ok(())
        });
        if let Err(error) = recovering.await {
            tracing::error!(%error, "cannot read which version hints are due");
        }
    }

    async fn settle_hints(&self) -> Result<usize> {
        let catalog = self.clone();
        let due = blocking(move || catalog.due_hints()).await?;
        let mut settled = 0;
        for hint in due {
            let (catalog, target) = (self.clone(), hint.target.clone());
            match blocking(move || catalog.sync_hint(hint)).await {
                Ok(Some(write)) => match self.journal.write(write)?.await {
                    Ok(()) => settled += 1,
                    Err(WriteError::Unexpected { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
                Ok(None) => {}
                Err(error) => tracing::warn!(%target, %error, "the version hint is due"),
            }
        }
        Ok(settled)
    }

    fn due_removals(
        &self,
        until: DateTime<Utc>,
        but: &BTreeSet<Vec<u8>>,
        count_max: usize,
    ) -> Result<Vec<DueRemoval>> {
        let mut due = Vec::new();
        for entry in self.journal.scan(keys::EXPIRED)? {
            let (key, value) = entry?;
            if but.contains(&key) {
                continue;
            }
            let target = keys::expired_target(&key)
                .ok_or_else(|| Error::internal("expired snapshots have an unreadable key"))?;
            let expired = records::expired_in(&value)?;
            // Keys are in the order of time.
            if expired.at > until || due.len() >= count_max {
                break;
            }
            due.push(DueRemoval {
                key,
                target,
                expired,
            });
        }
        Ok(due)
    }

    async fn removed(&self, keys: Vec<Vec<u8>>) -> Result<()> {
        let write = Write {
            removes: keys,
            ..Write::default()
        };
        Ok(self.journal.write(write)?.await?)
    }
}

/// Where the next metadata file goes: the version after the base's, and an attempt's name.
pub fn next_location(
    base: Option<&BaseTable>,
    metadata: &TableMetadata,
    attempt: Uuid,
) -> Result<MetadataLocation> {
    let next = match base {
        Some(base) => MetadataLocation::from_str(&base.metadata_location)?.with_next_version(),
        None => MetadataLocation::new_with_metadata(metadata.location(), metadata),
    };
    let next = next.to_string();
    let version = next
        .rsplit('/')
        .next()
        .and_then(|file| file.split('-').next())
        .unwrap_or_default();
    let named = format!(
        "{}/metadata/{version}-{attempt}.metadata.json",
        metadata.location()
    );
    Ok(MetadataLocation::from_str(&named)?.with_new_metadata(metadata))
}

/// What a failed expectation of a publication means.
fn refusal(publication: &Publication, key: &[u8], found: Option<&[u8]>) -> PublishError {
    let ids = publication
        .sessions
        .iter()
        .map(|session| &session.before.id);
    if let Some(id) = ids.into_iter().find(|id| key == keys::session(id)) {
        return match found.map(records::receipt_in) {
            Some(Ok(receipt)) => PublishError::SessionChanged(id.clone(), receipt),
            None => PublishError::SessionChanged(id.clone(), None),
            Some(Err(error)) => PublishError::Refused(error),
        };
    }
    PublishError::Refused(Error::new(
        ErrorCode::Overloaded,
        "The table changed while the commit was prepared; nothing was written. Repeat the commit.",
    ))
}
