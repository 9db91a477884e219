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
use super::keys::split_key;
use super::options::{Options, OptionsError, Revision, check_key};
use super::state::World;

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
pub(super) struct AccountChange {
    balance: Option<u64>,
    #[serde(default)]
    balances: BTreeMap<String, u64>,
    #[serde(default)]
    project_balances: BTreeMap<String, Option<u64>>,
    key_revoked: Option<bool>,
    revoked_keys: Option<Vec<String>>,
    add_key: Option<String>,
    scopes: Option<Vec<String>>,
    kill_switch: Option<bool>,
    killed_organizations: Option<Vec<String>>,
    #[serde(default)]
    running_cap: CapChange,
}

/// A cap on running jobs, `null` for none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Option<u64>")]
enum CapChange {
    /// It was not mentioned.
    #[default]
    Stays,
    Becomes(Option<u64>),
}

impl From<Option<u64>> for CapChange {
    fn from(cap: Option<u64>) -> Self {
        Self::Becomes(cap)
    }
}

/// `PUT /_sandbox/account`: all of it or nothing; answers with the account's summary.
pub(super) async fn change_account(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    let change = match serde_json::from_slice::<AccountChange>(&body) {
        Ok(change) => change,
        Err(error) => return refused(&error.to_string()),
    };
    {
        let mut world = sandbox.world();
        if let Err(problem) = change.check(&world) {
            return refused(&problem);
        }
        change.apply(&mut world);
    }
    json(&sandbox.account_now(false))
}

impl AccountChange {
    /// Names what is not there to be changed: a test that asks in vain proves nothing.
    fn check(&self, world: &World) -> Result<(), String> {
        let added = self.add_key.as_deref().map(split_key);
        if let Some(key) = &self.add_key {
            check_key(key).map_err(|error| error.to_string())?;
        }
        let is_key = |text: &str| {
            world.keys.iter().any(|key| *key.text == *text) || added.is_some_and(|(key, _)| key == text)
        };
        if self.revoked_keys.iter().flatten().any(|key| !is_key(key)) {
            return Err("revokedKeys: one of them is no key of this sandbox".to_owned());
        }
        let is_organization = |id: &str| {
            world.organizations.iter().any(|known| known.id == id)
                || added.is_some_and(|(_, organization)| organization == Some(id))
        };
        let mut named = self.balances.keys().chain(self.killed_organizations.iter().flatten());
        if let Some(unknown) = named.find(|id| !is_organization(id)) {
            return Err(format!("there is no organization {unknown}"));
        }
        let scopes = self.scopes.clone().unwrap_or_default();
        Options { scopes, ..Options::default() }.check().map_err(|error| error.to_string())
    }

    fn apply(self, world: &mut World) {
        if let Some(key) = &self.add_key {
            let (key, organization) = split_key(key);
            world.add_key(key, organization);
        }
        world.key_revoked = self.key_revoked.unwrap_or(world.key_revoked);
        if let Some(revoked) = self.revoked_keys {
            for key in &mut world.keys {
                key.revoked = revoked.iter().any(|text| **text == *key.text);
            }
        }
        world.kill_switch = self.kill_switch.unwrap_or(world.kill_switch);
        // Organizations that are yet to come begin as those that are there go on.
        world.first_credits = self.balance.or(world.first_credits);
        for (project, balance) in &self.project_balances {
            world.first_project_credits.remove(project);
            world.first_project_credits.extend(balance.map(|balance| (project.clone(), balance)));
        }
        for organization in &mut world.organizations {
            if let Some(balance) = self.balances.get(&organization.id).copied().or(self.balance) {
                organization.credits.balance = Some(balance);
            }
            if let Some(killed) = &self.killed_organizations {
                organization.kill_switch = killed.contains(&organization.id);
            }
            for (project, balance) in &self.project_balances {
                organization.budget(project, *balance);
            }
        }
        world.scopes = self.scopes.unwrap_or_else(|| world.scopes.clone());
        if let CapChange::Becomes(cap) = self.running_cap {
            world.running_cap = cap;
        }
    }
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
    let body = Refusal::invalid("body", problem).body(Revision::A, "req_sandbox");
    (StatusCode::UNPROCESSABLE_ENTITY, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
