//! The two ways in which a repeat is recognised.

use super::*;

const ID: &str = "0b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d";

fn with_id() -> Value {
    let mut body = plain();
    body["id"] = json!(ID);
    body
}

#[tokio::test]
async fn a_repeated_post_gets_the_first_answer_byte_for_byte_and_makes_no_second_job() {
    let api = Api::start(Options::default()).await;
    let first = api.generate("k", &plain()).await;
    assert_eq!(first.status, 202);
    api.step(1_000);
    let second = api.generate("k", &plain()).await;
    assert_eq!((second.status, &second.text), (202, &first.text));
    assert_eq!(second.json()["status"], "running");
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn a_key_with_another_body_is_a_conflict_and_leaves_the_first_answer_in_place() {
    let api = Api::start(Options::default()).await;
    let first = api.generate("k", &plain()).await;
    let other = api.generate("k", &brief(&json!({ "seconds": 101 }))).await;
    assert_eq!((other.status, other.code()), (409, "IDEMPOTENCY_CONFLICT".to_owned()));
    assert_eq!(api.generate("k", &plain()).await.text, first.text);
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_a_body_id_never() {
    let api = Api::start(Options::default()).await;
    let first = api.generate("k", &plain()).await;
    let named = api.generate("with id", &with_id()).await;
    assert_eq!(api.running.account().keys_remembered, 2);
    api.step(24 * 3_600 - 1);
    assert_eq!(api.generate("k", &plain()).await.text, first.text);
    api.step(1);
    assert_ne!(api.generate("k", &plain()).await.job(), first.job());
    assert_eq!(api.generate("with id", &with_id()).await.text, named.text);
    assert_eq!(api.generate("with id, other key", &with_id()).await.text, named.text);
    let account = api.running.account();
    assert_eq!(
        (account.jobs_made, account.jobs_by_key["k"].len(), account.jobs_by_key["with id"].len()),
        (3, 2, 1)
    );
}

#[tokio::test]
async fn a_body_id_with_another_brief_or_in_another_project_is_a_conflict() {
    let api = Api::start(Options::default()).await;
    api.generate("k1", &with_id()).await;
    let mut other = with_id();
    other["brief"]["topic"] = json!("Evening runs");
    assert_eq!(api.generate("k2", &other).await.code(), "CONFLICT");
    assert_eq!(api.post("/v1/projects/p2/content", "k3", &with_id()).await.code(), "CONFLICT");
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn keys_are_kept_for_each_api_key_and_endpoint_apart_and_ids_are_not() {
    let options = Options { api_keys: vec!["one".to_owned(), "two".to_owned()], ..Options::default() };
    let api = Api::start(options).await;
    let first = api.generate("k", &plain()).await;
    let named = api.generate("n", &with_id()).await;
    let other_key = [("x-api-key", "two"), ("idempotency-key", "k")];
    let second = api.send(Method::POST, "/v1/projects/p1/content", &other_key, &plain().to_string()).await;
    assert_ne!(second.job(), first.job());
    assert_ne!(api.post("/v1/projects/p2/content", "k", &plain()).await.job(), first.job());
    let bearer = [("authorization", "Bearer two"), ("idempotency-key", "n")];
    let again = api.send(Method::POST, "/v1/projects/p1/content", &bearer, &with_id().to_string()).await;
    assert_eq!(again.text, named.text);
}

#[tokio::test]
async fn a_refusal_after_the_look_up_is_replayed_with_its_request_id_and_a_429_is_not() {
    let api = Api::start(Options { running_cap: Some(1), ..Options::default() }).await;
    let invalid = json!({ "brief": {}, "variantCount": 9 });
    let refused = api.generate("bad", &invalid).await;
    assert_eq!((refused.status, refused.code()), (422, "VALIDATION_FAILED".to_owned()));
    assert_eq!(api.generate("bad", &invalid).await.text, refused.text);
    api.generate("one", &plain()).await;
    let capped = api.generate("two", &plain()).await;
    assert_eq!(
        (capped.status, capped.code(), capped.headers["retry-after"].as_str()),
        (429, "RATE_LIMITED".to_owned(), "5")
    );
    api.step(101);
    assert_eq!(api.generate("two", &plain()).await.status, 202);
}

#[tokio::test]
async fn a_duplicate_while_the_lost_first_call_is_still_served_is_told_so_and_gets_its_answer_later() {
    let api = Api::start(Options { in_flight_seconds: 10.0, ..Options::default() }).await;
    let mut body = with_id();
    body["metadata"]["sandbox"]["faults"] = json!(["accepted-reset"]);
    assert!(api.raw_generate("k", &body).await.is_err());
    for (key, body) in [("k", &body), ("another key, the same id", &with_id())] {
        let early = api.generate(key, body).await;
        assert_eq!(
            (early.status, early.code(), early.headers["retry-after"].as_str()),
            (409, "CONFLICT".to_owned(), "1")
        );
        assert_eq!(early.json()["error"]["details"]["subcode"], "IDEMPOTENCY_IN_PROGRESS");
    }
    api.step(10);
    assert_eq!(api.generate("k", &body).await.job(), api.running.account().jobs[0].id);
    assert_eq!(api.jobs_made(), 1);
}

#[tokio::test]
async fn two_overlapping_posts_of_one_key_make_two_jobs_when_the_switch_says_so() {
    let options = Options { overlap_makes_two: true, in_flight_seconds: 60.0, ..Options::default() };
    let api = Api::start(options).await;
    let mut body = with_id();
    body["metadata"]["sandbox"]["faults"] = json!(["accepted-unanswered"]);
    assert!(
        api.try_send(Method::POST, "/v1/projects/p1/content", &[("idempotency-key", "k")], &body.to_string())
            .await
            .is_err()
    );
    api.step(59);
    assert_eq!(api.generate("k", &body).await.status, 202);
    let account = api.running.account();
    assert_eq!((account.jobs_made, account.jobs_by_key["k"].len()), (2, 2));
    api.step(1);
    let late = api.generate("k", &body).await;
    assert_eq!((late.containers(), late.job()), (vec![ID.to_owned()], account.jobs[0].id.clone()));
    assert_eq!(api.jobs_made(), 2);
}
