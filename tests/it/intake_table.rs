//! What happens to what comes in: every row of the table that the README promises, through the broker, with a worker
//! at work. Which row a message fell into is what the worker counted; what followed is what came out, what was set
//! aside, and what the API was asked for.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Variable;
use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::message::Message;
use crate::support::process::{API_KEY, PROMPTLY, SandboxProcess, Worker, briefd};

/// Every way to be decided about.
const RESULTS: [&str; 8] =
    ["new", "duplicate", "republished", "replaced", "rerun", "invalid", "conflict", "unreadable"];

/// A broker, an API and a worker, and what came out so far.
struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    dir: TempDir,
    variables: Vec<Variable>,
    evidence: Evidence,
    pruned: bool,
}

impl Scene {
    async fn start(more: &[Variable]) -> Self {
        let broker = TestBroker::connect().await;
        let fast = ["--speed", "100", "--tier", "unlimited", "--min-seconds", "1", "--max-seconds", "5"];
        let sandbox = SandboxProcess::spawn(&fast).await;
        let dir = TempDir::new().unwrap();
        let quick = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
        ];
        let quick = quick.map(|(name, value)| (name, value.to_owned()));
        let variables = [&broker.variables(), &sandbox.variables(), &quick[..], more].concat();
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        Self { broker, sandbox, worker, dir, variables, evidence: Evidence::default(), pruned: false }
    }

    /// Publishes a brief and waits until it is decided about in this way.
    async fn send(&self, brief: &Value, result: &str) {
        self.send_with(brief.to_string().as_bytes(), BasicProperties::default(), result).await;
    }

    async fn send_with(&self, body: &[u8], properties: BasicProperties, result: &str) {
        let series = received(result);
        let before = self.worker.series(&series).await;
        self.broker.publish_with(body, properties).await;
        self.worker.wait_series(&series, before + 1.0).await;
    }

    /// The next records, in an order that does not depend on who was faster: by brief, run and variant.
    async fn records(&mut self, count: usize) -> Vec<Value> {
        let taken = self.broker.take_records(count, PROMPTLY).await;
        assert_eq!(
            taken.len(),
            count,
            "so many records came; the worker said:\n{}",
            self.worker.process.stderr()
        );
        let mut records: Vec<Value> = taken.iter().map(Message::json).collect();
        records.sort_by_key(|record| {
            (record["briefId"].to_string(), record["run"].as_u64(), record["variant"].as_u64())
        });
        self.evidence.records.extend(taken);
        records
    }

    async fn dead_letter(&mut self) -> Message {
        let mut taken = self.broker.take_dead_letters(1, PROMPTLY).await;
        assert_eq!(taken.len(), 1, "a dead letter; the worker said:\n{}", self.worker.process.stderr());
        self.evidence.dead_letters.extend(taken.clone());
        taken.remove(0)
    }

    /// Publishes a brief that is a conflict; returns the reason that its dead letter gives.
    async fn conflict(&mut self, brief: &Value) -> String {
        self.send(brief, "conflict").await;
        self.evidence.expected_dead_letters.push("BRIEF_CONFLICT");
        let letter = self.dead_letter().await;
        assert_eq!(letter.header("x-briefd-reason"), "BRIEF_CONFLICT");
        assert_eq!(letter.json(), *brief, "the body is kept");
        letter.header("x-briefd-detail").to_owned()
    }

    fn expect(&mut self, run: u64, brief: &Value) {
        self.evidence.expected_runs.push(ExpectedRun { run, ..ExpectedRun::first_of(brief) });
    }

    /// Ends the worker, and judges everything it left behind. Returns what the API was asked for.
    async fn finish(mut self, counts: &[(&str, f64)]) -> Value {
        for result in RESULTS {
            let wanted = counts.iter().find(|(name, _)| *name == result).map_or(0.0, |(_, count)| *count);
            let found = self.worker.series(&received(result)).await;
            assert_eq!(found.to_string(), wanted.to_string(), "received as {result}");
        }
        assert_eq!(self.worker.series("briefd_ledger_imbalance").await.to_string(), "0");
        self.worker.process.sigterm();
        assert!(self.worker.process.wait_exit(PROMPTLY).await.success());
        self.evidence.records.extend(self.broker.take_rest("records").await);
        self.evidence.dead_letters.extend(self.broker.take_rest("briefs.dead").await);
        self.evidence.account = self.sandbox.account().await;
        let evidence = if self.pruned {
            // The ledger's rows tell nothing any more of what the other evidence shows.
            self.evidence
        } else {
            self.evidence.with_ledger(self.dir.path()).await
        };
        evidence.assert_clean();
        evidence.account
    }
}

