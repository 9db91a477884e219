//! Each promise is proved by a ledger that breaks just it.

use sha2::{Digest as _, Sha256};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::*;
use crate::support::checker::LedgerRows;
use crate::support::checker::ledger::{BriefRow, JobRow, OutboxRow, RunRow};
use crate::support::process::API_KEY;

fn brief_row(id: i64, brief_id: &str, state: &str) -> BriefRow {
    BriefRow {
        id,
        project_id: PROJECT.to_owned(),
        batch_id: "b".to_owned(),
        brief_id: brief_id.to_owned(),
        run: 1,
        state: state.to_owned(),
    }
}

fn job_row(brief: i64, key: &str, state: &str) -> JobRow {
    JobRow {
        brief,
        run: 1,
        kind: "generate".to_owned(),
        idempotency_key: key.to_owned(),
        body: format!("body of {key}"),
        state: state.to_owned(),
        ..JobRow::default()
    }
}

fn outbox_row(brief: i64, message: &Message) -> OutboxRow {
    let envelope = message.envelope.clone().unwrap();
    OutboxRow {
        channel: "record".to_owned(),
        input: "queue".to_owned(),
        message_id: envelope.message_id.unwrap(),
        kind: envelope.kind.unwrap(),
        routing_key: envelope.routing_key,
        body: message.body.clone(),
        brief: Some(brief),
        run: Some(1),
        state: "sent".to_owned(),
    }
}

/// The ledger of [`clean`].
fn clean_with_ledger() -> Evidence {
    let mut evidence = clean();
    evidence.dead_letters[0]
        .envelope
        .as_mut()
        .unwrap()
        .headers
        .insert("x-briefd-row".into(), "dead-4".into());
    let keys = |key: &str| {
        let digest: String =
            Sha256::digest(format!("body of {key}")).iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"posts": 1, "bodies": [digest]})
    };
    evidence.account["keys"] = json!({"k1": keys("k1"), "k2": keys("k2")});
    let letter = OutboxRow {
        channel: "dead_letter".to_owned(),
        input: "queue".to_owned(),
        message_id: "dead-4".to_owned(),
        state: "sent".to_owned(),
        ..OutboxRow::default()
    };
    let [one, two, three] = [0, 1, 2].map(|index| evidence.records[index].clone());
    let run = |brief, state: &str, owed| RunRow { brief, run: 1, state: state.to_owned(), owed, made: owed };
    let totals =
        [("decided", 4), ("new", 2), ("duplicate", 1), ("dead_lettered", 1), ("owed", 3), ("made", 3)];
    evidence.ledger = Some(LedgerRows {
        briefs: vec![brief_row(1, "one", "partial"), brief_row(2, "two", "failed")],
        runs: vec![run(1, "partial", 2), run(2, "failed", 1)],
        jobs: vec![job_row(1, "k1", "completed"), job_row(2, "k2", "rejected")],
        outbox: vec![outbox_row(1, &one), outbox_row(1, &two), outbox_row(2, &three), letter],
        decisions: ["new", "new", "duplicate", "unreadable"].map(str::to_owned).to_vec(),
        totals: totals.map(|(name, n)| (name.to_owned(), n)).into(),
        places_of_secrets: Vec::new(),
    });
    evidence
}

fn after(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = clean_with_ledger();
    change(&mut evidence);
    evidence.violations()
}

/// The violations after a change to a ledger that was clean.
fn stored(change: impl FnOnce(&mut LedgerRows)) -> Vec<String> {
    after(|evidence| change(evidence.ledger.as_mut().unwrap()))
}

#[track_caller]
fn assert_promise(violations: &[String], promise: &str, part: &str) {
    assert!(violations.iter().any(|line| line.contains(part)), "{part:?} is missing: {violations:#?}");
    assert!(violations.iter().all(|line| line.starts_with(promise)), "only {promise}: {violations:#?}");
}

#[test]
fn clean_evidence_with_its_ledger_is_clean() {
    clean_with_ledger().assert_clean();
}

#[test]
fn p1_is_broken_by_a_purchase_that_the_ledger_does_not_know() {
    let violations = stored(|ledger| ledger.jobs[0].idempotency_key = "k9".to_owned());
    assert_promise(&violations, "P1 ", "job_1 was bought under key \"k1\", which is not stored");
}

