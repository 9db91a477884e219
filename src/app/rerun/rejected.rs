//! What reviewers rejected: only the API knows, and only its list tells of many at once.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::PlanError;
use crate::app::credits::read_limits;
use crate::clock::Clock;
use crate::config::Settings;
use crate::job::plan::{Candidate, ContainerStatus};
use crate::layers::{Client, ListQuery, Pages, Priority};
use crate::telemetry::Metrics;

/// `approvalStatus`
const REJECTED: &str = "rejected";
/// Containers a page.
const PER_PAGE: u32 = 200;
/// Pages of one project that are asked for at most: 100,000 containers.
const PAGES_MAX: u32 = 500;
/// The API's clock may differ from ours.
const EARLIER_MS: i64 = 300_000;

/// Marks completed containers that a reviewer has rejected.
pub(super) async fn mark(
    settings: &Settings,
    found: &mut [(Candidate, Vec<String>)],
) -> Result<(), PlanError> {
    // The oldest brief of each project: no container of it was created before.
    let mut projects: BTreeMap<String, i64> = BTreeMap::new();
    for (candidate, _) in found.iter() {
        if candidate.containers.iter().any(|one| one.status == ContainerStatus::Completed) {
            let oldest = projects.entry(candidate.identity.project_id.clone()).or_insert(i64::MAX);
            *oldest = candidate.received_ms.min(*oldest);
        }
    }
    if projects.is_empty() {
        return Ok(());
    }
    let clock = Clock::system();
    let client = Client::new(&settings.layers, clock.clone(), Metrics::new([]))?;
    let limits = read_limits(settings, clock);
    for (project, oldest_ms) in projects {
        let query = ListQuery {
            statuses: vec!["completed".to_owned()],
            since: Timestamp::from_millisecond(oldest_ms.saturating_sub(EARLIER_MS)).ok(),
            limit: Some(PER_PAGE),
            ..ListQuery::default()
        };
        let mut pages = Pages::new(query, PAGES_MAX);
        let mut ids = HashSet::new();
        while let Some(query) = pages.next_query() {
            let permit = limits.acquire_read(Priority::Sweep).await;
            let answer = client.list(&project, query).await;
            permit.answered();
            let page = pages.turn(answer).map_err(|trouble| PlanError::Rejected {
                project: project.clone(),
                why: trouble.to_string(),
            })?;
            let rejected = page.into_iter().filter(|one| one.approval_status.as_deref() == Some(REJECTED));
            ids.extend(rejected.map(|one| one.id));
        }
        if !pages.is_whole() {
            let why = "its list does not end".to_owned();
            return Err(PlanError::Rejected { project, why });
        }
        for (candidate, known) in
            found.iter_mut().filter(|(candidate, _)| candidate.identity.project_id == project)
        {
            for (one, id) in candidate.containers.iter_mut().zip(known) {
                one.rejected = one.status == ContainerStatus::Completed && ids.contains(id.as_str());
            }
        }
    }
    Ok(())
}
