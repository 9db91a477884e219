//! `briefd generate`: a file of briefs in, a file of records out, until nothing of it is left to do.
//!
//! It is the worker of `run` over another source and another sink. It works on its input's briefs only, and ends by
//! itself: once the file is read, no job of it is open and no record waits. Whatever ends it earlier (a signal, a dead
//! key, a reader that went away) stops it in order; the ledger knows how far it was, and the same command goes on.
//!
//! It does not talk to people: what it saw comes back as a [`Report`], and [`Progress`] on the way.

mod simulated;
mod stuck;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::run::Signals;
use super::{Ended, Stages, StartError, Worker};
use crate::clock::Clock;
use crate::config::Settings;
use crate::files::{BriefFile, DeadLetterNote, FileError, JsonlSink, SinkReport};
use crate::ledger::{Hold, Input, LedgerError, Results, Session, StateCounts};
use crate::stages::Desk;

pub use simulated::{Simulated, SimulatedError, at_speed};
pub use stuck::Stuck;

/// How often it looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// Looking takes a tenth of the time at most, however many briefs there are.
const LOOK_SHARE: u32 = 10;

/// What shall be done.
pub struct Task {
    /// The briefs.
    pub source: BriefFile,
    /// The source's name in the ledger: the path without detours, or `-`.
    pub name: String,
    /// `--batch`
    pub batch: Option<String>,
    /// The file's stem.
    pub default_batch: Option<String>,
    /// Briefs in the batch that one of these makes.
    pub batch_size: u64,
    /// Where records go.
    pub sink: JsonlSink,
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Briefs by state.
    pub states: StateCounts,
    /// Why starts wait.
    pub holds: Vec<Hold>,
    /// Why records cannot be written, when they cannot.
    pub unwritable: Option<String>,
    /// Why the latest POST found no connection to the API.
    pub unreachable: Option<String>,
    /// It was told to stop, and finishes what is under way.
    pub stopping: bool,
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Done,
    /// A signal.
    Interrupted,
    /// The account is in a trouble that only a person can mend.
    Stuck(Stuck),
    /// Nobody reads standard output any more.
    NobodyReads,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it ended.
    pub end: End,
    /// What became of the briefs.
    pub results: Results,
    /// Records written.
    pub records: u64,
    /// Lines that did not become briefs, a thousand of them at most.
    pub set_aside: Vec<DeadLetterNote>,
    /// How many there are.
    pub set_aside_count: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The ledger failed on the way.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file of records could not be put under its name.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Runs the task to its end.
pub async fn run(
    settings: Settings,
    task: Task,
    clock: Clock,
    watch: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Report, GenerateError> {
    let started = Instant::now();
    let mut signals = Signals::new()?;
    let grace = settings.shutdown.grace;
    let worker = Worker::open(settings, Input::File(task.name), clock).await?;
    let desk = worker.desk.clone();
    let watched = Watched {
        session: desk.ledger.reader().session().await?,
        stuck: stuck::Watch::start(&desk).await?,
        report: task.sink.report(),
        desk,
    };
    let mut rulebook = worker.rulebook();
    rulebook.batch = task.batch;
    rulebook.default_batch = task.default_batch;
    rulebook.batch_size = (task.batch_size > 0).then_some(task.batch_size);
    let stages = worker.start(task.source, rulebook, task.sink);
    let ended = watched.until_end(&stages, &mut signals, watch).await;
    if !matches!(ended, Ok(End::Done)) {
        watch(&Progress { stopping: true, ..Progress::default() });
    }
    let sink = watched.stop(stages, grace, &mut signals).await;
    let end = ended?;
    if let (End::Done, Some(sink)) = (&end, sink) {
        sink.finish()?;
    }
    Ok(Report {
        end,
        results: watched.desk.ledger.reader().session_results(watched.session).await?,
        records: watched.report.records(),
        set_aside: watched.report.dead_letters(),
        set_aside_count: watched.report.dead_letter_count(),
        took: started.elapsed(),
    })
}

/// The stages at work, seen from outside.
struct Watched {
    desk: Desk,
    session: Session,
    stuck: stuck::Watch,
    report: SinkReport,
}

impl Watched {
    async fn until_end(
        &self,
        stages: &Stages<BriefFile, JsonlSink>,
        signals: &mut Signals,
        watch: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<End, LedgerError> {
        loop {
            let looked = Instant::now();
            // Before the look for open work: what intake decides after that look would be overlooked.
            let all_read = stages.intake_ended();
            if all_read && !self.desk.ledger.is_busy().await? {
                return Ok(End::Done);
            }
            let reader = self.desk.ledger.reader();
            let holds = reader.holds().await?;
            if let Some(stuck) = self.stuck.look(&holds, self.desk.clock.now_ms()) {
                return Ok(End::Stuck(stuck));
            }
            if all_read && let Some(stuck) = stuck::only_refused(&self.desk, &holds).await? {
                return Ok(End::Stuck(stuck));
            }
            if self.report.closed() {
                return Ok(End::NobodyReads);
            }
            watch(&Progress {
                states: reader.session_states(self.session).await?,
                holds,
                unwritable: self.report.trouble(),
                unreachable: reader.session_unreachable(self.session).await?,
                stopping: false,
            });
            let pause = LOOK.max(looked.elapsed() * LOOK_SHARE);
            tokio::select! {
                () = self.desk.clock.sleep(pause) => {}
                name = signals.next() => {
                    tracing::info!(signal = name, "stopping: nothing new is started, what is under way finishes");
                    return Ok(End::Interrupted);
                }
            }
        }
    }

    /// Stops in order; a signal meanwhile ends it at once. Returns the sink if publishing has ended in time.
    async fn stop(
        &self,
        stages: Stages<BriefFile, JsonlSink>,
        grace: Duration,
        signals: &mut Signals,
    ) -> Option<JsonlSink> {
        tokio::select! {
            Ended { sink, .. } = stages.stop(&self.desk, grace) => sink,
            name = signals.second() => {
                tracing::warn!(signal = name, "stopped at once; the same command goes on from the ledger");
                None
            }
        }
    }
}
