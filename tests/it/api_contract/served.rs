//! The sandbox against the reference: the same endpoints, statuses, headers and fields, through the whole life of a
//! generation; and the client beside it, which reads the same.

use std::time::Duration;

use briefd::clock::Clock;
use briefd::job::{Acceptance, Trouble};
use briefd::layers::{Client, TraceContext};
use briefd::sandbox::{Options, Running, Sandbox};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{client, fixture, settings, shape};

pub const PROJECT: &str = "prj_1";

/// A sandbox whose time moves only when told to, the client under test, and a bare HTTP client to look past it.
pub struct Api {
    pub running: Running,
    pub client: Client,
    clock: Clock,
    http: reqwest::Client,
}

/// An answer as it came.
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Api {
    pub async fn start(options: Options) -> Self {
        let clock = Clock::stepped("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let running = Sandbox::start_with(options, clock.clone()).await.unwrap();
        let client = client(&settings(&running.base_url, &running.api_key));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { running, client, clock, http }
    }

    pub fn step(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub async fn submit(&self, key: u128, body: &Value) -> Result<Acceptance, Trouble> {
        self.client.submit(PROJECT, Uuid::from_u128(key), &body.to_string(), TraceContext::default()).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = self.http.request(method, format!("{}{path}", self.running.base_url));
        request = request.header("x-api-key", &self.running.api_key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Got { status, headers, text: answer.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, key: &str, body: &str) -> Got {
        self.send(Method::POST, path, &[("idempotency-key", key)], body).await
    }

    /// Changes its `account` or its `faults` from now on.
    pub async fn change(&self, what: &str, change: Value) {
        let got = self.send(Method::PUT, &format!("/_sandbox/{what}"), &[], &change.to_string()).await;
        assert_eq!(got.status, 200, "{change}: {}", got.text);
    }
}

/// A request for one video, which asks the sandbox for its fate.
pub fn brief(wish: &Value) -> Value {
    json!({
        "format": "video_remix", "brief": { "topic": "Morning runs", "targetPlatforms": ["tiktok"] },
        "metadata": { "sandbox": wish },
    })
}

/// Says in what an answer of the sandbox is not the one in a fixture: status, headers, fields.
fn check(name: &str, got: &Got) {
    let answer = &fixture(name)["answer"];
    let served = got.json();
    let mut found = shape::differences(&answer["json"], &served);
    if answer["status"] != got.status {
        found.push(format!("its HTTP status is {}, not {}", got.status, answer["status"]));
    }
    for header in ["content-type", "x-ratelimit-endpoint-class"] {
        if answer["headers"][header] != got.header(header).unwrap_or_default() {
            found.push(format!("{header} is {:?}, not {}", got.header(header), answer["headers"][header]));
        }
    }
    for word in ["status", "kind", "stage", "accepted", "reason"] {
        if answer["json"][word] != served[word] {
            found.push(format!("{word} is {}, not {}", served[word], answer["json"][word]));
        }
    }
    assert!(found.is_empty(), "the sandbox differs from {name}:\n{}\nin {}", found.join("\n"), got.text);
}

#[tokio::test]
async fn a_generation_is_served_as_documented_from_its_start_to_its_completion() {
    let api = Api::start(Options::default()).await;
    let body = brief(&json!({"seconds": 100})).to_string();
    let accepted = api.post("/v1/projects/prj_1/content", "k", &body).await;
    check("submit.accepted-a", &accepted);
    let (job, container) = ids(&accepted);
    let (of_job, of_container) = (format!("/v1/jobs/{job}"), format!("/v1/content/{container}"));
    let of_progress = format!("{of_container}/progress");
    check("container.queued", &api.get(&of_container).await);
    api.step(40);
    check("job.running", &api.get(&of_job).await);
    check("container.running-a", &api.get(&of_container).await);
    check("progress.running", &api.get(&of_progress).await);
    check("list.page", &api.get("/v1/projects/prj_1/content").await);
    assert_eq!(api.client.container(&container).await.unwrap().status.word(), "generating");
    api.step(60);
    check("job.completed", &api.get(&of_job).await);
    check("container.completed-a", &api.get(&of_container).await);
    check("progress.completed", &api.get(&of_progress).await);
    check("list.last-page", &api.get("/v1/projects/prj_1/content").await);
    let read = api.client.job(&job).await.unwrap();
    assert_eq!((read.status.word(), read.container_ids), ("completed", vec![container.clone()]));
    let read = api.client.container(&container).await.unwrap();
    assert_eq!(read.record, api.get(&of_container).await.text, "verbatim");
    assert_eq!(read.brief, Some(brief(&json!(null))["brief"].clone()));
    assert!(api.client.progress(&container).await.unwrap().status.is_terminal());
}

/// The job and the first container of a 202.
fn ids(accepted: &Got) -> (String, String) {
    let body = accepted.json();
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (text(&body["jobId"]), text(&body["containerIds"][0]))
}

async fn started(api: &Api, key: &str, wish: Value) -> (String, String) {
    ids(&api.post("/v1/projects/prj_1/content", key, &brief(&wish).to_string()).await)
}

#[tokio::test]
async fn a_failure_and_its_regeneration_are_served_as_documented() {
    let api = Api::start(Options::default()).await;
    let wish = json!({"seconds": 100, "fail": "RENDER_FAILED", "regenerate": {"seconds": 100}});
    let (job, container) = started(&api, "k", wish).await;
    let path = format!("/v1/content/{container}/regenerate");
    api.step(10);
    check("regenerate.refused-busy", &api.post(&path, "too-early", "{}").await);
    api.step(90);
    let failed = api.get(&format!("/v1/jobs/{job}")).await;
    let stage = failed.json()["stage"].as_str().unwrap().to_owned();
    check("job.failed", &Got { text: failed.text.replace(&stage, "assembling"), ..failed });
    check("container.failed", &api.get(&format!("/v1/content/{container}")).await);
    let read = api.client.job(&job).await.unwrap();
    assert_eq!((read.status.word(), read.stage), ("failed", Some(stage)));
    assert_eq!(read.error.unwrap().code, "RENDER_FAILED");
    let failed = api.client.container(&container).await.unwrap();
    assert_eq!(failed.last_error.as_ref().unwrap().code, "RENDER_FAILED");
    check(
        "regenerate.accepted-a",
        &api.post(&path, "again", r#"{"patch":{"brief":{"hook":"Coffee"}}}"#).await,
    );
    let again = api.client.regenerate(&container, Uuid::from_u128(9), "{}", TraceContext::default()).await;
    assert!(matches!(again, Err(Trouble::Refusal(refusal)) if refusal.subcode() == Some("CONTAINER_BUSY")));
    api.step(100);
    let completed = api.client.container(&container).await.unwrap();
    assert_eq!((completed.status.word(), completed.last_error), ("completed", None));
    assert_eq!(completed.created_at, failed.created_at, "the same container");
    assert_eq!(completed.brief.unwrap()["hook"], "Coffee");
    let missing = api.post("/v1/content/cnt_none/regenerate", "none", "{}").await;
    check("regenerate.refused-not-found", &missing);
}

#[tokio::test]
async fn a_cancel_is_served_as_documented_in_each_of_its_three_answers() {
    let api = Api::start(Options::default()).await;
    let (job, container) = started(&api, "a", json!({"seconds": 100})).await;
    let (late, _) = started(&api, "b", json!({"seconds": 100})).await;
    let path = |job: &str| format!("/v1/jobs/{job}/cancel");
    check("cancel.accepted", &api.post(&path(&job), "c", "").await);
    assert!(api.client.cancel_job(&job).await.unwrap().accepted);
    api.step(97);
    check("job.canceled", &api.get(&format!("/v1/jobs/{job}")).await);
    check("container.canceled", &api.get(&format!("/v1/content/{container}")).await);
    assert_eq!(api.client.job(&job).await.unwrap().status.word(), "canceled");
    check("cancel.refused-by-the-stage", &api.post(&path(&late), "c", "").await);
    let refused = api.client.cancel_job(&late).await;
    assert!(matches!(refused, Err(Trouble::Refusal(it)) if it.subcode() == Some("JOB_CANCEL_UNAVAILABLE")));
    api.step(3);
    check("cancel.too-late", &api.post(&path(&late), "c", "").await);
    let answer = api.client.cancel_job(&late).await.unwrap();
    assert_eq!((answer.accepted, answer.reason.as_deref()), (false, Some("ALREADY_COMPLETED")));
    assert_eq!(api.client.job(&late).await.unwrap().status.word(), "completed");
}

#[tokio::test]
async fn the_account_is_served_as_documented() {
    let api = Api::start(Options { credits: Some(1_200), ..Options::default() }).await;
    started(&api, "k", json!({"seconds": 100})).await;
    check("whoami.full", &api.get("/v1/whoami").await);
    check("credits.full", &api.get("/v1/credits").await);
    let credits = api.client.credits().await.unwrap();
    assert_eq!((credits.balance, credits.reserved, credits.available), (Some(1_200), Some(120), Some(1_080)));
    let whoami = api.client.whoami().await.unwrap();
    assert_eq!((whoami.kill_switch, whoami.access_revoked), (Some(false), Some(false)));
    let child = super::config::Layers {
        organization: "org_child".to_owned(),
        ..settings(&api.running.base_url, &api.running.api_key)
    };
    assert_eq!(client(&child).whoami().await.unwrap().organization_id.as_deref(), Some("org_child"));
    let older = Api::start(Options { serves_account_endpoints: false, ..Options::default() }).await;
    check("whoami.missing", &older.get("/v1/whoami").await);
    check("credits.missing", &older.get("/v1/credits").await);
    assert!(older.client.whoami().await.unwrap_err().is_not_found());
    assert!(older.client.credits().await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn both_shapes_of_an_acceptance_and_every_form_of_our_id_are_served_and_read() {
    use briefd::sandbox::ContainerIds;
    let id = "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39";
    for (form, ours, readable) in [
        (ContainerIds::Ours, true, true),
        (ContainerIds::CntAlias, false, true),
        (ContainerIds::CntOnly, false, false),
    ] {
        for short in [false, true] {
            let api = Api::start(Options {
                container_ids: form,
                names_first_container_only: short,
                ..Options::default()
            })
            .await;
            let mut body = brief(&json!({"seconds": 100}));
            body["id"] = json!(id);
            body["variantCount"] = json!(2);
            let got = api.post("/v1/projects/prj_1/content", "k", &body.to_string()).await;
            check(if short { "submit.accepted-b" } else { "submit.accepted-a" }, &got);
            let accepted = api.submit(1, &body).await.unwrap();
            assert_eq!(got.json()["jobId"], accepted.job_id.as_str(), "one id, one job, whatever the key");
            assert_eq!(accepted.container_ids.len(), if short { 1 } else { 2 });
            assert_eq!(accepted.container_ids[0] == id, ours, "{form:?}");
            let read = api.client.container(id).await;
            assert_eq!(read.is_ok(), readable, "{form:?}");
            match read {
                Ok(reading) => assert_eq!(reading.id, accepted.container_ids[0]),
                Err(trouble) => assert!(trouble.is_not_found()),
            }
            api.step(100);
            let path = format!("/v1/content/{}/regenerate", accepted.container_ids[0]);
            let again = if short { "regenerate.accepted-b" } else { "regenerate.accepted-a" };
            check(again, &api.post(&path, "again", "{}").await);
        }
    }
}

#[tokio::test]
async fn a_status_that_nobody_documents_is_still_running() {
    let api = Api::start(Options::default()).await;
    let (_, container) = started(&api, "k", json!({"seconds": 100, "unknownStatus": true})).await;
    api.step(85);
    check("container.unknown-status", &api.get(&format!("/v1/content/{container}")).await);
    let read = api.client.container(&container).await.unwrap();
    assert_eq!((read.status.word(), read.status.is_terminal()), ("polishing", false));
}

#[tokio::test]
async fn a_job_that_has_not_changed_needs_no_body() {
    let api = Api::start(Options::default()).await;
    let (job, _) = started(&api, "k", json!({"seconds": 100})).await;
    let path = format!("/v1/jobs/{job}");
    let first = api.get(&path).await;
    let etag = first.header("etag").unwrap().to_owned();
    let same = api.send(Method::GET, &path, &[("if-none-match", &etag)], "").await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    api.step(50);
    let changed = api.send(Method::GET, &path, &[("if-none-match", &etag)], "").await;
    assert_eq!(changed.status, 200);
}