#[test]
fn p1_is_broken_by_two_jobs_of_one_intent_under_two_keys() {
    let violations = after(|evidence| {
        let jobs = json!([
            {"id": "job_1", "containerIds": ["cnt_1"], "credits": 120, "idempotencyKey": "k1"},
            {"id": "job_2", "containerIds": ["cnt_2"], "credits": 0, "idempotencyKey": "k3"},
        ]);
        evidence.account["jobs"] = jobs;
        evidence.account["jobsMade"] = json!(2);
        evidence.account["jobsByKey"]["k3"] = json!(["job_2"]);
        let ledger = evidence.ledger.as_mut().unwrap();
        ledger.jobs.push(job_row(1, "k3", "completed"));
        // Told as one job of the same run.
        replace(evidence, 1, |record| record["jobId"] = json!("job_2"));
        evidence.ledger.as_mut().unwrap().outbox[1].body = evidence.records[1].body.clone();
    });
    assert_promise(&violations, "P1 ", "the intent of p.1/b/one run 1 made 2 jobs: job_1, job_2");
}

#[test]
fn p1_is_broken_by_bytes_that_are_not_those_stored() {
    let violations = stored(|ledger| ledger.jobs[0].body.push(' '));
    assert_promise(&violations, "P1 ", "was sent under key k1 with other bytes than are stored");
}

#[test]
fn p2_is_broken_by_what_was_never_sent_or_never_came() {
    let violations = stored(|ledger| ledger.outbox[1].state = "pending".to_owned());
    assert_promise(&violations, "P2 ", "container.failed r2 was never sent: in the outbox it is 'pending'");
    assert_promise(&violations, "P2 ", "owes 2 records, 1 of it were confirmed");
    let violations = after(|evidence| drop(evidence.records.remove(2)));
    assert_promise(&violations, "P2 ", "brief.failed r3 was marked sent, and nobody got it");
}

#[test]
fn p2_is_broken_by_a_brief_that_has_not_ended_or_is_not_stored() {
    let violations = stored(|ledger| ledger.briefs[1].state = "waiting".to_owned());
    assert_promise(&violations, "P2 ", "p.1/b/two run 1 has not ended: the brief is 'waiting'");
    let violations = after(|evidence| evidence.expected_runs.push(run("three", 1)));
    assert_promise(&violations, "P2 ", "p.1/b/three run 1 was asked for and is not stored");
}

#[test]
fn p3_is_broken_by_what_is_still_unknown_or_parked() {
    let violations = stored(|ledger| ledger.jobs[0].state = "submitting".to_owned());
    assert_promise(&violations, "P3 ", "the generate of p.1/b/one run 1 is still 'submitting'");
    let parked = |ledger: &mut LedgerRows| ledger.jobs[1].state = "parked".to_owned();
    assert_promise(&stored(parked), "P3 ", "1 jobs wait for a person, there must be 0");
    let expected = after(|evidence| {
        evidence.expected_parked = 1;
        parked(evidence.ledger.as_mut().unwrap());
    });
    assert_eq!(expected, [""; 0]);
}

#[test]
fn p3_is_broken_by_an_end_of_what_must_stay_open() {
    let waits = |ledger: &mut LedgerRows| {
        ledger.briefs.push(brief_row(3, "three", "waiting"));
        ledger.runs.push(RunRow { brief: 3, run: 1, state: "waiting".to_owned(), owed: 1, made: 0 });
        ledger.jobs.push(job_row(3, "k3", "ready"));
        ledger.decisions.push("new".to_owned());
        for name in ["decided", "new", "owed", "open"] {
            *ledger.totals.entry(name.to_owned()).or_default() += 1;
        }
    };
    let violations = stored(waits);
    let unexpected = [
        "P2 (nothing lost): p.1/b/three run 1 has not ended: the brief is 'waiting'",
        "P2 (nothing lost): p.1/b/three run 1 has not ended: the run is 'waiting'",
        "P2 (nothing lost): p.1/b/three run 1 owes 1 records, 0 of it were confirmed",
        "P3 (unknown is not failed): the generate of p.1/b/three run 1 is still 'ready': its outcome is not known",
    ];
    assert_eq!(violations, unexpected);
    let expected = |change: fn(&mut LedgerRows)| {
        after(|evidence| {
            evidence.expected_open.push("three");
            waits(evidence.ledger.as_mut().unwrap());
            change(evidence.ledger.as_mut().unwrap());
        })
    };
    assert_eq!(expected(|_| {}), [""; 0]);
    let ended = expected(|ledger| ledger.jobs[2].state = "completed".to_owned());
    assert_promise(&ended, "P3 ", "three must still be open, and no job of it is");
}

