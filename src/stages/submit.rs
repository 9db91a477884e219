//! submit: claims the next due job with its rate permit in hand, marks it `submitting` (durable), and only then POSTs.
//!
//! Each POST runs in a task of its own, at most `submit.concurrency` of them, and writes its outcome itself. An orderly
//! stop claims nothing more and waits for those tasks; one that is cut off stays `submitting`, which the next start
//! treats as an attempt of unknown outcome: it costs one repeat with the same key and bytes.
//!
//! Holds (P6) stand between due jobs and claims (`holds`). They are tested by reading where that answers the question
//! (`probe`), else by one job; a success lifts them to one job at a time, then fully (`answers`).

mod answers;
mod attempt;
#[cfg(test)]
pub(crate) mod by_hand;
#[cfg(test)]
mod hold_tests;
mod holds;
mod notes;
mod probe;
mod refusals;
#[cfg(test)]
mod tests;
mod trial;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::answers::{InForce, Observed};
use self::probe::Tests;
pub use self::trial::Trial;
use super::desk::LOOK_AGAIN;
use super::holds::API_DOWN;
use super::regenerate::inspect;
use super::{Desk, Prices};
use crate::config;
use crate::layers::{self, Class, Limits, Permit};
use crate::ledger::{Claim, ClaimLookUps, Inspect, LedgerError, Turn, Work};

/// Containers read at once before a rerun, so that a large one never keeps other jobs from starting.
const INSPECTIONS: usize = 8;

/// For so long a claim waits for more places to be free.
const GATHER: Duration = Duration::from_millis(5);

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
    /// `layers.max_running_jobs`; 0: no limit of our own.
    pub running_max: u32,
    /// What containers cost.
    pub prices: Prices,
    /// Nothing is started before this is canceled.
    pub may_start: CancellationToken,
    /// Whether look-ups by our own id are known to work.
    pub trial: Trial,
    /// What this process has seen of the API's answers.
    pub observed: Arc<Observed>,
}

