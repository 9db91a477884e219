//! `briefd rerun`: plan and start reruns.

mod figures;
mod follow;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use self::figures::Figures;
use super::hold::who;
use super::names::{Projects, batch_id, batch_name};
use super::progress::Screen;
use super::question::{can_ask, said_yes};
use super::status::limits;
use super::times::Since;
use super::{Outcome, UsageError};
use crate::app::rerun::{Asked, Made, Patches, make};
use crate::brief::IDENTITY_FIELDS;
use crate::clock::Clock;
use crate::config::Settings;
use crate::files::cell_value;
use crate::job::plan::Wish;
use crate::ledger::{PlanState, Reader, RerunFilter};

/// Plan and start reruns of what failed
///
/// Nothing is bought blindly: each container is read before it is made again. What has completed by now is published,
/// what still runs is followed, both free; only what failed is regenerated, under its own id. A brief that never got a
/// container is submitted anew. What the API would refuse again as it is stays out, unless it is changed (--patch, --set) or
/// --include-unchanged insists.
///
/// --dry-run stores what it shows as a plan; --plan N starts exactly that. A brief that changed meanwhile is left out and
/// named. Starting a plan a second time does nothing. The worker does the work, so Ctrl-C loses nothing.
///
/// --canary N starts N briefs first. When all of them have completed the rest starts by itself; else the plan stops, and
/// goes on only with --plan NUMBER --canary 0.
///
/// --patch FILE: one JSON object for all briefs, or JSON Lines or CSV with a briefId a line; then only these briefs are
/// run again. A sheet of `briefd list --csv` works as it is: mend its cells. An empty cell changes nothing.
///
/// Exit code: 0 stored, or with --wait every brief completed; 1 with --wait: not every one did; 2 nobody agreed to the cost.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  briefd rerun --batch 2026-05-spring --dry-run
  briefd rerun --plan 8 --canary 10 --wait
  briefd rerun --batch 2026-05-spring --code MODERATION_BLOCKED --set brief.hook=\"Start slow\"
  briefd rerun --patch fix.csv --max-credits 5000 --dry-run")]
pub struct RerunArgs {
    /// Only briefs of this batch ('' for those without one)
    #[arg(long)]
    batch: Option<String>,
    /// Only this briefId; may be repeated
    #[arg(long)]
    brief: Vec<String>,
    /// Only briefs of this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// Only what has this code; may be repeated (REJECTED: what reviewers rejected)
    #[arg(long)]
    code: Vec<String>,
    /// Only briefs that came since: a duration ("2h") or an ISO 8601 time
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only briefs that came until
    #[arg(long, value_name = "TIME")]
    until: Option<Since>,
    /// Also what was canceled
    #[arg(long)]
    canceled: bool,
    /// Also what reviewers rejected, as the API lists it
    #[arg(long)]
    rejected: bool,
    /// Briefs whose current run this is
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    run: i64,
    /// What shall differ: a JSON object, or JSON Lines or CSV with briefId
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// What shall differ, one field: brief.hook=TEXT; nothing behind = takes it away; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    set: Vec<(String, serde_json::Value)>,
    /// Also what the API would refuse again as it is
    #[arg(long)]
    include_unchanged: bool,
    /// Spend no more: whole briefs by priority, then age, each if it still fits
    #[arg(long, value_name = "N")]
    max_credits: Option<u64>,
    /// Show the plan and store it; start nothing
    #[arg(long, conflicts_with = "plan")]
    dry_run: bool,
    /// Start this plan, exactly as it was shown
    #[arg(long, value_name = "NUMBER", conflicts_with_all = [
        "batch", "brief", "project", "code", "since", "until", "canceled", "rejected", "run", "patch", "set",
        "include_unchanged", "max_credits",
    ])]
    plan: Option<i64>,
    /// Start so many briefs first, and the rest when all of them have completed
    #[arg(long, value_name = "N")]
    canary: Option<u64>,
    /// Wait until every brief of the plan has ended
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Why; stored
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// JSON: the plan, then what was started, one object a line
    #[arg(long)]
    json: bool,
}

fn assignment(given: &str) -> Result<(String, serde_json::Value), String> {
    let (field, value) = given.split_once('=').ok_or("give FIELD=VALUE, like brief.hook=\"Start slow\"")?;
    if IDENTITY_FIELDS.contains(&field) {
        return Err(format!("{field} says which brief it is, and cannot be changed"));
    }
    let value = cell_value(field, value).map_err(|problem| format!("{field} {problem}"))?;
    Ok((field.to_owned(), value))
}

/// Where the command works.
struct Scene<'a> {
    settings: &'a Settings,
    reader: Reader,
    screen: Screen,
    yes: bool,
}

