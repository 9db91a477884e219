//! A real Prometheus that scrapes what a test runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::process::{PROMPTLY, Process, free_port};

/// The Debian package `prometheus`. It ends with this value.
pub struct Prometheus {
    process: Process,
    url: String,
    _dir: TempDir,
}

/// One series of an answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its labels, as JSON.
    pub labels: Value,
    /// Its last value.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes the workers at `targets` and evaluates `rules` (the text of a rule file), and waits until
    /// it answers. It looks every `interval`.
    pub async fn spawn(targets: &[String], rules: &str, interval: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let config = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: briefd\n  static_configs: [{{targets: {targets:?}}}]\n"
        );
        let write =
            |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("it can be written");
        write("prometheus.yml", &config);
        write("rules.yml", rules);
        let address = format!("127.0.0.1:{}", free_port());
        let process = Process::start(dir.path(), command(dir.path(), &address));
        let prometheus = Self { process, url: format!("http://{address}"), _dir: dir };
        let ready = eventually(PROMPTLY, async || prometheus.ask("query", &[("query", "1")]).await.ok());
        assert!(ready.await.is_some(), "prometheus did not start: {}", prometheus.process.stderr());
        prometheus
    }

    /// What an expression gives now; the error is what Prometheus says.
    pub async fn query(&self, expr: &str) -> Result<Vec<Sample>, String> {
        let answer = self.ask("query", &[("query", expr)]).await?;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        let series = answer["result"].as_array().cloned().unwrap_or_default();
        let sample = |one: &Value| Sample { labels: one["metric"].clone(), value: number(&one["value"][1]) };
        Ok(series.iter().map(sample).collect())
    }

    /// The same over the last so many seconds, as Prometheus answers it.
    pub async fn query_range(&self, expr: &str, last: Duration) -> Result<Value, String> {
        let now = briefd::clock::Clock::system().now().as_second();
        let start = (now - i64::try_from(last.as_secs()).unwrap_or(3_600)).to_string();
        self.ask(
            "query_range",
            &[("query", expr), ("start", &start), ("end", &now.to_string()), ("step", "1")],
        )
        .await
    }

    /// The rules with their states.
    pub async fn rules(&self) -> Vec<Value> {
        let answer = self.ask("rules", &[]).await.expect("prometheus tells its rules");
        let groups = answer["groups"].as_array().expect("there are groups").iter();
        groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    async fn ask(&self, what: &str, arguments: &[(&str, &str)]) -> Result<Value, String> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(PROMPTLY).build().expect("a client can be made");
        let request = client.get(format!("{}/api/v1/{what}", self.url)).query(arguments);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let json: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if json["status"] == "success" { Ok(json["data"].clone()) } else { Err(json["error"].to_string()) }
    }
}

fn command(dir: &Path, address: &str) -> Command {
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]);
    command.arg(format!("--web.listen-address={address}")).current_dir(dir);
    command
}
