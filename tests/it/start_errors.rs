//! What keeps the program from starting, or from working once it has started: each is said in one line that names it and
//! what to do, with the exit code that the README promises, at once, and without a panic. What may pass is waited out.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker_faults::{Scene, connected, wait_connected};
use crate::support::broker::TestBroker;
use crate::support::checker::judge_first_runs;
use crate::support::message::Message;
use crate::support::process::{API_KEY, PROMPTLY, Process, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually, tell};

/// Whatever is wrong is said within this time; a broker that does not answer takes the longest.
const AT_ONCE: Duration = Duration::from_secs(15);

/// What `run` needs if all is well; nothing of it is asked for before the error.
fn sane(dir: &Path) -> Vec<Variable> {
    vec![
        ("LAYERS_API_KEY", API_KEY.to_owned()),
        ("BRIEFD__LAYERS__BASE_URL", "http://127.0.0.1:1".to_owned()),
        ("BRIEFD__AMQP__URL", "amqp://guest:guest@127.0.0.1:1/%2f".to_owned()),
        ("BRIEFD__HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("BRIEFD__LEDGER__URL", format!("sqlite://{}/briefd.db", dir.display())),
        // Whoever has this in the environment sees no more than others.
        ("RUST_BACKTRACE", "1".to_owned()),
    ]
}

/// Runs a command that cannot work; returns what it said, and checks all but the words.
async fn refused(dir: &Path, arguments: &[&str], more: &[Variable], code: i32) -> String {
    let mut process = Process::start(dir, briefd(dir, arguments, &[&sane(dir), more].concat()));
    let status = process.wait_exit(AT_ONCE).await;
    let said = process.stderr();
    assert_eq!(status.code(), Some(code), "{said}");
    assert_eq!(process.stdout(), "");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    assert!(!said.contains(API_KEY) && !said.contains("hunter2"), "a secret is shown: {said}");
    assert!(said.ends_with('\n'), "{said}");
    said
}

/// The same, for what is said in one line.
pub async fn refused_in_a_line(dir: &Path, arguments: &[&str], more: &[Variable], code: i32) -> String {
    let said = refused(dir, arguments, more, code).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    said.strip_prefix("briefd: ")
        .unwrap_or_else(|| panic!("it does not say who speaks: {said}"))
        .trim_end()
        .to_owned()
}

#[tokio::test]
async fn wrong_settings_are_named_with_where_they_stand_and_what_fits() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("briefd.toml");
    std::fs::write(&file, "[amqp]\n\nprefech = 5\n").unwrap();
    let file = file.display().to_string();
    std::fs::write(dir.path().join("b.jsonl"), "{}\n").unwrap();
    let cases: [(&[&str], &str, &str, &str); 11] = [
        (
            &["run"],
            "BRIEFD__AMQP__URL",
            "amqp:/guest:hunter2@host",
            "BRIEFD__AMQP__URL: amqp.url = (not shown): expected an address whose user, password and vhost are \
             percent-encoded (@ is %40, / is %2f, # is %23, ? is %3f)",
        ),
        (
            &["run"],
            "BRIEFD__AMQP__URL",
            "http://guest:hunter2@host/",
            "BRIEFD__AMQP__URL: amqp.url = (not shown): expected an address that starts with amqp:// or amqps://",
        ),
        (
            &["run"],
            "BRIEFD__LAYERS__BASE_URL",
            "api.layers.com",
            "BRIEFD__LAYERS__BASE_URL: layers.base_url = \"api.layers.com\": expected an address such as \
             \"https://api.layers.com\"",
        ),
        (
            &["run"],
            "BRIEFD__LAYERS__BASE_URL",
            "http://api.layers.com",
            "layers.base_url = \"http://api.layers.com\" (BRIEFD__LAYERS__BASE_URL) is plain http to another machine, \
             where the API key can be read on the way; use https, or set layers.allow_http = true",
        ),
        (
            &["run"],
            "BRIEFD__HTTP__LISTEN",
            "localhost",
            "BRIEFD__HTTP__LISTEN: http.listen = \"localhost\": expected ADDRESS:PORT, such as \"127.0.0.1:9464\"",
        ),
        (
            &["run"],
            "BRIEFD__AMQP__PREFETHC",
            "100",
            "BRIEFD__AMQP__PREFETHC: unknown key amqp.prefethc; did you mean amqp.prefetch?",
        ),
        (
            &["run"],
            "LAYERS_API_KEY",
            "",
            "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file",
        ),
        (
            &["generate", "b.jsonl"],
            "LAYERS_API_KEY",
            "",
            "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file",
        ),
        (
            &["run"],
            "BRIEFD_CONFIG",
            "/nowhere/briefd.toml",
            "/nowhere/briefd.toml: the settings file given by BRIEFD_CONFIG cannot be read: No such file or directory \
             (os error 2)",
        ),
        (
            &["run", "--config", &file],
            "BRIEFD_CONFIG",
            "",
            "briefd.toml:3: unknown key amqp.prefech; did you mean amqp.prefetch?",
        ),
        (&["status"], "BRIEFD__LEDGER__URL", "postgres://db/briefd", "BRIEFD__LEDGER__URL: ledger.url = "),
    ];
    for (arguments, name, value, expected) in cases {
        let said = refused_in_a_line(dir.path(), arguments, &[(name, value.to_owned())], 3).await;
        if expected.ends_with("= ") || arguments.len() > 2 {
            assert!(said.contains(expected), "{said}");
        } else {
            assert_eq!(said, expected);
        }
    }
    let by_file =
        [("LAYERS_API_KEY", String::new()), ("BRIEFD__LAYERS__API_KEY_FILE", "/nowhere/key".to_owned())];
    let said = refused_in_a_line(dir.path(), &["run"], &by_file, 3).await;
    assert!(
        said.starts_with("no API key: the file of layers.api_key_file, /nowhere/key, cannot be read: "),
        "{said}"
    );

    // All at once, a line each.
    let two = [("BRIEFD__AMQP__PREFETHC", "1".to_owned()), ("BRIEFD__AMQP__HEARTBEAT", "soon".to_owned())];
    let said = refused(dir.path(), &["run"], &two, 3).await;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.contains("PREFETHC: unknown key") && said.contains("amqp.heartbeat = \"soon\": expected"),
        "{said}"
    );
    assert!(!dir.path().join("briefd.db").exists(), "nothing is made before the settings are right");
}

