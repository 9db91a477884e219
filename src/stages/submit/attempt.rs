//! One POST: from the permit in hand to the recorded outcome.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Submit;
use super::answers::InForce;
use super::unknown::follow;
use crate::brief::integer;
use crate::job::answer;
use crate::job::{Acceptance, Event, JobState, Refusal, Trouble, Verdict, Wait, verdict};
use crate::layers::{Bound, Permit, StartAnswer, TraceContext};
use crate::ledger::{Again, AttemptOutcome, Claimed, RecordOutcome, Started, Told};
use crate::record::{RecordError, Source};
use crate::stages::back_off::{after, delay};
use crate::stages::holds::OUTCOME_UNKNOWN;
use crate::stages::look_up::Found;
use crate::telemetry::TraceIds;
use crate::telemetry::event::{Attempt, AttemptRecorded, Became, Start};

/// How long starts wait after a 429 that does not say.
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(5);

impl Submit {
    /// One POST, from the permit to the recorded outcome.
    pub(super) async fn attempt(&self, job: Claimed, permit: Permit, in_force: &InForce) {
        let conclusion = match self.look_first(&job).await {
            Some(known) if known.found == Found::InPart => {
                self.ask_for_siblings(&job, known, (permit, in_force)).await
            }
            Some(known) => {
                permit.unused();
                follow(known, Told::default())
            }
            None => self.try_post(&job, permit, in_force).await,
        };
        let named = match &conclusion.outcome {
            AttemptOutcome::Accepted(started) if started.job_id.is_some() => started.container_ids.clone(),
            AttemptOutcome::Accepted(_)
            | AttemptOutcome::Again(_)
            | AttemptOutcome::Rejected(..)
            | AttemptOutcome::Parked(..) => Vec::new(),
        };
        self.record(&job, conclusion, in_force).await;
        if !named.is_empty() {
            self.try_look_ups(&job, &named).await;
        }
    }

    async fn try_post(&self, job: &Claimed, permit: Permit, in_force: &InForce) -> Conclusion {
        let given_up = self.is_given_up(job).await;
        // Between these and the POST nothing is waited for: meanwhile the key could become another one.
        if self.must_not_leave(job) {
            permit.unused();
            return unclaimed();
        }
        if given_up || self.repeat_forbidden(job) {
            permit.unused();
            return self.looked_up(job, false, None).await;
        }
        let answer = self.post(job).await;
        let bound = permit.start_answered(start_answer(&answer));
        match answer {
            Ok(acceptance) => accepted(acceptance),
            Err(trouble) => self.troubled(job, trouble, bound, in_force).await,
        }
    }

    /// We stop, or the key is another one than when the job was claimed: whose it is may not be known yet.
    pub(super) fn must_not_leave(&self, job: &Claimed) -> bool {
        self.desk.stopping.is_cancelled()
            || job.attempt_key.as_ref().is_some_and(|key| *key != self.api.key_fingerprint())
    }

    pub(super) async fn post(&self, job: &Claimed) -> Result<Acceptance, Trouble> {
        // The ledger made it from a UUID.
        let key = Uuid::parse_str(&job.idempotency_key).unwrap_or_default();
        let trace = TraceContext { parent: job.traceparent.as_deref(), state: job.tracestate.as_deref() };
        match &job.container {
            Some(container) => self.api.regenerate(container, key, &job.body, trace).await,
            None => self.api.submit(&job.project_id, key, &job.body, trace).await,
        }
    }

    /// What follows from anything but a readable 2xx.
    pub(super) async fn troubled(
        &self,
        job: &Claimed,
        trouble: Trouble,
        bound: Option<Bound>,
        in_force: &InForce,
    ) -> Conclusion {
        let told = told(&trouble);
        self.note(job, &trouble);
        let (attempt, back_off) = (repeats(job), self.back_off(job));
        let refusal = match &trouble {
            Trouble::Refusal(refusal) => Some(refusal),
            Trouble::NotConnected(_) | Trouble::NoAnswer(_) => None,
        };
        let (again, retry) = match verdict(&trouble) {
            Verdict::NotConnected => (Again::NotConnected, back_off),
            Verdict::Unknown => self.ask_again(job, back_off).await,
            // Longer and longer: should the API never be done with the first, others are to be started, too.
            Verdict::Wait(Wait::InProgress) => {
                (Again::InProgress, retry_after(refusal, Duration::from_secs(1)).max(back_off))
            }
            // It goes first when a job has ended; the limits say when.
            Verdict::Wait(Wait::RateLimited) if bound == Some(Bound::RunningJobs) => {
                (Again::ToldToWait, Duration::ZERO)
            }
            Verdict::Wait(Wait::RateLimited) => (Again::ToldToWait, retry_after(refusal, RATE_LIMITED_WAIT)),
            Verdict::Hold(scope, reason) => {
                if over_own_budget(job, refusal) {
                    return self.refused(job, refusal, told).await;
                }
                if self.is_replay(job, refusal).await {
                    // The answer of then, kept by the API under this key. It says nothing about now, so it holds nobody.
                    // It is asked again more and more rarely: the API keeps it for a day.
                    (Again::Held, self.rarely(attempt))
                } else {
                    self.hold(job, (scope, reason), refusal, in_force).await;
                    (Again::Held, Duration::ZERO)
                }
            }
            Verdict::Refused => return self.refused(job, refusal, told).await,
            Verdict::SeenBefore => return self.looked_up(job, true, refusal).await,
        };
        Conclusion { outcome: AttemptOutcome::Again(again), told, retry }
    }

