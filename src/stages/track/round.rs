//! The rounds of the stage: take up what is new, start the reads that are due, take in what they told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::Track;
use super::board::Board;
use super::cadence::Cadence;
use super::find::Known;
use super::followed::{Look, Seen};
use super::kept::Kept;
use super::projects::Outcome;
use super::reads::Reads;
use super::sweep::{Plan, Swept};
use crate::layers::{Class, Priority};
use crate::ledger::NoteAnswered;
use crate::stages::desk::LOOK_AGAIN;
use crate::telemetry::TraceIds;

/// Overdue jobs that get a line of their own in the log, each time.
const OVERDUE_LINES: usize = 10;

/// What is under way at once, by kind: each has places of its own, so that polls that wait for a permit never keep
/// what has ended from waiting for one.
const PLACES: [usize; 3] = [64, 8, 64];

/// The stage at work.
pub(super) struct Rounds {
    pub reads: Reads,
    pub board: Board,
    pub known: Known,
    under_way: JoinSet<Report>,
    /// What each task is, should it panic.
    kinds: HashMap<Id, Priority>,
    taken: [usize; 3],
}

/// What a task has found out.
enum Report {
    Looked(i64, Seen),
    Swept(Box<Swept>),
    /// A job was given up; whether that is written.
    GaveUp(i64, bool),
}

impl Rounds {
    pub(super) fn new(track: Track) -> Self {
        let board = Board::new(Cadence::new(&track.settings));
        Self {
            reads: Reads {
                track,
                kept: Kept::default(),
                furthest_skew_ms: Arc::new(AtomicI64::new(i64::MIN)),
            },
            board,
            known: Known::default(),
            under_way: JoinSet::new(),
            kinds: HashMap::new(),
            taken: [0; 3],
        }
    }

    /// Starts what is due, as far as there is room; returns how long until more is.
    pub(super) fn start_due(&mut self) -> Duration {
        if self.reads.track.desk.reads_are_held() {
            return LOOK_AGAIN;
        }
        let now_ms = self.now_ms();
        while self.has_room(Priority::Ended)
            && let Some(look) = self.board.next_gone()
        {
            self.start_look(look, Priority::Ended);
        }
        while self.has_room(Priority::Poll)
            && let Some(look) = self.board.next_poll(now_ms)
        {
            self.start_look(look, Priority::Poll);
        }
        // As long as containers wait to be read, a sweep would only find more of them.
        let available = self.reads.track.limits.available(Class::Read);
        while self.has_room(Priority::Sweep)
            && !self.board.has_gone()
            && let Some(project) = self.board.projects.start(now_ms, available)
        {
            self.start_sweep(&project, now_ms);
        }
        self.write_notes();
        self.until_due(now_ms, available)
    }

