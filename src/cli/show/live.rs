//! How far a running brief is at the API right now: one read, and no harm if it fails.

use serde_json::{Value, json};

use crate::app::evidence;
use crate::config::Settings;
use crate::layers::Progress;
use crate::ledger::{Hold, Reader, Story};

/// What a look at the API told about the first container that is running.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    container: String,
    /// The error is why nobody knows.
    told: Result<Progress, String>,
}

/// Looks; `None`: nothing of it is running, as far as the ledger knows.
pub(super) async fn look(
    story: &Story,
    holds: &[Hold],
    (reader, settings): (&Reader, &Settings),
) -> anyhow::Result<Option<Live>> {
    let running = story.containers.iter().find(|one| one.status == "running" && !one.id.is_empty());
    let Some(container) = running.map(|container| container.id.clone()) else { return Ok(None) };
    let origin = reader.meta("origin").await?.unwrap_or_default();
    let told = if origin != settings.layers.origin() {
        Err(format!("the ledger belongs to {origin}, and layers.base_url is another API"))
    } else if let Some(hold) = holds.iter().find(|hold| hold.stops_reads) {
        Err(format!("reads are held: {}", hold.reason))
    } else if settings.require_api_key().is_err() {
        Err("no API key is set".to_owned())
    } else {
        evidence::progress(settings, &container).await
    };
    Ok(Some(Live { container, told }))
}

impl Live {
    /// In parts of a line.
    pub(super) fn facts(&self) -> Vec<String> {
        let progress = match &self.told {
            Ok(progress) => progress,
            Err(why) => return vec![format!("not known: {why}")],
        };
        let mut facts = vec![format!("{} is {}", self.container, progress.status.word())];
        let part = progress.stage_progress.map_or(String::new(), |part| format!(" {:.0} %", part * 100.0));
        facts.extend(progress.stage.as_ref().map(|stage| format!("{stage}{part}")));
        facts.extend(progress.eta_seconds.map(|left| format!("about {left:.0} s left")));
        facts
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        match &self.told {
            Ok(progress) => json!({
                "containerId": self.container,
                "status": progress.status.word(),
                "stage": progress.stage,
                "stageProgress": progress.stage_progress,
                "etaSeconds": progress.eta_seconds,
                "updatedAt": progress.updated_at.map(|at| at.to_string()),
                "problem": null,
            }),
            Err(why) => json!({ "containerId": self.container, "problem": why }),
        }
    }
}
