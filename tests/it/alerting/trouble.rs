//! Each alert by its real trouble: it fires while the trouble lasts, and ends once it is mended. The rules are those of
//! `deploy/prometheus` with shorter times ([`super::scaled`]).
//!
//! In the normal run some of them; all with `BRIEFD_TEST_ALERTS=all`, in a few minutes; one with its name.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::{FutureExt as _, LocalBoxFuture, join_all};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::scaled::scaled;
use crate::five_hundred::lock_ledger;
use crate::support::broker::TestBroker;
use crate::support::forwarder::{Forwarder, Line};
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd, free_port};
use crate::support::prometheus::Prometheus;
use crate::support::{Variable, eventually};

/// Until it fires, and until it is over.
const PATIENCE: Duration = Duration::from_mins(4);
/// How often a scene does again what sets an alert off.
const ROUNDS_MAX: u32 = 20;
/// The simulator, where a scene does not say otherwise.
const SIMULATOR: &str = "--speed 60 --min-seconds 30 --max-seconds 60";
/// Stands in the table where something did not come.
const NEVER: &str = "NOT within ";

/// A worker with what it stands on, which gets into trouble.
struct Scene<'a> {
    prometheus: &'a Prometheus,
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    variables: Vec<Variable>,
    dir: TempDir,
    rows: Vec<String>,
}

type Act = for<'a> fn(Scene<'a>) -> LocalBoxFuture<'a, Vec<String>>;

/// One kind of trouble.
struct Trouble {
    /// What it sets off.
    alerts: &'static [&'static str],
    /// Of the sandbox.
    arguments: &'static str,
    /// Of the worker.
    settings: &'static [(&'static str, &'static str)],
    act: Act,
    /// Whether it is part of the normal run.
    quick: bool,
}

const fn trouble(alerts: &'static [&'static str], act: Act) -> Trouble {
    Trouble { alerts, arguments: SIMULATOR, settings: &[], act, quick: false }
}

fn troubles() -> Vec<Trouble> {
    vec![
        Trouble { quick: true, ..trouble(&["BriefdDown"], |scene| killed(scene).boxed_local()) },
        trouble(&["BriefdLedgerImbalance"], |scene| miscounted(scene).boxed_local()),
        Trouble {
            settings: &[
                ("BRIEFD__LAYERS__REQUEST_TIMEOUT", "1s"),
                ("BRIEFD__LAYERS__SEND_CONTAINER_ID", "false"),
            ],
            ..trouble(&["BriefdOutcomeUnknown"], |scene| frozen_api(scene).boxed_local())
        },
        trouble(&["BriefdStuck", "BriefdIntakePaused"], |scene| locked_ledger(scene).boxed_local()),
        Trouble {
            quick: true,
            settings: &[("BRIEFD__PUBLISH__RETRY_MAX", "1s")],
            ..trouble(&["BriefdRecordsNotLeaving", "BriefdUnroutable"], |scene| no_queue(scene).boxed_local())
        },
        trouble(&["BriefdDiskFull"], |scene| small_disk(scene).boxed_local()),
        Trouble { quick: true, ..trouble(&["BriefdAccountHeld"], |scene| revoked_key(scene).boxed_local()) },
        Trouble {
            arguments: "--speed 60 --min-seconds 30 --max-seconds 60 --two-layers p",
            settings: &[("BRIEFD__SUBMIT__STOP_AFTER_REFUSALS", "3")],
            ..trouble(&["BriefdProjectHeld"], |scene| refused_batch(scene).boxed_local())
        },
        Trouble {
            arguments: "--speed 60 --min-seconds 30 --max-seconds 60 --credits 9000",
            ..trouble(&["BriefdCreditsEndSoon"], |scene| few_credits(scene).boxed_local())
        },
        Trouble {
            settings: &[("BRIEFD__TRACK__OVERDUE_AFTER", "2s")],
            ..trouble(&["BriefdOverdueJobs"], |scene| long_job(scene).boxed_local())
        },
        Trouble {
            settings: &[("BRIEFD__LAYERS__SEND_CONTAINER_ID", "false")],
            ..trouble(&["BriefdParkedJobs"], |scene| undecidable(scene).boxed_local())
        },
        Trouble {
            arguments: "--speed 1 --min-seconds 1 --max-seconds 2",
            settings: &[
                ("BRIEFD__TRACK__POLL_INITIAL", "8s"),
                ("BRIEFD__TRACK__POLL_MAX", "8s"),
                ("BRIEFD__TRACK__SWEEP_INTERVAL", "20s"),
            ],
            ..trouble(&["BriefdSlowResults"], |scene| rare_looks(scene).boxed_local())
        },
        trouble(&["BriefdFailureShare"], |scene| failing(scene).boxed_local()),
        trouble(&["BriefdDeadLetters"], |scene| unreadable(scene).boxed_local()),
        trouble(&["BriefdBrokerFlapping"], |scene| flapping(scene).boxed_local()),
        trouble(&["BriefdRateLimited"], |scene| told_to_wait(scene).boxed_local()),
    ]
}