fn received(result: &str) -> String {
    format!("briefd_briefs_received_total{{result=\"{result}\"}}")
}

/// A brief whose fate at the API is what `wish` says.
fn brief(id: &str, wish: &Value) -> Value {
    json!({"projectId": "p", "batchId": "b", "briefId": id, "format": "slideshow_remix",
        "brief": {"hook": format!("hook of {id}")}, "metadata": {"sandbox": wish}})
}

/// The same with some fields set; a dot leads into an object.
fn with(brief: &Value, changes: &[(&str, Value)]) -> Value {
    let mut brief = brief.clone();
    for (path, value) in changes {
        let mut place = &mut brief;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value.clone();
    }
    brief
}

fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_names_no_brief_is_set_aside_whole_and_blocks_nothing() {
    let mut scene = Scene::start(&[("BRIEFD__INTAKE__MAX_MESSAGE_BYTES", "2KiB".to_owned())]).await;
    let text = |text: &str| text.as_bytes().to_vec();
    let long = format!("{{\"projectId\": \"p\", \"brief\": {{\"hook\": \"{}\"}}}}", "h".repeat(2048));
    let project = "z".repeat(201);
    let cases: [(Vec<u8>, &str); 17] = [
        (b"{\"projectId\": \"\xff\"}".to_vec(), "the message is not UTF-8: byte 16 fits no character"),
        (text("now!"), "the message is not JSON: "),
        (text(""), "the message is not JSON: it is empty"),
        (text("\u{feff}{\"projectId\": \"p\"}"), "the message is not JSON: it starts with a byte order mark"),
        (text("{\"projectId\": \"p\"} {}"), "the message is not JSON: "),
        (text(&"[".repeat(1000)), "the message is not JSON: "),
        (text("[{\"projectId\": \"p\"}]"), "the message is not a JSON object"),
        (text("\"p\""), "the message is not a JSON object"),
        (text(&long), "intake.max_message_bytes allows 2048"),
        (text("{\"projectId\": \"p\", \"projectId\": \"q\"}"), "the message is ambiguous: "),
        (text("{\"projectId\": \"p\", \"brief\": {\"a\": 1, \"a\": 1}}"), "the message is ambiguous: "),
        (
            text("{\"projectId\": \"p\", \"metadata\": {\"n\": 9007199254740993}}"),
            "the message is ambiguous: ",
        ),
        (text("{\"brief\": {\"hook\": \"h\"}}"), "projectId is missing"),
        (text("{\"projectId\": \"\"}"), "projectId "),
        (text(&format!("{{\"projectId\": \"{project}\"}}")), "projectId "),
        (text("{\"projectId\": \"p\", \"batchId\": \"a\\nb\"}"), "batchId "),
        (text("{\"projectId\": \"p\", \"briefId\": 7}"), "briefId "),
    ];
    for (body, detail) in &cases {
        scene.send_with(body, BasicProperties::default(), "unreadable").await;
        let letter = scene.dead_letter().await;
        assert!(letter.header("x-briefd-detail").contains(detail), "{detail}: {letter:?}");
        assert_eq!(letter.header("x-briefd-reason"), "UNREADABLE");
        assert!(letter.header("x-briefd-at").parse::<jiff::Timestamp>().is_ok(), "{letter:?}");
        assert_eq!(letter.body, *body);
    }
    let good = brief("behind them", &json!({}));
    scene.send(&good, "new").await;
    scene.expect(1, &good);
    scene.records(1).await;

    let count = f64::from(u16::try_from(cases.len()).unwrap());
    let aside = scene.worker.series("briefd_dead_lettered_total{reason=\"UNREADABLE\"}").await;
    assert_eq!(aside.to_string(), count.to_string());
    scene.evidence.expected_dead_letters = vec!["UNREADABLE"; cases.len()];
    let account = scene.finish(&[("new", 1.0), ("unreadable", count)]).await;
    assert_eq!(account["posts"]["generate"], 1);
}

