//! `deploy/rabbitmq`: the definitions are the program's own topology, and each user may do its work and nothing else.
//!
//! The definitions are loaded into the broker of the tests under names of their own, as a broker loads them at its start.

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::text;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

const USERS: [&str; 4] = ["pipeline", "briefd", "consumer", "operator"];

fn json_of(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap()
}

#[test]
fn the_definitions_hold_what_the_worker_would_declare() {
    let dir = TempDir::new().unwrap();
    let printed = briefd(dir.path(), &["topology", "--definitions"], &[]).output().unwrap();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let definitions = json_of("rabbitmq/definitions.json");
    for kind in ["exchanges", "queues", "bindings"] {
        assert_eq!(definitions[kind], printed[kind], "{kind}: `briefd topology --definitions` prints others");
    }
}

#[test]
fn nobody_can_log_in_with_the_definitions_alone_and_each_user_has_a_demo_password() {
    let (definitions, demo) = (json_of("rabbitmq/definitions.json"), json_of("rabbitmq/demo-passwords.json"));
    for (at, name) in USERS.into_iter().enumerate() {
        assert_eq!(
            (&definitions["users"][at]["name"], &demo["users"][at]["name"]),
            (&json!(name), &json!(name))
        );
        assert_eq!(definitions["users"][at]["password_hash"], "");
        assert_eq!(definitions["users"][at]["tags"], demo["users"][at]["tags"]);
    }
}

/// The definitions at the broker of the tests, in a virtual host and with users of their own. Gone when dropped.
struct Deployed {
    vhost: String,
}

impl Deployed {
    async fn load(files: &[&str]) -> Self {
        let deployed = Self { vhost: format!("deploy-{}", uuid::Uuid::new_v4().simple()) };
        for file in files {
            let body = deployed.renamed(&text(file));
            let status = manage(Method::POST, "definitions", &body).await;
            assert!(status.is_success(), "{file}: {status}");
        }
        deployed
    }

    /// The same under our names: users and virtual hosts are the broker's, which other tests use too.
    fn renamed(&self, definitions: &str) -> String {
        let mut all: Value = serde_json::from_str(definitions).unwrap();
        for list in all.as_object_mut().unwrap().values_mut() {
            for item in list.as_array_mut().unwrap() {
                for key in ["vhost", "name", "user"] {
                    let Some(Value::String(value)) = item.get_mut(key) else { continue };
                    if value == "/" {
                        value.clone_from(&self.vhost);
                    } else if USERS.contains(&value.as_str()) {
                        *value = self.user(value);
                    }
                }
            }
        }
        all.to_string()
    }

    fn user(&self, name: &str) -> String {
        format!("{name}-{}", self.vhost)
    }

    fn url(&self, user: &str) -> String {
        let url = std::env::var("BRIEFD_TEST_AMQP_URL").expect("tests/run names a broker");
        let mut url = reqwest::Url::parse(&url).unwrap();
        url.set_username(&self.user(user)).unwrap();
        url.set_password(Some(&format!("{user}-demo"))).unwrap();
        url.set_path(&self.vhost);
        url.into()
    }

    async fn log_in(&self, user: &str) -> lapin::Result<Connection> {
        Connection::connect(&self.url(user), ConnectionProperties::default()).await
    }

    /// The settings of a worker, or of a command of an operator.
    fn variables(&self, user: &str) -> Vec<Variable> {
        vec![("BRIEFD__AMQP__URL", self.url(user)), ("BRIEFD__AMQP__DECLARE", "false".to_owned())]
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let paths: Vec<String> = std::iter::once(format!("vhosts/{}", self.vhost))
            .chain(USERS.map(|user| format!("users/{}", self.user(user))))
            .collect();
        let deleting = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                for path in paths {
                    manage(Method::DELETE, &path, "").await;
                }
            });
        });
        if deleting.join().is_err() {
            eprintln!("the virtual host {} could not be deleted", self.vhost);
        }
    }
}

/// Asks the broker's management API for a change, as its administrator.
async fn manage(method: Method, path: &str, body: &str) -> reqwest::StatusCode {
    let url = std::env::var("BRIEFD_TEST_MANAGEMENT_URL").expect("tests/run names the management API");
    let url = format!("{}/api/{path}", url.trim_end_matches('/'));
    let request = reqwest::Client::new().request(method, url).timeout(PROMPTLY);
    let request = request.header("Content-Type", "application/json").body(body.to_owned());
    request.send().await.expect("the management API answers").status()
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &str) -> lapin::Result<Confirmation> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel.basic_publish(exchange.into(), key.into(), mandatory, body.as_bytes(), properties).await?.await
}

async fn declare_records(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let (durable, table) =
        (QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }, FieldTable::default);
    let mut quorum = table();
    quorum.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.into(), durable, quorum).await?;
    let all = QueueBindOptions::default();
    channel.queue_bind(queue.into(), "containers".into(), "#".into(), all, table()).await
}

const BOTH: [&str; 2] = ["rabbitmq/definitions.json", "rabbitmq/demo-passwords.json"];

