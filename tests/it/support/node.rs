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

/// A private RabbitMQ node. It ends with this value.
pub struct Node {
    /// `tests/run --broker-only`, which looks after it.
    keeper: Process,
    url: String,
    _dir: TempDir,
}

impl Node {
    /// Starts a node and waits until it is up.
    pub async fn start() -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run"));
        command.args(["--broker-only", "--without-management"]).env("CARGO_TARGET_DIR", dir.path());
        let mut keeper = Process::start(dir.path(), command);
        wait_up(&mut keeper, 1).await;
        let told = eventually(START, async || {
            let said = keeper.stdout();
            let (_, rest) = said.split_once("BRIEFD_TEST_AMQP_URL='")?;
            rest.split_once('\'').map(|(url, _)| url.to_owned())
        });
        let url = told.await.expect("tests/run says where the node is");
        Self { keeper, url, _dir: dir }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it and starts it again from its files. Returns when it is up.
    pub async fn restart(&mut self) {
        let before = self.keeper.stderr().matches(UP).count();
        self.keeper.signal("USR1");
        wait_up(&mut self.keeper, before + 1).await;
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
