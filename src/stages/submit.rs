//! submit: claims the next due job with its rate permit in hand, marks it `submitting` (durable), and only then POSTs.
//!
//! Each POST runs in a task of its own, at most `submit.concurrency` of them, and writes its outcome itself. An orderly
//! stop claims nothing more and waits for those tasks; one that is cut off stays `submitting`, which the next start
//! treats as an attempt of unknown outcome: it costs one repeat with the same key and bytes.
//!
//! Holds (P6) stand between due jobs and claims. They are tested by reading where that answers the question, else by
//! one job; a success lifts them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::Desk;
use super::back_off::{after, delay};
use super::desk::LOOK_AGAIN;
use super::look_up::look_up;
use super::regenerate::inspect;
use crate::config;
use crate::job::answer::{self, HoldReason};
use crate::job::{Acceptance, Event, JobState, Refusal, Trouble, Verdict, Wait, verdict};
use crate::layers::{self, Class, Limits, Permit, TraceContext};
use crate::ledger::{
    AttemptOutcome, Claim, Claimed, Hold, HoldScope, Inspect, LedgerError, LiftHold, RecordOutcome, SetHold,
    Started, Told,
};
use crate::record::{RecordError, Source};

use super::Prices;

/// A key-only job is not `POSTed` again later than this after its first unknown attempt (the API keeps keys for 24 h).
const KEY_WINDOW: Duration = Duration::from_hours(23);
/// `KILL_SWITCH` is probed this much slower than other holds.
const KILL_SWITCH_SLOWER: u32 = 5;
/// How long starts wait after a 429 that does not say.
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(5);

/// The submit stage.
#[derive(Clone)]
pub struct Submit {
    /// What every stage has.
    pub desk: Desk,
    /// The API.
    pub api: layers::Client,
    /// Its rate limits.
    pub limits: Limits,
    /// `[submit]`
    pub settings: Arc<config::Submit>,
    /// What containers cost.
    pub prices: Prices,
}

/// What a round of the stage found.
enum Round {
    /// More may be due at once.
    Busy,
    /// Due or not, no start is permitted now.
    NoPermit,
    /// Nothing is due.
    Idle,
}

impl Submit {
    /// Runs until it is told to stop and every POST that is under way has its outcome recorded.
    pub async fn run(self) {
        let mut under_way: JoinSet<()> = JoinSet::new();
        loop {
            self.desk.step("submit");
            while let Some(ended) = under_way.try_join_next() {
                note_panic(ended);
            }
            let stopping = self.desk.stopping.is_cancelled();
            if stopping && under_way.is_empty() {
                return;
            }
            let round = if stopping || under_way.len() >= self.settings.concurrency {
                Round::Idle
            } else {
                self.round(&mut under_way).await.unwrap_or_else(|error| {
                    tracing::error!(stage = "submit", %error, "no job could be claimed");
                    Round::Idle
                })
            };
            self.wait(&mut under_way, &round, stopping).await;
        }
    }

    async fn wait(&self, under_way: &mut JoinSet<()>, round: &Round, stopping: bool) {
        let sleep = self.until_next_due().await;
        let permit = async {
            match round {
                Round::NoPermit => self.limits.acquire(Class::Start).await.unused(),
                Round::Busy => {}
                Round::Idle => std::future::pending().await,
            }
        };
        tokio::select! {
            () = permit => {}
            Some(ended) = under_way.join_next() => note_panic(ended),
            () = self.desk.ledger.wake().submit().notified() => {}
            () = self.desk.stopping.cancelled(), if !stopping => {}
            () = self.desk.clock.sleep(sleep) => {}
        }
    }

