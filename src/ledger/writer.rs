//! The one writer: it owns the one write connection and commits in groups.
//!
//! Callers hand in a [`Write`] and wait for its commit; whatever waits together shares one transaction and one
//! fsync, and those of one type that are better done together (`VALUES` lists) share their statements. When one fails,
//! which is rare, the transaction is begun anew with a savepoint for each write, so that it takes nobody with it. When
//! the commit itself fails nothing is assumed: every write of the group is tried again in a transaction of its own on a
//! fresh connection, and each caller hears its own result. Nothing here runs under `select!` or `timeout`: a caller that
//! goes away loses the answer, never the write.

use std::any::{Any, TypeId, type_name};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;
use super::standing::Standing;
use crate::crash_point::reached;
use crate::telemetry::Metrics;

/// Writes that may wait; further callers wait for a place.
const QUEUE: usize = 1_024;
/// Writes that share one commit at most.
const GROUP: usize = 1_024;

/// One unit of work on the ledger. It may run more than once (after a failed commit), each time on a state in which
/// it has not run, so it takes `&self`.
pub trait Write: Send + Sync + 'static {
    /// What the caller gets when it is committed.
    type Out: Send + 'static;

    /// Whether several that wait together are better done by [`Write::apply_together`].
    const TOGETHER: bool = false;

    /// Does the work inside the transaction.
    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Self::Out, LedgerError>>;

    /// Does what it can of several of this type at once, in the order they came; `None` for what is to be done alone.
    /// After an `Err` each of them is done alone.
    fn apply_together<'a>(
        writes: &'a [&'a Self],
        _db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Vec<Option<Self::Out>>, LedgerError>>
    where
        Self: Sized,
    {
        Box::pin(std::future::ready(Ok(writes.iter().map(|_| None).collect())))
    }

    /// Rows it stands for, for the metric.
    fn rows(&self) -> usize {
        1
    }

    /// Its type's name: what the places around its commit are called by.
    fn name(&self) -> &'static str {
        let path = type_name::<Self>();
        path.rsplit("::").next().unwrap_or(path)
    }

    /// Which of the steps it is that this one type writes: each has places of its own around its commit.
    fn step(&self) -> Option<&'static str> {
        None
    }
}

/// The way to the writer. Cheap to clone; the writer ends when the last one is gone.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    standing: Standing,
}

impl Writer {
    /// Starts the writer on `connection`, in a thread of its own: its next statement never waits for a turn among all
    /// the other tasks. `beat` is called after each commit, and every second while idle. The worker lock is let go only
    /// after the last write. `Err`: there is no thread to be had.
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        (metrics, beat): (Metrics, Box<dyn Fn() + Send>),
        lock: Arc<File>,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let standing = Standing::default();
        let state = State {
            connection: Some(connection),
            options,
            metrics,
            beat,
            standing: standing.clone(),
            _lock: lock,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || runtime.block_on(run(receiver, state)))?;
        Ok(Self { queue: sender, standing })
    }

    /// Hands in `write` and waits until it is committed (or has failed).
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Out, LedgerError> {
        let (answer, waiting) = oneshot::channel();
        let job = Envelope { write, result: None, answer: Some(answer) };
        self.queue.send(Box::new(job)).await.map_err(|_closed| LedgerError::Closed)?;
        waiting.await.map_err(|_closed| LedgerError::Closed)?
    }

    /// Why nothing can be written now, as one line for people.
    pub(super) fn trouble(&self) -> Option<String> {
        self.standing.trouble()
    }
}

