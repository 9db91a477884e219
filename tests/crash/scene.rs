//! One scene: messages with many fates, commands of an operator, and a worker that is started again whenever it died.

use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tempfile::TempDir;

use crate::steps::{self, Kind};
use crate::support::broker::TestBroker;
use crate::support::checker::Evidence;
use crate::support::process::{PROMPTLY, Process, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};
use crate::{Plan, said};

/// A scene takes some seconds. More than one step of it may take: what that has waited for says more.
const SCENE_PATIENCE: Duration = Duration::from_mins(3);
/// SIGABRT: it died where it was told to.
const ABORTED: i32 = 6;
/// A start that was cut off and is refused then is believed after a second look-up, ten minutes later but for this.
const LOOK_UPS_SOON: &str = "look_up.apart=return(500)";
/// The worker lock is taken, by a command that is about to end.
const TAKEN: i32 = 4;

/// Places that a command of the scene reaches, and its worker does not.
const OF_COMMANDS: [&str; 11] = [
    "ledger.append.",
    "ledger.plan.",
    "ledger.planned.",
    "ledger.plan_rows.",
    "ledger.AdoptFound.",
    "ledger.SettleLate.",
    "ledger.Prune.",
    "amqp.basic_ack.",
    "amqp.basic_get.",
    "amqp.requeue.",
    "api.progress.",
];

fn is_of_commands(place: &str) -> bool {
    OF_COMMANDS.iter().any(|prefix| place.starts_with(prefix))
}

/// What everybody in a scene needs.
pub struct Scene {
    pub broker: TestBroker,
    pub sandbox: SandboxProcess,
    pub dir: TempDir,
    pub kind: Kind,
    variables: Vec<Variable>,
    /// Deaths that are still to come, in any order.
    kills: Mutex<Vec<(String, u32)>>,
}

/// Plays a scene to its end and judges it. One that does not come to its end is judged as well, by what there is then:
/// what keeps it from ending may be a promise that is broken. Returns how often something died.
pub async fn run(plan: Plan) -> Result<usize, String> {
    let scene = Scene::set(&plan).await;
    let mut evidence = None;
    let playing = AssertUnwindSafe(play(&scene, &mut evidence)).catch_unwind();
    let cut_off = match tokio::time::timeout(SCENE_PATIENCE, playing).await {
        Ok(Ok(())) if plan.must_hit && scene.left() > 0 => Some("it was never reached".to_owned()),
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(said(panic)),
        Err(_late) => Some(format!("not over within {SCENE_PATIENCE:?}")),
    };
    let deaths = plan.kills.len() - scene.left();
    let judging = AssertUnwindSafe(scene.violations(evidence, deaths)).catch_unwind();
    let violations = judging.await.unwrap_or_else(|panic| vec![format!("no verdict: {}", said(panic))]);
    match verdict(cut_off.as_deref(), &violations) {
        None => Ok(deaths),
        Some(verdict) => Err(format!("{verdict}\n{}", scene.logs())),
    }
}

/// Everything that happens in a scene. Leaves the evidence as it was before anything was pruned: the judge wants all of it.
async fn play(scene: &Scene, evidence: &mut Option<Evidence>) {
    scene.command(&["topology", "--declare"]).await;
    scene.broker.copy_dead_letters().await;
    steps::publish(scene).await;
    let mut worker = scene.start_worker();
    scene.with_worker(&mut worker, steps::take(scene)).await;
    if scene.kind == Kind::Adopted {
        // A look-up would tell what is unknown; here it is the operator who looks.
        worker.process.sigkill();
        steps::adopt(scene).await;
        worker = scene.start_worker();
    }
    scene.stop(&mut worker).await;
    *evidence = Some(scene.stored_evidence().await);
    if scene.kind == Kind::Operator {
        steps::prune(scene).await;
        worker = scene.start_worker();
        scene.with_worker(&mut worker, steps::repeat(scene)).await;
        scene.stop(&mut worker).await;
    }
    scene.command(&["ledger", "check"]).await;
}

