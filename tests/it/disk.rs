//! The disk under the ledger: full, failing, or with a ledger on it that is none any more. What is not committed is not
//! acknowledged, nothing is bought twice, one line says what is wrong, and with room it goes on by itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use tempfile::TempDir;

use crate::start_errors::refused_in_a_line;
use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, Process, SandboxProcess, Worker, after, briefd};
use crate::support::{Variable, eventually};

/// Beyond a limit on the size of files a process gets an error, and not the signal that would end it.
const UNTIL_TOLD: &str = "trap '' XFSZ;";
const CANNOT: &str = "the ledger cannot be written: ";
const CAN_AGAIN: &str = "the ledger can be written again";
const IS_PAUSED: &str = "briefd_intake_paused{reason=\"ledger\"}";

/// A place for a ledger that can be made full.
enum Disk {
    /// A filesystem of a few megabytes, full when a file fills it.
    Small(Mount),
    /// The worker may not make its files longer: an error of every write beyond that, wherever tests run.
    Limited(TempDir),
}

/// A small filesystem in memory. Unmounted when dropped.
struct Mount(TempDir);

impl Mount {
    /// `None` where this user may not mount.
    fn new() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "briefd-test"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the worker may still be going.
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

impl Disk {
    /// A small filesystem, or where this user may not mount, what can be had; which it is is said.
    fn small() -> Self {
        let disk = Mount::new().map_or_else(Self::limited, Self::Small);
        let kind = match &disk {
            Self::Small(_) => "a small filesystem of its own",
            Self::Limited(_) => "a limit on the size of files, because this user may not mount",
        };
        // Past the harness, which would keep it to itself.
        let mut told = std::io::stderr();
        writeln!(told, "the disk that gets full is {kind}").unwrap();
        disk
    }

    fn limited() -> Self {
        Self::Limited(TempDir::new().unwrap())
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Small(mount) => mount.0.path(),
            Self::Limited(dir) => dir.path(),
        }
    }

    fn ledger(&self) -> PathBuf {
        self.folder().join("briefd.db")
    }

    /// No file grows any more.
    fn fill(&self, worker: &Worker) {
        match self {
            Self::Small(_) => {
                let filler = std::fs::File::create(self.folder().join("filler")).unwrap();
                let full = std::io::copy(&mut std::io::repeat(0), &mut &filler).unwrap_err();
                assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
            }
            Self::Limited(_) => {
                let wal = self.folder().join("briefd.db-wal");
                limit(worker, &std::fs::metadata(wal).unwrap().len().to_string());
            }
        }
    }

    fn make_room(&self, worker: &Worker) {
        match self {
            Self::Small(_) => std::fs::remove_file(self.folder().join("filler")).unwrap(),
            // The limit is the process's, and has gone with it.
            Self::Limited(_) if !is_running(worker) => {}
            Self::Limited(_) => limit(worker, "unlimited"),
        }
    }

    /// What the worker says is wrong.
    fn trouble(&self) -> &'static str {
        match self {
            Self::Small(_) => "the ledger cannot be written: database or disk is full; make room on its disk",
            Self::Limited(_) => {
                "the ledger cannot be written: disk I/O error; its disk does not do what it must: look at the \
                 system's log, and at limits for this process"
            }
        }
    }
}

fn is_running(worker: &Worker) -> bool {
    Path::new("/proc").join(worker.process.id().to_string()).exists()
}

fn limit(worker: &Worker, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &worker.process.id().to_string(), &format!("--fsize={bytes}:")]);
    assert!(prlimit.status().unwrap().success(), "{prlimit:?}");
}

fn brief(n: usize, seconds: u64) -> Value {
    // Long enough that no ledger has room for many in what it has taken already.
    let topic = "t".repeat(20_000);
    json!({"projectId": "p", "batchId": "b", "briefId": format!("b{n}"), "format": "slideshow_remix",
        "brief": {"hook": n.to_string(), "topic": topic}, "metadata": {"sandbox": {"seconds": seconds}}})
}

struct Scene {
    disk: Disk,
    broker: TestBroker,
    sandbox: SandboxProcess,
    logs: TempDir,
    variables: Vec<Variable>,
    briefs: Vec<Value>,
    records: Vec<Message>,
}

