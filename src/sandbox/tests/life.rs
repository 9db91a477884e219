//! Generation over time: every state, cancel, regenerate, credits.

use super::*;

#[tokio::test]
async fn a_generation_passes_through_every_stage_and_completes() {
    let api = Api::start(Options::default()).await;
    let started = api.generate("k", &plain()).await;
    let (job, container) = (started.job(), started.containers()[0].clone());
    let path = format!("/v1/content/{container}");
    let mut seen = Vec::new();
    for seconds in [1, 9, 40, 35, 10] {
        api.step(seconds);
        let progress = api.get(&format!("{path}/progress")).await.json();
        let job = api.get(&format!("/v1/jobs/{job}")).await.json();
        assert_eq!((&job["status"], &job["stage"]), (&json!("running"), &progress["stage"]));
        assert_eq!(api.get(&path).await.json()["assets"], json!([]));
        seen.push((progress["status"].clone(), progress["stage"].clone(), progress["etaSeconds"].clone()));
    }
    let expected = [
        ("queued", "queued", 99),
        ("generating", "planning", 90),
        ("generating", "generating_visuals", 50),
        ("generating", "assembling", 15),
        ("generating", "finalizing", 5),
    ];
    assert_eq!(seen, expected.map(|(status, stage, eta)| (json!(status), json!(stage), json!(eta))));
    api.step(5);
    let record = api.get(&path).await.json();
    assert_eq!(
        (&record["status"], &record["completedAt"]),
        (&json!("completed"), &json!("2026-03-01T12:01:40.000Z"))
    );
    assert_eq!(record["brief"], json!({ "topic": "Morning runs" }));
    assert_eq!(record["metadata"], plain()["metadata"]);
    assert_eq!(record["assets"][0]["kind"], "video");
    assert!(record["assets"][0]["durationMs"].as_u64().unwrap() >= 12_000);
    let job = api.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!((&job["status"], &job["result"]["assets"]), (&json!("completed"), &record["assets"]));
    let progress = api.get(&format!("{path}/progress")).await.json();
    assert_eq!((&progress["stage"], &progress["stageProgress"]), (&json!("finalizing"), &json!(1.0)));
}

#[tokio::test]
async fn a_failed_generation_keeps_the_stage_where_it_died_and_costs_nothing() {
    let api = Api::start(Options { credits: Some(1_000), ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 100, "fail": "RENDER_FAILED" }))).await;
    assert_eq!(api.get("/v1/credits").await.json()["available"], 880);
    api.step(100);
    let record = api.get(&format!("/v1/content/{}", started.containers()[0])).await.json();
    assert_eq!(
        (&record["status"], &record["lastError"]["code"]),
        (&json!("failed"), &json!("RENDER_FAILED"))
    );
    assert!(record["failedAt"].is_string() && record["completedAt"].is_null());
    let job = api.get(&format!("/v1/jobs/{}", started.job())).await;
    assert_eq!(
        (job.status, &job.json()["status"], &job.json()["error"]["code"]),
        (200, &json!("failed"), &json!("RENDER_FAILED"))
    );
    let progress = api.get(&format!("/v1/content/{}/progress", started.containers()[0])).await.json();
    assert_eq!((&progress["status"], &progress["stage"]), (&json!("failed"), &job.json()["stage"]));
    let credits = api.get("/v1/credits").await.json();
    assert_eq!((&credits["available"], &credits["usedThisPeriod"]), (&json!(1_000), &json!(0)));
}

#[tokio::test]
async fn some_variants_fail_while_others_complete_and_only_those_are_charged() {
    let api = Api::start(Options { credits: Some(1_000), ..Options::default() }).await;
    let mut body = brief(&json!({ "seconds": 100, "failVariants": [2] }));
    body["variantCount"] = json!(3);
    body["format"] = json!("slideshow_remix");
    let started = api.generate("k", &body).await;
    assert_eq!(started.containers().len(), 3);
    assert_eq!(api.running.account().credits.reserved, 150);
    api.step(100);
    let mut statuses = Vec::new();
    for container in started.containers() {
        statuses.push(api.get(&format!("/v1/content/{container}")).await.json()["status"].clone());
    }
    assert_eq!(statuses, ["completed", "failed", "completed"]);
    assert_eq!(api.get(&format!("/v1/jobs/{}", started.job())).await.json()["status"], "completed");
    let credits = api.running.account().credits;
    assert_eq!((credits.balance, credits.reserved, credits.charged), (900, 0, 100));
}

