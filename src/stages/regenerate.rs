//! Before a rerun buys, it reads the container: what is completed after all is published, what still runs is followed,
//! and only what ended without a result is regenerated; or what a reviewer rejected, if that was asked for and still
//! holds.

use std::time::Duration;

use super::back_off::after;
use super::holds::note_refusal;
use super::look_up::{NOT_SEEN, apart, end_of};
use super::submit::Submit;
use super::track::container_end;
use crate::clock::Clock;
use crate::job::ApiStatus;
use crate::layers::Priority;
use crate::ledger::{Found, Inspected, Inspection};

/// `approvalStatus` of what a reviewer rejected.
const REJECTED: &str = "rejected";
/// When a container that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(10);

/// Reads the container of one regenerate job and records what was found.
pub(super) async fn inspect(stage: &Submit, inspection: Inspection) {
    // Nothing has left yet: an orderly stop does not wait for a permit.
    let permit = stage.limits.acquire_read(Priority::Ended);
    let Some(permit) = stage.desk.stopping.run_until_cancelled(permit).await else {
        let now_ms = stage.desk.clock.now_ms();
        return record(stage, Inspected { job: inspection.id, found: Found::Later(now_ms), now_ms }).await;
    };
    let answer = stage.api.container(&inspection.container).await;
    permit.answered();
    let now_ms = stage.desk.clock.now_ms();
    let found = match answer {
        Ok(reading) => match &reading.status {
            ApiStatus::Completed
                if inspection.rejected && reading.approval_status.as_deref() == Some(REJECTED) =>
            {
                Found::Ended(end_of(&reading))
            }
            ApiStatus::Completed => {
                match container_end(&inspection.container, &reading, None, &stage.prices, now_ms) {
                    Some(end) => Found::Completed(Box::new(end)),
                    None => Found::Later(after(now_ms, AGAIN)),
                }
            }
            ApiStatus::Failed | ApiStatus::Canceled => Found::Ended(end_of(&reading)),
            ApiStatus::Running(_) => Found::Running,
        },
        Err(trouble) if trouble.is_not_found() && !stage.desk.reads_are_held() => {
            not_found(&inspection, &stage.desk.clock)
        }
        Err(trouble) => {
            note_refusal(&stage.desk, stage.settings.probe_interval, &trouble).await;
            Found::Later(after(now_ms, AGAIN))
        }
    };
    record(stage, Inspected { job: inspection.id, found, now_ms }).await;
}

/// What a 404 means. Where the API itself has told the end, the POST will say definitely whether the container is still
/// there. What *we* gave up may be running, or be completed: a single 404 proves nothing, and the POST would buy it again.
fn not_found(inspection: &Inspection, clock: &Clock) -> Found {
    let before_ms = clock.ms_ago(apart());
    let is_for_sure = inspection.absent_at.is_some_and(|first_ms| first_ms <= before_ms);
    if inspection.told || is_for_sure {
        return Found::Ended(NOT_SEEN.to_owned());
    }
    Found::Absent(after(clock.now_ms(), apart()))
}

async fn record(stage: &Submit, inspected: Inspected) {
    let job = inspected.job;
    match stage.desk.write_until_done("submit", std::sync::Arc::new(inspected)).await {
        Ok(_) => {
            stage.desk.ledger.wake().submit().notify_one();
            stage.desk.ledger.wake().track().notify_one();
            stage.desk.ledger.wake().publish().notify_one();
        }
        Err(error) => {
            tracing::error!(stage = "submit", job.id = job, %error, "what was read before a rerun could not be recorded");
        }
    }
}
