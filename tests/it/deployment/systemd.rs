//! The systemd unit: valid, exposed to little, in step with the program's own times; and what the program tells systemd.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{deploy, judged_by, seconds, text};
use crate::support::broker::TestBroker;
use crate::support::eventually;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};

/// Tenths of the points that `systemd-analyze security` gives; 100 is a service without any protection.
const EXPOSURE_MAX: u32 = 15;

/// `systemd-analyze`, where this machine has it.
fn systemd_analyze() -> Option<Command> {
    let there = Path::new("/usr/bin/systemd-analyze").exists();
    if !there {
        eprintln!("SKIPPED: there is no systemd-analyze on this machine");
    }
    there.then(|| Command::new("/usr/bin/systemd-analyze"))
}

#[test]
fn the_unit_is_valid_for_systemd() {
    let Some(mut analyze) = systemd_analyze() else { return };
    let dir = TempDir::new().unwrap();
    // systemd wants to find the program; it is not installed here.
    let unit = text("systemd/briefd.service").replace("/usr/local/bin/briefd", env!("CARGO_BIN_EXE_briefd"));
    let path = dir.path().join("briefd.service");
    std::fs::write(&path, unit).unwrap();
    let (good, said) = judged_by(analyze.args(["verify", "--man=no"]).arg(path));
    assert!(good && !said.contains("briefd.service:"), "{said}");
}

#[test]
fn the_unit_exposes_little() {
    let Some(mut analyze) = systemd_analyze() else { return };
    let bound = format!("--threshold={EXPOSURE_MAX}");
    let (good, said) = judged_by(
        analyze
            .args(["security", "--no-pager", "--offline=true", &bound])
            .arg(deploy("systemd/briefd.service")),
    );
    assert!(good, "{said}");
}

#[test]
fn systemd_gives_an_orderly_stop_its_time() {
    let limit = seconds(&text("systemd/briefd.service"), "TimeoutStopSec");
    for settings in ["../config/default.toml", "../config/production.toml"] {
        assert!(limit > seconds(&text(settings), "grace"), "{settings}");
    }
}

/// What systemd was told until some words came.
async fn told_until(socket: &UnixDatagram, words: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let done = eventually(PROMPTLY, async || {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            told.extend(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned));
        }
        told.iter().any(|line| line == words).then_some(())
    });
    let done = done.await.is_some();
    assert!(done, "{words} was not told, but {told:?}");
    told
}

#[tokio::test]
async fn systemd_is_told_of_readiness_of_each_sign_of_life_and_of_the_stop() {
    let (broker, sandbox) = (TestBroker::connect().await, SandboxProcess::spawn(&[]).await);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let manager = [
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", Duration::from_millis(300).as_micros().to_string()),
    ];
    let variables = [broker.variables(), sandbox.variables(), manager.to_vec()].concat();
    let mut worker = Worker::spawn(dir.path(), &variables);

    let told = told_until(&socket, "STATUS=at work").await;
    assert!(told.contains(&"READY=1".to_owned()), "{told:?}");
    for _ in 0..3 {
        told_until(&socket, "WATCHDOG=1").await;
    }
    worker.process.sigterm();
    told_until(&socket, "STOPPING=1").await;
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
}

#[tokio::test]
async fn systemd_is_told_what_is_awaited_while_the_broker_is_away() {
    let sandbox = SandboxProcess::spawn(&[]).await;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let nobody = format!("amqp://127.0.0.1:{}", crate::support::process::free_port());
    let manager = [("NOTIFY_SOCKET", path.display().to_string()), ("BRIEFD__AMQP__URL", nobody)];
    let _worker = Worker::spawn(dir.path(), &[sandbox.variables(), manager.to_vec()].concat());
    // Ready all the same: systemd would kill it after TimeoutStartSec, which brings no broker back.
    let told = told_until(&socket, "STATUS=waits for: broker").await;
    assert!(told.contains(&"READY=1".to_owned()), "{told:?}");
}
