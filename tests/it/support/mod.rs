//! What the tests stand on: a real broker ([`broker`], one to break: [`node`], a line to it that can be cut:
//! [`forwarder`]), the real program ([`process`]), and one judge of what they left behind ([`checker`]).
//!
//! Waits end with a condition and have a bound; nothing sleeps for a fixed time. Whatever a test makes is removed
//! when it goes out of scope, also when the test fails.

pub mod broker;
pub mod checker;
pub mod copies;
pub mod forwarder;
pub mod hostile_api;
pub mod message;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod raw_amqp;

use std::io::Write as _;
use std::time::Duration;

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks at a condition until it tells something, `None` after the bound.
pub async fn eventually<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let began = std::time::Instant::now();
    loop {
        if let Some(told) = look().await {
            return Some(told);
        }
        if began.elapsed() >= within {
            return None;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Tells figures in a line on standard error. What a test that passes prints is not seen; this is.
pub fn tell(subject: &str, figures: &str) {
    // An error says that nobody listens.
    drop(std::io::stderr().write_all(format!("{subject}: {figures}\n").as_bytes()));
}

/// A setting for a child process: name and value of an environment variable.
pub type Variable = (&'static str, String);

#[tokio::test]
async fn a_condition_that_never_holds_is_given_up_after_the_bound() {
    let mut looks = 0;
    let told = eventually(Duration::from_millis(30), async || {
        looks += 1;
        None::<()>
    })
    .await;
    assert_eq!(told, None);
    assert!(looks > 1);
}

#[test]
fn figures_are_told() {
    tell("a test", "2 figures");
}

#[tokio::test]
async fn what_is_told_is_seen_although_its_test_passes() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    tests.args(["--exact", "support::figures_are_told"]);
    let mut tests = process::Process::start(dir.path(), tests);
    assert!(tests.wait_exit(process::PROMPTLY).await.success());
    assert_eq!(tests.stderr(), "a test: 2 figures\n", "{}", tests.stdout());
}
