//! `briefd rerun`: what would be run again, as a plan that is stored when it is shown and carried out as it was shown.
//!
//! Made here: briefs are read from the ledger, changes put into them, prices and reviewers' decisions asked for, and
//! [`crate::job::plan`] decides. Carried out (`carry_out`) by the worker, or by the command itself where none runs.

mod carry_out;
mod patches;
mod rejected;

use std::collections::BTreeMap;

use super::credits::{self, Credits};
use crate::brief::{Rules, differing_paths, parse, patched, rerun_message};
use crate::config::Settings;
use crate::flow::Delivery;
use crate::job::plan::{Candidate, Change, Plan, Step, Wish, plan};
use crate::ledger::{Content, LedgerError, NewPlan, NewPlanRow, Reader, RerunFilter, Rerunnable, Take};
use serde_json::{Map, Value};

pub(super) use carry_out::{approve, carry_on, spawn};
pub use patches::{PatchError, Patches};

/// Briefs that are read at a time.
const PAGE: u32 = 500;
/// Ids that one query names at most.
const IDS: usize = 500;
/// Paths beside `brief` that are looked for in a change.
const PATHS_MAX: usize = 200;
/// Violations of one brief that are named.
const VIOLATIONS_SHOWN: usize = 3;
/// What a brief's own validation says.
const INVALID_BRIEF: &str = "INVALID_BRIEF";

/// Why no plan was made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Reviewers' decisions could not be read.
    #[error("the API could not be asked what reviewers rejected in {project}: {why}; try again later")]
    Rejected {
        /// The project.
        project: String,
        /// Why.
        why: String,
    },
    /// No client could be made of the settings.
    #[error(transparent)]
    Api(#[from] crate::layers::BuildError),
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Which briefs.
    pub filter: RerunFilter,
    /// What of them, and how much.
    pub wish: Wish,
    /// What shall differ.
    pub patches: Patches,
}

/// A plan that was made, and is not stored.
#[derive(Debug, Default)]
pub struct Made {
    /// What would happen.
    pub plan: Plan,
    /// What changed briefs ask for, by the ledger's number of the brief.
    pub contents: BTreeMap<i64, Content>,
    /// Briefs that were looked at, in whatever state.
    pub looked_at: u64,
    /// Prices and balance.
    pub credits: Credits,
    /// Files whose briefs are in the plan, with how many: the worker of the queue does not start those.
    pub files: BTreeMap<String, u64>,
    /// Lines of the patch file that no brief in the ledger answers to.
    pub unknown: Vec<String>,
}

/// Makes a plan. Nothing is stored, nothing is started.
pub async fn make(settings: &Settings, reader: &Reader, mut asked: Asked) -> Result<Made, PlanError> {
    asked.filter.completed = asked.wish.rejected;
    let mut gathered = Gathered::default();
    let named = asked.patches.brief_ids();
    if named.is_empty() {
        gathered.pages(settings, reader, &mut asked).await?;
    } else {
        let wanted = std::mem::take(&mut asked.filter.briefs);
        let named: Vec<_> = named.into_iter().filter(|id| wanted.is_empty() || wanted.contains(id)).collect();
        for ids in named.chunks(IDS) {
            asked.filter.briefs = ids.to_vec();
            gathered.pages(settings, reader, &mut asked).await?;
        }
    }
    if asked.wish.rejected {
        rejected::mark(settings, &mut gathered.found).await?;
    }
    let Gathered { found, contents, inputs, looked_at } = gathered;
    let credits = credits::ask(settings).await;
    let candidates = found.into_iter().map(|(candidate, _)| candidate).collect();
    let plan = plan(candidates, &asked.wish, |format| credits.prices.get(format).copied());
    let mut files = BTreeMap::new();
    for step in &plan.steps {
        if let Some(file) = inputs.get(&step.candidate.brief) {
            *files.entry(file.clone()).or_default() += 1;
        }
    }
    Ok(Made { plan, contents, looked_at, credits, files, unknown: asked.patches.unused() })
}

impl Made {
    /// The plan as it is stored. `shown`: what people are shown of it.
    pub fn stored(&self, shown: String, canary: u64, (who, reason): (String, String)) -> NewPlan {
        let row = |step: &Step| NewPlanRow {
            brief: step.candidate.brief,
            from_run: step.candidate.run,
            changed_ms: step.candidate.changed_ms,
            take: step
                .taken
                .iter()
                .map(|variant| Take { variant: *variant, rejected: step.is_rejected(*variant) })
                .collect(),
            content: self.contents.get(&step.candidate.brief).cloned(),
        };
        NewPlan { who, reason, shown, canary, rows: self.plan.steps.iter().map(row).collect() }
    }
}