    /// How long this job waits where nobody says.
    pub(super) fn back_off(&self, job: &Claimed) -> Duration {
        delay(self.settings.retry_initial, self.settings.retry_max, repeats(job))
    }

    /// A refusal with a request id that this brief was answered under before is a replay.
    async fn is_replay(&self, job: &Claimed, refusal: Option<&Refusal>) -> bool {
        let Some(id) = refusal.and_then(|refusal| refusal.request_id.as_deref()) else { return false };
        self.desk.ledger.was_answered(job.brief, id).await.unwrap_or(false)
    }

    /// A refusal is believed only while no earlier attempt is of unknown outcome; else our container is looked up.
    async fn refused(&self, job: &Claimed, refusal: Option<&Refusal>, told: Told) -> Conclusion {
        if job.unknown_first_at.is_some() {
            return self.looked_up(job, true, refusal).await;
        }
        let error = Box::new(record_error(refusal, ""));
        Conclusion { outcome: AttemptOutcome::Rejected(Event::Refused, error), told, retry: Duration::ZERO }
    }

    pub(super) async fn record(&self, job: &Claimed, conclusion: Conclusion, in_force: &InForce) {
        let now_ms = self.desk.clock.now_ms();
        let write = Arc::new(RecordOutcome {
            job: job.id,
            boot: self.desk.ledger.boot().to_owned(),
            attempt: job.attempts,
            outcome: conclusion.outcome,
            told: conclusion.told,
            now_ms,
            retry_ms: after(now_ms, conclusion.retry),
        });
        let trace = TraceIds::of(job.traceparent.as_deref());
        match self.desk.write_until_done("submit", Arc::clone(&write)).await {
            Ok(state) => self.count(job, state, &write),
            Err(error) => {
                tracing::error!(
                    stage = "submit", job.id = job.id, brief.id = job.brief_id,
                    trace_id = trace.trace, parent_id = trace.parent, %error,
                    "the outcome of a POST could not be recorded; it counts as unknown and is asked about again"
                );
                self.record_unknown(job, now_ms).await;
            }
        }
        self.conclude(job, &write, in_force).await;
    }

    /// An outcome that the ledger does not take must not leave the job claimed until a restart.
    async fn record_unknown(&self, job: &Claimed, now_ms: i64) {
        let write = RecordOutcome {
            job: job.id,
            boot: self.desk.ledger.boot().to_owned(),
            attempt: job.attempts,
            outcome: AttemptOutcome::Again(Again::Unanswered),
            told: Told::default(),
            now_ms,
            retry_ms: after(now_ms, self.settings.retry_max.max(self.settings.repeat_after)),
        };
        if let Err(error) = self.desk.write_until_done("submit", write).await {
            tracing::warn!(stage = "submit", job.id = job.id, %error, "it is asked about after a restart");
        }
    }

    fn count(&self, job: &Claimed, state: JobState, write: &RecordOutcome) {
        let recorded = AttemptRecorded {
            of: Attempt {
                job: job.id,
                attempt: job.attempts,
                brief: &job.brief_id,
                batch: &job.batch_id,
                project: self.desk.project_name(&job.project_id),
                label: self.desk.project_label(&job.project_id),
                trace: TraceIds::of(job.traceparent.as_deref()),
            },
            outcome: counts_as(&write.outcome),
            became: self.became(job, state, &write.outcome),
            detail: &write.told.detail,
        };
        recorded.emit(&self.desk.metrics, &self.desk.troubles);
        let wake = self.desk.ledger.wake();
        match state {
            JobState::Running => wake.track().notify_one(),
            JobState::Rejected | JobState::Canceled => {
                wake.publish().notify_one();
                wake.intake().notify_one();
            }
            JobState::Parked
            | JobState::Submitting
            | JobState::Ready
            | JobState::Completed
            | JobState::Failed => {}
        }
    }