impl Scene {
    async fn set(disk: Disk) -> Self {
        let broker = TestBroker::connect().await;
        let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        let quick = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
        ];
        variables.extend(quick.map(|(name, value)| (name, value.to_owned())));
        variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}", disk.ledger().display())));
        let logs = TempDir::new().unwrap();
        Self { disk, broker, sandbox, logs, variables, briefs: Vec::new(), records: Vec::new() }
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::spawn_after(self.logs.path(), &self.variables, UNTIL_TOLD);
        worker.wait_ready().await;
        worker
    }

    /// Some that complete before, some that end at the API while the disk is full, some that come meanwhile.
    async fn fill_in_the_middle(&mut self, worker: &Worker) {
        self.publish(3, 1).await;
        self.take(3).await;
        self.publish(3, 300).await;
        worker.wait_series("briefd_jobs{state=\"running\"}", 3.0).await;
        self.disk.fill(worker);
        self.publish(14, 1).await;
        worker.wait_said(self.disk.trouble()).await;
        worker.wait_series(IS_PAUSED, 1.0).await;
    }

    async fn publish(&mut self, count: usize, seconds: u64) {
        for _ in 0..count {
            let brief = brief(self.briefs.len(), seconds);
            self.broker.publish(&brief).await;
            self.briefs.push(brief);
        }
    }

    async fn take(&mut self, count: usize) {
        let taken = self.broker.take_records(count, PROMPTLY).await;
        assert_eq!(taken.len(), count, "so many records");
        self.records.extend(taken);
    }

    async fn judge(mut self, mut worker: Worker, crashes: usize) {
        self.take(self.briefs.len() - self.records.len()).await;
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
        self.records.extend(self.broker.take_rest("records").await);
        Evidence {
            account: self.sandbox.account().await,
            records: self.records,
            dead_letters: self.broker.take_rest("briefs.dead").await,
            expected_runs: self.briefs.iter().map(ExpectedRun::first_of).collect(),
            crashes,
            ..Evidence::default()
        }
        .with_ledger(self.disk.folder())
        .await
        .assert_clean();
    }
}

/// `/readyz` says no and why while nothing can be written; with room everything goes on, and the log has two lines of it.
async fn goes_on_by_itself(disk: Disk) {
    let mut scene = Scene::set(disk).await;
    let worker = scene.worker().await;
    scene.fill_in_the_middle(&worker).await;
    let told = eventually(PROMPTLY, async || {
        let (status, ready) = worker.look("/readyz").await?;
        let warning = ready["warnings"][0].as_str()?.to_owned();
        (status == 503 && ready["components"]["ledger"] == false).then_some(warning)
    });
    assert_eq!(told.await.as_deref(), Some(scene.disk.trouble()));
    assert_eq!(worker.look("/healthz").await.unwrap().0, 200, "a restart would make no room");

    scene.disk.make_room(&worker);
    worker.wait_said(CAN_AGAIN).await;
    worker.wait_series(IS_PAUSED, 0.0).await;
    let ready = eventually(PROMPTLY, async || {
        worker
            .look("/readyz")
            .await
            .filter(|(status, ready)| *status == 200 && ready["warnings"] == json!([]))
    });
    assert!(ready.await.is_some(), "{:?}", worker.look("/readyz").await);
    assert_eq!(worker.series("briefd_ledger_imbalance").await.to_string(), "0");
    let said = worker.process.stderr();
    assert_eq!(said.matches(CANNOT).count(), 1, "{said}");
    assert_eq!(said.matches(CAN_AGAIN).count(), 1, "{said}");
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
    assert!(said.lines().count() < 20, "{said}");
    scene.judge(worker, 0).await;
}

#[tokio::test]
async fn a_full_disk_stops_intake_with_one_line_and_with_room_everything_goes_on() {
    goes_on_by_itself(Disk::small()).await;
}

#[tokio::test]
async fn a_disk_that_fails_stops_intake_with_one_line_and_when_it_works_again_everything_goes_on() {
    goes_on_by_itself(Disk::limited()).await;
}

