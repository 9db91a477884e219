//! Before a rerun buys, it reads the container: what is completed after all is published, what still runs is followed,
//! and only what ended without a result is regenerated; or what a reviewer rejected, if that was asked for and still
//! holds.

use std::time::Duration;

use super::back_off::after;
use super::holds::note_refusal;
use super::look_up::{NOT_SEEN, end_of};
use super::submit::Submit;
use super::track::container_end;
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
        // If the API does not have it any more, the POST will say so definitely; a 404 alone proves nothing.
        Err(trouble) if trouble.is_not_found() && !stage.desk.reads_are_held() => {
            Found::Ended(NOT_SEEN.to_owned())
        }
        Err(trouble) => {
            note_refusal(&stage.desk, stage.settings.probe_interval, &trouble).await;
            Found::Later(after(now_ms, AGAIN))
        }
    };
    record(stage, Inspected { job: inspection.id, found, now_ms }).await;
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
