//! What is claimed, and in which order.

use std::collections::BTreeSet;

use super::*;
use crate::ledger::claim::{EXPIRED, NEXT_DUE, PROBE, REPEAT, SILENT};
use crate::ledger::inspect::UNREAD;
use crate::ledger::look_ups::HELD_UNKNOWN;
use crate::ledger::outbox::PENDING;
use crate::ledger::turns::{BATCH, DUE, OLDEST, PRIORITY};

fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|job| job.brief_id.as_str()).collect()
}

#[tokio::test]
async fn the_highest_priority_goes_first_then_arrival() {
    let bench = Bench::new().await;
    for (number, priority) in [(1, 4), (2, 9), (3, 0), (4, 9), (5, 4)] {
        bench.send(numbered(number, json!({"priority": priority}))).await;
    }
    let first = bench.write(bench.claim_of(2)).await.unwrap().claimed;
    assert_eq!(ids(&first), ["b2", "b4"]);
    assert_eq!(ids(&bench.claim().await), ["b1", "b5", "b3"]);
}

/// The briefs of the next `count` starts, one claim at a time as permits come.
async fn starts(bench: &Bench, turn: &mut Turn, count: usize) -> Vec<String> {
    let mut started = Vec::new();
    while started.len() < count {
        let claim = Claim { submitting_max: 10_000, turn: turn.clone(), ..bench.claim_of(1) };
        let work = bench.write(claim).await.unwrap();
        *turn = work.turn;
        let Some(job) = work.claimed.into_iter().next() else { break };
        started.push(format!("{}/{}", job.batch_id, job.brief_id));
    }
    started
}

#[tokio::test]
async fn five_briefs_behind_five_thousand_are_among_the_next_twelve_starts() {
    let bench = Bench::new().await;
    let large: Vec<Value> = (0..5_000).map(|n| numbered(n, json!({"batchId": "large"}))).collect();
    bench.send_all(large.iter().map(|brief| received(&brief.to_string())).collect()).await;
    let mut turn = Turn::default();
    assert_eq!(starts(&bench, &mut turn, 33).await.len(), 33);
    for number in 0..5 {
        bench.send(numbered(number, json!({"batchId": "small"}))).await;
    }
    let next = starts(&bench, &mut turn, 12).await;
    assert_eq!(next.iter().filter(|id| id.starts_with("small/")).count(), 5, "{next:?}");
    // Also when all permits come at once.
    for number in 5..10 {
        bench.send(numbered(number, json!({"batchId": "small"}))).await;
    }
    let claim = Claim { submitting_max: 10_000, turn, ..bench.claim_of(12) };
    let next = bench.write(claim).await.unwrap().claimed;
    assert_eq!(next.iter().filter(|job| job.batch_id == "small").count(), 5);
}

#[tokio::test]
async fn batches_and_projects_take_turns_and_within_each_arrival_decides() {
    let bench = Bench::new().await;
    for (number, project, batch) in
        [(1, "p", "a"), (2, "p", "a"), (3, "p", "b"), (4, "q", "a"), (5, "p", "b"), (6, "q", "a")]
    {
        bench.send(numbered(number, json!({"projectId": project, "batchId": batch}))).await;
    }
    let next = starts(&bench, &mut Turn::default(), 6).await;
    assert_eq!(next, ["a/b1", "b/b3", "a/b4", "a/b2", "b/b5", "a/b6"]);
}

#[tokio::test]
async fn one_start_in_ten_goes_to_the_oldest_so_that_urgent_briefs_starve_nobody() {
    let bench = Bench::new().await;
    bench.send(numbered(0, json!({"priority": 0, "batchId": "old"}))).await;
    let urgent: Vec<Value> =
        (1..=40).map(|n| numbered(n, json!({"priority": 9, "batchId": "urgent"}))).collect();
    bench.send_all(urgent.iter().map(|brief| received(&brief.to_string())).collect()).await;
    let next = starts(&bench, &mut Turn::default(), 20).await;
    assert_eq!(next.iter().position(|id| id == "old/b0"), Some(9), "{next:?}");
}

