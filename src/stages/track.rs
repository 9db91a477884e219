//! track: finds out which running jobs have ended, reads their containers, and settles them: results and outbox rows in
//! one transaction.
//!
//! Truth comes only from `GET`. For a `generate` the container decides; the job only says when to look. A regenerated
//! container keeps its old end until the new job starts, so there a terminal read counts only once its end differs
//! from the stored one, or once its own job is over and a read begun after that agrees with it. Failing to *see* a job
//! never changes the job.
//!
//! This version polls each job on the documented cadence (`follow`); what is due and when is all that a sweep would
//! have to replace. What is followed is kept in memory and read again from the ledger at start.

mod follow;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::follow::{Followed, Look, Next};
use super::back_off::after;
use super::desk::LOOK_AGAIN;
use super::look_up::end_has_changed;
use super::{Desk, Prices};
use crate::config;
use crate::job::{ApiStatus, ContainerReading, JobReading};
use crate::layers::{self, Limits, Priority};
use crate::ledger::{ContainerEnd, Ended, LedgerError, Running, Settle, Settled};
use crate::record::{RecordError, Source};
use crate::telemetry::Metrics;

/// Reads in flight at once; the rate limit decides how many leave.
const READS: usize = 64;
/// Jobs read from the ledger in one page.
const PAGE: u32 = 1_000;
/// Jobs accepted this shortly before the newest known one are looked for again: commits are not in order of time.
const OVERLAP_MS: i64 = 10_000;
/// How often all running jobs are looked for: one whose commit had to wait (a full disk) may be older than that.
const LOOK_FOR_ALL: Duration = Duration::from_secs(30);

/// The track stage.
#[derive(Clone)]
pub struct Track {
    /// What every stage has.
    pub desk: Desk,
    /// The API.
    pub api: layers::Client,
    /// Its rate limits.
    pub limits: Limits,
    /// `[track]`
    pub settings: Arc<config::Track>,
    /// What containers cost.
    pub prices: Prices,
}

impl Track {
    /// Runs until it is told to stop. Reads that are under way then are dropped: nothing depends on them.
    pub async fn run(self) {
        let mut followed: HashMap<i64, Followed> = HashMap::new();
        let mut known = Known::default();
        let mut looking: JoinSet<(i64, Next)> = JoinSet::new();
        while !self.desk.stopping.is_cancelled() {
            self.desk.step("track");
            if let Err(error) = self.find_new(&mut followed, &mut known).await {
                tracing::error!(stage = "track", %error, "running jobs could not be read from the ledger");
            }
            let wait = self.look_at_due(&mut followed, &mut looking);
            let bell = self.desk.ledger.wake().track();
            tokio::select! {
                Some(ended) = looking.join_next() => self.looked(&mut followed, ended),
                () = self.desk.wait(bell, wait) => {}
            }
            while let Some(ended) = looking.try_join_next() {
                self.looked(&mut followed, ended);
            }
        }
    }

    /// Takes up jobs that are running and not followed yet.
    async fn find_new(
        &self,
        followed: &mut HashMap<i64, Followed>,
        known: &mut Known,
    ) -> Result<(), LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let mut after = known.search_from(now_ms);
        loop {
            let page = self.desk.ledger.running(after, PAGE).await?;
            let full = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
            for job in page {
                after = (job.accepted_ms, job.job);
                known.newest_ms = known.newest_ms.max(job.accepted_ms);
                followed.entry(job.job).or_insert_with(|| Followed::new(job, now_ms, &self.settings));
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Starts looking at what is due; returns how long until the next is.
    fn look_at_due(
        &self,
        followed: &mut HashMap<i64, Followed>,
        looking: &mut JoinSet<(i64, Next)>,
    ) -> Duration {
        let now_ms = self.desk.clock.now_ms();
        let mut due: Vec<&mut Followed> =
            followed.values_mut().filter(|job| !job.looking && job.due_ms <= now_ms).collect();
        due.sort_by_key(|job| job.due_ms);
        for job in due.into_iter().take(READS.saturating_sub(looking.len())) {
            job.looking = true;
            let (stage, look) = (self.clone(), job.look());
            looking.spawn(async move { (look.job.job, stage.look(look).await) });
        }
        if looking.len() >= READS {
            // Whoever returns next makes room.
            return LOOK_AGAIN;
        }
        let next_ms = followed.values().filter(|job| !job.looking).map(|job| job.due_ms).min();
        next_ms.map_or(LOOK_AGAIN, |next_ms| {
            Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0).max(1))
        })
    }

