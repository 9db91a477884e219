//! Opening the ledger: checks, worker lock, pragmas, migrations, binding to one API.

use std::fs::{File, OpenOptions as FileOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use super::file::{mark_made, refuse_a_new_one, refuse_cut_short, refuse_emptied, refuse_network_filesystem};
use super::rows::Input;
use super::writer::{Write, Writer};
use super::{LedgerError, Wake};
use crate::clock::Clock;
use crate::crash_point::reached;
use crate::telemetry::Metrics;

/// How long a write waits for another process's short transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for readers before what it wrote is put into the one file.
const FOLD_TIMEOUT: Duration = Duration::from_secs(1);
/// How often, and how long apart, a worker asks for its lock before it says that it is taken.
const LOCK_TRIES: u32 = 5;
const LOCK_AGAIN: Duration = Duration::from_millis(100);
/// Of the writer, in KiB, as `SQLite` wants it said.
const CACHE_KIB: &str = "-16384";
/// The log of changes is emptied into the ledger when it has so many pages of 4 KiB.
const WAL_PAGES: &str = "3500";
/// The log of changes is cut down to this once it was emptied into the ledger.
const WAL_BYTES_KEPT: &str = "16777216";
/// Readers at once.
const READERS: u32 = 4;

/// What the worker brings to its ledger.
pub struct OpenOptions {
    /// Time; its floor is raised to the newest time in the ledger.
    pub clock: Clock,
    /// Where commits are measured.
    pub metrics: Metrics,
    /// The API this ledger belongs to, `https://api.layers.com`.
    pub origin: String,
    /// Whose briefs this worker works on.
    pub input: Input,
    /// `submit.repeat_after`: earliest repeat of a POST that a dead process may have sent.
    pub repeat_after: Duration,
    /// Called after each commit and every second while idle: the sign of life.
    pub beat: Box<dyn Fn() + Send>,
}

/// The worker's ledger. Cheap to clone. The lock is held until the last clone is gone and what was handed in is
/// committed, or the process dies.
#[derive(Clone, Debug)]
pub struct Ledger {
    reader: Reader,
    writer: Writer,
    wake: Wake,
    boot: Arc<str>,
    input: Input,
    unclean: bool,
    _lock: Arc<File>,
}

impl Ledger {
    /// Opens (and on first use makes) the ledger at `path`, takes the worker lock, brings the schema up to date, binds
    /// it to the API's origin, and takes back what a dead process had claimed.
    pub async fn open(path: &Path, options: OpenOptions) -> Result<Self, LedgerError> {
        check_place(path)?;
        let lock = lock_soon(path).await?;
        refuse_emptied(&lock, path)?;
        refuse_cut_short(path)?;
        create_private(path)?;
        let connect = connect_options(path);
        let mut connection = connect.connect().await.map_err(unusable(path))?;
        refuse_a_new_one(&lock, path, &mut connection).await?;
        reached("ledger", "migrate", "before_commit");
        migrate(path, &mut connection).await?;
        reached("ledger", "migrate", "after_commit");
        mark_made(&lock, path)?;
        reached("ledger", "bind_origin", "before_commit");
        bind_origin(&mut connection, &options.origin).await.map_err(|error| error.at(path))?;
        reached("ledger", "bind_origin", "after_commit");
        let newest_ms = newest_time(&mut connection).await.map_err(|error| error.at(path))?;
        options.clock.raise_floor(newest_ms);
        let boot = Uuid::new_v4().to_string();
        let unclean = start_boot(&mut connection, &boot).await.map_err(|error| error.at(path))?;
        let reader = Reader::connect(path).await?;
        let lock = Arc::new(lock);
        let writer = Writer::start(connection, connect, (options.metrics, options.beat), Arc::clone(&lock))
            .map_err(|source| LedgerError::Open { path: path.to_owned(), source })?;
        let ledger = Self {
            reader,
            writer,
            wake: Wake::default(),
            boot: boot.into(),
            input: options.input,
            unclean,
            _lock: lock,
        };
        let now_ms = options.clock.now_ms();
        let repeat_ms =
            now_ms.saturating_add(i64::try_from(options.repeat_after.as_millis()).unwrap_or(i64::MAX));
        ledger.release_dead_claims(now_ms, repeat_ms).await.map_err(|error| error.at(path))?;
        Ok(ledger)
    }

    /// Commits one write, together with whatever else waits.
    pub async fn write<W: Write>(&self, write: W) -> Result<W::Out, LedgerError> {
        self.writer.write(write).await
    }

    /// The read side.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Why the ledger cannot be written now, as one line for people; `None`: it can.
    pub fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    /// The stages' bells.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// This process, as claims name it.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Whose briefs this worker works on.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The process before this one did not stop in order.
    pub fn was_unclean(&self) -> bool {
        self.unclean
    }

    /// Lets go of the ledger, and returns once nobody can take this process for a worker any more.
    pub async fn close(self) {
        let path = Arc::clone(&self.reader.path);
        drop(self);
        // The writer holds the lock until its thread has ended. A worker that is quicker is welcome to it.
        drop(lock_soon(&path).await);
    }

    /// Notes that this process stops in order, and puts everything into the one file: who copies or moves it without
    /// what `SQLite` keeps beside it shall lose nothing.
    pub async fn stop_cleanly(&self) -> Result<(), LedgerError> {
        self.write(StopCleanly).await?;
        let path = self.reader.path();
        let fold = connect_options(path).busy_timeout(FOLD_TIMEOUT).connect().await;
        let folded = match fold {
            Ok(mut connection) => {
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = folded {
            tracing::debug!(%error, "the write-ahead log stays beside the ledger");
        }
        Ok(())
    }
}

/// In `meta`: the key that was last told to be of the ledger's organization.
const CHECKED_KEY: &str = "checked_key";

/// Binds the ledger to an organization at first use, and notes under which API key that was told.
#[derive(Clone, Debug)]
pub struct BindOrganization {
    /// The key's organization.
    pub organization: String,
    /// The key's fingerprint.
    pub key: String,
}

impl Write for BindOrganization {
    /// The organization it is bound to.
    type Out = String;

    fn apply<'a>(
        &'a self,
        db: &'a mut SqliteConnection,
    ) -> futures::future::BoxFuture<'a, Result<String, LedgerError>> {
        Box::pin(async move {
            let bound: Option<String> =
                sqlx::query_scalar("SELECT value FROM meta WHERE name = 'organization'")
                    .fetch_optional(&mut *db)
                    .await?;
            if bound.is_none() {
                set_meta(db, "organization", &self.organization).await?;
            }
            let bound = bound.unwrap_or_else(|| self.organization.clone());
            if bound == self.organization {
                set_meta(db, CHECKED_KEY, &self.key).await?;
            }
            Ok(bound)
        })
    }
}

/// Whether a ledger may be at `path`: in a folder that exists, on a filesystem whose locks hold.
pub fn check_place(path: &Path) -> Result<(), LedgerError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(LedgerError::NoFolder(folder));
    }
    refuse_network_filesystem(path, &folder)
}

