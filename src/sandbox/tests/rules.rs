//! The order of checks, limits, lists, ids, and the account.

use super::*;

#[tokio::test]
async fn checks_come_in_their_documented_order() {
    let options = || Options {
        tier: Tier::Standard,
        projects: vec!["p1".to_owned(), "p2".to_owned()],
        two_layers: vec!["p2".to_owned()],
        credits: Some(100),
        ..Options::default()
    };
    let api = Api::start(options()).await;
    let post = async |path: &str, key: &str, body: &Value| api.post(path, key, body).await.code();
    // From the last check to the first: each request also fails every later check.
    assert_eq!(post("/v1/projects/p1/content", "1", &json!({ "brief": {} })).await, "BILLING_EXHAUSTED");
    let blocked = brief(&json!({ "refuse": "MODERATION_BLOCKED" }));
    assert_eq!(post("/v1/projects/p1/content", "2", &blocked).await, "MODERATION_BLOCKED");
    assert_eq!(post("/v1/projects/p2/content", "3", &blocked).await, "CONFLICT");
    assert_eq!(post("/v1/projects/p3/content", "4", &blocked).await, "NOT_FOUND");
    let invalid = json!({ "format": "movie", "brief": {}, "metadata": blocked["metadata"] });
    assert_eq!(post("/v1/projects/p3/content", "5", &invalid).await, "VALIDATION_FAILED");
    assert_eq!(post("/v1/projects/p3/content", "5", &blocked).await, "IDEMPOTENCY_CONFLICT");
    for number in 6..20 {
        post("/v1/projects/p3/content", &number.to_string(), &blocked).await;
    }
    assert_eq!(post("/v1/projects/p3/content", "5", &blocked).await, "RATE_LIMITED");
    api.put("/_sandbox/account", &json!({ "killSwitch": true })).await;
    assert_eq!(post("/v1/projects/p3/content", "5", &blocked).await, "KILL_SWITCH");
    assert_eq!(api.get("/v1/whoami").await.json()["killSwitch"], true);
    api.put("/_sandbox/account", &json!({ "keyRevoked": true })).await;
    assert_eq!(post("/v1/projects/p3/content", "5", &blocked).await, "UNAUTHENTICATED");

    let reader = Api::start(Options { scopes: vec!["content:read".to_owned()], ..options() }).await;
    assert_eq!(reader.generate("5", &invalid).await.code(), "FORBIDDEN_SCOPE");
    assert_eq!(reader.get("/v1/projects/p1/content").await.status, 200);
}

#[tokio::test]
async fn every_answer_names_its_bucket_and_a_429_says_when_to_come_again() {
    let api = Api::start(Options { tier: Tier::Standard, ..Options::default() }).await;
    for number in 0..20 {
        let started = api.generate(&number.to_string(), &plain()).await;
        assert_eq!(started.headers["x-ratelimit-endpoint-class"], "long-running");
        api.step(1);
    }
    let limited = api.generate("more", &plain()).await;
    assert_eq!((limited.status, limited.headers["retry-after"].as_str()), (429, "40"));
    assert_eq!(limited.headers["date"], "Sun, 01 Mar 2026 12:00:20 GMT");
    api.step(39);
    assert_eq!(api.generate("more", &plain()).await.status, 429);
    api.step(1);
    assert_eq!(api.generate("more", &plain()).await.status, 202);
    assert_eq!(api.get("/v1/whoami").await.headers["x-ratelimit-endpoint-class"], "read-light");
    let cancel = api.post("/v1/jobs/none/cancel", "c", &json!({})).await;
    assert_eq!((cancel.status, cancel.headers["x-ratelimit-endpoint-class"].as_str()), (404, "write-light"));
    assert_eq!(api.running.account().rate_limited, 2);
    let mut read = 1;
    while api.get("/v1/credits").await.status == 200 {
        read += 1;
    }
    assert_eq!(read, 120);
}

#[tokio::test]
async fn rate_windows_pass_at_the_sandbox_s_speed() {
    let api = Api::start(Options { tier: Tier::Standard, speed: 20.0, ..Options::default() }).await;
    for number in 0..20 {
        api.generate(&number.to_string(), &plain()).await;
    }
    assert_eq!(api.generate("more", &plain()).await.headers["retry-after"], "60");
    api.step(3);
    assert_eq!(api.generate("more", &plain()).await.status, 202);
}

#[tokio::test]
async fn without_credits_starts_are_refused_and_the_refusal_is_replayed_or_not() {
    for (replay_billing, expected) in [(true, 402), (false, 202)] {
        let api = Api::start(Options { credits: Some(100), replay_billing, ..Options::default() }).await;
        let refused = api.generate("k", &plain()).await;
        assert_eq!(refused.json()["error"]["details"], json!({ "required": 120, "available": 100 }));
        api.put("/_sandbox/account", &json!({ "balance": 500 })).await;
        assert_eq!(api.generate("k", &plain()).await.status, expected);
        assert_eq!(api.generate("fresh", &plain()).await.status, 202);
        let mut dear = plain();
        dear["budget"] = json!({ "maxCredits": 119 });
        assert_eq!(api.generate("dear", &dear).await.status, 402);
    }
}