    fn looked(
        &self,
        followed: &mut HashMap<i64, Followed>,
        ended: Result<(i64, Next), tokio::task::JoinError>,
    ) {
        match ended {
            Ok((job, Next::Forget)) => {
                followed.remove(&job);
            }
            Ok((job, Next::Again { terminal })) => {
                if let Some(job) = followed.get_mut(&job) {
                    job.again(terminal, self.desk.clock.now_ms(), &self.settings);
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(stage = "track", %error, "a bug: following a job panicked; it is followed again after a restart");
            }
            Err(_aborted) => {}
        }
    }

    /// One look at one job: the job first, then its containers if it has ended.
    async fn look(&self, look: Look) -> Next {
        let job = match self.read_job(&look.job).await {
            JobLook::Running => return Next::Again { terminal: false },
            JobLook::Over(reading) => Some(reading),
            JobLook::Unknown => None,
        };
        let mut ends = Vec::new();
        for id in &look.job.open {
            if let Some(end) = self.read_container(&look, id, job.as_ref()).await {
                ends.push(end);
            }
        }
        let over = ends.len() == look.job.open.len();
        let close = over && (job.is_some() || look.job.api_job_id.is_none());
        if ends.is_empty() && !close {
            return Next::Again { terminal: job.is_some() };
        }
        let terminal = job.is_some();
        match self.settle(&look.job, ends, close).await {
            // Also without a job to ask, when the API forgot it and its containers had all ended.
            Ok(settled) if settled.over => Next::Forget,
            Ok(_) => Next::Again { terminal },
            Err(error) => {
                tracing::error!(stage = "track", job.id = look.job.job, %error, "results could not be recorded; they are read again");
                Next::Again { terminal }
            }
        }
    }

    async fn read_job(&self, job: &Running) -> JobLook {
        let Some(id) = &job.api_job_id else { return JobLook::Unknown };
        let permit = self.limits.acquire_read(Priority::Poll).await;
        let answer = self.api.job(id).await;
        permit.answered();
        match answer {
            Ok(reading) if reading.status.is_terminal() => JobLook::Over(reading),
            Ok(_) => JobLook::Running,
            // The API forgot the job; its containers may tell more.
            Err(trouble) if trouble.is_not_found() => JobLook::Unknown,
            Err(trouble) => {
                self.slow_down(&trouble);
                JobLook::Running
            }
        }
    }

    fn slow_down(&self, trouble: &crate::job::Trouble) {
        if let crate::job::Trouble::Refusal(refusal) = trouble
            && refusal.status == 429
        {
            self.limits.slow(layers::Class::Read, refusal.retry_after.unwrap_or(Duration::from_secs(5)));
        }
    }

    /// Reads one container; `Some` if it has ended by the rules above.
    async fn read_container(&self, look: &Look, id: &str, job: Option<&JobReading>) -> Option<ContainerEnd> {
        let permit = self.limits.acquire_read(Priority::Ended).await;
        let answer = self.api.container(id).await;
        permit.answered();
        let now_ms = self.desk.clock.now_ms();
        let reading = match answer {
            Ok(reading) => Some(reading),
            Err(trouble) if trouble.is_not_found() => None,
            Err(trouble) => {
                self.slow_down(&trouble);
                return None;
            }
        };
        if let Some(reading) = reading.as_ref().filter(|reading| has_ended(&look.job, reading, job)) {
            return container_end(id, reading, job, &self.prices, now_ms);
        }
        // The job is over and its container disagrees or is not there: after long enough the job decides.
        let job = job.filter(|_| look.contradicted_for(now_ms) >= self.settings.overdue_after)?;
        Some(job_decides(id, reading.as_ref(), job, now_ms))
    }

    async fn settle(
        &self,
        job: &Running,
        ends: Vec<ContainerEnd>,
        close: bool,
    ) -> Result<Settled, LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let settle = Arc::new(Settle { job: job.job, ends, close, now_ms });
        let settled = self.desk.write_until_done("track", Arc::clone(&settle)).await?;
        if settled.over {
            self.limits.job_ended();
        }
        let wake = self.desk.ledger.wake();
        wake.publish().notify_one();
        wake.intake().notify_one();
        for (end, newly) in settle.ends.iter().zip(&settled.newly) {
            if *newly {
                self.count(job, end);
            }
        }
        let label = self.desk.project_label(&job.project_id);
        let missing = u64::try_from(settled.missing).unwrap_or(u64::MAX);
        self.desk
            .metrics
            .failures_total
            .with_label_values(&["CONTAINER_MISSING", "briefd", label])
            .inc_by(missing);
        tracing::debug!(
            stage = "track",
            job.id = job.job,
            brief = job.label,
            containers = settle.ends.len(),
            "settled"
        );
        Ok(settled)
    }

    fn count(&self, job: &Running, end: &ContainerEnd) {
        let metrics = &self.desk.metrics;
        let format = Metrics::format_label(end.format.as_deref().or(job.format.as_deref()));
        metrics.containers_total.with_label_values(&[end.ended.word(), format]).inc();
        #[expect(clippy::cast_precision_loss, reason = "a generation in milliseconds fits into 53 bits")]
        let seconds = (end.ended_ms - job.accepted_ms).max(0) as f64 / 1_000.0;
        metrics.generation_seconds.with_label_values(&[format]).observe(seconds);
        if let Some(error) = &end.error {
            let label = self.desk.project_label(&job.project_id);
            metrics
                .failures_total
                .with_label_values(&[Metrics::code_label(&error.code), error.source.word(), label])
                .inc();
        }
    }
}

