//! `clone-from-post`, and the bodies of regenerate, approve and reject.

use super::*;

const ID: &str = "0b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d";

fn clone_of(post: &str) -> Value {
    json!({
        "projectId": "p1", "sourcePlatformPostId": post, "mode": "reimagine", "variations": 10,
        "overrides": { "format": "slideshow_remix", "brief": { "hook": "Rise" } },
        "metadata": { "sandbox": { "seconds": 100 } },
    })
}

async fn clone(api: &Api, key: &str, body: &Value) -> Got {
    api.post(&format!("/v1/content/{ID}/clone-from-post"), key, body).await
}

#[tokio::test]
async fn a_clone_makes_one_job_for_all_its_variations_and_costs_like_any_start() {
    let api = Api::start(Options { credits: Some(500), ..Options::default() }).await;
    let cloned = clone(&api, "k", &clone_of("ig_1")).await;
    assert_eq!((cloned.status, cloned.containers().len()), (202, 10));
    assert_eq!(cloned.containers()[0], ID);
    assert_eq!(cloned.headers["x-ratelimit-endpoint-class"], "long-running");
    assert_eq!(api.get("/v1/credits").await.json()["available"], 0);
    assert_eq!(api.get(&format!("/v1/jobs/{}", cloned.job())).await.json()["kind"], "content_clone");
    api.step(100);
    let record = api.get(&format!("/v1/content/{ID}")).await.json();
    assert_eq!((&record["status"], &record["format"]), (&json!("completed"), &json!("slideshow_remix")));
    assert_eq!(record["brief"], json!({ "topic": "Reimagined from post ig_1", "hook": "Rise" }));
    let account = api.running.account();
    assert_eq!(
        (account.jobs[0].kind.as_str(), account.posts.clone, account.credits.charged),
        ("clone", 1, 500)
    );
    let mut more = clone_of("ig_2");
    more["variations"] = json!(1);
    let path = "/v1/content/1b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d/clone-from-post";
    assert_eq!(api.post(path, "more", &more).await.code(), "BILLING_EXHAUSTED");
}

#[tokio::test]
async fn a_clone_is_repeated_by_key_and_by_the_new_id_and_never_made_twice() {
    let api = Api::start(Options::default()).await;
    let first = clone(&api, "k", &clone_of("ig_1")).await;
    assert_eq!(clone(&api, "k", &clone_of("ig_1")).await.text, first.text);
    assert_eq!(clone(&api, "k", &clone_of("ig_2")).await.code(), "IDEMPOTENCY_CONFLICT");
    assert_eq!(clone(&api, "other key", &clone_of("ig_1")).await.text, first.text);
    assert_eq!(clone(&api, "k3", &clone_of("ig_2")).await.code(), "CONFLICT");
    let mut fork = clone_of("ig_1");
    fork["mode"] = json!("fork");
    assert_eq!(clone(&api, "k4", &fork).await.code(), "CONFLICT");
    let mut generated = plain();
    generated["id"] = json!(ID);
    assert_eq!(api.generate("k5", &generated).await.code(), "CONFLICT");
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn a_clone_with_a_wrong_field_names_it() {
    let api = Api::start(Options { projects: vec!["p1".to_owned()], ..Options::default() }).await;
    let wrong = [
        ("projectId", json!("")),
        ("sourcePlatformPostId", json!(null)),
        ("mode", json!("copy")),
        ("variations", json!(11)),
        ("variations", json!(0)),
        ("overrides", json!([])),
        ("overrides.format", json!("movie")),
        ("overrides.brief.language", json!("en_US")),
        ("overrides.targetPlatforms", json!(["myspace"])),
        ("metadata", json!(1)),
    ];
    for (number, (path, value)) in wrong.iter().enumerate() {
        let mut body = clone_of("ig_1");
        let pointer = format!("/{}", path.replace('.', "/"));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value.clone();
        let refused = clone(&api, &number.to_string(), &body).await;
        assert_eq!(refused.json()["error"]["details"]["issues"][0]["path"], *path, "{}", refused.text);
    }
    let no_id = api.post("/v1/content/cnt_1/clone-from-post", "id", &clone_of("ig_1")).await;
    assert_eq!(no_id.json()["error"]["details"]["issues"][0]["path"], "newId");
    let mut elsewhere = clone_of("ig_1");
    elsewhere["projectId"] = json!("p9");
    assert_eq!(clone(&api, "elsewhere", &elsewhere).await.code(), "NOT_FOUND");
    assert_eq!(api.jobs_made(), 0);
}

#[tokio::test]
async fn a_regeneration_is_checked_in_order_and_can_keep_the_assets() {
    let api = Api::start(Options { credits: Some(360), ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 10, "regenerate": { "seconds": 10 } }))).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    let again = |key: &'static str, body: Value| {
        let path = format!("{path}/regenerate");
        let api = &api;
        async move { api.post(&path, key, &body).await }
    };
    assert_eq!(again("busy, but wrong first", json!({ "patch": [] })).await.code(), "VALIDATION_FAILED");
    let missing = api.post("/v1/content/none/regenerate", "n", &json!({ "preserveAssets": 1 })).await;
    assert_eq!(missing.code(), "VALIDATION_FAILED");
    assert_eq!(api.post("/v1/content/none/regenerate", "m", &json!({})).await.code(), "NOT_FOUND");
    assert_eq!(again("busy", json!({})).await.json()["error"]["details"]["subcode"], "CONTAINER_BUSY");
    api.step(10);
    for (number, wrong) in [
        json!({ "patch": { "brief": { "topic": 1 } } }),
        json!({ "brief": "new" }),
        json!({ "patch": {}, "brief": {} }),
        json!({ "references": { "assetIds": vec!["a"; 21] } }),
        json!({ "preserveAssets": "yes" }),
        json!({ "metadata": { "sandbox": { "fial": "X" } } }),
        json!([]),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = api.post(&format!("{path}/regenerate"), &format!("w{number}"), &wrong).await;
        assert_eq!(refused.code(), "VALIDATION_FAILED", "{wrong}");
    }
    let before = api.get(&path).await.json();
    let kept = again("keep", json!({ "brief": { "topic": "Evening runs" }, "preserveAssets": true })).await;
    assert_eq!(kept.status, 202);
    api.step(10);
    let after = api.get(&path).await.json();
    assert_eq!((&after["status"], &after["assets"]), (&json!("completed"), &before["assets"]));
    assert_eq!(after["caption"], "Evening runs (take 2)");
    let asset = after["assets"][0]["assetId"].as_str().unwrap();
    assert_eq!(api.get(&format!("{path}/assets/{asset}")).await.status, 200);
    again("new", json!({})).await;
    api.step(10);
    assert_ne!(api.get(&path).await.json()["assets"], before["assets"]);
    assert_eq!(api.get(&format!("{path}/assets/{asset}")).await.code(), "NOT_FOUND");
    assert_eq!(again("broke", json!({})).await.code(), "BILLING_EXHAUSTED");
}

