//! The contract with the Layers API, from both sides of the wire.
//!
//! `fixtures/` holds request and answer pairs of the API's reference, in both of its revisions (`-a`, `-b`), one file an
//! endpoint and case. [`documented`] runs the real client through each of them. [`served`] holds what the real sandbox
//! answers against the same files, so that reference, client and sandbox cannot drift apart; [`refusals`], [`repeats`]
//! and [`lists`] run the client against that sandbox. [`broken`] runs it against servers that answer in every way a
//! network can spoil.

mod broken;
mod documented;
mod lists;
mod refusals;
mod repeats;
mod served;
mod shape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use briefd::clock::Clock;
use briefd::config;
use briefd::config::layers::{ApiKey, Auth, LimitOverrides, Tier};
use briefd::layers::Client;
use briefd::telemetry::Metrics;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::support::process::API_KEY;

/// The settings of a client; what a test is about is changed in them.
fn settings(base_url: &str, api_key: &str) -> config::Layers {
    config::Layers {
        base_url: Url::parse(base_url).unwrap(),
        api_key: ApiKey::Given(SecretString::from(api_key)),
        auth: Auth::XApiKey,
        organization: String::new(),
        tier: Tier::Unlimited,
        limits: LimitOverrides::default(),
        connect_timeout: Duration::from_secs(10),
        ca_file: None,
        request_timeout: Duration::from_secs(30),
        max_response_bytes: 64 * 1024,
        send_container_id: true,
        max_running_jobs: 0,
        prices: BTreeMap::new(),
    }
}

fn client(settings: &config::Layers) -> Client {
    Client::new(settings, Clock::system(), Metrics::new([])).unwrap()
}

fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api_contract/fixtures")
}

/// The fixture of this name, such as `job.running`.
fn fixture(name: &str) -> Value {
    let path = fixtures_folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
