//! Plans of reruns: what was shown is what is carried out, once.

use super::*;

/// The rerun of a brief, as it stands now.
async fn row(bench: &Bench, brief: i64, take: &[i64]) -> NewPlanRow {
    let (run, changed_ms) = sqlx::query_as("SELECT run, changed_at FROM brief WHERE id = $1")
        .bind(brief)
        .fetch_one(&bench.ledger.reader().pool)
        .await
        .unwrap();
    NewPlanRow {
        brief,
        from_run: run,
        changed_ms,
        take: take.iter().map(|variant| Take { variant: *variant, rejected: false }).collect(),
        content: None,
    }
}

async fn store(bench: &Bench, canary: u64, rows: Vec<NewPlanRow>) -> i64 {
    let plan =
        NewPlan { who: "ana".to_owned(), reason: "spring".to_owned(), shown: "{}".to_owned(), canary, rows };
    plan.store(&bench.path(), bench.now()).await.unwrap()
}

async fn approve(bench: &Bench, plan: i64, canary: Option<u64>) -> Approved {
    let said = ("bea".to_owned(), String::new());
    bench.write(ApprovePlan { plan, canary, said, now_ms: bench.now() }).await.unwrap()
}

async fn one_step(bench: &Bench, plan: i64) -> PlanStep {
    bench.write(StartPlanned { plan, send_container_id: true, now_ms: bench.now() }).await.unwrap()
}

/// As far as it goes by itself: on a busy machine that takes several steps.
async fn start(bench: &Bench, plan: i64) -> PlanStep {
    let mut all = one_step(bench, plan).await;
    while all.state == PlanState::Starting {
        let step = one_step(bench, plan).await;
        all.started += step.started;
        all.left_out += step.left_out;
        all.state = step.state;
    }
    all
}

/// Briefs 1 to `n`, each with a container `c1` … that failed; their records have left.
async fn failed(n: usize) -> Bench {
    let bench = Bench::new().await;
    for number in 1..=n {
        bench.run_through(numbered(number, json!({})), &[(&format!("c{number}"), FAILED)]).await;
    }
    bench.publish().await;
    bench
}

/// Looks at containers that ended, and takes the jobs through generation.
async fn generate(bench: &Bench, ended: Ended) -> usize {
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    for job in &jobs {
        let container = job.container.clone().unwrap();
        bench.accept(job.id, &[&container]).await;
        bench.settle(job.id, &[(&container, ended)], true).await;
    }
    jobs.len()
}

async fn runs(bench: &Bench) -> Vec<String> {
    bench.texts("SELECT b.brief_id || ' ' || b.run || ' ' || b.state FROM brief b ORDER BY b.id").await
}