/// Makes a plan or takes a stored one, and starts it unless it is only to be shown.
pub async fn run(
    args: RerunArgs,
    settings: &Settings,
    (clock, screen): (&Clock, Screen),
    yes: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let scene = Scene { settings, reader: Reader::open(&settings.ledger.path).await?, screen, yes };
    match args.plan {
        Some(plan) => scene.start(plan, &args, out).await,
        None => scene.plan(&args, clock, out).await,
    }
}

impl Scene<'_> {
    /// Makes a plan, shows it, stores it, and goes on with it unless it is a dry run.
    async fn plan(&self, args: &RerunArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let projects = Projects(&self.settings.projects);
        if let Some(batch) = args.batch.as_deref().map(batch_id) {
            self.must_know(batch).await?;
        }
        let made = make(self.settings, &self.reader, asked(args, projects, clock).await?).await?;
        let figures = Figures::of(&made, limits(&self.reader, &self.settings.layers).await?);
        let canary = args.canary.unwrap_or(0);
        let number = if made.plan.steps.is_empty() {
            None
        } else {
            let shown = serde_json::to_string(&figures)?;
            let new = made.stored(shown, canary, (who(), args.reason.clone()));
            Some(new.store(&self.settings.ledger.path, clock.now_ms()).await?)
        };
        if args.json {
            writeln!(out, "{}", json::plan(&made, &figures, number))?;
        } else {
            let text = text::plan(&made, &figures, (number, args.dry_run));
            out.write_all(text.as_bytes())?;
        }
        out.flush()?;
        match number {
            Some(number) if !args.dry_run => self.start(number, args, out).await,
            Some(_) | None => Ok(Outcome::Done),
        }
    }

    /// A name that is mistyped is not one of which nothing failed.
    async fn must_know(&self, batch: &str) -> anyhow::Result<()> {
        if self.reader.knows_batch(batch).await? {
            return Ok(());
        }
        let name = batch_name(batch);
        Err(UsageError(format!(
            "no brief of batch '{name}' is in the ledger: `briefd status` lists the batches"
        ))
        .into())
    }

    /// Starts a stored plan, and tells how far it is.
    async fn start(&self, number: i64, args: &RerunArgs, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let Some(plan) = self.reader.plan(number).await? else {
            let text =
                format!("there is no plan {number} in this ledger: make one with briefd rerun --dry-run");
            return Err(UsageError(text).into());
        };
        let starts =
            plan.state == PlanState::Planned || (plan.state == PlanState::Stopped && args.canary == Some(0));
        if starts {
            let figures: Figures = serde_json::from_str(&plan.shown)?;
            if !self.agreed(&figures, number).await? {
                writeln!(io::stderr(), "nothing was started; plan {number} is kept")?;
                return Ok(Outcome::Incomplete);
            }
            follow::ask(self.settings, (number, args.canary), &args.reason).await?;
        }
        let far = follow::until(&self.reader, number, args.wait, &self.screen).await?;
        let projects = Projects(&self.settings.projects);
        if args.json {
            writeln!(out, "{}", json::progress(&far, starts))?;
        } else {
            out.write_all(text::progress(&far, projects, starts).as_bytes())?;
        }
        let incomplete = args.wait && !far.all_completed();
        Ok(if incomplete { Outcome::Incomplete } else { Outcome::Done })
    }

    /// What costs money is asked about; an address of this machine costs nothing.
    async fn agreed(&self, figures: &Figures, number: i64) -> anyhow::Result<bool> {
        if self.settings.layers.is_loopback() {
            return Ok(true);
        }
        let sentence = text::cost(figures, number, &self.settings.layers.origin());
        if self.yes {
            drop(writeln!(io::stderr(), "{sentence}"));
            return Ok(true);
        }
        if !can_ask() {
            let text = format!(
                "{sentence}\nwithout a terminal to ask on: briefd rerun --plan {number} --yes starts it"
            );
            return Err(UsageError(text).into());
        }
        write!(io::stderr(), "{sentence}\nStart? [y/N] ")?;
        said_yes().await
    }
}

/// What the arguments ask for.
async fn asked(args: &RerunArgs, projects: Projects<'_>, clock: &Clock) -> anyhow::Result<Asked> {
    let mut patches = match &args.patch {
        Some(file) => Patches::read(file, projects.0).await?,
        None => Patches::default(),
    };
    for (field, value) in &args.set {
        patches.set(field, value.clone());
    }
    let now_ms = clock.now_ms();
    Ok(Asked {
        filter: RerunFilter {
            batch: args.batch.as_deref().map(batch_id).map(ToOwned::to_owned),
            project: args.project.as_deref().map(|given| projects.id(given).to_owned()),
            briefs: args.brief.clone(),
            since_ms: args.since.map(|since| since.ms(now_ms)),
            until_ms: args.until.map(|until| until.ms(now_ms)),
            completed: args.rejected,
        },
        wish: Wish {
            run: args.run,
            codes: args.code.clone(),
            canceled: args.canceled,
            rejected: args.rejected,
            include_unchanged: args.include_unchanged,
            credits_max: args.max_credits,
        },
        patches,
    })
}
