//! Every panel and every rule, asked at a real Prometheus that scrapes a real worker under a mixed load.
//!
//! `BRIEFD_TEST_LOAD_SECONDS` (6) is how long it is under load. `BRIEFD_TEST_PICTURES` names a folder: then each panel is
//! drawn there, laid out as its dashboard is (`draw.py`, with matplotlib).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::panel::{Dashboard, Show};
use super::{book, dashboards, deploy, grafana};
use crate::support::broker::TestBroker;
use crate::support::process::{SandboxProcess, Worker, briefd};
use crate::support::prometheus::{Prometheus, Sample};
use crate::support::{Variable, eventually};

/// After the load, everything shows within this time.
const PATIENCE: Duration = Duration::from_mins(1);
/// Briefs of a round of load of which each is generated, and rounds that are under way together.
const FINE: u64 = 5;
const ROUNDS_AT_ONCE: u64 = 2;
/// What a dashboard's reader chooses, and Grafana puts in.
const CHOSEN: [(&str, &str); 4] =
    [("$__rate_interval", "15s"), ("$__range", "5m"), ("$instance", ".*"), ("$project", ".*")];
/// What is asked for and is no metric of the worker.
const NOT_OURS: [&str; 2] = ["up", "ALERTS"];

/// What this load does not move, without `briefd_`; and the test that does, with a word of it.
const ELSEWHERE: [(&str, (&str, &str)); 7] = [
    ("ack_lost_total", ("tests/it/broker/connecting.rs", "ack_lost_total.get(), 5")),
    ("amqp_reconnects_total", ("tests/it/broker_loss.rs", "briefd_amqp_reconnects_total")),
    ("intake_paused", ("tests/it/disk.rs", "briefd_intake_paused")),
    ("key_window_seconds", ("tests/it/alerting/trouble.rs", "briefd_key_window_seconds")),
    ("ledger_imbalance", ("tests/it/alerting/trouble.rs", "BriefdLedgerImbalance")),
    ("outbox_parked", ("tests/it/broker_faults/limits.rs", "briefd_outbox_parked")),
    ("outcome_unknown", ("tests/it/alerting/trouble.rs", "BriefdOutcomeUnknown")),
];