    fn until_due(&self, now_ms: i64, available: u32) -> Duration {
        let polls = self.board.next_due_ms().filter(|_| self.has_room(Priority::Poll));
        // What is left of the budget changes without a word, so a stretched sweep is looked at again.
        let sweeps = self.board.projects.due_ms(available);
        let sweeps = sweeps.filter(|_| self.has_room(Priority::Sweep) && !self.board.has_gone());
        let sweeps = sweeps.map(|due_ms| due_ms.min(now_ms.saturating_add(self.board.cadence.sweep_ms)));
        let next_ms = polls.into_iter().chain(sweeps).min();
        next_ms.map_or(LOOK_AGAIN, |next_ms| {
            Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0).max(1)).min(LOOK_AGAIN)
        })
    }

    fn start_look(&mut self, look: Look, kind: Priority) {
        let reads = self.reads.clone();
        self.start(kind, async move {
            let job = look.job;
            Report::Looked(job, reads.look(look).await)
        });
    }

    fn start_sweep(&mut self, project: &Arc<str>, now_ms: i64) {
        let first = self.board.projects.members(project).next();
        let Some((first_post_ms, _)) = first.filter(|_| self.board.is_worth_a_sweep(project, now_ms)) else {
            self.board.projects.skipped(project, now_ms);
            return;
        };
        let plan = Plan {
            project: Arc::clone(project),
            first_post_ms,
            page_limit: self.board.projects.page_limit(project),
            hasher: self.board.hasher.clone(),
        };
        let reads = self.reads.clone();
        self.start(Priority::Sweep, async move { Report::Swept(Box::new(reads.sweep(plan).await)) });
    }

    /// Notes in the ledger for how long the API has answered about jobs.
    fn write_notes(&mut self) {
        let answered = self.board.take_notes();
        if answered.is_empty() {
            return;
        }
        let ledger = self.reads.track.desk.ledger.clone();
        // Lost with the process, it would only make us more patient: nobody waits for it.
        tokio::spawn(async move {
            if let Err(error) = ledger.write(Arc::new(NoteAnswered { answered })).await {
                tracing::debug!(stage = "track", %error, "how long the API has answered could not be noted");
            }
        });
    }

    fn start(&mut self, kind: Priority, task: impl Future<Output = Report> + Send + 'static) {
        self.taken[kind as usize] += 1;
        let id = self.under_way.spawn(task).id();
        self.kinds.insert(id, kind);
    }

    fn has_room(&self, kind: Priority) -> bool {
        self.taken[kind as usize] < PLACES[kind as usize]
    }

    /// Takes in what the next read told, and whatever else is there; waits for ever if nothing is under way.
    /// Cancel-safe.
    pub(super) async fn next_report(&mut self) {
        let Some(first) = self.under_way.join_next_with_id().await else {
            return std::future::pending().await;
        };
        self.take_in(first);
        while let Some(more) = self.under_way.try_join_next_with_id() {
            self.take_in(more);
        }
        self.say_overdue();
    }

    fn take_in(&mut self, ended: Result<(Id, Report), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some(kind) = self.kinds.remove(&id) {
            self.taken[kind as usize] = self.taken[kind as usize].saturating_sub(1);
        }
        let now_ms = self.now_ms();
        match ended {
            Ok((_, Report::Looked(job, seen))) => {
                let project = self.board.project(job);
                if self.board.looked(job, seen, now_ms)
                    && let Some(project) = project
                {
                    self.give_up(job, project);
                }
            }
            Ok((_, Report::Swept(swept))) => self.swept(&swept, now_ms),
            Ok((_, Report::GaveUp(job, true))) => {
                self.board.forget_job(job, now_ms);
                self.known.look_for_lost();
            }
            Ok((_, Report::GaveUp(_, false))) => {}
            Err(error) if error.is_panic() => {
                tracing::error!(stage = "track", %error, "a bug: following a job panicked; it is followed again after a restart");
            }
            Err(_aborted) => {}
        }
    }

    fn give_up(&mut self, job: i64, project: Arc<str>) {
        let reads = self.reads.clone();
        self.start(Priority::Ended, async move { Report::GaveUp(job, reads.give_up(job, &project).await) });
    }

    fn swept(&mut self, swept: &Swept, now_ms: i64) {
        let project = &swept.project;
        let was_swept = self.board.projects.is_swept(project);
        let outcome = (swept.outcome, swept.pages);
        self.board.projects.swept(project, swept.asked_ms, outcome);
        if swept.outcome == Outcome::Whole {
            self.board.shown(project, swept.asked_ms, |hash| swept.shown.contains(&hash), now_ms);
        }
        self.board.follow_project(project, was_swept, now_ms);
        let is_swept = self.board.projects.is_swept(project);
        if was_swept && !is_swept {
            tracing::info!(stage = "track", project = %project, outcome = ?swept.outcome, pages = swept.pages, "its jobs are polled for now: sweeps of the list fail or take too many pages");
        }
    }

    fn say_overdue(&mut self) {
        let mut overdue = self.board.take_overdue();
        if overdue.is_empty() {
            return;
        }
        let more = overdue.len().saturating_sub(OVERDUE_LINES);
        overdue.truncate(OVERDUE_LINES);
        let reader = self.reads.track.desk.ledger.reader().clone();
        // Whose they are is asked of the ledger, for which no look has to wait.
        tokio::spawn(async move {
            for (job, api_job_id, project) in overdue {
                let whose = reader.whose(job).await.unwrap_or_default();
                let trace = TraceIds::of(whose.traceparent.as_deref());
                tracing::warn!(
                    stage = "track",
                    job.id = job,
                    api_job_id = api_job_id.as_deref(),
                    brief.id = whose.brief_id,
                    batch.id = whose.batch_id,
                    trace_id = trace.trace,
                    parent_id = trace.parent,
                    project = %project,
                    "a job has not ended in track.overdue_after; it is followed on, more slowly"
                );
            }
            if more > 0 {
                tracing::warn!(stage = "track", more, "and more jobs are overdue");
            }
        });
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.reads.track.desk.clock.now_ms()
    }
}
