//! `briefd show`: one brief's whole story.

mod json;
mod live;
mod text;
mod timeline;

use std::io::Write;

use clap::Args;

use super::names::{Projects, batch_id, batch_name, quoted};
use super::{Outcome, UsageError};
use crate::clock::Clock;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::{BriefFound, Reader, RunStory, Story, Waiting};

/// Briefs of one id that are listed.
const FOUND_SHOWN: u32 = 20;

/// One brief's whole story, in order of time
///
/// What it is, its runs, its jobs with their Idempotency-Key and the hash of what was sent, its containers with their
/// assets, its records with the ids they were published under, what kept it waiting, and what happened, in order of
/// time: evidence for a question about a bill. Reads beside a running worker. While a container is running, the API is
/// asked once how far it is.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  briefd show spring-017
  briefd show spring-017 --batch 2026-05-spring --project acme-fit --json")]
pub struct ShowArgs {
    /// The briefId
    brief_id: String,
    /// Of this batch ('' for briefs without one)
    #[arg(long)]
    batch: Option<String>,
    /// Of this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// One JSON document, for programs
    #[arg(long)]
    json: bool,
    /// Only from the ledger: do not ask the API how far it is
    #[arg(long)]
    offline: bool,
}

/// Prints the story to `out`.
pub async fn run(
    args: ShowArgs,
    settings: &Settings,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let projects = Projects(&settings.projects);
    let named = (args.brief_id.as_str(), args.batch.as_deref(), args.project.as_deref());
    let found = find(&reader, "show", named, projects).await?;
    let story = reader.story(found.id).await?;
    let holds = reader.holds().await?;
    let state = state(&story, &Waiting::new(&holds, clock.now_ms()));
    let live = if args.offline { None } else { live::look(&story, &holds, (&reader, settings)).await? };
    let page = if args.json {
        serde_json::to_string_pretty(&json::document(&story, state, live.as_ref(), projects))?
    } else {
        text::page(&story, state, live.as_ref(), projects)
    };
    writeln!(out, "{page}")?;
    out.flush()?;
    Ok(Outcome::Done)
}

/// The one brief that is meant by an id, and perhaps a batch and a project. `command`: what is asked for again where
/// several go by that id.
pub(super) async fn find(
    reader: &Reader,
    command: &str,
    (brief_id, batch, project): (&str, Option<&str>, Option<&str>),
    projects: Projects<'_>,
) -> anyhow::Result<BriefFound> {
    let within = (batch.map(batch_id), project.map(|given| projects.id(given)));
    let mut found = reader.find_briefs(brief_id, within, FOUND_SHOWN).await?;
    if found.len() > 1 {
        let commands = found.iter().map(|brief| {
            format!(
                "\n  briefd {command} {} --project {} --batch {}",
                quoted(&brief.brief_id),
                quoted(projects.name(&brief.project_id)),
                quoted(&brief.batch_id),
            )
        });
        let text = format!("several briefs go by '{brief_id}': say which{}", commands.collect::<String>());
        return Err(UsageError(text).into());
    }
    found.pop().ok_or_else(|| {
        let place = match (batch, project) {
            (None, None) => String::new(),
            (Some(batch), None) => format!(" in batch {}", batch_name(batch)),
            (None, Some(project)) => format!(" in project {project}"),
            (Some(batch), Some(project)) => format!(" in batch {} of project {project}", batch_name(batch)),
        };
        let text = format!("no brief '{brief_id}'{place} is in the ledger: `briefd list` shows what is");
        UsageError(text).into()
    })
}

/// The state as people see it; `None`: the ledger holds a word that is not one.
fn state(story: &Story, waiting: &Waiting) -> Option<BriefState> {
    let brief = &story.brief;
    let run: Option<&RunStory> = story.runs.iter().find(|run| run.run == brief.run);
    let stored = BriefState::from_word(&brief.state)?;
    Some(waiting.state(stored, (&brief.project_id, &brief.batch_id), run.and_then(|run| run.not_before)))
}
