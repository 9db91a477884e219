//! What goes wrong, on wish and by share.

use super::*;

fn striking(fault: &str) -> Value {
    brief(&json!({ "seconds": 100, "faults": [fault] }))
}

#[tokio::test]
async fn an_accepted_start_can_stay_without_an_answer_and_its_repeat_gets_the_first_one() {
    let api = Api::start(Options::default()).await;
    let body = striking("accepted-unanswered");
    assert_eq!(api.raw_generate("k", &body).await.unwrap(), b"");
    assert_eq!(api.jobs_made(), 1);
    let repeat = api.generate("k", &body).await;
    assert_eq!((repeat.status, repeat.job()), (202, api.running.account().jobs[0].id.clone()));
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn a_connection_can_be_reset_before_and_after_the_work() {
    let api = Api::start(Options::default()).await;
    for (fault, jobs) in [("reset-before", 0), ("accepted-reset", 1)] {
        let before = api.jobs_made();
        let error = api.raw_generate(fault, &striking(fault)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{fault}");
        assert_eq!(api.jobs_made() - before, jobs, "{fault}");
        assert_eq!(api.generate(fault, &striking(fault)).await.status, 202);
    }
    assert_eq!(api.jobs_made(), 2);
}

#[tokio::test]
async fn every_fault_of_an_answer_is_what_its_name_says_and_spares_the_repeat() {
    let api = Api::start(Options::default()).await;
    let expected = [
        ("error-500", 500, 0),
        ("accepted-500", 500, 1),
        ("error-502-html", 502, 1),
        ("cut-json", 202, 1),
        ("kill-switch", 503, 0),
        ("unknown-code", 422, 0),
        ("unknown-code-403", 403, 0),
        ("unknown-code-500", 500, 0),
        ("odd-retry-after", 429, 0),
    ];
    for (fault, status, jobs) in expected {
        let before = api.jobs_made();
        let struck = api.generate(fault, &striking(fault)).await;
        assert_eq!((struck.status, api.jobs_made() - before), (status, jobs), "{fault}");
        match fault {
            "error-502-html" => {
                assert!(struck.text.starts_with("<html>") && struck.headers["content-type"] == "text/html");
            }
            "cut-json" => assert!(
                serde_json::from_str::<Value>(&struck.text).is_err() && struck.text.starts_with("{\"jobId\"")
            ),
            _ => assert!(struck.json()["error"]["requestId"].is_string()),
        }
        assert_eq!(api.generate(fault, &striking(fault)).await.status, 202, "{fault}");
        assert_eq!(api.jobs_made() - before, 1, "{fault}");
    }
    assert_eq!(api.running.account().faults.values().sum::<u64>(), 9);
}

#[tokio::test]
async fn a_slow_answer_comes_late_and_what_was_asked_for_is_done_at_once() {
    let api = Api::start(Options::default()).await;
    let body = brief(&json!({ "faults": ["slow"], "slowSeconds": 60 }));
    let slow = api.generate("k", &body);
    let made = async {
        while api.jobs_made() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            api.generate("k", &body).await.json()["error"]["details"]["subcode"],
            "IDEMPOTENCY_IN_PROGRESS"
        );
        api.step(60);
    };
    let (answer, ()) =
        tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(slow, made) }).await.unwrap();
    assert_eq!((answer.status, api.jobs_made()), (202, 1));
    assert_eq!(api.generate("k", &body).await.text, answer.text);
}

#[tokio::test]
async fn shares_strike_at_the_rate_they_say_and_can_be_changed_while_it_runs() {
    let api = Api::start(Options { faults: [(Fault::Error500, 0.5)].into(), ..Options::default() }).await;
    for number in 0..100 {
        api.generate(&number.to_string(), &plain()).await;
    }
    let struck = api.running.account().faults["error-500"];
    assert!((30..=70).contains(&struck), "{struck}");
    assert_eq!(api.put("/_sandbox/faults", &json!({ "error-501": 0.5 })).await.status, 422);
    assert_eq!(api.put("/_sandbox/faults", &json!({ "cut-json": 1.5 })).await.status, 422);
    assert_eq!(
        api.put("/_sandbox/faults", &json!({ "read-error-500": 1.0 })).await.json(),
        json!({ "read-error-500": 1.0 })
    );
    assert_eq!(api.generate("last", &plain()).await.status, 202);
    assert_eq!(api.get("/v1/credits").await.status, 500);
}

#[tokio::test]
async fn a_container_can_have_a_status_nobody_knows_and_a_list_can_lag() {
    let api = Api::start(Options { list_lag_seconds: 30.0, ..Options::default() }).await;
    let started = api.generate("k", &brief(&json!({ "seconds": 100, "unknownStatus": true }))).await;
    let list = "/v1/projects/p1/content";
    assert_eq!(api.get(list).await.json()["items"], json!([]));
    api.step(85);
    assert_eq!(
        api.get(&format!("/v1/content/{}", started.containers()[0])).await.json()["status"],
        "polishing"
    );
    assert_eq!(api.get(list).await.json()["items"][0]["status"], "generating");
    api.step(15);
    assert_eq!(
        api.get(&format!("/v1/content/{}", started.containers()[0])).await.json()["status"],
        "completed"
    );
    assert_ne!(api.get(list).await.json()["items"][0]["status"], "completed");
}

