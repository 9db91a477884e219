//! Both ways in which the API recognizes a repeat, as the worker relies on them: the key for a day, the body's `id` for
//! ever.

use briefd::job::{Trouble, Verdict, Wait, verdict};
use briefd::sandbox::Options;
use serde_json::{Value, json};

use super::served::{Api, brief};

const ID: &str = "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39";
const DAY_SECONDS: u64 = 24 * 3600;

fn with_id(topic: &str) -> Value {
    let mut body = brief(&json!({"seconds": 100}));
    body["id"] = json!(ID);
    body["brief"]["topic"] = json!(topic);
    body
}

fn without_id(topic: &str) -> Value {
    let mut body = with_id(topic);
    body.as_object_mut().unwrap().remove("id");
    body
}

fn code(trouble: &Trouble) -> &str {
    match trouble {
        Trouble::Refusal(refusal) => &refusal.code,
        Trouble::NotConnected(_) | Trouble::NoAnswer(_) => panic!("{trouble:?}"),
    }
}

#[tokio::test]
async fn the_same_key_and_bytes_get_the_first_answer_verbatim_for_a_day() {
    let api = Api::start(Options::default()).await;
    let (path, body) = ("/v1/projects/prj_1/content", without_id("Runs").to_string());
    let first = api.post(path, "k", &body).await;
    api.step(DAY_SECONDS - 1);
    let again = api.post(path, "k", &body).await;
    assert_eq!((again.status, again.text), (first.status, first.text), "still saying that it runs");
    api.step(1);
    assert_eq!(api.post(path, "k", &body).await.status, 202);
    assert_eq!(api.running.account().jobs_made, 2, "after a day a key alone protects nobody");
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict_that_leads_to_a_look_up() {
    let api = Api::start(Options::default()).await;
    api.submit(1, &without_id("Runs")).await.unwrap();
    let trouble = api.submit(1, &without_id("Walks")).await.unwrap_err();
    assert_eq!((code(&trouble), verdict(&trouble)), ("IDEMPOTENCY_CONFLICT", Verdict::SeenBefore));
    assert_eq!(api.running.account().jobs_made, 1);
}

#[tokio::test]
async fn the_same_id_and_brief_get_the_first_answer_under_any_key_and_however_late() {
    let api = Api::start(Options::default()).await;
    let first = api.submit(1, &with_id("Runs")).await.unwrap();
    assert_eq!(api.submit(2, &with_id("Runs")).await.unwrap(), first);
    api.step(30 * DAY_SECONDS);
    assert_eq!(api.submit(1, &with_id("Runs")).await.unwrap(), first);
    assert_eq!(api.running.account().jobs_made, 1);
}

#[tokio::test]
async fn the_same_id_with_another_brief_is_a_conflict_that_leads_to_a_look_up() {
    let api = Api::start(Options::default()).await;
    api.submit(1, &with_id("Runs")).await.unwrap();
    let trouble = api.submit(2, &with_id("Walks")).await.unwrap_err();
    assert_eq!((code(&trouble), verdict(&trouble)), ("CONFLICT", Verdict::SeenBefore));
    let there = api.client.container(ID).await.unwrap();
    assert_eq!(there.brief.unwrap()["topic"], "Runs", "the look-up tells whose it is");
    assert_eq!(api.running.account().jobs_made, 1);
}

#[tokio::test]
async fn a_repeat_while_the_first_call_is_being_served_is_told_to_come_again() {
    let api = Api::start(Options { in_flight_seconds: 30.0, ..Options::default() }).await;
    for (key, mut body) in [(1, with_id("Runs")), (2, without_id("Walks"))] {
        body["metadata"]["sandbox"]["faults"] = json!(["accepted-unanswered"]);
        assert_eq!(verdict(&api.submit(key, &body).await.unwrap_err()), Verdict::Unknown);
        let trouble = api.submit(key, &body).await.unwrap_err();
        assert_eq!(verdict(&trouble), Verdict::Wait(Wait::InProgress));
        let Trouble::Refusal(refusal) = trouble else { panic!("{trouble:?}") };
        assert_eq!(refusal.subcode(), Some("IDEMPOTENCY_IN_PROGRESS"));
        assert_eq!(refusal.retry_after.unwrap().as_secs(), 1);
        api.step(31);
        api.submit(key, &body).await.unwrap();
    }
    assert_eq!(api.running.account().jobs_made, 2, "one for each key");
}

#[tokio::test]
async fn a_key_belongs_to_its_api_key() {
    let keys = vec!["lp_test_one".to_owned(), "lp_test_two".to_owned()];
    let api = Api::start(Options { api_keys: keys, ..Options::default() }).await;
    let first = api.submit(1, &without_id("Runs")).await.unwrap();
    api.client.set_key("lp_test_two".into()).unwrap();
    assert_ne!(api.submit(1, &without_id("Runs")).await.unwrap(), first, "bought again");
    api.client.set_key("lp_test_one".into()).unwrap();
    let guarded = api.submit(3, &with_id("Runs")).await.unwrap();
    api.client.set_key("lp_test_two".into()).unwrap();
    assert_eq!(api.submit(3, &with_id("Runs")).await.unwrap(), guarded, "the id is known to all keys");
}
