//! The reading commands on a ledger that was written as the worker writes it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::color::Paint;
use super::{Cli, Command, Outcome, UsageError, is_broken_pipe, list, records, show, status};
use crate::brief::{Rules, parse};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::work::{MissingBriefId, Validation};
use crate::flow::{Delivery, Properties, SendOutcome};
use crate::job::Event;
use crate::ledger::{
    Again, AttemptOutcome, Claim, Claimed, ContainerEnd, Decide, Ended, Hold, HoldScope, Input, Ledger,
    LiftHold, MarkSent, OpenOptions, Reader, Received, RecordOutcome, Sent, SetHold, Settle, Started, Told,
};
use crate::record::{RecordError, Source};
use crate::telemetry::Metrics;

const ACME: &str = "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39";
const SPRING: &str = "2026-05-spring";

/// A worker's ledger, and the settings of whoever reads beside it.
struct World {
    ledger: Ledger,
    clock: Clock,
    settings: Settings,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::builtin();
        settings.ledger.path = folder.path().join("ledger.db");
        settings.projects = BTreeMap::from([("acme-fit".to_owned(), ACME.to_owned())]);
        let start: Timestamp = "2026-05-02T01:00:00Z".parse().unwrap();
        let clock = Clock::stepped(start);
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: Metrics::new([]),
            origin: "https://api.layers.com".to_owned(),
            input: Input::Queue,
            beat: Box::new(|| {}),
            repeat_after: Duration::from_mins(1),
        };
        let ledger = Ledger::open(&settings.ledger.path, options).await.unwrap();
        Self { ledger, clock, settings, _folder: folder }
    }

    /// Receives one brief; time goes on by a second.
    async fn receive(&self, project: &str, batch: &str, brief: &str, more: Value) {
        let mut message = json!({ "projectId": project, "briefId": brief, "brief": { "topic": brief } });
        if !batch.is_empty() {
            message["batchId"] = batch.into();
        }
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        let body = message.to_string().into_bytes();
        let rules = Rules {
            max_message_bytes: 65_536,
            validation: Validation::Strict,
            missing_brief_id: MissingBriefId::Content,
            projects: &self.settings.projects,
            batch: None,
            default_batch: None,
            batch_size: None,
        };
        let properties = Properties { message_id: Some(format!("m-{brief}")), ..Properties::default() };
        let delivery = Delivery {
            position: 1,
            body: body.clone(),
            properties: properties.clone(),
            ..Delivery::default()
        };
        let received =
            Received { content: parse(&delivery, &rules), body, properties, position: 1, redelivered: false };
        self.clock.advance(Duration::from_secs(1));
        let decide = Decide {
            deliveries: vec![received],
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            send_container_id: true,
        };
        self.ledger.write(decide).await.unwrap();
    }

    /// Claims the job of the highest priority.
    async fn claim(&self) -> Claimed {
        let claim = Claim {
            limit: 1,
            boot: self.ledger.boot().to_owned(),
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            key_fingerprint: "key".to_owned(),
            submitting_max: 32,
            running_max: 0,
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            repeat_after_ms: 0,
            probe_project: None,
            probing: false,
            forget_starts_ms: None,
            turn: crate::ledger::Turn::default(),
        };
        self.ledger.write(claim).await.unwrap().claimed.remove(0)
    }

    async fn outcome(&self, job: &Claimed, outcome: AttemptOutcome, told: Told) {
        self.clock.advance(Duration::from_secs(1));
        let now_ms = self.clock.now_ms();
        let boot = self.ledger.boot().to_owned();
        let record = RecordOutcome {
            job: job.id,
            boot,
            attempt: job.attempts,
            outcome,
            told,
            now_ms,
            retry_ms: now_ms,
        };
        self.ledger.write(record).await.unwrap();
    }

    /// Receives a brief and has it accepted with as many containers as it asks for.
    async fn start(&self, project: &str, batch: &str, brief: &str, containers: usize) -> Claimed {
        self.receive(project, batch, brief, json!({ "variantCount": containers, "priority": 9 })).await;
        let job = self.claim().await;
        let started = Started {
            job_id: Some(format!("job_{brief}")),
            container_ids: (1..=containers).map(|variant| format!("cnt_{brief}_{variant}")).collect(),
            format: Some("video_remix".to_owned()),
        };
        let told =
            Told { status: Some(202), request_id: Some(format!("req_{brief}")), detail: String::new() };
        self.outcome(&job, AttemptOutcome::Accepted(started), told).await;
        job
    }

    /// Receives a brief and brings it to its end: one end for each of its containers.
    async fn generate(&self, project: &str, batch: &str, brief: &str, ends: &[Ended]) {
        let job = self.start(project, batch, brief, ends.len()).await;
        self.clock.advance(Duration::from_secs(90));
        let now_ms = self.clock.now_ms();
        let ends = (1..).zip(ends).map(|(variant, ended)| {
            let id = format!("cnt_{brief}_{variant}");
            let error = match ended {
                Ended::Completed => None,
                Ended::Failed => Some(RecordError::new(Source::Layers, "RENDER_FAILED", "a frame was lost")),
                Ended::Canceled => Some(RecordError::new(Source::Layers, "CANCELED", "canceled")),
            };
            ContainerEnd {
                record: Some(api_record(&id, *ended)),
                container: id,
                ended: *ended,
                error,
                format: None,
                ended_ms: now_ms - 2_000,
                credits_estimate: Some(120),
            }
        });
        let settle = Settle { job: job.id, ends: ends.collect(), close: true, now_ms };
        self.ledger.write(settle).await.unwrap();
    }

    async fn refuse(&self, project: &str, batch: &str, brief: &str, code: &str) {
        self.receive(project, batch, brief, json!({ "priority": 9 })).await;
        let job = self.claim().await;
        let error = Box::new(RecordError::new(Source::Layers, code, "the brief failed safety"));
        let told =
            Told { status: Some(422), request_id: Some("req_422".to_owned()), detail: code.to_owned() };
        self.outcome(&job, AttemptOutcome::Rejected(Event::Refused, error), told).await;
    }

    async fn park(&self, project: &str, batch: &str, brief: &str) {
        self.receive(project, batch, brief, json!({ "priority": 9 })).await;
        let job = self.claim().await;
        let error =
            Box::new(RecordError::new(Source::Briefd, "CRASH_LOOP", "claimed ten times without an outcome"));
        let told = Told { detail: "cut off".to_owned(), ..Told::default() };
        self.outcome(&job, AttemptOutcome::Parked(Event::CrashLoop, error), told).await;
    }

    async fn hold(&self, scope: HoldScope, reason: &str, required: Option<i64>) {
        let hold = Hold {
            scope,
            reason: reason.to_owned(),
            detail: required.map(|_| "credits are short".to_owned()).unwrap_or_default(),
            required,
            available: required.map(|_| 40),
            stops_reads: false,
            by_api: true,
            since_ms: self.clock.now_ms(),
            probe_ms: Some(self.clock.now_ms() + 60_000),
            easing: false,
        };
        self.ledger.write(SetHold(hold)).await.unwrap();
    }

    /// Publishes what is due, up to `limit`.
    async fn publish(&self, limit: u32) {
        let now_ms = self.clock.now_ms();
        let due = self.ledger.pending(limit, now_ms).await.unwrap();
        let sent = due.into_iter().map(|row| Sent {
            row: row.message.row,
            outcome: SendOutcome::Sent,
            retry_ms: now_ms,
            drop_unroutable: false,
            was_alone: false,
        });
        self.ledger.write(MarkSent { sent: sent.collect(), now_ms }).await.unwrap();
    }

    /// One batch with every kind of trouble, one that went well, and a brief without a batch.
    async fn with_trouble() -> Self {
        use Ended::{Canceled, Completed, Failed};
        let world = Self::new().await;
        world.generate(ACME, SPRING, "s-01", &[Completed]).await;
        world.generate(ACME, SPRING, "s-02", &[Completed, Failed]).await;
        world.generate("nova", SPRING, "n-01", &[Failed]).await;
        world.generate("nova", SPRING, "n-02", &[Canceled]).await;
        world.refuse(ACME, SPRING, "s-03", "MODERATION_BLOCKED").await;
        world.park(ACME, SPRING, "s-04").await;
        world.publish(4).await;
        world.generate("nova", "teaser-nova", "t-01", &[Completed]).await;
        world.generate("nova", "", "s-01", &[Completed]).await;
        world.start(ACME, SPRING, "s-05", 1).await;
        world.hold(HoldScope::Project(ACME.to_owned()), "BILLING_EXHAUSTED", Some(120)).await;
        world.receive(ACME, SPRING, "s-06", json!({})).await;
        world.receive(ACME, SPRING, "s-07-with-a-name-that-fits-no-column", json!({})).await;
        world.receive("nova", SPRING, "n-03", json!({ "batchSize": 5000 })).await;
        world.receive("nova", SPRING, "n-04", json!({ "notBefore": "2026-05-03T00:00:00Z" })).await;
        world.clock.advance(Duration::from_mins(2));
        world
    }

    /// Runs a command line as `main` does.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the commands that read are tested here")]
    async fn try_run(&self, line: &[&str], out: &mut impl Write) -> anyhow::Result<Outcome> {
        let words = std::iter::once("briefd").chain(line.iter().copied());
        match Cli::try_parse_from(words)?.command {
            Command::Status(args) => status::run(args, &self.settings, &self.clock, out).await,
            Command::List(args) => list::run(args, &self.settings, &self.clock, out).await,
            Command::Show(args) => show::run(args, &self.settings, &self.clock, out).await,
            Command::Records(args) => records::run(args, &self.settings, (&self.clock, true), out).await,
            other => panic!("not a command that reads: {other:?}"),
        }
    }

    async fn run(&self, line: &[&str]) -> String {
        let mut out = Vec::new();
        assert_eq!(self.try_run(line, &mut out).await.unwrap(), Outcome::Done);
        String::from_utf8(out).unwrap()
    }

    /// The briefs that `list` finds.
    async fn listed(&self, filter: &[&str]) -> Vec<String> {
        let text = self.run(&[&["list", "--json"], filter].concat()).await;
        let brief =
            |line| serde_json::from_str::<Value>(line).unwrap()["briefId"].as_str().unwrap().to_owned();
        text.lines().map(brief).collect()
    }
}

