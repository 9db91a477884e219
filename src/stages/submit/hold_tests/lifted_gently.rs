//! Keys, kill switches and organizations; and how every hold is lifted.

use std::sync::atomic::Ordering;

use super::*;
use crate::job::{Refusal, Trouble};
use crate::ledger::{BindOrganization, HoldScope, LiftHold, SetHold};
use crate::stages::belongs;
use crate::stages::holds::{keep_reads, look, note_refusal};

fn account(reason: &str, easing: bool) -> Vec<(String, String, bool)> {
    vec![("account".to_owned(), reason.to_owned(), easing)]
}

fn reads_held(bench: &Bench) -> bool {
    bench.stage.desk.reads_held.load(Ordering::Acquire)
}

fn refused(code: &str, status: u16) -> Trouble {
    let message = "no".to_owned();
    let code = code.to_owned();
    Trouble::Refusal(Refusal { status, code, message, request_id: None, details: None, retry_after: None })
}

#[tokio::test]
async fn a_dead_key_holds_reads_too_is_asked_about_once_a_minute_and_is_lifted_one_job_at_a_time() {
    let mut bench = Bench::new(Options::default()).await;
    bench.send("p", 100, json!({})).await;
    bench.api.change("account", json!({"keyRevoked": true})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, account("UNAUTHENTICATED", false));
    assert!(reads_held(&bench) && bench.holds().await[0].stops_reads);
    let posts = bench.api.posts();
    assert!(posts <= 32);
    bench.pass(MINUTE * 10).await;
    let seen = bench.api.account();
    assert_eq!((seen.posts.generate, seen.reads.whoami), (posts, 10));
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE state = 'ready'").await, 100);

    bench.api.change("account", json!({"keyRevoked": false})).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.held().await, [], "reading told that it is over, one job has shown it");
    assert!(!reads_held(&bench));
    bench.settle().await;
    assert_eq!(bench.api.account().jobs_made, 100);
}

#[tokio::test]
async fn what_only_a_job_can_tell_takes_two_of_them() {
    let options = Options { serves_account_endpoints: false, ..Options::default() };
    let mut bench = Bench::new(options).await;
    bench.send("p", 100, json!({})).await;
    bench.api.change("faults", json!({"unknown-code-403": 1.0})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, account("FORBIDDEN_SCOPE", false));
    assert!(!reads_held(&bench), "what was paid for is still followed");
    bench.api.change("faults", json!({})).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.held().await, account("FORBIDDEN_SCOPE", true));
    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.held().await, []);
    assert!(bench.turn().await > 1);
}

#[tokio::test]
async fn a_trouble_that_comes_back_while_it_is_lifted_holds_again_until_the_next_test() {
    let mut bench = Bench::new(Options::default()).await;
    bench.send("p", 100, json!({})).await;
    // `whoami` says that nothing is switched off.
    bench.api.change("faults", json!({"kill-switch": 1.0})).await;
    bench.settle().await;
    let posts = bench.api.posts();
    bench.pass(MINUTE * 20).await;
    assert_eq!(bench.held().await, account("KILL_SWITCH", false));
    assert!(reads_held(&bench));
    assert_eq!(bench.api.posts(), posts + 4, "one job each five minutes");
    assert_eq!(bench.api.account().reads.whoami, 4);
}

#[tokio::test]
async fn a_switched_off_organization_is_asked_about_every_five_minutes_and_goes_on() {
    let mut bench = Bench::new(Options::default()).await;
    bench.send("p", 40, json!({})).await;
    bench.api.change("account", json!({"killSwitch": true})).await;
    bench.settle().await;
    let posts = bench.api.posts();
    bench.pass(MINUTE * 20).await;
    assert_eq!(bench.held().await, account("KILL_SWITCH", false));
    assert_eq!((bench.api.posts(), bench.api.account().reads.whoami), (posts, 4));
    bench.api.change("account", json!({"killSwitch": false})).await;
    bench.pass(MINUTE * 5).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 40));
}

#[tokio::test]
async fn a_hold_that_is_over_with_nothing_to_start_is_lifted_at_once() {
    let mut bench = Bench::new(Options::default()).await;
    bench.api.change("account", json!({"keyRevoked": true})).await;
    note_refusal(&bench.stage.desk, MINUTE, &refused("UNAUTHENTICATED", 401)).await;
    assert!(reads_held(&bench));
    bench.pass(MINUTE * 2).await;
    assert_eq!(bench.held().await, account("UNAUTHENTICATED", false));
    bench.api.change("account", json!({"keyRevoked": false})).await;
    bench.pass(MINUTE).await;
    assert_eq!((bench.held().await, bench.api.posts()), (vec![], 0));
    assert!(!reads_held(&bench));
}

