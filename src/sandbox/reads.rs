//! Every GET but the list.

use serde_json::{Value, json};

use super::auth::key_id;
use super::call::Class;
use super::draw::{hex, sha256};
use super::errors::Refusal;
use super::format::Format;
use super::generation::Phase;
use super::records;
use super::reply::Reply;
use super::routes::Visit;
use super::state::World;
use super::time::seconds_ms;
use super::view::View;

/// `GET /v1/content/:container`, with `ETag`.
pub(super) fn container(world: &World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    let body = serde_json::to_string(&records::record(&view, visit.options))
        .map_err(|error| Refusal::new(500, "INTERNAL", error.to_string()))?;
    // Approve and reject answer with the record, too, but they are no conditional reads.
    Ok(if visit.class == Class::Read { unless_known(visit, body) } else { Reply::json(200, body) })
}

/// `GET /v1/content/:container/progress`
pub(super) fn progress(world: &World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    let progress = records::progress(&view, visit.options.revision, visit.now_ms);
    Ok(Reply::json(200, progress.to_string()))
}

/// `GET /v1/content/:container/assets/:asset`
pub(super) fn asset(world: &World, visit: &Visit<'_>, id: &str, asset: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    let is_completed = matches!(view.look.phase, Phase::Completed { .. });
    let assets = if is_completed { records::assets(&view) } else { Vec::new() };
    let found =
        assets.into_iter().find(|it| it.id == asset).ok_or_else(|| Refusal::not_found("asset", asset))?;
    let mut body = json!({ "containerId": view.container.id });
    if let (Some(fields), Ok(Value::Object(found))) = (body.as_object_mut(), serde_json::to_value(found)) {
        fields.extend(found);
    }
    Ok(Reply::json(200, body.to_string()))
}

/// `GET /v1/jobs/:job`, with `ETag`.
pub(super) fn job(world: &World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let job = world.find_job(visit.organization, id).and_then(|job| world.jobs.get(job));
    let job = job.ok_or_else(|| Refusal::not_found("job", id))?;
    Ok(unless_known(visit, records::job(world, job, visit.options, visit.now_ms).to_string()))
}

/// The body with its `ETag`, or 304 when the caller has it already.
fn unless_known(visit: &Visit<'_>, body: String) -> Reply {
    let etag = format!("\"{}\"", hex(&sha256(body.as_bytes())[..8]));
    let mut known = visit.headers.get_all("if-none-match").iter().filter_map(|known| known.to_str().ok());
    let is_same =
        |known: &str| matches!(known.trim(), known if known == "*" || known.trim_start_matches("W/") == etag);
    let is_known = known.any(|known| known.split(',').any(is_same));
    let reply = if is_known { Reply::json(304, "") } else { Reply::json(200, body) };
    Reply { etag: Some(etag), ..reply }
}

/// `GET /v1/whoami`
pub(super) fn whoami(world: &World, visit: &Visit<'_>) -> Result<Reply, Refusal> {
    check_served(visit)?;
    let organization = &world.organizations[visit.organization];
    let body = json!({
        "organizationId": organization.id,
        "workspaceId": "wsp_sandbox",
        "organizationName": "Sandbox",
        "scopes": world.scopes,
        "rateLimitTier": visit.options.tier.name(),
        "killSwitch": world.kill_switch || organization.kill_switch,
        "apiAccessRevoked": false,
        "apiKeyId": key_id(&visit.key),
        "creditBalance": organization.credits.balance(),
    });
    Ok(Reply::json(200, body.to_string()))
}

/// `GET /v1/credits`
pub(super) fn credits(world: &World, visit: &Visit<'_>) -> Result<Reply, Refusal> {
    check_served(visit)?;
    let prices: serde_json::Map<String, Value> =
        Format::ALL.iter().map(|format| (format.name().to_owned(), format.price().into())).collect();
    let organization = &world.organizations[visit.organization];
    let available = organization.credits.available();
    let body = json!({
        "organizationId": organization.id,
        "balance": organization.credits.balance(),
        "available": available,
        "reservedCredits": organization.credits.reserved,
        "usedThisPeriod": organization.credits.charged,
        "estimatedCreditsPerFormat": prices,
        "billingStatus": if available == 0 { "exhausted" } else { "active" },
    });
    Ok(Reply::json(200, body.to_string()))
}

fn check_served(visit: &Visit<'_>) -> Result<(), Refusal> {
    if visit.options.serves_account_endpoints {
        Ok(())
    } else {
        Err(Refusal::not_found("endpoint", visit.path))
    }
}

/// Whether a read does not show it yet. What changes a container finds it at once.
fn is_too_new(view: &View<'_>, visit: &Visit<'_>) -> bool {
    let shown_ms = view.container.created_ms.saturating_add(seconds_ms(visit.options.read_lag_seconds));
    visit.class == Class::Read && visit.now_ms < shown_ms
}

fn find<'a>(world: &'a World, visit: &Visit<'_>, id: &str) -> Result<View<'a>, Refusal> {
    let container = world
        .find_container(visit.organization, id)
        .and_then(|container| world.view(container, visit.now_ms))
        .filter(|view| !is_too_new(view, visit));
    container.ok_or_else(|| Refusal::not_found("container", id))
}
