//! `/_sandbox/*`: the account, and what can be changed while the sandbox runs. Needs no key.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::Sandbox;
use super::errors::Refusal;
use super::faults::Fault;
use super::options::{Options, OptionsError};

/// `GET /_sandbox/account`, `?summary=1` without its lists.
pub(super) async fn account(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let summary =
        form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "summary" && value != "0");
    json(&sandbox.account_now(!summary))
}

/// What `PUT /_sandbox/account` changes; what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountChange {
    balance: Option<u64>,
    key_revoked: Option<bool>,
    kill_switch: Option<bool>,
}

/// `PUT /_sandbox/account`; answers with the account's summary.
pub(super) async fn change_account(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    let change: AccountChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return refused(&error.to_string()),
    };
    {
        let mut world = sandbox.world();
        world.credits.balance = change.balance.unwrap_or(world.credits.balance);
        world.key_revoked = change.key_revoked.unwrap_or(world.key_revoked);
        world.kill_switch = change.kill_switch.unwrap_or(world.kill_switch);
    }
    json(&sandbox.account_now(false))
}

/// `GET /_sandbox/faults`: shares by name.
pub(super) async fn faults(State(sandbox): State<Sandbox>) -> Response {
    let shares: BTreeMap<_, _> =
        sandbox.world().faults.iter().map(|(fault, share)| (fault.name(), *share)).collect();
    json(&shares)
}

/// `PUT /_sandbox/faults`: replaces all shares; those of the future only, a job keeps its fate.
pub(super) async fn change_faults(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    match read_faults(&body) {
        Err(problem) => return refused(&problem),
        Ok(shares) => sandbox.world().faults = shares,
    }
    faults(State(sandbox)).await
}

fn read_faults(body: &[u8]) -> Result<BTreeMap<Fault, f64>, String> {
    let by_name: BTreeMap<String, f64> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let faults = by_name.into_iter().map(|(name, share)| Ok((name.parse()?, share)));
    let faults =
        faults.collect::<Result<BTreeMap<Fault, f64>, OptionsError>>().map_err(|error| error.to_string())?;
    let options = Options { faults, ..Options::default() };
    options.check().map_err(|error| error.to_string())?;
    Ok(options.faults)
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(problem: &str) -> Response {
    let body = Refusal::invalid("body", problem).body("req_sandbox");
    (StatusCode::UNPROCESSABLE_ENTITY, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
