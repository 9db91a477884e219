//! Everything that can go wrong at the broker while the worker is busy. Each time it finds its way back alone, counts
//! what happened, does not call a broker that is down in a frenzy, loses nothing and buys nothing twice.

mod calls;
mod crash_loop;
mod flood;
mod killed;
mod limits;
mod mute;
mod operator;
mod stop;
mod storm;

use std::ops::Range;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::broker_loss::{brief, quick, sandbox};
use crate::support::broker::TestBroker;
use crate::support::checker::Evidence;
use crate::support::forwarder::{Forwarder, Line};
use crate::support::message::Message;
use crate::support::node::Node;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

/// Everything has to be over by then.
const PATIENCE: Duration = Duration::from_mins(2);
/// After a kill of the node its queues may have no leader; by then it is clear.
const LEADER: Duration = Duration::from_secs(25);
/// Counts what was built again at the broker.
const RECONNECTS: &str = "briefd_amqp_reconnects_total";
/// Restarts in order that it may take until they have one.
const RESTARTS: usize = 4;

/// Broker, line to it, API, place of the ledger, and what was asked for and came out.
pub struct Scene {
    pub broker: TestBroker,
    pub line: Forwarder,
    sandbox: SandboxProcess,
    dir: TempDir,
    variables: Vec<Variable>,
    briefs: Vec<Value>,
    records: Vec<Message>,
    /// How often the worker was killed.
    crashes: usize,
    /// Since when the broker may have been called.
    pub began: Instant,
}

impl Scene {
    /// At the broker that the tests share.
    pub async fn set(more: &[(&'static str, &str)]) -> Self {
        Self::around(TestBroker::connect().await, sandbox().await, more)
    }

    /// At a broker of the test's own.
    async fn at(node: &Node, more: &[(&'static str, &str)]) -> Self {
        Self::around(TestBroker::connect_to(node.url().to_owned()).await, sandbox().await, more)
    }

    fn around(broker: TestBroker, sandbox: SandboxProcess, more: &[(&'static str, &str)]) -> Self {
        let mut line = Forwarder::reserve();
        line.listen(broker.url());
        line.set(Line::Open);
        let mut variables = [broker.variables(), sandbox.variables(), quick()].concat();
        variables.push(("BRIEFD__AMQP__URL", line.on_the_way_to(broker.url())));
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let (dir, began) = (TempDir::new().unwrap(), Instant::now());
        let (briefs, records) = (Vec::new(), Vec::new());
        Self { broker, line, sandbox, dir, variables, briefs, records, crashes: 0, began }
    }

    /// A worker that is about to connect.
    pub fn spawn_worker(&self) -> Worker {
        Worker::spawn(self.dir.path(), &self.variables)
    }

    async fn start_worker(&self) -> Worker {
        let mut worker = self.spawn_worker();
        worker.wait_ready().await;
        worker
    }

    /// Publishes the briefs with these numbers.
    pub async fn publish(&mut self, numbers: Range<usize>) {
        self.publish_all(numbers.map(|number| brief(&format!("brief {number}"))).collect()).await;
    }

    async fn publish_all(&mut self, briefs: Vec<Value>) {
        stream::iter(&briefs).for_each_concurrent(32, |brief| self.broker.publish(brief)).await;
        self.briefs.extend(briefs);
    }

    /// RabbitMQ 3.10 writes down which quorum queues it has now and then, and when it stops in order: one that was declared
    /// just before a kill never gets a leader again. So these are written down before the node is killed.
    async fn settle_queues(&self, node: &mut Node, worker: &Worker) {
        let before = integer(worker, RECONNECTS).await;
        node.restart().await;
        wait_at_least(worker, RECONNECTS, before + 2).await;
        wait_connected(worker, true).await;
    }

    async fn ledger(&self) -> SqliteConnection {
        let ledger = SqliteConnectOptions::new().filename(self.dir.path().join("briefd.db"));
        ledger.connect().await.expect("there is a ledger")
    }

    /// A count out of the ledger.
    async fn stored(&self, query: &'static str) -> usize {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut self.ledger().await).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// Takes so many records.
    async fn take(&mut self, count: usize) {
        let taken = self.broker.take_records(count, PATIENCE).await;
        assert_eq!(taken.len(), count, "not all came within {PATIENCE:?}");
        self.records.extend(taken);
    }

    /// Whether all briefs have completed and all records are confirmed.
    async fn is_over(&mut self, worker: &Worker) -> bool {
        completed(worker).await == self.briefs.len() && integer(worker, "briefd_outbox_pending").await == 0
    }

    pub async fn wait_over(&mut self, worker: &Worker) {
        let over = eventually(PATIENCE, async || self.is_over(worker).await.then_some(())).await;
        if over.is_none() {
            let metrics = worker.metrics().await;
            let counts = [
                "briefd_briefs",
                "briefd_failures",
                "briefd_jobs",
                "briefd_outbox",
                "briefd_holds",
                "briefd_amqp",
            ];
            let is_count =
                |line: &&str| counts.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
            let counts: Vec<&str> = metrics.lines().filter(is_count).collect();
            panic!("it is not over:\n{}\nthe worker said:\n{}", counts.join("\n"), worker.process.stderr());
        }
    }

    /// The same after a kill of the node: what an operator would do about queues without a leader is done.
    async fn wait_over_at(&mut self, node: &mut Node, worker: &Worker) {
        for _ in 0..RESTARTS {
            if eventually(LEADER, async || self.is_over(worker).await.then_some(())).await.is_some() {
                return;
            }
            println!("restarting the node in order: {} of {}", completed(worker).await, self.briefs.len());
            node.restart().await;
        }
        self.wait_over(worker).await;
    }

    /// Stops the worker in order and judges what is there.
    pub async fn finish(self, worker: Worker) -> Evidence {
        let evidence = self.stop(worker).await;
        evidence.assert_clean();
        evidence
    }

    async fn stop(mut self, mut worker: Worker) -> Evidence {
        assert_eq!(integer(&worker, "briefd_ledger_imbalance").await, 0);
        worker.process.sigterm();
        assert_eq!(worker.process.wait_exit(PROMPTLY).await.code(), Some(0));
        self.records.extend(self.broker.take_rest("records").await);
        let account = self.sandbox.account().await;
        let evidence = Evidence::of_first_runs(account, self.records, &self.briefs)
            .set_aside(self.broker.take_rest("briefs.dead").await, &[]);
        Evidence { crashes: self.crashes, ..evidence }.with_ledger(self.dir.path()).await
    }
}

/// The value of a series that counts.
async fn integer(worker: &Worker, series: &str) -> usize {
    let value = worker.series(series).await;
    value.to_string().parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}

async fn completed(worker: &Worker) -> usize {
    integer(worker, "briefd_briefs{project=\"other\",state=\"completed\"}").await
}

/// Waits until a counter has come so far.
async fn wait_at_least(worker: &Worker, series: &str, least: usize) {
    let reached = eventually(PROMPTLY, async || (integer(worker, series).await >= least).then_some(()));
    assert!(reached.await.is_some(), "{series} did not reach {least}:\n{}", worker.process.stderr());
}

/// The series that says whether a side has its connection.
pub fn connected(side: &str) -> String {
    format!("briefd_amqp_connected{{connection=\"{side}\"}}")
}

/// Waits until a worker has lost the broker, or has it again.
pub async fn wait_connected(worker: &Worker, has_it: bool) {
    for side in ["consume", "publish"] {
        worker.wait_series(&connected(side), f64::from(u8::from(has_it))).await;
    }
}
