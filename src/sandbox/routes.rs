//! The endpoints, and the order of checks that holds for all of them: key, kill switch, scope, rate, then the work.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};

use super::auth::presented_key;
use super::call::Call;
use super::draw::Draw;
use super::errors::Refusal;
use super::faults::Strike;
use super::options::Options;
use super::reply::{Reply, Stamp};
use super::state::World;
use super::time::{http_date, seconds_ms, whole_seconds};
use super::wire::Wire;
use super::{Sandbox, control, list, reads, starts, writes};

/// The longest body that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// One admitted request, and what is needed to answer it.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    pub(super) options: &'a Options,
    /// Which key it carries, by its place in the options.
    pub(super) caller: usize,
    pub(super) key: &'a str,
    pub(super) now_ms: i64,
    pub(super) request_id: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

pub(super) fn router(sandbox: Sandbox) -> Router {
    type At = State<Sandbox>;
    type Id = Path<String>;
    let start =
        |State(it): At, Path(project): Id, request: Request| answer(it, Call::Start { project }, request);
    let list =
        |State(it): At, Path(project): Id, request: Request| answer(it, Call::List { project }, request);
    let container = |State(it): At, Path(container): Id, request: Request| {
        answer(it, Call::Container { container }, request)
    };
    let progress = |State(it): At, Path(container): Id, request: Request| {
        answer(it, Call::Progress { container }, request)
    };
    let again = |State(it): At, Path(container): Id, request: Request| {
        answer(it, Call::Regenerate { container }, request)
    };
    let approve = |State(it): At, Path(container): Id, request: Request| {
        answer(it, Call::Approve { container }, request)
    };
    let reject = |State(it): At, Path(container): Id, request: Request| {
        answer(it, Call::Reject { container }, request)
    };
    let asset = |State(it): At, Path((container, asset)): Path<(String, String)>, request: Request| {
        answer(it, Call::Asset { container, asset }, request)
    };
    let job = |State(it): At, Path(job): Id, request: Request| answer(it, Call::Job { job }, request);
    let cancel = |State(it): At, Path(job): Id, request: Request| answer(it, Call::Cancel { job }, request);
    let unknown = |State(it): At, request: Request| answer(it, Call::Unknown, request);
    Router::new()
        .route("/v1/projects/{project}/content", post(start).get(list))
        .route("/v1/content/{container}", get(container))
        .route("/v1/content/{container}/progress", get(progress))
        .route("/v1/content/{container}/regenerate", post(again))
        .route("/v1/content/{container}/approve", post(approve))
        .route("/v1/content/{container}/reject", post(reject))
        .route("/v1/content/{container}/assets/{asset}", get(asset))
        .route("/v1/jobs/{job}", get(job))
        .route("/v1/jobs/{job}/cancel", post(cancel))
        .route("/v1/whoami", get(|State(it): At, request: Request| answer(it, Call::Whoami, request)))
        .route("/v1/credits", get(|State(it): At, request: Request| answer(it, Call::Credits, request)))
        .route("/_sandbox/account", get(control::account).put(control::change_account))
        .route("/_sandbox/faults", get(control::faults).put(control::change_faults))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(sandbox)
}

async fn answer(sandbox: Sandbox, call: Call, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES).await.ok();
    let (reply, stamp) = serve(&sandbox, &call, &parts, body.as_deref());
    if reply.delay_ms > 0 {
        sandbox.time().sleep_ms(reply.delay_ms).await;
    }
    if let (Some(cut), Some(ConnectInfo(wire))) = (reply.cut, parts.extensions.get::<ConnectInfo<Wire>>()) {
        wire.cut(cut);
    }
    reply.into_response(&stamp)
}