#[tokio::test]
async fn what_came_while_the_disk_was_full_is_still_in_the_queue_when_the_worker_dies() {
    let mut scene = Scene::set(Disk::small()).await;
    let mut worker = scene.worker().await;
    scene.fill_in_the_middle(&worker).await;
    worker.process.sigkill();
    scene.disk.make_room(&worker);

    let known = known_briefs(&scene.disk.ledger()).await;
    assert!((6..scene.briefs.len()).contains(&known), "{known} of {} were recorded", scene.briefs.len());
    let mut queued = Vec::new();
    let all = eventually(PROMPTLY, async || {
        queued.extend(scene.broker.take_rest("briefs").await);
        (queued.len() + known >= scene.briefs.len()).then_some(())
    });
    assert!(all.await.is_some(), "{known} are recorded and {} in the queue", queued.len());
    for message in queued {
        scene.broker.publish_with(&message.body, lapin::BasicProperties::default()).await;
    }
    let worker = scene.worker().await;
    scene.judge(worker, 1).await;
}

async fn known_briefs(ledger: &Path) -> usize {
    let mut ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(ledger).connect().await.unwrap();
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM brief").fetch_one(&mut ledger).await.unwrap();
    usize::try_from(known).unwrap()
}

/// Starts a worker without a broker, lets it make its ledger, and stops it in order.
async fn make_ledger(dir: &Path, variables: &[Variable]) {
    let mut worker = Worker::spawn(dir, variables);
    worker.wait_said("briefd is at work").await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
}

/// A worker that could start, but for its ledger.
fn nowhere() -> Vec<Variable> {
    vec![
        ("LAYERS_API_KEY", "lp_test_of_nobody".to_owned()),
        ("BRIEFD__LAYERS__BASE_URL", "http://127.0.0.1:1".to_owned()),
        ("BRIEFD__AMQP__URL", "amqp://guest:guest@127.0.0.1:1/%2f".to_owned()),
    ]
}

#[tokio::test]
async fn a_start_without_room_says_so_and_works_once_there_is_room() {
    let dir = TempDir::new().unwrap();
    let mut variables = nowhere();
    variables.push(("BRIEFD__HTTP__LISTEN", "127.0.0.1:0".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/briefd.db", dir.path().display())));
    let run = briefd(dir.path(), &["run"], &variables);
    // 512 bytes each: a few pages, of which no schema can be made.
    let mut process = Process::start(dir.path(), after("trap '' XFSZ; ulimit -S -f 40;", &run));
    let status = process.wait_exit(Duration::from_secs(15)).await;
    let said = process.stderr();
    assert_eq!(status.code(), Some(4), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let expected = format!("briefd: {}/briefd.db cannot be used as the ledger: ", dir.path().display());
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("look at the system's log, and at limits for this process"), "{said}");
    make_ledger(dir.path(), &nowhere()).await;
}

#[tokio::test]
async fn a_ledger_that_was_cut_short_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    make_ledger(dir.path(), &nowhere()).await;
    let path = dir.path().join("briefd.db");
    let whole = std::fs::read(&path).unwrap();
    let damaged = format!("{} cannot be used as the ledger: ", path.display());
    let restore = "restore it from a backup, or set ledger.url to another file";
    for left in [10, 100, 1_000, 4_096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..left]).unwrap();
        for command in ["run", "status"] {
            let said = refused_in_a_line(dir.path(), &[command], &[], 4).await;
            assert!(said.starts_with(&damaged) && said.ends_with(restore), "{left} bytes: {said}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), whole[..left], "{left} bytes, and they are left alone");
    }

    assert!(whole.len() > 100_000, "all of it is in the one file: {} bytes", whole.len());
    std::fs::write(&path, b"").unwrap();
    let said = refused_in_a_line(dir.path(), &["run"], &[], 4).await;
    let expected = format!(
        "the ledger {0} is empty, and was not before: restore it from a backup; or, to begin anew and enqueue the \
         same briefs again, remove it and {0}.lock",
        path.display()
    );
    assert_eq!(said, expected);
    let said = refused_in_a_line(dir.path(), &["status"], &[], 4).await;
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);

    std::fs::write(&path, &whole).unwrap();
    make_ledger(dir.path(), &nowhere()).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(dir.path().join("briefd.db.lock")).unwrap();
    make_ledger(dir.path(), &nowhere()).await;
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    make_ledger(dir.path(), &nowhere()).await;
    let path = dir.path().join("briefd.db");
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', TRUE, x'00', 0)";
    let mut ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query(later).execute(&mut ledger).await.unwrap();
    sqlx::Connection::close(ledger).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    for command in ["run", "status"] {
        let said = refused_in_a_line(dir.path(), &[command], &[], 4).await;
        let expected = "was written by a newer briefd: use that version or a later one";
        assert_eq!(said, format!("the ledger {} {expected}", path.display()));
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
