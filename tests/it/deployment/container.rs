//! The image and the compose file: valid for their tools, in step with the program, and the image's health check works.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{deploy, judged_by, text, tool};
use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, free_port};

#[test]
fn the_dockerfile_is_as_hadolint_likes_it() {
    let (good, said) = judged_by(tool("hadolint").arg(deploy("docker/Dockerfile")));
    assert!(good, "{said}");
}

#[test]
fn the_image_is_not_root_and_stops_by_the_signal_that_is_an_orderly_stop() {
    let dockerfile = text("docker/Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    for line in ["USER 10001:10001", "STOPSIGNAL SIGTERM", "VOLUME /var/lib/briefd"] {
        assert!(last.lines().any(|has| has == line), "{line}");
    }
    // Whatever it names of our own must be in the build's context.
    let context = text("../.dockerignore");
    for part in ["!Cargo.toml", "!Cargo.lock", "!.cargo", "!src", "!config"] {
        assert!(context.lines().any(|line| line == part), "{part}");
    }
}

#[test]
fn the_compose_file_fits_its_schema_and_every_file_it_mounts_is_there() {
    let (good, said) = judged_by(
        tool("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(deploy("compose.yaml")),
    );
    assert!(good, "{said}");
    let compose = text("compose.yaml");
    let mounted: Vec<&str> = compose
        .split("./")
        .skip(1)
        .filter_map(|rest| rest.split(':').next())
        .filter(|path| !path.contains(' '))
        .collect();
    assert!(mounted.len() >= 7, "{mounted:?}");
    for path in mounted {
        assert!(deploy(path).exists(), "deploy/{path}");
    }
}

#[test]
fn the_passwords_of_the_compose_file_are_those_of_the_demo_users() {
    let compose = text("compose.yaml");
    for user in ["briefd", "pipeline"] {
        assert!(compose.contains(&format!("amqp://{user}:{user}-demo@rabbitmq:5672/%2f")), "{user}");
    }
}

/// The health check of the image, for a worker on this port.
fn health_check(port: u16) -> Command {
    let dockerfile = text("docker/Dockerfile");
    let words = dockerfile.lines().find_map(|line| line.trim().strip_prefix("CMD [\"/bin/bash\"")).unwrap();
    let words: Vec<String> = serde_json::from_str(&format!("[\"/bin/bash\"{words}")).unwrap();
    let mut command = Command::new(&words[0]);
    command.args(words[1..].iter().map(|word| word.replace("9464", &port.to_string())));
    command
}

#[tokio::test]
async fn the_health_check_of_the_image_says_whether_a_worker_is_healthy() {
    let (broker, sandbox) = (TestBroker::connect().await, SandboxProcess::spawn(&[]).await);
    let dir = TempDir::new().unwrap();
    let mut worker = Worker::spawn(dir.path(), &[broker.variables(), sandbox.variables()].concat());
    worker.wait_ready().await;
    let port = worker.listens().1.rsplit(':').next().unwrap().parse().unwrap();
    let (good, said) = judged_by(&mut health_check(port));
    assert!(good, "{said}");
    worker.process.sigterm();
    worker.process.wait_exit(PROMPTLY).await;
    assert!(!judged_by(&mut health_check(port)).0, "nobody listens any more");

    // A worker that answers 503.
    let unhealthy = tokio::net::TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
    let port = unhealthy.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = unhealthy.accept().await.unwrap();
        stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\n\r\n").await.unwrap();
        stream
    });
    let judged = tokio::task::spawn_blocking(move || judged_by(&mut health_check(port)).0).await.unwrap();
    assert!(!judged, "503 is not healthy");
    drop(answering.await);
}

#[test]
fn the_demo_passwords_are_nowhere_but_in_the_demo() {
    let demo: Value = serde_json::from_str(&text("rabbitmq/demo-passwords.json")).unwrap();
    let definitions = text("rabbitmq/definitions.json");
    for user in demo["users"].as_array().unwrap() {
        assert!(!definitions.contains(user["password_hash"].as_str().unwrap()));
    }
}
