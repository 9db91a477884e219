//! What nobody sends who means well: properties and headers no library makes, answers without an end. Each hurts only
//! itself: what is behind it is served, the worker stays up, and what is not known stays unknown.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::hostile_api::{ENVELOPES, Hostile, HostileApi, KINDS};
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::raw_amqp::{self, RawPublisher, field, long, short};
use crate::support::{Variable, eventually};

fn brief(id: &str) -> Value {
    json!({"projectId": "p", "briefId": id, "format": "slideshow_remix", "brief": {"hook": id}})
}

/// Values in each other, as deep as a frame of 128 KiB has room for: five bytes a level, all of the last ones first.
fn nested(kind: u8, levels: usize) -> Vec<u8> {
    let level = if kind == b'A' { 5 } else { 6 };
    let mut bytes = Vec::with_capacity(levels * level + 4);
    for outer in (1..=levels).rev() {
        bytes.extend(u32::try_from((outer - 1) * level + level).unwrap().to_be_bytes());
        bytes.extend(if kind == b'A' { &[b'A'][..] } else { &[0, b'F'][..] });
    }
    bytes.extend([0; 4]);
    bytes
}

/// Which property, and its bytes.
type Fields = Vec<(u16, Vec<u8>)>;

/// Properties that no library would send, by what is odd about them.
fn odd_properties() -> Vec<(&'static str, Fields)> {
    let headers = |entries: Vec<Vec<u8>>| vec![(raw_amqp::HEADERS, long(&entries.concat()))];
    let text = |name: &[u8], value: &[u8]| field(name, b'S', &long(value));
    let many = (0..2_000).map(|n| text(format!("header-{n:04}").as_bytes(), &[b'v'; 40])).collect();
    vec![
        ("many-headers", headers(many)),
        ("one-large-header", headers(vec![text(b"large", &[b'x'; 120_000])])),
        ("no-name", headers(vec![text(b"", b"v")])),
        ("the-same-name-twice", headers(vec![text(b"n", b"1"), text(b"n", b"2")])),
        ("a-long-name", headers(vec![text(&[b'n'; 255], b"v")])),
        ("controls", headers(vec![text(b"n\0\n\x1b[2J", b"\0\n\x1b[2J")])),
        ("not-utf8-value", headers(vec![text(b"n", b"\xff\xfe")])),
        ("not-utf8-name", headers(vec![text(b"n\xff\xc3(", b"v")])),
        ("not-utf8-word", vec![(raw_amqp::CORRELATION_ID, short(b"c\xff"))]),
        ("every-type", headers(every_type())),
        ("our-own-headers", headers(vec![text(b"x-briefd-id", b"mine"), text(b"x-briefd-reason", b"none")])),
        ("deaths", headers(vec![text(b"x-death", b"often"), field(b"x-delivery-count", b'l', &[0xff; 8])])),
        (
            "traces",
            headers(vec![text(b"traceparent", b"no\r\nX-Api-Key: x"), field(b"tracestate", b't', &[1])]),
        ),
        (
            "odd-words",
            vec![
                (raw_amqp::CONTENT_TYPE, short(&[b't'; 255])),
                (raw_amqp::DELIVERY_MODE, vec![1]),
                (raw_amqp::PRIORITY, vec![255]),
                (raw_amqp::CORRELATION_ID, short(&[b'c'; 255])),
                (raw_amqp::TIMESTAMP, vec![0xff; 8]),
            ],
        ),
    ]
}

