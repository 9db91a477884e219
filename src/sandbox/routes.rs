//! The endpoints, and what becomes of one request: admission, what strikes it, the work.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodFilter, get, on};

use super::admission::admit;
use super::call::{Call, Class};
use super::draw::Draw;
use super::errors::Refusal;
use super::faults::Fault;
use super::options::Options;
use super::reply::{Reply, Stamp};
use super::state::World;
use super::strike::{Strike, asked_for, instead_of_work, oddly_rate_limited};
use super::tally::Sent;
use super::time::{http_date, seconds_ms};
use super::wire::Wire;
use super::{Sandbox, control, list, openapi, reads, starts, writes};

/// The longest body that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Method and path of an endpoint, and the call that its ids make.
type Route = (&'static str, fn([String; 2]) -> Call);

/// Every endpoint.
pub(super) const ROUTES: [Route; 13] = [
    ("POST /v1/projects/{projectId}/content", |[project, _]| Call::Start { project }),
    ("GET /v1/projects/{projectId}/content", |[project, _]| Call::List { project }),
    ("GET /v1/content/{containerId}", |[container, _]| Call::Container { container }),
    ("GET /v1/content/{containerId}/progress", |[container, _]| Call::Progress { container }),
    ("GET /v1/content/{containerId}/assets/{assetId}", |[container, asset]| Call::Asset { container, asset }),
    ("POST /v1/content/{containerId}/regenerate", |[container, _]| Call::Regenerate { container }),
    ("POST /v1/content/{containerId}/clone-from-post", |[container, _]| Call::Clone { container }),
    ("POST /v1/content/{containerId}/approve", |[container, _]| Call::Approve { container }),
    ("POST /v1/content/{containerId}/reject", |[container, _]| Call::Reject { container }),
    ("GET /v1/jobs/{jobId}", |[job, _]| Call::Job { job }),
    ("POST /v1/jobs/{jobId}/cancel", |[job, _]| Call::Cancel { job }),
    ("GET /v1/whoami", |_| Call::Whoami),
    ("GET /v1/credits", |_| Call::Credits),
];

/// How requests to no endpoint are counted.
const NOWHERE: &str = "elsewhere";

/// One admitted request, and what is needed to answer it.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    pub(super) options: &'a Options,
    /// Which key it carries, and whose data it is about, by their places in the world.
    pub(super) caller: usize,
    pub(super) organization: usize,
    pub(super) key: Arc<str>,
    pub(super) class: Class,
    /// Faults that it asks for.
    pub(super) asked: Vec<Fault>,
    pub(super) now_ms: i64,
    pub(super) request_id: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Visit<'_> {
    /// A refusal as it is sent.
    pub(super) fn refused(&self, refusal: &Refusal) -> Reply {
        Reply::refused(refusal, self.options.revision, self.request_id)
    }
}

pub(super) fn router(sandbox: Sandbox) -> Router {
    type At = State<Sandbox>;
    type Ids = Result<RawPathParams, RawPathParamsRejection>;
    let mut router = Router::new();
    for (endpoint, call) in ROUTES {
        let (method, path) = endpoint.split_once(' ').unwrap_or(("GET", endpoint));
        let filter = if method == "POST" { MethodFilter::POST } else { MethodFilter::GET };
        let handler = move |State(it): At, ids: Ids, request: Request| async move {
            let Ok(ids) = ids else { return answer(it, (NOWHERE, Call::Unknown), request).await };
            let mut ids = ids.iter().map(|(_, id)| id.to_owned());
            let ids = [ids.next().unwrap_or_default(), ids.next().unwrap_or_default()];
            answer(it, (endpoint, call(ids)), request).await
        };
        router = router.route(path, on(filter, handler));
    }
    let unknown = |State(it): At, request: Request| answer(it, (NOWHERE, Call::Unknown), request);
    let other_method = |State(it): At, request: Request| answer(it, (NOWHERE, Call::OtherMethod), request);
    router
        .route("/openapi.json", get(openapi::document))
        .route("/_sandbox/account", get(control::account).put(control::change_account))
        .route("/_sandbox/faults", get(control::faults).put(control::change_faults))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .with_state(sandbox)
}

