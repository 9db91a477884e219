//! `briefd status`: how far everything is, trouble first.

mod advice;
mod facts;
mod json;
mod pace;
mod text;
mod watch;

use std::io::Write;
use std::time::Duration;

use clap::Args;

use self::facts::Facts;
pub(super) use self::json::schema;
pub(super) use self::pace::limits;
use super::color::Paint;
use super::names::batch_id;
use super::{Outcome, UsageError};
use crate::clock::Clock;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::Reader;

/// How often `--wait` looks.
const WAIT_STEP: Duration = Duration::from_secs(1);
/// How often `--watch` draws.
const WATCH_STEP: Duration = Duration::from_secs(2);

/// How far everything is, trouble first
///
/// What is held, parked or not sent, then a line for each of the newest batches, then the command that helps next. With
/// BATCH: its totals, why what did not complete did not, and which project is
/// worst. Reads beside a running worker.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  briefd status
  briefd status 2026-05-spring
  briefd status 2026-05-spring --wait --timeout 6h && echo every brief completed

LEFT is an estimate: what waits, divided by the job starts that the rate limit allows.")]
pub struct StatusArgs {
    /// Only this batch, in detail ('' for briefs without one)
    batch: Option<String>,
    /// One JSON document, for programs
    #[arg(long)]
    json: bool,
    /// Draw again every 2 s, until q or Ctrl-C
    #[arg(long, conflicts_with_all = ["wait", "json"])]
    watch: bool,
    /// Return when the batch (or everything) has ended: 0 if every brief completed, else 1
    #[arg(long)]
    wait: bool,
    /// With --wait: give up after this long, with exit code 1
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Prints the status to `out`.
pub async fn run(
    args: StatusArgs,
    settings: &Settings,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let look = Look { reader, batch: args.batch.as_deref().map(batch_id), settings, clock };
    if args.watch { look.watch(out).await } else { look.once(&args, out).await }
}

/// Who looks at the ledger, perhaps again and again.
pub(super) struct Look<'a> {
    pub reader: Reader,
    pub batch: Option<&'a str>,
    pub settings: &'a Settings,
    pub clock: &'a Clock,
}

impl Look<'_> {
    async fn once(&self, args: &StatusArgs, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let outcome = if args.wait { self.wait(args.timeout).await? } else { Outcome::Done };
        let facts = self.facts().await?;
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&json::document(&facts, self.settings)?)?)?;
        } else {
            writeln!(out, "{}", text::page(&facts, self.settings, Paint::of_stdout()))?;
        }
        out.flush()?;
        Ok(outcome)
    }

    async fn watch(&self, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let paint = Paint::of_stdout();
        watch::watch(WATCH_STEP, self.clock, out, async || self.page(paint).await).await?;
        Ok(Outcome::Done)
    }

    pub(super) async fn page(&self, paint: Paint) -> anyhow::Result<String> {
        Ok(text::page(&self.facts().await?, self.settings, paint))
    }

    async fn facts(&self) -> anyhow::Result<Facts> {
        let facts =
            Facts::gather(&self.reader, self.batch, &self.settings.layers, self.clock.now_ms()).await?;
        if let Some(batch) = self.batch
            && facts.batches.iter().all(|one| one.counts.total() == 0)
        {
            let unknown =
                format!("no brief of batch '{batch}' is in the ledger: `briefd status` lists the batches");
            return Err(UsageError(unknown).into());
        }
        Ok(facts)
    }

    /// Waits until everything asked about has ended, or the time is over.
    async fn wait(&self, timeout: Option<Duration>) -> anyhow::Result<Outcome> {
        let (mut left, mut warned) = (timeout, false);
        loop {
            let progress = facts::progress(&self.reader, self.batch, self.clock.now_ms()).await?;
            if progress.ended {
                let all = progress.counts.not_completed() == 0;
                return Ok(if all { Outcome::Done } else { Outcome::Incomplete });
            }
            let parked = progress.counts.get(BriefState::Parked);
            if parked > 0 && !warned {
                eprintln!(
                    "briefd: {parked} parked: they do not end before a person decides (briefd status tells which)"
                );
                warned = true;
            }
            let step = left.map_or(WAIT_STEP, |left| left.min(WAIT_STEP));
            if step.is_zero() {
                eprintln!(
                    "briefd: not ended within {}: {} open",
                    humantime::format_duration(timeout.unwrap_or_default()),
                    progress.counts.open()
                );
                return Ok(Outcome::Incomplete);
            }
            self.clock.sleep(step).await;
            left = left.map(|left| left.saturating_sub(step));
        }
    }
}