#[tokio::test]
async fn a_plan_starts_the_next_run_of_each_brief_and_never_again() {
    let bench = failed(2).await;
    let plan = store(&bench, 0, vec![row(&bench, 2, &[1]).await, row(&bench, 1, &[1]).await]).await;
    assert_eq!(start(&bench, plan).await.started, 0, "nobody said so yet");
    assert_eq!(approve(&bench, plan, None).await, Approved::Starts);
    assert_eq!(start(&bench, plan).await, PlanStep { started: 2, left_out: 0, state: PlanState::Started });
    assert_eq!(runs(&bench).await, ["b1 2 waiting", "b2 2 waiting"]);
    assert_eq!(bench.number("SELECT count(*) FROM run WHERE run = 2 AND plan = 1").await, 2);
    for _ in 0..2 {
        assert_eq!(approve(&bench, plan, None).await, Approved::Already(PlanState::Started));
        assert_eq!(approve(&bench, plan, Some(0)).await, Approved::Already(PlanState::Started));
        assert_eq!(start(&bench, plan).await.started, 0);
    }
    assert_eq!(generate(&bench, DONE).await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM job").await, 4);
    let records = bench.pending_records().await;
    assert_eq!(records, vec![("container.completed".to_owned(), 2, Some(1)); 2]);
    assert_eq!(start(&bench, plan).await.started, 0);
    let story = bench.texts("SELECT detail FROM history WHERE what = 'rerun'").await;
    assert_eq!(story[0], r#"{"plan":1,"by":"bea","reason":"spring"}"#);
    assert_eq!(approve(&bench, 9, None).await, Approved::Unknown);
}

#[tokio::test]
async fn a_brief_that_changed_since_is_left_out_with_the_reason_and_the_others_start() {
    let bench = failed(3).await;
    let rows = vec![row(&bench, 1, &[1]).await, row(&bench, 2, &[1]).await, row(&bench, 3, &[1]).await];
    let plan = store(&bench, 0, rows).await;
    bench.minutes_pass(1);
    // One was run again by a message, one had another end meanwhile.
    assert_eq!(bench.send(numbered(1, json!({"run": 2}))).await, Decision::Rerun);
    assert_eq!(bench.send(numbered(2, json!({"run": 2}))).await, Decision::Rerun);
    assert_eq!(generate(&bench, FAILED).await, 2);
    bench.doctor("UPDATE brief SET run = 1 WHERE id = 2").await;
    approve(&bench, plan, None).await;
    assert_eq!(start(&bench, plan).await, PlanStep { started: 1, left_out: 2, state: PlanState::Started });
    let rows = bench.ledger.reader().plan_rows(plan, Some("left_out"), (0, 10)).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.brief_id.as_str(), row.why.as_deref().unwrap())).collect();
    assert_eq!(told, [("b1", "run 2 was started since"), ("b2", "it changed since: it is failed now")]);
    let stored = bench.ledger.reader().plan(plan).await.unwrap().unwrap();
    assert_eq!((stored.started, stored.left_out, stored.pending), (1, 2, 0));
}

#[tokio::test]
async fn the_rest_starts_by_itself_once_every_brief_of_the_canary_completed() {
    let bench = failed(3).await;
    let mut rows = Vec::new();
    for brief in 1..=3 {
        rows.push(row(&bench, brief, &[1]).await);
    }
    let plan = store(&bench, 2, rows).await;
    approve(&bench, plan, None).await;
    assert_eq!(start(&bench, plan).await, PlanStep { started: 2, left_out: 0, state: PlanState::Canary });
    assert_eq!(start(&bench, plan).await.started, 0, "the others wait");
    let ends = bench.ledger.reader().plan_ends(plan).await.unwrap();
    assert_eq!(ends, PlanEnds { open: 2, ..PlanEnds::default() });
    // The process dies meanwhile.
    let bench = bench.crash().await;
    assert_eq!(generate(&bench, DONE).await, 2);
    let ends = bench.ledger.reader().plan_ends(plan).await.unwrap();
    assert_eq!(ends, PlanEnds { completed: 2, ..PlanEnds::default() });
    bench.write(CanaryEnded { plan, completed: true, now_ms: bench.now() }).await.unwrap();
    assert_eq!(start(&bench, plan).await, PlanStep { started: 1, left_out: 0, state: PlanState::Started });
    assert_eq!(generate(&bench, DONE).await, 1);
}

#[tokio::test]
async fn after_a_canary_that_did_not_complete_only_a_word_lets_the_rest_start() {
    let bench = failed(2).await;
    let plan = store(&bench, 0, vec![row(&bench, 1, &[1]).await, row(&bench, 2, &[1]).await]).await;
    assert_eq!(approve(&bench, plan, Some(1)).await, Approved::Starts);
    assert_eq!(start(&bench, plan).await.state, PlanState::Canary);
    generate(&bench, FAILED).await;
    assert_eq!(bench.ledger.reader().plan_ends(plan).await.unwrap().not_completed, 1);
    bench.write(CanaryEnded { plan, completed: false, now_ms: bench.now() }).await.unwrap();
    assert_eq!(start(&bench, plan).await.state, PlanState::Stopped);
    // The same command again does nothing, whatever it was.
    for canary in [None, Some(1)] {
        assert_eq!(approve(&bench, plan, canary).await, Approved::Already(PlanState::Stopped));
        assert_eq!(start(&bench, plan).await.started, 0);
    }
    assert_eq!(approve(&bench, plan, Some(0)).await, Approved::GoesOn);
    assert_eq!(start(&bench, plan).await, PlanStep { started: 1, left_out: 0, state: PlanState::Started });
}