/// How far the ledger was searched for running jobs.
#[derive(Debug, Default)]
struct Known {
    /// When the newest known one was accepted, milliseconds since 1970.
    newest_ms: i64,
    /// When all are looked for next.
    all_again_ms: i64,
}

impl Known {
    /// After which acceptance (its time and job) to search now.
    fn search_from(&mut self, now_ms: i64) -> (i64, i64) {
        if self.all_again_ms > now_ms {
            return (self.newest_ms.saturating_sub(OVERLAP_MS), 0);
        }
        self.all_again_ms = after(now_ms, LOOK_FOR_ALL);
        (0, 0)
    }
}

/// What a look at a job told.
enum JobLook {
    Running,
    Over(JobReading),
    /// There is no job to ask, or the API does not know it.
    Unknown,
}

/// Whether this read of a container is its end, and not an earlier one.
fn has_ended(running: &Running, reading: &ContainerReading, job: Option<&JobReading>) -> bool {
    if !reading.status.is_terminal() {
        return false;
    }
    match &running.seen_before {
        None => true,
        Some(before) => {
            let changed = end_has_changed(before, reading);
            // The job was read before the container, so this read began after the job was over.
            let agrees = job.is_some_and(|job| job.status == reading.status);
            changed || agrees
        }
    }
}

/// The end of a container as its own record tells it; `None` if it has not ended.
pub(super) fn container_end(
    id: &str,
    reading: &ContainerReading,
    job: Option<&JobReading>,
    prices: &Prices,
    now_ms: i64,
) -> Option<ContainerEnd> {
    let (ended, at, error) = match &reading.status {
        ApiStatus::Completed => (Ended::Completed, reading.completed_at, None),
        ApiStatus::Failed => (Ended::Failed, reading.failed_at, Some(failure(reading, job))),
        ApiStatus::Canceled => (
            Ended::Canceled,
            reading.failed_at.or(reading.updated_at),
            Some(RecordError::new(Source::Layers, "CANCELED", "canceled at the API")),
        ),
        ApiStatus::Running(_) => return None,
    };
    let at =
        at.or_else(|| job.and_then(|job| job.finished_at)).map_or(now_ms, jiff::Timestamp::as_millisecond);
    Some(ContainerEnd {
        container: id.to_owned(),
        ended,
        record: Some(reading.record.clone()),
        error,
        format: reading.format.clone(),
        ended_ms: at,
        credits_estimate: prices.of(reading.format.as_deref()),
    })
}

fn failure(reading: &ContainerReading, job: Option<&JobReading>) -> RecordError {
    let told = reading.last_error.as_ref().or_else(|| job.and_then(|job| job.error.as_ref()));
    let mut error = match told {
        Some(told) => RecordError::new(Source::Layers, told.code.clone(), told.message.clone()),
        None => RecordError::new(Source::Layers, "FAILED", "the API gave no reason"),
    };
    error.stage = job.and_then(|job| job.stage.clone());
    error
}

/// After long contradiction the job decides: its error, or the container is missing.
fn job_decides(id: &str, reading: Option<&ContainerReading>, job: &JobReading, now_ms: i64) -> ContainerEnd {
    let (ended, error) = match (&job.status, &job.error) {
        (ApiStatus::Canceled, _) => {
            (Ended::Canceled, RecordError::new(Source::Layers, "CANCELED", "canceled at the API"))
        }
        (ApiStatus::Failed, Some(told)) => {
            (Ended::Failed, RecordError::new(Source::Layers, told.code.clone(), told.message.clone()))
        }
        (ApiStatus::Failed | ApiStatus::Completed | ApiStatus::Running(_), _) => (
            Ended::Failed,
            RecordError::new(
                Source::Briefd,
                "CONTAINER_MISSING",
                "its job is over at the API, and the container does not say so or is not there",
            ),
        ),
    };
    ContainerEnd {
        container: id.to_owned(),
        ended,
        record: reading.map(|reading| reading.record.clone()),
        error: Some(error),
        format: reading.and_then(|reading| reading.format.clone()),
        ended_ms: job.finished_at.map_or(now_ms, jiff::Timestamp::as_millisecond),
        credits_estimate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_whose_acceptance_was_committed_late_is_found_without_a_restart() {
        let mut known = Known::default();
        assert_eq!(known.search_from(1_000_000), (0, 0));
        known.newest_ms = 1_005_000;
        assert_eq!(known.search_from(1_006_000), (995_000, 0));
        // Accepted at 970 000, and the disk was full until now.
        assert_eq!(known.search_from(1_030_000), (0, 0));
        assert_eq!(known.search_from(1_031_000), (995_000, 0));
    }
}