#[tokio::test]
async fn what_is_not_due_yet_keeps_nobody_behind_it_waiting() {
    let bench = Bench::new().await;
    let later: Vec<Value> = (0..300)
        .map(|n| {
            numbered(
                n,
                json!({"priority": 9, "batchId": format!("later-{n}"), "notBefore": "2099-01-01T00:00:00Z"}),
            )
        })
        .collect();
    bench.send_all(later.iter().map(|brief| received(&brief.to_string())).collect()).await;
    bench.send(numbered(1, json!({"priority": 9, "batchId": "now"}))).await;
    bench.send(numbered(2, json!({"priority": 1, "batchId": "now"}))).await;
    let mut turn = Turn::default();
    let (mut next, mut more) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let claim = Claim { turn, ..bench.claim_of(1) };
        let work = bench.write(claim).await.unwrap();
        next.extend(work.claimed.into_iter().map(|job| job.brief_id));
        more.push(work.more);
        turn = work.turn;
    }
    next.sort();
    assert_eq!(next, ["b1", "b2"]);
    // Nobody idles over what was not looked at, nor searches for ever through what is not due.
    assert_eq!(more, [true, false, false]);
}

#[tokio::test]
async fn repeats_go_before_new_starts() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({"priority": 0}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    bench.send(numbered(2, json!({"priority": 9}))).await;
    bench.minutes_pass(2);
    assert_eq!(ids(&bench.claim().await), ["b1", "b2"]);
}

#[tokio::test]
async fn an_outage_leaves_no_more_outcomes_unknown_than_there_are_slots() {
    let bench = Bench::new().await;
    for number in 1..=5 {
        bench.send(numbered(number, json!({}))).await;
    }
    let slots = |limit| Claim { submitting_max: 3, ..bench.claim_of(limit) };
    let claimed = bench.write(slots(2)).await.unwrap().claimed;
    assert_eq!(claimed.len(), 2);
    for job in &claimed {
        bench.lose_answer(job.id).await;
    }
    assert_eq!(ids(&bench.write(slots(10)).await.unwrap().claimed), ["b3"]);
    bench.minutes_pass(2);
    let repeats = bench.write(Claim { submitting_max: 3, ..bench.claim_of(10) }).await.unwrap().claimed;
    assert_eq!(ids(&repeats), ["b1", "b2"], "repeats need no slot, new starts wait");
    bench.accept(repeats[0].id, &["c1"]).await;
    let more = bench.write(Claim { submitting_max: 3, ..bench.claim_of(10) }).await.unwrap().claimed;
    assert_eq!(ids(&more), ["b4"]);
}

#[tokio::test]
async fn held_projects_and_batches_wait_and_the_others_go_on() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({"projectId": "held"}))).await;
    bench.send(numbered(2, json!({"batchId": "held"}))).await;
    bench.send(numbered(3, json!({}))).await;
    let holds = Claim {
        held_projects: vec!["held".to_owned()],
        held_batches: vec![(String::new(), "held".to_owned())],
        ..bench.claim_of(10)
    };
    let claimed = bench.write(holds.clone()).await.unwrap().claimed;
    assert_eq!(ids(&claimed), ["b3"]);
    // A repeat waits like a start does; it only waits.
    let job = bench.claim().await;
    assert_eq!(
        job.iter().map(|job| job.brief_id.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["b1", "b2"])
    );
    bench.lose_answer(job[0].id).await;
    bench.minutes_pass(2);
    assert!(bench.write(Claim { now_ms: bench.now(), ..holds }).await.unwrap().claimed.is_empty());
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn a_probe_takes_only_its_project_and_nothing_of_a_held_batch() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({"projectId": "other", "priority": 9}))).await;
    bench.send(numbered(2, json!({"batchId": "held", "priority": 9}))).await;
    bench.send(numbered(3, json!({}))).await;
    let probe = Claim {
        limit: 1,
        held_projects: vec!["p".to_owned()],
        held_batches: vec![(String::new(), "held".to_owned())],
        probe_project: Some("p".to_owned()),
        probing: true,
        ..bench.claim_of(1)
    };
    assert_eq!(ids(&bench.write(probe).await.unwrap().claimed), ["b3"]);
}

#[tokio::test]
async fn a_worker_takes_only_what_is_its_inputs() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({}))).await;
    let bench = bench.restart_for(Input::File("a.jsonl".to_owned())).await;
    bench.send(numbered(2, json!({}))).await;
    assert_eq!(ids(&bench.claim().await), ["b2"]);
    let bench = bench.restart_for(Input::Queue).await;
    assert_eq!(ids(&bench.claim().await), ["b1"]);
}