#[tokio::test]
async fn a_dead_letter_keeps_what_travelled_beside_it_but_neither_the_user_nor_a_secret() {
    let mut scene = Scene::start(&[]).await;
    let user = reqwest::Url::parse(scene.broker.url()).unwrap().username().to_owned();
    let mut headers = FieldTable::default();
    headers.insert("x-origin".into(), AMQPValue::LongString("pipeline 7".into()));
    headers.insert("x-briefd-detail".into(), AMQPValue::LongString("from an earlier life".into()));
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into())
        .with_content_type("application/json".into())
        .with_content_encoding("gzip".into())
        .with_type("brief".into())
        .with_app_id("planner".into())
        .with_reply_to("answers".into())
        .with_timestamp(1_800_000_000)
        .with_user_id(user.into())
        .with_headers(headers);
    scene.send_with(b"{\"projectId\": \"p\"}", properties, "unreadable").await;
    let letter = scene.dead_letter().await;
    let told = "content_encoding is \"gzip\"; send plain UTF-8 JSON, not compressed";
    assert_eq!(letter.header("x-briefd-detail"), told);
    assert_eq!(letter.header("x-origin"), "pipeline 7");
    assert_eq!(letter.body, b"{\"projectId\": \"p\"}");
    let beside = letter.envelope.unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(beside.message_id, text("m-1"));
    assert_eq!(beside.correlation_id, text("c-1"));
    assert_eq!(beside.content_type, text("application/json"));
    assert_eq!(beside.content_encoding, text("gzip"));
    assert_eq!(beside.kind, text("brief"));
    assert_eq!(beside.app_id, text("planner"));
    assert_eq!(beside.reply_to, text("answers"));
    assert_eq!(beside.timestamp, Some(1_800_000_000));
    assert_eq!(beside.delivery_mode, Some(2), "it outlives a restart of the broker");
    assert_eq!(beside.user_id, None, "whoever sets it aside is another user");

    // With the API key in the body, and in what travels beside it.
    let leaking = with(&brief("leak", &json!({})), &[("brief.hook", json!(format!("use {API_KEY}!")))]);
    scene.send(&leaking, "unreadable").await;
    let leaking = BasicProperties::default().with_correlation_id(API_KEY.into());
    scene.send_with(b"{\"projectId\": \"p\", \"brief\": {}}", leaking, "unreadable").await;
    for _ in 0..2 {
        let letter = scene.dead_letter().await;
        assert!(letter.header("x-briefd-detail").contains("holds the Layers API key"), "{letter:?}");
        assert!(!format!("{letter:?} {}", String::from_utf8_lossy(&letter.body)).contains(API_KEY));
    }
    assert!(!scene.worker.process.stderr().contains(API_KEY));
    for file in ["briefd.db", "briefd.db-wal"] {
        let bytes = std::fs::read(scene.dir.path().join(file)).unwrap();
        assert!(bytes.windows(API_KEY.len()).all(|part| part != API_KEY.as_bytes()), "{file}");
    }
    scene.evidence.expected_dead_letters = vec!["UNREADABLE"; 3];
    let account = scene.finish(&[("unreadable", 3.0)]).await;
    assert_eq!(account["jobsMade"], 0);
}