/// Whether this user may write to a file or folder.
pub fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Free bytes on the disk of the ledger at `path`.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

struct StopCleanly;

impl Write for StopCleanly {
    type Out = ();

    fn apply<'a>(
        &'a self,
        db: &'a mut SqliteConnection,
    ) -> futures::future::BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { set_meta(db, "stopped_cleanly", "yes").await })
    }
}

/// Reads beside the worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) pool: SqlitePool,
    path: Arc<Path>,
}

impl Reader {
    /// Opens an existing ledger of this version for reading only.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        let reader = Self::open_of_any_age(path).await?;
        let (newest, known) = reader.schema().await?;
        if newest < known {
            return Err(LedgerError::Older(path.to_owned()));
        }
        Ok(reader)
    }

    /// The same of a ledger that no worker of this version was at yet, too: for what asks only for tables that it must
    /// have.
    pub async fn open_of_any_age(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::Missing(path.to_owned()));
        }
        refuse_cut_short(path)?;
        let reader = Self::connect(path).await?;
        let (newest, known) = reader.schema().await?;
        if newest > known {
            return Err(LedgerError::Newer(path.to_owned()));
        }
        Ok(reader)
    }

    /// The version of the schema, and the newest that this program knows.
    pub async fn schema(&self) -> Result<(i64, i64), LedgerError> {
        let newest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await
            .map_err(unusable(&self.path))?;
        let known = MIGRATOR.iter().map(|migration| migration.version).max();
        Ok((newest.unwrap_or(0), known.unwrap_or(0)))
    }

    async fn connect(path: &Path) -> Result<Self, LedgerError> {
        let options =
            quiet(SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT));
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(unusable(path))?;
        Ok(Self { pool, path: path.into() })
    }

    /// Keeps every connection, so that whoever reads waits until they are dropped.
    #[cfg(test)]
    pub(crate) async fn keep_busy(&self) -> Vec<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        let mut busy = Vec::new();
        for _ in 0..READERS {
            busy.push(self.pool.acquire().await.unwrap());
        }
        busy
    }

    /// Whether a worker is at this ledger right now.
    pub fn has_worker(&self) -> bool {
        // A lock that may be shared, on a file that is not made here: a look must change nothing.
        File::open(lock_path(&self.path))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether requests under the key with this fingerprint may be those of another organization than the ledger's: it
    /// is bound to one, and nobody has told yet that this key is its.
    pub async fn may_be_foreign(&self, key: &str) -> Result<bool, LedgerError> {
        let is_bound = self.meta("organization").await?.is_some();
        Ok(is_bound && self.meta(CHECKED_KEY).await?.as_deref() != Some(key))
    }

    /// A value of `meta`.
    pub async fn meta(&self, name: &str) -> Result<Option<String>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?)
    }
}

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("src/ledger/migrations");

