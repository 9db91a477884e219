//! Each choice where the reference is silent, in its other position.

use super::*;
use crate::sandbox::{Check, Revision};

#[tokio::test]
async fn refusals_can_be_forgotten_so_that_only_accepted_starts_are_replayed() {
    for (replay_refusals, same) in [(true, true), (false, false)] {
        let api = Api::start(Options { replay_refusals, ..Options::default() }).await;
        let first = api.generate("k", &json!({})).await;
        let again = api.generate("k", &json!({})).await;
        assert_eq!(first.text == again.text, same);
        assert_eq!(api.generate("k", &plain()).await.status, if same { 409 } else { 202 });
        assert_ne!(api.generate("k", &plain()).await.text, again.text);
    }
}

#[tokio::test]
async fn the_order_of_the_checks_can_be_changed() {
    let codes = |checks: [Check; 3]| async move {
        let options = Options {
            checks,
            tier: Tier::Standard,
            scopes: vec!["content:write".to_owned()],
            ..Options::default()
        };
        let api = Api::start(options).await;
        for _ in 0..120 {
            api.get("/v1/credits").await;
        }
        api.put("/_sandbox/account", &json!({ "killSwitch": true })).await;
        api.get("/v1/projects/p1/content").await.code()
    };
    assert_eq!(codes(Check::ALL).await, "KILL_SWITCH");
    assert_eq!(codes([Check::Scope, Check::KillSwitch, Check::Rate]).await, "FORBIDDEN_SCOPE");
    assert_eq!(codes([Check::Rate, Check::Scope, Check::KillSwitch]).await, "RATE_LIMITED");
}

#[tokio::test]
async fn a_body_can_be_validated_before_its_key_is_looked_up() {
    for (validates_first, code) in [(false, "IDEMPOTENCY_CONFLICT"), (true, "VALIDATION_FAILED")] {
        let api = Api::start(Options { validates_first, ..Options::default() }).await;
        api.generate("k", &plain()).await;
        assert_eq!(api.generate("k", &json!({})).await.code(), code);
    }
}

#[tokio::test]
async fn the_kill_switch_can_hide_whoami_too() {
    for (kill_switch_spares_whoami, status) in [(true, 200), (false, 503)] {
        let api = Api::start(Options { kill_switch_spares_whoami, ..Options::default() }).await;
        api.put("/_sandbox/account", &json!({ "killSwitch": true })).await;
        assert_eq!(api.get("/v1/whoami").await.status, status);
    }
}

#[tokio::test]
async fn revision_b_takes_bearer_only_and_speaks_in_its_own_words() {
    let options = Options { revision: Revision::B, ..Options::default() };
    let api = Api::start(options).await;
    assert_eq!(api.get("/v1/whoami").await.code(), "UNAUTHENTICATED");
    let bearer = format!("Bearer {}", api.running.api_key);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    let post = async |body: &Value| {
        api.send(Method::POST, "/v1/projects/p1/content", &headers, &body.to_string()).await
    };
    assert_eq!(post(&json!({})).await.code(), "VALIDATION");
    let container = post(&plain()).await;
    assert_eq!(container.code(), "IDEMPOTENCY_CONFLICT");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k2")];
    let started = api.send(Method::POST, "/v1/projects/p1/content", &headers, &plain().to_string()).await;
    api.step(20);
    let get = async |path: &str| api.send(Method::GET, path, &headers, "").await.json();
    assert_eq!(get(&format!("/v1/content/{}", started.containers()[0])).await["status"], "processing");
    for status in ["generating", "processing"] {
        let page = get(&format!("/v1/projects/p1/content?status={status}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{status}");
    }
    api.step(80);
    assert_eq!(get(&format!("/v1/jobs/{}", started.job())).await["result"]["assets"][0]["kind"], "video");
}

#[tokio::test]
async fn assets_can_be_called_by_the_other_documented_name() {
    let api = Api::start(Options { asset_ids_as_id: true, ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 1 }))).await;
    api.step(1);
    let path = format!("/v1/content/{}", started.containers()[0]);
    let asset = api.get(&path).await.json()["assets"][0].clone();
    assert!(asset.get("assetId").is_none());
    let id = asset["id"].as_str().unwrap();
    assert_eq!(api.get(&format!("{path}/assets/{id}")).await.json()["assetId"], id);
}

#[tokio::test]
async fn another_method_is_not_allowed_and_a_path_that_is_no_text_is_not_found() {
    let api = Api::start(Options::default()).await;
    let other = api.send(Method::DELETE, "/v1/jobs/job_x", &[], "").await;
    assert_eq!((other.status, other.code()), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert_eq!(other.headers["allow"], "GET,HEAD");
    assert_eq!(api.get("/v1/jobs/%FF").await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_key_can_be_forgotten_earlier_or_later_than_after_a_day() {
    for (key_hours, forgotten_after) in [(1.0, 3_600), (48.0, 48 * 3_600)] {
        let api = Api::start(Options { key_hours, ..Options::default() }).await;
        let first = api.generate("k", &plain()).await;
        api.step(forgotten_after - 1);
        assert_eq!(api.generate("k", &plain()).await.text, first.text, "within {key_hours} hours");
        api.step(1);
        assert_ne!(api.generate("k", &plain()).await.job(), first.job(), "after {key_hours} hours");
        assert_eq!(api.jobs_made(), 2);
    }
    let never = Options { key_hours: f64::INFINITY, ..Options::default() };
    assert!(never.check().unwrap_err().to_string().contains("key-hours must be 0 or more"));
}

#[tokio::test]
async fn a_body_id_can_be_forgotten_so_that_only_the_key_guards() {
    let id = "0b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d";
    let mut body = plain();
    body["id"] = json!(id);
    let api = Api::start(Options { forgets_ids: true, ..Options::default() }).await;
    let first = api.generate("k", &body).await;
    assert_eq!(first.containers(), [id]);
    assert_eq!(api.generate("k", &body).await.text, first.text, "the key still guards");
    let second = api.generate("another key", &body).await;
    assert_eq!(second.status, 202);
    assert!(second.job() != first.job() && second.containers() != [id], "{}", second.text);
    assert_eq!(api.jobs_made(), 2);
    assert_eq!(api.get(&format!("/v1/content/{id}")).await.json()["id"], id);
}

#[tokio::test]
async fn a_new_container_can_be_unreadable_for_a_while_and_nothing_else_is() {
    let options = Options { read_lag_seconds: 30.0, approval_required: true, ..Options::default() };
    let api = Api::start(options).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 10 }))).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    api.step(29);
    for read in [path.clone(), format!("{path}/progress")] {
        assert_eq!((api.get(&read).await.status, api.get(&read).await.code()), (404, "NOT_FOUND".to_owned()));
    }
    assert_eq!(api.get(&format!("/v1/jobs/{}", started.job())).await.json()["status"], "completed");
    assert_eq!(api.get("/v1/projects/p1/content").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.post(&format!("{path}/approve"), "a", &json!({})).await.status, 200);
    api.step(1);
    assert_eq!(api.get(&path).await.json()["status"], "completed");
}