#[tokio::test]
async fn a_rejection_whose_regeneration_is_refused_has_not_happened() {
    let api = Api::start(Options { credits: Some(120), ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 10 }))).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    let reject = |body: Value| {
        let path = format!("{path}/reject");
        let api = &api;
        async move { api.post(&path, "r", &body).await }
    };
    let again = json!({ "reason": "dull", "regenerate": true });
    assert_eq!(reject(again.clone()).await.code(), "CONFLICT", "it is still running");
    api.step(10);
    assert_eq!(reject(again).await.code(), "BILLING_EXHAUSTED");
    assert_eq!(api.get(&path).await.json()["approvalStatus"], "not_required");
    for wrong in [
        json!({ "reason": "" }),
        json!({ "reason": "x".repeat(1_025) }),
        json!({ "reason": 1 }),
        json!({ "reason": "dull", "regenerate": "yes" }),
        json!({ "reason": "dull", "regenerate": { "brief": 1 } }),
    ] {
        assert_eq!(reject(wrong.clone()).await.code(), "VALIDATION_FAILED", "{wrong}");
    }
    assert_eq!(reject(json!({ "reason": "x".repeat(1_024) })).await.json()["approvalStatus"], "rejected");
    assert_eq!(reject(json!({ "reason": "again" })).await.status, 409);
    let approve = format!("{path}/approve");
    assert_eq!(api.post(&approve, "a", &json!({ "note": 1 })).await.code(), "VALIDATION_FAILED");
    assert_eq!(api.post("/v1/content/none/approve", "a", &json!({})).await.code(), "NOT_FOUND");
    assert_eq!(
        api.post(&approve, "a", &json!({ "note": "fine" })).await.json()["approvalStatus"],
        "approved"
    );
}

#[tokio::test]
async fn assets_of_completed_containers_resolve_and_no_others() {
    let api = Api::start(Options::default()).await;
    let body =
        json!({ "format": "slideshow_remix", "brief": {}, "metadata": { "sandbox": { "seconds": 10 } } });
    let started = api.generate("k", &body).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    assert_eq!(api.get(&format!("{path}/assets/ast_1")).await.code(), "NOT_FOUND");
    api.step(10);
    let record = api.get(&path).await.json();
    for asset in record["assets"].as_array().unwrap() {
        let id = asset["assetId"].as_str().unwrap();
        let found = api.get(&format!("{path}/assets/{id}")).await.json();
        assert_eq!((&found["containerId"], &found["url"]), (&record["id"], &asset["url"]));
        assert!(found["thumbnailUrl"].is_string() && found["kind"] == "image");
    }
    assert_eq!(api.get(&format!("{path}/assets/ast_1")).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_container_that_has_not_changed_is_not_sent_again() {
    let api = Api::start(Options::default()).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 10 }))).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    let etag = api.get(&path).await.headers["etag"].clone();
    for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
        let same = api.send(Method::GET, &path, &[("if-none-match", &known)], "").await;
        assert_eq!((same.status, same.text.as_str()), (304, ""), "{known}");
        assert_eq!(same.headers["etag"], etag);
    }
    api.step(10);
    assert_eq!(api.send(Method::GET, &path, &[("if-none-match", &etag)], "").await.status, 200);
}
