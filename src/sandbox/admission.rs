//! The checks that come before any work: key, organization, then kill switch, scope and rate in the order that is set.

use axum::http::HeaderMap;

use super::auth::presented_key;
use super::call::Call;
use super::choices::Check;
use super::errors::Refusal;
use super::options::Options;
use super::state::World;
use super::time::whole_seconds;

/// Which key is let in, and whose data it may see; both by their places. `caller` is set as soon as the key is known,
/// also when the request is refused.
pub(super) fn admit(
    options: &Options,
    world: &mut World,
    (call, now_ms): (&Call, i64),
    headers: &HeaderMap,
    caller: &mut Option<usize>,
) -> Result<(usize, usize), Refusal> {
    let presented = presented_key(headers, options.revision).ok_or_else(Refusal::unauthenticated)?;
    let place = world.keys.iter().position(|key| *key.text == *presented);
    let place = place.ok_or_else(Refusal::unauthenticated)?;
    *caller = Some(place);
    let key = &mut world.keys[place];
    key.counts.requests += 1;
    if world.key_revoked || key.revoked {
        key.counts.while_revoked += 1;
        return Err(Refusal::unauthenticated());
    }
    let own = key.organization;
    let selected = headers.get("x-layers-organization").and_then(|id| id.to_str().ok());
    let organization = world.select_organization(own, selected)?;
    let is_killed = world.kill_switch || world.organizations[organization].kill_switch;
    if is_killed {
        world.keys[place].counts.while_killed += 1;
    }
    for check in options.checks {
        match check {
            // `whoami` has a field for the kill switch, so it must be able to tell.
            Check::KillSwitch => {
                if is_killed && !(options.kill_switch_spares_whoami && *call == Call::Whoami) {
                    return Err(Refusal::kill_switch());
                }
            }
            Check::Scope => {
                if let Some(scope) = call.scope()
                    && !world.scopes.iter().any(|given| given == scope)
                {
                    return Err(Refusal::forbidden_scope(scope));
                }
            }
            Check::Rate => {
                let taken = world.keys[place].buckets.take(options.tier, call.class(), now_ms);
                taken.map_err(|wait_ms| Refusal::rate_limited(whole_seconds(wait_ms).max(1)))?;
            }
        }
    }
    Ok((place, organization))
}
