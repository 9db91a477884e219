//! The endpoints that cost credits: `POST …/content`, `…/regenerate` and `…/clone-from-post`.
//!
//! Order, once a request is admitted: what strikes it before the work, idempotency look-up, the work (`acceptance`),
//! what strikes its answer.

use std::sync::Arc;

use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::acceptance::{make_again, make_containers};
use super::changes::Changes;
use super::cloning::read_clone;
use super::draw::{Draw, hex, sha256};
use super::errors::Refusal;
use super::faults::Fault;
use super::idempotency::{Answer, Found, Replays};
use super::reply::Reply;
use super::routes::Visit;
use super::state::World;
use super::strike::{Strike, instead_of_work};
use super::submission::Submission;
use super::time::seconds_ms;
use super::wish::Wish;

/// One POST that may start a job.
#[derive(Debug)]
pub(super) struct Post<'a> {
    pub(super) key: Option<&'a str>,
    /// What tells this intent from others: the key, else the body's `id`, else the body.
    pub(super) identity: String,
    pub(super) body_sha: [u8; 32],
    pub(super) wish: Wish,
    /// Faults that were asked for by name.
    pub(super) named: Vec<Fault>,
    /// From when on it counts as served.
    pub(super) served_ms: i64,
    /// The first POST of the same key is still being served, and that is not noticed.
    pub(super) overlaps: bool,
}

/// What comes out of the work.
type Outcome = Result<Arc<Answer>, Refusal>;

/// `POST /v1/projects/:project/content`
pub(super) fn generate(world: &mut World, visit: &Visit<'_>, project: &str) -> Reply {
    let value: Value = serde_json::from_slice(visit.body).unwrap_or_default();
    let wish = Wish::of(&value);
    let read = || Submission::read(project, visit.body, &value);
    serve(world, visit, (&value, wish), read, |world, post, it| make_containers(world, visit, post, it))
}

/// `POST /v1/content/:newId/clone-from-post`
pub(super) fn clone(world: &mut World, visit: &Visit<'_>, id: &str) -> Reply {
    let value: Value = serde_json::from_slice(visit.body).unwrap_or_default();
    let wish = Wish::of(&value);
    let read = || read_clone(id, &value);
    serve(world, visit, (&value, wish), read, |world, post, it| make_containers(world, visit, post, it))
}

/// `POST /v1/content/:container/regenerate`
pub(super) fn regenerate(world: &mut World, visit: &Visit<'_>, container: &str) -> Reply {
    let value: Value = match visit.body {
        [] => json!({}),
        body => serde_json::from_slice(body).unwrap_or_default(),
    };
    let wish = wish_for_regeneration(world, visit, container, &value);
    let read = || Changes::read(&value);
    serve(world, visit, (&value, wish), read, |world, post, changes| {
        make_again(world, visit, post, (container, changes))
    })
}

/// `POST /v1/content/:container/reject` with `regenerate`: a job without an `Idempotency-Key`.
pub(super) fn regenerate_rejected(
    world: &mut World,
    visit: &Visit<'_>,
    container: &str,
    value: &Value,
) -> Result<Reply, Refusal> {
    let changes = Changes::read(value)?;
    let wish = wish_for_regeneration(world, visit, container, value);
    let body_sha = sha256(visit.body);
    let post = Post {
        key: None,
        identity: hex(&body_sha),
        body_sha,
        named: wish.faults.clone(),
        wish,
        served_ms: visit.now_ms,
        overlaps: false,
    };
    let answer = make_again(world, visit, &post, (container, &changes))?;
    Ok(Reply::json(answer.status, answer.body.clone()))
}

fn wish_for_regeneration(world: &World, visit: &Visit<'_>, container: &str, body: &Value) -> Wish {
    if body.get("metadata").is_some() {
        return Wish::of(body);
    }
    let container = world.find_container(visit.organization, container);
    let container = container.and_then(|container| world.containers.get(container));
    container.and_then(|container| container.later.as_deref().cloned()).unwrap_or_default()
}

fn serve<T>(
    world: &mut World,
    visit: &Visit<'_>,
    (value, wish): (&Value, Wish),
    read: impl Fn() -> Result<T, Refusal>,
    work: impl FnOnce(&mut World, &Post<'_>, &T) -> Outcome,
) -> Reply {
    let Ok(key) = visit.headers.get("idempotency-key").map(HeaderValue::to_str).transpose() else {
        return visit.refused(&Refusal::invalid("Idempotency-Key", "must be visible ASCII characters"));
    };
    let body_sha = sha256(visit.body);
    let id = value.get("id").and_then(Value::as_str);
    let identity = key.or(id).map_or_else(|| hex(&body_sha), str::to_owned);
    let nth = world.tally.posted(key, body_sha);
    let draw = Draw::new(visit.options.seed, &["post", visit.path, &identity, &nth.to_string()]);
    let named = match (visit.asked.as_slice(), nth) {
        ([], nth) if nth <= wish.fault_posts.unwrap_or(1) => wish.faults.clone(),
        (asked, _) => asked.to_vec(),
    };
    let strike = if named.is_empty() {
        Strike::by_chance(&world.faults, visit.class, draw)
    } else {
        Strike::named(&named, visit.class)
    };
    for fault in strike.faults() {
        world.tally.struck(fault);
    }
    if let Some(fault) = strike.before {
        return instead_of_work(fault, draw, visit);
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
    let mut post = Post { key, identity, body_sha, wish, named, served_ms, overlaps: false };
    let answer = decide(world, visit, &mut post, (read, work));
    let reply = Reply {
        retry_after: answer.retry_after.clone(),
        delay_ms,
        ..Reply::json(answer.status, answer.body.clone())
    };
    reply.struck(strike, slow_ms, visit.request_id)
}

/// The idempotency look-up by key, then the work, then remembering its answer.
fn decide<T>(
    world: &mut World,
    visit: &Visit<'_>,
    post: &mut Post<'_>,
    (read, work): (impl Fn() -> Result<T, Refusal>, impl FnOnce(&mut World, &Post<'_>, &T) -> Outcome),
) -> Arc<Answer> {
    let refused = |refusal: &Refusal| {
        let reply = visit.refused(refusal);
        Arc::new(Answer { status: reply.status, body: reply.body, retry_after: reply.retry_after })
    };
    if post.key.is_some_and(|key| key.is_empty() || key.len() > 255) {
        return refused(&Refusal::invalid("Idempotency-Key", "must have 1 to 255 characters"));
    }
    if visit.options.validates_first
        && let Err(refusal) = read()
    {
        return refused(&refusal);
    }
    let name = post.key.map(|key| Replays::name((visit.caller, visit.organization), visit.path, key));
    match name.as_ref().map_or(Found::Nothing, |name| world.replays.find(name, &post.body_sha, visit.now_ms))
    {
        Found::Nothing => {}
        Found::Served(answer) => return answer,
        Found::OtherBody => return refused(&Refusal::idempotency_conflict()),
        Found::InProgress if visit.options.overlap_makes_two => post.overlaps = true,
        Found::InProgress => return refused(&Refusal::in_progress()),
    }
    let (answer, is_final) = match read().and_then(|read| work(world, post, &read)) {
        Ok(answer) => (answer, true),
        // Who is told to come again must get another answer then.
        Err(refusal) => {
            (refused(&refusal), refusal.retry_after.is_none() && refusal.is_replayed(visit.options))
        }
    };
    if let Some(name) = name
        && is_final
        && !post.overlaps
    {
        world.replays.keep(&name, post.body_sha, Arc::clone(&answer), (visit.now_ms, post.served_ms));
    }
    answer
}
