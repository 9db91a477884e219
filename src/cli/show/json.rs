//! The story as one JSON document.

use serde_json::{Value, json};

use super::super::names::Projects;
use super::super::times::iso;
use super::live::Live;
use super::timeline::{assets, became_known, events};
use crate::brief::body_hash;
use crate::job::BriefState;
use crate::ledger::Story;

/// The document.
pub(super) fn document(
    story: &Story,
    state: Option<BriefState>,
    live: Option<&Live>,
    projects: Projects<'_>,
) -> Value {
    let brief = &story.brief;
    json!({
        "projectId": brief.project_id,
        "project": projects.alias(&brief.project_id),
        "batchId": Some(&brief.batch_id).filter(|batch| !batch.is_empty()),
        "briefId": brief.brief_id,
        "input": brief.input,
        "run": brief.run,
        "state": state.map_or(brief.state.as_str(), |state| state.word()),
        "receivedAt": iso(brief.received_at),
        "changedAt": iso(brief.changed_at),
        "prunedAt": brief.pruned_at.map(iso),
        "live": live.map(Live::json),
        "runs": runs(story),
        "jobs": jobs(story),
        "containers": containers(story),
        "records": records(story),
        "holds": holds(story),
        "story": events(story).iter().map(|event| json!({
            "at": iso(event.at),
            "run": event.run,
            "what": event.what,
            "detail": event.detail,
        })).collect::<Vec<_>>(),
    })
}

fn runs(story: &Story) -> Vec<Value> {
    let one = |run: &crate::ledger::RunStory| {
        json!({
            "run": run.run,
            "state": run.state,
            "fingerprint": run.fingerprint,
            "format": run.format,
            "variantCount": run.variant_count,
            "priority": run.priority,
            "notBefore": run.not_before.map(iso),
            "expiresAt": run.expires_at.map(iso),
            "correlationId": run.correlation_id,
            "receivedAt": iso(run.received_at),
            "submittedAt": run.submitted_at.map(iso),
            "finishedAt": run.finished_at.map(iso),
            "recordsOwed": run.owed,
            "recordsMade": run.made,
        })
    };
    story.runs.iter().map(one).collect()
}

fn jobs(story: &Story) -> Vec<Value> {
    let one = |job: &crate::ledger::JobStory| {
        let error = job.error.as_deref();
        json!({
            "job": job.id,
            "run": job.run,
            "kind": job.kind,
            "state": job.state,
            "idempotencyKey": job.idempotency_key,
            "bodySha256": body_hash(&job.body),
            "id": job.alias,
            "jobId": job.api_job_id,
            "attempts": job.attempts,
            "dueAt": iso(job.due_at),
            "unknownSince": job.unknown_first_at.map(iso),
            "knownAt": became_known(story, job).map(|(at, _)| iso(at)),
            "acceptedAt": job.accepted_at.map(iso),
            "finishedAt": job.finished_at.map(iso),
            "error": error.and_then(|text| serde_json::from_str::<Value>(text).ok()),
        })
    };
    story.jobs.iter().map(one).collect()
}

fn containers(story: &Story) -> Vec<Value> {
    let one = |container: &crate::ledger::ContainerStory| {
        json!({
            "variant": container.variant,
            "containerId": Some(&container.id).filter(|id| !id.is_empty()),
            "run": container.run,
            "status": container.status,
            "knownAt": iso(container.known_at),
            "endedAt": container.ended_at.map(iso),
            "assets": assets(container).into_iter().map(|asset| json!({
                "kind": asset.kind,
                "url": asset.url,
            })).collect::<Vec<_>>(),
        })
    };
    story.containers.iter().map(one).collect()
}

fn records(story: &Story) -> Vec<Value> {
    let one = |record: &crate::ledger::RecordStory| {
        json!({
            "type": record.kind,
            "run": record.run,
            "variant": record.variant,
            "messageId": record.message_id,
            "code": record.code,
            "state": record.state,
            "timesConfirmed": record.sends,
            "madeAt": iso(record.created_at),
            "confirmedAt": record.sent_at.map(iso),
        })
    };
    story.records.iter().map(one).collect()
}

fn holds(story: &Story) -> Vec<Value> {
    let one = |hold: &crate::ledger::HoldStory| {
        json!({
            "scope": hold.scope,
            "reason": hold.reason,
            "detail": hold.detail,
            "setBy": hold.set_by,
            "since": iso(hold.since),
            "liftedAt": hold.lifted_at.map(iso),
        })
    };
    story.holds.iter().map(one).collect()
}
