//! What a record is, to the byte.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

fn failed_container() -> Record {
    let identity = Identity {
        project_id: "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39".to_owned(),
        batch_id: "spring".to_owned(),
        brief_id: "hook-7".to_owned(),
    };
    Record {
        kind: RecordType::ContainerFailed,
        run: 1,
        key_text: keys::key_text(&identity, 1, None),
        identity,
        variant: Some(1),
        variant_count: 2,
        job_id: Some("job_1".to_owned()),
        container_id: Some("cnt_1".to_owned()),
        format: Some("video_remix".to_owned()),
        container: raw(r#"{"id":"cnt_1", "new":1e2,"caption":"\/"}"#),
        error: Some(RecordError::new(Source::Layers, "RENDER_FAILED", "out of frames")),
        request: None,
        metadata: raw(r#"{"cmsId": 4711}"#),
        credits_estimate: Some(120),
        enqueued_at: None,
        received_at: "2026-05-01T09:00:00.123Z".parse().unwrap(),
        submitted_at: "2026-05-01T11:00:01+02:00".parse().ok(),
        finished_at: "2026-05-01T09:02:00Z".parse().unwrap(),
    }
}

fn failed_brief() -> Record {
    let mut error = RecordError::new(Source::Briefd, "INVALID_BRIEF", "2 things are wrong");
    error.details = Some(json!({"violations": [{"path": "brief", "problem": "is missing"}]}));
    Record {
        kind: RecordType::BriefFailed,
        variant: None,
        job_id: None,
        container_id: None,
        format: None,
        container: None,
        error: Some(error),
        request: raw(r#"{"projectId":"p","variantCount":2}"#),
        metadata: None,
        submitted_at: None,
        ..failed_container()
    }
}

fn completed() -> Record {
    Record { kind: RecordType::ContainerCompleted, error: None, ..failed_container() }
}

#[test]
fn the_bytes_of_a_record_do_not_drift() {
    let text = |record: Record| String::from_utf8(record.to_bytes()).unwrap();
    insta::assert_snapshot!([text(failed_container()), text(failed_brief()), text(completed())].join("\n"));
}

#[test]
fn records_fit_their_published_schema_and_so_does_the_documented_example() {
    let validator = jsonschema::options().should_validate_formats(true).build(&schema()).unwrap();
    let mut canceled = failed_container();
    canceled.kind = RecordType::ContainerCanceled;
    canceled.identity.batch_id = String::new();
    for record in [failed_container(), failed_brief(), completed(), canceled] {
        let value: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
        let problems: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(problems, [""; 0]);
    }
    let documented = json!({
        "schema": "briefd.record/1",
        "recordId": "09742cbd-2076-5353-a57a-922018190ef6", "type": "container.failed",
        "projectId": "p", "batchId": "b", "briefId": "1", "run": 1, "variant": 1, "variantCount": 2,
        "jobId": "job_1", "containerId": "cnt_1", "format": "video_remix",
        "container": { "the API's record": "verbatim, unknown fields included" },
        "error": { "code": "RENDER_FAILED", "message": "…", "requestId": null, "details": null, "source": "layers", "stage": null, "remedy": "rerun" },
        "request": null, "metadata": { "cmsId": 4711 }, "creditsEstimate": 120,
        "enqueuedAt": null, "receivedAt": "2026-05-01T09:00:00Z", "submittedAt": "2026-05-01T09:00:01Z", "finishedAt": "2026-05-01T09:02:00Z"
    });
    assert!(validator.is_valid(&documented));
    let ours: Value = serde_json::from_slice(&failed_container().to_bytes()).unwrap();
    assert!(
        ours.as_object().unwrap().keys().eq(documented.as_object().unwrap().keys()),
        "fields and their order"
    );
    let mut unknown_type = documented;
    unknown_type["type"] = json!("container.lost");
    assert!(!validator.is_valid(&unknown_type));
}

fn finished_batch() -> BatchFinished {
    let counts = |received, completed, failed| BatchCounts {
        received,
        completed,
        failed,
        containers: ContainerCounts { completed, failed, canceled: 0 },
        ..BatchCounts::default()
    };
    let part = |counts, credits_estimate| ProjectPart { counts, credits_estimate };
    BatchFinished {
        batch_id: "spring".to_owned(),
        revision: 1,
        size: 3,
        projects: [("p", part(counts(2, 1, 1), Some(240))), ("q", part(counts(1, 1, 0), None))]
            .map(|(project, part)| (project.to_owned(), part))
            .into(),
        finished_at: "2026-05-01T09:02:00Z".parse().unwrap(),
    }
}

#[test]
fn the_end_of_a_batch_is_told_in_bytes_that_do_not_drift_and_fit_the_schema() {
    let text = String::from_utf8(finished_batch().to_bytes()).unwrap();
    insta::assert_snapshot!(text, @r#"{"schema":"briefd.record/1","recordId":"475e8a61-33db-5022-bf09-6018c90a615d","type":"batch.finished","batchId":"spring","revision":1,"size":3,"received":3,"completed":2,"partial":0,"failed":1,"canceled":0,"containers":{"completed":2,"failed":1,"canceled":0},"byProject":[{"projectId":"p","received":2,"completed":1,"partial":0,"failed":1,"canceled":0,"containers":{"completed":1,"failed":1,"canceled":0},"creditsEstimate":240},{"projectId":"q","received":1,"completed":1,"partial":0,"failed":0,"canceled":0,"containers":{"completed":1,"failed":0,"canceled":0},"creditsEstimate":null}],"creditsEstimate":240,"finishedAt":"2026-05-01T09:02:00Z"}"#);
    let validator = jsonschema::options().should_validate_formats(true).build(&schema()).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    assert!(validator.is_valid(&value));
    let sent = finished_batch().properties();
    assert_eq!(sent.message_id.as_deref(), value["recordId"].as_str());
    assert_eq!(sent.kind.as_deref(), Some(BATCH_FINISHED));
    value["revision"] = json!(0);
    assert!(!validator.is_valid(&value));
}

#[test]
fn the_published_schema_does_not_drift() {
    insta::assert_json_snapshot!("record_schema", schema());
}

#[test]
fn a_record_has_the_id_of_its_intent_variant_and_type() {
    assert_eq!(completed().id().to_string(), "09742cbd-2076-5353-a57a-922018190ef6");
    assert_eq!(failed_brief().id().to_string(), "12094507-7344-5a5b-8472-0027f52f70dd");
    let mut ids: Vec<_> = [failed_container(), failed_brief(), completed()].iter().map(Record::id).collect();
    ids.push(Record { variant: Some(2), ..completed() }.id());
    let key_text = keys::key_text(&completed().identity, 1, Some("cnt_1"));
    ids.push(Record { key_text, ..completed() }.id());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn the_routing_key_is_the_type_and_the_project_without_dots_within_the_amqp_limit() {
    assert_eq!(routing_key(RecordType::ContainerFailed, "acme.fit.eu"), "container.failed.acme_fit_eu");
    assert_eq!(failed_brief().routing_key(), "brief.failed.254a4ce1-f4ca-42b1-9e36-17ca45ef3d39");
    assert!(routing_key(RecordType::ContainerCompleted, &"é".repeat(200)).len() <= 255);
}

#[test]
fn correlation_and_trace_of_the_message_are_passed_on_and_nothing_else() {
    let headers = [("traceparent", "00-1"), ("tracestate", "a=b"), ("x-team", "growth")];
    let received = Properties {
        message_id: Some("theirs".to_owned()),
        correlation_id: Some("c-1".to_owned()),
        reply_to: Some("back".to_owned()),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect(),
        ..Properties::default()
    };
    let sent = completed().properties(&received);
    assert_eq!(sent.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(sent.message_id.as_deref(), Some("09742cbd-2076-5353-a57a-922018190ef6"));
    assert_eq!((sent.kind.as_deref(), sent.reply_to), (Some("container.completed"), None));
    assert_eq!(sent.headers.keys().collect::<Vec<_>>(), ["traceparent", "tracestate"]);
    let sent = completed().properties(&Properties::default());
    assert_eq!(sent.correlation_id.as_deref(), Some("hook-7"));
}

#[test]
fn the_table_of_remedies_does_not_drift() {
    let width = REMEDIES.iter().map(|row| row.code.len()).max().unwrap();
    let rows: Vec<_> = REMEDIES
        .iter()
        .map(|row| {
            format!("{} {:width$} {:6} {}", row.source.word(), row.code, row.remedy.word(), row.meaning)
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
    assert_eq!(remedy("SOMETHING_NEW", Source::Layers), Remedy::Rerun);
    assert_eq!(remedy("SOMETHING_NEW", Source::Briefd), Remedy::None);
}

#[test]
fn words_are_the_same_in_json_and_in_the_ledger() {
    for kind in RecordType::ALL {
        assert_eq!(json!(kind), kind.word());
        assert_eq!(RecordType::from_word(kind.word()), Some(kind));
    }
    for remedy in Remedy::ALL {
        assert_eq!(json!(remedy), remedy.word());
        assert_eq!(Remedy::from_word(remedy.word()), Some(remedy));
    }
    for source in Source::ALL {
        assert_eq!(json!(source), source.word());
        assert_eq!(Source::from_word(source.word()), Some(source));
    }
}

proptest! {
    #[test]
    fn the_same_record_has_the_same_bytes_and_carries_foreign_json_untouched(
        text in any::<String>(), number in any::<f64>().prop_filter("JSON has finite numbers only", |number| number.is_finite()),
    ) {
        let foreign = format!("{{ \"text\" : {}, \"n\":{number:e} }}", json!(text));
        let record = Record { container: raw(&foreign), metadata: raw(&foreign), ..failed_container() };
        let bytes = record.to_bytes();
        prop_assert_eq!(&bytes, &record.clone().to_bytes());
        prop_assert_eq!(String::from_utf8(bytes).unwrap().matches(&foreign).count(), 2);
    }
}
