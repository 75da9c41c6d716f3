//! The composition root: opens the stores, finishes what a crash left due, starts actors, listens; and the
//! way back, in order.
//!
//! **Start.** Journal, control socket, catalog (writes version hints that are due), actors, socket. Nothing here depends on how
//! many sessions or tables there are.
//!
//! **Shutdown**, within `server.shutdown_deadline`: stop accepting and let running requests end; let running
//! commits end, also those whose client is gone; wait until the journal has synced all it was given; close the pack; end.
//! Whatever does not end in time is as after a crash: not acknowledged, or repeated by its client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::actors::committer::Committers;
use crate::actors::janitor::Janitor;
use crate::actors::{ArbiterPool, RunningCommits, Sessions, Surroundings};
use crate::admission::{Admission, StagedBytes};
use crate::blocking::blocking;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::control::Control;
use crate::domain::CommitIntent;
use crate::http::{self, Api};
use crate::ingest::Limits;
use crate::store::journal::{Journal, JournalWriter, Write};
use crate::store::layout::Layout;
use crate::store::packs::Packs;
use crate::table::commit::CommitContext;
use crate::table::{Catalog, JournalCatalog, LocalStorage, TableStorage};
use crate::telemetry::Metrics;
use crate::upload::Uploads;
use crate::upload::turns::Turns;

/// Threads that actors run on. They only decide and wait, so two are plenty for thousands of sessions.
const ARBITERS: usize = 2;
/// Small parts read at once, for every part that may be converted. They are quick, and do not wait for large ones.
const SMALL_PARTS_PER_CONVERSION: usize = 2;
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a connection stays open after an answer that came before the body was read: a client that is
/// still sending reads the answer only then.
const LINGER: Duration = Duration::from_secs(30);
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    journal: Journal,
    journal_writer: JournalWriter,
    packs: Packs,
    catalog: Arc<JournalCatalog>,
    arbiters: Arc<ArbiterPool>,
    running: RunningCommits,
    control: Option<Control>,
    shutdown_deadline: Duration,
}

impl Server {
    /// Starts a server; must be called within an actix system. The message of a failure tells what to do.
    pub async fn start(config: Config, clock: SharedClock) -> Result<Self, String> {
        let layout = data_layout(&config.storage.data_dir)?;
        let metrics = Arc::new(Metrics::new());
        let (journal, journal_writer) = open_journal(&layout, &clock, &metrics).await?;
        let control = Control::start(journal.clone(), &layout);
        let storage: Arc<dyn TableStorage> = Arc::new(LocalStorage::new(layout.clone()));
        let catalog = JournalCatalog::new(journal.clone(), storage.clone());
        catalog.recover().await;
        let cut_off = unfinished_commits(&catalog).await?;
        let catalog = Arc::new(catalog);
        let surroundings = Arc::new(Surroundings {
            journal: journal.clone(),
            layout: layout.clone(),
            clock: clock.clone(),
            packs: Packs::new(layout.packs_folder(), clock.clone()),
            staged: StagedBytes::default(),
            sessions: config.sessions.clone(),
            metrics,
            commits: CommitContext {
                catalog: catalog.clone(),
                storage,
                layout,
                clock,
                conversions: Arc::new(Semaphore::new(config.conversions_max())),
                limits: Limits::from(&config.parts),
                tables: config.tables.clone(),
            },
        });
        let arbiters = Arc::new(ArbiterPool::new(ARBITERS));
        let running = RunningCommits::default();
        let committers = Committers::new(surroundings.clone(), arbiters.clone(), running.clone());
        let sessions = Sessions::start(surroundings.clone(), committers, arbiters.clone());
        let janitor = Janitor::new(
            surroundings.clone(),
            sessions.clone(),
            cut_off,
            &config.cleaning,
        );
        Janitor::start_in_arbiter(&arbiters.pick(), |_| janitor);
        let packs = surroundings.packs.clone();
        let shutdown_deadline = config.server.shutdown_deadline;
        let (address, handle, serving) = listen(api(config, sessions, surroundings))?;
        Ok(Self {
            address,
            handle,
            serving,
            journal,
            journal_writer,
            packs,
            catalog,
            arbiters,
            running,
            control,
            shutdown_deadline,
        })
    }