#[tokio::test]
async fn wrong_usage_has_an_exit_code_of_its_own() {
    let dir = TempDir::new().unwrap();
    for arguments in [&["frobnicate"][..], &["run", "--nonsense"], &["run", "extra"], &["generate"], &[]] {
        let said = refused(dir.path(), arguments, &[], 2).await;
        assert!(said.contains("Usage: briefd"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| [("BRIEFD__LEDGER__URL", format!("sqlite://{}/{path}", dir.path().display()))];
    let run = async |path: &str| refused_in_a_line(dir.path(), &["run"], &at(path), 4).await;
    let folder = dir.path().display();

    let missing = run("no/such/folder/briefd.db").await;
    let expected = "does not exist: create it, or set ledger.url";
    assert_eq!(missing, format!("the ledger's folder {folder}/no/such/folder {expected}"));

    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let is_folder = run("folder").await;
    assert_eq!(is_folder, format!("cannot open the ledger {folder}/folder: Is a directory (os error 21)"));

    std::fs::write(dir.path().join("letter.txt"), "Dear Sir or Madam, ".repeat(100)).unwrap();
    let no_ledger = run("letter.txt").await;
    assert!(
        no_ledger.starts_with(&format!("{folder}/letter.txt cannot be used as the ledger: ")),
        "{no_ledger}"
    );
    assert!(no_ledger.contains("file is not a database"), "{no_ledger}");
    assert_eq!(std::fs::read(dir.path().join("letter.txt")).unwrap().len(), 1900, "and is left alone");
    let no_ledger = refused_in_a_line(dir.path(), &["status"], &at("letter.txt"), 4).await;
    assert!(
        no_ledger.starts_with(&format!("{folder}/letter.txt cannot be used as the ledger: ")),
        "{no_ledger}"
    );

    let nothing = refused_in_a_line(dir.path(), &["status"], &at("new.db"), 4).await;
    assert!(nothing.starts_with(&format!("no ledger at {folder}/new.db: ")), "{nothing}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_before_any_work_begins() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused_in_a_line(dir.path(), &["run"], &[("BRIEFD__HTTP__LISTEN", address.clone())], 4).await;
    assert_eq!(
        said,
        format!("cannot listen on {address}: address in use; set http.listen or stop what uses it")
    );
    assert!(!dir.path().join("briefd.db").exists());
}

#[tokio::test]
async fn a_ledger_has_one_worker_and_one_api() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let variables = [broker.variables(), sandbox.variables()].concat();
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;

    let mut second = variables.clone();
    second.push(("BRIEFD__HTTP__LISTEN", "127.0.0.1:0".to_owned()));
    let ledger = dir.path().join("briefd.db").display().to_string();
    let said = refused_in_a_line(dir.path(), &["run"], &second, 4).await;
    let expected = format!(
        "another worker is at the ledger {ledger} (lock {ledger}.lock): stop it first, or use another --ledger"
    );
    assert_eq!(said, expected);
    let asked = json!({"projectId": "p", "briefId": "x", "brief": {"hook": "x"}});
    broker.publish(&asked).await;
    let records = broker.take_records(1, PROMPTLY).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    judge_first_runs(&sandbox, dir.path(), records, &[asked]).await;

    let other = [("BRIEFD__LAYERS__BASE_URL", "http://127.0.0.1:1".to_owned())];
    let said = refused_in_a_line(dir.path(), &["run"], &other, 4).await;
    let expected = format!(
        "the ledger belongs to {}, but layers.base_url is http://127.0.0.1:1: use another --ledger, its keys would \
         not guard there",
        sandbox.url()
    );
    assert_eq!(said, expected);
}

#[tokio::test]
async fn commands_that_need_the_broker_say_what_keeps_them_from_it() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    std::fs::write(dir.path().join("b.jsonl"), "{\"projectId\": \"p\", \"brief\": {\"hook\": \"h\"}}\n")
        .unwrap();
    let at = |url: &str| [("BRIEFD__AMQP__URL", url.to_owned())];
    for arguments in [&["topology"][..], &["topology", "--declare"], &["enqueue", "b.jsonl"]] {
        let away = at("amqp://guest:hunter2@127.0.0.1:1/%2f");
        let said = refused_in_a_line(dir.path(), arguments, &away, 4).await;
        assert_eq!(
            said,
            "cannot reach RabbitMQ at 127.0.0.1:1/%2f: Connection refused (os error 111); is it running there? Check \
             host and port in amqp.url"
        );
    }
    // Too long for DNS, so that nobody is asked.
    let host = format!("{}.example", "h".repeat(64));
    let nowhere = at(&format!("amqp://guest:hunter2@{host}:5672/%2f"));
    let said = refused_in_a_line(dir.path(), &["topology"], &nowhere, 4).await;
    let expected = format!("cannot find RabbitMQ at {host}:5672/%2f: the host name does not resolve");
    assert!(said.starts_with(&expected), "{said}");

    let mut url = reqwest::Url::parse(broker.url()).unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let said = refused_in_a_line(dir.path(), &["topology"], &at(url.as_str()), 4).await;
    assert!(said.contains("refused the login; check user and password in amqp.url"), "{said}");
    let mut url = reqwest::Url::parse(broker.url()).unwrap();
    url.set_path("/no-such-vhost");
    let said = refused_in_a_line(dir.path(), &["topology"], &at(url.as_str()), 4).await;
    assert!(
        said.contains("refused the virtual host") && said.contains("check the last part of amqp.url"),
        "{said}"
    );
}

/// The consumer's queue with a delivery limit that is not ours.
async fn declare_other_queue(broker: &TestBroker, arguments: &[(&str, AMQPValue)]) -> lapin::Channel {
    let connection = Connection::connect(broker.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(broker.name("briefs"), durable, table).await.unwrap();
    channel
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_told_with_how_to_mend_it_and_work_begins_once_it_is() {
    let (mut scene, dir) = (Scene::set(&[]).await, TempDir::new().unwrap());
    let (broker, name) = (&scene.broker, scene.broker.name("briefs"));
    let text = |text: &str| AMQPValue::LongString(text.into());
    let arguments = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(7)),
        ("x-dead-letter-exchange", text(broker.name("briefs.dead").as_str())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    let channel = declare_other_queue(broker, &arguments).await;
    let what = format!(
        "queue \"{name}\" has x-delivery-limit = 7 at the broker, briefd needs 100; delete it when it is empty and \
         unused, or set amqp.input.queue to a new name"
    );
    let said = refused_in_a_line(dir.path(), &["topology", "--declare"], &broker.variables(), 4).await;
    assert_eq!(said, what);

    // A worker does not give up: somebody may be about to mend it. Each side is at its fifth try.
    scene.began = Instant::now();
    let mut worker = scene.spawn_worker();
    let called = eventually(PROMPTLY, async || (scene.line.calls() >= 10).then_some(()));
    assert!(called.await.is_some(), "it gives up; it said:\n{}", worker.process.stderr());
    tell("a queue with other arguments", &scene.calls(&worker).await);
    for side in ["consume", "publish"] {
        worker.wait_said(&format!("connection=\"{side}\"")).await;
        worker.wait_series(&connected(side), 0.0).await;
    }
    let said = worker.process.stderr();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 2, "one for each connection: {said}");
    assert!(warnings.iter().all(|line| line.contains(&what.replace('"', "\\\""))), "{said}");
    assert_eq!(worker.look("/healthz").await.unwrap().0, 200);
    let (status, ready) = worker.look("/readyz").await.unwrap();
    assert_eq!((status, &ready["components"]["broker"]), (503, &json!(false)));

    channel.queue_delete(name, QueueDeleteOptions::default()).await.unwrap();
    worker.wait_ready().await;
    wait_connected(&worker, true).await;
    scene.publish(0..1).await;
    scene.wait_over(&worker).await;
    scene.finish(worker).await;
}

#[tokio::test]
async fn a_revoked_key_holds_everything_and_fails_nothing_until_it_is_good_again() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    sandbox.change("account", &json!({"keyRevoked": true})).await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__SUBMIT__PROBE_INTERVAL", "200ms".to_owned()));
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs: Vec<Value> = (1..=10)
        .map(|n| json!({"projectId": "p", "briefId": n.to_string(), "brief": {"hook": n.to_string()}}))
        .collect();
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let held = "starts are held: account: UNAUTHENTICATED since ";
    worker.wait_said(held).await;
    worker.wait_series("briefd_holds{reason=\"UNAUTHENTICATED\",scope=\"account\"}", 1.0).await;
    let listed = eventually(PROMPTLY, async || {
        let (status, ready) = worker.look("/readyz").await?;
        Some((status, ready["holds"][0].as_str()?.to_owned()))
    });
    let (status, hold) = listed.await.expect("/readyz lists the hold");
    assert_eq!(status, 200, "a rollout must be able to bring the new key");
    assert!(hold.starts_with("account: UNAUTHENTICATED since "), "{hold}");

    // It is tested again and again, by reading, and said once.
    let tested = eventually(PROMPTLY, async || {
        (sandbox.account().await["reads"]["whoami"].as_u64()? >= 4).then_some(())
    });
    assert!(tested.await.is_some());
    assert_eq!(worker.process.stderr().matches(held).count(), 1, "{}", worker.process.stderr());
    let account = sandbox.account().await;
    assert_eq!(account["jobsMade"], 0);
    assert!(account["posts"]["generate"].as_u64().unwrap() <= 10, "no more than were under way at once");
    assert_eq!(broker.take_rest("records").await, []);
    assert!(!worker.process.stderr().contains("ERROR"), "{}", worker.process.stderr());

    sandbox.change("account", &json!({"keyRevoked": false})).await;
    let records = broker.take_records(10, PROMPTLY).await;
    assert!(records.iter().all(|record| record.json()["type"] == "container.completed"), "{records:?}");
    worker.wait_said("the hold is over; starts go on").await;
    worker.wait_series("briefd_holds{reason=\"UNAUTHENTICATED\",scope=\"account\"}", 0.0).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn a_new_key_in_the_key_file_needs_no_restart() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let file = dir.path().join("key");
    std::fs::write(&file, "lp_live_of_last_year\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("LAYERS_API_KEY", String::new()));
    variables.push(("BRIEFD__LAYERS__API_KEY_FILE", file.display().to_string()));
    variables.push(("BRIEFD__SUBMIT__PROBE_INTERVAL", "200ms".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let asked = json!({"projectId": "p", "briefId": "x", "brief": {"hook": "x"}});
    broker.publish(&asked).await;
    worker.wait_said("starts are held").await;

    std::fs::write(&file, format!("{API_KEY}\n")).unwrap();
    let records = broker.take_records(1, PROMPTLY).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    judge_first_runs(&sandbox, dir.path(), records, &[asked]).await;
}

#[tokio::test]
async fn generate_with_a_wrong_key_ends_at_once_and_goes_on_with_the_right_one() {
    let dir = TempDir::new().unwrap();
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let briefs: Vec<Value> = (1..=3)
        .map(|n| json!({"projectId": "p", "batchId": "b", "briefId": n.to_string(), "brief": {"hook": "h"}}))
        .collect();
    let lines: Vec<String> = briefs.iter().map(Value::to_string).collect();
    std::fs::write(dir.path().join("b.jsonl"), lines.join("\n")).unwrap();
    let generate = ["generate", "b.jsonl", "--out", "records.jsonl"];
    let wrong = [sandbox.variables(), vec![("LAYERS_API_KEY", "lp_live_of_last_year".to_owned())]].concat();
    let said = refused(dir.path(), &generate, &wrong, 4).await;
    let last = said.lines().last().unwrap();
    assert_eq!(
        last,
        "briefd: stopped: UNAUTHENTICATED: The API key is missing, unknown or revoked; give a valid API key \
         (LAYERS_API_KEY, or the file of layers.api_key_file), then run the same command again: it goes on where it \
         stopped"
    );
    assert_eq!(sandbox.account().await["jobsMade"], 0);
    assert!(!dir.path().join("records.jsonl").exists(), "it is not done");

    let variables = [sane(dir.path()), sandbox.variables()].concat();
    let mut process = Process::start(dir.path(), briefd(dir.path(), &generate, &variables));
    let status = process.wait_exit(PROMPTLY).await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    let records = std::fs::read_to_string(dir.path().join("records.jsonl")).unwrap();
    judge_first_runs(&sandbox, dir.path(), records.lines().map(Message::of_line).collect(), &briefs).await;
}
