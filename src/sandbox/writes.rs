//! Short writes: cancel, approve, reject.

use serde_json::{Value, json};

use super::errors::Refusal;
use super::generation::Phase;
use super::reads;
use super::reply::Reply;
use super::routes::Visit;
use super::starts;
use super::state::{Decision, World};

/// `POST /v1/jobs/:job/cancel`: takes effect at the next stage boundary, if the stage allows it at all.
pub(super) fn cancel(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let missing = || Refusal::not_found("job", id);
    let index = world.find_job(id).ok_or_else(missing)?;
    let job = world.jobs.get(index).ok_or_else(missing)?;
    let accepted = Reply::json(202, json!({ "jobId": job.id, "accepted": true }).to_string());
    if job.end_ms().is_some_and(|end_ms| end_ms <= visit.now_ms) {
        let body = json!({ "jobId": job.id, "accepted": false, "reason": "ALREADY_COMPLETED" });
        return Ok(Reply::json(200, body.to_string()));
    }
    let is_running =
        |place: usize| job.looks(visit.now_ms).nth(place).is_some_and(|look| look.phase == Phase::Running);
    let running =
        job.courses.iter().enumerate().filter(|(place, _)| is_running(*place)).map(|(_, course)| course);
    let boundary_ms = running
        .max_by_key(|course| course.span_ms)
        .and_then(|course| course.next_boundary_ms(job.started_ms, visit.now_ms));
    let Some(boundary_ms) = boundary_ms else {
        return Err(Refusal::conflict_of("JOB_CANCEL_UNAVAILABLE", "The job is being finalized."));
    };
    if job.canceled_ms.is_none() && !job.cancel_ignored {
        world.cancel(index, boundary_ms);
    }
    Ok(accepted)
}

/// `POST /v1/content/:container/approve`
pub(super) fn approve(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    read_object(visit)?;
    decide(world, visit, id, true)?;
    reads::container(world, visit, id)
}

/// `POST /v1/content/:container/reject`; with `regenerate` it also starts a new job.
pub(super) fn reject(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let body = read_object(visit)?;
    let reason = body.get("reason").and_then(Value::as_str).map_or(0, |reason| reason.chars().count());
    if !(1..=1024).contains(&reason) {
        return Err(Refusal::invalid("reason", "must have 1 to 1024 characters"));
    }
    let again = match body.get("regenerate") {
        Some(Value::Bool(true)) => Some(json!({})),
        Some(Value::Object(changes)) => Some(Value::Object(changes.clone())),
        Some(_) | None => None,
    };
    decide(world, visit, id, false)?;
    match again {
        Some(again) => starts::regenerate_rejected(world, visit, id, again),
        None => reads::container(world, visit, id),
    }
}

fn decide(world: &mut World, visit: &Visit<'_>, id: &str, approved: bool) -> Result<(), Refusal> {
    let container = world.find_container(id).and_then(|container| world.containers.get_mut(container));
    let container = container.ok_or_else(|| Refusal::not_found("container", id))?;
    if !approved && container.decision.as_ref().is_some_and(|decision| !decision.approved) {
        return Err(Refusal::conflict("The container has been rejected before."));
    }
    container.decision = Some(Decision { approved, at_ms: visit.now_ms });
    Ok(())
}

fn read_object(visit: &Visit<'_>) -> Result<Value, Refusal> {
    let body =
        if visit.body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(visit.body) };
    body.ok().filter(Value::is_object).ok_or_else(|| Refusal::invalid("body", "must be a JSON object"))
}
