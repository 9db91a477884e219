//! The two endpoints that cost credits: `POST …/content` and `POST …/regenerate`.
//!
//! Order, once a request is admitted: what strikes it before the work, idempotency look-up, the work (`acceptance`),
//! what strikes its answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::acceptance::{make_again, make_containers};
use super::draw::{Draw, hex, sha256};
use super::errors::Refusal;
use super::faults::{Fault, Strike, oddly_rate_limited};
use super::idempotency::{Answer, Found, Replays};
use super::reply::{Reply, internal_error};
use super::routes::Visit;
use super::state::World;
use super::time::seconds_ms;
use super::wire::Cut;
use super::wish::Wish;

/// One POST that may start a job.
#[derive(Debug)]
pub(super) struct Post<'a> {
    pub(super) key: Option<&'a str>,
    /// What tells this intent from others: the key, else the body's `id`, else the body.
    pub(super) identity: String,
    pub(super) body_sha: [u8; 32],
    pub(super) value: Value,
    pub(super) wish: Wish,
    /// From when on it counts as served.
    pub(super) served_ms: i64,
    /// The first POST of the same key is still being served, and that is not noticed.
    pub(super) overlaps: bool,
}

/// `POST /v1/projects/:project/content`
pub(super) fn generate(world: &mut World, visit: &Visit<'_>, project: &str) -> Reply {
    let value: Value = serde_json::from_slice(visit.body).unwrap_or_default();
    let wish = Wish::of(&value);
    serve(world, visit, (value, wish), |world, post| make_containers(world, visit, post, project))
}

/// `POST /v1/content/:container/regenerate`
pub(super) fn regenerate(world: &mut World, visit: &Visit<'_>, container: &str) -> Reply {
    let value: Value = match visit.body {
        [] => json!({}),
        body => serde_json::from_slice(body).unwrap_or_default(),
    };
    let wish = wish_for_regeneration(world, container, &value);
    serve(world, visit, (value, wish), |world, post| make_again(world, visit, post, container))
}

/// `POST /v1/content/:container/reject` with `regenerate`: a job without an `Idempotency-Key`.
pub(super) fn regenerate_rejected(
    world: &mut World,
    visit: &Visit<'_>,
    container: &str,
    value: Value,
) -> Result<Reply, Refusal> {
    let wish = wish_for_regeneration(world, container, &value);
    let body_sha = sha256(visit.body);
    let identity = hex(&body_sha);
    let post = Post { key: None, identity, body_sha, value, wish, served_ms: visit.now_ms, overlaps: false };
    make_again(world, visit, &post, container).map(|answer| Reply::json(answer.status, answer.body.clone()))
}

fn wish_for_regeneration(world: &World, container: &str, body: &Value) -> Wish {
    if body.get("metadata").is_some() {
        return Wish::of(body);
    }
    let container = world.find_container(container).and_then(|container| world.containers.get(container));
    container.and_then(|container| container.later.as_deref().cloned()).unwrap_or_default()
}