#[tokio::test]
async fn a_refused_read_holds_what_a_refused_start_would_and_one_without_its_scope_nothing() {
    let mut bench = Bench::new(Options::default()).await;
    let desk = bench.stage.desk.clone();
    note_refusal(&desk, MINUTE, &refused("FORBIDDEN_SCOPE", 403)).await;
    note_refusal(&desk, MINUTE, &refused("NOT_FOUND", 404)).await;
    assert_eq!(bench.held().await, []);
    assert!(desk.reads.forbidden(desk.clock.now_ms()).unwrap().contains("FORBIDDEN_SCOPE: no"));
    bench.clock.advance(MINUTE * 6);
    assert_eq!(desk.reads.forbidden(desk.clock.now_ms()), None, "it has not been refused lately");

    note_refusal(&desk, MINUTE, &refused("KILL_SWITCH", 503)).await;
    assert_eq!(bench.held().await, account("KILL_SWITCH", false));
    let first = bench.holds().await[0].probe_ms;
    bench.clock.advance(MINUTE);
    note_refusal(&desk, MINUTE, &refused("KILL_SWITCH", 503)).await;
    assert_eq!(bench.holds().await[0].probe_ms, first, "its test does not move away");
    assert_eq!(bench.turn().await, 0);
}

#[tokio::test]
async fn under_another_organizations_key_nothing_starts_and_nothing_is_read() {
    let mut bench = Bench::new(Options::default()).await;
    let desk = bench.stage.desk.clone();
    let (organization, key) = ("org_ours".to_owned(), "key".to_owned());
    desk.ledger.write(BindOrganization { organization, key }).await.unwrap();
    bench.send("p", 40, json!({})).await;
    assert!(!belongs(&desk, MINUTE, ("org_sandbox".to_owned(), "key".to_owned())).await);
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.held().await, account("OTHER_ORGANIZATION", false));
    assert!(reads_held(&bench));
    assert_eq!((bench.api.posts(), bench.api.account().reads.whoami), (0, 5));
}

#[tokio::test]
async fn under_a_key_that_is_new_to_the_ledger_nothing_leaves_before_it_is_told_whose_it_is() {
    let mut bench = Bench::new(Options::default()).await;
    let desk = bench.stage.desk.clone();
    let stage = bench.stage.clone();
    assert!(belongs(&desk, MINUTE, ("org_sandbox".to_owned(), "the key before".to_owned())).await);
    bench.api.change("faults", json!({"read-error-500": 1.0})).await;
    stage.distrust_new_key(&mut bench.under_way.tests).await;
    bench.send("p", 3, json!({})).await;
    bench.settle().await;
    bench.pass(MINUTE).await;
    assert!(reads_held(&bench) && bench.api.account().reads.whoami > 2);
    assert_eq!(bench.api.posts(), 0);
    bench.api.change("faults", json!({})).await;
    bench.pass(MINUTE).await;
    assert_eq!((reads_held(&bench), bench.api.account().jobs_made), (false, 3));
    // From now on it is known, whatever becomes of `whoami`.
    bench.api.change("faults", json!({"read-error-500": 1.0})).await;
    stage.distrust_new_key(&mut bench.under_way.tests).await;
    bench.send("q", 1, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.api.account().jobs_made, 4);
}

#[tokio::test]
async fn what_was_claimed_under_another_key_does_not_leave_under_this_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "lp_test_ours").unwrap();
    let options = Options { api_keys: vec!["lp_test_ours".to_owned()], ..Options::default() };
    let bench = Bench::with(options, |settings| settings.layers.api_key = ApiKey::File(file.clone())).await;
    bench.send("p", 1, json!({})).await;
    let stage = bench.stage.clone();
    let mut under_way = UnderWay::default();
    let plan = stage.plan(1, &mut under_way).await.unwrap();
    let claimed = stage.desk.ledger.write(Claim { limit: 1, ..plan.claim }).await.unwrap().claimed.remove(0);
    std::fs::write(&file, "lp_test_theirs").unwrap();
    assert!(stage.api.reload_key().unwrap());
    let permit = stage.limits.acquire(Class::Start).await;
    stage.attempt(claimed, permit, &InForce { holds: Vec::new(), at_ms: 0 }).await;
    assert_eq!(bench.api.posts(), 0);
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE state = 'ready' AND claim IS NULL").await, 1);
}