/// A write with the type of its result forgotten, so that different ones can share a group.
trait Job: Send {
    fn run<'a>(&'a mut self, db: &'a mut SqliteConnection) -> BoxFuture<'a, bool>;
    /// Does what it can of this one and `others`, which are of its set; the rest has no result yet.
    fn run_together<'a>(
        &'a mut self,
        others: &'a mut [Box<dyn Job>],
        db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;
    /// Those of one set may be done together; `None`: it is done alone.
    fn set(&self) -> Option<TypeId>;
    fn as_any(&mut self) -> &mut dyn Any;
    fn has_result(&self) -> bool;
    fn forget_result(&mut self);
    fn fail(&mut self, error: LedgerError);
    fn answer(self: Box<Self>);
    fn rows(&self) -> usize;
    /// Why it is not done; `None`: it is, or it has not run.
    fn error(&self) -> Option<&LedgerError>;
    fn name(&self) -> &'static str;
    fn step(&self) -> Option<&'static str>;
}

struct Envelope<W: Write> {
    write: W,
    result: Option<Result<W::Out, LedgerError>>,
    answer: Option<oneshot::Sender<Result<W::Out, LedgerError>>>,
}

impl<W: Write> Job for Envelope<W> {
    fn run<'a>(&'a mut self, db: &'a mut SqliteConnection) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let result = self.write.apply(db).await;
            let done = result.is_ok();
            self.result = Some(result);
            done
        })
    }

    fn run_together<'a>(
        &'a mut self,
        others: &'a mut [Box<dyn Job>],
        db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let mut all = vec![self];
            all.extend(others.iter_mut().filter_map(|job| job.as_any().downcast_mut::<Self>()));
            let writes: Vec<&W> = all.iter().map(|envelope| &envelope.write).collect();
            let results = W::apply_together(&writes, db).await?;
            for (envelope, result) in all.into_iter().zip(results) {
                envelope.result = result.map(Ok);
            }
            Ok(())
        })
    }

    fn set(&self) -> Option<TypeId> {
        W::TOGETHER.then(TypeId::of::<W>)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn has_result(&self) -> bool {
        self.result.is_some()
    }

    fn forget_result(&mut self) {
        self.result = None;
    }

    fn fail(&mut self, error: LedgerError) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        let Self { write, result, answer } = *self;
        // First, so that a caller who shares it is its only owner when the answer is there.
        drop(write);
        if let (Some(answer), Some(result)) = (answer, result) {
            // A caller that went away does not want the answer; the write stands.
            drop(answer.send(result));
        }
    }

    fn rows(&self) -> usize {
        self.write.rows()
    }

    fn error(&self) -> Option<&LedgerError> {
        self.result.as_ref()?.as_ref().err()
    }

    fn name(&self) -> &'static str {
        self.write.name()
    }

    fn step(&self) -> Option<&'static str> {
        self.write.step()
    }
}

struct State {
    /// `None` after a commit that failed: opened again before the next write.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    metrics: Metrics,
    beat: Box<dyn Fn() + Send>,
    standing: Standing,
    /// Let go when the connection is closed.
    _lock: Arc<File>,
}

async fn run(mut queue: mpsc::Receiver<Box<dyn Job>>, mut state: State) {
    let mut group: Vec<Box<dyn Job>> = Vec::with_capacity(GROUP);
    loop {
        // `recv_many` is cancel-safe: nothing is lost when the idle timer wins.
        match tokio::time::timeout(Duration::from_secs(1), queue.recv_many(&mut group, GROUP)).await {
            Ok(0) => break,
            Ok(_) => {
                state.commit(&mut group).await;
                for job in group.drain(..) {
                    if let Some(error) = job.error() {
                        state.standing.failed(error);
                    }
                    job.answer();
                }
            }
            Err(_idle) => {}
        }
        state.standing.look();
        (state.beat)();
    }
    if let Some(connection) = state.connection.take()
        && let Err(error) = connection.close().await
    {
        tracing::warn!(%error, "the ledger did not close cleanly; it is consistent all the same");
    }
}

