//! The course of a generation as a function of time: no timer and no task, a job is a few numbers.

use super::draw::Draw;
use super::options::Options;
use super::time::{scaled_ms, seconds_ms};
use super::wish::Wish;

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Planning,
    GeneratingVisuals,
    Assembling,
    Finalizing,
}

impl Stage {
    const ALL: [Self; 5] =
        [Self::Queued, Self::Planning, Self::GeneratingVisuals, Self::Assembling, Self::Finalizing];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::GeneratingVisuals => "generating_visuals",
            Self::Assembling => "assembling",
            Self::Finalizing => "finalizing",
        }
    }

    /// Where it begins and ends, in thousandths of the generation.
    fn span(self) -> (i64, i64) {
        match self {
            Self::Queued => (0, 50),
            Self::Planning => (50, 150),
            Self::GeneratingVisuals => (150, 800),
            Self::Assembling => (800, 930),
            Self::Finalizing => (930, 1000),
        }
    }

    fn at(thousandths: i64) -> Self {
        Self::ALL.into_iter().find(|stage| thousandths < stage.span().1).unwrap_or(Self::Finalizing)
    }
}

/// Where a generation that never ends stays for ever: in the middle of its visuals.
const STUCK_AT: i64 = 700;

/// How one container's generation will end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Completes,
    Fails { at_thousandths: i64, code: Box<str> },
    Never,
}

/// The course of one container in one job.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// How long it takes if nothing fails.
    pub(super) span_ms: i64,
    pub(super) outcome: Outcome,
}

/// What can be seen of a course at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Completed { at_ms: i64 },
    Failed { at_ms: i64, code: Box<str> },
    Canceled { at_ms: i64 },
}

/// A course at a moment: how far it is, or was when it ended.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) phase: Phase,
    pub(super) stage: Stage,
    /// Of the stage, in thousandths.
    pub(super) stage_thousandths: i64,
    /// Of the whole, in thousandths.
    pub(super) thousandths: i64,
    /// When the stage began, or the course ended.
    pub(super) changed_ms: i64,
    /// When it would complete, if that is known.
    pub(super) expected_ms: Option<i64>,
}

impl Course {
    /// When it ends by itself.
    pub(super) fn end_ms(&self, started_ms: i64) -> Option<i64> {
        match &self.outcome {
            Outcome::Completes => Some(started_ms.saturating_add(self.span_ms)),
            Outcome::Fails { at_thousandths, .. } => {
                Some(started_ms.saturating_add(part(self.span_ms, *at_thousandths)))
            }
            Outcome::Never => None,
        }
    }

    /// The course at `now_ms`, of a job that began at `started_ms` and was canceled at `canceled_ms`, if at all.
    pub(super) fn look(&self, started_ms: i64, canceled_ms: Option<i64>, now_ms: i64) -> Look {
        let end_ms = self.end_ms(started_ms);
        let phase = match (end_ms, canceled_ms) {
            (Some(at_ms), canceled)
                if at_ms <= now_ms && canceled.is_none_or(|canceled_ms| at_ms <= canceled_ms) =>
            {
                match &self.outcome {
                    Outcome::Fails { code, .. } => Phase::Failed { at_ms, code: code.clone() },
                    Outcome::Completes | Outcome::Never => Phase::Completed { at_ms },
                }
            }
            (_, Some(at_ms)) if at_ms <= now_ms => Phase::Canceled { at_ms },
            (_, _) => Phase::Running,
        };
        let thousandths = match &phase {
            Phase::Completed { .. } => 1000,
            Phase::Running => self.thousandths(started_ms, now_ms),
            Phase::Failed { at_ms, .. } | Phase::Canceled { at_ms } => self.thousandths(started_ms, *at_ms),
        };
        let stage = Stage::at(thousandths);
        let (from, to) = stage.span();
        let changed_ms = match &phase {
            Phase::Running => started_ms.saturating_add(part(self.span_ms, from)),
            Phase::Completed { at_ms } | Phase::Failed { at_ms, .. } | Phase::Canceled { at_ms } => *at_ms,
        };
        Look {
            phase,
            stage,
            stage_thousandths: (thousandths - from) * 1000 / (to - from),
            thousandths,
            changed_ms,
            expected_ms: match self.outcome {
                Outcome::Never => None,
                Outcome::Completes | Outcome::Fails { .. } => Some(started_ms.saturating_add(self.span_ms)),
            },
        }
    }