    async fn until_next_due(&self) -> Duration {
        let now_ms = self.desk.clock.now_ms();
        match self.desk.ledger.next_due(now_ms).await {
            Ok(Some(due_ms)) => {
                Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0)).min(LOOK_AGAIN)
            }
            Ok(None) | Err(_) => LOOK_AGAIN,
        }
    }

    async fn round(&self, under_way: &mut JoinSet<()>) -> Result<Round, LedgerError> {
        self.start_inspections(under_way).await?;
        let free =
            u32::try_from(self.settings.concurrency.saturating_sub(under_way.len())).unwrap_or(u32::MAX);
        let Some((claim, holds)) = self.plan_claim(free).await? else { return Ok(Round::Idle) };
        let permitted = self.limits.available(Class::Start).min(claim.limit);
        if permitted == 0 {
            return Ok(Round::NoPermit);
        }
        let work = self.desk.ledger.write(Claim { limit: permitted, ..claim }).await?;
        if work.expired > 0 {
            self.desk.ledger.wake().publish().notify_one();
        }
        let claimed = work.claimed.len();
        for job in work.claimed {
            // Only this stage draws starts, so a permit that was counted above is there.
            let permit = match self.limits.try_acquire(Class::Start) {
                Some(permit) => permit,
                None => self.limits.acquire(Class::Start).await,
            };
            let (stage, holds) = (self.clone(), Arc::clone(&holds));
            under_way.spawn(async move { stage.attempt(job, permit, &holds).await });
        }
        let full = u32::try_from(claimed).unwrap_or(u32::MAX) == permitted;
        Ok(if full || work.expired > 0 { Round::Busy } else { Round::Idle })
    }

    async fn start_inspections(&self, under_way: &mut JoinSet<()>) -> Result<(), LedgerError> {
        let inspections = self
            .desk
            .ledger
            .write(Inspect {
                limit: 8,
                boot: self.desk.ledger.boot().to_owned(),
                input: self.desk.ledger.input().clone(),
                now_ms: self.desk.clock.now_ms(),
            })
            .await?;
        for inspection in inspections {
            let stage = self.clone();
            under_way.spawn(async move { inspect(&stage, inspection).await });
        }
        Ok(())
    }

    /// What may be claimed in view of the holds in force; `None`: nothing. Tests what is due for a test.
    async fn plan_claim(&self, free: u32) -> Result<Option<(Claim, Arc<Vec<Hold>>)>, LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let mut claim = Claim {
            limit: free,
            boot: self.desk.ledger.boot().to_owned(),
            input: self.desk.ledger.input().clone(),
            now_ms,
            key_fingerprint: self.api.key_fingerprint(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX),
            probe_project: None,
        };
        let holds = Arc::new(self.desk.ledger.reader().holds().await?);
        for hold in holds.iter() {
            let due = hold.probe_ms.is_some_and(|probe_ms| probe_ms <= now_ms);
            let lifted = due && self.probe(hold, &mut claim).await?;
            if lifted {
                continue;
            }
            match &hold.scope {
                HoldScope::Account if due => claim.limit = 1,
                HoldScope::Account => return Ok(None),
                HoldScope::Project(id) => claim.held_projects.push(id.clone()),
                HoldScope::Batch(id) => claim.held_batches.push(id.clone()),
            }
        }
        Ok(Some((claim, holds)))
    }

    /// Tests a hold that the API set. `true`: lifted. Otherwise it is tested by one job, or again later.
    async fn probe(&self, hold: &Hold, claim: &mut Claim) -> Result<bool, LedgerError> {
        if let Err(error) = self.api.reload_key() {
            tracing::warn!(stage = "submit", %error, "the API key cannot be read again");
        }
        claim.key_fingerprint = self.api.key_fingerprint();
        let found = match &hold.scope {
            HoldScope::Account => self.probe_account(hold).await,
            HoldScope::Project(_) => self.probe_credits(hold).await,
            HoldScope::Batch(_) => Found::Still,
        };
        let next = SetHold(Hold { probe_ms: Some(self.next_probe(&hold.reason)), ..hold.clone() });
        match found {
            Found::Gone => {
                self.lift(hold).await?;
                return Ok(true);
            }
            Found::Still => {
                self.desk.ledger.write(next).await?;
                if hold.scope == HoldScope::Account {
                    claim.limit = 0;
                }
            }
            Found::AskWithAJob => {
                self.desk.ledger.write(next).await?;
                claim.limit = 1;
                if let HoldScope::Project(id) = &hold.scope {
                    claim.probe_project = Some(id.clone());
                }
            }
        }
        Ok(false)
    }

    async fn probe_account(&self, hold: &Hold) -> Found {
        let permit = self.limits.acquire_read(layers::Priority::Ended).await;
        let answer = self.api.whoami().await;
        permit.answered();
        match answer {
            Ok(me) if me.kill_switch == Some(true) || me.access_revoked == Some(true) => Found::Still,
            Ok(me) if hold.reason == "FORBIDDEN_SCOPE" => match me.scopes {
                Some(scopes) if !scopes.iter().any(|scope| scope == "content:write") => Found::Still,
                Some(_) => Found::Gone,
                None => Found::AskWithAJob,
            },
            Ok(me) if hold.reason == "KILL_SWITCH" && me.kill_switch.is_none() => Found::AskWithAJob,
            Ok(_) if hold.reason == "UNAUTHENTICATED" || hold.reason == "KILL_SWITCH" => Found::Gone,
            Ok(_) => Found::AskWithAJob,
            Err(trouble) if trouble.is_not_found() => Found::AskWithAJob,
            Err(_) => Found::Still,
        }
    }

    async fn probe_credits(&self, hold: &Hold) -> Found {
        let permit = self.limits.acquire_read(layers::Priority::Ended).await;
        let answer = self.api.credits().await;
        permit.answered();
        match answer {
            Ok(credits) => match (credits.available, hold.required) {
                (Some(available), Some(required)) if available >= required => Found::Gone,
                (Some(_), Some(_)) => Found::Still,
                (None, _) | (_, None) => Found::AskWithAJob,
            },
            Err(trouble) if trouble.is_not_found() => Found::AskWithAJob,
            Err(_) => Found::Still,
        }
    }

    async fn lift(&self, hold: &Hold) -> Result<(), LedgerError> {
        let lifted = self
            .desk
            .ledger
            .write(LiftHold { scope: hold.scope.clone(), reason: Some(hold.reason.clone()) })
            .await?;
        if lifted > 0 {
            self.desk.metrics.holds.with_label_values(&[hold.scope.word(), &hold.reason]).set(0);
            tracing::info!(
                stage = "submit",
                scope = hold.scope.word(),
                target = hold.scope.target(),
                reason = hold.reason,
                "the hold is over; starts go on"
            );
        }
        Ok(())
    }

    fn next_probe(&self, reason: &str) -> i64 {
        let slower = if reason == "KILL_SWITCH" { KILL_SWITCH_SLOWER } else { 1 };
        after(self.desk.clock.now_ms(), self.settings.probe_interval * slower)
    }

    /// One POST, from the permit to the recorded outcome.
    async fn attempt(&self, job: Claimed, permit: Permit, holds: &[Hold]) {
        let answer = if self.repeat_forbidden(&job) {
            permit.unused();
            None
        } else {
            let answer = self.post(&job).await;
            permit.answered();
            Some(answer)
        };
        let (outcome, told, retry) = match answer {
            None => self.looked_up(&job, Event::RepeatForbidden, None).await,
            Some(Ok(acceptance)) => {
                let told = Told { status: Some(202), request_id: None, detail: acceptance.job_id.clone() };
                (AttemptOutcome::Accepted(Started::from(acceptance)), told, Duration::ZERO)
            }
            Some(Err(trouble)) => self.troubled(&job, trouble).await,
        };
        self.record(&job, outcome, told, retry, holds).await;
    }

    /// A key-only job of unknown outcome is not `POSTed` again after the key's window, nor under another API key.
    /// Checked after the rate permit, directly before the bytes would leave.
    fn repeat_forbidden(&self, job: &Claimed) -> bool {
        let (None, Some(first_ms)) = (&job.alias, job.unknown_first_at) else { return false };
        let window_ms = i64::try_from(KEY_WINDOW.as_millis()).unwrap_or(i64::MAX);
        self.desk.clock.now_ms() - first_ms > window_ms
            || job.unknown_key.as_deref() != Some(&self.api.key_fingerprint())
    }

    async fn post(&self, job: &Claimed) -> Result<Acceptance, Trouble> {
        // The ledger made it from a UUID.
        let key = Uuid::parse_str(&job.idempotency_key).unwrap_or_default();
        let trace = TraceContext { parent: job.traceparent.as_deref(), state: job.tracestate.as_deref() };
        match &job.container {
            Some(container) => self.api.regenerate(container, key, &job.body, trace).await,
            None => self.api.submit(&job.project_id, key, &job.body, trace).await,
        }
    }

    /// What follows from anything but a readable 2xx.
    async fn troubled(&self, job: &Claimed, trouble: Trouble) -> (AttemptOutcome, Told, Duration) {
        let told = told(&trouble);
        let attempt = u32::try_from(job.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let back_off = delay(self.settings.retry_initial, self.settings.retry_max, attempt);
        let refusal = match &trouble {
            Trouble::Refusal(refusal) => Some(refusal),
            Trouble::NotConnected(_) | Trouble::NoAnswer(_) => None,
        };
        let (event, retry) = match verdict(&trouble) {
            Verdict::NotConnected => (Event::NotConnected, back_off),
            Verdict::Unknown => (Event::Unanswered, back_off.max(self.settings.repeat_after)),
            Verdict::Wait(Wait::InProgress) => {
                (Event::ToldToWait, retry_after(refusal, Duration::from_secs(1)))
            }
            Verdict::Wait(Wait::RateLimited) => {
                let wait = retry_after(refusal, RATE_LIMITED_WAIT);
                self.limits.slow(Class::Start, wait);
                (Event::ToldToWait, wait)
            }
            Verdict::Hold(scope, reason) => {
                if over_own_budget(job, refusal) {
                    return self.refused(job, Event::Refused, refusal, told).await;
                }
                self.hold(job, scope, reason, refusal).await;
                (Event::Held, Duration::ZERO)
            }
            Verdict::Refused => return self.refused(job, Event::Refused, refusal, told).await,
            Verdict::SeenBefore => return self.refused(job, Event::SeenBefore, refusal, told).await,
        };
        (AttemptOutcome::Again(event), told, retry)
    }

    /// A refusal is believed only while no earlier attempt is of unknown outcome; else our container is looked up.
    async fn refused(
        &self,
        job: &Claimed,
        event: Event,
        refusal: Option<&Refusal>,
        told: Told,
    ) -> (AttemptOutcome, Told, Duration) {
        if event == Event::Refused && job.unknown_first_at.is_none() {
            return (
                AttemptOutcome::Rejected(event, Box::new(record_error(refusal, ""))),
                told,
                Duration::ZERO,
            );
        }
        self.looked_up(job, event, refusal).await
    }

    async fn looked_up(
        &self,
        job: &Claimed,
        event: Event,
        refusal: Option<&Refusal>,
    ) -> (AttemptOutcome, Told, Duration) {
        let found = look_up(self, job, event).await;
        let mut told = Told::default();
        if let Some(refusal) = refusal {
            told.status = Some(refusal.status);
            told.request_id.clone_from(&refusal.request_id);
            told.detail = format!("{}: {}; ", refusal.code, refusal.message);
        }
        told.detail.push_str(&found.detail);
        let error = Box::new(record_error(refusal, &found.detail));
        let outcome = match found.event {
            Event::FoundOurs => AttemptOutcome::Accepted(Started {
                job_id: None,
                container_ids: found.containers,
                format: found.format,
            }),
            Event::FoundOther if job.unknown_first_at.is_some() => AttemptOutcome::Parked(found.event, error),
            Event::Undecidable => AttemptOutcome::Parked(found.event, error),
            Event::NotFound if job.unknown_first_at.is_some() => AttemptOutcome::Again(found.event),
            Event::FoundOther | Event::NotFound | Event::NotFoundForSure => {
                AttemptOutcome::Rejected(found.event, error)
            }
            event => AttemptOutcome::Again(event),
        };
        (outcome, told, found.retry)
    }

    async fn hold(
        &self,
        job: &Claimed,
        scope: answer::HoldScope,
        reason: HoldReason,
        refusal: Option<&Refusal>,
    ) {
        let code = match reason {
            HoldReason::Unauthenticated => "UNAUTHENTICATED",
            HoldReason::ForbiddenScope => "FORBIDDEN_SCOPE",
            HoldReason::KillSwitch => "KILL_SWITCH",
            HoldReason::BillingExhausted => "BILLING_EXHAUSTED",
            HoldReason::Other => refusal.map_or("OTHER", |refusal| refusal.code.as_str()),
        };
        let scope = match scope {
            answer::HoldScope::Account => HoldScope::Account,
            answer::HoldScope::Project => HoldScope::Project(job.project_id.clone()),
        };
        let hold = Hold {
            scope,
            reason: code.to_owned(),
            detail: refusal.map(|refusal| refusal.message.clone()).unwrap_or_default(),
            required: refusal
                .and_then(answer::required_credits)
                .and_then(|credits| i64::try_from(credits).ok()),
            by_api: true,
            since_ms: self.desk.clock.now_ms(),
            probe_ms: Some(self.next_probe(code)),
        };
        match self.desk.ledger.write(SetHold(hold.clone())).await {
            Ok(true) => {
                self.desk.metrics.holds.with_label_values(&[hold.scope.word(), code]).set(1);
                tracing::warn!(
                    stage = "submit",
                    scope = hold.scope.word(),
                    target = self.desk.project_label(hold.scope.target()),
                    reason = code,
                    detail = hold.detail,
                    "starts are held; nothing fails, and it goes on by itself once this is mended"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::error!(stage = "submit", %error, "a hold could not be stored"),
        }
    }

    async fn record(
        &self,
        job: &Claimed,
        outcome: AttemptOutcome,
        told: Told,
        retry: Duration,
        holds: &[Hold],
    ) {
        let now_ms = self.desk.clock.now_ms();
        let write = RecordOutcome {
            job: job.id,
            boot: self.desk.ledger.boot().to_owned(),
            outcome,
            told,
            now_ms,
            retry_ms: after(now_ms, retry),
        };
        let event = write.outcome.event();
        let detail = write.told.detail.clone();
        let format = match &write.outcome {
            AttemptOutcome::Accepted(started) => started.format.clone(),
            AttemptOutcome::Again(_) | AttemptOutcome::Rejected(..) | AttemptOutcome::Parked(..) => None,
        };
        let code = match &write.outcome {
            AttemptOutcome::Rejected(_, error) => Some(error.code.clone()),
            AttemptOutcome::Accepted(_) | AttemptOutcome::Again(_) | AttemptOutcome::Parked(..) => None,
        };
        match self.desk.write_until_done("submit", Arc::new(write)).await {
            Ok(state) => self.count(job, state, event, (&detail, format.as_deref(), code.as_deref())),
            Err(error) => tracing::error!(
                stage = "submit", job.id = job.id, brief.id = job.brief_id, %error,
                "the outcome of a POST could not be recorded; it counts as unknown and is asked about again"
            ),
        }
        if event == Event::Accepted {
            for hold in holds.iter().filter(|hold| hold.by_api && concerns(hold, job)) {
                if let Err(error) = self.lift(hold).await {
                    tracing::error!(stage = "submit", %error, "a hold could not be lifted");
                }
            }
        }
    }

    fn count(
        &self,
        job: &Claimed,
        state: JobState,
        event: Event,
        (detail, format, code): (&str, Option<&str>, Option<&str>),
    ) {
        let outcome = match event {
            Event::Accepted | Event::FoundOurs => "accepted",
            Event::Held => "held",
            Event::ToldToWait => "rate_limited",
            Event::NotConnected | Event::Unanswered | Event::NotFound | Event::Undecidable => "unknown",
            _ => "refused",
        };
        self.desk.metrics.submissions_total.with_label_values(&[outcome]).inc();
        let wake = self.desk.ledger.wake();
        match state {
            JobState::Running => {
                self.accepted(job, format);
                wake.track().notify_one();
            }
            JobState::Rejected => {
                let label = self.desk.project_label(&job.project_id);
                let code = crate::telemetry::Metrics::code_label(code.unwrap_or("other"));
                self.desk.metrics.failures_total.with_label_values(&[code, "layers", label]).inc();
                tracing::info!(
                    stage = "submit",
                    job.id = job.id,
                    brief.id = job.brief_id,
                    batch.id = job.batch_id,
                    detail,
                    "the API refused a brief for good"
                );
                wake.publish().notify_one();
                wake.intake().notify_one();
            }
            JobState::Parked => tracing::error!(
                stage = "submit",
                job.id = job.id,
                brief.id = job.brief_id,
                batch.id = job.batch_id,
                detail,
                "a person must decide about this job"
            ),
            JobState::Submitting => tracing::warn!(
                stage = "submit",
                job.id = job.id,
                brief.id = job.brief_id,
                batch.id = job.batch_id,
                attempt = job.attempts,
                detail,
                "an answer was lost; the same POST is repeated under the same key"
            ),
            JobState::Ready => tracing::debug!(
                stage = "submit",
                job.id = job.id,
                brief.id = job.brief_id,
                attempt = job.attempts,
                detail,
                "not started yet"
            ),
            JobState::Completed | JobState::Failed | JobState::Canceled => {}
        }
    }

    fn accepted(&self, job: &Claimed, format: Option<&str>) {
        let waited_ms = (self.desk.clock.now_ms() - job.received_at).max(0);
        #[expect(clippy::cast_precision_loss, reason = "a wait in milliseconds fits into 53 bits")]
        self.desk.metrics.queue_wait_seconds.observe(waited_ms as f64 / 1_000.0);
        if let Some(price) = self.prices.of(format) {
            let label = self.desk.project_label(&job.project_id);
            let containers = if job.container.is_some() { 1 } else { job.variant_count };
            #[expect(clippy::cast_precision_loss, reason = "credits of one job fit into 53 bits")]
            self.desk
                .metrics
                .credits_estimated_total
                .with_label_values(&[crate::telemetry::Metrics::format_label(format), label])
                .inc_by(price as f64 * containers as f64);
        }
        tracing::debug!(
            stage = "submit",
            job.id = job.id,
            brief.id = job.brief_id,
            batch.id = job.batch_id,
            "accepted"
        );
    }
}

/// What a probe found.
enum Found {
    Gone,
    Still,
    AskWithAJob,
}

fn concerns(hold: &Hold, job: &Claimed) -> bool {
    match &hold.scope {
        HoldScope::Account => true,
        HoldScope::Project(id) => *id == job.project_id,
        HoldScope::Batch(id) => *id == job.batch_id,
    }
}

/// A brief whose own `budget.maxCredits` is below what it needs fails by itself and holds nobody.
fn over_own_budget(job: &Claimed, refusal: Option<&Refusal>) -> bool {
    let Some(required) = refusal.and_then(answer::required_credits) else { return false };
    let own = serde_json::from_str::<serde_json::Value>(&job.body)
        .ok()
        .and_then(|body| body.get("budget")?.get("maxCredits")?.as_u64());
    own.is_some_and(|own| required > own)
}

fn retry_after(refusal: Option<&Refusal>, default: Duration) -> Duration {
    refusal.and_then(|refusal| refusal.retry_after).unwrap_or(default)
}

fn told(trouble: &Trouble) -> Told {
    match trouble {
        Trouble::NotConnected(detail) => Told { status: None, request_id: None, detail: detail.clone() },
        Trouble::NoAnswer(lost) => {
            Told { status: lost.status, request_id: None, detail: lost.detail.clone() }
        }
        Trouble::Refusal(refusal) => Told {
            status: Some(refusal.status),
            request_id: refusal.request_id.clone(),
            detail: format!("{}: {}", refusal.code, refusal.message),
        },
    }
}

fn record_error(refusal: Option<&Refusal>, found: &str) -> RecordError {
    let Some(refusal) = refusal else {
        return RecordError::new(Source::Briefd, "OUTCOME_UNKNOWN", found);
    };
    let message =
        if found.is_empty() { refusal.message.clone() } else { format!("{} ({found})", refusal.message) };
    let mut error = RecordError::new(Source::Layers, refusal.code.clone(), message);
    error.request_id.clone_from(&refusal.request_id);
    error.details.clone_from(&refusal.details);
    error
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(stage = "submit", %error, "a bug: a submission panicked; its job counts as unknown at the next start");
    }
}