impl State {
    async fn commit(&mut self, group: &mut [Box<dyn Job>]) {
        let started = Instant::now();
        let rows: usize = group.iter().map(|job| job.rows()).sum();
        if let Err(error) = self.transaction(group).await {
            tracing::debug!(%error, writes = group.len(), "a commit failed; its writes are done again one by one");
            self.reopen().await;
            for job in group.iter_mut() {
                if let Err(error) = self.transaction(std::slice::from_mut(job)).await {
                    job.fail(error);
                    self.reopen().await;
                }
            }
        }
        self.metrics.ledger_commit_seconds.observe(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a count of rows for a histogram")]
        self.metrics.ledger_commit_rows.observe(rows as f64);
    }

    /// Runs every job in one transaction. `Err`: nothing of it is committed.
    async fn transaction(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
        let connection = match self.connection.as_mut() {
            Some(connection) => connection,
            None => self.connection.insert(self.options.connect().await?),
        };
        // They all wait, so their order is ours; those of one set keep theirs. Sets go first: what they end makes
        // room for what is claimed.
        group.sort_by_key(|job| (job.set().is_none(), job.set()));
        let mut outer = connection.begin_with("BEGIN IMMEDIATE").await?;
        if !run_all(&mut outer, group).await {
            // `SQLite` may have rolled back already (a full disk); the write's own error is the one to tell.
            if let Err(error) = outer.rollback().await {
                tracing::debug!(%error, "rolling back writes that failed");
                self.reopen().await;
                return if group.len() == 1 { Ok(()) } else { Err(error.into()) };
            }
            if group.len() == 1 {
                return Ok(());
            }
            // One of them failed, which is rare: once more, so that it takes nobody with it.
            let Some(connection) = self.connection.as_mut() else { return Err(LedgerError::Closed) };
            outer = connection.begin_with("BEGIN IMMEDIATE").await?;
            run_apart(&mut outer, group).await?;
        }
        each_reached(group, "before_commit");
        outer.commit().await?;
        each_reached(group, "after_commit");
        Ok(())
    }

    /// Throws the connection away after a failure: what it thinks of the file may be wrong.
    async fn reopen(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "closing the ledger after a failure");
        }
    }
}

/// Runs jobs, those of one set together as far as that can be done; `false`: one failed.
async fn run_all(outer: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> bool {
    for set in group.chunk_by_mut(|one, next| one.set().is_some() && one.set() == next.set()) {
        for job in set.iter_mut() {
            job.forget_result();
        }
        if let [first, others @ ..] = &mut *set
            && !others.is_empty()
            && let Err(error) = first.run_together(others, outer).await
        {
            tracing::debug!(%error, writes = set.len(), "not done together; each is done alone");
            return false;
        }
        for job in set.iter_mut().filter(|job| !job.has_result()) {
            if !job.run(outer).await {
                return false;
            }
        }
    }
    true
}

/// Runs each job alone, in a savepoint of its own.
async fn run_apart(outer: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
    for job in group {
        let mut inner = outer.begin().await?;
        if job.run(&mut inner).await {
            inner.commit().await?;
        } else {
            inner.rollback().await?;
        }
    }
    Ok(())
}

fn each_reached(group: &[Box<dyn Job>], moment: &str) {
    for job in group {
        reached("ledger", job.name(), moment);
        if let Some(step) = job.step() {
            reached("ledger", step, moment);
        }
    }
}

/// A large write can be shared with its caller, who goes on reading it after the commit.
impl<W: Write> Write for Arc<W> {
    type Out = W::Out;
    const TOGETHER: bool = W::TOGETHER;

    fn apply_together<'a>(
        writes: &'a [&'a Self],
        db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Vec<Option<Self::Out>>, LedgerError>> {
        Box::pin(async move {
            let shared: Vec<&W> = writes.iter().map(AsRef::as_ref).collect();
            W::apply_together(&shared, db).await
        })
    }

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Self::Out, LedgerError>> {
        self.as_ref().apply(db)
    }

    fn rows(&self) -> usize {
        self.as_ref().rows()
    }

    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn step(&self) -> Option<&'static str> {
        self.as_ref().step()
    }
}