/// What the API tells about a container that has ended.
fn api_record(id: &str, ended: Ended) -> String {
    let url =
        format!("https://cdn.example/{id}/a-name-that-is-as-long-as-those-that-are-signed-for-a-day.mp4");
    let assets = if ended == Ended::Completed { json!([{ "kind": "video", "url": url }]) } else { json!([]) };
    json!({ "id": id, "status": ended.word(), "assets": assets }).to_string()
}

fn assert_fits(page: &str) {
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[tokio::test]
async fn status_tells_trouble_first_then_batches_then_what_to_do_next() {
    let world = World::with_trouble().await;
    let page = world.run(&["status"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn status_of_one_batch_tells_why_what_did_not_complete_did_not() {
    let world = World::with_trouble().await;
    let page = world.run(&["status", SPRING]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn status_for_programs_is_one_document() {
    let world = World::with_trouble().await;
    let document: Value = serde_json::from_str(&world.run(&["status", SPRING, "--json"]).await).unwrap();
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn what_status_prints_for_programs_fits_its_published_schema() {
    let schema = status::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let world = World::with_trouble().await;
    for line in [&["status", "--json"][..], &["status", SPRING, "--json"], &["status", "", "--json"]] {
        let document: Value = serde_json::from_str(&world.run(line).await).unwrap();
        let problems: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{line:?}: {problems:?}");
        // Nothing that the schema does not name.
        for name in document.as_object().unwrap().keys() {
            assert!(schema["properties"].get(name).is_some(), "{name}");
        }
    }
    insta::assert_json_snapshot!(schema);
}

/// Every command and every part of one, by its words.
fn tree(command: &clap::Command) -> Vec<(String, clap::Command)> {
    let parts = command.get_subcommands().filter(|part| part.get_name() != "help");
    let below = parts.flat_map(|part| {
        let name = part.get_name().to_owned();
        let whole = move |(words, part): (String, _)| (format!("{name} {words}").trim_end().to_owned(), part);
        tree(part).into_iter().map(whole)
    });
    std::iter::once((String::new(), command.clone())).chain(below).collect()
}

#[test]
fn the_help_of_every_command_says_what_it_does_and_gives_an_example() {
    let mut program = super::command().term_width(80);
    program.build();
    let all = tree(&program);
    assert!(all.len() > 15, "{}", all.len());
    for (words, mut part) in all {
        let help = part.render_long_help().to_string();
        let is_group = part.get_subcommands().next().is_some();
        assert!(is_group || help.contains("Example"), "briefd {words} --help gives no example");
        let suffix = if words.is_empty() { "briefd".to_owned() } else { words.replace(' ', "-") };
        insta::with_settings!({ snapshot_suffix => suffix, omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("help", help);
        });
    }
}

#[tokio::test]
async fn status_names_the_worker_that_does_not_run() {
    let mut world = World::with_trouble().await;
    world.hold(HoldScope::Account, "KILL_SWITCH", None).await;
    // Another ledger takes the place of ours, which frees the worker lock.
    world.ledger = World::new().await.ledger;
    let page = world.run(&["status", ""]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn an_empty_ledger_says_how_to_begin() {
    let world = World::new().await;
    insta::assert_snapshot!(world.run(&["status"]).await, @"No briefs yet. Bring some:  briefd enqueue FILE  or  briefd generate FILE");
    assert_eq!(world.run(&["status", "--wait"]).await.lines().count(), 1);
}

#[tokio::test]
async fn a_batch_that_is_not_there_is_wrong_usage_and_a_ledger_that_is_not_there_is_missing() {
    let mut world = World::with_trouble().await;
    let error = world.try_run(&["status", "2026-06"], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>(), "{error}");
    world.settings.ledger.path.set_file_name("other.db");
    for line in [&["status", "--wait"][..], &["list"], &["show", "s-01"], &["records"]] {
        let error = world.try_run(line, &mut io::sink()).await.unwrap_err();
        assert!(error.to_string().starts_with("no ledger at "), "{error}");
    }
}

#[tokio::test]
async fn waiting_ends_with_the_batch_and_says_whether_all_of_it_completed() {
    let world = World::with_trouble().await;
    let wait = |batch| ["status", batch, "--wait"];
    assert_eq!(world.try_run(&wait("teaser-nova"), &mut io::sink()).await.unwrap(), Outcome::Done);
    world.generate("nova", "ended", "e-01", &[Ended::Completed]).await;
    world.generate("nova", "ended", "e-02", &[Ended::Failed]).await;
    assert_eq!(world.try_run(&wait("ended"), &mut io::sink()).await.unwrap(), Outcome::Incomplete);
    // Announced with two, one has come: that is not the end. The other one comes while somebody waits.
    world.receive("nova", "announced", "a-01", json!({ "batchSize": 2, "variantCount": 9 })).await;
    let waiting = async { world.try_run(&wait("announced"), &mut io::sink()).await.unwrap() };
    let coming = async {
        world.receive("nova", "announced", "a-02", json!({ "variantCount": 9 })).await;
        // The waiter may only now fall asleep, so time goes on until it has seen the end.
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = waiting => assert_eq!(outcome, Outcome::Incomplete),
        () = coming => {}
    }
}

#[tokio::test]
async fn waiting_gives_up_after_its_time() {
    let world = World::with_trouble().await;
    let line = ["status", SPRING, "--wait", "--timeout", "3s"];
    let mut out = Vec::new();
    let time = async {
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = world.try_run(&line, &mut out) => assert_eq!(outcome.unwrap(), Outcome::Incomplete),
        () = time => {}
    }
    assert!(String::from_utf8(out).unwrap().contains("s-04"));
}

#[tokio::test]
async fn a_list_is_one_line_a_brief() {
    let world = World::with_trouble().await;
    let page = world.run(&["list"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    insta::assert_snapshot!(world.run(&["list", "--batch", SPRING, "--csv"]).await);
    assert_eq!(
        world.run(&["list", "--batch", "nobody", "--csv"]).await,
        "projectId,batchId,briefId,run,state,code,message,remedy\n"
    );
}

#[tokio::test]
async fn a_list_is_filtered_by_what_people_see() {
    let world = World::with_trouble().await;
    assert_eq!(world.listed(&["--state", "held"]).await.len(), 2);
    assert_eq!(world.listed(&["--state", "waiting"]).await, ["n-03"]);
    assert_eq!(world.listed(&["--state", "scheduled"]).await, ["n-04"]);
    assert_eq!(world.listed(&["--code", "RENDER_FAILED"]).await, ["s-02", "n-01"]);
    assert_eq!(world.listed(&["--code", "RENDER_FAILED", "--project", "acme-fit"]).await, ["s-02"]);
    assert_eq!(world.listed(&["--code", "CRASH_LOOP", "--batch", SPRING]).await, ["s-04"]);
    assert_eq!(world.listed(&["--batch", "(no batch)"]).await, ["s-01"]);
    assert_eq!(world.listed(&["--batch", SPRING, "--project", ACME]).await.len(), 7);
    assert_eq!(world.listed(&["--since", "2m"]).await, ["n-04"]);
    assert_eq!(world.listed(&["--since", "2026-05-03"]).await, [""; 0]);
    let wrong = world.try_run(&["list", "--state", "lost"], &mut io::sink()).await.unwrap_err();
    assert!(wrong.to_string().contains("scheduled, waiting, held"), "{wrong}");
}

#[tokio::test]
async fn a_story_is_told_in_order_of_time() {
    let world = World::with_trouble().await;
    let page = world.run(&["show", "s-02"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    let document: Value = serde_json::from_str(&world.run(&["show", "s-03", "--json"]).await).unwrap();
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn a_story_tells_what_kept_it_waiting_and_how_far_it_is() {
    let world = World::new().await;
    world.hold(HoldScope::Project("other".to_owned()), "BILLING_EXHAUSTED", Some(120)).await;
    world.hold(HoldScope::Account, "API_DOWN", None).await;
    world.receive(ACME, SPRING, "s-01", json!({})).await;
    world.clock.advance(Duration::from_mins(5));
    let now_ms = world.clock.now_ms();
    let lift = LiftHold { scope: HoldScope::Account, reason: Some("API_DOWN".to_owned()), now_ms };
    world.ledger.write(lift).await.unwrap();
    let job = world.claim().await;
    let started = Started {
        job_id: Some("job_s-01".to_owned()),
        container_ids: vec!["cnt_s-01_1".to_owned()],
        format: None,
    };
    world.outcome(&job, AttemptOutcome::Accepted(started), Told::default()).await;
    // What comes after its start kept it from nothing.
    world.hold(HoldScope::Account, "KILL_SWITCH", None).await;
    let page = world.run(&["show", "s-01"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    assert!(!world.run(&["show", "s-01", "--offline"]).await.contains("at the API  not known"));
    let document: Value = serde_json::from_str(&world.run(&["show", "s-01", "--json"]).await).unwrap();
    insta::assert_json_snapshot!([&document["live"], &document["holds"]]);
}

#[tokio::test]
async fn a_sheet_of_what_failed_can_be_mended_and_read_again() {
    let world = World::with_trouble().await;
    let brief = json!({ "hook": "Run, \"now\"\nor later", "themeTags": ["a", "b"], "topic": "T" });
    world
        .receive("nova", "sheet", "q-01", json!({ "brief": brief, "variantCount": 9, "format": "auto" }))
        .await;
    world
        .receive("nova", "sheet", "q-02", json!({ "brief": { "hook": "x" }, "metadata": { "cms": 1 } }))
        .await;
    let sheet = world.run(&["list", "--batch", "sheet", "--csv"]).await;
    insta::assert_snapshot!(sheet);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fix.csv");
    std::fs::write(&path, &sheet).unwrap();
    let mut file = crate::files::BriefFile::open(&path).unwrap();
    let rows = crate::flow::Source::receive(&mut file, 10).await.unwrap();
    let read: Value = serde_json::from_slice(&rows[0].body).unwrap();
    assert_eq!((&read["brief"], &read["variantCount"], &read["run"]), (&brief, &json!(9), &json!(1)));
    assert_eq!((rows.len(), &read["briefId"]), (2, &json!("q-01")));
}

#[tokio::test]
async fn records_are_sent_again_with_the_same_bytes_and_counted() {
    let world = World::with_trouble().await;
    world.publish(100).await;
    let sent = world.run(&["records", "--batch", SPRING]).await;
    let asked = ["records", "--batch", SPRING, "--publish", "--reason", "a new consumer"];
    // The worker of these tests does not look at requests.
    let mut told = Vec::new();
    let waiting = world.try_run(&asked, &mut told);
    let carried_out = async {
        loop {
            let open = world.ledger.reader().open_requests(10).await.unwrap();
            let Some(request) = open.first() else {
                tokio::task::yield_now().await;
                continue;
            };
            assert_eq!((request.kind.as_str(), request.reason.as_str()), ("records", "a new consumer"));
            break crate::app::requests::carry_out_beside(&world.ledger, &world.clock).await.unwrap();
        }
    };
    let (outcome, done) = tokio::join!(waiting, carried_out);
    assert_eq!((outcome.unwrap(), done), (Outcome::Done, 1));
    assert_eq!(String::from_utf8(told).unwrap(), "6 records put into the outbox again.\n");
    let due = world.ledger.pending(100, world.clock.now_ms()).await.unwrap();
    let again: Vec<_> = due.iter().map(|row| String::from_utf8(row.message.body.clone()).unwrap()).collect();
    assert_eq!(again, sent.lines().collect::<Vec<_>>());
    assert_eq!(world.run(&asked).await, "", "they are on their way already");
}

#[tokio::test]
async fn several_briefs_of_one_id_are_listed_and_one_of_them_is_asked_for() {
    let world = World::with_trouble().await;
    let error = world.try_run(&["show", "s-01"], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>());
    insta::assert_snapshot!(error, @r"
    several briefs go by 's-01': say which
      briefd show s-01 --project acme-fit --batch 2026-05-spring
      briefd show s-01 --project nova --batch ''
    ");
    let page = world.run(&["show", "s-01", "--batch", "", "--project", "nova"]).await;
    assert!(page.contains("cnt_s-01_1"), "{page}");
    let error = world.try_run(&["show", "s-99", "--batch", SPRING], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>(), "{error}");
}

#[tokio::test]
async fn records_are_the_stored_bytes_in_order() {
    let world = World::with_trouble().await;
    let due = world.ledger.pending(100, world.clock.now_ms()).await.unwrap();
    let stored: Vec<_> = due.into_iter().map(|row| String::from_utf8(row.message.body).unwrap()).collect();
    let all = world.run(&["records"]).await;
    let all: Vec<_> = all.lines().collect();
    assert_eq!(all.len(), 8);
    assert_eq!(all[all.len() - stored.len()..], stored);

    let some = async |filter: &[&str]| -> Vec<String> {
        world.run(&[&["records"], filter].concat()).await.lines().map(ToOwned::to_owned).collect()
    };
    assert_eq!(some(&["--batch", SPRING]).await, all[..6]);
    assert_eq!(some(&["--project", "nova"]).await, [all[3], all[4], all[6], all[7]]);
    assert_eq!(some(&["--type", "brief.failed"]).await, [all[5]]);
    assert_eq!(
        some(&["--batch", SPRING, "--project", "acme-fit", "--type", "container.failed"]).await,
        [all[2]]
    );
    assert_eq!(some(&["--since", "2026-05-02T01:07:00Z"]).await, all[6..]);
    assert_eq!(some(&["--batch", SPRING, "--since", "2026-05-02T01:07:00Z"]).await, [""; 0]);
}

/// Takes `left` bytes, then is a pipe that nobody reads.
struct Pipe {
    left: usize,
    read: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.read.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn records_are_followed_until_nobody_reads_them() {
    let world = World::with_trouble().await;
    let before = world.run(&["records", "--project", "nova"]).await.len();
    // One byte of the next record, and the reader is gone.
    let mut pipe = Pipe { left: before + 1, read: Vec::new() };
    let following = world.try_run(&["records", "--project", "nova", "--follow"], &mut pipe);
    let coming = async {
        world.refuse("nova", "later", "l-01", "MODERATION_BLOCKED").await;
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        end = following => assert!(is_broken_pipe(&end.unwrap_err())),
        () = coming => {}
    }
    assert_eq!(pipe.read.len(), before + 1);
}

#[test]
fn numbers_ages_and_estimates_read_well() {
    use super::table::{cut, thousands};
    use super::times::{age, roughly};
    assert_eq!(
        [0, 999, 1_000, 1_234_567, -5_000].map(thousands),
        ["0", "999", "1,000", "1,234,567", "-5,000"]
    );
    assert_eq!(cut("spring", 6), "spring");
    assert_eq!(cut("springs", 6), "sprin…");
    let ages = [0, 119, 120, 7_200, 172_800].map(|seconds| age(0, seconds * 1_000));
    assert_eq!(ages, ["0s", "119s", "2m", "2h", "2d"]);
    let left = [1, 1_257, 15_000, 172_801].map(|seconds| roughly(Duration::from_secs(seconds)));
    assert_eq!(left, ["1 min", "21 min", "4.1 h", "3 days"]);
}

impl World {
    async fn again(&self, job: &Claimed, again: Again, status: Option<u16>, detail: &str) {
        let told = Told { status, request_id: None, detail: detail.to_owned() };
        self.outcome(job, AttemptOutcome::Again(again), told).await;
    }

    /// A brief of which a POST was lost, one that is parked, one that waits, and a hold because of it all.
    async fn with_an_api_in_trouble() -> Self {
        let world = Self::new().await;
        world.park(ACME, SPRING, "s-04").await;
        world.receive(ACME, SPRING, "s-01", json!({ "priority": 9 })).await;
        let lost = world.claim().await;
        world.again(&lost, Again::Unanswered, None, "no answer within 30 s").await;
        world.receive(ACME, SPRING, "s-02", json!({ "priority": 9 })).await;
        world.hold(HoldScope::Account, "API_DOWN", None).await;
        world.clock.advance(Duration::from_mins(2));
        world
    }
}

#[tokio::test]
async fn status_tells_that_the_api_does_not_answer_and_how_to_decide_what_is_parked() {
    let world = World::with_an_api_in_trouble().await;
    let page = world.run(&["status"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    let document: Value = serde_json::from_str(&world.run(&["status", "--json"]).await).unwrap();
    assert_eq!(document["noAnswer"]["unknown"], 1);
    let page = world.run(&["status", SPRING]).await;
    assert!(page.contains("! NO ANSWER  1 brief: "), "{page}");
}

#[tokio::test]
async fn a_story_tells_what_was_unknown_and_how_it_became_known() {
    let world = World::new().await;
    world.receive(ACME, SPRING, "s-01", json!({})).await;
    let job = world.claim().await;
    world.again(&job, Again::NotConnected, None, "connection refused").await;
    let job = world.claim().await;
    world.again(&job, Again::Unanswered, Some(502), "a 502 with an HTML page of 159 bytes").await;
    assert!(world.run(&["show", "s-01"]).await.contains("outcome unknown since 2026-05-02 01:00:02.000Z"));
    let job = world.claim().await;
    world.again(&job, Again::Unanswered, None, "no answer within 30 s").await;
    world.clock.advance(Duration::from_mins(2));
    let job = world.claim().await;
    let started = Started {
        job_id: Some("job_s-01".to_owned()),
        container_ids: vec!["cnt_s-01_1".to_owned()],
        format: None,
    };
    let told = Told { status: Some(202), request_id: Some("req_1".to_owned()), detail: String::new() };
    world.outcome(&job, AttemptOutcome::Accepted(started), told).await;
    let page = world.run(&["show", "s-01"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn between_two_looks_of_status_nothing_is_held_that_would_make_the_log_of_changes_grow() {
    let world = World::with_trouble().await;
    for batch in [None, Some(SPRING)] {
        let reader = Reader::open(&world.settings.ledger.path).await.unwrap();
        let look = status::Look { reader, batch, settings: &world.settings, clock: &world.clock };
        for n in 0..3 {
            look.page(Paint::of_stdout()).await.unwrap();
            // Whoever still read would read what was before this, and so keep the log from being emptied.
            world.receive(ACME, SPRING, &format!("later-{n}-{}", batch.is_some()), json!({})).await;
            assert!(world.ledger.checkpoint(Duration::from_millis(50)).await.unwrap());
        }
    }
}

/// Fills a ledger with finished briefs in twenty batches, a record each, one in ten failed.
const FILL: [&str; 4] = [
    "INSERT INTO brief (id, project_id, batch_id, brief_id, input, run, state, touched, received_at, changed_at, pruned_at) SELECT value, 'p' || (value % 7), 'batch-' || (value % 20), 'b-' || value, 'queue', 1, \
     CASE WHEN value % 10 = 0 THEN 'failed' ELSE 'completed' END, TRUE, 1777680000000 + value, 1777680000000 + value, NULL \
     FROM generate_series(1000, 100999)",
    "INSERT INTO run (brief, run, fingerprint, request, variant_count, priority, received_at, state, owed, made) \
     SELECT id, 1, '', '{}', 1, 4, received_at, state, 1, 1 FROM brief WHERE id >= 1000",
    "INSERT INTO outbox (id, channel, input, message_id, kind, routing_key, body, properties, brief, run, variant, ended_at, state, \
     due_at, created_at) SELECT id, 'record', 'queue', 'm-' || id, CASE state WHEN 'failed' THEN 'container.failed' ELSE \
     'container.completed' END, 'k', CAST('{\"error\":{\"code\":\"RENDER_FAILED\",\"remedy\":\"rerun\"}}' AS BLOB), '{}', id, 1, 1, \
     received_at, 'sent', 0, received_at + 2000 FROM brief WHERE id >= 1000",
    "ANALYZE",
];

#[tokio::test]
async fn a_hundred_thousand_finished_briefs_do_not_slow_status_down() {
    let world = World::with_trouble().await;
    let path = world.settings.ledger.path.clone();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off);
    let mut db = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for statement in FILL {
        // SQLite has no generate_series unless it is built in.
        let numbers = "(WITH RECURSIVE n (value) AS (SELECT 1000 UNION ALL SELECT value + 1 FROM n WHERE value < 100999) SELECT value FROM n)";
        let statement = statement.replace("generate_series(1000, 100999)", numbers);
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut db).await.unwrap();
    }
    for line in [&["status"][..], &["status", "batch-7"], &["status", "--json"]] {
        let began = std::time::Instant::now();
        let page = world.run(line).await;
        let took = began.elapsed();
        println!("briefd {}: {} ms on 100,000 briefs", line.join(" "), took.as_millis());
        assert!(page.contains("batch-"), "{page}");
        // Ten times what an optimized build is to take, for one that is not, on a busy machine.
        assert!(took < Duration::from_secs(2), "briefd {line:?} took {took:?}");
    }
}
