//! Sweeps over a real journal and staging folder, with a clock that is set by hand.

use std::fs::File;
use std::sync::Mutex;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::admission::StagedBytes;
use crate::clock::Clock;
use crate::config::{PartsConfig, QuotasConfig, SessionsConfig, TablesConfig};
use crate::domain::part::PackPlace;
use crate::domain::{DataFileRecord, PartRecord, Role};
use crate::error::ErrorCode;
use crate::ingest::Limits;
use crate::quotas::usage::Usage;
use crate::store::journal::Journal;
use crate::store::layout::Layout;
use crate::store::packs::Packs;
use crate::table::commit::CommitContext;
use crate::table::{JournalCatalog, LocalStorage};
use crate::telemetry::Metrics;
use crate::testing;

const HOUR: TimeDelta = TimeDelta::hours(1);

#[derive(Debug)]
struct ManualClock(Mutex<DateTime<Utc>>);

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    fn random_id(&self) -> Uuid {
        Uuid::from_u128(7)
    }
}

struct World {
    surroundings: Arc<Surroundings>,
    clock: Arc<ManualClock>,
    config: CleaningConfig,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_path_buf());
        // Ahead of the files' times, which are the machine's.
        let ahead = Duration::from_secs(1);
        let clock = Arc::new(ManualClock(Mutex::new((SystemTime::now() + ahead).into())));
        let metrics = Arc::new(Metrics::new());
        let (journal, _) = Journal::open(&layout, Uuid::from_u128(7), metrics.clone()).unwrap();
        let storage = Arc::new(LocalStorage::new(layout.clone()));
        let commits = CommitContext {
            catalog: Arc::new(JournalCatalog::new(journal.clone(), storage.clone())),
            storage,
            layout: layout.clone(),
            clock: clock.clone(),
            conversions: Arc::new(Semaphore::new(1)),
            limits: Limits::from(&PartsConfig::default()),
            tables: TablesConfig::default(),
        };
        let packs = Packs::open(layout.packs_folder(), clock.clone());
        let surroundings = Arc::new(Surroundings {
            usage: Usage::new(&QuotasConfig::default()),
            overwrite_needs: Role::Owner,
            journal,
            layout,
            clock: clock.clone(),
            packs,
            staged: StagedBytes::default(),
            sessions: SessionsConfig::default(),
            metrics,
            commits,
        });
        Self {
            surroundings,
            clock,
            config: CleaningConfig {
                interval: Duration::from_secs(1),
                grace: Duration::from_secs(3600),
                retention: Duration::from_secs(48 * 3600),
            },
            _folder: folder,
        }
    }

    fn pass(&self, time: TimeDelta) {
        *self.clock.0.lock().unwrap() += time;
    }

    /// A session with one staged part, which ends in an hour; and the part's two files.
    async fn session(&self, number: u128) -> (Session, Vec<PathBuf>) {
        let now = self.clock.now();
        let mut session = testing::session(number, now, HOUR);
        let id = session.id.clone();
        self.write(records::open_session(&session, 9).unwrap())
            .await;
        let record = PartRecord {
            data_file: Some(DataFileRecord {
                file_bytes: 0,
                fields: Vec::new(),
            }),
            ..testing::part(0)
        };
        self.write(records::stage_part(&session, &record).unwrap())
            .await;
        let layout = &self.surroundings.layout;
        let files = layout.part_files(&id, &record);
        std::fs::create_dir_all(layout.session_folder(&id)).unwrap();
        for path in &files {
            File::create(path).unwrap();
        }
        session.put_part(record);
        (session, files)
    }

    async fn write(&self, write: Write) {
        let journal = &self.surroundings.journal;
        journal.write(write).unwrap().await.unwrap();
    }

    fn sweeper(&self, in_memory: Option<SessionId>) -> Sweeper {
        let is_in_memory = Box::new(move |id: &SessionId| Some(id) == in_memory.as_ref());
        let cut_off = self.surroundings.commits.catalog.unfinished().unwrap();
        Sweeper::new(
            self.surroundings.clone(),
            is_in_memory,
            cut_off,
            &self.config,
        )
    }

    fn load(&self, session: &Session) -> Option<Session> {
        records::load_session(&self.surroundings.journal, &session.id).unwrap()
    }
}