/// What was read so far.
#[derive(Default)]
struct Gathered {
    /// Each with the API's ids of its containers, in their order.
    found: Vec<(Candidate, Vec<String>)>,
    contents: BTreeMap<i64, Content>,
    /// Files, by the brief that came from one.
    inputs: BTreeMap<i64, String>,
    looked_at: u64,
}

impl Gathered {
    async fn pages(
        &mut self,
        settings: &Settings,
        reader: &Reader,
        asked: &mut Asked,
    ) -> Result<(), LedgerError> {
        let mut after = Some(0);
        while let Some(from) = after {
            let (page, last) = reader.rerunnable(&asked.filter, from, PAGE).await?;
            after = last;
            for found in page {
                let Some(changes) = asked.patches.of(&found.identity) else { continue };
                self.looked_at += 1;
                self.take(found, &changes, settings);
            }
        }
        Ok(())
    }

    fn take(&mut self, found: Rerunnable, changes: &Map<String, Value>, settings: &Settings) {
        let (change, content) = changed(&found, changes, settings);
        if let Some(file) = found.input.strip_prefix("file:") {
            self.inputs.insert(found.brief, file.to_owned());
        }
        let (ids, containers) = found.containers.into_iter().unzip();
        let format = content.as_ref().map_or(found.format, |content| content.format.clone());
        let candidate = Candidate {
            brief: found.brief,
            identity: found.identity,
            run: found.run,
            state: found.state,
            changed_ms: found.changed_ms,
            received_ms: found.received_ms,
            priority: content.as_ref().map_or(found.priority, |content| content.priority),
            format: format.unwrap_or_else(|| "auto".to_owned()),
            variant_count: content.as_ref().map_or(found.variant_count, |content| content.variant_count),
            containers,
            trouble: found.trouble,
            change,
        };
        if let Some(content) = content {
            self.contents.insert(candidate.brief, content);
        }
        self.found.push((candidate, ids));
    }
}

/// What a brief asks for with these changes, judged like a message; `None`: what it asked for before.
fn changed(
    found: &Rerunnable,
    changes: &Map<String, Value>,
    settings: &Settings,
) -> (Change, Option<Content>) {
    let was_invalid = found.trouble.as_ref().is_some_and(|trouble| trouble.code == INVALID_BRIEF);
    if changes.is_empty() && !was_invalid {
        return (Change::None, None);
    }
    let run = u32::try_from(found.run + 1).unwrap_or(u32::MAX);
    let message = rerun_message(&found.identity, run, found.priority, &found.request);
    let body = patched(&message, changes).into_bytes();
    let intake = &settings.intake;
    let (validation, missing_brief_id) = (intake.validation, intake.identity);
    let rules = Rules { validation, missing_brief_id, ..Rules::strict(intake.max_message_bytes) };
    let brief = match parse(&Delivery { body, ..Delivery::default() }, &rules) {
        Ok(brief) => brief,
        Err(unreadable) => return (Change::Invalid(unreadable.to_string()), None),
    };
    if !brief.is_valid() {
        let shown = brief.violations.iter().take(VIOLATIONS_SHOWN);
        let shown: Vec<_> = shown.map(|one| format!("{}: {}", one.path, one.problem)).collect();
        return (Change::Invalid(shown.join("; ")), None);
    }
    let fingerprint = brief.fingerprint.to_string();
    let change = if fingerprint == found.fingerprint {
        Change::None
    } else {
        let mut others = differing_paths(&found.request, &brief.request, PATHS_MAX);
        others.retain(|path| path != "brief" && !path.starts_with("brief."));
        Change::Changed(others)
    };
    let ms = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_millisecond);
    let content = Content {
        fingerprint,
        request: if change == Change::None && !changes.contains_key("metadata") {
            found.request.clone()
        } else {
            brief.request
        },
        metadata: brief.metadata,
        format: brief.format,
        variant_count: brief.variant_count,
        priority: brief.priority,
        not_before_ms: ms(brief.not_before),
        expires_at_ms: ms(brief.expires_at),
    };
    (change, Some(content))
}
