//! `briefd resolve`: a person decides about a parked job.

use std::io::{self, Write};
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::hold::who;
use super::names::{Projects, quoted};
use super::question::agreed;
use super::show::find;
use super::{Outcome, UsageError};
use crate::app::evidence::{self, Evidence};
use crate::app::requests::{Asked, HandedOver, RESOLVED, ask_and_hear};
use crate::config::Settings;
use crate::ledger::{BriefFound, ParkedJob, Reader, Resolution};

/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(5);

/// Decide about a parked brief: was it bought or not?
///
/// A brief is parked when its POST may have made a job, and nothing that the API says can tell any more. Look at
/// what is known first (briefd show), and at what the API lists. Exactly one of the three decides; who decided, when and
/// why is kept in the brief's story.
///
/// --accepted: the API made this job; it is followed to its end, and its results are published.
///
/// --repeat: the same POST is sent once more, with the same Idempotency-Key and bytes, also where briefd would not
/// any more by itself: later than 23 hours after the first try without an id in the body, or under another API key. If
/// the API knows neither key nor id by now, it makes a job, and bills it a second time should there be one already.
/// Should that answer be lost too, it is parked again.
///
/// --never-accepted: there is no such job; the brief fails, with the API's own refusal where there was one. If there is
/// one all the same, it was paid for and its results are not collected, and a rerun buys again.
#[derive(Args, Clone, Debug)]
#[command(
    group(ArgGroup::new("decision").required(true).args(["accepted", "repeat", "never_accepted"])),
    after_help = "\
Examples:
  briefd resolve spring-017 --accepted job_01HV2K --reason \"found in the dashboard\"
  briefd resolve spring-017 --batch 2026-05-spring --repeat --reason \"support: never arrived\" --yes"
)]
pub struct ResolveArgs {
    /// The briefId
    brief_id: String,
    /// Of this batch ('' for briefs without one)
    #[arg(long)]
    batch: Option<String>,
    /// Of this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// The API made this job
    #[arg(long, value_name = "JOB_ID", value_parser = job_id)]
    accepted: Option<String>,
    /// Send the same POST once more
    #[arg(long)]
    repeat: bool,
    /// The API made no job
    #[arg(long)]
    never_accepted: bool,
    /// Only the regeneration of this container; else all parked jobs of the brief
    #[arg(long, value_name = "CONTAINER_ID")]
    container: Option<String>,
    /// Why; stored
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

fn job_id(given: &str) -> Result<String, String> {
    let id = given.trim();
    if id.is_empty() || id.len() > 200 || id.chars().any(char::is_control) {
        return Err("the API's id of the job, such as job_01HV2K".to_owned());
    }
    Ok(id.to_owned())
}

/// Stores the decision, and says what came of it.
pub async fn run(
    args: ResolveArgs,
    settings: &Settings,
    yes: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let projects = Projects(&settings.projects);
    let named = (args.brief_id.as_str(), args.batch.as_deref(), args.project.as_deref());
    let brief = find(&reader, "resolve", named, projects).await?;
    let jobs = chosen(&args, &brief, reader.parked_jobs(brief.id).await?)?;
    let resolution = match &args.accepted {
        Some(job) => accepted(job, &jobs, settings).await?,
        None if args.repeat => Resolution::Repeat,
        None => Resolution::NeverAccepted,
    };
    if !may_decide(&resolution, &jobs, &brief, yes).await? {
        writeln!(io::stderr(), "nothing was changed")?;
        return Ok(Outcome::Incomplete);
    }
    let asked = Asked::Resolve { jobs: jobs.iter().map(|job| job.id).collect(), resolution };
    let said = (who(), args.reason);
    let (handed_over, heard) = ask_and_hear(settings, &asked, (&said.0, &said.1), HEAR_WITHIN).await?;
    let see = format!("See:  briefd show {}", address(&brief, projects));
    match heard {
        Some(outcome) if outcome.starts_with(RESOLVED) => {
            let worker = match handed_over {
                HandedOver::ToTheWorker => "",
                HandedOver::Done => " No worker runs: it goes on with the next briefd run.",
            };
            writeln!(out, "{}: {outcome}.{worker} {see}", brief.brief_id)?;
            Ok(Outcome::Done)
        }
        Some(outcome) => {
            let text = format!("{}: {outcome}: somebody else was first. {see}", brief.brief_id);
            Err(UsageError(text).into())
        }
        None => {
            writeln!(out, "Stored; the worker carries it out as soon as it can write. {see}")?;
            Ok(Outcome::Done)
        }
    }
}

/// The parked jobs that are meant.
fn chosen(args: &ResolveArgs, brief: &BriefFound, parked: Vec<ParkedJob>) -> anyhow::Result<Vec<ParkedJob>> {
    if parked.is_empty() {
        let text = format!(
            "brief '{}' is {}, not parked: there is nothing to decide. See: briefd show {}",
            brief.brief_id,
            brief.state,
            quoted(&brief.brief_id)
        );
        return Err(UsageError(text).into());
    }
    let containers = parked.iter().filter_map(|job| job.container.as_deref());
    let containers = containers.collect::<Vec<_>>().join(", ");
    let jobs = match &args.container {
        None => parked,
        Some(wanted) => {
            let of_it: Vec<_> =
                parked.into_iter().filter(|job| job.container.as_ref() == Some(wanted)).collect();
            if of_it.is_empty() {
                let which = if containers.is_empty() {
                    "what is parked has no container yet, leave --container out".to_owned()
                } else {
                    format!("parked are {containers}")
                };
                let text = format!(
                    "no regeneration of container {wanted} of '{}' is parked: {which}",
                    brief.brief_id
                );
                return Err(UsageError(text).into());
            }
            of_it
        }
    };
    if args.accepted.is_some() && jobs.len() > 1 {
        let text = format!(
            "{} jobs of '{}' are parked, and one id names one of them: add --container ({containers})",
            jobs.len(),
            brief.brief_id
        );
        return Err(UsageError(text).into());
    }
    Ok(jobs)
}

/// Takes the person's word, unless the API says that it knows no such job.
async fn accepted(job: &str, jobs: &[ParkedJob], settings: &Settings) -> anyhow::Result<Resolution> {
    let Some(parked) = jobs.first() else { anyhow::bail!("a bug: nothing is parked") };
    let (containers, format) = match evidence::about(settings, job, parked).await {
        Evidence::Known { containers, format } => (containers, format),
        Evidence::NoSuchJob => {
            let text = format!("the API knows no job {job}: look the id up again");
            return Err(UsageError(text).into());
        }
        Evidence::NotAsked(why) => {
            writeln!(io::stderr(), "the API could not be asked about {job} ({why}); it is taken as given")?;
            (Vec::new(), None)
        }
    };
    Ok(Resolution::Accepted { job: job.to_owned(), containers, format })
}

/// What may cost is asked about on a terminal; without one it needs `--yes`.
async fn may_decide(
    resolution: &Resolution,
    jobs: &[ParkedJob],
    brief: &BriefFound,
    yes: bool,
) -> anyhow::Result<bool> {
    let guarded = jobs.iter().all(|job| job.alias.is_some());
    let text = match resolution {
        Resolution::Accepted { .. } => return Ok(true),
        Resolution::Repeat if guarded => format!(
            "The POST of '{}' is sent once more, with the same Idempotency-Key and container id: an API that knows one of \
             them makes no second job.",
            brief.brief_id
        ),
        Resolution::Repeat => format!(
            "The POST of '{}' is sent once more, with the same Idempotency-Key. The API keeps keys for 24 hours, for one \
             API key: where it has forgotten it, it makes and bills a second job if there is one already.",
            brief.brief_id
        ),
        Resolution::NeverAccepted => format!(
            "'{}' fails, as if the API had never made a job for it. If it has made one, that was paid for, its results are \
             not collected, and a rerun buys it again.",
            brief.brief_id
        ),
    };
    agreed(&text, "Go on?", yes).await
}

fn address(brief: &BriefFound, projects: Projects<'_>) -> String {
    let (id, batch) = (quoted(&brief.brief_id), quoted(&brief.batch_id));
    format!("{id} --project {} --batch {batch}", quoted(projects.name(&brief.project_id)))
}