#[tokio::test]
async fn only_the_containers_that_were_planned_are_made_again() {
    let bench = Bench::new().await;
    let ends = [("c1", DONE), ("c2", FAILED), ("c3", CANCELED)];
    bench.run_through(brief("Run", json!({"variantCount": 3})), &ends).await;
    bench.publish().await;
    let plan = store(&bench, 0, vec![row(&bench, 1, &[2]).await]).await;
    approve(&bench, plan, None).await;
    start(&bench, plan).await;
    assert_eq!(bench.number("SELECT owed FROM run WHERE run = 2").await, 1);
    assert_eq!(generate(&bench, DONE).await, 1);
    assert_eq!(
        bench.texts("SELECT status FROM container ORDER BY variant").await,
        ["completed", "completed", "canceled"]
    );
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 2));
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(2))]);
}

/// A completed brief whose container a reviewer rejected, with its rerun started.
async fn rerun_of_rejected() -> Bench {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    bench.publish().await;
    let mut rejected = row(&bench, 1, &[1]).await;
    rejected.take[0].rejected = true;
    let plan = store(&bench, 0, vec![rejected]).await;
    approve(&bench, plan, None).await;
    assert_eq!(start(&bench, plan).await.started, 1);
    bench
}

#[tokio::test]
async fn what_a_reviewer_rejected_is_regenerated_although_it_completed() {
    let bench = rerun_of_rejected().await;
    let inspection = bench.inspect().await.remove(0);
    assert!(inspection.rejected);
    bench.inspected(inspection.id, Found::Ended("old".to_owned())).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(1))]);
}

#[tokio::test]
async fn a_refused_rerun_of_what_was_rejected_is_not_completed() {
    let bench = rerun_of_rejected().await;
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    bench.refuse(job.id, "MODERATION_BLOCKED").await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 2));
    assert_eq!(bench.publish().await[0]["error"]["code"], "MODERATION_BLOCKED");
}