#[tokio::test]
async fn each_user_of_the_definitions_can_do_its_work() {
    let deployed = Deployed::load(&BOTH).await;
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let dir = TempDir::new().unwrap();

    let consumer = deployed.log_in("consumer").await.unwrap();
    let records = consumer.create_channel().await.unwrap();
    declare_records(&records, "records.cms").await.unwrap();

    let variables = [deployed.variables("briefd"), sandbox.variables()].concat();
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;

    let pipeline = deployed.log_in("pipeline").await.unwrap();
    let briefs = pipeline.create_channel().await.unwrap();
    let brief = json!({"projectId": "p", "briefId": "a", "brief": {"hook": "x"}}).to_string();
    for body in [brief.as_str(), "no brief"] {
        let confirmed = publish(&briefs, "briefs", "brief", body).await.unwrap();
        assert!(matches!(confirmed, Confirmation::Ack(None)), "{confirmed:?}");
    }
    let record = eventually(PROMPTLY, async || {
        let got = records.basic_get("records.cms".into(), BasicGetOptions::default()).await.unwrap()?;
        got.ack(BasicAckOptions::default()).await.unwrap();
        Some(got.delivery.routing_key.to_string())
    });
    assert_eq!(record.await.as_deref(), Some("container.completed.p"));

    // What the operator types, beside the worker.
    let operator = [deployed.variables("operator"), sandbox.variables()].concat();
    let ledger = [("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.path().join("briefd.db").display()))];
    let operator = [operator, ledger.to_vec()].concat();
    let typed = |arguments: &[&str]| {
        let output = briefd(dir.path(), arguments, &operator).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let listed = eventually(PROMPTLY, async || {
        let (code, said) = typed(&["dead-letters", "list"]);
        assert_eq!(code, Some(0), "{said}");
        said.contains("UNREADABLE").then_some(())
    });
    assert!(listed.await.is_some());
    std::fs::write(dir.path().join("more.jsonl"), brief).unwrap();
    for arguments in
        [["enqueue", "more.jsonl"].as_slice(), &["dead-letters", "requeue", "--all", "--yes"], &["topology"]]
    {
        let (code, said) = typed(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
}

/// What somebody tries that is not theirs to do.
#[derive(Clone, Copy, Debug)]
enum Try {
    Publish(&'static str),
    Read(&'static str),
    Consume(&'static str),
    DeclareQueue(&'static str),
    DeclareExchange(&'static str),
    Listen(&'static str),
}

impl Try {
    async fn at(self, channel: &Channel) -> lapin::Result<()> {
        let table = FieldTable::default;
        match self {
            Self::Publish(exchange) => publish(channel, exchange, "brief", "{}").await.map(drop),
            Self::Read(queue) => channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop),
            Self::Consume(queue) => {
                let options = BasicConsumeOptions::default();
                channel.basic_consume(queue.into(), "".into(), options, table()).await.map(drop)
            }
            Self::DeclareQueue(name) => {
                channel.queue_declare(name.into(), QueueDeclareOptions::default(), table()).await.map(drop)
            }
            Self::DeclareExchange(name) => {
                let options = ExchangeDeclareOptions::default();
                channel.exchange_declare(name.into(), ExchangeKind::Topic, options, table()).await
            }
            // A queue of one's own that is bound to what others write to.
            Self::Listen(exchange) => {
                let options = QueueBindOptions::default();
                channel.queue_bind("records.cms".into(), exchange.into(), "#".into(), options, table()).await
            }
        }
    }
}

#[tokio::test]
async fn no_user_of_the_definitions_can_do_anything_else() {
    use Try::{Consume, DeclareExchange, DeclareQueue, Listen, Publish, Read};

    let deployed = Deployed::load(&BOTH).await;
    let consumer = deployed.log_in("consumer").await.unwrap();
    declare_records(&consumer.create_channel().await.unwrap(), "records.cms").await.unwrap();

    let others: [(&str, &[Try]); 4] = [
        (
            "pipeline",
            &[
                Publish("containers"),
                Publish("briefs.dead"),
                Publish("amq.topic"),
                Read("briefs"),
                Consume("briefs"),
                Read("briefs.dead"),
                Read("records.cms"),
                DeclareQueue("mine"),
                DeclareExchange("mine"),
                Listen("containers"),
            ],
        ),
        (
            "briefd",
            &[
                Publish("briefs"),
                Read("briefs.dead"),
                Read("records.cms"),
                DeclareQueue("mine"),
                DeclareExchange("mine"),
                Listen("containers"),
            ],
        ),
        (
            "consumer",
            &[
                Publish("briefs"),
                Publish("containers"),
                Publish("briefs.dead"),
                Read("briefs"),
                Consume("briefs.dead"),
                DeclareQueue("briefs.mine"),
                DeclareExchange("mine"),
                Listen("briefs"),
                Listen("briefs.dead"),
            ],
        ),
        (
            "operator",
            &[
                Publish("containers"),
                Read("briefs"),
                Consume("briefs"),
                Read("records.cms"),
                DeclareQueue("mine"),
                DeclareExchange("mine"),
                Listen("containers"),
            ],
        ),
    ];
    for (user, tries) in others {
        let connection = deployed.log_in(user).await.unwrap();
        for attempt in tries {
            let channel = connection.create_channel().await.unwrap();
            let refused = attempt.at(&channel).await;
            let said = refused.map_or_else(|error| error.to_string(), |()| "it may".to_owned());
            assert!(said.contains("ACCESS_REFUSED"), "{user} {attempt:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_user_without_a_password_of_its_own_cannot_log_in() {
    let deployed = Deployed::load(&BOTH[..1]).await;
    for user in USERS {
        let refused = deployed.log_in(user).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("ACCESS_REFUSED"), "{user}: {refused}");
    }
}
