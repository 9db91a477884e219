//! `briefd hold` and `briefd release`: stop and resume starting jobs.

use std::io::Write;
use std::time::Duration;

use super::names::quoted;
use super::table::wrap;
use crate::app::requests::{Asked, HandedOver, NOTHING_LIFTED, Scope, ask, ask_and_hear};
use crate::cli::Outcome;
use crate::config::Settings;
use crate::ledger::{LedgerError, Reader};

/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(5);

/// Stop starting jobs: of everything, of one project, of one batch, or of one batch in one project.
///
/// What was started already is followed to its end and published. Nothing fails by a hold; briefs wait. A hold survives
/// restarts until `briefd release` lifts it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  briefd hold --reason \"wrong hook in all of them\"\n  briefd hold --batch 2026-05-spring\n  briefd hold --project acme-fit --batch 2026-05-spring"
)]
pub struct HoldArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why; shown by status and stored
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Resume starting jobs, whoever stopped them. What was held with --project and --batch is released with both.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  briefd release --batch 2026-05-spring\n  briefd release --project acme-fit --batch 2026-05-spring"
)]
pub struct ReleaseArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why; stored
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Clone, Debug, clap::Args)]
struct ScopeArgs {
    /// Only this project: an alias of the projects settings, or an id
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only this batch; with --project, only its briefs there
    #[arg(long, value_name = "BATCH")]
    batch: Option<String>,
}

impl ScopeArgs {
    fn scope(&self, settings: &Settings) -> Scope {
        let project = self.project.as_ref().map(|name| settings.projects.get(name).unwrap_or(name).clone());
        match (project, &self.batch) {
            (Some(project), Some(batch)) => Scope::BatchOfProject { project, batch: batch.clone() },
            (Some(project), None) => Scope::Project(project),
            (None, Some(batch)) => Scope::Batch(batch.clone()),
            (None, None) => Scope::Account,
        }
    }

    /// Whose jobs, in words: ` of batch teaser in acme-fit`; of everything: nothing.
    fn words(&self) -> String {
        match (&self.project, &self.batch) {
            (Some(project), Some(batch)) => format!(" of batch {batch} in {project}"),
            (Some(project), None) => format!(" of {project}"),
            (None, Some(batch)) => format!(" of batch {batch}"),
            (None, None) => String::new(),
        }
    }

    /// Whether the ledger has a brief of it: names are mistyped.
    async fn is_known(&self, settings: &Settings) -> Result<bool, LedgerError> {
        let reader = Reader::open_of_any_age(&settings.ledger.path).await?;
        if let Some(batch) = &self.batch {
            return reader.knows_batch(batch).await;
        }
        if let Scope::Project(project) = self.scope(settings) {
            return Ok(reader.first_brief_ms(&project).await?.is_some());
        }
        Ok(true)
    }

    /// The same as flags of a command.
    fn flags(&self) -> String {
        let flag = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!(" --{name} {}", quoted(value))).unwrap_or_default()
        };
        flag("project", &self.project) + &flag("batch", &self.batch)
    }
}

/// Asks for the hold.
pub async fn hold(args: HoldArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let asked = Asked::Hold { of: args.scope.scope(settings) };
    let handed_over = ask(settings, &asked, &who(), &args.reason).await?;
    let (of, flags) = (args.scope.words(), args.scope.flags());
    say(out, handed_over, &format!("No more jobs{of} are started. Go on later:  briefd release{flags}"))?;
    if !args.scope.is_known(settings).await? {
        for line in wrap("! ", &format!("no brief{of} has come so far: is that the name that is meant?")) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(Outcome::Done)
}

/// Asks for the release.
pub async fn release(
    args: ReleaseArgs,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let asked = Asked::Release { of: args.scope.scope(settings) };
    let said = (who(), args.reason);
    let (handed_over, heard) = ask_and_hear(settings, &asked, (&said.0, &said.1), HEAR_WITHIN).await?;
    let of = args.scope.words();
    if heard.is_some_and(|outcome| outcome == NOTHING_LIFTED) {
        let whole = if of.is_empty() { " as a whole" } else { "" };
        for line in
            wrap("", &format!("Nothing was lifted: no jobs{of} are held{whole}. What is:  briefd status"))
        {
            writeln!(out, "{line}")?;
        }
        return Ok(Outcome::Done);
    }
    say(out, handed_over, &format!("Jobs{of} are started again. How far it is:  briefd status"))
}

fn say(out: &mut impl Write, handed_over: HandedOver, then: &str) -> anyhow::Result<Outcome> {
    let done = match handed_over {
        HandedOver::ToTheWorker => "Stored; the worker carries it out within two seconds.",
        HandedOver::Done => "Done; no worker runs.",
    };
    for line in wrap("", &format!("{done} {then}")) {
        writeln!(out, "{line}")?;
    }
    Ok(Outcome::Done)
}

/// Who asks, for the records.
pub(super) fn who() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned())
}
