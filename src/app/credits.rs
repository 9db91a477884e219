//! What the API says that containers cost, and what is there to pay for them: asked by a command, beside the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::layers::limits::numbers;
use crate::layers::{Client, Limits, Numbers, Priority};
use crate::telemetry::Metrics;

/// It is asked for no longer than this; without an answer the settings have to do.
const LIMIT: Duration = Duration::from_secs(5);

/// Prices and balance, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// Credits for one container, by format: what the API tells goes before the settings.
    pub prices: BTreeMap<String, u64>,
    /// Credits that are there; `None`: the API did not say.
    pub available: Option<i64>,
}

/// Asks once. What cannot be asked is no error: then only the settings tell.
pub async fn ask(settings: &Settings) -> Credits {
    let mut credits = Credits { prices: settings.layers.prices.clone(), available: None };
    let clock = Clock::system();
    let Ok(client) = Client::new(&settings.layers, clock.clone(), Metrics::new([])) else { return credits };
    let limits = read_limits(settings, clock);
    let asked = async {
        let permit = limits.acquire_read(Priority::Poll).await;
        let answer = client.credits().await;
        permit.answered();
        answer
    };
    if let Ok(Ok(told)) = tokio::time::timeout(LIMIT, asked).await {
        credits.prices.extend(told.per_format);
        credits.available = told.available;
    }
    credits
}

/// How much a command may read: a worker with the same key may be asking as well.
pub(super) fn read_limits(settings: &Settings, clock: Clock) -> Limits {
    let numbers = numbers(settings.layers.tier, settings.layers.limits).map(Numbers::of_commands);
    Limits::new(numbers, clock, Metrics::new([]))
}
