//! Carries out cancels: the wish is stored for one bounded step of briefs after the other, and the API is asked about
//! those that run, beside the stages.
//!
//! Asking is a short write, safe to repeat, and allowed while starts are held. What the API answers changes no job: it
//! is followed to its own end, and what completed all the same is published as completed. An answer that could not be
//! stored (a kill) only means that it is asked once more.

use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::Worker;
use super::requests::{Place, count};
use crate::job::Trouble;
use crate::layers::{self, Class, Limits};
use crate::ledger::{Cancel, CancelAsked, CancelCounts, CancelDue, CancelOf, LedgerError, Whose};
use crate::stages::Desk;
use crate::stages::holds::note_refusal;
use crate::telemetry::{Incident, TraceIds, Weight, kind_of};
use crate::wording::counted;

/// How the outcome of a cancel begins that changed something.
const CANCELED: &str = "canceled";

/// Then other requests have their turn.
const TURN: Duration = Duration::from_millis(500);
/// How often jobs to ask about are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Jobs that are looked at, and asked about at once.
const PAGE: u32 = 100;
const AT_ONCE: usize = 8;
/// A stage of generation that refuses to be canceled is over by then; later it is asked more and more slowly.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_MAX: Duration = Duration::from_mins(5);
/// How long short writes rest after a 429 that names no time.
const SLOW: Duration = Duration::from_secs(5);
/// What troubles are told under.
const SUBJECT: &str = "cancel";

/// Goes on with one request for a while, from `after` on; what came of it, once all of it is stored.
pub(super) async fn turn(
    (ledger, clock, desk): Place<'_>,
    (request, of): (i64, CancelOf),
    after: &mut i64,
) -> Result<Option<String>, LedgerError> {
    let began = Instant::now();
    loop {
        let write = Cancel { request, of: of.clone(), after: *after, now_ms: clock.now_ms() };
        let step = ledger.write(write).await?;
        count(desk, &step.failed);
        match step.next {
            Some(next) => *after = next,
            None => return Ok(Some(told(&ledger.reader().cancel_counts(request).await?))),
        }
        if began.elapsed() >= TURN {
            return Ok(None);
        }
    }
}

/// What a request came to, in one line.
fn told(counts: &CancelCounts) -> String {
    let CancelCounts { ended, submitting, running, nameless, over } = *counts;
    let briefs = |n: i64| counted(n, "brief");
    let parts = [
        (ended, format!("{} ended before the start, free", briefs(ended))),
        (running, format!("{} running, the API is asked", briefs(running))),
        (
            nameless,
            format!(
                "{} running that the API told no job id of: it cannot be asked, they are followed",
                briefs(nameless)
            ),
        ),
        (submitting, format!("{} being submitted, the API is asked once that is known", briefs(submitting))),
        (over, format!("{} ended meanwhile", briefs(over))),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, part)| part).collect();
    if parts.is_empty() {
        return "nothing to cancel any more".to_owned();
    }
    format!("{CANCELED}: {}", parts.join("; "))
}

/// Asks the API, as long as the worker runs.
pub(super) fn spawn(worker: &Worker) {
    let asking = Asking::of(worker);
    tokio::spawn(async move {
        let desk = asking.desk.clone();
        while !desk.stopping.is_cancelled() {
            asking.round().await;
            desk.stopping.run_until_cancelled(desk.clock.sleep(LOOK)).await;
        }
    });
}

/// Asks about whatever is due now, once.
#[cfg(test)]
pub(super) async fn ask_due(worker: &Worker) {
    Asking::of(worker).round().await;
}

struct Asking {
    desk: Desk,
    api: layers::Client,
    limits: Limits,
    probe_interval: Duration,
}

impl Asking {
    fn of(worker: &Worker) -> Self {
        Self {
            desk: worker.desk.clone(),
            api: worker.api.clone(),
            limits: worker.limits.clone(),
            probe_interval: worker.settings().submit.probe_interval,
        }
    }

    async fn round(&self) {
        if self.desk.reads_are_held() {
            // A dead key is told nothing, and another organization's has no such job.
            return;
        }
        match self.desk.ledger.cancels_due(self.desk.clock.now_ms(), PAGE).await {
            Ok(due) => {
                futures::stream::iter(due).for_each_concurrent(AT_ONCE, |job| self.ask(job)).await;
            }
            Err(error) => tracing::error!(%error, "jobs to be canceled could not be read from the ledger"),
        }
    }

