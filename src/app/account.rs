//! Asks the API who we are: tier, organization, prices. Beside the stages, until it is answered. Starts wait for the first
//! answer, whatever it is. What is bought under another organization is guarded by no key: a key of which nobody has told
//! yet that it is of the ledger's organization has the submit stage wait for more than that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::config::layers::{LimitOverrides, Tier};
use crate::layers::{self, Limits, Numbers, Priority};
use crate::ledger::RememberTier;
use crate::stages::holds::{UNAUTHENTICATED, note_refusal, seems_over};
use crate::stages::{Desk, Prices, belongs};

/// How often an API that does not answer is asked again.
const AGAIN: Duration = Duration::from_mins(1);
/// Starts wait for prices no longer than this.
const PRICES_SOON: Duration = Duration::from_secs(2);
/// How often credits are looked at.
const CREDITS_EVERY: Duration = Duration::from_mins(5);

pub(super) fn spawn(worker: &Worker) {
    let settings = worker.settings();
    let account = Account {
        desk: worker.desk.clone(),
        api: worker.api.clone(),
        limits: worker.limits.clone(),
        prices: worker.prices.clone(),
        probe_interval: settings.submit.probe_interval,
        ask_tier: settings.layers.tier == Tier::Auto,
        overrides: settings.layers.limits,
        asked: worker.asked.clone(),
    };
    tokio::spawn(async move {
        let stopping = account.desk.stopping.clone();
        stopping.run_until_cancelled(account.run()).await;
    });
}

struct Account {
    desk: Desk,
    api: layers::Client,
    limits: Limits,
    prices: Prices,
    /// `submit.probe_interval`
    probe_interval: Duration,
    ask_tier: bool,
    overrides: LimitOverrides,
    /// Canceled once the API was asked who we are.
    asked: CancellationToken,
}

impl Account {
    async fn run(self) {
        let starts_may_begin = self.asked.clone().drop_guard();
        let mut answered = self.who_are_we().await;
        // Before the first start if it is told soon, so that every record of a run tells the same estimate.
        let told = tokio::select! {
            more = self.credits(), if !self.desk.reads_are_held() => Some(more),
            () = self.desk.clock.sleep(PRICES_SOON) => None,
        };
        drop(starts_may_begin);
        while !answered {
            self.desk.clock.sleep(AGAIN).await;
            if self.desk.reads_held.load(Ordering::Acquire) {
                // The submit stage asks, as often as a hold is tested.
                continue;
            }
            answered = self.who_are_we().await;
        }
        let mut ask_credits = match told {
            Some(more) => more,
            None => self.desk.reads_are_held() || self.credits().await,
        };
        while ask_credits {
            // Only while there is something to spend them on: an idle worker asks nothing.
            loop {
                self.desk.clock.sleep(CREDITS_EVERY).await;
                if self.desk.ledger.reader().open_briefs().await.unwrap_or(0) > 0 {
                    break;
                }
            }
            ask_credits = self.desk.reads_held.load(Ordering::Acquire) || self.credits().await;
        }
    }

    /// `true`: answered, or there will be no answer.
    async fn who_are_we(&self) -> bool {
        let permit = self.limits.acquire_read(Priority::Sweep).await;
        let key = self.api.key_fingerprint();
        let answer = self.api.whoami().await;
        permit.answered();
        let me = match answer {
            Ok(me) => me,
            Err(trouble) => {
                // A key that is refused is told at the start, not with the first brief. The submit stage tests the hold.
                note_refusal(&self.desk, self.probe_interval, &trouble).await;
                return trouble.is_not_found();
            }
        };
        if self.ask_tier
            && let Some(tier) = me.tier
            && let Some(numbers) = Numbers::with_tier_word(&tier)
        {
            self.limits.set_numbers(Some(numbers.overridden(self.overrides)));
            if let Err(error) = self.desk.ledger.write(RememberTier(tier)).await {
                tracing::warn!(%error, "the tier could not be stored; the next start begins with the lowest");
            }
        }
        let ours = match me.organization_id {
            Some(organization) => belongs(&self.desk, self.probe_interval, (organization, key)).await,
            None => true,
        };
        if ours {
            seems_over(&self.desk, UNAUTHENTICATED).await;
        }
        true
    }

    /// `true`: ask again later.
    async fn credits(&self) -> bool {
        let permit = self.limits.acquire_read(Priority::Poll).await;
        let answer = self.api.credits().await;
        permit.answered();
        match answer {
            Ok(credits) => {
                self.prices.learn(credits.per_format);
                true
            }
            Err(trouble) => {
                note_refusal(&self.desk, self.probe_interval, &trouble).await;
                !trouble.is_not_found()
            }
        }
    }
}
