//! PURE. Which projects are swept, and when: least recently swept first.
//!
//! Invariants:
//! - A project is swept only while two or more jobs of it can be seen by a sweep, once at a time, and never sooner than
//!   `sweep_interval` after its last sweep began.
//! - A sweep should find something: with fewer than [`WORTH`] jobs in a project its sweeps are further apart, up to
//!   `poll_max`, which is what the documented polls would be.
//! - Sweeps leave room for what they find. When fewer than [`SHORT`] read permits are left for each page of one round
//!   over all projects, they stretch in proportion: what is left shrinks until as many come back as are used.
//! - A project whose sweeps fail, or take more pages than polling would take reads, is *blind*: its jobs are polled,
//!   and it is swept again now and then to see whether that has changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::cadence::Cadence;

/// Read permits left, for each page, below which sweeps stretch.
const SHORT: u64 = 10;
/// Jobs of which one or so ends in each interval, when a generation takes a minute or two.
const WORTH: i64 = 20;
/// Failures in a row after which the jobs are polled.
const BLIND_AFTER: u32 = 3;
/// A project whose sweeps were too long waits this many intervals for the next.
const TOO_LONG: i64 = 20;
/// Waits after failures double this often.
const DOUBLINGS: u32 = 6;
/// Pages of one sweep, whatever is running: 200,000 containers.
const MAX_PAGES: usize = 1_000;

/// The projects in which jobs are running.
#[derive(Debug)]
pub(super) struct Projects {
    /// `sweep_interval` and `poll_max`.
    sweep_ms: i64,
    max_ms: i64,
    all: HashMap<Arc<str>, Project>,
    /// Those that can be swept and are not being swept, by when they are due while permits are plenty.
    order: BTreeSet<(i64, Arc<str>)>,
    /// Pages of one round over all of them.
    pages: u64,
}

#[derive(Debug, Default)]
struct Project {
    /// Jobs that a sweep can see: first POST (milliseconds since 1970) and number.
    members: BTreeSet<(i64, i64)>,
    /// When its last sweep began, and what failures add.
    base_ms: i64,
    /// Under this time in the order.
    due_ms: i64,
    under_way: bool,
    /// Of the last whole sweep.
    pages: u32,
    failures: u32,
    blind: bool,
}

/// How a sweep came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every page was seen.
    Whole,
    /// There were more pages than it is worth.
    TooLong,
    /// A page could not be read.
    Failed,
}

impl Project {
    fn can_be_swept(&self) -> bool {
        self.members.len() >= 2
    }

    /// How far its sweeps are apart while permits are plenty.
    fn interval_ms(&self, (sweep_ms, max_ms): (i64, i64)) -> i64 {
        let jobs = i64::try_from(self.members.len()).unwrap_or(i64::MAX).max(1);
        (sweep_ms.saturating_mul(WORTH) / jobs).min(max_ms).max(sweep_ms)
    }

    fn weight(&self) -> u64 {
        if self.can_be_swept() { u64::from(self.pages.max(1)) } else { 0 }
    }
}

impl Projects {
    pub(super) fn new(cadence: &Cadence) -> Self {
        Self {
            sweep_ms: cadence.sweep_ms,
            max_ms: cadence.max_ms,
            all: HashMap::new(),
            order: BTreeSet::new(),
            pages: 0,
        }
    }

    /// The one text of a project's id.
    pub(super) fn name(&mut self, project: &str) -> Arc<str> {
        if let Some((name, _)) = self.all.get_key_value(project) {
            return Arc::clone(name);
        }
        let name: Arc<str> = Arc::from(project);
        self.all.insert(Arc::clone(&name), Project::default());
        name
    }

    /// A job that sweeps can see.
    pub(super) fn join(&mut self, project: &Arc<str>, member: (i64, i64)) {
        self.change(project, |project| {
            project.members.insert(member);
        });
    }

    /// A job that sweeps cannot see any more.
    pub(super) fn leave(&mut self, project: &Arc<str>, member: (i64, i64)) {
        self.change(project, |project| {
            project.members.remove(&member);
        });
    }

    /// Whether sweeps, and not polls, tell about the jobs of a project.
    pub(super) fn is_swept(&self, project: &str) -> bool {
        self.all.get(project).is_some_and(|project| project.can_be_swept() && !project.blind)
    }

    /// Jobs of a project that sweeps can see, the oldest first: first POST and number.
    pub(super) fn members(&self, project: &str) -> impl Iterator<Item = (i64, i64)> {
        self.all.get(project).into_iter().flat_map(|project| project.members.iter().copied())
    }

    /// Pages after which a sweep is not worth it: polling takes a read for each job.
    pub(super) fn page_limit(&self, project: &str) -> usize {
        let jobs = self.all.get(project).map_or(0, |project| project.members.len());
        // Five containers a job at most, 200 a page, and some of others.
        jobs.max(jobs / 40 + 3).min(MAX_PAGES)
    }

    /// The project to sweep now, if it is time; it is under way then. `available` read permits are left.
    pub(super) fn start(&mut self, now_ms: i64, available: u32) -> Option<Arc<str>> {
        let due_ms = self.due_ms(available)?;
        if due_ms > now_ms {
            return None;
        }
        let (_, project) = self.order.pop_first()?;
        self.all.get_mut(&project)?.under_way = true;
        Some(project)
    }