fn serve(
    world: &mut World,
    visit: &Visit<'_>,
    (value, wish): (Value, Wish),
    work: impl FnOnce(&mut World, &Post<'_>) -> Result<Arc<Answer>, Refusal>,
) -> Reply {
    let key = visit.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let body_sha = sha256(visit.body);
    let id = value.get("id").and_then(Value::as_str);
    let identity = key.or(id).map_or_else(|| hex(&body_sha), str::to_owned);
    let nth = world.tally.posted(key, body_sha);
    let draw = Draw::new(visit.options.seed, &["post", visit.path, &identity, &nth.to_string()]);
    let wished = if nth == 1 { wish.faults.as_slice() } else { &[] };
    let strike = Strike::start(&world.faults, wished, draw);
    if let Some(fault) = strike.before {
        world.tally.struck(fault);
        return instead_of_work(fault, draw, visit);
    }
    for fault in [strike.slow, strike.answer].into_iter().flatten() {
        world.tally.struck(fault);
    }
    let delay_ms = seconds_ms(visit.options.start_seconds);
    let slow_ms = seconds_ms(wish.slow_seconds.unwrap_or(visit.options.slow_seconds));
    let served_ms = [
        visit.now_ms,
        delay_ms,
        if strike.slow.is_some() { slow_ms } else { 0 },
        if strike.loses_answer() { seconds_ms(visit.options.in_flight_seconds) } else { 0 },
    ]
    .into_iter()
    .fold(0, i64::saturating_add);
    let mut post = Post { key, identity, body_sha, value, wish, served_ms, overlaps: false };
    let answer = decide(world, visit, &mut post, work);
    let reply = Reply {
        retry_after: answer.retry_after.clone(),
        delay_ms,
        ..Reply::json(answer.status, answer.body.clone())
    };
    reply.struck(strike, slow_ms, visit.request_id)
}

fn instead_of_work(fault: Fault, draw: Draw, visit: &Visit<'_>) -> Reply {
    let unknown = |status| Refusal::new(status, "QUANTUM_FLUX", "Something that no documentation mentions.");
    let refusal = match fault {
        Fault::ResetBefore => return Reply { cut: Some(Cut::Reset), ..Reply::default() },
        Fault::KillSwitch => Refusal::kill_switch(),
        Fault::OddRetryAfter => oddly_rate_limited(draw, visit.now_ms),
        Fault::UnknownCode => unknown(422),
        Fault::UnknownCode403 => unknown(403),
        Fault::UnknownCode500 => unknown(500),
        // The others do not strike before the work.
        Fault::Error500
        | Fault::AcceptedUnanswered
        | Fault::AcceptedReset
        | Fault::Accepted500
        | Fault::Error502Html
        | Fault::CutJson
        | Fault::Slow
        | Fault::ReadReset
        | Fault::ReadError500
        | Fault::ReadError502Html
        | Fault::ReadCutJson
        | Fault::ReadSlow
        | Fault::UnknownStatus
        | Fault::CancelIgnored => internal_error(),
    };
    Reply::refused(&refusal, visit.request_id)
}

/// The idempotency look-up by key, then the work, then remembering its answer.
fn decide(
    world: &mut World,
    visit: &Visit<'_>,
    post: &mut Post<'_>,
    work: impl FnOnce(&mut World, &Post<'_>) -> Result<Arc<Answer>, Refusal>,
) -> Arc<Answer> {
    let refused = |refusal: &Refusal| {
        let body = refusal.body(visit.request_id);
        Arc::new(Answer { status: refusal.status, body, retry_after: refusal.retry_after.clone() })
    };
    if post.key.is_some_and(|key| key.is_empty() || key.len() > 255) {
        return refused(&Refusal::invalid("Idempotency-Key", "must have 1 to 255 characters"));
    }
    let name = post.key.map(|key| Replays::name(visit.caller, visit.path, key));
    match name.as_ref().map_or(Found::Nothing, |name| world.replays.find(name, &post.body_sha, visit.now_ms))
    {
        Found::Nothing => {}
        Found::Served(answer) => return answer,
        Found::OtherBody => return refused(&Refusal::idempotency_conflict()),
        Found::InProgress if visit.options.overlap_makes_two => post.overlaps = true,
        Found::InProgress => return refused(&Refusal::in_progress()),
    }
    let (answer, is_final) = match work(world, post) {
        Ok(answer) => (answer, true),
        // Who is told to come again must get another answer then.
        Err(refusal) => (
            refused(&refusal),
            refusal.retry_after.is_none() && refusal.is_replayed(visit.options.replay_billing),
        ),
    };
    if let Some(name) = name
        && is_final
        && !post.overlaps
    {
        world.replays.keep(&name, post.body_sha, Arc::clone(&answer), (visit.now_ms, post.served_ms));
    }
    answer
}
