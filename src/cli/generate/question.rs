//! What it may cost is said, and asked about, before the first brief of a file is bought.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::super::question::{can_ask, said_yes};
use super::super::quote::Quote;
use super::UsageError;
use crate::app::survey::Survey;
use crate::clock::Clock;
use crate::config::Settings;
use crate::layers::limits::numbers;
use crate::layers::{Client, Limits, Numbers, Priority};
use crate::ledger::{Input, LedgerError, Reader};
use crate::telemetry::Metrics;

/// Prices are asked for no longer than this; without them the number of containers has to do.
const PRICES_LIMIT: Duration = Duration::from_secs(5);

/// Whether it may start: nothing new is bought, nothing costs money, or a person said yes.
pub(super) async fn may_start(
    file: &Path,
    name: &str,
    survey: &Survey,
    settings: &Settings,
    yes: bool,
) -> anyhow::Result<bool> {
    if settings.layers.is_loopback() || survey.briefs == 0 || is_known(settings, name).await? {
        return Ok(true);
    }
    let can_ask = can_ask();
    // Who is going to be refused connects to nobody before.
    let prices = if yes || can_ask { prices(settings).await } else { settings.layers.prices.clone() };
    let quote = Quote::new(survey, &prices);
    let sentence = quote.sentence(&file.display().to_string(), &settings.layers.origin());
    let text = format!("{sentence}\n{}", quote.table());
    if yes {
        drop(write!(io::stderr(), "{text}"));
        return Ok(true);
    }
    if !can_ask {
        return Err(UsageError(format!("{text}without a terminal to ask on: add --yes to start it")).into());
    }
    write!(io::stderr(), "{text}Start? [y/N] ")?;
    said_yes().await
}

/// Whether the ledger has briefs of this file: then it goes on, and what it costs was asked before.
async fn is_known(settings: &Settings, name: &str) -> Result<bool, LedgerError> {
    match Reader::open(&settings.ledger.path).await {
        Ok(reader) => reader.knows_input(&Input::File(name.to_owned())).await,
        Err(LedgerError::Missing(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Credits by format: what the API tells goes before the settings.
async fn prices(settings: &Settings) -> std::collections::BTreeMap<String, u64> {
    let mut prices = settings.layers.prices.clone();
    let (clock, metrics) = (Clock::system(), Metrics::new(std::iter::empty()));
    let Ok(client) = Client::new(&settings.layers, clock.clone(), metrics.clone()) else {
        return prices;
    };
    // A worker with this key may be asking as well.
    let numbers = numbers(settings.layers.tier, settings.layers.limits).map(Numbers::of_commands);
    let limits = Limits::new(numbers, clock, metrics);
    let asked = async {
        let permit = limits.acquire_read(Priority::Poll).await;
        let answer = client.credits().await;
        permit.answered();
        answer
    };
    if let Ok(Ok(credits)) = tokio::time::timeout(PRICES_LIMIT, asked).await {
        prices.extend(credits.per_format);
    }
    prices
}