#[tokio::test]
async fn by_shares_some_fail_wholly_some_in_part_and_the_seed_decides_which() {
    let options = || Options {
        fail_share: 0.3,
        partial_share: 0.5,
        refuse_share: 0.2,
        max_seconds: 60.0,
        ..Options::default()
    };
    let body = json!({ "brief": { "topic": "x" }, "variantCount": 2 });
    let (one, other) = (Api::start(options()).await, Api::start(options()).await);
    for number in 0..60 {
        one.generate(&format!("k{number}"), &body).await;
        other.generate(&format!("k{}", 59 - number), &body).await;
    }
    one.step(61);
    other.step(61);
    let (one, other) = (one.running.account(), other.running.account());
    assert_eq!(one.containers, other.containers);
    assert!(
        one.containers["failed"] > 20 && one.containers["completed"] > 20 && one.containers["running"] == 0
    );
    assert!((3..=25).contains(&one.answers[&422]), "{:?}", one.answers);
}

#[tokio::test]
async fn a_cancel_takes_effect_at_the_next_stage_boundary() {
    let api = Api::start(Options::default()).await;
    let started = api.generate("k", &plain()).await;
    let cancel = format!("/v1/jobs/{}/cancel", started.job());
    api.step(20);
    let accepted = api.post(&cancel, "c", &json!({})).await;
    assert_eq!((accepted.status, &accepted.json()["accepted"]), (202, &json!(true)));
    let path = format!("/v1/content/{}", started.containers()[0]);
    api.step(59);
    assert_eq!(api.get(&path).await.json()["status"], "generating");
    api.step(1);
    assert_eq!(api.get(&path).await.json()["status"], "canceled");
    assert_eq!(api.get(&format!("/v1/jobs/{}", started.job())).await.json()["status"], "canceled");
    let late = api.post(&cancel, "c", &json!({})).await;
    assert_eq!((late.status, &late.json()["reason"]), (200, &json!("ALREADY_COMPLETED")));
    assert_eq!((api.running.account().credits.reserved, api.running.account().jobs_running), (0, 0));
}

#[tokio::test]
async fn a_cancel_is_refused_in_the_last_stage_and_may_be_accepted_in_vain() {
    let api = Api::start(Options::default()).await;
    let last = api.generate("last", &plain()).await;
    let vain = api.generate("vain", &brief(&json!({ "seconds": 200, "cancelIgnored": true }))).await;
    api.step(95);
    let refused = api.post(&format!("/v1/jobs/{}/cancel", last.job()), "c", &json!({})).await;
    assert_eq!((refused.status, refused.code()), (409, "CONFLICT".to_owned()));
    assert_eq!(refused.json()["error"]["details"]["subcode"], "JOB_CANCEL_UNAVAILABLE");
    assert_eq!(api.post(&format!("/v1/jobs/{}/cancel", vain.job()), "c", &json!({})).await.status, 202);
    api.step(200);
    assert_eq!(api.get(&format!("/v1/jobs/{}", vain.job())).await.json()["status"], "completed");
}

#[tokio::test]
async fn a_generation_that_never_ends_can_still_be_canceled() {
    let api = Api::start(Options::default()).await;
    let started = api.generate("k", &brief(&json!({ "never": true }))).await;
    api.step(1_000_000);
    let job = format!("/v1/jobs/{}", started.job());
    assert_eq!(api.get(&job).await.json()["stage"], "generating_visuals");
    api.post(&format!("{job}/cancel"), "c", &json!({})).await;
    api.step(1);
    assert_eq!(api.get(&job).await.json()["status"], "canceled");
}