#[tokio::test]
async fn a_changed_brief_is_patched_and_the_same_message_is_a_repeat_of_it() {
    let bench = failed(1).await;
    let message = numbered(1, json!({"run": 2, "brief": {"hook": "Walk"}}));
    let asked = received(&message.to_string()).content.unwrap();
    let mut changed = row(&bench, 1, &[1]).await;
    changed.content = Some(Content {
        fingerprint: asked.fingerprint.to_string(),
        request: asked.request,
        metadata: None,
        format: asked.format,
        variant_count: 1,
        priority: 9,
        not_before_ms: None,
        expires_at_ms: None,
    });
    let plan = store(&bench, 0, vec![changed]).await;
    approve(&bench, plan, None).await;
    start(&bench, plan).await;
    // The same rerun, asked for by a message, again and again.
    for _ in 0..3 {
        bench.minutes_pass(100);
        assert_eq!(bench.send(message.clone()).await, Decision::Duplicate);
    }
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    assert_eq!(job.body, r#"{"patch":{"brief":{"hook":"Walk"}}}"#);
    assert_eq!(bench.number("SELECT priority FROM job WHERE kind = 'regenerate'").await, 9);
    bench.accept(job.id, &["c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.send(message).await, Decision::Republished);
    assert!(bench.claim().await.is_empty());
}

#[tokio::test]
async fn what_expired_before_it_got_a_container_is_submitted_anew_and_does_not_expire_again() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2, "expiresAt": "2026-05-01T00:01:00Z"}))).await;
    bench.minutes_pass(2);
    assert_eq!(bench.write(bench.claim_of(10)).await.unwrap().expired, 1);
    bench.publish().await;
    let plan = store(&bench, 0, vec![row(&bench, 1, &[]).await]).await;
    approve(&bench, plan, None).await;
    start(&bench, plan).await;
    let job = bench.claim_one().await;
    assert_eq!((job.kind.as_str(), job.run, job.variant_count), ("generate", 2, 2));
    assert!(job.alias.is_some());
    bench.accept(job.id, &["c1", "c2"]).await;
    bench.settle(job.id, &[("c1", DONE), ("c2", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
}

#[tokio::test]
async fn a_row_that_cannot_be_started_does_not_keep_the_others() {
    let bench = failed(2).await;
    let plan = store(&bench, 0, vec![row(&bench, 1, &[1]).await, row(&bench, 2, &[1]).await]).await;
    bench.doctor("UPDATE plan_row SET take = 'nonsense' WHERE brief = 1").await;
    approve(&bench, plan, None).await;
    assert_eq!(start(&bench, plan).await, PlanStep { started: 1, left_out: 1, state: PlanState::Started });
    assert_eq!(runs(&bench).await, ["b1 1 failed", "b2 2 waiting"]);
}

#[tokio::test]
async fn a_rerun_that_ended_before_it_looked_leaves_a_lost_container_to_be_followed() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1", "c2"]).await;
    bench.settle(job.id, &[("c2", DONE)], false).await;
    bench.write(GiveUp { job: job.id, now_ms: bench.now() }).await.unwrap();
    bench.publish().await;
    let lost = async || bench.ledger.lost(0, 10).await.unwrap().len();
    assert_eq!(lost().await, 1);
    let rerun = json!({"variantCount": 2, "run": 2, "expiresAt": "2026-05-01T00:10:00Z"});
    assert_eq!(bench.send(brief("Run", rerun)).await, Decision::Rerun);
    assert_eq!(lost().await, 0, "the rerun looks itself");
    bench.minutes_pass(11);
    assert_eq!(bench.write(bench.claim_of(10)).await.unwrap().expired, 1);
    bench.publish().await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 2));
    assert_eq!(lost().await, 1, "it never did");
    let late = SettleLate { job: job.id, ends: vec![bench.end("c1", DONE)], now_ms: bench.now() };
    let late = bench.write(late).await.unwrap();
    assert_eq!((late.published, late.over), (vec![true], true));
    // Of the run that consumers believe: they have its failure, which a record of run 1 could not beat.
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(1))]);
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.number("SELECT count(DISTINCT message_id) - count(*) FROM outbox").await, 0);
}

#[tokio::test]
async fn a_hundred_briefs_are_started_in_steps_that_keep_nobody_waiting() {
    let bench = Bench::new().await;
    let briefs = (1..=100).map(|number| numbered(number, json!({"variantCount": 9})));
    let briefs = briefs.map(|message| received(&message.to_string())).collect();
    assert!(bench.send_all(briefs).await.iter().all(|(decision, _)| *decision == Decision::Invalid));
    let mut rows = Vec::new();
    for brief in 1..=100 {
        rows.push(row(&bench, brief, &[]).await);
    }
    let plan = store(&bench, 0, rows).await;
    approve(&bench, plan, None).await;
    let (mut started, mut steps) = (0, 0);
    loop {
        let step = one_step(&bench, plan).await;
        (started, steps) = (started + step.started, steps + 1);
        if step.state == PlanState::Started {
            break;
        }
        assert!(step.started > 0, "each step comes further");
    }
    assert_eq!(started, 100, "in {steps} steps");
    assert_eq!(bench.number("SELECT count(*) FROM run WHERE plan IS NOT NULL").await, 100);
}