    /// Ends the server in order. Returns when everything acknowledged is on stable storage.
    pub async fn shut_down(self) {
        let deadline = Instant::now() + self.shutdown_deadline;
        let late = |what: &str| tracing::warn!("{what} did not end before the shutdown deadline");
        tracing::info!("stopping: no more connections are taken");
        if timeout_at(deadline, self.handle.stop(true)).await.is_err() {
            late("requests");
        }
        if timeout_at(deadline, self.running.finished()).await.is_err() {
            late("commits");
        }
        match timeout_at(deadline, self.catalog.settle_hints()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "version hints are due"),
            Err(_) => late("version hints"),
        }
        match self.journal.write(Write::default()) {
            Ok(synced) => match timeout_at(deadline, synced).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the journal could not be synced"),
                Err(_) => late("the journal"),
            },
            Err(error) => tracing::error!(%error, "the journal could not be synced"),
        }
        let packs = self.packs;
        let closing = tokio::task::spawn_blocking(move || packs.close());
        if timeout_at(deadline, closing).await.is_err() {
            late("closing the pack");
        }
        self.arbiters.stop();
        if let Some(control) = self.control {
            control.stop().await;
        }
        drop(self.catalog);
        drop(self.journal);
        self.serving.abort();
        let joining = tokio::task::spawn_blocking(move || self.journal_writer.join());
        if timeout_at(deadline, joining).await.is_err() {
            late("the journal's writer");
        }
        tracing::info!("stopped");
    }
}

/// Makes the data folder; its layout has absolute paths.
fn data_layout(data_dir: &Path) -> Result<Layout, String> {
    let failed = |error| {
        format!(
            "storage.data_dir: cannot use `{}`: {error}",
            data_dir.display()
        )
    };
    crate::store::durable::create_folders(data_dir).map_err(failed)?;
    Ok(Layout::new(data_dir.canonicalize().map_err(failed)?))
}

async fn open_journal(
    layout: &Layout,
    clock: &SharedClock,
    metrics: &Arc<Metrics>,
) -> Result<(Journal, JournalWriter), String> {
    let (layout, metrics) = (layout.clone(), metrics.clone());
    let store_id = clock.random_id();
    tokio::task::spawn_blocking(move || Journal::open(&layout, store_id, metrics))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

/// Commits that the last run left unfinished; read before this one begins any.
async fn unfinished_commits(catalog: &JournalCatalog) -> Result<Vec<CommitIntent>, String> {
    let catalog = catalog.clone();
    blocking(move || catalog.unfinished())
        .await
        .map_err(|error| error.to_string())
}

fn api(config: Config, sessions: Sessions, surroundings: Arc<Surroundings>) -> Api {
    Api {
        sessions: sessions.clone(),
        uploads: Uploads {
            sessions,
            surroundings: surroundings.clone(),
            config: config.parts.clone(),
            body_idle_timeout: config.server.body_idle_timeout,
            admission: Admission::new(
                surroundings.layout.root().to_path_buf(),
                surroundings.staged.clone(),
                &config,
            ),
            conversions: Arc::new(Turns::new(
                surroundings.commits.conversions.clone(),
                config.conversions_max(),
            )),
            syncs: Arc::new(Semaphore::new(config.storage.concurrent_syncs)),
            early: Arc::new(Semaphore::new(config.conversions_max())),
            small: Arc::new(Semaphore::new(
                config.conversions_max() * SMALL_PARTS_PER_CONVERSION,
            )),
        },
        surroundings,
        config,
    }
}

type Listening = (SocketAddr, ServerHandle, JoinHandle<std::io::Result<()>>);

fn listen(api: Api) -> Result<Listening, String> {
    let server_config = api.config.server.clone();
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(http::observe::observe))
            .configure(|app| http::configure(app, api.clone()))
    })
    .disable_signals()
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(LINGER)
    .shutdown_timeout(server_config.shutdown_deadline.as_secs())
    .bind(server_config.listen)
    .map_err(|error| {
        format!(
            "server.listen: cannot listen on {}: {error}",
            server_config.listen
        )
    })?;
    let address = server
        .addrs()
        .first()
        .copied()
        .ok_or("the server has no address")?;
    let server = server.run();
    let handle = server.handle();
    Ok((address, handle, actix_web::rt::spawn(server)))
}