/// What is said of a scene; `None`: nothing is wrong.
fn verdict(cut_off: Option<&str>, violations: &[String]) -> Option<String> {
    let judged = format!("{} violations:\n  {}", violations.len(), violations.join("\n  "));
    match (cut_off, violations) {
        (None, []) => None,
        (None, _) => Some(judged),
        (Some(why), []) => Some(format!("{why}; nothing that there is then is wrong")),
        (Some(why), _) => Some(format!("{why}; by what there is then, {judged}")),
    }
}

impl Scene {
    async fn set(plan: &Plan) -> Self {
        let kind = Kind::of(plan);
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().expect("a directory can be made"));
        let sandbox = SandboxProcess::spawn(kind.sandbox()).await;
        let ledger = ("BRIEFD__LEDGER__URL", format!("sqlite://{}", Self::ledger_in(dir.path()).display()));
        let pace = kind.pace().map(|(name, value)| (name, value.to_owned()));
        let variables = [broker.variables(), sandbox.variables(), pace.to_vec(), vec![ledger]].concat();
        let kills = Mutex::new(plan.kills.clone());
        Self { broker, sandbox, dir, kind, variables, kills }
    }

    fn ledger_in(dir: &Path) -> std::path::PathBuf {
        dir.join("briefd.db")
    }

    /// One number out of the ledger; `None`: there is no ledger yet, or no row.
    pub async fn stored(&self, query: &'static str) -> Option<i64> {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new();
        let options = options.filename(Self::ledger_in(self.dir.path())).read_only(true);
        let mut connection = options.connect().await.ok()?;
        sqlx::query_scalar(query).fetch_optional(&mut connection).await.ok()?
    }

    /// Runs a command until it was done: one that died, or found the ledger in use, is given again.
    pub async fn command(&self, arguments: &[&str]) {
        self.command_until(arguments, ExitStatus::success).await;
    }

    /// The same for one whose exit code may tell of a difference that it has found.
    pub async fn command_until(&self, arguments: &[&str], is_done: impl Fn(&ExitStatus) -> bool) {
        let mut said = String::new();
        let done = eventually(PROMPTLY, async || {
            let status;
            (status, said) = self.try_command(arguments).await;
            // Its first try was carried out, although nobody lived to tell.
            (is_done(&status) || said.contains("nothing to decide")).then_some(())
        });
        assert!(done.await.is_some(), "{arguments:?} cannot be carried out: {said}");
    }

    /// A command about one dead letter. That it is gone is believed at the second look: what a command that died has looked
    /// at comes back a moment later.
    pub async fn dead_letters(&self, arguments: &[&str]) {
        let mut gone = 0;
        let all = [&["dead-letters"], arguments].concat();
        let done = eventually(PROMPTLY, async || {
            let (status, said) = self.try_command(&all).await;
            gone = if said.contains("no dead letter goes by") { gone + 1 } else { 0 };
            (status.success() || gone > 1).then_some(())
        });
        assert!(done.await.is_some(), "{arguments:?} cannot be carried out");
    }

    /// One try of a command: how it ended, and what it said on standard error.
    async fn try_command(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let armed = self.armed(is_of_commands);
        let mut process = Process::start(self.dir.path(), briefd(self.dir.path(), arguments, &armed));
        let status = process.wait_exit(PROMPTLY).await;
        let said = process.stderr();
        self.note_death(status, &said);
        (status, said)
    }

    fn start_worker(&self) -> Worker {
        Worker::spawn(self.dir.path(), &self.armed(|place| !is_of_commands(place)))
    }

    /// Takes steps while there is a worker: it is started again whenever it died.
    async fn with_worker(&self, worker: &mut Worker, steps: impl Future<Output = ()>) {
        tokio::select! {
            () = self.keep_alive(worker) => {}
            () = steps => {}
        }
    }

    /// The settings, with where to die next if that concerns whoever is started.
    fn armed(&self, concerns: impl Fn(&str) -> bool) -> Vec<Variable> {
        let kills = self.kills.lock().unwrap_or_else(PoisonError::into_inner);
        let mut variables = self.variables.clone();
        let mut points = LOOK_UPS_SOON.to_owned();
        for (place, hit) in kills.iter().filter(|(place, _)| concerns(place)) {
            let skip = if *hit > 1 { format!("{}*off->", hit - 1) } else { String::new() };
            points = format!("{points};{place}={skip}return");
        }
        variables.push(("FAILPOINTS", points));
        variables
    }

    fn left(&self) -> usize {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it died where it was told to, by what it said.
    fn note_death(&self, status: ExitStatus, said: &str) -> bool {
        if status.signal() != Some(ABORTED) {
            return false;
        }
        let mut kills = self.kills.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kills.len();
        kills.retain(|(place, _)| !said.lines().any(|line| line == format!("it dies at {place}")));
        kills.len() < before
    }

    /// Starts the worker again whenever it died; never returns.
    async fn keep_alive(&self, worker: &mut Worker) {
        loop {
            let Some(status) = eventually(PROMPTLY, async || worker.process.ended()).await else { continue };
            let expected = self.note_death(status, &worker.process.stderr()) || status.code() == Some(TAKEN);
            assert!(expected, "the worker ended ({status}); it said:\n{}", worker.process.stderr());
            *worker = self.start_worker();
        }
    }

    /// Stops the worker in order, which may take several if it dies on the way.
    async fn stop(&self, worker: &mut Worker) {
        loop {
            tokio::select! {
                () = self.keep_alive(worker) => {}
                () = self.settled() => {}
            }
            // One that was just started has to hear the signal.
            let ready = eventually(PROMPTLY, async || {
                let answered = worker.look("/readyz").await.is_some_and(|(status, _)| status == 200);
                (answered || worker.process.ended().is_some()).then_some(())
            });
            assert!(ready.await.is_some(), "the worker is not ready; it said:\n{}", worker.process.stderr());
            if worker.process.ended().is_none() {
                worker.process.sigterm();
            }
            let status = worker.process.wait_exit(PROMPTLY).await;
            if status.success() {
                return;
            }
            assert!(
                self.note_death(status, &worker.process.stderr()),
                "it ended ({status}); it said:\n{}",
                worker.process.stderr()
            );
            *worker = self.start_worker();
        }
    }

    /// Nothing is open and nothing unsent, but for what stays so.
    async fn settled(&self) {
        let settled = eventually(crate::PATIENCE, async || {
            let open = self
                .stored(
                    "SELECT (SELECT count(*) FROM job WHERE state IN ('ready', 'submitting', 'running')) \
                     + (SELECT count(*) FROM outbox WHERE state = 'pending')",
                )
                .await?;
            (open == 0).then_some(())
        });
        assert!(settled.await.is_some(), "it does not come to an end");
    }

    /// What must have come of it, and what the ledger says.
    async fn stored_evidence(&self) -> Evidence {
        self.kind.expected().with_ledger(self.dir.path()).await
    }

    /// Everything that is wrong, by the evidence or, without one, by what the ledger says now.
    async fn violations(&self, evidence: Option<Evidence>, deaths: usize) -> Vec<String> {
        let stored = match evidence {
            Some(evidence) => evidence,
            None => self.stored_evidence().await,
        };
        let evidence = Evidence {
            account: self.sandbox.account().await,
            records: self.broker.take_rest("records").await,
            dead_letters: self.broker.take_rest("letters").await,
            // The worker that the operator killed is one more.
            crashes: deaths + usize::from(self.kind == Kind::Adopted),
            ..stored
        };
        evidence.violations()
    }

    /// The end of what every process said.
    fn logs(&self) -> String {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path())
            .expect("the scene's directory can be read")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "err"))
            .collect();
        files.sort();
        let tail = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        files.iter().map(|path| format!("--- {}\n{}\n", path.display(), tail(path))).collect()
    }
}

#[test]
fn a_scene_that_does_not_end_is_judged_all_the_same() {
    let bought_twice = ["P1 key k made 2 jobs".to_owned()];
    let said = verdict(Some("not over"), &bought_twice).expect("something is wrong");
    assert_eq!(said, "not over; by what there is then, 1 violations:\n  P1 key k made 2 jobs");
    assert!(verdict(Some("not over"), &[]).is_some(), "not to end is wrong by itself");
    assert_eq!(verdict(None, &[]), None);
}