#[tokio::test]
async fn an_unknown_brief_that_is_invalid_ends_at_once_and_one_that_asks_for_a_rerun_is_set_aside() {
    let mut scene = Scene::start(&[]).await;
    let plain = |id: &str| brief(id, &json!({}));
    let mut without = plain("1 nothing to make");
    without.as_object_mut().unwrap().remove("brief");
    let cases = [
        (without, "brief", "is missing"),
        (with(&plain("2 format"), &[("format", json!("opera"))]), "format", "\"opera\" is not one of"),
        (with(&plain("3 nine"), &[("variantCount", json!(9))]), "variantCount", "maximum of 5"),
        (with(&plain("4 stray"), &[("hook", json!("h"))]), "hook", "did you mean `brief.hook`?"),
        (with(&plain("5 own id"), &[("id", json!("x"))]), "id", "is made by briefd"),
        (with(&plain("6 priority"), &[("priority", json!(10))]), "priority", "maximum of 9"),
    ];
    for (invalid, ..) in &cases {
        scene.send(invalid, "invalid").await;
        scene.expect(1, invalid);
    }
    let records = scene.records(cases.len()).await;
    for (record, (invalid, path, problem)) in records.iter().zip(&cases) {
        assert_eq!(record["type"], "brief.failed");
        assert_eq!(record["briefId"], invalid["briefId"]);
        let error = &record["error"];
        assert_eq!((&error["code"], &error["source"]), (&json!("INVALID_BRIEF"), &json!("briefd")));
        assert_eq!(error["remedy"], "change");
        let violations = error["details"]["violations"].as_array().unwrap();
        assert_eq!((violations.len(), violations[0]["path"].as_str()), (1, Some(*path)), "{violations:?}");
        assert!(violations[0]["problem"].as_str().unwrap().contains(problem), "{violations:?}");
    }
    let failures = "briefd_failures_total{code=\"INVALID_BRIEF\",project=\"other\",source=\"briefd\"}";
    assert_eq!(scene.worker.series(failures).await.to_string(), "6");

    let rerun = with(&plain("never seen"), &[("run", json!(2))]);
    let why = scene.conflict(&rerun).await;
    assert_eq!(why, "run 2 of a brief that is not known: enqueue run 1 first (free if it was bought)");
    let account = scene.finish(&[("invalid", 6.0), ("conflict", 1.0)]).await;
    assert_eq!(account["posts"]["generate"], 0, "nothing of this is worth a call");
}

#[tokio::test]
async fn lenient_intake_leaves_unknown_fields_and_words_to_the_api() {
    let mut scene = Scene::start(&[("BRIEFD__INTAKE__VALIDATION", "lenient".to_owned())]).await;
    let field = with(&brief("1 field", &json!({})), &[("mood", json!("bright"))]);
    let word = with(&brief("2 word", &json!({})), &[("format", json!("opera"))]);
    for asked in [&field, &word] {
        scene.send(asked, "new").await;
        scene.expect(1, asked);
    }
    scene.send(&with(&brief("3 nine", &json!({})), &[("variantCount", json!(9))]), "invalid").await;
    scene.expect(1, &brief("3 nine", &json!({})));
    let records = scene.records(3).await;
    assert_eq!(kinds(&records), ["container.completed", "brief.failed", "brief.failed"]);
    let sources: Vec<&Value> = records.iter().map(|record| &record["error"]["source"]).collect();
    assert_eq!(sources, [&Value::Null, &json!("layers"), &json!("briefd")]);
    let account = scene.finish(&[("new", 2.0), ("invalid", 1.0)]).await;
    assert_eq!(account["posts"]["generate"], 2);
}

