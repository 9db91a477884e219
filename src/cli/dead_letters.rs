//! `briefd dead-letters`: look at what was set aside, send it again, or throw it away.

mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand};

use self::text::Page;
use super::names::Projects;
use super::question::agreed;
use super::table::{counted, thousands};
use super::{Outcome, UsageError};
use crate::broker::{DeadLetter, DeadLetters};
use crate::clock::Clock;
use crate::config::Settings;
use crate::layers::Client;
use crate::telemetry::Metrics;

/// Dead letters that are published and acknowledged together.
const BATCH: usize = 100;

/// Look at what was set aside, send it again, or throw it away
///
/// What cannot be read or contradicts what is known is set aside in the dead-letter queue with its reason, and so is what
/// the broker gave up delivering. Looking leaves it where it is.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  briefd dead-letters list
  briefd dead-letters show 1
  briefd dead-letters requeue --reason delivery_limit
  briefd dead-letters discard 7f3a9c01be")]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// What is there, oldest first, and why
    #[command(after_help = "Example:\n  briefd dead-letters list --reason UNREADABLE")]
    List(ListArgs),
    /// One of them: its body and what travelled beside it, secrets blanked
    #[command(after_help = "Example:\n  briefd dead-letters show 1")]
    Show {
        /// Its number in the list, its id, or its message id
        which: String,
    },
    /// Send to the input exchange as it came first, each confirmed before it leaves the dead-letter queue
    #[command(after_help = "Example:\n  briefd dead-letters requeue --reason delivery_limit")]
    Requeue(Which),
    /// Throw away for good
    #[command(after_help = "Example:\n  briefd dead-letters discard 7f3a9c01be")]
    Discard(Which),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// Only those set aside for this reason
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// No more than so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "reason", "all"])))]
struct Which {
    /// Ids as listed, or message ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that were set aside for this reason
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

impl Which {
    fn takes(&self, letter: &DeadLetter) -> bool {
        self.all
            || self.reason.as_deref().is_some_and(|reason| is_reason(letter, reason))
            || self.ids.iter().any(|id| letter.goes_by(id))
    }

    /// Ids that none of these goes by.
    fn missing<'a>(&'a self, found: &[DeadLetter]) -> Vec<&'a str> {
        let missing = self.ids.iter().filter(|id| !found.iter().any(|letter| letter.goes_by(id)));
        missing.map(String::as_str).collect()
    }
}

fn is_reason(letter: &DeadLetter, reason: &str) -> bool {
    letter.reason().eq_ignore_ascii_case(reason)
}

/// Carries the command out at the broker.
pub async fn run(
    args: DeadLettersArgs,
    settings: &Settings,
    yes: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let mut queue = DeadLetters::open(&settings.amqp).await?;
    let done = match &args.command {
        Command::List(args) => list(args, settings, &mut queue, out).await,
        Command::Show { which } => show(which, settings, &mut queue, out).await,
        Command::Requeue(which) => requeue(which, &mut queue, out).await,
        Command::Discard(which) => discard(which, &mut queue, yes, out).await,
    };
    let closed = queue.close().await;
    let outcome = done?;
    closed?;
    out.flush()?;
    Ok(outcome)
}

async fn list(
    args: &ListArgs,
    settings: &Settings,
    queue: &mut DeadLetters,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let page = page(settings)?;
    let mut rows = Vec::new();
    let mut number = 0;
    while rows.len() < args.limit
        && let Some(letter) = queue.next().await?
    {
        number += 1;
        if args.reason.as_deref().is_none_or(|reason| is_reason(&letter, reason)) {
            rows.push((number, letter));
        }
    }
    if args.json {
        for (number, letter) in &rows {
            writeln!(out, "{}", page.json(*number, letter))?;
        }
        return Ok(Outcome::Done);
    }
    for line in page.table(&rows) {
        writeln!(out, "{line}")?;
    }
    let waiting = counted(i64::from(queue.waiting()), "dead letter");
    let shown = match rows.len() {
        n if u32::try_from(n).is_ok_and(|n| n == queue.waiting()) => String::new(),
        n => format!(", {} shown", thousands(i64::try_from(n).unwrap_or(i64::MAX))),
    };
    writeln!(out, "{waiting} in {}{shown}", settings.amqp.dead_letter.queue)?;
    Ok(Outcome::Done)
}