/// A header of each type that there is, with the oddest value that a broker takes: it refuses what is not a number.
fn every_type() -> Vec<Vec<u8>> {
    let cases: [(u8, &[u8]); 14] = [
        (b't', &[7]),
        (b'b', &[0x80]),
        (b'B', &[0xff]),
        (b's', &[0x80, 0]),
        (b'u', &[0xff, 0xff]),
        (b'I', &[0x80, 0, 0, 0]),
        (b'i', &[0xff; 4]),
        (b'l', &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (b'f', &[0x7f, 0x7f, 0xff, 0xff]),
        (b'd', &[0x7f, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (b'D', &[255, 0xff, 0xff, 0xff, 0xff]),
        (b'T', &[0xff; 8]),
        (b'V', &[]),
        (b'x', &[0, 0, 0, 2, 0xff, 0xfe]),
    ];
    cases.iter().map(|(kind, value)| field(&[*kind], *kind, value)).collect()
}

#[tokio::test]
async fn a_message_with_odd_properties_is_served_or_set_aside_and_what_is_behind_it_is_served() {
    let mut scene = Scene::set(&[]).await;
    let mut raw = RawPublisher::connect(scene.broker.url());
    for (name, properties) in odd_properties() {
        scene.publish_raw(&mut raw, name, &properties).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn headers_nested_without_end_neither_kill_the_worker_nor_block_what_is_behind_them() {
    let mut scene = Scene::set(&[]).await;
    let mut raw = RawPublisher::connect(scene.broker.url());
    for (name, kind, levels) in [
        ("tables-100", b'F', 100),
        ("arrays-200", b'A', 200),
        ("arrays", b'A', 20_000),
        ("tables", b'F', 20_000),
    ] {
        let entry = field(b"deep", kind, &nested(kind, levels));
        scene.publish_raw(&mut raw, name, &[(raw_amqp::HEADERS, long(&entry))]).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn answers_that_cannot_be_read_leave_what_was_bought_unknown_and_it_is_collected_when_they_can() {
    let api = HostileApi::start().await;
    let mut scene = Scene::set(&through(&api)).await;
    api.pass_on_to(scene.sandbox.url());
    api.set_hostile(Some(Hostile::Answers));
    for (kind, _) in KINDS {
        let brief = brief(kind);
        scene.broker.publish(&brief).await;
        scene.briefs.push(brief);
    }
    let asked = eventually(PROMPTLY, async || (api.answered() >= 3 * KINDS.len()).then_some(()));
    assert!(asked.await.is_some(), "{} answers; it said:\n{}", api.answered(), scene.worker.process.stderr());
    let count = f64::from(u16::try_from(KINDS.len()).unwrap());
    scene.worker.wait_series("briefd_jobs{state=\"submitting\"}", count).await;
    assert_eq!(scene.worker.look("/healthz").await.unwrap().0, 200);
    assert_eq!(scene.broker.take_rest("records").await, [], "nothing is known, so nothing has failed");
    scene.has_stayed_small();

    api.set_hostile(None);
    let taken = scene.broker.take_records(KINDS.len(), 2 * PROMPTLY).await;
    assert_eq!(taken.len(), KINDS.len(), "the worker said:\n{}", scene.worker.process.stderr());
    assert!(taken.iter().all(|record| record.json()["type"] == "container.completed"), "{taken:?}");
    scene.records.extend(taken);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_followed_to_its_end_after_each_answer_was_one_that_cannot_be_read() {
    let api = HostileApi::start().await;
    let variables = through(&api);
    let mut scene = Scene::set_for("600", &variables).await;
    api.pass_on_to(scene.sandbox.url());
    for n in 0..KINDS.len() {
        let brief = brief(&format!("running {n}"));
        scene.broker.publish(&brief).await;
        scene.briefs.push(brief);
    }
    let count = f64::from(u16::try_from(KINDS.len()).unwrap());
    scene.worker.wait_series("briefd_jobs{state=\"running\"}", count).await;
    api.set_hostile(Some(Hostile::AllAnswers));
    let run = |arguments: &[&str]| briefd(scene.dir.path(), arguments, &scene.variables).output().unwrap();
    for arguments in [&["cancel", "--brief", "running 0", "--yes"][..], &["show", "running 1"], &["doctor"]] {
        let said = run(arguments);
        assert!(said.status.code().is_some(), "{arguments:?} was killed");
        assert!(said.stdout.len() + said.stderr.len() < 64 * 1024, "{arguments:?} says too much");
    }
    let wanted = ["cancel", "job", "list", "progress", "whoami"];
    let asked = eventually(PROMPTLY, async || {
        let replaced = api.replaced();
        let all = api.answered() >= 3 * KINDS.len() && wanted.iter().all(|of| replaced.contains(of));
        all.then_some(())
    });
    assert!(asked.await.is_some(), "{:?}; it said:\n{}", api.replaced(), scene.worker.process.stderr());
    assert!(
        (scene.worker.series("briefd_jobs{state=\"running\"}").await - count).abs() < 0.1,
        "none has ended"
    );
    assert_eq!(scene.broker.take_rest("records").await, [], "nothing was read, so nothing has ended");
    scene.has_stayed_small();

    api.set_hostile(None);
    scene.take_all().await;
    let kinds = ["container.completed", "container.canceled"];
    assert!(scene.records.iter().all(|record| kinds.contains(&record.json()["type"].as_str().unwrap())));
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_megabytes_are_refusals_and_little_of_them_is_kept() {
    let api = HostileApi::start().await;
    // An answer that is late is none, and what is refused after none is not believed before a look ten minutes later.
    let patient = ("BRIEFD__LAYERS__REQUEST_TIMEOUT", "60s".to_owned());
    let mut scene = Scene::set_for("100", &[through(&api), vec![patient]].concat()).await;
    api.pass_on_to(scene.sandbox.url());
    api.set_hostile(Some(Hostile::Refusals));
    scene.sandbox.change("faults", &json!({ "read-error-500": 0.5 })).await;
    for (kind, _) in ENVELOPES {
        let mut refused = brief(&format!("refused {kind}"));
        refused["metadata"] = json!({ "sandbox": { "refuse": "VALIDATION_FAILED" } });
        for brief in [refused, brief(kind)] {
            scene.broker.publish(&brief).await;
            scene.briefs.push(brief);
        }
    }
    scene.take_all().await;
    assert!(api.answered() > ENVELOPES.len(), "reads too: {:?}", api.replaced());
    for record in scene.records.iter().map(Message::json) {
        if record["briefId"].as_str().unwrap().starts_with("refused") {
            assert_eq!(
                (&record["type"], &record["error"]["code"]),
                (&json!("brief.failed"), &json!("VALIDATION_FAILED"))
            );
        } else {
            assert_eq!(record["type"], "container.completed");
        }
        let length = record.to_string().len();
        assert!(length < 64 * 1024, "{length} bytes of a record: {:.300}", record.to_string());
    }
    scene.has_stayed_small();
    let ledger = std::fs::metadata(scene.dir.path().join("briefd.db-wal")).unwrap().len();
    assert!(ledger < 8 * 1024 * 1024, "{ledger} bytes were written for a handful of briefs");
    scene.finish().await;
}

/// What leads a worker to the API through this line, with little patience.
fn through(api: &HostileApi) -> Vec<Variable> {
    vec![
        ("BRIEFD__LAYERS__BASE_URL", api.url().to_owned()),
        ("BRIEFD__LAYERS__REQUEST_TIMEOUT", "2s".to_owned()),
        ("BRIEFD__LAYERS__MAX_RESPONSE_BYTES", "8MiB".to_owned()),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s".to_owned()),
        ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms".to_owned()),
        ("BRIEFD__SUBMIT__RETRY_MAX", "1s".to_owned()),
    ]
}

/// A worker between a broker and the simulator.
struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    briefs: Vec<Value>,
    records: Vec<Message>,
    dir: TempDir,
    variables: Vec<Variable>,
}

impl Scene {
    async fn set(more: &[Variable]) -> Self {
        Self::set_for("1", more).await
    }

    /// A scene in which each generation takes so many seconds of the API, and not many more.
    async fn set_for(seconds: &str, more: &[Variable]) -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&[
            "--speed",
            "100",
            "--tier",
            "unlimited",
            "--min-seconds",
            seconds,
            "--max-seconds",
            &format!("{seconds}.5"),
        ])
        .await;
        let variables = [broker.variables(), sandbox.variables(), quick(), more.to_vec()].concat();
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        Self { broker, sandbox, worker, briefs: Vec::new(), records: Vec::new(), dir, variables }
    }

    /// Publishes a good brief with odd properties, and a good one behind it; waits for what becomes of both.
    async fn publish_raw(&mut self, raw: &mut RawPublisher, name: &str, properties: &[(u16, Vec<u8>)]) {
        let (odd, behind) = (brief(name), brief(&format!("behind {name}")));
        let exchange = self.broker.name("briefs").to_string();
        raw.publish((&exchange, "brief"), properties, odd.to_string().as_bytes());
        self.broker.publish(&behind).await;
        let taken = self.broker.take_records(2, PROMPTLY).await;
        let ids: Vec<String> = taken.iter().map(|record| record.json()["briefId"].to_string()).collect();
        assert_eq!(taken.len(), 2, "{name}: {ids:?}; the worker said:\n{}", self.worker.process.stderr());
        self.briefs.extend([odd, behind]);
        self.records.extend(taken);
    }

    /// Waits for what becomes of each brief.
    async fn take_all(&mut self) {
        let taken = self.broker.take_records(self.briefs.len(), 2 * PROMPTLY).await;
        let said = self.worker.process.stderr();
        assert_eq!(taken.len(), self.briefs.len(), "the worker said:\n{said}");
        self.records.extend(taken);
    }

    /// The worker has needed no more memory than a few answers at once, and has not filled its log.
    fn has_stayed_small(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        let peak_kib: u64 = peak.split(' ').next().unwrap().parse().unwrap();
        assert!(peak_kib < 700 * 1024, "{peak} at most");
        let said = self.worker.process.stderr().len();
        assert!(said < 256 * 1024, "{said} bytes in the log");
    }

    async fn finish(mut self) {
        assert_eq!(self.worker.series("briefd_amqp_reconnects_total").await.to_string(), "0");
        self.worker.process.sigterm();
        assert!(self.worker.process.wait_exit(PROMPTLY).await.success());
        self.records.extend(self.broker.take_rest("records").await);
        let mut expected_runs: Vec<ExpectedRun> = self.briefs.iter().map(ExpectedRun::first_of).collect();
        for run in &mut expected_runs {
            match run.brief_id.as_str() {
                "odd-words" => run.correlation_id = "c".repeat(255),
                "not-utf8-word" => "c?".clone_into(&mut run.correlation_id),
                _ => {}
            }
        }
        Evidence {
            account: self.sandbox.account().await,
            records: self.records,
            dead_letters: self.broker.take_rest("briefs.dead").await,
            expected_runs,
            ..Evidence::default()
        }
        .with_ledger(self.dir.path())
        .await
        .assert_clean();
    }
}

fn quick() -> Vec<Variable> {
    let quick = [
        ("BRIEFD__LAYERS__TIER", "unlimited"),
        ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
        ("BRIEFD__TRACK__POLL_MAX", "200ms"),
        ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
    ];
    quick.map(|(name, value)| (name, value.to_owned())).to_vec()
}
