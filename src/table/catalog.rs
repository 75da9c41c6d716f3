//! Which metadata file is a table's current one, and how that changes.
//!
//! The embedded catalog keeps the pointer in the journal. Its one write is [`Catalog::publish`]: in a single
//! transaction the pointer moves (if it still is what the commit was built on), the session's record becomes
//! *committed* (if it still is open), the attempt's intent goes, and a note says that the version hint is due. So a
//! commit happens exactly once, whoever repeats it and wherever a crash falls (invariants C1 and C3): an intent that is
//! found at a start is of an attempt that published nothing and never will.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::MetadataLocation;
use iceberg::spec::{TableMetadata, TableMetadataBuildResult};
use uuid::Uuid;

use super::storage::TableStorage;
use crate::blocking::blocking;
use crate::domain::{CommitIntent, CommitReceipt, Session, SessionId, Target};
use crate::error::{Error, ErrorCode, Result};
use crate::schema::TableColumns;
use crate::schema::plan::OPEN_COLUMNS_PROPERTY;
use crate::store::journal::{Expectation, Journal, Write, WriteError};
use crate::store::{keys, records};

/// A table as a commit finds it.
#[derive(Debug, Clone)]
pub struct BaseTable {
    /// Where its current metadata is.
    pub metadata_location: String,
    /// Its current metadata.
    pub metadata: Arc<TableMetadata>,
}

impl BaseTable {
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

/// A new state of a table, and the session that made it.
#[derive(Debug)]
pub struct Publication {
    /// The attempt that made it, at which table.
    pub intent: CommitIntent,
    /// What the new state was built on.
    pub base: Option<BaseTable>,
    /// The new metadata, with the list of changes that led to it.
    pub next: TableMetadataBuildResult,
    /// The session as it was when the commit began.
    pub session_before: Session,
    /// The session with its receipt.
    pub session_after: Session,
}

/// Why a publication did not happen.
#[derive(Debug)]
pub enum PublishError {
    /// Nothing was published, now or later; what was written for it may go.
    Refused(Error),
    /// The session is already committed, with this receipt.
    AlreadyCommitted(CommitReceipt),
    /// It may or may not be found published after a restart: touch nothing.
    Unknown(Error),
}

/// Knows tables. Calls may block; use them from blocking threads.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// A table's current state; `None` when there is no such table.
    fn load(&self, target: &Target) -> Result<Option<BaseTable>>;

    /// Records what is about to be written; durable when this returns.
    async fn begin(&self, intent: &CommitIntent) -> Result<()>;

    /// Forgets an attempt that published nothing and of which no file is left.
    async fn abandon(&self, attempt: Uuid) -> Result<()>;

    /// Attempts whose outcome was not recorded. At a start: those that a crash cut off.
    fn unfinished(&self) -> Result<Vec<CommitIntent>>;

    /// Makes a new state the current one, together with its session's record.
    async fn publish(&self, publication: &Publication) -> std::result::Result<(), PublishError>;

    /// The receipt of a session, if it is committed.
    fn receipt(&self, session: &SessionId) -> Result<Option<CommitReceipt>>;

    /// Finishes what a crash left due: version hints. Cheap, whatever number of tables there is. What
    /// cannot be finished now stays due and is logged; it does not keep the server from starting.
    async fn recover(&self);
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
}

impl JournalCatalog {
    /// The catalog in a journal, for tables in a storage.
    pub fn new(journal: Journal, storage: Arc<dyn TableStorage>) -> Self {
        Self { journal, storage }
    }

    /// Tables whose version hint a crash left due, with their current metadata. Blocks.
    fn due_hints(&self) -> Result<Vec<(Target, String)>> {
        let mut due = Vec::new();
        for entry in self.journal.scan(keys::PENDING_HINTS)? {
            let (key, _) = entry?;
            let target = keys::pending_hint_target(&key)
                .ok_or_else(|| Error::internal("a pending hint has an unreadable key"))?;
            if let Some(value) = self.journal.get(&keys::table(&target))? {
                due.push((target, records::metadata_location(&value)?));
            }
        }
        Ok(due)
    }

    /// Writes a table's version hint and takes back the note that it is due.
    async fn settle_hint(&self, target: &Target, metadata_location: &str) -> Result<()> {
        let (storage, owned_target, location) = (
            self.storage.clone(),
            target.clone(),
            metadata_location.to_owned(),
        );
        blocking(move || storage.write_version_hint(&owned_target, &location)).await?;
        let write = Write {
            removes: vec![keys::pending_hint(target)],
            ..Write::default()
        };
        Ok(self.journal.write(write)?.await?)
    }

