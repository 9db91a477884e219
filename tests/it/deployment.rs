//! What `deploy/` offers to run briefd with: each file is valid where its tool says so, and fits the program.

mod container;
mod kubernetes;
mod rabbitmq;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of `deploy/`.
fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

/// Runs a tool to its end: whether it is content, and all that it said.
fn judged_by(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

/// A tool that `tests/run` installs, from the registries of Python packages.
fn tool(name: &str) -> Command {
    let folder = std::env::var_os("BRIEFD_TEST_DEPLOY_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/deploy-venv/bin"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: tests/run installs it", path.display());
    Command::new(path)
}

/// The seconds of the first value of a key, such as `TimeoutStopSec=60s` or `grace = "45s"`.
fn seconds(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("{key} is not set"));
    let value = value.split('#').next().unwrap().trim().trim_matches('"');
    humantime::parse_duration(value).unwrap().as_secs()
}
