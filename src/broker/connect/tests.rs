use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::*;
use crate::broker::example_amqp as amqp;

/// A peer that accepts and never says a word.
async fn mute_peer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut accepted = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            accepted.push(stream);
        }
    });
    address
}

fn lapin_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "lapin-io-loop")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_is_given_up_leaves_no_thread_behind() {
    let peer = mute_peer().await;
    let settings = amqp(&format!("amqp://guest:s3cret@{peer}/%2f"), &peer.to_string());
    for _ in 0..20 {
        let error = connect_within(&settings, Purpose::Consume, Duration::from_millis(30)).await.unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
        assert!(!error.to_string().contains("s3cret"));
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while lapin_threads() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} threads of lapin are left", lapin_threads());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let settings = amqp(&format!("amqp://guest:s3cret@{closed}/%2f"), &format!("{closed}/"));
    let error = connect(&settings, Purpose::Consume).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach RabbitMQ at {closed}/: ")), "{error}");
    assert!(error.contains("Check host and port in amqp.url") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let settings = amqp("amqp://guest:s3cret@no-such-host.invalid/%2f", "no-such-host.invalid:5672/");
    let error = connect(&settings, Purpose::Consume).await.unwrap_err();
    assert!(matches!(error, ConnectError::Name { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_repeated_in_the_error() {
    let error = connect(&amqp("http://guest:s3cret@host/", "host"), Purpose::Consume).await.unwrap_err();
    assert!(matches!(error, ConnectError::Url { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let junk_block = "-----BEGIN CERTIFICATE-----\nanVuaw==\n-----END CERTIFICATE-----\n";
    for junk in ["", "junk", junk_block] {
        std::fs::write(&path, junk).unwrap();
        let mut settings = amqp("amqps://guest:s3cret@127.0.0.1:1/%2f", "127.0.0.1:1/");
        settings.ca_file = Some(path.clone());
        let error = connect(&settings, Purpose::Consume).await.unwrap_err();
        assert!(matches!(error, ConnectError::Pem { setting: "amqp.ca_file", .. }), "{junk}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_plain_port_behind_amqps_is_explained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            // What RabbitMQ answers to bytes that are not AMQP.
            drop(stream.write_all(b"AMQP\x00\x00\x09\x01").await);
        }
    });
    let error = connect(&amqp(&format!("amqps://{peer}/%2f"), "there"), Purpose::Consume).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("does not talk TLS: use amqp://"), "{error}");
}

#[test]
fn an_ipv6_host_is_kept_and_the_heartbeat_is_ours() {
    let uri = uri(&amqp("amqp://[::1]:5673/%2f?heartbeat=0", "[::1]:5673/")).unwrap();
    assert_eq!(
        (uri.authority.host.as_str(), uri.authority.port, uri.query.heartbeat),
        ("::1", 5673, Some(10))
    );
    assert_eq!(uri.vhost, "/");
}