async fn show(
    which: &str,
    settings: &Settings,
    queue: &mut DeadLetters,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let page = page(settings)?;
    let wanted: Option<usize> = which.parse().ok().filter(|n| *n > 0);
    let mut number = 0;
    while let Some(letter) = queue.next().await? {
        number += 1;
        if wanted == Some(number) || letter.goes_by(which) {
            write!(out, "{}", page.story(number, &letter))?;
            return Ok(Outcome::Done);
        }
    }
    Err(no_such(which))
}

async fn requeue(which: &Which, queue: &mut DeadLetters, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut requeued = 0;
    let mut found = Vec::new();
    let mut names = Vec::new();
    loop {
        let next = queue.next().await?;
        let ended = next.is_none();
        found.extend(next.filter(|letter| which.takes(letter)));
        if found.len() >= BATCH || (ended && !found.is_empty()) {
            let sent = queue.requeue(&found).await;
            // What was requeued before stays so, whatever happens now.
            sent.with_context(|| format!("{} requeued before", counted(requeued, "dead letter")))?;
            requeued += i64::try_from(found.len()).unwrap_or(i64::MAX);
            names.extend(which.ids.iter().filter(|id| found.iter().any(|letter| letter.goes_by(id))));
            found.clear();
        }
        if ended {
            break;
        }
    }
    if let Some(missing) = which.ids.iter().find(|id| !names.contains(id)) {
        if requeued > 0 {
            writeln!(out, "{} requeued", counted(requeued, "dead letter"))?;
        }
        return Err(no_such(missing));
    }
    writeln!(out, "{} requeued, each confirmed", counted(requeued, "dead letter"))?;
    Ok(Outcome::Done)
}

async fn discard(
    which: &Which,
    queue: &mut DeadLetters,
    yes: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let mut found = Vec::new();
    while let Some(letter) = queue.next().await? {
        if which.takes(&letter) {
            found.push(letter);
        }
    }
    if let Some(missing) = which.missing(&found).first() {
        return Err(no_such(missing));
    }
    let count = counted(i64::try_from(found.len()).unwrap_or(i64::MAX), "dead letter");
    if found.is_empty() {
        writeln!(out, "no dead letter is like that")?;
        return Ok(Outcome::Done);
    }
    let mut reasons: BTreeMap<&str, i64> = BTreeMap::new();
    for letter in &found {
        *reasons.entry(letter.reason()).or_default() += 1;
    }
    let reasons: Vec<String> =
        reasons.into_iter().map(|(reason, n)| format!("{} {reason}", thousands(n))).collect();
    let text = format!("{count} ({}): what is in them is gone after this", text::plain(&reasons.join(", ")));
    if !agreed(&text, &format!("Discard {count}?"), yes).await? {
        writeln!(io::stderr(), "nothing was changed")?;
        return Ok(Outcome::Incomplete);
    }
    queue.discard(&found).await?;
    writeln!(out, "{count} discarded")?;
    Ok(Outcome::Done)
}

fn no_such(which: &str) -> anyhow::Error {
    UsageError(format!("no dead letter goes by {which:?}: `briefd dead-letters list` shows what is there"))
        .into()
}

/// What is shown may hold the key, so the key must be known to be blanked.
fn page(settings: &Settings) -> anyhow::Result<Page<'_>> {
    let client = Client::new(&settings.layers, Clock::system(), Metrics::new([]));
    let client = client.context("what is shown must not hold the API key")?;
    Ok(Page { projects: Projects(&settings.projects), client, now_ms: Clock::system().now_ms() })
}
