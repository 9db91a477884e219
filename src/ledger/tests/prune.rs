//! What ended long ago leaves a tombstone, and nothing else that counts is touched.

use super::*;
use crate::ledger::prune::{DEAD_SENT, OLD_PLAN, PRUNABLE, SET_ASIDE};

const DAY: u64 = 24 * 60;

impl Bench {
    /// Prunes what ended a day ago or earlier: on a busy machine in several steps.
    async fn prune(&self) -> Pruned {
        let mut all = Pruned::default();
        loop {
            let step = self.prune_step(all.after, 100).await;
            if step.is_over {
                return all;
            }
            all.after = step.after;
            all.briefs += step.briefs;
            all.set_aside += step.set_aside;
            all.planned += step.planned;
        }
    }

    async fn prune_step(&self, after: PruneMark, limit: u32) -> Pruned {
        let before_ms = self.now() - 24 * 3_600_000;
        let step = PruneStep { before_ms, after, limit, now_ms: self.now() };
        let pruned = self.ledger.prune(step).await.unwrap();
        self.check().await;
        pruned
    }

    /// Rows of everything that hangs on briefs.
    async fn rows(&self) -> i64 {
        self.number(
            "SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM job) + (SELECT count(*) FROM container) \
             + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM history) + (SELECT count(*) FROM delivery)",
        )
        .await
    }
}

#[tokio::test]
async fn a_brief_that_ended_long_ago_leaves_a_tombstone_that_still_knows_a_repeat() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    bench.publish().await;
    assert_eq!(bench.prune().await.briefs, 0, "it ended just now");
    bench.minutes_pass(DAY + 1);
    let took = bench.prune().await;
    assert_eq!(took.briefs, 1);
    assert_eq!(bench.rows().await, 0);
    assert_eq!(bench.texts("SELECT containers FROM tombstone").await, ["[\"c1\"]"]);
    assert_eq!(bench.number("SELECT coalesce(sum(n), 0) FROM tally").await, 0);
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Duplicate);
    assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Duplicate);
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.prune().await.briefs, 0, "once");
}

#[tokio::test]
async fn what_is_open_or_unpublished_is_never_pruned() {
    let bench = Bench::new().await;
    bench.run_through(numbered(2, json!({})), &[("c2", DONE)]).await;
    bench.send(numbered(1, json!({}))).await;
    bench.minutes_pass(DAY + 1);
    assert_eq!(bench.prune().await.briefs, 0, "one is open, the other's record has not left");
    bench.publish().await;
    assert_eq!(bench.prune().await.briefs, 1);
}

#[tokio::test]
async fn a_batch_is_kept_as_long_as_something_of_it_is_open_or_young() {
    let bench = Bench::new().await;
    bench.run_through(numbered(1, json!({"batchId": "b"})), &[("c1", DONE)]).await;
    bench.publish().await;
    bench.minutes_pass(DAY + 1);
    bench.send(numbered(2, json!({"batchId": "b", "expiresAt": "2026-05-02T01:00:00Z"}))).await;
    assert_eq!(bench.prune().await.briefs, 0, "one is open");
    bench.minutes_pass(60);
    assert_eq!(bench.claim().await.len(), 0, "it has expired");
    bench.publish().await;
    assert_eq!(bench.prune().await.briefs, 0, "one is young");
    bench.minutes_pass(DAY + 1);
    assert_eq!(bench.prune().await.briefs, 2);
}

#[tokio::test]
async fn what_may_not_go_is_walked_over_once_and_hides_nothing_behind_it() {
    let bench = Bench::new().await;
    for number in 1..=5 {
        bench
            .run_through(numbered(number, json!({"batchId": "open"})), &[(&format!("c{number}"), DONE)])
            .await;
    }
    bench.run_through(numbered(6, json!({})), &[("c6", DONE)]).await;
    bench.publish().await;
    bench.send(numbered(7, json!({"batchId": "open"}))).await;
    bench.minutes_pass(DAY + 1);
    let step = bench.prune_step(PruneMark::default(), 1).await;
    assert_eq!((step.briefs, step.after.1), (1, 6));
    let step = bench.prune_step(step.after, 1).await;
    assert_eq!((step.briefs, step.is_over), (0, true));
}

#[tokio::test]
async fn what_is_asked_for_again_after_it_was_found_stays() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    bench.publish().await;
    bench.minutes_pass(DAY + 1);
    let step = PruneStep {
        before_ms: bench.now() - 24 * 3_600_000,
        after: PruneMark::default(),
        limit: 10,
        now_ms: bench.now(),
    };
    let found = step.found(bench.ledger.reader()).await.unwrap();
    assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Republished);
    let pruned = bench.write(found).await.unwrap();
    assert_eq!((pruned.briefs, pruned.is_over), (0, false));
    assert_eq!(bench.publish().await.len(), 1);
}

#[tokio::test]
async fn what_was_set_aside_goes_once_its_dead_letter_has_left() {
    let bench = Bench::new().await;
    bench.send_all(vec![received("no json")]).await;
    bench.publish().await;
    assert_eq!(bench.prune().await.set_aside, 0);
    bench.minutes_pass(DAY + 1);
    assert_eq!(bench.prune().await.set_aside, 1);
    assert_eq!(bench.rows().await, 0);
}

#[tokio::test]
async fn old_plans_go_but_not_the_newest_nor_one_that_is_being_carried_out() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.run_through(numbered(number, json!({})), &[(&format!("c{number}"), FAILED)]).await;
    }
    for _ in 1..=4 {
        let rows = (1..=3).map(|brief| NewPlanRow {
            brief,
            from_run: 1,
            changed_ms: 0,
            take: Vec::new(),
            content: None,
        });
        let plan = NewPlan {
            who: "ana".to_owned(),
            reason: String::new(),
            shown: "{}".to_owned(),
            canary: 0,
            rows: rows.collect(),
        };
        plan.store(&bench.path(), bench.now()).await.unwrap();
    }
    bench
        .write(ApprovePlan {
            plan: 2,
            canary: None,
            said: (String::new(), String::new()),
            now_ms: bench.now(),
        })
        .await
        .unwrap();
    assert_eq!(bench.prune().await.planned, 0, "they are young");
    bench.minutes_pass(DAY + 1);
    let mut rows = Vec::new();
    let mut after = PruneMark::default();
    loop {
        let step = bench.prune_step(after, 2).await;
        if step.is_over {
            break;
        }
        after = step.after;
        rows.extend(Some(step.planned).filter(|planned| *planned > 0));
    }
    assert_eq!(rows, [2, 2, 2, 2], "in steps");
    assert_eq!(
        bench.texts("SELECT id || ' ' || state FROM plan ORDER BY id").await,
        ["2 starting", "4 planned"]
    );
    assert_eq!(bench.number("SELECT count(*) FROM plan_row").await, 6);
}

#[tokio::test]
async fn what_a_step_asks_is_answered_by_an_index() {
    let bench = Bench::new().await;
    for (query, index) in [
        (PRUNABLE, "brief_ended"),
        (DEAD_SENT, "outbox_dead_sent"),
        (SET_ASIDE, "delivery_brief"),
        (OLD_PLAN, "plan_over"),
    ] {
        let plan = bench.plan(query).await;
        assert!(plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