#[tokio::test]
async fn each_alert_fires_by_its_real_trouble_and_ends_when_that_is_mended() {
    let wanted = std::env::var("BRIEFD_TEST_ALERTS").unwrap_or_default();
    let is_wanted = |trouble: &Trouble| match wanted.as_str() {
        "" => trouble.quick,
        "all" => true,
        one => trouble.alerts.contains(&one),
    };
    let caused: Vec<&str> = troubles().iter().flat_map(|trouble| trouble.alerts).copied().collect();
    for alert in super::alerts() {
        assert!(caused.contains(&alert.as_str()), "{alert}: nothing causes it");
    }
    let chosen: Vec<(String, Trouble)> = troubles()
        .into_iter()
        .filter(is_wanted)
        .map(|trouble| (format!("127.0.0.1:{}", free_port()), trouble))
        .collect();
    let targets: Vec<String> = chosen.iter().map(|(address, _)| address.clone()).collect();
    let prometheus =
        Prometheus::spawn(&targets, &scaled(&super::text("prometheus/rules.yml")), "500ms").await;
    let scenes = chosen.iter().map(|(address, trouble)| async {
        let scene = Scene::set(&prometheus, address, trouble).await;
        (trouble.act)(scene).await
    });
    println!("alert | cause | seconds until firing | mended by | seconds until over");
    let rows = join_all(scenes).await.concat();
    println!("{}", rows.join("\n"));
    assert!(!rows.iter().any(|row| row.contains(NEVER)), "{rows:#?}");
}

