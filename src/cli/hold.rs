//! `briefd hold` and `briefd release`: stop and resume starting jobs.

use std::io::Write;

use crate::app::requests::{Asked, HandedOver, Scope, ask};
use crate::cli::Outcome;
use crate::config::Settings;

/// Stop starting jobs: of everything, of one project, or of one batch.
///
/// What was started already is followed to its end and published. Nothing fails by a hold; briefs wait. A hold survives
/// restarts until `briefd release` lifts it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  briefd hold --reason \"wrong hook in all of them\"\n  briefd hold --batch 2026-05-spring"
)]
pub struct HoldArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why; shown by status and stored
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Resume starting jobs, whoever stopped them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  briefd release --batch 2026-05-spring")]
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
}

/// Asks for the hold.
pub async fn hold(args: HoldArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let asked = Asked::Hold { of: args.scope.scope(settings) };
    let handed_over = ask(settings, &asked, &who(), &args.reason).await?;
    say(out, handed_over, "No more jobs are started. Go on later:  briefd release")
}

/// Asks for the release.
pub async fn release(
    args: ReleaseArgs,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let asked = Asked::Release { of: args.scope.scope(settings) };
    let handed_over = ask(settings, &asked, &who(), &args.reason).await?;
    say(out, handed_over, "Jobs are started again. How far it is:  briefd status")
}

fn say(out: &mut impl Write, handed_over: HandedOver, then: &str) -> anyhow::Result<Outcome> {
    match handed_over {
        HandedOver::ToTheWorker => {
            writeln!(out, "Stored; the worker carries it out within two seconds. {then}")?;
        }
        HandedOver::Done => {
            writeln!(out, "Done; no worker runs. {then}")?;
        }
    }
    Ok(Outcome::Done)
}

/// Who asks, for the records.
pub(super) fn who() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned())
}