#[tokio::test]
async fn a_brief_can_ask_to_be_refused() {
    let api = Api::start(Options::default()).await;
    for (code, status) in
        [("MODERATION_BLOCKED", 422), ("VALIDATION_FAILED", 422), ("NOT_FOUND", 404), ("NOVEL_CODE", 422)]
    {
        let refused = api.generate(code, &brief(&json!({ "refuse": code }))).await;
        assert_eq!((refused.status, refused.code()), (status, code.to_owned()));
    }
    let unreadable = api.generate("typo", &striking("acepted-reset")).await;
    assert!(
        unreadable.status == 422 && unreadable.text.contains("unknown fault `acepted-reset`"),
        "{unreadable:?}"
    );
    assert_eq!(api.jobs_made(), 0);
}

async fn struck(api: &Api, method: Method, path: &str, faults: &str, key: &str) -> Got {
    let headers = [("x-sandbox-fault", faults), ("idempotency-key", key)];
    let body = if method == Method::POST { plain().to_string() } else { String::new() };
    api.send(method, path, &headers, &body).await
}

#[tokio::test]
async fn a_request_can_ask_for_a_fault_that_strikes_it_and_no_other() {
    let api = Api::start(Options::default()).await;
    let starts = "/v1/projects/p1/content";
    assert_eq!(struck(&api, Method::POST, starts, "error-500", "k").await.status, 500);
    assert_eq!(api.jobs_made(), 0);
    for _ in 0..2 {
        assert_eq!(struck(&api, Method::POST, starts, "accepted-500", "k").await.status, 500);
    }
    let started = api.generate("k", &plain()).await;
    assert_eq!((started.status, api.jobs_made()), (202, 1));
    let path = format!("/v1/jobs/{}", started.job());
    for (fault, status) in [("read-error-502-html", 502), ("kill-switch", 503), ("unknown-code-403", 403)] {
        assert_eq!(struck(&api, Method::GET, &path, fault, "").await.status, status, "{fault}");
        assert_eq!(api.get(&path).await.status, 200);
    }
    assert_eq!(struck(&api, Method::GET, &path, "read-odd-retry-after", "").await.code(), "RATE_LIMITED");
    let cancel = format!("{path}/cancel");
    assert_eq!(struck(&api, Method::POST, &cancel, "error-500", "c").await.status, 500);
    assert_eq!(struck(&api, Method::POST, &cancel, "cancel-ignored", "c").await.status, 202);
    api.step(100);
    assert_eq!(api.get(&path).await.json()["status"], "completed");
    let marked = struck(&api, Method::POST, starts, "unknown-status", "u").await;
    api.step(85);
    let record = api.get(&format!("/v1/content/{}", marked.containers()[0])).await.json();
    assert_eq!(record["status"], "polishing");
    assert_eq!(api.running.account().faults["accepted-500"], 2);
}

#[tokio::test]
async fn a_fault_that_cannot_strike_is_refused_because_a_test_that_asks_in_vain_proves_nothing() {
    let api = Api::start(Options::default()).await;
    let starts = "/v1/projects/p1/content";
    for (method, path, faults) in [
        (Method::POST, starts, "error-501"),
        (Method::POST, starts, "slow,read-reset"),
        (Method::GET, starts, "accepted-500"),
        (Method::GET, starts, "unknown-status"),
        (Method::POST, "/v1/content/c/approve", "cancel-ignored"),
    ] {
        assert_eq!(struck(&api, method, path, faults, faults).await.code(), "VALIDATION_FAILED", "{faults}");
    }
    assert!(api.generate("k", &striking("read-reset")).await.text.contains("strikes reads only"));
    assert_eq!(api.jobs_made(), 0);
}

#[tokio::test]
async fn each_odd_retry_after_can_be_chosen() {
    let api = Api::start(Options::default()).await;
    let expected = [
        ("odd-retry-after-date", Some("Sun, 01 Mar 2026 12:00:02 GMT")),
        ("odd-retry-after-absent", None),
        ("odd-retry-after-zero", Some("0")),
        ("odd-retry-after-huge", Some("99999999999")),
        ("odd-retry-after-negative", Some("-5")),
        ("odd-retry-after-nonsense", Some("soon")),
    ];
    for (fault, retry_after) in expected {
        let limited = api.generate(fault, &striking(fault)).await;
        assert_eq!((limited.status, limited.code()), (429, "RATE_LIMITED".to_owned()));
        assert_eq!(limited.headers.get("retry-after").map(String::as_str), retry_after, "{fault}");
    }
}

#[tokio::test]
async fn a_wished_refusal_has_the_status_and_the_details_of_its_code() {
    let api = Api::start(Options::default()).await;
    for (code, status) in [
        ("UNAUTHENTICATED", 401),
        ("BILLING_EXHAUSTED", 402),
        ("FORBIDDEN_SCOPE", 403),
        ("CONFLICT", 409),
        ("RATE_LIMITED", 429),
        ("KILL_SWITCH", 503),
    ] {
        let refused = api.generate(code, &brief(&json!({ "refuse": code }))).await;
        assert_eq!((refused.status, refused.code()), (status, code.to_owned()));
        if code == "BILLING_EXHAUSTED" {
            assert_eq!(refused.json()["error"]["details"]["required"], 120);
        }
    }
}
