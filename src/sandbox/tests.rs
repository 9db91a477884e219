//! The simulator over real HTTP, on a clock that moves only when told to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ContainerIds, Fault, Options, Running, Sandbox, Tier};
use crate::clock::Clock;

mod accounts;
mod cloning;
mod documents;
mod faults;
mod idempotency;
mod life;
mod rules;
mod switches;

/// A sandbox on a stepped clock, and somebody who calls it.
struct Api {
    running: Running,
    clock: Clock,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
}

impl Got {
    async fn from(response: Response) -> Self {
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    fn job(&self) -> String {
        self.json()["jobId"].as_str().unwrap().to_owned()
    }

    fn containers(&self) -> Vec<String> {
        serde_json::from_value(self.json()["containerIds"].clone()).unwrap()
    }
}

impl Api {
    async fn start(options: Options) -> Self {
        let clock = Clock::stepped("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let running = Sandbox::start_with(options, clock.clone()).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { running, clock, client }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        Got::from(self.try_send(method, path, headers, body).await.unwrap()).await
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> reqwest::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.running.base_url));
        if !headers.iter().any(|(name, _)| *name == "x-api-key" || *name == "authorization") {
            request = request.header("x-api-key", &self.running.api_key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_owned()).send().await
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    async fn generate(&self, key: &str, body: &Value) -> Got {
        self.send(Method::POST, "/v1/projects/p1/content", &[("idempotency-key", key)], &body.to_string())
            .await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Got {
        self.send(Method::POST, path, &[("idempotency-key", key)], &body.to_string()).await
    }

    async fn put(&self, path: &str, body: &Value) -> Got {
        self.send(Method::PUT, path, &[], &body.to_string()).await
    }

    fn step(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn jobs_made(&self) -> u64 {
        self.running.account().jobs_made
    }

    /// POSTs over a bare connection; everything that comes until it ends.
    async fn raw_generate(&self, key: &str, body: &Value) -> std::io::Result<Vec<u8>> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.running.base_url.trim_start_matches("http://")).await?;
        let head = format!(
            "POST /v1/projects/p1/content HTTP/1.1\r\nhost: sandbox\r\nx-api-key: {}\r\nidempotency-key: {key}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            self.running.api_key,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    }
}

/// A brief that asks for its fate.
fn brief(sandbox: &Value) -> Value {
    json!({ "format": "video_remix", "brief": { "topic": "Morning runs" }, "metadata": { "sandbox": sandbox } })
}

fn plain() -> Value {
    brief(&json!({ "seconds": 100 }))
}
