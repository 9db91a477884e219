//! Everything outside of the process, and the process in it: the API with its gate, the broker, the ledger's folder, the
//! key file, and one clock for all.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::ends::Broker;
use super::ops::{Ack, BRIEFS, Change, Op, Poison, Stage, Switches, Wish};
use super::process::{Process, Step};
use super::untrue::Untrue;
use crate::brief::Identity;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::layers::{ApiKey, Tier};
use crate::ledger::statements;
use crate::sandbox::gate::{Gate, change_account, change_faults};
use crate::sandbox::{Options, Sandbox};

const KEY: &str = "lp_test_simulated_0123456789abcdef0123456789";
const CREDITS: u64 = 1_000_000_000;
/// How long the API serves a start whose answer was lost: shorter than `submit.repeat_after`, or nobody could be safe.
const IN_FLIGHT_SECONDS: f64 = 45.0;

/// A message that a producer sent.
pub(super) struct Sent {
    pub body: Vec<u8>,
    /// Of a message that can be read.
    pub identity: Option<Identity>,
    /// The run it asks for.
    pub run: u64,
    /// 0: it does not fit its schema, or is too late.
    pub variants: u64,
    /// How often it was sent.
    pub times: usize,
    /// Somebody has canceled its brief, once it was there. A rerun that is asked for before that has ended is dropped too.
    pub canceled: bool,
}

/// The world.
pub(super) struct World {
    pub clock: Clock,
    pub sandbox: Sandbox,
    pub broker: Broker,
    pub sent: Vec<Sent>,
    /// Steps that were taken.
    pub steps: u64,
    pub process: Option<Process>,
    pub gate: Gate,
    /// What the API has told wrongly.
    pub untrue: Untrue,
    /// Keeps the address ours while nobody listens there.
    _address: TcpSocket,
    at: SocketAddr,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
    folder: TempDir,
    pub settings: Settings,
    /// Keys that were ever in use, the present one last.
    pub keys: Vec<String>,
    revoked: bool,
    /// A message with the key in it was sent. From then on the key stays: which one is blanked would be a race.
    told_secret: bool,
    pub names_first_container_only: bool,
    /// Numbers of the plans that were shown.
    pub plans: Vec<i64>,
    /// Something may have been pruned, plans too.
    pub pruned: bool,
    /// Decisions of an operator about jobs that were parked.
    pub resolved: u64,
    /// Jobs that were seen parked, and not resolved since.
    pub parked: HashSet<i64>,
    /// What was parked although nobody had to be asked.
    pub parked_wrongly: Vec<String>,
}