#[tokio::test]
async fn what_comes_for_a_brief_that_is_open_waits_for_its_end_or_changes_nothing() {
    let mut scene = Scene::start(&[]).await;
    // While no read succeeds, no end can be seen.
    scene.sandbox.change("faults", &json!({"read-error-500": 1.0})).await;
    let fails = brief("fails", &json!({"fail": "RENDER_FAILED", "regenerate": {}}));
    let completes = brief("completes", &json!({}));
    let waits = with(&brief("waits", &json!({})), &[("notBefore", json!("2999-01-01T00:00:00Z"))]);
    for open in [&fails, &completes, &waits] {
        scene.send(open, "new").await;
    }
    scene.worker.wait_series("briefd_submissions_total{outcome=\"accepted\"}", 2.0).await;

    let scheduling = [
        ("priority", json!(9)),
        ("notBefore", Value::Null),
        ("expiresAt", json!("2001-01-01T00:00:00Z")),
        ("metadata.note", json!("second try")),
    ];
    for open in [&fails, &completes, &waits] {
        scene.send(&with(open, &scheduling), "duplicate").await;
    }
    let mended = with(&fails, &[("run", json!(2)), ("brief.hook", json!("a better one"))]);
    scene.send(&mended, "rerun").await;
    scene.send(&mended, "duplicate").await;
    scene.send(&with(&completes, &[("run", json!(2))]), "rerun").await;
    let third = with(&mended, &[("run", json!(3))]);
    let why = scene.conflict(&third).await;
    assert_eq!(why, "run 3 was asked for, but the current run is 1: ask for run 2");
    let why = scene.conflict(&with(&completes, &[("brief.hook", json!("other"))])).await;
    assert!(why.contains("differs in brief.hook;"), "{why}");
    assert_eq!(scene.broker.take_rest("records").await, [], "nothing has ended yet");

    scene.sandbox.change("faults", &json!({})).await;
    scene.expect(1, &completes);
    scene.expect(1, &fails);
    scene.expect(2, &fails);
    let records = scene.records(3).await;
    assert_eq!(kinds(&records), ["container.completed", "container.failed", "container.completed"]);
    let (first, second) = (&records[1], &records[2]);
    assert_eq!((&first["run"], &second["run"]), (&json!(1), &json!(2)));
    assert_eq!(first["containerId"], second["containerId"], "the same container, made again");
    assert_ne!(first["jobId"], second["jobId"]);
    assert_ne!(first["recordId"], second["recordId"]);
    assert_eq!(second["container"]["brief"]["hook"], "a better one");

    let counts = [("new", 3.0), ("duplicate", 4.0), ("rerun", 2.0), ("conflict", 2.0)];
    scene.evidence.expected_open.push("waits");
    let account = scene.finish(&counts).await;
    assert_eq!(account["posts"]["generate"], 2, "the one that waits still waits");
    assert_eq!(account["posts"]["regenerate"], 1, "what completed is not made again");
}

#[tokio::test]
async fn other_content_is_a_conflict_as_long_as_a_request_may_have_reached_the_api() {
    let mut scene = Scene::start(&[]).await;
    scene.sandbox.process.freeze();
    let asked = with(
        &brief("asked", &json!({})),
        &[("brief", json!({"hook": "h", "topic": "t"})), ("variantCount", json!(2))],
    );
    scene.send(&asked, "new").await;
    scene.worker.wait_series("briefd_jobs{state=\"submitting\"}", 1.0).await;
    let everything_else = with(
        &asked,
        &[
            ("brief", json!({"hook": "x", "topic": "y", "cta": "z"})),
            ("variantCount", json!(3)),
            ("format", json!("video_remix")),
            ("targetPlatforms", json!(["tiktok"])),
        ],
    );
    let why = scene.conflict(&everything_else).await;
    let named = why.split_once("differs in ").and_then(|(_, rest)| rest.split_once(';')).unwrap().0;
    let named: BTreeSet<&str> = named.split(", ").collect();
    let differing =
        ["brief.cta", "brief.hook", "brief.topic", "format", "targetPlatforms", "variantCount"].into();
    assert_eq!(named.len(), 5, "{why}");
    assert!(named.is_subset(&differing), "{why}");
    scene.send(&asked, "duplicate").await;

    scene.sandbox.process.thaw();
    scene.expect(1, &asked);
    scene.records(2).await;
    scene.finish(&[("new", 1.0), ("duplicate", 1.0), ("conflict", 1.0)]).await;
}

