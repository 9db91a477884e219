//! The client against real sockets: what is sent, and what becomes of every way an answer can go wrong.

mod answers;
mod keys;
mod requests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::config;
use crate::config::layers::{ApiKey, Auth, LimitOverrides, Tier};
use crate::job::{ApiStatus, NoAnswer, NoAnswerKind, Refusal, Trouble};
use crate::telemetry::Metrics;

const KEY: &str = "lp_test_0123456789abcdef_secret";
const ACCEPTED: &str = r#"{"jobId":"job_1","containerIds":["cnt_1"]}"#;

/// What the server does once it has read a request.
#[derive(Clone, Debug)]
enum Reply {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends these bytes and then nothing, until the client goes away.
    Stall(Vec<u8>),
    /// Resets the connection.
    Reset,
}

fn http(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    Reply::Bytes((head + body).into_bytes())
}

fn json(status: &str, body: &str) -> Reply {
    http(status, "Content-Type: application/json\r\n", body)
}

/// A server that gives the same reply to every request, and keeps the requests.
struct Server {
    base_url: Url,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn({
            let requests = Arc::clone(&requests);
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let request = read_request(&mut stream).await;
                    requests.lock().unwrap().push(request);
                    tokio::spawn(send(stream, reply.clone()));
                }
            }
        });
        Self { base_url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn only_request(&self) -> String {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one call is one request");
        requests[0].clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => return text,
        }
    }
}

async fn send(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).await.unwrap_or_default();
            let _gone = stream.read(&mut [0; 1]).await;
        }
        Reply::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
    }
}

fn settings(base_url: &Url) -> config::Layers {
    config::Layers {
        base_url: base_url.clone(),
        api_key: ApiKey::Given(SecretString::from(KEY)),
        auth: Auth::XApiKey,
        organization: String::new(),
        tier: Tier::Auto,
        limits: LimitOverrides::default(),
        connect_timeout: Duration::from_secs(5),
        ca_file: None,
        request_timeout: Duration::from_secs(10),
        max_response_bytes: 64 * 1024,
        send_container_id: true,
        max_running_jobs: 0,
        prices: BTreeMap::new(),
    }
}

fn client_with(settings: &config::Layers) -> (Client, Metrics) {
    let metrics = Metrics::new([]);
    (Client::new(settings, Clock::stepped(Timestamp::UNIX_EPOCH), metrics.clone()).unwrap(), metrics)
}

fn client(server: &Server) -> Client {
    client_with(&settings(&server.base_url)).0
}

async fn submit(client: &Client) -> Result<crate::job::Acceptance, Trouble> {
    client.submit("p", Uuid::nil(), "{}", TraceContext::default()).await
}

/// What a submit that gets `reply` ends in, and how it is counted.
async fn trouble_of(reply: Reply) -> (Trouble, String) {
    let server = Server::start(reply).await;
    let (client, metrics) = client_with(&settings(&server.base_url));
    let trouble = submit(&client).await.unwrap_err();
    server.only_request();
    (trouble, counted(&metrics))
}

async fn no_answer_of(reply: Reply) -> (NoAnswer, String) {
    match trouble_of(reply).await {
        (Trouble::NoAnswer(no_answer), counted) => (no_answer, counted),
        (other, _) => panic!("{other:?}"),
    }
}

async fn refusal_of(reply: Reply) -> Refusal {
    match trouble_of(reply).await.0 {
        Trouble::Refusal(refusal) => refusal,
        other @ (Trouble::NotConnected(_) | Trouble::NoAnswer(_)) => panic!("{other:?}"),
    }
}

/// The status label of the one request that was counted.
fn counted(metrics: &Metrics) -> String {
    let text = metrics.render();
    let mut lines =
        text.lines().filter(|line| line.starts_with("briefd_api_requests_total{") && !line.ends_with(" 0"));
    let line = lines.next().unwrap();
    assert_eq!(lines.next(), None);
    let (_, status) = line.split_once("status=\"").unwrap();
    status.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn the_skew_between_the_clocks_is_measured() {
    let server = Server::start(http("200 OK", "Date: Thu, 01 Jan 1970 00:01:00 GMT\r\n", "{}")).await;
    let (client, metrics) = client_with(&settings(&server.base_url)); // its clock stands at 00:00:00
    assert_eq!(client.skew(), None);
    client.whoami().await.unwrap();
    assert_eq!(client.skew().unwrap().as_millis(), -60_500);
    assert!((metrics.clock_skew_seconds.get() + 60.5).abs() < 0.001);
}

#[test]
fn every_expected_series_exists_from_the_start() {
    let (_, metrics) = client_with(&settings(&Url::parse("http://127.0.0.1:1/").unwrap()));
    let text = metrics.render();
    for line in [
        r#"briefd_api_requests_total{endpoint="submit",status="202"} 0"#,
        r#"briefd_api_requests_total{endpoint="whoami",status="404"} 0"#,
        r#"briefd_api_requests_total{endpoint="list",status="timeout"} 0"#,
        r#"briefd_api_request_seconds_count{endpoint="credits"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}
