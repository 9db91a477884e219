//! What it may cost is said, and asked about, before the first brief of a file is bought.

use std::io::{self, Write as _};
use std::path::Path;

use super::super::question::{can_ask, said_yes};
use super::super::quote::Quote;
use super::UsageError;
use crate::app::credits;
use crate::app::survey::Survey;
use crate::config::Settings;
use crate::ledger::{Input, LedgerError, Reader};

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
    let prices =
        if yes || can_ask { credits::ask(settings).await.prices } else { settings.layers.prices.clone() };
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
    match Reader::open_of_any_age(&settings.ledger.path).await {
        Ok(reader) => reader.knows_input(&Input::File(name.to_owned())).await,
        Err(LedgerError::Missing(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