    /// The transaction that publishes.
    fn publication_write(&self, publication: &Publication, location: &str) -> Result<Write> {
        let target = &publication.intent.target;
        let pointer_key = keys::table(target);
        let pointer_before = match &publication.base {
            Some(base) => Some(records::table_value(&base.metadata_location)?),
            None => None,
        };
        let session_key = keys::session(&publication.session_before.id);
        let session_before = records::session_value(&publication.session_before)?;
        Ok(Write {
            expectations: vec![
                // First, so that a session that is committed is told from a table that moved.
                Expectation {
                    key: session_key.clone(),
                    value: Some(session_before),
                },
                Expectation {
                    key: pointer_key.clone(),
                    value: pointer_before,
                },
            ],
            puts: vec![
                (
                    session_key,
                    records::session_value(&publication.session_after)?,
                ),
                (pointer_key, records::table_value(location)?),
                (keys::pending_hint(target), Vec::new()),
            ],
            removes: vec![keys::intent(publication.intent.attempt)],
            counts: vec![(keys::OPEN_SESSIONS, -1), (keys::COMMITTED_SESSIONS, 1)],
            ..Write::default()
        })
    }

    async fn write_metadata(&self, publication: &Publication) -> Result<String> {
        let metadata = Arc::new(publication.next.metadata.clone());
        let location = next_location(publication)?;
        let storage = self.storage.clone();
        let name = location.to_string();
        let runtime = tokio::runtime::Handle::current();
        blocking(move || Ok(runtime.block_on(metadata.write_to(storage.files(), &location))?))
            .await?;
        Ok(name)
    }
}

#[async_trait]
impl Catalog for JournalCatalog {
    fn load(&self, target: &Target) -> Result<Option<BaseTable>> {
        let Some(value) = self.journal.get(&keys::table(target))? else {
            return Ok(None);
        };
        let metadata_location = records::metadata_location(&value)?;
        let metadata = tokio::runtime::Handle::current().block_on(TableMetadata::read_from(
            self.storage.files(),
            &metadata_location,
        ))?;
        Ok(Some(BaseTable {
            metadata_location,
            metadata: Arc::new(metadata),
        }))
    }

    async fn begin(&self, intent: &CommitIntent) -> Result<()> {
        Ok(self.journal.write(records::begin_commit(intent)?)?.await?)
    }

    async fn abandon(&self, attempt: Uuid) -> Result<()> {
        Ok(self.journal.write(records::end_commit(attempt))?.await?)
    }

    fn unfinished(&self) -> Result<Vec<CommitIntent>> {
        records::intents(&self.journal)
    }

    async fn publish(&self, publication: &Publication) -> std::result::Result<(), PublishError> {
        let location = self
            .write_metadata(publication)
            .await
            .map_err(PublishError::Refused)?;
        let write = self
            .publication_write(publication, &location)
            .map_err(PublishError::Refused)?;
        let written = match self.journal.write(write) {
            Ok(queued) => queued.await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Unexpected { key, found }) => {
                return Err(refusal(&publication.session_before, &key, found.as_deref()));
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
        // The commit is done. A hint that cannot be written now is written at the next start.
        let target = &publication.intent.target;
        if let Err(error) = self.settle_hint(target, &location).await {
            tracing::warn!(table = %target, %error, "the version hint is due");
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
        let due = blocking(move || catalog.due_hints()).await;
        let due = due.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read which version hints are due");
            Vec::new()
        });
        for (target, location) in due {
            match self.settle_hint(&target, &location).await {
                Ok(()) => tracing::info!(table = %target, "wrote the version hint that was due"),
                Err(error) => tracing::warn!(table = %target, %error, "the version hint is due"),
            }
        }
    }
}

/// Where the next metadata file goes: the version after the base's, and the attempt's name.
fn next_location(publication: &Publication) -> Result<MetadataLocation> {
    let metadata = &publication.next.metadata;
    let next = match &publication.base {
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
        "{}/metadata/{version}-{}.metadata.json",
        metadata.location(),
        publication.intent.attempt
    );
    Ok(MetadataLocation::from_str(&named)?.with_new_metadata(metadata))
}

/// What a failed expectation of a publication means.
fn refusal(session: &Session, key: &[u8], found: Option<&[u8]>) -> PublishError {
    if key == keys::session(&session.id) {
        return match found.map(records::receipt_in) {
            Some(Ok(Some(receipt))) => PublishError::AlreadyCommitted(receipt),
            Some(Ok(None)) | None => PublishError::Refused(Error::internal(
                "the session changed while it was committed",
            )),
            Some(Err(error)) => PublishError::Refused(error),
        };
    }
    PublishError::Refused(Error::new(
        ErrorCode::Overloaded,
        "The table changed while the commit was prepared; nothing was written. Repeat the commit.",
    ))
}