    fn became<'a>(&self, job: &Claimed, state: JobState, outcome: &'a AttemptOutcome) -> Became<'a> {
        match (state, outcome) {
            (JobState::Running, AttemptOutcome::Accepted(started)) => {
                Became::Running(self.start(job, started.format.as_deref()))
            }
            (JobState::Running, _) => Became::Running(self.start(job, None)),
            (JobState::Rejected, AttemptOutcome::Rejected(_, error)) => Became::Rejected(&error.code),
            (JobState::Rejected, _) => Became::Rejected("other"),
            (JobState::Parked, _) => Became::Parked,
            (JobState::Submitting, _) => Became::Submitting,
            (JobState::Ready, _) => Became::Ready,
            (JobState::Canceled, _) => Became::Canceled,
            (JobState::Completed | JobState::Failed, _) => Became::Over,
        }
    }

    fn start<'a>(&self, job: &Claimed, format: Option<&'a str>) -> Start<'a> {
        let containers = if job.container.is_some() { 1 } else { job.variant_count };
        let price = self.prices.of(format).and_then(|price| i64::try_from(price).ok());
        Start {
            waited_ms: self.desk.clock.now_ms() - job.received_at,
            format,
            credits: price.map(|price| price.saturating_mul(containers)),
        }
    }
}

/// The word that a POST with this outcome is counted under; `None`: nothing has left, or nothing is known better.
fn counts_as(outcome: &AttemptOutcome) -> Option<&'static str> {
    match outcome {
        AttemptOutcome::Accepted(_) => Some("accepted"),
        AttemptOutcome::Again(Again::Held) => Some("held"),
        AttemptOutcome::Again(Again::ToldToWait | Again::InProgress) => Some("rate_limited"),
        AttemptOutcome::Again(Again::Unanswered | Again::Unheeded) | AttemptOutcome::Parked(..) => {
            Some("unknown")
        }
        AttemptOutcome::Rejected(..) => Some("refused"),
        AttemptOutcome::Again(
            Again::Unclaimed | Again::NotConnected | Again::NotFound | Again::FoundInPart,
        ) => None,
    }
}

/// An orderly stop: nothing has left.
pub(super) fn unclaimed() -> Conclusion {
    let outcome = AttemptOutcome::Again(Again::Unclaimed);
    Conclusion { outcome, told: Told::default(), retry: Duration::ZERO }
}

pub(super) fn accepted(acceptance: Acceptance) -> Conclusion {
    Conclusion {
        told: Told { status: Some(202), request_id: None, detail: acceptance.job_id.clone() },
        outcome: AttemptOutcome::Accepted(Started::from(acceptance)),
        retry: Duration::ZERO,
    }
}

/// What is recorded about an attempt.
pub(super) struct Conclusion {
    pub outcome: AttemptOutcome,
    pub told: Told,
    /// When it is tried again, should it be.
    pub retry: Duration,
}

/// A brief whose own `budget.maxCredits` is below what it needs fails by itself and holds nobody.
fn over_own_budget(job: &Claimed, refusal: Option<&Refusal>) -> bool {
    let Some(required) = refusal.and_then(answer::required_credits) else { return false };
    let own = serde_json::from_str::<serde_json::Value>(&job.body)
        .ok()
        .and_then(|body| integer(body.get("budget")?.get("maxCredits")));
    own.is_some_and(|own| required > own)
}

/// How often the job was tried before.
fn repeats(job: &Claimed) -> u32 {
    u32::try_from(job.attempts.saturating_sub(1)).unwrap_or(u32::MAX)
}

fn retry_after(refusal: Option<&Refusal>, default: Duration) -> Duration {
    refusal.and_then(|refusal| refusal.retry_after).unwrap_or(default)
}

pub(super) fn start_answer(answer: &Result<Acceptance, Trouble>) -> StartAnswer {
    match answer {
        Ok(_) => StartAnswer::Accepted,
        Err(trouble @ Trouble::Refusal(refusal)) if verdict(trouble) == Verdict::Wait(Wait::RateLimited) => {
            StartAnswer::TooMany(retry_after(Some(refusal), RATE_LIMITED_WAIT))
        }
        Err(Trouble::Refusal(_) | Trouble::NotConnected(_) | Trouble::NoAnswer(_)) => StartAnswer::Other,
    }
}

pub(super) fn told(trouble: &Trouble) -> Told {
    let (status, request_id) = match trouble {
        Trouble::NotConnected(_) => (None, None),
        Trouble::NoAnswer(lost) => (lost.status, None),
        Trouble::Refusal(refusal) => (Some(refusal.status), refusal.request_id.clone()),
    };
    Told { status, request_id, detail: trouble.to_string() }
}

pub(super) fn record_error(refusal: Option<&Refusal>, found: &str) -> RecordError {
    let Some(refusal) = refusal else {
        return RecordError::new(Source::Briefd, OUTCOME_UNKNOWN, found);
    };
    let message =
        if found.is_empty() { refusal.message.clone() } else { format!("{} ({found})", refusal.message) };
    let mut error = RecordError::new(Source::Layers, refusal.code.clone(), message);
    error.request_id.clone_from(&refusal.request_id);
    error.details.clone_from(&refusal.details);
    error
}
