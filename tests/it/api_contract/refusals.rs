//! Every refusal that the sandbox can be made to give, on its way through the client: code, status, fields, verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use briefd::job::answer::{HoldReason, HoldScope};
use briefd::job::{NoAnswerKind, Refusal, Trouble, Verdict, Wait, verdict};
use briefd::layers::{ListQuery, TraceContext};
use briefd::sandbox::{Options, Tier};
use serde_json::{Value, json};
use uuid::Uuid;

use super::served::{Api, PROJECT, brief};
use super::{client, fixture, settings, shape};

/// The refusal in a trouble, held against the envelope of a fixture.
fn refusal_like(name: &str, trouble: &Trouble) -> Refusal {
    let Trouble::Refusal(refusal) = trouble else { panic!("{name}: {trouble:?}") };
    let documented = &fixture(name)["answer"];
    let error = &documented["json"]["error"];
    assert_eq!(error["code"], refusal.code.as_str(), "{name}");
    assert_eq!(documented["status"], refusal.status, "{name}");
    assert!(refusal.request_id.is_some(), "{name}: every refusal can be asked about");
    let details = refusal.details.clone().unwrap_or(Value::Null);
    assert_eq!(shape::differences(&error["details"], &details), Vec::<String>::new(), "{name}");
    assert_eq!(error["details"].is_null(), details.is_null(), "{name}: {details}");
    let waits = !documented["headers"]["retry-after"].is_null();
    assert_eq!(waits, refusal.retry_after.is_some(), "{name}: Retry-After");
    assert_eq!(fixture(name)["made"]["verdict"], format!("{:?}", verdict(trouble)), "{name}");
    refusal.clone()
}

fn plain() -> Value {
    brief(&json!({"seconds": 100}))
}

