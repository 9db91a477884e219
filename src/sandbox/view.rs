//! A container as it is seen at a moment.

use super::generation::{Look, Phase, Stage};
use super::options::Revision;
use super::state::{Container, Job, World};

/// What can be seen of a container at a moment.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) container: &'a Container,
    pub(super) job: &'a Job,
    /// Which take this is, counted from 1.
    pub(super) take: usize,
    /// Which take its media are from.
    pub(super) assets_take: usize,
    pub(super) look: Look,
}

impl View<'_> {
    /// The container's status.
    pub(super) fn status(&self, revision: Revision) -> &'static str {
        match (&self.look.phase, self.look.stage) {
            (Phase::Completed { .. }, _) => "completed",
            (Phase::Failed { .. }, _) => "failed",
            (Phase::Canceled { .. }, _) => "canceled",
            (Phase::Running, Stage::Queued) => "queued",
            (Phase::Running, Stage::Assembling) if self.job.unknown_status => "polishing",
            (
                Phase::Running,
                Stage::Planning | Stage::GeneratingVisuals | Stage::Assembling | Stage::Finalizing,
            ) => match revision {
                Revision::A => "generating",
                Revision::B => "processing",
            },
        }
    }

    /// The container's approval state.
    pub(super) fn approval(&self, required: bool) -> &'static str {
        match &self.container.decision {
            Some(decision) if decision.approved => "approved",
            Some(_) => "rejected",
            None if required || self.take > 1 => "pending",
            None => "not_required",
        }
    }
}

impl World {
    /// A container at a moment. While a regeneration is queued, the container still is what it was before.
    pub(super) fn view(&self, container: usize, now_ms: i64) -> Option<View<'_>> {
        let container = self.containers.get(container)?;
        let views = container.runs.iter().enumerate().rev().filter_map(|(before, (job, place))| {
            let job = self.jobs.get(*job)?;
            let look = job.courses.get(*place)?.look(job.started_ms, job.canceled_ms, now_ms);
            let assets_take = self.assets_take(container, before);
            Some(View { container, job, take: before + 1, assets_take, look })
        });
        let has_begun = |view: &View<'_>| {
            view.take == 1 || !(matches!(view.look.phase, Phase::Running) && view.look.stage == Stage::Queued)
        };
        views.into_iter().find(has_begun)
    }

    /// The take that made the media of the take at this place: regenerations may keep them.
    fn assets_take(&self, container: &Container, place: usize) -> usize {
        let runs = container.runs.get(..=place).unwrap_or_default();
        let made = |(job, _): &(usize, usize)| self.jobs.get(*job).is_some_and(|job| !job.keeps_assets);
        runs.iter().rposition(made).map_or(1, |place| place + 1)
    }
}