#[tokio::test]
async fn what_each_round_asks_is_answered_by_an_index_however_long_the_backlog() {
    let bench = Bench::new().await;
    let asked = [
        (PRIORITY, "job_turn"),
        (BATCH, "job_turn"),
        (DUE, "job_turn"),
        (OLDEST, "job_wait"),
        (UNREAD, "job_inspect"),
        (NEXT_DUE, "job_wait"),
        (PENDING, "outbox_pending"),
    ];
    for (query, index) in asked {
        let plan = bench.plan(query).await;
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN job"), "{plan}");
    }
    // These are no more than there are places, or than are due.
    for (query, index) in [
        (REPEAT, "job_repeat"),
        (SILENT, "job_silent"),
        (HELD_UNKNOWN, "job_repeat"),
        (EXPIRED, "job_expires"),
        (PROBE, "job_repeat"),
        (PROBE, "job_wait"),
    ] {
        let plan = bench.plan(query).await;
        assert!(plan.contains(index) && !plan.contains("SCAN job"), "{plan}");
    }
}

#[tokio::test]
async fn a_job_without_a_connection_keeps_its_place_and_any_answer_frees_it() {
    let bench = Bench::new().await;
    for number in 1..=6 {
        bench.send(numbered(number, json!({}))).await;
    }
    let places = || Claim { submitting_max: 2, ..bench.claim_of(10) };
    let claimed = bench.write(places()).await.unwrap().claimed;
    for job in &claimed {
        bench.record(job.id, AttemptOutcome::Again(Again::NotConnected)).await.unwrap();
    }
    assert_eq!(bench.ledger.silent(&[]).await.unwrap(), (2, Some("p".to_owned())));
    for (scope, kept) in [
        (HoldScope::Account, 2),
        (HoldScope::Project("q".to_owned()), 2),
        (HoldScope::Project("p".to_owned()), 0),
        (HoldScope::Batch { project: Some("p".to_owned()), batch: "another".to_owned() }, 2),
        (HoldScope::Batch { project: Some("p".to_owned()), batch: String::new() }, 0),
        (HoldScope::Batch { project: None, batch: String::new() }, 0),
    ] {
        assert_eq!(bench.ledger.silent(std::slice::from_ref(&scope)).await.unwrap().0, kept, "{scope:?}");
    }
    assert_eq!(ids(&bench.write(places()).await.unwrap().claimed), ["b1", "b2"], "they have their places");
    bench.record(claimed[0].id, AttemptOutcome::Again(Again::Unclaimed)).await.unwrap();
    assert_eq!(bench.ledger.silent(&[]).await.unwrap().0, 2, "what did not leave tells nothing");
    bench.record(claimed[1].id, AttemptOutcome::Again(Again::ToldToWait)).await.unwrap();
    assert_eq!(bench.ledger.silent(&[]).await.unwrap().0, 1);
    let next = bench.write(places()).await.unwrap();
    assert_eq!(
        (ids(&next.claimed), next.full),
        (vec!["b1", "b2"], false),
        "one place is free, for who is next"
    );
    bench.accept(claimed[0].id, &["c1"]).await;
    bench.refuse(claimed[1].id, "MODERATION_BLOCKED").await;
    assert_eq!(bench.ledger.silent(&[]).await.unwrap().0, 0);
    let next = bench.write(places()).await.unwrap().claimed;
    assert_eq!(ids(&next), ["b3", "b4"]);
    bench.lose_answer(next[0].id).await;
    let found = bench.record(next[1].id, AttemptOutcome::Again(Again::FoundInPart)).await.unwrap();
    assert_eq!(found, JobState::Submitting);
    assert_eq!(bench.ledger.silent(&[]).await.unwrap().0, 1, "what was found is not silent");
    assert_eq!(ids(&bench.write(places()).await.unwrap().claimed), ["b4", "b5"], "and its place is free");
    assert!(bench.write(places()).await.unwrap().full);
}

#[tokio::test]
async fn jobs_without_an_answer_whose_batch_is_held_keep_nobody_else_from_starting() {
    let bench = Bench::new().await;
    for number in 1..=2 {
        bench.send(numbered(number, json!({"batchId": "held"}))).await;
    }
    let places = || Claim { submitting_max: 2, ..bench.claim_of(10) };
    for job in bench.write(places()).await.unwrap().claimed {
        bench.lose_answer(job.id).await;
    }
    bench.send(numbered(3, json!({}))).await;
    assert!(bench.write(places()).await.unwrap().full);
    let held = Claim { held_batches: vec![(String::new(), "held".to_owned())], ..places() };
    assert_eq!(ids(&bench.write(held).await.unwrap().claimed), ["b3"]);
}