#[tokio::test]
async fn a_key_file_that_names_another_organization_is_noticed_before_anything_is_sent_under_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "lp_test_ours").unwrap();
    let options = |key: &str, organization: &str| Options {
        api_keys: vec![key.to_owned()],
        organization_id: organization.to_owned(),
        credits: Some(50),
        replay_billing: false,
        ..Options::default()
    };
    let ours = options("lp_test_ours", "org_ours");
    let mut bench = Bench::with(ours, |settings| settings.layers.api_key = ApiKey::File(file.clone())).await;
    let desk = bench.stage.desk.clone();
    assert!(belongs(&desk, MINUTE, ("org_ours".to_owned(), bench.stage.api.key_fingerprint())).await);
    bench.send("p", 3, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.held().await[0].1, "BILLING_EXHAUSTED");
    let posts = bench.api.posts();

    // The same address, for whom this key is right.
    let theirs = Sandbox::new(options("lp_test_theirs", "org_theirs"), bench.clock.clone());
    bench.api.go_away().await;
    let ours = std::mem::replace(&mut bench.api.sandbox, theirs);
    bench.api.come_back().await;
    std::fs::write(&file, "lp_test_theirs").unwrap();
    bench.api.change("account", json!({"balance": 100_000})).await;
    bench.pass(MINUTE * 5).await;
    assert!(bench.held().await.iter().any(|(_, reason, _)| reason == "OTHER_ORGANIZATION"));
    assert!(reads_held(&bench));
    let seen = bench.api.account();
    assert_eq!(seen.posts.generate, 0);
    assert!(seen.reads.whoami <= 6, "{}", seen.reads.whoami);

    bench.api.go_away().await;
    bench.api.sandbox = ours;
    bench.api.come_back().await;
    std::fs::write(&file, "lp_test_ours").unwrap();
    bench.api.change("account", json!({"balance": 100_000})).await;
    assert_eq!(bench.api.posts(), posts);
    bench.pass(MINUTE * 3).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 3));
    assert!(!reads_held(&bench));
}

#[tokio::test]
async fn a_new_key_of_which_nobody_tells_whose_it_is_starts_nothing_until_somebody_does() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "lp_test_old").unwrap();
    let keys = vec!["lp_test_old".to_owned(), "lp_test_new".to_owned()];
    let options = Options { api_keys: keys, credits: Some(90), replay_billing: false, ..Options::default() };
    let mut bench =
        Bench::with(options, |settings| settings.layers.api_key = ApiKey::File(file.clone())).await;
    bench.send("p", 3, json!({})).await;
    bench.send("q", 3, json!({"notBefore": "2026-05-01T00:00:30Z", "format": "slideshow_remix"})).await;
    bench.settle().await;
    assert_eq!(bench.held().await[0].0, "project p");
    std::fs::write(&file, "lp_test_new").unwrap();
    bench.api.change("account", json!({"balance": 100_000})).await;
    bench.api.change("faults", json!({"read-reset": 1.0})).await;
    let posts = bench.api.posts();
    bench.clock.advance(MINUTE);
    bench.settle().await;
    assert!(reads_held(&bench));
    bench.pass(MINUTE).await;
    assert_eq!(bench.api.posts(), posts);
    bench.api.change("faults", json!({})).await;
    bench.pass(MINUTE * 2).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 6));
    assert!(!reads_held(&bench));
}

#[tokio::test]
async fn what_an_operator_holds_is_neither_tested_nor_tried() {
    let mut bench = Bench::new(Options::default()).await;
    bench.send("p", 5, json!({})).await;
    bench.send("q", 5, json!({})).await;
    let hold = Hold {
        scope: HoldScope::Project("p".to_owned()),
        reason: "OPERATOR".to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: false,
        by_api: false,
        since_ms: 0,
        probe_ms: None,
        easing: false,
    };
    bench.stage.desk.ledger.write(SetHold(hold)).await.unwrap();
    bench.pass(MINUTE * 10).await;
    let seen = bench.api.account();
    assert_eq!((seen.jobs_made, seen.posts.generate, seen.reads.whoami), (5, 5, 0));
    assert_eq!(bench.held().await.len(), 1);
}

#[tokio::test]
async fn a_look_at_the_holds_that_is_older_than_a_new_one_lets_no_read_go() {
    let bench = Bench::new(Options::default()).await;
    let desk = &bench.stage.desk;
    let looked = look(desk).await.unwrap();
    note_refusal(desk, MINUTE, &refused("UNAUTHENTICATED", 401)).await;
    looked.keep_reads(desk);
    assert!(reads_held(&bench));
    let lift = LiftHold { scope: HoldScope::Account, reason: None, now_ms: 0 };
    desk.ledger.write(lift).await.unwrap();
    keep_reads(desk).await.unwrap();
    assert!(!reads_held(&bench));
}

#[tokio::test]
async fn a_process_knows_from_its_start_that_reads_are_held() {
    let bench = Bench::new(Options::default()).await;
    note_refusal(&bench.stage.desk, MINUTE, &refused("UNAUTHENTICATED", 401)).await;
    let mut settings = Settings::builtin();
    settings.layers.base_url = Url::parse(&format!("http://{}/", bench.api.address)).unwrap();
    settings.ledger.path = bench.folder.path().join("briefd.db");
    let Bench { stage, under_way, folder, .. } = bench;
    drop((stage, under_way));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let worker = loop {
        match Worker::open(settings.clone(), Input::Queue, Clock::system()).await {
            Ok(worker) => break worker,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert!(worker.desk.reads_held.load(Ordering::Acquire));
    drop(folder);
}