#[tokio::test]
async fn every_panel_and_rule_has_an_answer_at_a_worker_under_load() {
    let scene = Scene::set().await;
    let load = std::env::var("BRIEFD_TEST_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    scene.every_metric_is_known_and_shown().await;
    let answers = scene.every_query_has_an_answer(Duration::from_secs(load)).await;
    println!("{}", answers.join("\n"));
    scene.every_metric_has_moved().await;
    for rule in scene.prometheus.rules().await {
        println!("rule {}: {} {}", rule["name"], rule["health"], rule["state"]);
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    if let Ok(folder) = std::env::var("BRIEFD_TEST_PICTURES") {
        scene.draw(Path::new(&folder), Duration::from_secs(load + 10)).await;
    }
}

struct Scene {
    broker: TestBroker,
    worker: Worker,
    prometheus: Prometheus,
    _sandbox: SandboxProcess,
    _dir: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        // Refused briefs' records find no queue.
        broker.delete_records_queue().await;
        broker.bind_records_queue("container.#").await;
        let arguments =
            "--speed 30 --tier unlimited --min-seconds 30 --max-seconds 90 --credits 10000000 --seed 7";
        let sandbox = SandboxProcess::spawn(&arguments.split(' ').collect::<Vec<_>>()).await;
        let variables = variables(&broker, &sandbox, dir.path());
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        for held in [&["--batch", "held"][..], &["--project", "globex"]] {
            let said = briefd(dir.path(), &[&["hold", "--reason", "wrong hook"], held].concat(), &variables)
                .output();
            assert!(said.unwrap().status.success());
        }
        let rules = std::fs::read_to_string(deploy().join("prometheus/rules.yml")).unwrap();
        let prometheus = Prometheus::spawn(&[worker.listens().1], &rules, "250ms").await;
        Self { broker, worker, prometheus, _sandbox: sandbox, _dir: dir }
    }

    /// Some briefs of every fate, and what is none. Returns once they are decided and most of those before have ended,
    /// and Prometheus knows.
    async fn load(&self, round: u64) {
        for brief in briefs(round) {
            self.broker.publish(&brief).await;
        }
        self.broker.publish_with(b"this is no brief", BasicProperties::default()).await;
        let ended = FINE * round.saturating_sub(ROUNDS_AT_ONCE);
        let taken = format!(
            r#"sum(briefd_dead_lettered_total{{reason="UNREADABLE"}}) > {round} and sum(briefd_containers_total{{status="completed"}}) >= {ended}"#
        );
        let known = eventually(PATIENCE, async || {
            (!self.prometheus.query(&taken).await.unwrap().is_empty()).then_some(())
        });
        known.await.unwrap_or_else(|| panic!("round {round} of the load: not {taken}"));
    }

    /// No panel asks for a metric that nobody exports, and each that is exported is on a panel or in a rule.
    async fn every_metric_is_known_and_shown(&self) {
        let mut exported: BTreeSet<String> = BTreeSet::new();
        for line in self.worker.metrics().await.lines().filter(|line| !line.starts_with('#')) {
            exported.extend(line.split(['{', ' ']).next().map(str::to_owned));
        }
        for rule in self.prometheus.rules().await.iter().filter(|rule| rule["type"] == "recording") {
            exported.extend(rule["name"].as_str().map(str::to_owned));
        }
        let mut shown: BTreeSet<String> = BTreeSet::new();
        for query in
            dashboards().iter().flat_map(|of| &of.rows).flat_map(|row| &row.panels).flat_map(|it| &it.queries)
        {
            shown.extend(names(&query.expr));
        }
        let unknown: Vec<&String> = shown
            .iter()
            .filter(|name| !exported.contains(*name) && !NOT_OURS.contains(&name.as_str()))
            .collect();
        assert!(unknown.is_empty(), "panels ask for {unknown:?}, which nobody exports");
        let family = |name: &str| {
            let end = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            end.unwrap_or(name).to_owned()
        };
        let rules = std::fs::read_to_string(deploy().join("prometheus/rules.yml")).unwrap();
        let shown: BTreeSet<String> = shown.iter().map(|name| family(name)).collect();
        let ours = exported.iter().filter(|name| name.starts_with("briefd_")).map(|name| family(name));
        let hidden: BTreeSet<String> =
            ours.filter(|name| !shown.contains(name) && !rules.contains(name.as_str())).collect();
        assert!(hidden.is_empty(), "no panel and no rule shows {hidden:?}");
    }

    /// Each metric has a series that is not as at the start, or is moved by another test.
    async fn every_metric_has_moved(&self) {
        for (metric, (file, word)) in ELSEWHERE {
            let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
            assert!(text.contains(word), "{file} no longer moves {metric}");
        }
        let mut still = Vec::new();
        let moved = eventually(PATIENCE, async || {
            let text = self.worker.metrics().await;
            let families =
                text.lines().filter_map(|line| line.strip_prefix("# TYPE briefd_")?.split(' ').next());
            still = families.filter(|family| !moves(&text, family)).map(str::to_owned).collect();
            still.retain(|family| !ELSEWHERE.iter().any(|(metric, _)| metric == family));
            still.is_empty().then_some(())
        });
        assert!(moved.await.is_some(), "no test moves {still:?}");
    }

    /// Loads the worker for so long, and on until every query has an answer. Tells the table of panels with their values.
    async fn every_query_has_an_answer(&self, load: Duration) -> Vec<String> {
        let dashboards = dashboards();
        let queries: Vec<(String, String)> = dashboards.iter().flat_map(table).collect();
        let (began, mut said) = (Instant::now(), vec![String::new(); queries.len()]);
        for round in 0.. {
            self.load(round).await;
            let over = began.elapsed() >= load;
            for (said, (place, expr)) in said.iter_mut().zip(&queries) {
                if over || said.is_empty() {
                    let answer = self.prometheus.query(expr).await;
                    let samples = answer.unwrap_or_else(|error| panic!("{place}: {error}: {expr}"));
                    if !samples.is_empty() {
                        *said = samples.iter().map(shown).collect::<Vec<_>>().join(", ");
                    }
                }
            }
            let missing: Vec<_> = queries.iter().zip(&said).filter(|(_, said)| said.is_empty()).collect();
            if over && missing.is_empty() {
                break;
            }
            assert!(began.elapsed() < load + PATIENCE, "no data: {missing:#?}");
        }
        queries.iter().zip(&said).map(|((place, _), said)| format!("{place} | {said}")).collect()
    }

    /// Leaves what was found beside each dashboard, and lets `draw.py` make a picture of it.
    async fn draw(&self, folder: &Path, last: Duration) {
        std::fs::create_dir_all(folder).unwrap();
        let book = book();
        for dashboard in dashboards() {
            let json = grafana::dashboard(&dashboard, &book);
            let mut answers = Vec::new();
            for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
                let over_time = !matches!(panel.show, Show::Number | Show::Table | Show::Gauge);
                let mut of_panel = Vec::new();
                for query in &panel.queries {
                    let expr = chosen(&query.expr);
                    of_panel.push(if over_time {
                        self.prometheus.query_range(&expr, last).await.unwrap()["result"].clone()
                    } else {
                        let samples = self.prometheus.query(&expr).await.unwrap();
                        let plain = |it: &Sample| json!({"metric": it.labels, "value": it.value.to_string()});
                        samples.iter().map(plain).collect()
                    });
                }
                answers.push(json!({"title": panel.title, "answers": of_panel}));
            }
            let file = folder.join(format!("{}.json", dashboard.uid));
            std::fs::write(&file, json!({"dashboard": json, "panels": answers}).to_string()).unwrap();
            let python = std::env::var("BRIEFD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dashboards/draw.py");
            let drawn = Command::new(python).arg(script).arg(&file).status().unwrap();
            assert!(drawn.success(), "{} could not be drawn", dashboard.uid);
            println!("{}", file.with_extension("png").display());
        }
    }
}

