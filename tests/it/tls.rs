//! TLS to the broker and to the API, with a private authority: it works with the right files, and what is wrong is one
//! line that says what to do.

mod authority;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use self::authority::Authority;
use crate::support::broker::TestBroker;
use crate::support::checker::judge_first_runs;
use crate::support::node::Node;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd, free_port};
use crate::support::{Variable, eventually};

/// The API behind https, with this authority's certificate for `localhost`; where it listens.
async fn https(authority: &Authority, sandbox: &SandboxProcess) -> SocketAddr {
    let acceptor = TlsAcceptor::from(authority.server("localhost"));
    let target = sandbox.url().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let (mut near, mut far) =
                    (acceptor.accept(near).await.ok()?, TcpStream::connect(target).await.ok()?);
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok()
            });
        }
    });
    address
}

/// A node that talks TLS on a port of its own, to those alone who have a certificate of this authority.
async fn node(authority: &Authority, dir: &Path) -> (Node, u16) {
    let port = free_port();
    authority.write(dir, "server", "localhost");
    let file = |name: &str| dir.join(name).display().to_string();
    let settings = [
        format!("listeners.ssl.tests = 127.0.0.1:{port}"),
        format!("ssl_options.cacertfile = {}", file("ca.pem")),
        format!("ssl_options.certfile = {}", file("server.pem")),
        format!("ssl_options.keyfile = {}", file("server.key")),
        "ssl_options.verify = verify_peer".to_owned(),
        "ssl_options.fail_if_no_peer_cert = true".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let node = Node::start_with(&settings).await;
    let up = eventually(PROMPTLY, async || TcpStream::connect(("127.0.0.1", port)).await.ok());
    assert!(up.await.is_some(), "the node listens for TLS");
    (node, port)
}

fn variable(name: &'static str, value: impl Into<String>) -> Variable {
    (name, value.into())
}

/// What `briefd topology` says about a connection that does not come about: one line, and exit code 4.
fn refusal(dir: &Path, variables: &[Variable]) -> String {
    let output = briefd(dir, &["topology"], variables).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[tokio::test]
async fn broker_and_api_are_reached_over_tls_with_a_private_authority_and_a_client_certificate() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("Acme"));
    let (node, port) = node(&authority, dir.path()).await;
    let broker = TestBroker::connect_to(node.url().to_owned()).await;
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let api = https(&authority, &sandbox).await;
    authority.write(dir.path(), "client", "briefd");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let secure = |host: &str| variable("BRIEFD__AMQP__URL", format!("amqps://guest:guest@{host}:{port}/%2f"));
    let ours = [
        variable("BRIEFD__AMQP__CERT_FILE", file("client.pem")),
        variable("BRIEFD__AMQP__KEY_FILE", file("client.key")),
        variable("BRIEFD__AMQP__CA_FILE", file("ca.pem")),
    ];
    let api = [
        variable("BRIEFD__LAYERS__BASE_URL", format!("https://localhost:{}", api.port())),
        variable("BRIEFD__LAYERS__CA_FILE", file("ca.pem")),
    ];
    let variables =
        [broker.variables(), vec![secure("localhost")], ours.to_vec(), sandbox.variables(), api.to_vec()]
            .concat();
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let brief = json!({"projectId": "p", "briefId": "a", "brief": {"hook": "x"}});
    broker.publish(&brief).await;
    let records = broker.take_records(1, PROMPTLY).await;
    judge_first_runs(&sandbox, dir.path(), records, &[brief]).await;
    worker.process.sigterm();
    worker.process.wait_exit(PROMPTLY).await;

    // The same with one thing wrong: a stranger's authority, and one that only has the same name.
    for name in ["Stranger", "Acme"] {
        let other = TempDir::new().unwrap();
        Authority::new(name).write(other.path(), "client", "briefd");
        let theirs = variable("BRIEFD__AMQP__CA_FILE", other.path().join("ca.pem").display().to_string());
        let said = refusal(dir.path(), &[variables.as_slice(), &[theirs]].concat());
        let advice = "set amqp.ca_file to the authority that signed the broker's certificate";
        assert!(said.contains(advice), "{said}");
    }
    let said = refusal(dir.path(), &[variables.as_slice(), &[secure("127.0.0.1")]].concat());
    assert!(said.contains("the certificate is for another name: use that name in amqp.url"), "{said}");
    let anonymous = [secure("localhost"), ours[2].clone()];
    let said = refusal(dir.path(), &anonymous);
    assert!(said.contains("client certificate"), "{said}");
    let plain = variable("BRIEFD__AMQP__URL", format!("amqp://guest:guest@127.0.0.1:{port}/%2f"));
    let said = refusal(dir.path(), &[plain]);
    assert!(said.contains("amqps:// for TLS"), "{said}");
}

// Two threads: the API here has to answer while a command is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_authority_or_name_of_the_api_is_told_with_what_to_do() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("Acme"));
    let sandbox = SandboxProcess::spawn(&[]).await;
    let api = https(&authority, &sandbox).await;
    authority.write(dir.path(), "server", "localhost");
    let said = |host: &str, ca_file: &Path| {
        let url = variable("BRIEFD__LAYERS__BASE_URL", format!("https://{host}:{}", api.port()));
        let ca_file = variable("BRIEFD__LAYERS__CA_FILE", ca_file.display().to_string());
        let variables = [sandbox.variables(), vec![url, ca_file]].concat();
        let output = briefd(dir.path(), &["doctor"], &variables).output().unwrap();
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let right = dir.path().join("ca.pem");
    let good = said("localhost", &right);
    assert!(good.contains(&format!("https://localhost:{} answers", api.port())), "{good}");
    for name in ["Stranger", "Acme"] {
        let other = TempDir::new().unwrap();
        Authority::new(name).write(other.path(), "server", "localhost");
        let wrong = said("localhost", &other.path().join("ca.pem"));
        assert!(wrong.contains("set layers.ca_file to the authority that signed the certificate"), "{wrong}");
    }
    let wrong = said("127.0.0.1", &right);
    assert!(
        wrong.contains("the certificate is for another name: use that name in layers.base_url"),
        "{wrong}"
    );
    let wrong = said("localhost", &dir.path().join("server.key"));
    assert!(wrong.contains("no certificate in PEM form"), "{wrong}");
}

#[test]
fn an_authority_for_an_api_without_tls_is_a_contradiction() {
    let dir = TempDir::new().unwrap();
    let variables = [
        variable("BRIEFD__LAYERS__BASE_URL", "http://127.0.0.1:1"),
        variable("BRIEFD__LAYERS__CA_FILE", "ca.pem"),
    ];
    let output = briefd(dir.path(), &["config"], &variables).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("which is not encrypted; use https://"), "{said}");
}