#[test]
fn p3_is_broken_by_a_refusal_of_what_was_accepted() {
    let violations = stored(|ledger| ledger.jobs[0].state = "rejected".to_owned());
    assert_promise(&violations, "P3 ", "p.1/b/one run 1 was called refused, but the API made a job of it");
}

#[test]
fn p3_is_broken_by_giving_up_what_the_api_has() {
    let violations = after(|evidence| {
        replace(evidence, 1, |record| record["error"] = json!({"code": "GENERATION_LOST"}));
        evidence.ledger.as_mut().unwrap().outbox[1].body = evidence.records[1].body.clone();
        evidence.account["jobs"][0]["status"] = json!("completed");
    });
    assert_promise(&violations, "P3 ", "is called GENERATION_LOST, but the API has the result");
}

#[test]
fn p4_is_broken_by_a_record_that_is_not_the_one_stored() {
    let violations = after(|evidence| {
        replace(evidence, 1, |record| record["error"] = json!({"code": "OTHER"}));
    });
    assert_promise(
        &violations,
        "P4 ",
        "record r2 is not the one that is stored: error: null → {\"code\":\"OTHER\"}",
    );
    let violations = stored(|ledger| ledger.outbox[1].routing_key = "else".to_owned());
    assert_promise(&violations, "P4 ", "properties.routing_key: \"else\" → \"container.failed.p_1\"");
}

#[test]
fn p5_is_broken_by_a_dead_letter_that_never_came_or_that_nobody_stored() {
    let violations = after(|evidence| {
        evidence.dead_letters.clear();
        evidence.expected_dead_letters.clear();
    });
    assert_promise(&violations, "P5 ", "dead letter dead-4 is stored, and nobody got it");
    let violations = after(|evidence| {
        evidence.dead_letters.push(dead_letter("UNREADABLE"));
        evidence.expected_dead_letters.push("UNREADABLE");
    });
    assert_promise(&violations, "P5 ", "dead letter \"\" came, and the ledger does not know it");
}

#[test]
fn a_dead_letter_that_comes_again_is_one() {
    assert_eq!(after(|evidence| evidence.dead_letters.push(evidence.dead_letters[0].clone())), [""; 0]);
    let violations = after(|evidence| {
        evidence.dead_letters.push(evidence.dead_letters[0].clone());
        evidence.dead_letters[1].body = b"!".to_vec();
    });
    assert_promise(
        &violations,
        "P4 ",
        "dead letter dead-4 was published again and differs: from byte 0 on: ? → !",
    );
}

#[test]
fn p6_is_broken_by_a_brief_that_fails_for_the_account() {
    let exhausted = |request: Value| {
        after(|evidence| {
            replace(evidence, 2, |record| {
                record["error"] = json!({"code": "BILLING_EXHAUSTED", "details": {"required": 360}});
                record["request"] = request;
            });
            evidence.ledger.as_mut().unwrap().outbox[2].body = evidence.records[2].body.clone();
        })
    };
    assert_promise(&exhausted(Value::Null), "P6 ", "(r3) failed with BILLING_EXHAUSTED");
    assert_eq!(exhausted(json!({"budget": {"maxCredits": 120}})), [""; 0], "its own budget is its own");
}

#[test]
fn p6_is_broken_by_attempts_that_no_crash_explains() {
    let spent = |ledger: &mut LedgerRows| ledger.jobs[0].unrecorded = 3;
    assert_promise(&stored(spent), "P6 ", "p.1/b/one run 1 has spent 3 attempts, with 0 crashes");
    let explained = after(|evidence| {
        evidence.crashes = 2;
        spent(evidence.ledger.as_mut().unwrap());
    });
    assert_eq!(explained, [""; 0]);
}

