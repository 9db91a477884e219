//! What most people write first: the poll loop of the API's documentation, one task for each job.
//!
//! Each task submits its brief until it is accepted, looks at its job after 2 s and then after waits that grow by 1.3 up
//! to 10 s, each with up to 500 ms of jitter, reads every container once the job is over, and publishes its record. A
//! 429 is waited out as `Retry-After` says. It has no queue, no ledger and no memory: it is here for its pace only.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::api_time::scaled;
use super::load::unit;
use super::support::broker::TestBroker;
use super::support::process::API_KEY;

/// Requests under way at once, so that the loop needs no thousand sockets.
const CONNECTIONS: usize = 64;
const FIRST_WAIT_SECONDS: f64 = 2.0;
const WAIT_FACTOR: f64 = 1.3;
const WAIT_SECONDS_MAX: f64 = 10.0;
const JITTER_SECONDS: f64 = 0.5;

/// Brings every brief to its end.
pub async fn run(broker: &TestBroker, url: &str, messages: &[Value]) {
    let api = Api {
        http: reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client can be made"),
        url: url.to_owned(),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let tasks = messages.iter().enumerate().map(|(number, message)| follow(&api, broker, number, message));
    join_all(tasks).await;
}

async fn follow(api: &Api, broker: &TestBroker, number: usize, message: &Value) {
    let started = api.start(message).await;
    let job = started["jobId"].as_str().expect("a start names its job");
    let (mut wait_seconds, mut looks) = (FIRST_WAIT_SECONDS, 0);
    loop {
        let jitter_seconds = unit(number * 1_009 + looks) * JITTER_SECONDS;
        tokio::time::sleep(scaled(wait_seconds + jitter_seconds)).await;
        if api.get(&format!("/v1/jobs/{job}")).await["status"] != "running" {
            break;
        }
        wait_seconds = (wait_seconds * WAIT_FACTOR).min(WAIT_SECONDS_MAX);
        looks += 1;
    }
    for (index, container) in started["containerIds"].as_array().into_iter().flatten().enumerate() {
        let id = container.as_str().expect("a container id is a text");
        let container = api.get(&format!("/v1/content/{id}")).await;
        broker.publish_record(&record(message, job, index + 1, &container)).await;
    }
}

/// As much of briefd's record as the judge looks at.
fn record(message: &Value, job: &str, variant: usize, container: &Value) -> Value {
    let status = container["status"].as_str().unwrap_or_default();
    json!({
        "recordId": Uuid::new_v4(), "type": format!("container.{status}"),
        "projectId": message["projectId"], "batchId": message["batchId"], "briefId": message["briefId"],
        "run": 1, "variant": variant, "jobId": job, "containerId": container["id"], "container": container,
    })
}

struct Api {
    http: reqwest::Client,
    url: String,
    connections: Arc<Semaphore>,
}

impl Api {
    async fn start(&self, message: &Value) -> Value {
        let project = message["projectId"].as_str().expect("a brief has a project");
        let key = message["briefId"].as_str().expect("a brief has an id");
        let url = format!("{}/v1/projects/{project}/content", self.url);
        let body = json!({
            "format": message["format"], "variantCount": message["variantCount"],
            "brief": message["brief"], "metadata": message["metadata"],
        })
        .to_string();
        self.ask(|| self.http.post(&url).header("Idempotency-Key", key).body(body.clone())).await
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url);
        self.ask(|| self.http.get(&url)).await
    }

    /// Asks until the answer is no 429.
    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Value {
        loop {
            let connection = self.connections.acquire().await.expect("the semaphore is never closed");
            let answer = request().header("X-Api-Key", API_KEY).send().await.expect("the sandbox answers");
            let (status, retry_after) = (answer.status(), retry_after_seconds(&answer));
            let body = answer.bytes().await.expect("the sandbox answers whole");
            drop(connection);
            if status != StatusCode::TOO_MANY_REQUESTS {
                assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
                return serde_json::from_slice(&body).expect("an answer is JSON");
            }
            tokio::time::sleep(scaled(retry_after)).await;
        }
    }
}

fn retry_after_seconds(answer: &reqwest::Response) -> f64 {
    let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    header.and_then(|text| text.parse().ok()).unwrap_or(1.0)
}
