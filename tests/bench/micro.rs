//! What one brief costs in pure functions: reading, checking and fingerprinting its message, its keys, its record.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark without its parts fails by a panic; criterion makes the functions"
)]

use std::hint::black_box;

use briefd::brief::{Identity, Rules, keys, parse};
use briefd::flow::{Delivery, Properties};
use briefd::record::{Record, RecordType};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use serde_json::value::RawValue;

fn message() -> Delivery {
    let body = json!({
        "projectId": "project-1", "batchId": "2026-11", "briefId": "brief-1", "format": "video_remix",
        "brief": {"hook": "Three things nobody tells you about running shoes", "topic": "running shoes"},
        "targetPlatforms": ["tiktok"], "metadata": {"cmsId": 17, "tags": ["spring", "shoes"]},
    });
    Delivery { body: body.to_string().into_bytes(), ..Delivery::default() }
}

fn reading(criterion: &mut Criterion) {
    let rules = Rules::strict(262_144);
    let message = message();
    criterion.bench_function("read, check and fingerprint a message", |bencher| {
        bencher.iter(|| parse(black_box(&message), &rules));
    });
}

fn identity() -> Identity {
    Identity { project_id: "project-1".into(), batch_id: "2026-11".into(), brief_id: "brief-1".into() }
}

fn deriving(criterion: &mut Criterion) {
    let identity = identity();
    criterion.bench_function("key text, Idempotency-Key and container id", |bencher| {
        bencher.iter(|| {
            let text = keys::key_text(black_box(&identity), 1, None);
            (keys::idempotency_key(&text), keys::container_id(&text))
        });
    });
}

fn record() -> Record {
    let container = json!({"id": "cnt_1", "status": "completed", "caption": "x".repeat(600)}).to_string();
    let raw = |text: String| RawValue::from_string(text).expect("it is JSON");
    let time = jiff::Timestamp::UNIX_EPOCH;
    Record {
        kind: RecordType::ContainerCompleted,
        identity: identity(),
        run: 1,
        key_text: keys::key_text(&identity(), 1, None),
        variant: Some(1),
        variant_count: 1,
        job_id: Some("job_1".into()),
        container_id: Some("cnt_1".into()),
        format: Some("video_remix".into()),
        container: Some(raw(container)),
        error: None,
        request: None,
        metadata: Some(raw(json!({"cmsId": 17}).to_string())),
        credits_estimate: Some(120),
        enqueued_at: Some(time),
        received_at: time,
        submitted_at: Some(time),
        finished_at: time,
    }
}

fn building(criterion: &mut Criterion) {
    let record = record();
    criterion.bench_function("id, bytes and properties of a record", |bencher| {
        bencher.iter(|| {
            let record = black_box(&record);
            (record.id(), record.to_bytes(), record.properties(&Properties::default()))
        });
    });
}

criterion_group!(benches, reading, deriving, building);
criterion_main!(benches);
