//! Every GET but the list.

use serde_json::{Value, json};

use super::auth::key_id;
use super::draw::{hex, sha256};
use super::errors::Refusal;
use super::records;
use super::reply::Reply;
use super::routes::Visit;
use super::state::World;
use super::submission::Format;
use super::view::View;

/// `GET /v1/content/:container`
pub(super) fn container(world: &World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    let record = records::record(&view, visit.options.approval_required);
    serde_json::to_string(&record)
        .map(|body| Reply::json(200, body))
        .map_err(|error| Refusal::new(500, "INTERNAL", error.to_string()))
}

/// `GET /v1/content/:container/progress`
pub(super) fn progress(world: &World, visit: &Visit<'_>, id: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    Ok(Reply::json(200, records::progress(&view, visit.now_ms).to_string()))
}

/// `GET /v1/content/:container/assets/:asset`
pub(super) fn asset(world: &World, visit: &Visit<'_>, id: &str, asset: &str) -> Result<Reply, Refusal> {
    let view = find(world, visit, id)?;
    let assets = if view.status() == "completed" { records::assets(&view) } else { Vec::new() };
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
    let job = world
        .find_job(id)
        .and_then(|job| world.jobs.get(job))
        .ok_or_else(|| Refusal::not_found("job", id))?;
    let body = records::job(world, job, visit.now_ms).to_string();
    let etag = format!("\"{}\"", hex(&sha256(body.as_bytes())[..8]));
    let known = visit.headers.get("if-none-match").and_then(|known| known.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == etag));
    let reply = if is_known { Reply::json(304, "") } else { Reply::json(200, body) };
    Ok(Reply { etag: Some(etag), ..reply })
}

/// `GET /v1/whoami`
pub(super) fn whoami(world: &World, visit: &Visit<'_>) -> Result<Reply, Refusal> {
    check_served(visit)?;
    let body = json!({
        "organizationId": organization(visit),
        "workspaceId": "wsp_sandbox",
        "organizationName": "Sandbox",
        "scopes": visit.options.scopes,
        "rateLimitTier": visit.options.tier.name(),
        "killSwitch": world.kill_switch,
        "apiAccessRevoked": false,
        "apiKeyId": key_id(visit.key),
        "creditBalance": world.credits.balance,
    });
    Ok(Reply::json(200, body.to_string()))
}

/// `GET /v1/credits`
pub(super) fn credits(world: &World, visit: &Visit<'_>) -> Result<Reply, Refusal> {
    check_served(visit)?;
    let prices: serde_json::Map<String, Value> =
        Format::ALL.iter().map(|format| (format.name().to_owned(), format.price().into())).collect();
    let available = world.credits.available();
    let body = json!({
        "organizationId": organization(visit),
        "balance": world.credits.balance,
        "available": available,
        "reservedCredits": world.credits.reserved,
        "usedThisPeriod": world.credits.charged,
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

fn organization<'a>(visit: &'a Visit<'_>) -> &'a str {
    let selected = visit.headers.get("x-layers-organization").and_then(|id| id.to_str().ok());
    selected.filter(|id| !id.is_empty()).unwrap_or(&visit.options.organization_id)
}

fn find<'a>(world: &'a World, visit: &Visit<'_>, id: &str) -> Result<View<'a>, Refusal> {
    let container = world.find_container(id).and_then(|container| world.view(container, visit.now_ms));
    container.ok_or_else(|| Refusal::not_found("container", id))
}