/// Serves every simulated API.
fn outside() -> &'static Runtime {
    static OUTSIDE: OnceLock<Runtime> = OnceLock::new();
    OUTSIDE.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// In memory where there is such a place: what is proved here is not that the disk works.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl World {
    pub(super) fn new(switches: &Switches) -> Self {
        let clock = Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap());
        let options = Options {
            seed: 7,
            api_keys: vec![KEY.to_owned()],
            overlap_makes_two: switches.overlap_makes_two,
            in_flight_seconds: IN_FLIGHT_SECONDS,
            container_ids: switches.container_ids,
            names_first_container_only: switches.names_first_container_only,
            list_lag_seconds: f64::from(switches.list_lag_seconds),
            replay_billing: switches.replay_billing,
            replay_refusals: switches.replay_refusals,
            validates_first: switches.validates_first,
            serves_account_endpoints: switches.serves_account_endpoints,
            fail_share: switches.fail_share,
            running_cap: switches.running_cap,
            credits: Some(CREDITS),
            ..Options::default()
        };
        let folder = folder();
        let address = socket("127.0.0.1:0".parse().unwrap());
        let at = address.local_addr().unwrap();
        let mut settings = Settings::builtin();
        settings.layers.base_url = Url::parse(&format!("http://{at}/")).unwrap();
        settings.layers.api_key = ApiKey::File(folder.path().join("key"));
        settings.layers.tier = Tier::Unlimited;
        settings.layers.send_container_id = switches.send_container_id;
        settings.ledger.path = folder.path().join("briefd.db");
        settings.submit.concurrency = switches.concurrency;
        // So that a generation that never ends is given up in hours, of looks an hour apart.
        settings.track.poll_max = Duration::from_mins(10);
        settings.track.give_up_after = Duration::from_hours(switches.give_up_hours);
        let mut world = Self {
            sandbox: Sandbox::new(options, clock.clone()),
            clock,
            broker: Broker::default(),
            sent: Vec::new(),
            steps: 0,
            process: None,
            gate: Gate::default(),
            untrue: Untrue::default(),
            _address: address,
            at,
            serving: None,
            folder,
            settings,
            keys: vec![KEY.to_owned()],
            revoked: false,
            told_secret: false,
            names_first_container_only: switches.names_first_container_only,
            plans: Vec::new(),
            pruned: false,
            resolved: 0,
            parked: HashSet::new(),
            parked_wrongly: Vec::new(),
        };
        fs::write(world.folder.path().join("key"), KEY).unwrap();
        world.listen(true);
        world.start();
        world
    }

    pub(super) fn happen(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Deliver { brief, content, run, wish } => self.deliver(*brief, *content, *run, *wish),
            Op::DeliverAgain(which) => {
                let n = self.sent.len().max(1);
                if let Some(sent) = self.sent.get_mut(usize::from(*which) % n) {
                    sent.times += 1;
                    self.broker.send(sent.body.clone());
                }
            }
            Op::Poison(poison) => self.poison(*poison),
            Op::Intake { chunk, ack } => {
                self.broker.hand_out(*chunk, *ack);
                self.step(&Step::Intake);
                self.broker.hand_out(1, Ack::Arrives);
            }
            Op::Submit(posts) => {
                self.gate.script(posts.iter().cloned());
                self.step(&Step::Submit);
                self.gate.script([]);
            }
            Op::Track => self.step(&Step::Track),
            Op::Publish(fates) => {
                self.broker.fates(fates);
                self.step(&Step::Publish);
                self.broker.fates(&[]);
            }
            Op::Advance(seconds) => self.advance(*seconds),
            Op::Restart { clean } => return self.restart(*clean),
            Op::DieDuring { stage, polls } => {
                self.process.as_mut().unwrap().polls_left = Some(*polls);
                self.step(match stage {
                    Stage::Intake => &Step::Intake,
                    Stage::Submit => &Step::Submit,
                    Stage::Track => &Step::Track,
                    Stage::Publish => &Step::Publish,
                    Stage::CarryOn => &Step::CarryOn,
                });
            }
            Op::Account(change) => self.change(*change),
            Op::Faults(faults) => {
                let shares: serde_json::Map<_, _> =
                    faults.iter().map(|(fault, share)| (fault.name().to_owned(), json!(share))).collect();
                outside().block_on(change_faults(&self.sandbox, &Value::Object(shares)));
            }
            Op::ApiListens(listens) => self.listen(*listens),
            Op::Hold { scope, held } => self.hold(*scope, *held),
            Op::Resolve { repeat } => self.resolve(*repeat),
            Op::Cancel { batch } => self.cancel(*batch),
            Op::Plan(planned) => self.plan(*planned),
            Op::Approve { plan, canary } => self.approve(*plan, *canary),
            Op::CarryOn => self.step(&Step::CarryOn),
            Op::Follow { seconds, times } => {
                for _ in 0..*times {
                    self.advance(*seconds);
                    self.step(&Step::Track);
                }
            }
            Op::Lie(lie) => self.lie(*lie),
            Op::Lag(lag, seconds) => self.lag(*lag, *seconds),
            Op::Prune(seconds) => self.prune(*seconds),
            Op::SendAgain => self.send_again(),
        }
        Ok(())
    }

    /// All trouble is over, and time passes until nothing is under way.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        self.listen(true);
        self.lie(None);
        outside().block_on(change_faults(&self.sandbox, &json!({})));
        outside().block_on(change_account(&self.sandbox, &json!({ "runningCap": null })));
        for change in [Change::Credits(CREDITS), Change::Revoked(false), Change::Killed(false)] {
            self.change(change);
        }
        self.broker.hand_out(10, Ack::Arrives);
        // Longer and longer: what is left takes seconds, then the day that the API keeps a refusal, then days.
        let times = [(10, 30), (15, 120), (10, 900), (100, 3_600), (20, 14_400)];
        let times = times.into_iter().flat_map(|(n, seconds)| std::iter::repeat_n(seconds, n));
        for (n, seconds) in times.enumerate() {
            if n % 10 == 0 {
                self.lift_all();
            }
            let all =
                [Step::Intake, Step::CarryOn, Step::SubmitAll, Step::Cancels, Step::Track, Step::Publish];
            for step in all {
                self.step(&step);
            }
            self.resolve(n % 2 == 0);
            if self.broker.is_empty() && !self.is_busy() && !self.awaits_late_results() {
                return Ok(());
            }
            self.advance(seconds);
        }
        Err(format!("P2 it never ends: {}", self.open_jobs()))
    }

    fn is_busy(&self) -> bool {
        let process = self.process.as_ref().unwrap();
        let ledger = &process.worker.desk.ledger;
        process.wait(async {
            let parked = ledger.reader().tally().await.unwrap().iter().any(|tally| tally.state == "parked");
            let planned = !ledger.reader().open_plans().await.unwrap().is_empty();
            parked || planned || ledger.is_busy().await.unwrap()
        })
    }

    fn open_jobs(&self) -> String {
        let process = self.process.as_ref().unwrap();
        let reader = process.worker.desk.ledger.reader();
        let (tally, holds) =
            process.wait(async { (reader.tally().await.unwrap(), reader.holds().await.unwrap()) });
        let tally: Vec<_> =
            tally.iter().map(|tally| format!("{} {} {}", tally.what, tally.state, tally.n)).collect();
        let holds: Vec<_> =
            holds.iter().map(|hold| format!("{} {}", hold.scope.word(), hold.reason)).collect();
        format!("{}; holds: {}", tally.join(", "), holds.join(", "))
    }

    fn start(&mut self) {
        let process = Process::start(self.settings.clone(), self.clock.clone(), &self.broker, &self.gate);
        self.process = Some(process);
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.steps += 1;
        if self.process.as_mut().unwrap().step(step).is_err() {
            self.process = None;
            self.broker.disconnect();
            self.start();
        }
        if matches!(step, Step::Submit | Step::SubmitAll) {
            self.look_at_parked();
        }
    }

    fn restart(&mut self, clean: bool) -> Result<(), String> {
        let process = self.process.take().unwrap();
        let found = process.wait(process.worker.desk.ledger.reader().imbalance()).unwrap();
        if clean {
            process.stop();
        } else {
            drop(process);
        }
        self.broker.disconnect();
        self.start();
        if found.sum == 0 { Ok(()) } else { Err(format!("P8 {}", found.lines.join("; "))) }
    }

    /// The ledger is gone, with everything that it knew.
    pub(super) fn lose_ledger(&mut self) {
        self.process.take().unwrap().stop();
        self.parked.clear();
        self.broker.disconnect();
        for ending in ["", "-wal", "-shm", ".lock"] {
            let path = format!("{}{ending}", self.settings.ledger.path.display());
            // Some of them are not there after an orderly stop.
            fs::remove_file(path).unwrap_or_default();
        }
        self.start();
    }

    /// A connection to the ledger that is not the worker's.
    pub(super) async fn beside(&self) -> SqliteConnection {
        let beside = statements::pause();
        let path = &self.settings.ledger.path;
        let db = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        drop(beside);
        db
    }

    fn deliver(&mut self, brief: u8, content: u8, run: u8, wish: Wish) {
        let variants = u64::from(1 + brief % 3);
        let mut message = json!({
            "projectId": format!("p{}", brief % 2), "briefId": format!("k{brief}"),
            "format": "video_remix", "variantCount": variants,
            "brief": { "hook": format!("{brief}-{content}") },
            "metadata": { "sandbox": wish.json() },
        });
        if brief < BRIEFS - 1 {
            message["batchId"] = json!("b");
        }
        if run > 0 {
            message["run"] = json!(run);
        }
        let asked = (u64::from(run.max(1)), variants);
        self.send(message.to_string().into_bytes(), Some(identity_of(&message)), asked);
    }

    fn poison(&mut self, poison: Poison) {
        let n = self.sent.len();
        let answered = |more: &Value| {
            let mut message =
                json!({ "projectId": "p0", "briefId": format!("odd{n}"), "brief": { "hook": "x" } });
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            message
        };
        let set_aside = match poison {
            Poison::NotUtf8 => [b"\xff\xfe", n.to_string().as_bytes()].concat(),
            Poison::NotJson => format!("{{ {n}").into_bytes(),
            Poison::NoProject => json!({ "briefId": format!("odd{n}") }).to_string().into_bytes(),
            Poison::UnknownRun => answered(&json!({ "run": 5 })).to_string().into_bytes(),
            Poison::Secret => {
                // The process may not have read the file yet.
                if self.keys.len() > 1 {
                    return;
                }
                self.told_secret = true;
                answered(&json!({ "metadata": self.keys.last() })).to_string().into_bytes()
            }
            Poison::Invalid => {
                let message = answered(&json!({ "variantCount": 9 }));
                return self.send(message.to_string().into_bytes(), Some(identity_of(&message)), (1, 0));
            }
            Poison::Expired => {
                let message = answered(&json!({ "expiresAt": "2026-04-01T00:00:00Z" }));
                return self.send(message.to_string().into_bytes(), Some(identity_of(&message)), (1, 0));
            }
        };
        self.send(set_aside, None, (1, 0));
    }

    fn send(&mut self, body: Vec<u8>, identity: Option<Identity>, (run, variants): (u64, u64)) {
        self.broker.send(body.clone());
        let canceled = identity.is_some()
            && self.sent.iter().any(|before| before.canceled && before.identity == identity);
        self.sent.push(Sent { body, identity, run, variants, times: 1, canceled });
    }

    fn change(&mut self, change: Change) {
        let change = match change {
            Change::Credits(credits) => json!({ "balance": credits }),
            Change::Revoked(revoked) => {
                self.revoked = revoked;
                self.revocations(None)
            }
            Change::Killed(killed) => json!({ "killSwitch": killed }),
            Change::Rotated if self.told_secret => return,
            Change::Rotated => {
                let key = format!("{KEY}{}", self.keys.len());
                self.keys.push(key.clone());
                fs::write(self.folder.path().join("key"), &key).unwrap();
                self.revocations(Some(key))
            }
        };
        outside().block_on(change_account(&self.sandbox, &change));
    }

    /// Only the key in the file is let in, if any.
    fn revocations(&self, new: Option<String>) -> Value {
        let old = self.keys.len() - usize::from(!self.revoked);
        let mut change = json!({ "revokedKeys": self.keys[..old] });
        if let Some(new) = new {
            change["addKey"] = json!(new);
        }
        change
    }

    fn listen(&mut self, listens: bool) {
        match (listens, self.serving.take()) {
            (true, None) => {
                let (gate, sandbox, stop) =
                    (self.gate.clone(), self.sandbox.clone(), CancellationToken::new());
                let inside = outside().enter();
                let listener: TcpListener = socket(self.at).listen(64).unwrap();
                drop(inside);
                let stopped = stop.clone().cancelled_owned();
                let server = outside().spawn(async move { gate.serve_on(listener, &sandbox, stopped).await });
                self.serving = Some((stop, server));
            }
            (false, Some((stop, server))) => {
                stop.cancel();
                // What is under way belongs to a process that is dead, or takes a moment.
                let ended = outside()
                    .block_on(async { tokio::time::timeout(Duration::from_millis(200), server).await });
                drop(ended);
            }
            (_, serving) => self.serving = serving,
        }
    }
}

fn identity_of(message: &Value) -> Identity {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    Identity { project_id: text("projectId"), batch_id: text("batchId"), brief_id: text("briefId") }
}