/// Sweeps block, as they do in the server, on a blocking thread.
async fn sweep(sweeper: Sweeper) -> (Sweeper, SweepReport) {
    tokio::task::spawn_blocking(move || {
        let mut sweeper = sweeper;
        let report = sweeper.sweep().unwrap();
        (sweeper, report)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_expired_session_loses_its_parts_and_is_forgotten_later() {
    let world = World::new();
    let (session, files) = world.session(1).await;
    let (sweeper, report) = sweep(world.sweeper(None)).await;
    assert_eq!(report, SweepReport::default());
    assert!(files.iter().all(|path| path.exists()));
    world.pass(HOUR);
    let (sweeper, report) = sweep(sweeper).await;
    assert_eq!((report.expired_sessions, report.removed_files), (1, 2));
    assert!(!files[0].parent().unwrap().exists());
    let ended = world.load(&session).unwrap();
    assert!(ended.parts.is_empty());
    let refused = ended
        .check_parts_may_change(session.created_at)
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::SessionExpired);
    world.pass(HOUR * 48);
    let (_, report) = sweep(sweeper).await;
    assert_eq!(report.forgotten_sessions, 1);
    assert_eq!(world.load(&session), None);
    assert_eq!(world.surroundings.journal.scan(b"p/").unwrap().count(), 0);
    let journal = &world.surroundings.journal;
    assert_eq!(journal.count(keys::OPEN_SESSIONS).unwrap(), 0);
    assert_eq!(journal.count(keys::EXPIRED_SESSIONS).unwrap(), 0);
}

#[tokio::test]
async fn a_session_in_memory_is_left_alone() {
    let world = World::new();
    let (session, files) = world.session(1).await;
    world.pass(HOUR * 2);
    let (_, report) = sweep(world.sweeper(Some(session.id.clone()))).await;
    assert_eq!(report, SweepReport::default());
    assert!(files.iter().all(|path| path.exists()));
    assert_eq!(world.load(&session), Some(session));
}

#[tokio::test]
async fn only_old_files_without_a_record_go_and_only_on_the_second_sighting() {
    let world = World::new();
    let (session, files) = world.session(1).await;
    let folder = files[0].parent().unwrap();
    let stray = folder.join("00000-0.raw.tmp");
    let nobodys = folder.with_file_name("no-session");
    std::fs::create_dir_all(&nobodys).unwrap();
    for path in [&stray, &nobodys.join("x")] {
        File::create(path).unwrap();
    }
    // Not to expire in this test.
    let mut longer = session.clone();
    longer.expires_at += HOUR * 100;
    let renewal = Write {
        puts: vec![(
            keys::session(&session.id),
            records::session_value(&longer).unwrap(),
        )],
        ..Write::default()
    };
    world.write(renewal).await;
    let mut sweeper = world.sweeper(None);
    for expected in [0, 0, 0, 0, 2] {
        let (next, report) = sweep(sweeper).await;
        sweeper = next;
        assert_eq!(report.removed_files, expected);
        world.pass(HOUR / 2);
    }
    assert!(!stray.exists() && !nobodys.exists());
    assert!(files.iter().all(|path| path.exists()));
}

#[tokio::test]
async fn what_a_crash_left_of_a_committed_session_goes() {
    let world = World::new();
    let (session, files) = world.session(1).await;
    let (request, receipt) = testing::commit("t", world.clock.now());
    let mut committed = session.clone();
    committed.commit_succeeded(request, receipt);
    let commit = Write {
        puts: vec![(
            keys::session(&session.id),
            records::session_value(&committed).unwrap(),
        )],
        ..Write::default()
    };
    world.write(commit).await;
    world.pass(HOUR);
    let (sweeper, report) = sweep(world.sweeper(None)).await;
    assert_eq!(report, SweepReport::default());
    world.pass(HOUR);
    let (_, report) = sweep(sweeper).await;
    assert_eq!(report.removed_files, 2);
    assert!(!files[0].parent().unwrap().exists());
    assert_eq!(world.load(&session), Some(committed), "its answer stays");
}

#[tokio::test]
async fn files_of_a_commit_that_was_cut_off_go_and_no_others() {
    let world = World::new();
    let (session, _) = world.session(1).await;
    let (request, _) = testing::commit("t", world.clock.now());
    let intent = |attempt| CommitIntent {
        attempt: Uuid::from_u128(attempt),
        session: session.id.clone(),
        target: request.target.clone(),
        begun_at: session.created_at,
    };
    let (dead, later) = (intent(1), intent(2));
    let commits = &world.surroundings.commits;
    commits
        .catalog
        .begin(std::slice::from_ref(&dead))
        .await
        .unwrap();
    let sweeper = world.sweeper(None);
    // One that this run of the server has begun.
    commits
        .catalog
        .begin(std::slice::from_ref(&later))
        .await
        .unwrap();
    let table = world.surroundings.layout.table_folder(&request.target);
    commits.storage.prepare(&request.target).unwrap();
    let file = |name: &str, attempt: Uuid| table.join(name.replace('*', &attempt.to_string()));
    let names = [
        "data/s-00001-1-*.parquet",
        "metadata/*-m0.avro",
        "metadata/00001-*.metadata.json.tmp",
    ];
    for name in names {
        for attempt in [dead.attempt, later.attempt] {
            File::create(file(name, attempt)).unwrap();
        }
    }
    let (sweeper, report) = sweep(sweeper).await;
    assert_eq!((report.undone_commits, report.removed_files), (1, 3));
    for name in names {
        assert!(!file(name, dead.attempt).exists(), "{name}");
        assert!(file(name, later.attempt).exists(), "{name}");
    }
    assert_eq!(commits.catalog.unfinished().unwrap(), [later]);
    let (_, report) = sweep(sweeper).await;
    assert_eq!(report, SweepReport::default());
}

#[tokio::test]
async fn packs_stay_while_an_open_session_has_a_part_in_them() {
    let world = World::new();
    let (mut session, _) = world.session(1).await;
    // Packs of an earlier run: the numbers say so, and nothing counts their parts.
    let [wanted, unwanted] = [11, 12].map(|number| world.surroundings.packs.path(number));
    let slot = world.surroundings.packs.put(b"x");
    slot.pack().sync().unwrap();
    let current = slot.place().pack;
    for path in [&wanted, &unwanted] {
        std::fs::write(path, b"bytes").unwrap();
    }
    let record = PartRecord {
        packed: Some(PackPlace {
            pack: 11,
            offset: 0,
        }),
        ..testing::part(3)
    };
    let staged = records::stage_part(&session, &record).unwrap();
    world.write(staged).await;
    session.put_part(record);

    let mut sweeper = world.sweeper(Some(session.id.clone()));
    for (time, is_there) in [(0, true), (2, true), (2, false), (2, false)] {
        world.pass(HOUR * time);
        (sweeper, _) = sweep(sweeper).await;
        assert_eq!(unwanted.exists(), is_there);
        assert!(wanted.exists());
        assert!(world.surroundings.packs.path(current).exists());
    }
    // With the session, nothing refers to the other one either.
    let mut sweeper = world.sweeper(None);
    for (time, is_there) in [(0, true), (2, false)] {
        world.pass(HOUR * time);
        (sweeper, _) = sweep(sweeper).await;
        assert_eq!(wanted.exists(), is_there);
    }
    assert!(world.surroundings.packs.path(current).exists());
}