    fn thousandths(&self, started_ms: i64, at_ms: i64) -> i64 {
        let limit = match self.outcome {
            Outcome::Never => STUCK_AT,
            Outcome::Fails { at_thousandths, .. } => at_thousandths,
            Outcome::Completes => 1000,
        };
        let elapsed_ms = at_ms.saturating_sub(started_ms).clamp(0, self.span_ms);
        if self.span_ms == 0 { limit } else { (elapsed_ms.saturating_mul(1000) / self.span_ms).min(limit) }
    }

    /// The next stage boundary, where a cancel takes effect; `None` in the last stage, which refuses.
    pub(super) fn next_boundary_ms(&self, started_ms: i64, now_ms: i64) -> Option<i64> {
        let stage = Stage::at(self.thousandths(started_ms, now_ms));
        if stage == Stage::Finalizing {
            return None;
        }
        let boundary_ms = started_ms.saturating_add(part(self.span_ms, stage.span().1));
        // A course that is stuck has passed its boundary long ago; it reacts within a second.
        Some(if boundary_ms > now_ms { boundary_ms } else { now_ms.saturating_add(1_000) })
    }
}

fn part(span_ms: i64, thousandths: i64) -> i64 {
    span_ms.saturating_mul(thousandths) / 1000
}

/// Draws how the containers of one job fare: what was wished for, else by the shares.
pub(super) fn draw_courses(options: &Options, wish: &Wish, variants: u64, draw: Draw) -> Vec<Course> {
    let drawn_seconds =
        options.min_seconds + draw.unit("seconds") * (options.max_seconds - options.min_seconds);
    let span_ms = seconds_ms(wish.seconds.unwrap_or(drawn_seconds).min(3.2e9));
    let failing = failing_variants(options, wish, variants, draw);
    let course = |variant: u64| {
        let name = |what: &str| format!("{what} {variant}");
        let code = draw.pick("fail code", "RENDER_FAILED", &["PROVIDER_TIMEOUT", "MEDIA_UNAVAILABLE"]);
        let code = wish
            .fail
            .as_deref()
            .or(wish.fail_code.as_deref())
            .unwrap_or(if wish.fail_variants.is_empty() { code } else { "RENDER_FAILED" });
        let outcome = if wish.never {
            Outcome::Never
        } else if failing.contains(&variant) {
            Outcome::Fails {
                at_thousandths: i64::try_from(draw.between(&name("dies"), 200, 950)).unwrap_or(500),
                code: code.into(),
            }
        } else {
            Outcome::Completes
        };
        // The last variant takes the whole time, the others up to a fifth less.
        let shorter = if variant == variants { 1.0 } else { 0.8 + 0.2 * draw.unit(&name("shorter")) };
        Course { span_ms: scaled_ms(span_ms, shorter), outcome }
    };
    (1..=variants).map(course).collect()
}

fn failing_variants(options: &Options, wish: &Wish, variants: u64, draw: Draw) -> Vec<u64> {
    if wish.fail.is_some() {
        return (1..=variants).collect();
    }
    if !wish.fail_variants.is_empty() {
        return wish.fail_variants.clone();
    }
    if draw.hits("fails", options.fail_share) {
        return (1..=variants).collect();
    }
    if variants < 2 || !draw.hits("fails in part", options.partial_share) {
        return Vec::new();
    }
    // One certainly fails, one certainly completes, the others as it happens.
    let fails = draw.between("one fails", 1, variants);
    let completes = fails % variants + 1;
    let by_chance = |variant: &u64| *variant == fails || draw.hits(&format!("fails {variant}"), 0.4);
    (1..=variants).filter(|variant| *variant != completes).filter(by_chance).collect()
}