/// Decides about one request, all of it at one moment.
fn serve(sandbox: &Sandbox, call: &Call, parts: &Parts, body: Option<&[u8]>) -> (Reply, Stamp) {
    let options = sandbox.options();
    let mut world = sandbox.world();
    let now_ms = sandbox.time().now_ms();
    world.settle(now_ms);
    world.tally.arrived(call);
    let draw = Draw::new(options.seed, &["request", &world.tally.requests.to_string()]);
    let request_id = format!("req_{}", draw.text("id", 16));
    let reply = match admit(sandbox, &mut world, (call, now_ms), parts) {
        Err(refusal) => Reply::refused(&refusal, &request_id),
        Ok(caller) => match body {
            None => {
                Reply::refused(&Refusal::new(413, "VALIDATION_FAILED", "The body is too long."), &request_id)
            }
            Some(body) => {
                let visit = Visit {
                    options,
                    caller,
                    key: sandbox.keys().get(caller).map_or("", String::as_str),
                    now_ms,
                    request_id: &request_id,
                    path: parts.uri.path(),
                    query: parts.uri.query().unwrap_or(""),
                    headers: &parts.headers,
                    body,
                };
                work(&mut world, &visit, call, draw)
            }
        },
    };
    if reply.cut.is_none() {
        world.tally.answered(reply.status);
    }
    (reply, Stamp { class: call.class().name(), date: http_date(now_ms), request_id })
}

/// The checks that come before any work; which key was let in.
fn admit(
    sandbox: &Sandbox,
    world: &mut World,
    (call, now_ms): (&Call, i64),
    parts: &Parts,
) -> Result<usize, Refusal> {
    let presented = presented_key(&parts.headers).ok_or_else(Refusal::unauthenticated)?;
    let caller =
        sandbox.keys().iter().position(|key| key == presented).ok_or_else(Refusal::unauthenticated)?;
    if world.key_revoked {
        return Err(Refusal::unauthenticated());
    }
    // `whoami` has a field for the kill switch, so it must be able to tell.
    if world.kill_switch && *call != Call::Whoami {
        return Err(Refusal::kill_switch());
    }
    if let Some(scope) = call.scope()
        && !sandbox.options().scopes.iter().any(|given| given == scope)
    {
        return Err(Refusal::forbidden_scope(scope));
    }
    if let Some(buckets) = world.buckets.get_mut(caller) {
        let taken = buckets.take(sandbox.options().tier, call.class(), now_ms);
        taken.map_err(|wait_ms| Refusal::rate_limited(whole_seconds(wait_ms).max(1)))?;
    }
    Ok(caller)
}

fn work(world: &mut World, visit: &Visit<'_>, call: &Call, draw: Draw) -> Reply {
    let reply = match call {
        Call::Start { project } => return starts::generate(world, visit, project),
        Call::Regenerate { container } => return starts::regenerate(world, visit, container),
        Call::Cancel { job } => return settled(writes::cancel(world, visit, job), visit),
        Call::Approve { container } => return settled(writes::approve(world, visit, container), visit),
        Call::Reject { container } => return settled(writes::reject(world, visit, container), visit),
        Call::List { project } => list::list(world, visit, project),
        Call::Container { container } => reads::container(world, visit, container),
        Call::Progress { container } => reads::progress(world, visit, container),
        Call::Asset { container, asset } => reads::asset(world, visit, container, asset),
        Call::Job { job } => reads::job(world, visit, job),
        Call::Whoami => reads::whoami(world, visit),
        Call::Credits => reads::credits(world, visit),
        Call::Unknown => Err(Refusal::not_found("endpoint", visit.path)),
    };
    let reply = settled(reply, visit);
    let strike = Strike::read(&world.faults, draw);
    for fault in [strike.slow, strike.answer].into_iter().flatten() {
        world.tally.struck(fault);
    }
    reply.struck(strike, seconds_ms(visit.options.slow_seconds), visit.request_id)
}

fn settled(outcome: Result<Reply, Refusal>, visit: &Visit<'_>) -> Reply {
    outcome.unwrap_or_else(|refusal| Reply::refused(&refusal, visit.request_id))
}
