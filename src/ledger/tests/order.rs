//! What is claimed, and in which order.

use std::collections::BTreeSet;

use super::*;
use crate::ledger::claim::NEXT_DUE;
use crate::ledger::inspect::UNREAD;
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
    let mut next = Vec::new();
    for _ in 0..3 {
        next.extend(starts(&bench, &mut turn, 1).await);
    }
    next.sort();
    assert_eq!(next, ["now/b1", "now/b2"]);
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
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&bench.ledger.reader().pool)
                .await
                .unwrap();
        let plan = plan.into_iter().map(|(_, _, _, step)| step).collect::<Vec<_>>().join("; ");
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN job"), "{plan}");
    }
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