#[tokio::test]
async fn what_is_wrong_with_the_account_is_served_and_read_as_documented() {
    let api = Api::start(Options { credits: Some(360), ..Options::default() }).await;
    let refused = async |key| api.submit(key, &plain()).await.unwrap_err();
    api.change("account", json!({"keyRevoked": true})).await;
    refusal_like("submit.refused-unauthenticated", &refused(1).await);
    refusal_like("submit.refused-unauthenticated", &api.client.whoami().await.unwrap_err());
    let stranger = client(&settings(&api.running.base_url, "lp_test_nobody"));
    refusal_like("submit.refused-unauthenticated", &stranger.container("c").await.unwrap_err());
    api.change("account", json!({"keyRevoked": false, "killSwitch": true})).await;
    refusal_like("submit.refused-kill-switch", &refused(1).await);
    assert_eq!(api.client.whoami().await.unwrap().kill_switch, Some(true));
    api.change("account", json!({"killSwitch": false, "balance": 30})).await;
    let refusal = refusal_like("submit.refused-billing-exhausted", &refused(2).await);
    assert_eq!(briefd::job::answer::required_credits(&refusal), Some(120));
    api.change("account", json!({"balance": 360})).await;
    api.submit(1, &plain()).await.expect("nothing of before is remembered");
    for scope in ["content:read", "content:write", "jobs:read", "jobs:cancel"] {
        let scopes: Vec<String> = ["content:read", "content:write", "jobs:read", "jobs:cancel"]
            .into_iter()
            .filter(|given| *given != scope)
            .map(str::to_owned)
            .collect();
        let api = Api::start(Options { scopes, ..Options::default() }).await;
        let trouble = match scope {
            "content:read" => api.client.list(PROJECT, &ListQuery::default()).await.unwrap_err(),
            "content:write" => api.submit(1, &plain()).await.unwrap_err(),
            "jobs:read" => api.client.job("j").await.unwrap_err(),
            _ => api.client.cancel_job("j").await.unwrap_err(),
        };
        let refusal = refusal_like("submit.refused-forbidden-scope", &trouble);
        assert_eq!(refusal.details, Some(json!({"requiredScope": scope})));
        assert!(api.client.whoami().await.is_ok());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_brief_is_served_and_read_as_documented() {
    let options = Options {
        projects: vec![PROJECT.to_owned(), "two".to_owned()],
        two_layers: vec!["two".to_owned()],
        ..Options::default()
    };
    let api = Api::start(options).await;
    let wrong: [(&str, Value); 9] = [
        ("variantCount", json!(6)),
        ("variantCount", json!(0)),
        ("format", json!("podcast")),
        ("brief", Value::Null),
        ("id", json!("not-a-uuid")),
        ("targetPlatforms", json!(["myspace"])),
        ("references", json!({"assetIds": vec!["a"; 21]})),
        ("budget", json!({"maxCredits": "many"})),
        ("metadata", json!([])),
    ];
    for (key, (field, value)) in (1..).zip(wrong) {
        let mut body = plain();
        body[field] = value;
        let trouble = api.submit(key, &body).await.unwrap_err();
        refusal_like("submit.refused-validation-failed-a", &trouble);
        let replay = api.submit(key, &body).await.unwrap_err();
        assert_eq!(replay, trouble, "decided once: the same answer, the same request id");
    }
    let elsewhere = async |project: &str, body: &Value| {
        let key = Uuid::from_u128(100);
        api.client.submit(project, key, &body.to_string(), TraceContext::default()).await.map(|_| ())
    };
    refusal_like("submit.refused-not-found", &elsewhere("none", &plain()).await.unwrap_err());
    refusal_like("submit.refused-conflict-of-layers", &elsewhere("two", &plain()).await.unwrap_err());
    let mut layered = plain();
    layered["projectLayerId"] = json!("lay_1");
    let key = Uuid::from_u128(101);
    api.client.submit("two", key, &layered.to_string(), TraceContext::default()).await.unwrap();
    let moderated = brief(&json!({"refuse": "MODERATION_BLOCKED"}));
    refusal_like("submit.refused-moderation-blocked", &api.submit(200, &moderated).await.unwrap_err());
    assert_eq!(api.running.account().jobs_made, 1, "no refusal made a job");
    for trouble in [
        api.client.job("none").await.map(|_| ()).unwrap_err(),
        api.client.container("none").await.map(|_| ()).unwrap_err(),
        api.client.progress("none").await.map(|_| ()).unwrap_err(),
        api.client.list("none", &ListQuery::default()).await.map(|_| ()).unwrap_err(),
        api.client.cancel_job("none").await.map(|_| ()).unwrap_err(),
    ] {
        refusal_like("job.not-found", &trouble);
        assert!(trouble.is_not_found());
    }
}

#[tokio::test]
async fn a_budget_below_the_price_is_refused_like_an_empty_wallet() {
    let api = Api::start(Options::default()).await;
    let mut body = plain();
    body["budget"] = json!({"maxCredits": 119});
    refusal_like("submit.refused-billing-exhausted", &api.submit(1, &body).await.unwrap_err());
}

#[tokio::test]
async fn a_full_bucket_says_how_long_and_the_wait_is_enough() {
    let api = Api::start(Options { tier: Tier::Standard, ..Options::default() }).await;
    for key in 1..=20 {
        api.submit(key, &plain()).await.unwrap();
    }
    let refusal = refusal_like("submit.refused-rate-limited", &api.submit(21, &plain()).await.unwrap_err());
    assert!(api.client.whoami().await.is_ok(), "reads have a bucket of their own");
    api.step(refusal.retry_after.unwrap().as_secs());
    api.submit(21, &plain()).await.expect("a refused start is not remembered under its key");
    let capped = Api::start(Options { running_cap: Some(1), ..Options::default() }).await;
    capped.submit(1, &plain()).await.unwrap();
    refusal_like("submit.refused-rate-limited", &capped.submit(2, &plain()).await.unwrap_err());
    capped.step(100);
    capped.submit(2, &plain()).await.expect("a job has ended");
}

#[tokio::test]
async fn every_code_that_a_brief_can_wish_for_gets_the_verdict_of_that_code() {
    let api = Api::start(Options::default()).await;
    let expected = [
        ("UNAUTHENTICATED", 401, Verdict::Hold(HoldScope::Account, HoldReason::Unauthenticated)),
        ("FORBIDDEN_SCOPE", 403, Verdict::Hold(HoldScope::Account, HoldReason::ForbiddenScope)),
        ("KILL_SWITCH", 503, Verdict::Hold(HoldScope::Account, HoldReason::KillSwitch)),
        ("BILLING_EXHAUSTED", 402, Verdict::Hold(HoldScope::Project, HoldReason::BillingExhausted)),
        ("RATE_LIMITED", 429, Verdict::Wait(Wait::RateLimited)),
        ("VALIDATION_FAILED", 422, Verdict::Refused),
        ("MODERATION_BLOCKED", 422, Verdict::Refused),
        ("NOT_FOUND", 404, Verdict::Refused),
        ("CONFLICT", 409, Verdict::SeenBefore),
        ("IDEMPOTENCY_CONFLICT", 409, Verdict::SeenBefore),
        ("SOMETHING_NEW", 422, Verdict::Refused),
    ];
    for (key, (code, status, meaning)) in (1..).zip(expected) {
        let trouble = api.submit(key, &brief(&json!({ "refuse": code }))).await.unwrap_err();
        let Trouble::Refusal(refusal) = &trouble else { panic!("{trouble:?}") };
        assert_eq!((refusal.code.as_str(), refusal.status, verdict(&trouble)), (code, status, meaning));
    }
    assert_eq!(api.running.account().jobs_made, 0);
}

#[tokio::test]
async fn no_odd_retry_after_of_the_sandbox_gets_through_unclamped() {
    let api = Api::start(Options::default()).await;
    api.change("faults", json!({"odd-retry-after": 1.0})).await;
    let mut waits = BTreeSet::new();
    for key in 0..40 {
        let trouble = api.submit(key, &plain()).await.unwrap_err();
        assert_eq!(verdict(&trouble), Verdict::Wait(Wait::RateLimited));
        let Trouble::Refusal(refusal) = trouble else { panic!("{trouble:?}") };
        waits.insert(refusal.retry_after.map(|wait| wait.as_secs()));
    }
    // Absent, negative and nonsense; 0; a date in two seconds, counted from the server's own time; a thousand years.
    assert_eq!(waits, BTreeSet::from([None, Some(1), Some(2), Some(600)]));
}

#[tokio::test]
async fn every_fault_that_follows_an_acceptance_is_unknown_and_the_same_post_buys_nothing_twice() {
    let unknown = [
        ("accepted-unanswered", Some(NoAnswerKind::Reset)),
        ("accepted-reset", Some(NoAnswerKind::Reset)),
        ("error-502-html", Some(NoAnswerKind::Unreadable)),
        ("cut-json", Some(NoAnswerKind::Unreadable)),
        ("accepted-500", None),
    ];
    for (fault, kind) in unknown {
        let api = Api::start(Options::default()).await;
        let body = brief(&json!({"seconds": 100, "faults": [fault]}));
        let trouble = api.submit(1, &body).await.unwrap_err();
        assert_eq!(verdict(&trouble), Verdict::Unknown, "{fault}: {trouble:?}");
        match (&trouble, kind) {
            (Trouble::NoAnswer(no_answer), Some(kind)) => assert_eq!(no_answer.kind, kind, "{fault}"),
            (Trouble::Refusal(refusal), None) => assert_eq!(refusal.status, 500, "{fault}"),
            _ => panic!("{fault}: {trouble:?}"),
        }
        let again = api.submit(1, &body).await.unwrap();
        let account = api.running.account();
        assert_eq!(account.jobs_made, 1, "{fault}");
        assert_eq!(account.jobs[0].id, again.job_id, "{fault}");
    }
}

#[tokio::test]
async fn every_fault_that_comes_before_the_work_makes_no_job_and_means_what_it_says() {
    let faults = [
        ("reset-before", Verdict::Unknown),
        ("error-500", Verdict::Unknown),
        ("unknown-code", Verdict::Refused),
        ("unknown-code-403", Verdict::Hold(HoldScope::Account, HoldReason::ForbiddenScope)),
        ("unknown-code-500", Verdict::Unknown),
        ("kill-switch", Verdict::Hold(HoldScope::Account, HoldReason::KillSwitch)),
    ];
    for (fault, meaning) in faults {
        let api = Api::start(Options::default()).await;
        let body = brief(&json!({"seconds": 100, "faults": [fault]}));
        assert_eq!(verdict(&api.submit(1, &body).await.unwrap_err()), meaning, "{fault}");
        assert_eq!(api.running.account().jobs_made, 0, "{fault}");
        api.submit(1, &body).await.unwrap_or_else(|trouble| panic!("{fault} is over: {trouble:?}"));
    }
}

#[tokio::test]
async fn a_read_that_goes_wrong_never_says_that_something_is_not_there() {
    for fault in ["read-reset", "read-error-500", "read-error-502-html", "read-cut-json"] {
        let api = Api::start(Options::default()).await;
        let accepted = api.submit(1, &plain()).await.unwrap();
        let container = &accepted.container_ids[0];
        api.change("faults", json!({ fault: 1.0 })).await;
        let troubles = [
            api.client.job(&accepted.job_id).await.map(|_| ()),
            api.client.container(container).await.map(|_| ()),
            api.client.progress(container).await.map(|_| ()),
            api.client.list(PROJECT, &ListQuery::default()).await.map(|_| ()),
            api.client.whoami().await.map(|_| ()),
            api.client.credits().await.map(|_| ()),
        ];
        for trouble in troubles {
            let trouble = trouble.unwrap_err();
            assert_eq!(verdict(&trouble), Verdict::Unknown, "{fault}: {trouble:?}");
            assert!(!trouble.is_not_found(), "{fault}");
        }
        api.change("faults", json!({})).await;
        assert!(api.client.container(container).await.is_ok());
    }
}

#[tokio::test]
async fn an_answer_that_is_too_slow_is_a_timeout_and_its_job_is_found_by_the_same_post() {
    let api = Api::start(Options::default()).await;
    let body = brief(&json!({"seconds": 100, "faults": ["slow"], "slowSeconds": 600}));
    let impatient = client(&super::config::Layers {
        request_timeout: Duration::from_secs(1),
        ..settings(&api.running.base_url, &api.running.api_key)
    });
    let submit = async |client: &briefd::layers::Client| {
        client.submit(PROJECT, Uuid::from_u128(1), &body.to_string(), TraceContext::default()).await
    };
    let trouble = submit(&impatient).await.unwrap_err();
    assert!(matches!(&trouble, Trouble::NoAnswer(it) if it.kind == NoAnswerKind::Timeout), "{trouble:?}");
    let overlapping = submit(&api.client).await.unwrap_err();
    refusal_like("submit.refused-conflict-in-progress", &overlapping);
    api.step(600);
    submit(&api.client).await.unwrap();
    assert_eq!(api.running.account().jobs_made, 1);
}
