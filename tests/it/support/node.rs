//! A broker of a test's own, for tests that break it.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;
use super::process::Process;

/// Bound of waits for a node to be up.
const START: Duration = Duration::from_mins(1);
/// What `tests/run` says each time that it is.
const UP: &str = "RabbitMQ is up on ";

/// Bound of one command of `rabbitmqctl`.
const COMMAND: Duration = Duration::from_mins(1);

/// A private RabbitMQ node. It ends with this value.
pub struct Node {
    /// `tests/run --broker-only`, which looks after it.
    keeper: Process,
    url: String,
    /// Where its files are.
    files: String,
    dir: TempDir,
}

impl Node {
    /// Starts a node and waits until it is up.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more lines in its `rabbitmq.conf`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run"));
        command.args(["--broker-only", "--without-management"]).env("CARGO_TARGET_DIR", dir.path());
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut keeper = Process::start(dir.path(), command);
        wait_up(&mut keeper, 1).await;
        let told = eventually(START, async || {
            let said = keeper.stdout();
            let value = |name: &str| {
                let (_, rest) = said.split_once(&format!("{name}='"))?;
                rest.split_once('\'').map(|(value, _)| value.to_owned())
            };
            Some((value("BRIEFD_TEST_AMQP_URL")?, value("BRIEFD_TEST_BROKER_DIR")?))
        });
        let (url, files) = told.await.expect("tests/run says where the node is");
        Self { keeper, url, files, dir }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it in order and starts it again from its files. Returns when it is up.
    pub async fn restart(&mut self) {
        self.again("USR1").await;
    }

    /// Kills it and starts it again from its files. Returns when it is up, which its queues need not be: see
    /// `tests/run`.
    pub async fn kill_and_restart(&mut self) {
        self.again("USR2").await;
    }

    async fn again(&mut self, signal: &str) {
        let before = self.keeper.stderr().matches(UP).count();
        self.keeper.signal(signal);
        wait_up(&mut self.keeper, before + 1).await;
    }

    /// Stops it where it stands: its sockets stay, and nobody answers.
    pub fn freeze(&self) {
        super::process::send_signal(&self.process_id().to_string(), "STOP");
    }

    /// The present process of the node.
    pub fn process_id(&self) -> u32 {
        let said = self.keeper.stderr();
        let told = said.rsplit_once("(process ").and_then(|(_, rest)| rest.split_once(','));
        told.and_then(|(id, _)| id.parse().ok()).expect("tests/run names the process of the node")
    }

    /// Does something with `rabbitmqctl`.
    pub async fn command(&self, arguments: &[&str]) {
        let mut command = Command::new(format!("{}/ctl", self.files));
        command.args(arguments);
        let mut process = Process::start(self.dir.path(), command);
        let status = process.wait_exit(COMMAND).await;
        assert!(status.success(), "{arguments:?} failed: {}{}", process.stdout(), process.stderr());
    }
}

async fn wait_up(keeper: &mut Process, times: usize) {
    let up = eventually(START, async || (keeper.stderr().matches(UP).count() >= times).then_some(()));
    assert!(up.await.is_some(), "there is no node; tests/run said:\n{}", keeper.stderr());
}

impl Drop for Node {
    fn drop(&mut self) {
        // Not killed: it has a node to stop.
        self.keeper.end_in_order();
    }
}
