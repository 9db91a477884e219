//! Each rule is proved by evidence that breaks just it.

mod with_ledger;

use serde_json::{Value, json};

use super::{Evidence, ExpectedRun};
use crate::support::message::{Envelope, Message};

const PROJECT: &str = "p.1";

/// What became of one container of the first run.
fn container(id: &str, kind: &str, brief: &str, variant: u64, (job, container): (&str, &str)) -> Value {
    json!({"recordId": id, "type": kind, "projectId": PROJECT, "batchId": "b", "briefId": brief, "run": 1,
        "variant": variant, "jobId": job, "containerId": container, "error": null})
}

/// The first run failed as a whole.
fn whole(id: &str, brief: &str) -> Value {
    json!({"recordId": id, "type": "brief.failed", "projectId": PROJECT, "batchId": "b", "briefId": brief, "run": 1,
        "variant": null, "jobId": null, "containerId": null, "error": {"code": "MODERATION_BLOCKED"}})
}

fn message(record: &Value) -> Message {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let envelope = Envelope {
        routing_key: format!("{}.p_1", record["type"].as_str().unwrap()),
        message_id: text("recordId"),
        correlation_id: text("briefId"),
        kind: text("type"),
        content_type: Some("application/json".to_owned()),
        delivery_mode: Some(2),
        ..Envelope::default()
    };
    Message { body: record.to_string().into_bytes(), envelope: Some(envelope) }
}