#[tokio::test]
async fn a_regenerated_container_keeps_its_id_and_shows_its_old_self_until_the_new_job_has_begun() {
    let api = Api::start(Options::default()).await;
    let wish = json!({ "seconds": 10, "regenerate": { "seconds": 100 } });
    let started = api.generate("k", &brief(&wish)).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    assert_eq!(api.post(&format!("{path}/regenerate"), "early", &json!({})).await.code(), "CONFLICT");
    api.step(10);
    let before = api.get(&path).await.json();
    let patch = json!({ "patch": { "brief": { "hook": "Rise" } } });
    let again = api.post(&format!("{path}/regenerate"), "r", &patch).await;
    assert_eq!((again.status, again.containers()), (202, started.containers()));
    assert_ne!(again.job(), started.job());
    assert_eq!(api.post(&format!("{path}/regenerate"), "r", &patch).await.text, again.text);
    api.step(4);
    let queued = api.get(&path).await.json();
    assert_eq!((&queued["completedAt"], &queued["status"]), (&before["completedAt"], &json!("completed")));
    api.step(1);
    let generating = api.get(&path).await.json();
    assert_eq!(
        (&generating["status"], &generating["assets"], &generating["caption"]),
        (&json!("generating"), &json!([]), &Value::Null)
    );
    api.step(95);
    let after = api.get(&path).await.json();
    assert_eq!((&after["status"], &after["approvalStatus"]), (&json!("completed"), &json!("pending")));
    assert_eq!(after["brief"], json!({ "topic": "Morning runs", "hook": "Rise" }));
    assert_eq!(after["createdAt"], before["createdAt"]);
    assert_ne!((&after["assets"], &after["caption"]), (&before["assets"], &before["caption"]));
    assert_eq!(api.running.account().credits.charged, 240);
}

#[tokio::test]
async fn at_high_speed_minutes_pass_in_no_time_and_nothing_waits_without_generation_time() {
    let clock = Clock::system();
    let running =
        Sandbox::start_with(Options { speed: 100_000.0, ..Options::default() }, clock.clone()).await.unwrap();
    let api = Api { running, clock, client: reqwest::Client::builder().no_proxy().build().unwrap() };
    let started = api.generate("k", &json!({ "brief": {} })).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    let ended = async { while api.get(&path).await.json()["status"] != "completed" {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();

    let instant = Api::start(Options { min_seconds: 0.0, max_seconds: 0.0, ..Options::default() }).await;
    let started = instant.generate("k", &json!({ "brief": {}, "variantCount": 5 })).await;
    assert_eq!(instant.get(&format!("/v1/jobs/{}", started.job())).await.json()["status"], "completed");
    assert_eq!(instant.running.account().containers["completed"], 5);
}

#[tokio::test]
async fn approval_is_apart_from_status_and_a_rejection_can_start_a_regeneration() {
    let api = Api::start(Options { approval_required: true, ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 1 }))).await;
    let path = format!("/v1/content/{}", started.containers()[0]);
    assert_eq!(api.get(&path).await.json()["approvalStatus"], "pending");
    assert_eq!(
        api.post(&format!("{path}/approve"), "a", &json!({ "note": "good" })).await.json()["approvalStatus"],
        "approved"
    );
    assert_eq!(api.post(&format!("{path}/reject"), "a", &json!({})).await.code(), "VALIDATION_FAILED");
    assert_eq!(
        api.post(&format!("{path}/reject"), "a", &json!({ "reason": "dull" })).await.json()["approvalStatus"],
        "rejected"
    );
    assert_eq!(
        api.post(&format!("{path}/reject"), "a", &json!({ "reason": "dull" })).await.code(),
        "CONFLICT"
    );
    api.step(1);
    api.post(&format!("{path}/approve"), "a", &json!({})).await;
    let again =
        api.post(&format!("{path}/reject"), "a", &json!({ "reason": "dull", "regenerate": true })).await;
    assert_eq!((again.status, again.containers()), (202, started.containers()));
    assert_eq!(api.running.account().jobs[1].kind, "regenerate");
}