    async fn ask(&self, job: CancelDue) {
        let Some(id) = &job.api_job_id else {
            return self.asked(&job, "the API never told its job id: it cannot be asked", None).await;
        };
        let permit = self.limits.acquire(Class::Write);
        let Some(permit) = self.desk.stopping.run_until_cancelled(permit).await else { return };
        if self.desk.reads_are_held() {
            return permit.unused();
        }
        let answer = self.api.cancel_job(id).await;
        permit.answered();
        match answer {
            Ok(answer) if answer.accepted => {
                self.asked(&job, "the API will try; it may complete all the same", None).await;
            }
            Ok(answer) => {
                let why = answer.reason.unwrap_or_else(|| "not accepted".to_owned());
                self.asked(&job, &format!("the API does not cancel it any more: {why}"), None).await;
            }
            Err(trouble) if trouble.is_not_found() => {
                self.asked(&job, "the API has no such job any more", None).await;
            }
            Err(Trouble::Refusal(refusal)) if refusal.status == 409 => {
                let told = format!("not in this stage: {}: {}", refusal.code, refusal.message);
                let told = if job.cancel_asks == 0 { told.as_str() } else { "" };
                self.asked(&job, told, Some(self.again(&job))).await;
            }
            Err(trouble) => self.troubled(&job, &trouble).await,
        }
    }

    /// No answer, or one that is not about this job: it is asked again.
    async fn troubled(&self, job: &CancelDue, trouble: &Trouble) {
        let (weight, detail, status) = match trouble {
            Trouble::NotConnected(detail) => (Weight::SaidElsewhere, detail.as_str(), None),
            Trouble::NoAnswer(lost) => (Weight::Warning, lost.detail.as_str(), None),
            Trouble::Refusal(refusal) => {
                if refusal.status == 429 {
                    self.limits.slow(Class::Write, refusal.retry_after.unwrap_or(SLOW));
                }
                (Weight::Warning, refusal.message.as_str(), Some(refusal.status))
            }
        };
        let kind = kind_of(trouble);
        let whose = if self.desk.troubles.is_news(SUBJECT, &kind) {
            self.desk.ledger.reader().whose(job.id).await.unwrap_or_default()
        } else {
            Whose::default()
        };
        self.desk.troubles.note(&Incident {
            subject: SUBJECT,
            kind: &kind,
            weight,
            then: "the API is asked again to cancel it; the job is followed all the same",
            stage: SUBJECT,
            job: Some(job.id),
            brief: &job.brief_id,
            batch: &job.batch_id,
            attempt: None,
            trace: TraceIds::of(whose.traceparent.as_deref()),
            detail,
        });
        // Canceling has a scope of its own, which says nothing about reads.
        if status != Some(403) {
            note_refusal(&self.desk, self.probe_interval, trouble).await;
        }
        self.store(CancelAsked {
            job: job.id,
            told: None,
            again_ms: Some(self.again(job)),
            now_ms: self.desk.clock.now_ms(),
        })
        .await;
    }

    async fn asked(&self, job: &CancelDue, told: &str, again_ms: Option<i64>) {
        self.desk.troubles.answered(SUBJECT);
        let told = Some(told.to_owned()).filter(|told| !told.is_empty());
        self.store(CancelAsked { job: job.id, told, again_ms, now_ms: self.desk.clock.now_ms() }).await;
    }

    fn again(&self, job: &CancelDue) -> i64 {
        let doublings = u32::try_from(job.cancel_asks).unwrap_or(u32::MAX).min(16);
        let wait = AGAIN.saturating_mul(1 << doublings).min(AGAIN_MAX);
        self.desk.clock.now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    }

    async fn store(&self, asked: CancelAsked) {
        let job = asked.job;
        if let Err(error) = self.desk.ledger.write(asked).await {
            tracing::warn!(job.id = job, %error, "that the API was asked to cancel could not be stored; it is asked again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cancel_came_to_is_told_in_parts_that_are_there() {
        let counts = CancelCounts { ended: 4_812, submitting: 1, running: 120, nameless: 2, over: 0 };
        assert_eq!(
            told(&counts),
            "canceled: 4,812 briefs ended before the start, free; 120 briefs running, the API is asked; \
             2 briefs running that the API told no job id of: it cannot be asked, they are followed; \
             1 brief being submitted, the API is asked once that is known"
        );
        assert_eq!(told(&CancelCounts::default()), "nothing to cancel any more");
    }
}