    /// When the next sweep is due, by what is left of the budget now.
    pub(super) fn due_ms(&self, available: u32) -> Option<i64> {
        let (due_ms, _) = self.order.first()?;
        let left = u64::from(available.max(1));
        let missing = self.pages.saturating_mul(SHORT).saturating_sub(left);
        let sweep_ms = u64::try_from(self.sweep_ms).unwrap_or(1);
        let stretched_ms = sweep_ms.saturating_mul(missing) / left;
        Some(due_ms.saturating_add(i64::try_from(stretched_ms).unwrap_or(i64::MAX)))
    }

    /// Nothing was there to look for: the sweep did not take place.
    pub(super) fn skipped(&mut self, project: &Arc<str>, now_ms: i64) {
        self.ended(project, |project| project.base_ms = now_ms);
    }

    /// A sweep that began at `started_ms` has ended.
    pub(super) fn swept(&mut self, project: &Arc<str>, started_ms: i64, (outcome, pages): (Outcome, usize)) {
        let sweep_ms = self.sweep_ms;
        self.ended(project, |project| {
            let pages = u32::try_from(pages).unwrap_or(u32::MAX);
            match outcome {
                Outcome::Whole => {
                    (project.failures, project.blind, project.pages) = (0, false, pages);
                    project.base_ms = started_ms;
                }
                Outcome::TooLong => {
                    project.failures = project.failures.saturating_add(1);
                    project.blind = true;
                    let doubled = TOO_LONG << project.failures.min(DOUBLINGS);
                    project.base_ms = started_ms.saturating_add(sweep_ms.saturating_mul(doubled));
                }
                Outcome::Failed => {
                    project.failures = project.failures.saturating_add(1);
                    project.blind |= project.failures >= BLIND_AFTER;
                    let doubled = 1_i64 << project.failures.min(DOUBLINGS);
                    project.base_ms = started_ms.saturating_add(sweep_ms.saturating_mul(doubled));
                }
            }
        });
    }

    fn ended(&mut self, project: &Arc<str>, note: impl FnOnce(&mut Project)) {
        self.change(project, |project| {
            project.under_way = false;
            note(project);
        });
    }

    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Project)) {
        let project = self.all.entry(Arc::clone(name)).or_default();
        self.pages -= project.weight();
        self.order.remove(&(project.due_ms, Arc::clone(name)));
        change(project);
        self.pages += project.weight();
        project.due_ms = project.base_ms.saturating_add(project.interval_ms((self.sweep_ms, self.max_ms)));
        if project.can_be_swept() && !project.under_way {
            self.order.insert((project.due_ms, Arc::clone(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn projects(names: &[&str], jobs: i64) -> Projects {
        let mut projects = Projects::new(&Cadence::new(&Settings::builtin().track));
        for name in names {
            let name = Arc::from(*name);
            for job in 0..jobs {
                projects.join(&name, (0, job));
            }
        }
        projects
    }

    #[test]
    fn a_project_is_swept_while_two_jobs_run_and_not_sooner_than_the_interval() {
        let name = Arc::from("a");
        let mut projects = projects(&[], 0);
        projects.join(&name, (0, 0));
        assert_eq!(projects.start(10_000, 120), None);
        for job in 1..30 {
            projects.join(&name, (0, job));
        }
        assert_eq!(projects.start(10_000, 120).as_deref(), Some("a"));
        assert_eq!(projects.start(20_000, 120), None, "it is under way");
        projects.swept(&name, 10_000, (Outcome::Whole, 1));
        assert_eq!(projects.start(12_999, 120), None);
        assert!(projects.start(13_000, 120).is_some());
        projects.swept(&name, 13_000, (Outcome::Whole, 1));
        for job in 1..30 {
            projects.leave(&name, (0, job));
        }
        assert_eq!(projects.start(90_000, 120), None);
    }

    #[test]
    fn a_few_jobs_are_swept_less_often_but_never_less_than_they_would_be_polled() {
        for (jobs, due_ms) in [(2, 10_000), (10, 6_000), (20, 3_000), (200, 3_000)] {
            assert_eq!(projects(&["a"], jobs).due_ms(120), Some(due_ms), "{jobs}");
        }
    }

    #[test]
    fn projects_take_turns() {
        let mut projects = projects(&["a", "b", "c"], 20);
        let mut order = Vec::new();
        for turn in 0..6 {
            let now_ms = 100_000 + turn * 3_000;
            let project = projects.start(now_ms, 1_000).unwrap();
            projects.swept(&project, now_ms, (Outcome::Whole, 1));
            order.push(project.to_string());
        }
        assert_eq!(order.concat(), "abcabc");
    }

    #[test]
    fn sweeps_stretch_when_the_bucket_is_short() {
        let mut projects = projects(&["a"], 20);
        for (available, due_ms) in [(120, 3_000), (10, 3_000), (5, 6_000), (1, 30_000), (0, 30_000)] {
            assert_eq!(projects.due_ms(available), Some(due_ms), "{available}");
        }
        let project = projects.start(3_000, 120).unwrap();
        projects.swept(&project, 0, (Outcome::Whole, 4));
        assert_eq!(projects.due_ms(10), Some(12_000), "four pages");
    }

    #[test]
    fn a_project_whose_sweeps_fail_or_do_not_end_is_polled_until_one_works() {
        let name = Arc::from("a");
        let mut projects = projects(&["a"], 2);
        for swept in [true, true, false] {
            projects.swept(&name, 0, (Outcome::Failed, 1));
            assert_eq!(projects.is_swept("a"), swept);
        }
        projects.swept(&name, 0, (Outcome::Whole, 1));
        assert!(projects.is_swept("a"));
        projects.swept(&name, 0, (Outcome::TooLong, 3));
        assert!(!projects.is_swept("a"));
        assert!(projects.due_ms(120).unwrap() > 60_000);
    }
}