fn dead_letter(reason: &str) -> Message {
    let headers = [("x-briefd-reason", reason), ("x-briefd-detail", "why"), ("x-briefd-at", "when")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Message { body: b"?".to_vec(), envelope: Some(Envelope { headers, ..Envelope::default() }) }
}

fn run(brief: &str, variant_count: u64) -> ExpectedRun {
    ExpectedRun::first_of(
        &json!({"projectId": PROJECT, "batchId": "b", "briefId": brief, "variantCount": variant_count}),
    )
}

/// Two variants, one of them failed; one brief that never got a container; one dead letter; one repeat.
fn clean() -> Evidence {
    let completed = container("r1", "container.completed", "one", 1, ("job_1", "cnt_1"));
    let failed = container("r2", "container.failed", "one", 2, ("job_1", "cnt_2"));
    let refused = whole("r3", "two");
    Evidence {
        account: json!({
            "jobsMade": 1, "jobsRunning": 0, "credits": {"charged": 120, "reserved": 0},
            "jobs": [{"id": "job_1", "containerIds": ["cnt_1", "cnt_2"], "credits": 240, "idempotencyKey": "k1"}],
            "keys": {"k1": {"posts": 2, "bodies": ["aa"]}, "k2": {"posts": 1, "bodies": ["bb"]}},
            "jobsByKey": {"k1": ["job_1"]},
        }),
        records: [&completed, &failed, &refused, &completed].map(message).to_vec(),
        dead_letters: vec![dead_letter("UNREADABLE")],
        expected_runs: vec![run("one", 2), run("two", 3)],
        expected_dead_letters: vec!["UNREADABLE"],
        ..Evidence::default()
    }
}

/// The violations after a change to evidence that was clean.
fn after(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = clean();
    change(&mut evidence);
    evidence.violations()
}

#[track_caller]
fn assert_only(violations: &[String], part: &str) {
    assert!(violations.len() == 1 && violations[0].contains(part), "wanted only {part:?}: {violations:#?}");
    assert!(violations[0].starts_with('P'), "each names its promise: {violations:#?}");
}

fn replace(evidence: &mut Evidence, index: usize, change: impl FnOnce(&mut Value)) {
    let mut record = evidence.records[index].json();
    change(&mut record);
    evidence.records[index] = message(&record);
}

#[test]
fn clean_evidence_is_clean() {
    clean().assert_clean();
}

#[test]
#[should_panic(expected = "variant 2 was lost")]
fn a_violation_fails_the_test_and_is_named() {
    let mut evidence = clean();
    evidence.records.remove(1);
    evidence.assert_clean();
}

#[test]
fn a_lost_variant_is_found_from_both_sides() {
    let violations = after(|evidence| drop(evidence.records.remove(1)));
    assert!(violations.iter().any(|line| line.contains("variant 2 was lost")), "{violations:#?}");
    assert!(
        violations.iter().any(|line| line.contains("cnt_2 of job_1 was paid for and lost")),
        "{violations:#?}"
    );
}

#[test]
fn a_brief_that_never_got_a_container_owes_one_record_for_all_variants() {
    let violations = after(|evidence| drop(evidence.records.remove(2)));
    assert_eq!(violations.iter().filter(|line| line.contains("two run 1 variant")).count(), 3);
    let twice = whole("r4", "two");
    assert_only(&after(|evidence| evidence.records.push(message(&twice))), "2 different brief.failed");
}

#[test]
fn a_brief_level_record_beside_container_records_is_a_contradiction() {
    let whole = whole("r4", "one");
    assert_only(&after(|evidence| evidence.records.push(message(&whole))), "beside records of containers");
}

#[test]
fn two_results_of_one_variant_are_a_contradiction() {
    let second = container("r4", "container.canceled", "one", 1, ("job_1", "cnt_1"));
    assert_only(&after(|evidence| evidence.records.push(message(&second))), "has several results");
}

#[test]
fn what_was_given_up_as_lost_may_turn_up() {
    let mut lost = container("r4", "container.failed", "one", 1, ("job_1", "cnt_1"));
    lost["error"] = json!({"code": "GENERATION_LOST"});
    assert_eq!(after(|evidence| evidence.records.push(message(&lost))), [""; 0]);
}

#[test]
fn a_repeat_must_have_the_same_bytes_and_properties() {
    let other_bytes = after(|evidence| evidence.records[3].body.push(b' '));
    assert_only(
        &other_bytes,
        "P4 (same id, same bytes): container.completed p.1/b/one run 1 variant 1 (r1) was published again and differs: from byte",
    );
    let other_properties = after(|evidence| {
        evidence.records[3].envelope.as_mut().unwrap().correlation_id = Some("else".to_owned());
    });
    assert_only(
        &other_properties,
        "was published again and differs: properties.correlation_id: \"one\" → \"else\"",
    );
}

#[test]
fn records_that_nobody_asked_for_are_found() {
    let stranger = whole("r4", "three");
    assert_only(&after(|evidence| evidence.records.push(message(&stranger))), "was not asked for");
    let fewer = after(|evidence| evidence.expected_runs[0].variants = vec![1]);
    assert_only(&fewer, "of a variant that was not asked for");
}

#[test]
fn a_message_that_is_no_record_is_found() {
    assert_only(&after(|evidence| evidence.records.push(Message::of_line("[]?"))), "message 4 is no record");
}

#[test]
fn every_property_of_a_record_is_checked() {
    type Doctor = fn(&mut Envelope);
    let doctored: [(&str, Doctor); 6] = [
        ("routing key", |envelope| envelope.routing_key = "brief.failed.p.1".to_owned()),
        ("message_id", |envelope| envelope.message_id = None),
        ("type", |envelope| envelope.kind = Some("container.failed".to_owned())),
        ("content_type", |envelope| envelope.content_type = None),
        ("delivery_mode", |envelope| envelope.delivery_mode = Some(1)),
        ("correlation_id", |envelope| envelope.correlation_id = None),
    ];
    for (property, doctor) in doctored {
        let violations = after(|evidence| doctor(evidence.records[2].envelope.as_mut().unwrap()));
        assert_only(&violations, &format!("has {property} "));
    }
}

#[test]
fn a_line_of_a_file_has_no_properties_to_check() {
    let violations = after(|evidence| {
        for record in &mut evidence.records {
            *record = Message::of_line(&record.json().to_string());
        }
    });
    assert_eq!(violations, [""; 0]);
}

#[test]
fn a_finished_batch_has_its_type_as_its_routing_key() {
    let finished = json!({"recordId": "f", "type": "batch.finished", "batchId": "b", "revision": 1});
    let mut finished = message(&finished);
    finished.envelope.as_mut().unwrap().routing_key = "batch.finished".to_owned();
    assert_eq!(after(|evidence| evidence.records.push(finished)), [""; 0]);
}

#[test]
fn a_key_that_made_two_jobs_is_found() {
    let violations = after(|evidence| {
        let account = &mut evidence.account;
        account["jobsMade"] = json!(2);
        let twin = json!({"id": "job_2", "containerIds": [], "credits": 0, "idempotencyKey": "k1"});
        account["jobs"].as_array_mut().unwrap().push(twin);
        account["jobsByKey"]["k1"] = json!(["job_1", "job_2"]);
    });
    let wanted = ["key k1 made 2 jobs: job_1, job_2", "2 jobs were made under 1 distinct keys"];
    assert_eq!(violations, wanted.map(|line| format!("P1 (never bought twice): {line}")));
}

#[test]
fn a_job_without_a_key_is_found() {
    let violations = after(|evidence| {
        evidence.account["jobs"][0]["idempotencyKey"] = Value::Null;
        evidence.account["jobsByKey"] = json!({});
    });
    assert_only(&violations, "1 jobs were made under 0 distinct keys");
}

#[test]
fn a_key_that_was_sent_with_two_bodies_is_found() {
    let violations = after(|evidence| evidence.account["keys"]["k1"]["bodies"] = json!(["aa", "ab"]));
    assert_only(&violations, "key k1 was sent with 2 different bodies");
}

#[test]
fn a_job_that_no_record_tells_of_is_found() {
    let violations = after(|evidence| {
        let account = &mut evidence.account;
        account["jobsMade"] = json!(2);
        let orphan =
            json!({"id": "job_2", "containerIds": ["cnt_9"], "credits": 120, "idempotencyKey": "k2"});
        account["jobs"].as_array_mut().unwrap().push(orphan);
        account["jobsByKey"]["k2"] = json!(["job_2"]);
    });
    assert_only(&violations, "cnt_9 of job_2 was paid for and lost");
}

#[test]
fn a_record_of_something_that_was_never_made_is_found() {
    let violations = after(|evidence| {
        evidence.expected_runs.push(run("three", 1));
        let invented = container("r4", "container.failed", "three", 1, ("job_7", "cnt_7"));
        evidence.records.push(message(&invented));
    });
    assert_only(&violations, "cnt_7 of job_7, which the API never made");
}

#[test]
fn two_jobs_for_one_run_are_found_although_their_keys_differ() {
    let violations = after(|evidence| {
        let account = &mut evidence.account;
        account["jobsMade"] = json!(2);
        account["jobs"] = json!([
            {"id": "job_1", "containerIds": ["cnt_1"], "credits": 120, "idempotencyKey": "k1"},
            {"id": "job_2", "containerIds": ["cnt_2"], "credits": 120, "idempotencyKey": "k2"},
        ]);
        account["jobsByKey"]["k2"] = json!(["job_2"]);
        replace(evidence, 1, |record| record["jobId"] = json!("job_2"));
    });
    assert_only(&violations, "p.1/b/one run 1 was bought more than once: job_1, job_2");
}

#[test]
fn charged_credits_must_have_completed_records() {
    let violations = after(|evidence| evidence.account["credits"]["charged"] = json!(240));
    assert_only(&violations, "240 credits were charged, but the completed records are worth 120");
}

#[test]
fn an_unfinished_scene_is_not_judged_as_clean() {
    assert_only(&after(|evidence| evidence.account["jobsRunning"] = json!(1)), "it is not over");
    assert_only(&after(|evidence| evidence.account["credits"]["reserved"] = json!(50)), "it is not over");
}

#[test]
fn an_account_that_cannot_be_read_is_not_clean() {
    assert_only(&after(|evidence| evidence.account = Value::Null), "the sandbox's account cannot be read");
}

#[test]
fn dead_letters_say_why_and_are_those_that_must_be_there() {
    let unexpected = after(|evidence| evidence.dead_letters.push(dead_letter("BRIEF_CONFLICT")));
    assert_only(
        &unexpected,
        "1 dead letters with reason \"BRIEF_CONFLICT\", 1 of them different, there must be 0",
    );
    assert_only(
        &after(|evidence| evidence.dead_letters.clear()),
        "0 dead letters with reason \"UNREADABLE\"",
    );
    let mute = after(|evidence| {
        evidence.dead_letters[0].envelope.as_mut().unwrap().headers.remove("x-briefd-detail");
    });
    assert_only(&mute, "dead letter 0 has no header x-briefd-detail");
}

#[test]
fn what_was_set_aside_before_a_death_may_come_again_under_the_id_that_it_had() {
    let again = |id: &'static str, body: &'static [u8]| {
        after(|evidence| {
            evidence.crashes = 1;
            evidence.dead_letters.push(Message { body: body.to_vec(), ..dead_letter("UNREADABLE") });
            for (letter, (id, row)) in evidence.dead_letters.iter_mut().zip([("same", "1"), (id, "2")]) {
                let headers = &mut letter.envelope.as_mut().unwrap().headers;
                headers.insert("x-briefd-id".into(), id.into());
                headers.insert("x-briefd-row".into(), row.into());
            }
        })
    };
    assert_eq!(again("same", b"?"), [""; 0]);
    assert_only(&again("other", b"?"), "2 dead letters with reason \"UNREADABLE\", 2 of them different");
    assert_only(&again("same", b"!"), "dead letter same came with two bodies");
}