#[test]
fn p7_is_broken_by_the_key_in_a_record_a_dead_letter_or_the_ledger() {
    let violations = after(|evidence| {
        replace(evidence, 1, |record| record["error"] = json!({"message": API_KEY}));
        evidence.ledger.as_mut().unwrap().outbox[1].body = evidence.records[1].body.clone();
    });
    assert_promise(&violations, "P7 ", "record \"r2\" tells the API key");
    let violations = after(|evidence| {
        let headers = &mut evidence.dead_letters[0].envelope.as_mut().unwrap().headers;
        headers.insert("x-briefd-detail".to_owned(), format!("holds {API_KEY}"));
    });
    assert_promise(&violations, "P7 ", "dead letter dead-4 tells the API key");
    let violations = stored(|ledger| ledger.places_of_secrets.push("history.detail".to_owned()));
    assert_promise(&violations, "P7 ", "the API key stands in the ledger, in history.detail");
}

#[tokio::test]
async fn p7_is_broken_by_a_key_anywhere_in_the_file_of_the_ledger() {
    let dir = TempDir::new().unwrap();
    let file = SqliteConnectOptions::new().filename(dir.path().join("briefd.db")).create_if_missing(true);
    let mut db = file.connect().await.unwrap();
    let tables = "CREATE TABLE brief (id); CREATE TABLE run (brief, run); CREATE TABLE job (id); \
         CREATE TABLE outbox (id); CREATE TABLE delivery (id, result); CREATE TABLE total (name TEXT, n INTEGER); \
         CREATE TABLE \"a note\" (id INTEGER PRIMARY KEY, \"in words\" TEXT, bytes BLOB, n REAL)";
    sqlx::raw_sql(tables).execute(&mut db).await.unwrap();
    let places = async |evidence: &Evidence| {
        let lines = evidence.clone().with_ledger(dir.path()).await.violations();
        lines.into_iter().filter(|line| line.starts_with("P7")).collect::<Vec<_>>()
    };
    let evidence = Evidence { secrets: vec!["another one".to_owned()], ..Evidence::default() };
    let insert = "INSERT INTO \"a note\" (\"in words\", bytes, n) VALUES ($1, $2, 0.5)";
    let harmless = sqlx::query(insert).bind("no key").bind(&b"\xff\0"[..]);
    harmless.execute(&mut db).await.unwrap();
    assert_eq!(places(&evidence).await, [""; 0]);

    let telling = sqlx::query(insert)
        .bind(format!("it was {API_KEY}, they say"))
        .bind([b"\xff\0", "another one".as_bytes(), b"\0"].concat());
    telling.execute(&mut db).await.unwrap();
    let found = ["a note.in words", "a note.bytes"];
    let found =
        found.map(|place| format!("P7 (the key stays secret): the API key stands in the ledger, in {place}"));
    assert_eq!(places(&evidence).await, found);
    assert_eq!(places(&Evidence::default()).await, found[..1], "nobody else's key is looked for");
}

#[test]
fn p8_is_broken_by_sums_that_do_not_fit_the_rows() {
    for (name, part) in [
        ("decided", "decided is 5, but new + duplicate + rerun + dead-lettered: 4"),
        ("new", "new is 3, but the briefs that are stored: 2"),
        ("duplicate", "duplicate is 2, but"),
        ("rerun", "rerun is 1, but"),
        ("dead_lettered", "dead_lettered is 2, but the dead letters in the outbox: 1"),
        ("owed", "owed is 4, but what is in the outbox and what is open: 3"),
        ("made", "made is 4, but the records in the outbox: 3"),
        ("open", "open is 1, but what the runs still owe: 0"),
    ] {
        let violations = stored(|ledger| *ledger.totals.entry(name.to_owned()).or_default() += 1);
        assert_promise(&violations, "P8 ", part);
    }
    let violations = stored(|ledger| ledger.decisions[2] = "guessed".to_owned());
    assert_promise(&violations, "P8 ", "a delivery was decided as 'guessed', which counts nowhere");
}
