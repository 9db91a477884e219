//! Settings as people give them: what wins, what is refused and with which words, and that secrets stay secret.

mod broker_url;
mod contradictions;
mod defaults;
mod layering;
mod refusals;
mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::layers::{ApiKey, Auth, Tier};
use super::log::LogFormat;
use super::work::Validation;
use super::*;

/// The settings that users may rely on, with their defaults.
const PROMISED: &str = r#"
[amqp]
url = "amqp://guest:guest@127.0.0.1:5672/%2f"
ca_file = ""
cert_file = ""
key_file = ""
prefetch = 500
heartbeat = "10s"
declare = true
[amqp.input]
exchange = "briefs"
queue = "briefs"
routing_key = "brief"
delivery_limit = 100
[amqp.output]
exchange = "containers"
optional = ["batch.finished"]
[amqp.dead_letter]
exchange = "briefs.dead"
queue = "briefs.dead"

[layers]
base_url = "https://api.layers.com"
allow_http = false
ca_file = ""
api_key = ""
api_key_file = ""
auth = "x-api-key"
organization = ""
tier = "auto"
connect_timeout = "5s"
request_timeout = "30s"
max_response_bytes = "8MiB"
send_container_id = true
max_running_jobs = 0

[projects]

[ledger]
url = "sqlite://briefd.db"
keep_finished = "90d"

[intake]
max_message_bytes = "256KiB"
max_backlog = 100000
validation = "strict"
identity = "content"

[submit]
concurrency = 32
repeat_after = "60s"
retry_initial = "1s"
retry_max = "5m"
probe_interval = "1m"
stop_after_refusals = 20
[track]
poll_initial = "2s"
poll_factor = 1.3
poll_max = "10s"
sweep_interval = "3s"
overdue_after = "1h"
give_up_after = "3d"
[publish]
concurrency = 256
confirm_timeout = "30s"
retry_initial = "1s"
retry_max = "1m"
[shutdown]
grace = "20s"
[http]
listen = "127.0.0.1:9464"
[log]
format = "text"
level = "info"
"#;

const PRODUCTION_TOML: &str = include_str!("../../config/production.toml");

/// Inputs under construction; the file is written where the test's directory is, and shown as `briefd.toml`.
struct Given {
    directory: tempfile::TempDir,
    inputs: Inputs,
}

fn given(file: &str) -> Given {
    let directory = tempfile::tempdir().unwrap();
    let mut inputs = Inputs::default();
    if !file.is_empty() {
        let path = directory.path().join("briefd.toml");
        std::fs::write(&path, file).unwrap();
        inputs.config_file = Some(path);
    }
    Given { directory, inputs }
}

impl Given {
    fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.inputs
            .env
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn loaded(&self) -> Loaded {
        load(&self.inputs).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn settings(&self) -> Settings {
        self.loaded().settings
    }

    /// The whole error text, the directory taken out.
    fn refusal(&self) -> String {
        let errors = load(&self.inputs).unwrap_err();
        errors.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn origin(&self, key: &str) -> String {
        let shown = self.loaded().values.into_iter().find(|shown| shown.key == key).unwrap();
        shown.origin.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn keys_and_values(toml: &str) -> Vec<(String, String)> {
    let layer = layer::Layer::from_toml(toml, None).unwrap();
    layer
        .entries
        .into_iter()
        .filter(|entry| !matches!(entry.kind, ::config::ValueKind::Table(_)))
        .map(|entry| (entry.path.join("."), entry.kind.to_string()))
        .collect()
}
