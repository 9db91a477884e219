//! The pipeline's trace context goes all the way: message, ledger, POST to the API (each repeat too), record, log lines.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_trace_goes_from_the_message_to_the_api_onto_the_record_and_into_the_log() {
    let broker = TestBroker::connect().await;
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let dir = TempDir::new().unwrap();
    let settings = [
        ("BRIEFD__LOG__FORMAT", "json"),
        ("BRIEFD__LOG__LEVEL", "info,briefd=debug"),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "300ms"),
        ("BRIEFD__SUBMIT__RETRY_INITIAL", "100ms"),
    ];
    let settings = settings.map(|(name, value)| (name, value.to_owned()));
    let variables = [broker.variables(), sandbox.variables(), settings.to_vec()].concat();
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;

    let parent = format!("00-{TRACE}-{SPAN}-01");
    // Its first POST is accepted and answered with 502, so that there is a line about a trouble, and a second POST.
    let brief = json!({"projectId": "p", "briefId": "traced", "brief": {"hook": "x"},
        "metadata": {"sandbox": {"faults": ["error-502-html"]}}});
    broker.publish_with(brief.to_string().as_bytes(), traced()).await;
    broker.publish(&json!({"projectId": "p", "briefId": "plain", "brief": {"hook": "y"}})).await;

    let records = broker.take_records(2, PROMPTLY).await;
    let of = |id: &str| records.iter().find(|record| record.json()["briefId"] == id).unwrap();
    assert_eq!(of("traced").header("traceparent"), parent);
    assert_eq!(of("traced").header("tracestate"), "acme=t61rcWkgMzE");

    let account = sandbox.account().await;
    let jobs = account["jobs"].as_array().unwrap();
    let traced: Vec<&Value> = jobs.iter().filter(|job| job["traceparent"] == parent.as_str()).collect();
    assert_eq!(traced.len(), 1, "{jobs:?}");
    assert_eq!(traced[0]["tracestate"], "acme=t61rcWkgMzE");
    assert_eq!(jobs.iter().filter(|job| job.get("traceparent").is_none()).count(), 1, "{jobs:?}");

    worker.process.sigterm();
    worker.process.wait_exit(PROMPTLY).await;
    let said = worker.process.stderr();
    let lines = lines(&said);
    let traced: Vec<&Value> = lines.iter().filter(|line| line["trace_id"] == TRACE).collect();
    for (stage, words) in [("submit", "accepted"), ("submit", "submit: 502"), ("track", "settled")] {
        let line = traced.iter().find(|line| {
            line["stage"] == stage
                && line["message"].as_str().is_some_and(|message| message.starts_with(words))
        });
        let line = line.unwrap_or_else(|| panic!("no line about {words} has the trace:\n{said}"));
        assert_eq!(line["parent_id"], SPAN);
        assert!(line["job.id"].is_i64(), "{line}");
    }
    let plain = lines.iter().filter(|line| line["message"] == "accepted" && line.get("trace_id").is_none());
    assert_eq!(plain.count(), 1, "a brief without a trace has no such fields:\n{said}");
}

#[tokio::test]
async fn a_line_about_an_overdue_job_and_one_about_a_failed_read_name_the_trace() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--tier", "unlimited"]).await;
    let settings = [
        ("BRIEFD__LOG__FORMAT", "json"),
        ("BRIEFD__TRACK__OVERDUE_AFTER", "1s"),
        ("BRIEFD__TRACK__POLL_INITIAL", "100ms"),
        ("BRIEFD__TRACK__POLL_MAX", "100ms"),
    ];
    let settings = settings.map(|(name, value)| (name, value.to_owned()));
    let mut worker =
        Worker::spawn(dir.path(), &[broker.variables(), sandbox.variables(), settings.to_vec()].concat());
    worker.wait_ready().await;
    let brief = json!({"projectId": "p", "briefId": "traced", "brief": {"hook": "x"},
        "metadata": {"sandbox": {"never": true}}});
    broker.publish_with(brief.to_string().as_bytes(), traced()).await;
    worker.wait_said("a job has not ended").await;
    sandbox.change("faults", &json!({"read-error-500": 1.0})).await;
    worker.wait_said("it is read again").await;
    worker.process.sigterm();
    worker.process.wait_exit(PROMPTLY).await;
    let said = worker.process.stderr();
    let lines = lines(&said);
    for words in ["a job has not ended", "it is read again"] {
        let line = lines.iter().find(|line| line["message"].as_str().is_some_and(|it| it.contains(words)));
        let line = line.unwrap_or_else(|| panic!("no line says {words:?}:\n{said}"));
        assert_eq!((&line["trace_id"], &line["parent_id"]), (&json!(TRACE), &json!(SPAN)), "{line}");
        assert_eq!((&line["brief.id"], &line["stage"]), (&json!("traced"), &json!("track")), "{line}");
    }
}

/// A message's properties with a trace.
fn traced() -> BasicProperties {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), text(&format!("00-{TRACE}-{SPAN}-01")));
    headers.insert("tracestate".into(), text("acme=t61rcWkgMzE"));
    BasicProperties::default().with_delivery_mode(2).with_headers(headers)
}

fn lines(said: &str) -> Vec<Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