async fn answer(sandbox: Sandbox, called: (&'static str, Call), request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES).await.ok();
    let (reply, stamp) = serve(&sandbox, &called, &parts, body.as_deref());
    if reply.delay_ms > 0 {
        sandbox.time().sleep_ms(reply.delay_ms).await;
    }
    if let (Some(cut), Some(ConnectInfo(wire))) = (reply.cut, parts.extensions.get::<ConnectInfo<Wire>>()) {
        wire.cut(cut);
    }
    reply.into_response(&stamp)
}

/// Decides about one request, all of it at one moment.
fn serve(
    sandbox: &Sandbox,
    (endpoint, call): &(&'static str, Call),
    parts: &Parts,
    body: Option<&[u8]>,
) -> (Reply, Stamp) {
    let options = sandbox.options();
    let mut world = sandbox.world();
    let now_ms = sandbox.time().now_ms();
    world.settle(now_ms);
    world.tally.arrived(endpoint, call);
    let draw = Draw::new(options.seed, &["request", &world.tally.requests.to_string()]);
    let request_id = format!("req_{}", draw.text("id", 16));
    let mut caller = None;
    let visit = admit(options, &mut world, (call, now_ms), &parts.headers, &mut caller).and_then(
        |(caller, organization)| {
            Ok(Visit {
                options,
                caller,
                organization,
                key: world.keys.get(caller).map_or_else(|| "".into(), |key| Arc::clone(&key.text)),
                class: call.class(),
                asked: asked_for(&parts.headers, call)?,
                now_ms,
                request_id: &request_id,
                path: parts.uri.path(),
                query: parts.uri.query().unwrap_or(""),
                headers: &parts.headers,
                body: body.ok_or_else(|| Refusal::new(413, "VALIDATION_FAILED", "The body is too long."))?,
            })
        },
    );
    let reply = match visit {
        Err(refusal) => Reply::refused(&refusal, options.revision, &request_id),
        Ok(visit) => work(&mut world, &visit, call, draw),
    };
    if reply.cut.is_none() {
        let sent = Sent { endpoint, class: call.class(), caller, now_ms, headers: &parts.headers };
        world.answered(&sent, &reply);
    }
    (reply, Stamp { class: call.class().name(), date: http_date(now_ms), request_id })
}

fn work(world: &mut World, visit: &Visit<'_>, call: &Call, draw: Draw) -> Reply {
    match call {
        Call::Start { project } => return starts::generate(world, visit, project),
        Call::Clone { container } => return starts::clone(world, visit, container),
        Call::Regenerate { container } => return starts::regenerate(world, visit, container),
        // These are struck like a read, or only when they ask for it.
        Call::Cancel { .. }
        | Call::Approve { .. }
        | Call::Reject { .. }
        | Call::List { .. }
        | Call::Container { .. }
        | Call::Progress { .. }
        | Call::Asset { .. }
        | Call::Job { .. }
        | Call::Whoami
        | Call::Credits
        | Call::Unknown
        | Call::OtherMethod => {}
    }
    let strike = if visit.asked.is_empty() {
        Strike::by_chance(&world.faults, visit.class, draw)
    } else {
        Strike::named(&visit.asked, visit.class)
    };
    for fault in strike.faults() {
        world.tally.struck(fault);
    }
    if let Some(fault) = strike.before {
        return instead_of_work(fault, draw, visit);
    }
    let reply = quick(world, visit, call).unwrap_or_else(|refusal| visit.refused(&refusal));
    if strike.answer == Some(Fault::ReadOddRetryAfter) {
        return visit.refused(&oddly_rate_limited(draw, visit.now_ms));
    }
    reply.struck(strike, seconds_ms(visit.options.slow_seconds), visit.request_id)
}

/// Everything that does not start a job by itself.
fn quick(world: &mut World, visit: &Visit<'_>, call: &Call) -> Result<Reply, Refusal> {
    match call {
        Call::Cancel { job } => writes::cancel(world, visit, job),
        Call::Approve { container } => writes::approve(world, visit, container),
        Call::Reject { container } => writes::reject(world, visit, container),
        Call::List { project } => list::list(world, visit, project),
        Call::Container { container } => reads::container(world, visit, container),
        Call::Progress { container } => reads::progress(world, visit, container),
        Call::Asset { container, asset } => reads::asset(world, visit, container, asset),
        Call::Job { job } => reads::job(world, visit, job),
        Call::Whoami => reads::whoami(world, visit),
        Call::Credits => reads::credits(world, visit),
        Call::OtherMethod => Err(Refusal::new(405, "METHOD_NOT_ALLOWED", "No such method here.")),
        Call::Start { .. } | Call::Clone { .. } | Call::Regenerate { .. } | Call::Unknown => {
            Err(Refusal::not_found("endpoint", visit.path))
        }
    }
}
