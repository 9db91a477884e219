//! Short writes: cancel, approve, reject.

use serde_json::{Value, json};

use super::errors::Refusal;
use super::faults::Fault;
use super::fields::Fields;
use super::generation::Phase;
use super::reads;
use super::reply::Reply;
use super::routes::Visit;
use super::starts;
use super::state::{Decision, World};

/// `POST /v1/jobs/:job/cancel`: takes effect at the next stage boundary, if the stage allows it at all.
pub(super) fn cancel(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let missing = || Refusal::not_found("job", id);
    let index = world.find_job(visit.organization, id).ok_or_else(missing)?;
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
    let is_ignored = job.cancel_ignored || visit.asked.contains(&Fault::CancelIgnored);
    if job.canceled_ms.is_none() && !is_ignored {
        world.cancel(index, boundary_ms);
    }
    Ok(accepted)
}

/// `POST /v1/content/:container/approve`
pub(super) fn approve(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    Fields::of_body(&read_body(visit)?)?.text("note")?;
    decide(world, visit, id, true)?;
    reads::container(world, visit, id)
}

/// `POST /v1/content/:container/reject`; with `regenerate` it also starts a new job, or does nothing at all.
pub(super) fn reject(world: &mut World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let value = read_body(visit)?;
    let body = Fields::of_body(&value)?;
    let reason = body.text("reason")?.map_or(0, |reason| reason.chars().count());
    if !(1..=1024).contains(&reason) {
        return Err(body.invalid("reason", "must have 1 to 1024 characters"));
    }
    let again = match body.get("regenerate") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(json!({})),
        Some(changes @ Value::Object(_)) => Some(changes.clone()),
        Some(_) => return Err(body.invalid("regenerate", "must be true, false or an object")),
    };
    let before = decide(world, visit, id, false)?;
    let Some(again) = again else { return reads::container(world, visit, id) };
    let reply = starts::regenerate_rejected(world, visit, id, &again);
    if reply.is_err()
        && let Some(container) = world.find_container(visit.organization, id)
    {
        world.containers[container].decision = before;
    }
    reply
}

/// Notes a decision; what was decided before.
fn decide(
    world: &mut World,
    visit: &Visit<'_>,
    id: &str,
    approved: bool,
) -> Result<Option<Decision>, Refusal> {
    let index = world.find_container(visit.organization, id);
    let container = index.and_then(|index| world.containers.get_mut(index));
    let container = container.ok_or_else(|| Refusal::not_found("container", id))?;
    if !approved && container.decision.as_ref().is_some_and(|decision| !decision.approved) {
        return Err(Refusal::conflict("The container has been rejected before."));
    }
    Ok(container.decision.replace(Decision { approved, at_ms: visit.now_ms }))
}

/// The body, which may be empty.
fn read_body(visit: &Visit<'_>) -> Result<Value, Refusal> {
    let body =
        if visit.body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(visit.body) };
    body.ok().filter(Value::is_object).ok_or_else(|| Refusal::invalid("body", "must be a JSON object"))
}