#[tokio::test]
async fn no_word_of_a_person_lifts_the_hold_of_another_organizations_key() {
    let bench = Bench::new().await;
    let hold = |reason: &str| Hold {
        scope: HoldScope::Account,
        reason: reason.to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: true,
        by_api: true,
        since_ms: bench.now(),
        probe_ms: None,
        easing: false,
    };
    for reason in ["OPERATOR", "OTHER_ORGANIZATION"] {
        bench.write(SetHold(hold(reason))).await.unwrap();
    }
    let release = LiftHold { scope: HoldScope::Account, reason: None, now_ms: bench.now() };
    assert_eq!(bench.write(release).await.unwrap(), 1);
    let left = bench.ledger.reader().holds().await.unwrap();
    assert_eq!(left.iter().map(|hold| hold.reason.as_str()).collect::<Vec<_>>(), ["OTHER_ORGANIZATION"]);
    let over = LiftHold {
        scope: HoldScope::Account,
        reason: Some("OTHER_ORGANIZATION".to_owned()),
        now_ms: bench.now(),
    };
    assert_eq!(bench.write(over).await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_crash_cut_off_keeps_its_place() {
    let bench = Bench::new().await;
    for number in 1..=2 {
        bench.send(numbered(number, json!({}))).await;
    }
    bench.claim().await;
    let bench = bench.crash().await;
    assert_eq!(bench.ledger.silent(&[]).await.unwrap().0, 2);
}

#[tokio::test]
async fn a_hold_that_was_lifted_meanwhile_is_not_set_again_by_its_test() {
    let bench = Bench::new().await;
    let hold = Hold {
        scope: HoldScope::Account,
        reason: "API_DOWN".to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: false,
        by_api: true,
        since_ms: bench.now(),
        probe_ms: Some(bench.now()),
        easing: false,
    };
    let easing = Hold { easing: true, available: Some(7), ..hold.clone() };
    assert!(!bench.write(ChangeHold(easing.clone())).await.unwrap());
    assert_eq!(bench.ledger.reader().holds().await.unwrap(), []);
    bench.write(SetHold(hold)).await.unwrap();
    assert!(bench.write(ChangeHold(easing.clone())).await.unwrap());
    assert_eq!(bench.ledger.reader().holds().await.unwrap(), [easing]);
}

#[tokio::test]
async fn whether_only_held_batches_are_left_is_known() {
    let bench = Bench::new().await;
    let only = async |batches: &[(&str, &str)]| {
        let batches: Vec<_> = batches.iter().map(|(p, b)| ((*p).to_owned(), (*b).to_owned())).collect();
        bench.ledger.waits_only_for(&batches).await.unwrap()
    };
    bench.send(numbered(1, json!({"batchId": "b"}))).await;
    bench.send(numbered(2, json!({}))).await;
    assert!(!only(&[("p", "b")]).await);
    assert!(only(&[("p", "b"), ("", "")]).await);
    assert!(!only(&[("q", "b"), ("", "")]).await);
    bench.claim().await;
    assert!(!only(&[("p", "b"), ("", "")]).await, "they are under way");
}

#[tokio::test]
async fn a_hold_is_tested_by_another_job_each_time() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.send(numbered(number, json!({}))).await;
    }
    let mut tested = Vec::new();
    for _ in 0..4 {
        bench.minutes_pass(1);
        let probe = Claim { probing: true, ..bench.claim_of(1) };
        let claimed = bench.write(probe).await.unwrap().claimed;
        tested.push(claimed[0].brief_id.clone());
        bench.record(claimed[0].id, AttemptOutcome::Again(Again::Held)).await.unwrap();
    }
    assert_eq!(tested, ["b1", "b2", "b3", "b1"]);
}

#[tokio::test]
async fn a_job_that_tests_a_hold_is_due_and_neither_held_otherwise_nor_repeated_too_soon() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({"batchId": "held"}))).await;
    bench.send(numbered(2, json!({"projectId": "q"}))).await;
    bench.send(numbered(3, json!({}))).await;
    let probe = |project: &str| Claim {
        probing: true,
        probe_project: Some(project.to_owned()),
        held_batches: vec![(String::new(), "held".to_owned())],
        ..bench.claim_of(1)
    };
    let claimed = bench.write(probe("p")).await.unwrap().claimed;
    assert_eq!(ids(&claimed), ["b3"]);
    bench.lose_answer(claimed[0].id).await;
    assert!(bench.write(probe("p")).await.unwrap().claimed.is_empty());
    bench.minutes_pass(1);
    assert_eq!(ids(&bench.write(probe("p")).await.unwrap().claimed), ["b3"]);
}

#[tokio::test]
async fn no_more_jobs_run_than_we_want_to_by_our_own_choice() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.send(numbered(number, json!({}))).await;
    }
    let claim = Claim { running_max: 2, ..bench.claim_of(10) };
    assert_eq!(bench.write(claim.clone()).await.unwrap().claimed.len(), 2);
    assert_eq!(bench.write(claim).await.unwrap().claimed.len(), 0, "two are under way");
}
