//! The API alone: a POST and a read for each brief, as many at once as the worker has.

use std::time::Instant;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::Rate;
use super::support::process::{API_KEY, SandboxProcess};
use super::worker::SANDBOX;

/// `submit.concurrency`
const AT_ONCE: usize = 32;

/// Starts and reads `count` jobs.
pub async fn measure(count: usize) -> Rate {
    let sandbox = SandboxProcess::spawn(&SANDBOX).await;
    let client = reqwest::Client::new();
    let began = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(AT_ONCE, async |n| {
            let accepted: Value = client
                .post(format!("{}/v1/projects/p/content", sandbox.url()))
                .header("X-Api-Key", API_KEY)
                .header("Idempotency-Key", format!("bench-{n}"))
                .header("Content-Type", "application/json")
                .body(json!({"brief": {"hook": n.to_string()}}).to_string())
                .send()
                .await
                .and_then(reqwest::Response::error_for_status)
                .expect("the sandbox accepts")
                .json_value()
                .await;
            let container = accepted["containerIds"][0].as_str().expect("it names a container").to_owned();
            let read =
                client.get(format!("{}/v1/content/{container}", sandbox.url())).header("X-Api-Key", API_KEY);
            read.send().await.and_then(reqwest::Response::error_for_status).expect("it can be read");
        })
        .await;
    Rate { count, took: began.elapsed() }
}

trait JsonValue {
    async fn json_value(self) -> Value;
}

impl JsonValue for reqwest::Response {
    async fn json_value(self) -> Value {
        serde_json::from_slice(&self.bytes().await.expect("an answer has a body")).expect("it is JSON")
    }
}