#[tokio::test]
async fn a_brief_that_has_ended_is_answered_again_or_run_again_and_nothing_is_bought_twice() {
    let mut scene = Scene::start(&[]).await;
    let done = brief("1 done", &json!({}));
    let again = json!({"fail": "RENDER_FAILED", "regenerate": {}});
    let failed = with(&brief("2 failed", &again), &[("variantCount", json!(2))]);
    let partial = json!({"failVariants": [2], "regenerate": {}});
    let partial = with(&brief("3 partial", &partial), &[("variantCount", json!(2))]);
    for asked in [&done, &failed, &partial] {
        scene.send(asked, "new").await;
        scene.expect(1, asked);
    }
    let first = scene.records(5).await;
    let (completed, failure) = ("container.completed", "container.failed");
    assert_eq!(kinds(&first), [completed, failure, failure, completed, failure]);

    // The same again: the same bytes again. The judge compares them.
    for asked in [&done, &failed, &partial] {
        scene.send(asked, "republished").await;
    }
    assert_eq!(scene.records(5).await, first);
    scene.send(&with(&done, &[("run", json!(2))]), "republished").await;
    assert_eq!(scene.records(1).await, first[..1]);

    // What cannot be.
    let why = scene.conflict(&with(&done, &[("run", json!(3))])).await;
    assert_eq!(why, "run 3 was asked for, but the current run is 1: ask for run 2");
    let why = scene.conflict(&with(&done, &[("brief.hook", json!("other"))])).await;
    assert!(why.contains("differs in brief.hook;"), "{why}");
    let other_format = [("run", json!(2)), ("format", json!("video_remix"))];
    let why = scene.conflict(&with(&failed, &other_format)).await;
    assert_eq!(why, "containers exist, so only `brief` may differ in a rerun; differs in format");

    // The next run, with what failed only, under the same container ids.
    let mended = with(&failed, &[("run", json!(2)), ("brief.hook", json!("mended"))]);
    scene.send(&mended, "rerun").await;
    scene.send(&with(&partial, &[("run", json!(2))]), "rerun").await;
    scene.expect(2, &failed);
    let taken = ExpectedRun { run: 2, variants: vec![2], ..ExpectedRun::first_of(&partial) };
    scene.evidence.expected_runs.push(taken);
    let second = scene.records(3).await;
    assert_eq!(kinds(&second), [completed; 3]);
    for (before, after) in [&first[1], &first[2], &first[4]].into_iter().zip(&second) {
        assert_eq!(after["run"], 2);
        assert_eq!((&after["containerId"], &after["variant"]), (&before["containerId"], &before["variant"]));
        assert_ne!(after["recordId"], before["recordId"]);
        assert_ne!(after["jobId"], before["jobId"]);
    }
    assert_eq!(second[0]["container"]["brief"]["hook"], "mended");

    // What the first run asked for is known, and what the second did is answered with the latest of each container.
    scene.send(&failed, "duplicate").await;
    scene.send(&mended, "republished").await;
    scene.send(&with(&mended, &[("run", json!(3))]), "republished").await;
    scene.send(&partial, "republished").await;
    let repeated = scene.records(6).await;
    let latest = [&second[0], &second[0], &second[1], &second[1], &first[3], &second[2]];
    assert_eq!(repeated.iter().collect::<Vec<_>>(), latest);

    let counts = [("new", 3.0), ("republished", 7.0), ("rerun", 2.0), ("duplicate", 1.0), ("conflict", 3.0)];
    let account = scene.finish(&counts).await;
    assert_eq!(account["posts"]["generate"], 3);
    assert_eq!(account["posts"]["regenerate"], 3);
}

#[tokio::test]
async fn a_brief_that_was_canceled_at_the_api_can_be_run_again() {
    let mut scene = Scene::start(&[]).await;
    let canceled = brief("canceled", &json!({"never": true, "regenerate": {}}));
    scene.send(&canceled, "new").await;
    scene.worker.wait_series("briefd_submissions_total{outcome=\"accepted\"}", 1.0).await;
    let account = scene.sandbox.account().await;
    scene.sandbox.post(&format!("/v1/jobs/{}/cancel", account["jobs"][0]["id"].as_str().unwrap())).await;
    let records = scene.records(1).await;
    assert_eq!(kinds(&records), ["container.canceled"]);
    assert_eq!(records[0]["error"]["code"], "CANCELED");

    scene.send(&with(&canceled, &[("run", json!(2))]), "rerun").await;
    scene.expect(1, &canceled);
    scene.expect(2, &canceled);
    let records = scene.records(1).await;
    assert_eq!((kinds(&records), &records[0]["run"]), (vec!["container.completed"], &json!(2)));
    scene.finish(&[("new", 1.0), ("rerun", 1.0)]).await;
}