/// What the stage has under way.
#[derive(Default)]
struct UnderWay {
    posts: JoinSet<()>,
    /// The same, with their projects; one that has ended stays until [`UnderWay::take_ended`].
    posting: Vec<(AbortHandle, String)>,
    inspections: JoinSet<()>,
    tests: Tests,
    /// Whose turn it is among batches.
    turn: Turn,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.posts.is_empty() && self.inspections.is_empty()
    }

    fn take_ended(&mut self) {
        self.posting.retain(|(post, _)| !post.is_finished());
        while let Some(ended) = self.posts.try_join_next() {
            note_panic(ended);
        }
        while let Some(ended) = self.inspections.try_join_next() {
            note_panic(ended);
        }
    }
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
        let mut under_way = UnderWay::default();
        self.distrust_new_key(&mut under_way.tests).await;
        while !self.may_start.is_cancelled() && !self.desk.stopping.is_cancelled() {
            self.desk.step("submit");
            tokio::select! {
                () = self.may_start.cancelled() => {}
                () = self.desk.stopping.cancelled() => {}
                () = self.desk.clock.sleep(LOOK_AGAIN) => {}
            }
        }
        self.distrust_new_key(&mut under_way.tests).await;
        loop {
            self.desk.step("submit");
            under_way.take_ended();
            let stopping = self.desk.stopping.is_cancelled();
            if stopping && under_way.is_empty() {
                return;
            }
            let round = if stopping || under_way.posts.len() >= self.settings.concurrency {
                Round::Idle
            } else {
                self.round(&mut under_way).await.unwrap_or_else(|error| {
                    // That the ledger cannot be written, it says itself.
                    if !error.may_pass() {
                        tracing::error!(stage = "submit", %error, "no job could be claimed");
                    }
                    Round::Idle
                })
            };
            self.wait(&mut under_way, &round, stopping).await;
        }
    }

    async fn wait(&self, under_way: &mut UnderWay, round: &Round, stopping: bool) {
        if matches!(round, Round::Busy) && !under_way.posts.is_empty() {
            return self.gather(under_way).await;
        }
        let sleep = if matches!(round, Round::Busy) { Duration::ZERO } else { self.until_next_due().await };
        let permit = async {
            match round {
                Round::NoPermit => self.limits.acquire(Class::Start).await.unused(),
                Round::Busy => {}
                Round::Idle => std::future::pending().await,
            }
        };
        tokio::select! {
            () = permit => {}
            Some(ended) = under_way.posts.join_next() => note_panic(ended),
            Some(ended) = under_way.inspections.join_next() => note_panic(ended),
            () = self.desk.ledger.wake().submit().notified() => {}
            () = self.desk.stopping.cancelled(), if !stopping => {}
            () = self.desk.clock.sleep(sleep) => {}
        }
    }

    /// Waits a moment for more places than the one or two that are free: a claim costs as much as it is, and a place
    /// that is free for so long is not missed.
    async fn gather(&self, under_way: &mut UnderWay) {
        let enough = self.settings.concurrency.div_ceil(4);
        let moment = self.desk.clock.sleep(GATHER);
        tokio::pin!(moment);
        while self.settings.concurrency.saturating_sub(under_way.posts.len()) < enough {
            tokio::select! {
                Some(ended) = under_way.posts.join_next() => note_panic(ended),
                () = &mut moment => return,
                () = self.desk.stopping.cancelled() => return,
            }
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

    async fn round(&self, under_way: &mut UnderWay) -> Result<Round, LedgerError> {
        if !self.desk.reads_are_held() {
            self.start_inspections(&mut under_way.inspections).await?;
        }
        let free = u32::try_from(self.settings.concurrency.saturating_sub(under_way.posts.len()))
            .unwrap_or(u32::MAX);
        let plan = self.plan(free, under_way).await?;
        let in_force = Arc::new(InForce { holds: plan.holds, at_ms: plan.claim.now_ms });
        let mut permits = self.limits.available(Class::Start).min(free);
        let mut lifted = false;
        for one in &plan.tries {
            if permits == 0 {
                break;
            }
            let work = self.claim(one.claim.clone(), &in_force, under_way).await?;
            permits -= u32::try_from(work.claimed.len()).unwrap_or(u32::MAX).min(permits);
            lifted |= self.tried(one, &work, &in_force, &mut under_way.tests).await?;
        }
        // After the tries, which go to the same jobs.
        self.look_up_held(&in_force, &mut under_way.inspections).await?;
        // Also when nothing may start: what has expired ends now, not when a hold is lifted.
        let permitted = permits.min(plan.claim.limit);
        let held = plan.claim.limit == 0 && (plan.tries.is_empty() || permits > 0);
        let work = self.claim(Claim { limit: permitted, ..plan.claim }, &in_force, under_way).await?;
        let all = u32::try_from(work.claimed.len()).unwrap_or(u32::MAX) == permitted;
        Ok(if lifted || work.expired > 0 || work.more {
            Round::Busy
        } else if held {
            Round::Idle
        } else if permitted == 0 {
            Round::NoPermit
        } else if all {
            Round::Busy
        } else {
            Round::Idle
        })
    }

    /// Claims jobs and `POST`s them.
    async fn claim(
        &self,
        claim: Claim,
        in_force: &Arc<InForce>,
        under_way: &mut UnderWay,
    ) -> Result<Work, LedgerError> {
        let mut permits = self.permits(claim.limit);
        let limit = u32::try_from(permits.len()).unwrap_or(u32::MAX);
        let clock = &self.desk.clock;
        let ended_before_ms = clock.ms_ago(self.settings.repeat_after);
        let turn = under_way.turn.clone();
        let claim = Claim { limit, now_ms: clock.now_ms(), ended_before_ms, turn, ..claim };
        let work = self.desk.ledger.write(claim).await;
        let jobs = work.as_ref().map_or(0, |work| work.claimed.len());
        permits.drain(jobs.min(permits.len())..).for_each(Permit::unused);
        let work = work?;
        under_way.turn = work.turn.clone();
        if work.expired > 0 {
            self.desk.ledger.wake().publish().notify_one();
        }
        for (job, permit) in work.claimed.iter().zip(permits) {
            let (stage, job, in_force) = (self.clone(), job.clone(), Arc::clone(in_force));
            let project = job.project_id.clone();
            let post = under_way.posts.spawn(async move { stage.attempt(job, permit, &in_force).await });
            under_way.posting.push((post, project));
        }
        Ok(work)
    }

    /// While starts are held, what jobs of unknown outcome may have bought is looked for.
    async fn look_up_held(
        &self,
        in_force: &Arc<InForce>,
        under_way: &mut JoinSet<()>,
    ) -> Result<(), LedgerError> {
        // Not all of the room: reruns that are about to start are read there, too.
        let room = (INSPECTIONS / 2).saturating_sub(under_way.len());
        // An API that answers nobody has its own tests, each by a job of unknown outcome.
        let held = in_force.holds.iter().filter(|hold| hold.reason != API_DOWN);
        let held: Vec<_> = held.map(|hold| hold.scope.clone()).collect();
        if held.is_empty() || room == 0 || self.desk.reads_are_held() {
            return Ok(());
        }
        let claim = ClaimLookUps {
            limit: u32::try_from(room).unwrap_or(0),
            boot: self.desk.ledger.boot().to_owned(),
            input: self.desk.ledger.input().clone(),
            now_ms: self.desk.clock.now_ms(),
            held,
        };
        for job in self.desk.ledger.write(claim).await? {
            let (stage, in_force) = (self.clone(), Arc::clone(in_force));
            under_way.spawn(async move { stage.look_only(job, &in_force).await });
        }
        Ok(())
    }

    /// Permits for so many starts, as far as there are any now. They are in hand before a job is claimed: what is stored
    /// about it as spent is about to leave.
    fn permits(&self, most: u32) -> Vec<Permit> {
        (0..most).map_while(|_| self.limits.try_acquire(Class::Start)).collect()
    }

    async fn start_inspections(&self, under_way: &mut JoinSet<()>) -> Result<(), LedgerError> {
        // A look costs nothing; a write waits for its commit.
        if !self.desk.ledger.has_unread(self.desk.clock.now_ms()).await? {
            return Ok(());
        }
        let inspections = self
            .desk
            .ledger
            .write(Inspect {
                limit: u32::try_from(INSPECTIONS.saturating_sub(under_way.len())).unwrap_or(0),
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
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(stage = "submit", %error, "a bug: a submission panicked; its job counts as unknown at the next start");
    }
}
