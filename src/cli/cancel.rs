//! `briefd cancel`: ends what was not started, and asks the API to cancel what was.

use std::io::{self, Write};
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::hold::who;
use super::names::{Projects, batch_id, batch_name, quoted};
use super::question::agreed;
use super::show::find;
use super::table::{counted, thousands, wrap};
use super::{Outcome, UsageError};
use crate::app::requests::{Asked, HandedOver, ask_and_hear};
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::{CancelOf, Reader, StateCounts};

/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(5);
/// So many digits a number of briefs has at most.
const NUMBER_WIDTH: usize = 9;

/// Cancel a batch or a brief: what was not started ends at once, free; of what runs the API is asked
///
/// Each brief of which nothing was started ends with a record whose code is CANCELED, and costs nothing. Of one that is
/// running the API is asked; it may complete all the same, is then charged, and published as completed. One whose POST is
/// under way is canceled once it is known what became of it. What comes later is not meant, nor is what is parked. Works
/// while starts are held, too.
#[derive(Args, Clone, Debug)]
#[command(
    group(ArgGroup::new("what").required(true).multiple(true).args(["batch", "brief"])),
    after_help = "\
Examples:
  briefd cancel --batch 2026-05-spring --reason \"wrong hook in all of them\"
  briefd cancel --brief spring-017 --project acme-fit --yes"
)]
pub struct CancelArgs {
    /// What is open of this batch ('' for briefs without one); with --brief: of this batch
    #[arg(long)]
    batch: Option<String>,
    /// This brief, by its briefId
    #[arg(long, value_name = "BRIEF_ID")]
    brief: Option<String>,
    /// Only in this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// Why; stored, and told by the records
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Says what it comes to, asks, stores the wish, and says what came of it.
pub async fn run(
    args: CancelArgs,
    settings: &Settings,
    yes: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let plan = Plan::make(&args, &reader, Projects(&settings.projects)).await?;
    if plan.to_cancel() == 0 {
        writeln!(out, "{}\nNothing is to be canceled.", plan.text())?;
        return Ok(Outcome::Done);
    }
    let question = format!("Cancel {}?", counted(plan.to_cancel(), "brief"));
    if !agreed(&plan.text(), &question, yes).await? {
        writeln!(io::stderr(), "nothing was changed")?;
        return Ok(Outcome::Incomplete);
    }
    let said = (who(), args.reason);
    let asked = Asked::Cancel { of: plan.of };
    let (handed_over, heard) = ask_and_hear(settings, &asked, (&said.0, &said.1), HEAR_WITHIN).await?;
    let text = match (heard, handed_over) {
        (Some(outcome), HandedOver::ToTheWorker) => format!("{outcome}. See:  {}", plan.see),
        (Some(outcome), HandedOver::Done) => {
            format!("{outcome}. No worker runs: it goes on with the next briefd run. See:  {}", plan.see)
        }
        (None, _) => format!("Stored; the worker is at it. See:  {}", plan.see),
    };
    for line in wrap("", &text) {
        writeln!(out, "{line}")?;
    }
    Ok(Outcome::Done)
}

/// What a cancel comes to.
struct Plan {
    /// In people's words.
    name: String,
    of: CancelOf,
    counts: StateCounts,
    /// Of those that run, how many the API cannot be asked about.
    nameless: i64,
    /// Shows how far it is.
    see: String,
}

impl Plan {
    async fn make(args: &CancelArgs, reader: &Reader, projects: Projects<'_>) -> anyhow::Result<Self> {
        if let Some(brief) = &args.brief {
            let named = (brief.as_str(), args.batch.as_deref(), args.project.as_deref());
            let found = find(reader, "cancel --brief", named, projects).await?;
            let mut counts = StateCounts::default();
            if let Some(state) = BriefState::from_word(&found.state) {
                counts.add(state, 1);
            }
            let name = format!("brief {} of {}", found.brief_id, projects.name(&found.project_id));
            let see = format!("briefd show {}", quoted(&found.brief_id));
            let of = CancelOf::Brief(found.id);
            let nameless = reader.nameless(&of).await?;
            return Ok(Self { name, of, counts, nameless, see });
        }
        let batch = batch_id(args.batch.as_deref().unwrap_or_default());
        let project = args.project.as_deref().map(|given| projects.id(given));
        let (counts, up_to) = reader.cancel_plan(batch, project).await?;
        let of_project = project.map(|project| format!(" of {}", projects.name(project))).unwrap_or_default();
        let name = format!("batch {}{of_project}", batch_name(batch));
        if counts.total() == 0 {
            let text = format!("no brief of {name} is in the ledger: `briefd status` shows what is");
            return Err(UsageError(text).into());
        }
        let of = CancelOf::Batch { batch: batch.to_owned(), project: project.map(ToOwned::to_owned), up_to };
        let nameless = reader.nameless(&of).await?;
        Ok(Self { name, of, counts, nameless, see: format!("briefd status {}", quoted(batch_name(batch))) })
    }

    fn to_cancel(&self) -> i64 {
        [BriefState::Waiting, BriefState::Submitting, BriefState::Running]
            .map(|state| self.counts.get(state))
            .iter()
            .sum()
    }

    /// How many of what, and what becomes of them; not more than 80 columns.
    fn text(&self) -> String {
        let ended = self.counts.total() - self.counts.open();
        let parts = [
            (self.counts.get(BriefState::Waiting), "not started: ended at once, free"),
            (
                self.counts.get(BriefState::Running) - self.nameless,
                "running: the API is asked; what completes all the same is charged",
            ),
            (
                self.nameless,
                "running without a job id of the API: it cannot be asked; they are followed, and charged",
            ),
            (
                self.counts.get(BriefState::Submitting),
                "being submitted: the API is asked once it is known what became of it",
            ),
            (
                self.counts.get(BriefState::Parked),
                "parked: left alone, a person decides first whether it was bought (briefd resolve)",
            ),
            (ended, "ended already"),
        ];
        let mut lines = vec![format!("{}: {}", self.name, counted(self.counts.total(), "brief"))];
        for (n, what) in parts.into_iter().filter(|(n, _)| *n > 0) {
            lines.extend(wrap(&format!("{:>NUMBER_WIDTH$} ", thousands(n)), what));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_tells_what_is_free_and_what_may_be_charged() {
        let mut counts = StateCounts::default();
        for (state, n) in [
            (BriefState::Waiting, 4_812),
            (BriefState::Running, 120),
            (BriefState::Submitting, 3),
            (BriefState::Parked, 1),
            (BriefState::Completed, 60),
            (BriefState::Failed, 4),
        ] {
            counts.add(state, n);
        }
        let plan = Plan {
            name: "batch 2026-05-spring of acme-fit".to_owned(),
            of: CancelOf::Brief(1),
            counts,
            nameless: 2,
            see: String::new(),
        };
        insta::assert_snapshot!(plan.text(), @r"
        batch 2026-05-spring of acme-fit: 5,000 briefs
            4,812 not started: ended at once, free
              118 running: the API is asked; what completes all the same is charged
                2 running without a job id of the API: it cannot be asked; they are
                  followed, and charged
                3 being submitted: the API is asked once it is known what became of it
                1 parked: left alone, a person decides first whether it was bought
                  (briefd resolve)
               64 ended already
        ");
        assert_eq!(plan.to_cancel(), 4_935);
    }
}