#[tokio::test]
async fn other_content_replaces_what_was_never_accepted() {
    let mut scene = Scene::start(&[]).await;
    let invalid = with(&brief("1 invalid", &json!({})), &[("variantCount", json!(9))]);
    let refused = brief("2 refused", &json!({"refuse": "MODERATION_BLOCKED"}));
    let expired = with(&brief("3 expired", &json!({})), &[("expiresAt", json!("2001-01-01T00:00:00Z"))]);
    let waiting = with(&brief("4 waiting", &json!({})), &[("notBefore", json!("2999-01-01T00:00:00Z"))]);
    let rerun = brief("5 rerun", &json!({"refuse": "MODERATION_BLOCKED"}));
    scene.send(&invalid, "invalid").await;
    for asked in [&refused, &expired, &waiting, &rerun] {
        scene.send(asked, "new").await;
    }
    let failed = scene.records(4).await;
    assert_eq!(kinds(&failed), ["brief.failed"; 4]);
    let codes: Vec<&Value> = failed.iter().map(|record| &record["error"]["code"]).collect();
    assert_eq!(codes, ["INVALID_BRIEF", "MODERATION_BLOCKED", "EXPIRED", "MODERATION_BLOCKED"]);

    // A failed record holds the brief: mended, it is a message.
    let mend = |record: &Value, changes: &[(&str, Value)]| {
        with(&with(&record["request"], changes), &[("metadata", Value::Null)])
    };
    scene.send(&mend(&failed[0], &[("variantCount", json!(1))]), "replaced").await;
    scene.send(&mend(&failed[1], &[("brief.hook", json!("kind"))]), "replaced").await;
    scene.send(&mend(&failed[2], &[("brief.hook", json!("early"))]), "replaced").await;
    let kind = json!({"hook": "kind"});
    scene.send(&with(&waiting, &[("brief", kind.clone()), ("notBefore", Value::Null)]), "replaced").await;
    // Here the run is asked for by its number; no container exists, so anything may differ.
    let anew =
        [("run", json!(2)), ("brief", kind), ("format", json!("video_remix")), ("variantCount", json!(2))];
    scene.send(&mend(&failed[3], &anew), "rerun").await;
    let again = scene.records(6).await;
    assert_eq!(kinds(&again), ["container.completed"; 6]);
    assert!(again.iter().all(|record| record["run"] == 2), "{again:?}");

    // The content that was replaced is known; it does not come back.
    scene.send(&waiting, "duplicate").await;
    scene.send(&refused, "duplicate").await;
    let why = scene.conflict(&with(&waiting, &[("brief", json!({"hook": "a third"}))])).await;
    assert!(why.contains("may have been bought: differs in brief.hook;"), "{why}");

    for asked in [&refused, &expired, &rerun] {
        scene.expect(1, asked);
    }
    scene.evidence.expected_runs.push(ExpectedRun { variants: vec![], ..ExpectedRun::first_of(&invalid) });
    for asked in [&refused, &expired, &waiting] {
        scene.expect(2, asked);
    }
    scene.expect(2, &with(&rerun, &[("variantCount", json!(2))]));
    scene.expect(2, &with(&invalid, &[("variantCount", json!(1))]));
    let counts = [
        ("invalid", 1.0),
        ("new", 4.0),
        ("replaced", 4.0),
        ("rerun", 1.0),
        ("duplicate", 2.0),
        ("conflict", 1.0),
    ];
    let account = scene.finish(&counts).await;
    assert_eq!(account["jobsMade"], 5, "one for each brief, of its second run");
}

#[tokio::test]
async fn of_a_pruned_brief_its_content_is_still_known() {
    let mut scene = Scene::start(&[]).await;
    let (same, other) = (brief("same", &json!({})), brief("other", &json!({})));
    for asked in [&same, &other] {
        scene.send(asked, "new").await;
        scene.expect(1, asked);
    }
    scene.records(2).await;
    scene.worker.process.sigterm();
    assert!(scene.worker.process.wait_exit(PROMPTLY).await.success());
    let prune = ["ledger", "prune", "--older-than", "0s"];
    let told = briefd(scene.dir.path(), &prune, &scene.variables).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    assert!(told.starts_with("2 briefs that ended"), "{told}");
    scene.pruned = true;

    scene.worker = Worker::spawn(scene.dir.path(), &scene.variables);
    scene.worker.wait_ready().await;
    scene.send(&same, "duplicate").await;
    scene.send(&with(&same, &[("run", json!(2))]), "duplicate").await;
    let why = scene.conflict(&with(&other, &[("brief.hook", json!("new"))])).await;
    assert!(why.starts_with("this brief ended long ago with other content"), "{why}");
    let account = scene.finish(&[("duplicate", 2.0), ("conflict", 1.0)]).await;
    assert_eq!(account["jobsMade"], 2);
}