#[tokio::test]
async fn a_list_is_newest_first_in_pages_and_filtered() {
    let api = Api::start(Options::default()).await;
    let mut made = Vec::new();
    for number in 0..7 {
        let mut body = plain();
        body["format"] = json!(if number % 2 == 0 { "slideshow_remix" } else { "ugc_remix" });
        made.push(api.generate(&number.to_string(), &body).await.containers()[0].clone());
        api.step(10);
    }
    made.reverse();
    let ids = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = api.get(&format!("/v1/projects/p1/content?{query}")).await.json();
        seen.extend(ids(&page));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        query = format!("limit=3&cursor={cursor}");
    }
    assert_eq!(seen, made);
    api.step(35);
    let list = async |query: &str| ids(&api.get(&format!("/v1/projects/p1/content?{query}")).await.json());
    assert_eq!(list("status=queued&status=generating").await, made[..6]);
    assert_eq!(list("status=completed").await, made[6..]);
    assert_eq!(list("format=ugc_remix").await.len(), 3);
    assert_eq!(list("since=2026-03-01T12:00:30Z&until=2026-03-01T12:00:50Z").await, made[1..4]);
    assert!(list("status=failed").await.is_empty());
    for bad in ["status=polishing", "format=movie", "limit=0", "limit=201", "cursor=x", "since=yesterday"] {
        assert_eq!(
            api.get(&format!("/v1/projects/p1/content?{bad}")).await.code(),
            "VALIDATION_FAILED",
            "{bad}"
        );
    }
    assert_eq!(
        api.get("/v1/projects/other/content").await.json(),
        json!({ "items": [], "nextCursor": null })
    );
}

#[tokio::test]
async fn a_job_that_has_not_changed_is_not_sent_again() {
    let api = Api::start(Options::default()).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 1 }))).await;
    let path = format!("/v1/jobs/{}", started.job());
    let running = api.get(&path).await;
    api.step(1);
    let known = |etag: &str| [("if-none-match".to_owned(), etag.to_owned())];
    for (etag, status) in
        [(running.headers["etag"].clone(), 200), (api.get(&path).await.headers["etag"].clone(), 304)]
    {
        let headers = known(&etag);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(api.send(Method::GET, &path, &headers, "").await.status, status);
    }
}

#[tokio::test]
async fn the_first_container_has_the_form_of_id_that_was_chosen() {
    let id = "0b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d";
    let expected = [
        (ContainerIds::Ours, true, 200),
        (ContainerIds::CntAlias, false, 200),
        (ContainerIds::CntOnly, false, 404),
    ];
    for (container_ids, is_ours, readable) in expected {
        let api = Api::start(Options { container_ids, ..Options::default() }).await;
        let started = api.generate("k", &json!({ "id": id, "brief": {}, "variantCount": 2 })).await;
        assert_eq!(started.containers()[0] == id, is_ours);
        assert!(started.containers()[1].starts_with("cnt_"));
        assert_eq!(api.get(&format!("/v1/content/{id}")).await.status, readable);
        assert_eq!(api.get(&format!("/v1/content/{}", started.containers()[0])).await.status, 200);
    }
    let api = Api::start(Options { names_first_container_only: true, ..Options::default() }).await;
    let short = api.generate("k", &json!({ "id": id, "brief": {} })).await.json();
    assert_eq!(
        (&short["containerId"], &short["stage"], &short["projectId"]),
        (&json!(id), &json!("queued"), &json!("p1"))
    );
}

#[tokio::test]
async fn the_account_tells_what_was_made_and_asked() {
    let api = Api::start(Options { credits: Some(1_000), ..Options::default() }).await;
    let started = api.generate("k", &plain()).await;
    api.generate("k", &plain()).await;
    api.generate("k", &brief(&json!({}))).await;
    api.get(&format!("/v1/jobs/{}", started.job())).await;
    api.get("/v1/nothing").await;
    let account = api.running.account();
    assert_eq!((account.posts.generate, account.reads.job, account.jobs_made), (3, 1, 1));
    assert_eq!((account.keys["k"].posts, account.keys["k"].bodies.len()), (3, 2));
    assert_eq!(account.jobs_by_key, [("k".to_owned(), vec![started.job()])].into());
    assert_eq!(account.answers, [(200, 1), (202, 2), (404, 1), (409, 1)].into());
    let job = &account.jobs[0];
    assert!(account.keys["k"].bodies.contains(&job.body_sha256));
    assert_eq!(
        (job.project.as_str(), job.credits, job.container_ids.clone()),
        ("p1", 120, started.containers())
    );
    assert_eq!((account.credits.balance, account.credits.reserved), (1_000, 120));
    let served = api.get("/_sandbox/account").await.text;
    assert_eq!(serde_json::from_str::<super::super::Account>(&served).unwrap(), account);
    assert!(api.get("/_sandbox/account?summary=1").await.json().get("jobs").is_none());
}

#[tokio::test]
async fn keys_follow_from_the_seed_in_their_documented_form_and_options_out_of_range_are_named() {
    let key = Options::default_key(7);
    let parts: Vec<_> = key.split('_').collect();
    assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("lp", "test", 16, 43));
    assert_eq!(key, Options::default_key(7));
    assert_ne!(key, Options::default_key(8));
    let error = Options { fail_share: 2.0, ..Options::default() }.check().unwrap_err();
    assert_eq!(error.to_string(), "the sandbox's share of fail-share must be between 0 and 1, not 2");
    let older = Api::start(Options { serves_account_endpoints: false, ..Options::default() }).await;
    assert_eq!((older.get("/v1/whoami").await.status, older.get("/v1/credits").await.status), (404, 404));
    older.running.stop().await;
}
