//! Asks the API who we are: tier, organization, prices. Beside the stages, until it is answered. Starts wait for the first
//! answer, whatever it is, and for nothing else: what is bought under another organization is guarded by no key.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::config::layers::{LimitOverrides, Tier};
use crate::job::Trouble;
use crate::layers::{self, Limits, Numbers, Priority};
use crate::ledger::{Hold, HoldScope, RememberTier, SetHold};
use crate::stages::{Desk, Prices, belongs, lift_account, say_held};

/// How often an API that does not answer is asked again.
const AGAIN: Duration = Duration::from_mins(1);
/// How often credits are looked at.
const CREDITS_EVERY: Duration = Duration::from_mins(5);

/// The hold's reason when the API does not know the key.
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";

pub(super) fn spawn(worker: &Worker) {
    let settings = worker.settings();
    let account = Account {
        desk: worker.desk.clone(),
        api: worker.api.clone(),
        limits: worker.limits.clone(),
        prices: worker.prices.clone(),
        probe_ms: i64::try_from(settings.submit.probe_interval.as_millis()).unwrap_or(i64::MAX),
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
    /// How long until the hold of a refused key is tested.
    probe_ms: i64,
    ask_tier: bool,
    overrides: LimitOverrides,
    /// Canceled once the API was asked who we are.
    asked: CancellationToken,
}

impl Account {
    async fn run(self) {
        let starts_may_begin = self.asked.clone().drop_guard();
        let mut answered = self.who_are_we().await;
        drop(starts_may_begin);
        while !answered {
            self.desk.clock.sleep(AGAIN).await;
            answered = self.who_are_we().await;
        }
        while self.credits().await {
            // Only while there is something to spend them on: an idle worker asks nothing.
            loop {
                self.desk.clock.sleep(CREDITS_EVERY).await;
                if self.desk.ledger.reader().open_briefs().await.unwrap_or(0) > 0 {
                    break;
                }
            }
        }
    }

    /// `true`: answered, or there will be no answer.
    async fn who_are_we(&self) -> bool {
        let permit = self.limits.acquire_read(Priority::Sweep).await;
        let answer = self.api.whoami().await;
        permit.answered();
        let me = match answer {
            Ok(me) => {
                lift_account(&self.desk, UNAUTHENTICATED).await;
                me
            }
            Err(trouble) => {
                self.key_refused(&trouble).await;
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
        if let Some(organization) = me.organization_id {
            belongs(&self.desk, organization).await;
        }
        true
    }

    /// A key that is refused is told at the start, not with the first brief. The submit stage tests the hold.
    async fn key_refused(&self, trouble: &Trouble) {
        let Trouble::Refusal(refusal) = trouble else { return };
        if refusal.status != 401 {
            return;
        }
        // One that is known keeps the time of its test.
        let known = self.desk.ledger.reader().holds().await.unwrap_or_default();
        if known.iter().any(|hold| hold.scope == HoldScope::Account && hold.reason == UNAUTHENTICATED) {
            return;
        }
        let now_ms = self.desk.clock.now_ms();
        let hold = Hold {
            scope: HoldScope::Account,
            reason: UNAUTHENTICATED.to_owned(),
            detail: refusal.message.clone(),
            required: None,
            available: None,
            stops_reads: false,
            by_api: true,
            since_ms: now_ms,
            probe_ms: Some(now_ms + self.probe_ms),
            easing: false,
        };
        match self.desk.ledger.write(SetHold(hold.clone())).await {
            Ok(true) => say_held(&self.desk, &hold).await,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "a hold could not be stored"),
        }
    }

    /// `true`: ask again later.
    async fn credits(&self) -> bool {
        let permit = self.limits.acquire_read(Priority::Poll).await;
        let answer = self.api.credits().await;
        permit.answered();
        match answer {
            Ok(credits) => {
                if let Some(available) = credits.available {
                    #[expect(clippy::cast_precision_loss, reason = "a balance for a gauge")]
                    self.desk.metrics.credits_available.set(available as f64);
                }
                self.prices.learn(credits.per_format);
                true
            }
            Err(trouble) => !trouble.is_not_found(),
        }
    }
}