fn variables(broker: &TestBroker, sandbox: &SandboxProcess, dir: &Path) -> Vec<Variable> {
    let own = [
        ("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.join("briefd.db").display())),
        ("BRIEFD__PROJECTS__ACME", "p-acme".to_owned()),
        ("BRIEFD__PROJECTS__GLOBEX", "p-globex".to_owned()),
        ("BRIEFD__LAYERS__LIMITS__STARTS", "2000".to_owned()),
        ("BRIEFD__LAYERS__LIMITS__READS", "6000".to_owned()),
        ("BRIEFD__LAYERS__LIMITS__WRITES", "2000".to_owned()),
        ("BRIEFD__LAYERS__REQUEST_TIMEOUT", "5s".to_owned()),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s".to_owned()),
        ("BRIEFD__TRACK__OVERDUE_AFTER", "5s".to_owned()),
        ("BRIEFD__TRACK__POLL_INITIAL", "200ms".to_owned()),
        ("BRIEFD__TRACK__POLL_MAX", "1s".to_owned()),
    ];
    [broker.variables(), sandbox.variables(), own.to_vec()].concat()
}

/// One round of briefs: what completes, what fails in every way, what waits, and what comes twice.
fn briefs(round: u64) -> Vec<Value> {
    let formats = ["video_remix", "slideshow_remix", "ugc_remix"];
    let mut briefs = Vec::new();
    let mut add = |name: &str, project: &str, more: Value| {
        let mut brief = json!({
            "projectId": project, "batchId": "mixed", "briefId": format!("{name}-{round}"),
            "format": formats[briefs.len() % 3], "brief": {"hook": name},
        });
        brief.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        briefs.push(brief);
    };
    let wish = |wish: Value| json!({"metadata": {"sandbox": wish}});
    for (n, project) in ["p-acme", "p-acme", "p-acme", "p-of-nobody", "p-of-nobody"].iter().enumerate() {
        add(&format!("fine{n}"), project, json!({}));
    }
    add("fails", "p-acme", wish(json!({"fail": "RENDER_FAILED"})));
    add("in-part", "p-of-nobody", json!({"variantCount": 3, "metadata": {"sandbox": {"failVariants": [2]}}}));
    add("refused", "p-acme", wish(json!({"refuse": "MODERATION_BLOCKED"})));
    add("unanswered", "p-acme", wish(json!({"faults": ["accepted-reset"]})));
    if round % 10 == 1 {
        add("told-to-wait", "p-acme", wish(json!({"faults": ["odd-retry-after-date"]})));
    }
    add("scheduled", "p-acme", json!({"notBefore": "2099-01-01T00:00:00Z"}));
    add("too-late", "p-acme", json!({"expiresAt": "2020-01-01T00:00:00Z"}));
    add("no-format", "p-acme", json!({"format": "a film"}));
    add("slow", "p-acme", wish(json!({"seconds": 600})));
    add("held", "p-acme", json!({"batchId": "held"}));
    add("other-client", "p-globex", json!({}));
    // The first comes twice, and its id again with something else in it.
    let (again, mut conflict) = (briefs[0].clone(), briefs[0].clone());
    conflict["brief"]["hook"] = json!("another");
    briefs.extend([again, conflict]);
    briefs
}

/// Where each query of a dashboard stands, and what it asks for.
fn table(dashboard: &Dashboard) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for (row, panel) in dashboard.rows.iter().flat_map(|row| row.panels.iter().map(move |panel| (row, panel)))
    {
        for query in &panel.queries {
            let expr = chosen(&query.expr);
            assert!(!expr.contains('$'), "{}: nothing puts a value into {expr}", panel.title);
            let legend = if panel.queries.len() > 1 { format!(": {}", query.legend) } else { String::new() };
            queries.push((format!("{} | {} | {}{legend}", dashboard.title, row.title, panel.title), expr));
        }
    }
    queries
}

/// Whether a series of this metric has a value that is neither 0 nor unknown.
fn moves(text: &str, family: &str) -> bool {
    let of_family = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("briefd_")?.strip_prefix(family)?;
        let is_ours = rest.starts_with([' ', '{']) || rest.starts_with("_count");
        is_ours.then(|| rest.rsplit(' ').next())?
    });
    of_family.filter_map(|value| value.parse::<f64>().ok()).any(f64::is_normal)
}

fn chosen(expr: &str) -> String {
    CHOSEN.iter().fold(expr.to_owned(), |expr, (name, value)| expr.replace(name, value))
}

/// What looks like a metric in an expression.
fn names(expr: &str) -> BTreeSet<String> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = |word: &&str| {
        ["briefd_", "briefd:", "process_"].iter().any(|start| word.starts_with(start))
            || NOT_OURS.contains(word)
    };
    words.filter(ours).map(str::to_owned).collect()
}

fn shown(sample: &Sample) -> String {
    let labels = sample.labels.as_object().map(|labels| {
        let of_interest =
            labels.iter().filter(|(name, _)| !matches!(name.as_str(), "__name__" | "instance" | "job"));
        of_interest.filter_map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ")
    });
    format!("{} {:.4}", labels.unwrap_or_default(), sample.value).trim().to_owned()
}