impl<'a> Scene<'a> {
    async fn set(prometheus: &'a Prometheus, address: &str, trouble: &Trouble) -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let arguments = trouble.arguments.split(' ').chain(["--tier", "unlimited"]);
        let sandbox = SandboxProcess::spawn(&arguments.collect::<Vec<_>>()).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        let usual = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "500ms"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__TRACK__POLL_INITIAL", "200ms"),
            ("BRIEFD__TRACK__POLL_MAX", "1s"),
        ];
        variables
            .extend(usual.iter().chain(trouble.settings).map(|(name, value)| (*name, (*value).to_owned())));
        variables.push(("BRIEFD__HTTP__LISTEN", address.to_owned()));
        variables
            .push(("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.path().join("briefd.db").display())));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        // What happened before the first look at a counter is no increase.
        let looked_at = format!(r#"count_over_time(up{{instance="{address}"}}[5m]) > 2 and up == 1"#);
        let known = eventually(PATIENCE, async || {
            (!prometheus.query(&looked_at).await.unwrap().is_empty()).then_some(())
        });
        assert!(known.await.is_some(), "prometheus does not scrape {address}");
        Self { prometheus, broker, sandbox, worker, variables, dir, rows: Vec::new() }
    }

    async fn publish(&self, count: usize, more: Value) {
        for n in 0..count {
            let mut brief = json!({"projectId": "p", "batchId": "b", "briefId": format!("b{n}"), "format": "slideshow_remix", "brief": {"hook": "x"}});
            brief.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.broker.publish(&brief).await;
        }
    }

    /// Starts the worker anew where it was.
    async fn restart(&mut self) {
        self.worker = Worker::spawn(self.dir.path(), &self.variables);
        self.worker.wait_ready().await;
    }

    /// Changes the ledger behind the worker's back, which is stopped meanwhile.
    async fn change_ledger(&mut self, sql: &'static str) {
        self.worker.process.sigterm();
        self.worker.process.wait_exit(PROMPTLY).await;
        let file = SqliteConnectOptions::new().filename(self.dir.path().join("briefd.db"));
        let mut ledger = file.connect().await.unwrap();
        let changed = sqlx::query(sql).execute(&mut ledger).await.unwrap().rows_affected();
        assert_eq!(changed, 1, "{sql}");
        ledger.close().await.unwrap();
        self.restart().await;
    }

    async fn firing(&self, alert: &str) -> bool {
        let instance = &self.worker.listens().1;
        let expr = format!(r#"ALERTS{{alertname="{alert}", alertstate="firing", instance="{instance}"}}"#);
        !self.prometheus.query(&expr).await.expect("prometheus answers").is_empty()
    }

    /// Waits until it fires and says after how long.
    async fn fires(&mut self, alert: &str, cause: &str) {
        let began = Instant::now();
        let fires = eventually(PATIENCE, async || self.firing(alert).await.then_some(())).await;
        let said = if fires.is_some() { "" } else { NEVER };
        self.rows.push(format!("{alert} | {cause} | {said}{:.1}", began.elapsed().as_secs_f64()));
    }

    /// Waits until each of the first so many that fired is over.
    async fn ends(mut self, mended: &str) -> Vec<String> {
        let began = Instant::now();
        let mut rows = std::mem::take(&mut self.rows);
        for row in &mut rows {
            let alert = row.split(' ').next().unwrap_or_default().to_owned();
            let over = eventually(PATIENCE, async || (!self.firing(&alert).await).then_some(())).await;
            let said = if over.is_some() { "" } else { NEVER };
            row.push_str(&format!(" | {mended} | {said}{:.1}", began.elapsed().as_secs_f64()));
        }
        rows
    }

    fn command(&self, arguments: &[&str]) {
        let output = briefd(self.dir.path(), arguments, &self.variables).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

async fn killed(mut scene: Scene<'_>) -> Vec<String> {
    scene.worker.process.sigkill();
    scene.fires("BriefdDown", "the worker was killed").await;
    scene.restart().await;
    scene.ends("started again").await
}

async fn miscounted(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(1, json!({})).await;
    scene.worker.wait_series("briefd_records_published_total{type=\"container.completed\"}", 1.0).await;
    scene.change_ledger("UPDATE total SET n = n + 1 WHERE name = 'owed'").await;
    scene.fires("BriefdLedgerImbalance", "a total of the ledger was changed by hand").await;
    scene.change_ledger("UPDATE total SET n = n - 1 WHERE name = 'owed'").await;
    scene.ends("changed back, and started again").await
}

async fn frozen_api(mut scene: Scene<'_>) -> Vec<String> {
    scene.sandbox.process.freeze();
    scene.publish(1, json!({})).await;
    scene.fires("BriefdOutcomeUnknown", "the API took a POST and never answered").await;
    let window = scene.worker.series("briefd_key_window_seconds").await;
    assert!(window > 0.0 && window < 23.0 * 3_600.0, "{window}");
    scene.sandbox.process.thaw();
    scene.ends("the API answers again").await
}

async fn locked_ledger(mut scene: Scene<'_>) -> Vec<String> {
    let lock = lock_ledger(scene.dir.path()).await;
    scene.publish(1, json!({})).await;
    scene.fires("BriefdStuck", "another process held a lock on the ledger").await;
    scene.fires("BriefdIntakePaused", "the same").await;
    lock.close().await.unwrap();
    scene.ends("it let go").await
}

async fn no_queue(mut scene: Scene<'_>) -> Vec<String> {
    scene.broker.delete_records_queue().await;
    scene.publish(1, json!({})).await;
    scene.fires("BriefdRecordsNotLeaving", "the queue of records was deleted").await;
    scene.fires("BriefdUnroutable", "the same").await;
    scene.broker.declare_records_queue().await;
    scene.ends("declared and bound again").await
}

/// A file system of its own in memory, which takes nothing of it as long as it is empty.
struct Disk(TempDir);

impl Disk {
    fn mount(options: &str, at: &Path) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "briefd-test"]).arg(at);
        mount.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

async fn small_disk(mut scene: Scene<'_>) -> Vec<String> {
    let disk = Disk(TempDir::new().unwrap());
    if !Disk::mount("size=900m", disk.0.path()) {
        return vec!["BriefdDiskFull | not caused: this user may not mount a small file system".to_owned()];
    }
    scene.worker.process.sigterm();
    scene.worker.process.wait_exit(PROMPTLY).await;
    scene
        .variables
        .push(("BRIEFD__LEDGER__URL", format!("sqlite://{}", disk.0.path().join("briefd.db").display())));
    scene.restart().await;
    scene.fires("BriefdDiskFull", "the ledger is on a disk with less than 1 GiB left").await;
    assert!(Disk::mount("remount,size=2g", disk.0.path()));
    let rows = scene.ends("the disk was made larger").await;
    drop(disk);
    rows
}

async fn revoked_key(mut scene: Scene<'_>) -> Vec<String> {
    scene.sandbox.change("account", &json!({"keyRevoked": true})).await;
    scene.publish(1, json!({})).await;
    scene.fires("BriefdAccountHeld", "the API key was revoked").await;
    scene.sandbox.change("account", &json!({"keyRevoked": false})).await;
    scene.ends("restored").await
}

async fn refused_batch(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(12, json!({})).await;
    scene.fires("BriefdProjectHeld", "each brief of a batch was refused: its project has two layers").await;
    scene.publish(12, json!({"projectLayerId": "lay_paid"})).await;
    scene.worker.wait_series("briefd_briefs_received_total{result=\"replaced\"}", 12.0).await;
    scene.command(&["release", "--project", "p", "--batch", "b", "--reason", "mended"]);
    scene.ends("briefs that name one, and a release").await
}

async fn few_credits(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(60, json!({})).await;
    scene.fires("BriefdCreditsEndSoon", "sixty briefs, and hardly more credits than they take").await;
    scene.ends("nothing more is bought").await
}

async fn long_job(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(1, json!({"metadata": {"sandbox": {"seconds": 3600}}})).await;
    scene.fires("BriefdOverdueJobs", "a generation that takes an hour").await;
    scene.ends("it ended").await
}

async fn undecidable(mut scene: Scene<'_>) -> Vec<String> {
    scene.sandbox.change("faults", &json!({"unknown-code": 1.0})).await;
    scene.publish(1, json!({"metadata": {"sandbox": {"faults": ["accepted-reset"]}}})).await;
    scene.fires("BriefdParkedJobs", "the answer of a POST was lost, and its repeat was refused").await;
    scene.sandbox.change("faults", &json!({})).await;
    scene.command(&["resolve", "b0", "--repeat", "--yes", "--reason", "asked"]);
    scene.ends("a person decided").await
}

async fn rare_looks(mut scene: Scene<'_>) -> Vec<String> {
    let published = "briefd_records_published_total{type=\"container.completed\"}";
    // One after the other, so that there are results all the time.
    for n in 1..=ROUNDS_MAX {
        let brief = json!({"projectId": "p", "briefId": format!("one-{n}"), "format": "slideshow_remix", "brief": {"hook": "x"}});
        scene.broker.publish(&brief).await;
        scene.worker.wait_series(published, f64::from(n)).await;
        if scene.firing("BriefdSlowResults").await {
            break;
        }
    }
    scene.fires("BriefdSlowResults", "the worker looks for results every eight seconds only").await;
    scene.ends("no more results").await
}

async fn failing(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(30, json!({"metadata": {"sandbox": {"fail": "RENDER_FAILED"}}})).await;
    scene.fires("BriefdFailureShare", "thirty generations failed").await;
    scene.ends("none failed within the time looked at").await
}

async fn unreadable(mut scene: Scene<'_>) -> Vec<String> {
    scene.broker.publish_with(b"this is no brief", lapin::BasicProperties::default()).await;
    scene.fires("BriefdDeadLetters", "a message that is no brief").await;
    scene.ends("none came within the time looked at").await
}

async fn flapping(mut scene: Scene<'_>) -> Vec<String> {
    let mut forwarder = Forwarder::reserve();
    let by_way = ("BRIEFD__AMQP__URL", forwarder.on_the_way_to(scene.broker.url()));
    forwarder.listen(scene.broker.url());
    forwarder.set(Line::Open);
    scene.worker.process.sigterm();
    scene.worker.process.wait_exit(PROMPTLY).await;
    scene.variables.push(by_way);
    scene.restart().await;
    // The consumer notices at once that its line is cut; a publisher that has nothing to send may not.
    let consumes = "briefd_amqp_connected{connection=\"consume\"}";
    for _ in 0..ROUNDS_MAX {
        forwarder.set(Line::Closed);
        scene.worker.wait_series(consumes, 0.0).await;
        forwarder.set(Line::Open);
        scene.worker.wait_series(consumes, 1.0).await;
        if scene.worker.series("briefd_amqp_reconnects_total").await > 6.0 {
            break;
        }
    }
    scene.fires("BriefdBrokerFlapping", "the line to RabbitMQ was cut again and again").await;
    scene.ends("it stays").await
}

async fn told_to_wait(mut scene: Scene<'_>) -> Vec<String> {
    scene.publish(1, json!({"metadata": {"sandbox": {"faults": ["odd-retry-after-zero"]}}})).await;
    scene.fires("BriefdRateLimited", "the API answered 429").await;
    scene.ends("not again within the time looked at").await
}
