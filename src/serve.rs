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
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::actors::committer::Committers;
use crate::actors::janitor::Janitor;
use crate::actors::{ArbiterPool, RunningCommits, Sessions, Surroundings};
use crate::admission::{Admission, StagedBytes};
use crate::audit::{Audit, AuditWriter};
use crate::auth::Authentication;
use crate::blocking::blocking;
use crate::clock::SharedClock;
use crate::config::{AuditConfig, Config, TlsConfig};
use crate::control::{Control, Served};
use crate::domain::CommitIntent;
use crate::http::{self, Api};
use crate::ingest::Limits;
use crate::quotas::rates::Rates;
use crate::quotas::usage::Usage;
use crate::store::credentials::CredentialStore;
use crate::store::journal::{Journal, JournalWriter, Write};
use crate::store::layout::Layout;
use crate::store::packs::Packs;
use crate::table::commit::CommitContext;
use crate::table::{Catalog, JournalCatalog, LocalStorage, TableStorage};
use crate::telemetry::Metrics;
use crate::tls::{self, Watch};
use crate::turns::Turns;
use crate::upload::Uploads;

/// Threads for the actors that are nobody's connection's: the supervisor, the committers, the janitor. They only decide and wait.
const ARBITERS: usize = 2;
/// Small parts read at once, for every part that may be converted. They are quick, and do not wait for large ones.
const SMALL_PARTS_PER_CONVERSION: usize = 2;
/// Threads for blocking work of requests. Of what they do only reading parts that still arrive waits for others, and of those there
/// are few; beyond as many as disks and cores keep busy, threads only take memory.
const BLOCKING_THREADS_MAX: usize = 128;
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
    is_encrypted: bool,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    watch: Option<Watch>,
    audit_writer: AuditWriter,
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
        let packs = open_packs(&layout, &clock).await?;
        let (audit, audit_writer) = start_audit(&config.audit, &layout).await?;
        let authentication = authentication(&config, &journal, &clock).await?;
        let served = Served {
            journal: journal.clone(),
            tokens: authentication.tokens(),
            audit: audit.clone(),
            clock: clock.clone(),
        };
        let control = Control::start(served, &layout);
        let storage: Arc<dyn TableStorage> = Arc::new(LocalStorage::new(layout.clone()));
        let catalog = JournalCatalog::new(journal.clone(), storage.clone());
        catalog.recover().await;
        let cut_off = unfinished_commits(&catalog).await?;
        let catalog = Arc::new(catalog);
        let surroundings = surroundings(
            &config,
            &journal,
            layout,
            clock,
            (metrics, packs.clone()),
            (&catalog, storage),
        );
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
        let shutdown_deadline = config.server.shutdown_deadline;
        let tls = start_tls(&config.tls).await?;
        let api = Api {
            uploads: uploads(&config, &sessions, &surroundings),
            sessions,
            rates: Rates::new(&config.quotas),
            authentication,
            audit,
            is_encrypted: tls.is_some(),
            surroundings,
            config,
        };
        let is_encrypted = api.is_encrypted;
        let (tls, watch) = tls.unzip();
        let (address, handle, serving) = listen(api, tls)?;
        Ok(Self {
            address,
            is_encrypted,
            handle,
            serving,
            watch,
            audit_writer,
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

    /// The base of its URLs, as this machine reaches it.
    pub fn url(&self) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
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
        drop(self.watch);
        self.serving.abort();
        let joining = tokio::task::spawn_blocking(move || self.journal_writer.join());
        if timeout_at(deadline, joining).await.is_err() {
            late("the journal's writer");
        }
        let joining = tokio::task::spawn_blocking(move || self.audit_writer.join());
        if timeout_at(deadline, joining).await.is_err() {
            late("the audit log");
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

async fn open_packs(layout: &Layout, clock: &SharedClock) -> Result<Packs, String> {
    let (folder, clock) = (layout.packs_folder(), clock.clone());
    tokio::task::spawn_blocking(move || Packs::open(folder, clock))
        .await
        .map_err(|error| error.to_string())
}

/// Commits that the last run left unfinished; read before this one begins any.
async fn unfinished_commits(catalog: &JournalCatalog) -> Result<Vec<CommitIntent>, String> {
    let catalog = catalog.clone();
    blocking(move || catalog.unfinished())
        .await
        .map_err(|error| error.to_string())
}

/// What actors need.
fn surroundings(
    config: &Config,
    journal: &Journal,
    layout: Layout,
    clock: SharedClock,
    (metrics, packs): (Arc<Metrics>, Packs),
    (catalog, storage): (&Arc<JournalCatalog>, Arc<dyn TableStorage>),
) -> Arc<Surroundings> {
    Arc::new(Surroundings {
        journal: journal.clone(),
        layout: layout.clone(),
        clock: clock.clone(),
        packs,
        staged: StagedBytes::default(),
        usage: Usage::new(&config.quotas),
        sessions: config.sessions.clone(),
        metrics,
        overwrite_needs: config.auth.overwrite_needs,
        commits: CommitContext {
            catalog: catalog.clone(),
            storage,
            layout,
            clock,
            conversions: Arc::new(Semaphore::new(config.conversions_max())),
            limits: Limits::from(&config.parts),
            tables: config.tables.clone(),
        },
    })
}

fn uploads(config: &Config, sessions: &Sessions, surroundings: &Arc<Surroundings>) -> Uploads {
    Uploads {
        sessions: sessions.clone(),
        surroundings: surroundings.clone(),
        config: config.parts.clone(),
        pace: config.server.pace(),
        admission: Admission::new(
            surroundings.layout.root().to_path_buf(),
            surroundings.staged.clone(),
            config,
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
    }
}

async fn start_audit(
    config: &AuditConfig,
    layout: &Layout,
) -> Result<(Audit, AuditWriter), String> {
    let (config, root) = (config.clone(), layout.root().to_path_buf());
    tokio::task::spawn_blocking(move || Audit::start(&config, &root))
        .await
        .map_err(|error| error.to_string())?
}

async fn start_tls(config: &TlsConfig) -> Result<Option<(ServerConfig, Watch)>, String> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || tls::start(&config))
        .await
        .map_err(|error| error.to_string())?
}

async fn authentication(
    config: &Config,
    journal: &Journal,
    clock: &SharedClock,
) -> Result<Authentication, String> {
    tls::install_provider();
    let (auth, public_url) = (config.auth.clone(), config.server.public_url.clone());
    let (store, clock) = (CredentialStore::new(journal.clone()), clock.clone());
    let making = move || Authentication::new(&auth, public_url.as_deref(), store, clock);
    let authentication = tokio::task::spawn_blocking(making)
        .await
        .map_err(|error| error.to_string())??;
    if config.auth.mode.takes_tokens() && authentication.tokens().list().is_empty() {
        tracing::warn!(
            "there is no access token yet, so nobody can upload. Make one: calve token create --data-dir {} --user NAME --grant 'WORKSPACE.*:owner'",
            config.storage.data_dir.display()
        );
    }
    if !authentication.is_required() && !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            listen = %config.server.listen,
            "authentication is off (auth.insecure_open): whoever reaches this server may do everything"
        );
    }
    let is_plain = config.tls.certificate.is_none() && config.server.trusted_proxies.is_empty();
    if authentication.is_required() && is_plain && !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            "connections are not encrypted, so credentials can be read on their way: set [tls], or server.trusted_proxies for a proxy that encrypts"
        );
    }
    Ok(authentication)
}

type Listening = (SocketAddr, ServerHandle, JoinHandle<std::io::Result<()>>);

fn listen(api: Api, tls: Option<ServerConfig>) -> Result<Listening, String> {
    let server_config = api.config.server.clone();
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(http::guard::guard))
            .wrap(http::cross_origin(&api.config.server.cors_origins))
            .wrap(http::security_headers(api.is_encrypted))
            .wrap(from_fn(http::observe::observe))
            .configure(|app| http::configure(app, api.clone()))
    });
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let server = server
        .workers(workers)
        .worker_max_blocking_threads(BLOCKING_THREADS_MAX.div_ceil(workers))
        .max_connections(server_config.connections_max.div_ceil(workers))
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(LINGER)
        .shutdown_timeout(server_config.shutdown_deadline.as_secs());
    let bound = match tls {
        Some(tls) => server.bind_rustls_0_23(server_config.listen, tls),
        None => server.bind(server_config.listen),
    };
    let server = bound.map_err(|error| {
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