fn connect_options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // Before WAL: changing the mode needs the lock too.
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged message must survive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What a long reader made the log grow to is given back.
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        // Texts of one statement for each length of a set.
        .statement_cache_capacity(500)
        // What is open stays in memory, however much is finished.
        .pragma("cache_size", CACHE_KIB)
        // What a statement sorts, or may have to take back, needs no file.
        .pragma("temp_store", "MEMORY")
        // Emptying the log of changes costs an fsync of both files, so not every few commits.
        .pragma("wal_autocheckpoint", WAL_PAGES);
    quiet(options)
}

/// Statements are not logged: they hold bodies.
pub(super) fn quiet(options: SqliteConnectOptions) -> SqliteConnectOptions {
    #[cfg(test)]
    if super::statements::is_recorded() {
        return super::statements::told(options);
    }
    options.disable_statement_logging()
}

pub(super) fn unusable(path: &Path) -> impl FnOnce(sqlx::Error) -> LedgerError {
    let path = path.to_owned();
    |cause| LedgerError::Unusable { path, cause }
}

/// The ledger holds briefs of customers: only the owner may read it. `-wal` and `-shm` get the same mode from `SQLite`.
fn create_private(path: &Path) -> Result<(), LedgerError> {
    FileOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|source| LedgerError::Open { path: path.to_owned(), source })
}

/// Takes the worker lock, or waits a moment for it: a command that asks whether a worker runs holds it for an instant.
async fn lock_soon(path: &Path) -> Result<File, LedgerError> {
    for _ in 0..LOCK_TRIES {
        match lock(path) {
            Err(LedgerError::Locked { .. }) => tokio::time::sleep(LOCK_AGAIN).await,
            result => return result,
        }
    }
    lock(path)
}

/// Beside the file itself: two names of one ledger have one lock.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes the worker lock: an OS lock on a file of its own, which death frees.
fn lock(path: &Path) -> Result<File, LedgerError> {
    let lock_path = lock_path(path);
    let file = FileOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|source| LedgerError::Open { path: lock_path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path: path.to_owned(), lock: lock_path }),
        Err(TryLockError::Error(source)) => Err(LedgerError::Open { path: lock_path, source }),
    }
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), LedgerError> {
    match MIGRATOR.run(&mut *connection).await {
        Ok(()) => Ok(()),
        Err(
            sqlx::migrate::MigrateError::VersionMissing(_) | sqlx::migrate::MigrateError::VersionTooNew(..),
        ) => Err(LedgerError::Newer(path.to_owned())),
        Err(
            sqlx::migrate::MigrateError::Execute(source)
            | sqlx::migrate::MigrateError::ExecuteMigration(source, _),
        ) if LedgerError::is_of_the_file(&source) => Err(unusable(path)(source)),
        Err(source) => Err(LedgerError::Migrate { path: path.to_owned(), source }),
    }
}

async fn bind_origin(connection: &mut SqliteConnection, origin: &str) -> Result<(), LedgerError> {
    let bound: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'origin'")
        .fetch_optional(&mut *connection)
        .await?;
    match bound {
        None => set_meta(connection, "origin", origin).await,
        Some(bound) if bound == origin => Ok(()),
        Some(bound) => Err(LedgerError::OtherOrigin { bound, asked: origin.to_owned() }),
    }
}

/// Writes this boot into the ledger; tells whether the one before did not stop in order.
async fn start_boot(connection: &mut SqliteConnection, boot: &str) -> Result<bool, LedgerError> {
    let mut transaction = connection.begin().await?;
    let stopped: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'stopped_cleanly'")
        .fetch_optional(&mut *transaction)
        .await?;
    set_meta(&mut transaction, "boot", boot).await?;
    set_meta(&mut transaction, "stopped_cleanly", "no").await?;
    reached("ledger", "start_boot", "before_commit");
    transaction.commit().await?;
    reached("ledger", "start_boot", "after_commit");
    Ok(stopped.as_deref() == Some("no"))
}

/// The newest time stored, in milliseconds; the ledger's clock never goes back behind it.
async fn newest_time(connection: &mut SqliteConnection) -> Result<i64, LedgerError> {
    let newest: Option<i64> =
        // Ids rise with time; an unreadable message has no history.
        sqlx::query_scalar(
            "SELECT max(at) FROM (SELECT max(at) AS at FROM (SELECT at FROM history ORDER BY id DESC LIMIT 1) \
             UNION ALL SELECT max(at) FROM (SELECT at FROM delivery ORDER BY id DESC LIMIT 1) \
             UNION ALL SELECT max(created_at) FROM (SELECT created_at FROM outbox ORDER BY id DESC LIMIT 1) \
             UNION ALL SELECT max(drawn_at) FROM spent)",
        )
        .fetch_one(connection)
        .await?;
    Ok(newest.unwrap_or(0))
}

/// Sets a value of `meta`.
pub(super) async fn set_meta(
    connection: &mut SqliteConnection,
    name: &str,
    value: &str,
) -> Result<(), LedgerError> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}
