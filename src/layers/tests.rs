//! The client against real sockets: what is sent, and what becomes of every way an answer can go wrong.

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
async fn a_submit_sends_the_stored_bytes_under_its_key_and_names_itself() {
    let server = Server::start(json("202 Accepted", ACCEPTED)).await;
    let body = "{ \"b\":1e2,\"a\":1.0 }";
    let trace = TraceContext { parent: Some("00-abc-def-01"), state: Some("bad\nvalue") };
    let acceptance = client(&server).submit("p 1/ü", Uuid::from_u128(7), body, trace).await.unwrap();
    assert_eq!((acceptance.job_id.as_str(), acceptance.container_ids), ("job_1", vec!["cnt_1".to_owned()]));
    let request = server.only_request();
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(sent, body);
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("host: ")).collect();
    lines.sort_unstable();
    let lines = lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(lines, @"
    POST /v1/projects/p%201%2F%C3%BC/content HTTP/1.1
    accept: application/json
    content-length: 19
    content-type: application/json
    idempotency-key: 00000000-0000-0000-0000-000000000007
    traceparent: 00-abc-def-01
    user-agent: briefd/VERSION
    x-api-key: lp_test_0123456789abcdef_secret
    ");
}

#[tokio::test]
async fn a_bearer_key_and_the_organization_go_where_they_belong() {
    let server = Server::start(json("200 OK", r#"{"organizationId":"org_1","rateLimitTier":"pilot"}"#)).await;
    let settings =
        config::Layers { auth: Auth::Bearer, organization: "org_2".to_owned(), ..settings(&server.base_url) };
    let whoami = client_with(&settings).0.whoami().await.unwrap();
    assert_eq!((whoami.organization_id.as_deref(), whoami.tier.as_deref()), (Some("org_1"), Some("pilot")));
    let request = server.only_request();
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")));
    assert!(request.contains("x-layers-organization: org_2\r\n"));
    assert!(!request.contains("x-api-key"));
}

#[tokio::test]
async fn the_base_path_is_kept_and_ids_cannot_leave_their_segment() {
    let server = Server::start(json("200 OK", r#"{"status":"queued"}"#)).await;
    for prefix in ["proxy/layers", "proxy/layers/"] {
        let settings = settings(&server.base_url.join(prefix).unwrap());
        client_with(&settings).0.container("../a?b#c%2e\\d e").await.unwrap();
    }
    for request in server.requests() {
        let line = request.lines().next().unwrap();
        assert_eq!(line, "GET /proxy/layers/v1/content/..%2Fa%3Fb%23c%252e%5Cd%20e HTTP/1.1");
    }
    let long = "x".repeat(513);
    for id in ["", ".", "..", "a\nb", "a\tb", &long] {
        let trouble = client(&server).job(id).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Refusal(Refusal { status: 422, .. })), "{id:?}");
    }
    assert_eq!(server.requests().len(), 2, "what fits no URL is not sent");
}

#[tokio::test]
async fn a_list_asks_with_every_filter_and_reads_its_page() {
    let page = r#"{"items":[{"id":"a","status":"queued"}],"nextCursor":"n&x"}"#;
    let server = Server::start(json("200 OK", page)).await;
    let query = ListQuery {
        statuses: vec!["queued".to_owned(), "generating".to_owned()],
        formats: vec!["video_remix".to_owned(), "ugc_remix".to_owned()],
        since: Some(Timestamp::UNIX_EPOCH),
        until: Some(Timestamp::from_millisecond(1_500).unwrap()),
        limit: Some(200),
        cursor: Some("a&b=c".to_owned()),
    };
    let page = client(&server).list("p", &query).await.unwrap();
    assert_eq!(page.next_cursor.as_deref(), Some("n&x"));
    assert_eq!(page.items[0].status, ApiStatus::Running("queued".to_owned()));
    let request = server.only_request();
    let expected = "GET /v1/projects/p/content?status=queued&status=generating&format=video_remix&\
                    format=ugc_remix&since=1970-01-01T00%3A00%3A00Z&until=1970-01-01T00%3A00%3A01.5Z&limit=200&\
                    cursor=a%26b%3Dc HTTP/1.1";
    assert_eq!(request.lines().next().unwrap(), expected);
}

#[tokio::test]
async fn every_other_endpoint_is_asked_where_it_is() {
    let server = Server::start(json("200 OK", r#"{"status":"queued","accepted":false,"jobId":"j"}"#)).await;
    let client = client(&server);
    assert!(!client.cancel_job("j").await.unwrap().accepted);
    client.progress("c").await.unwrap();
    client.credits().await.unwrap();
    assert_eq!(client.job("j").await.unwrap().status, ApiStatus::Running("queued".to_owned()));
    let again = client.regenerate("c", Uuid::nil(), "{}", TraceContext::default()).await.unwrap();
    assert_eq!(again.container_ids, ["c"]);
    let lines: Vec<_> =
        server.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "POST /v1/jobs/j/cancel HTTP/1.1",
            "GET /v1/content/c/progress HTTP/1.1",
            "GET /v1/credits HTTP/1.1",
            "GET /v1/jobs/j HTTP/1.1",
            "POST /v1/content/c/regenerate HTTP/1.1",
        ]
    );
    assert!(server.requests()[0].contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let (client, metrics) = client_with(&settings(&base_url));
    assert!(matches!(submit(&client).await, Err(Trouble::NotConnected(_))));
    assert_eq!(counted(&metrics), "connect");
}

#[tokio::test]
async fn a_broken_connection_leaves_the_outcome_open() {
    let cut = b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{\"jobId\":".to_vec();
    let replies = [(Reply::Reset, None), (Reply::Bytes(Vec::new()), None), (Reply::Bytes(cut), Some(202))];
    for (reply, status) in replies {
        let (no_answer, counted) = no_answer_of(reply).await;
        assert_eq!((no_answer.kind, no_answer.status), (NoAnswerKind::Reset, status), "{no_answer:?}");
        assert_eq!(counted, "reset");
        assert!(!no_answer.detail.contains("127.0.0.1"), "no URL: {}", no_answer.detail);
    }
}

#[tokio::test]
async fn silence_before_or_within_an_answer_is_a_timeout() {
    let begun = b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{".to_vec();
    let timed_out = |reply| async move {
        let server = Server::start(reply).await;
        // Long enough for a busy machine to get the head through.
        let settings =
            config::Layers { request_timeout: Duration::from_secs(2), ..settings(&server.base_url) };
        let (client, metrics) = client_with(&settings);
        let Err(Trouble::NoAnswer(no_answer)) = submit(&client).await else {
            panic!("no answer was possible")
        };
        assert_eq!((no_answer.kind, counted(&metrics).as_str()), (NoAnswerKind::Timeout, "timeout"));
        server.only_request();
        no_answer.status
    };
    let (before, within) = tokio::join!(timed_out(Reply::Stall(Vec::new())), timed_out(Reply::Stall(begun)));
    assert_eq!((before, within), (None, Some(202)));
}

#[tokio::test]
async fn what_is_not_the_documented_answer_is_unreadable() {
    let too_long = format!(r#"{{"jobId":"job_1","containerIds":["{}"]}}"#, "x".repeat(64 * 1024));
    let mut not_utf8 = b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n".to_vec();
    not_utf8.extend_from_slice(b"{\"jobId\":\"\xff\",\"containerId\":\"c\"}");
    let html = http("502 Bad Gateway", "Content-Type: text/html; charset=utf-8\r\n", "<html>");
    let redirect = http("302 Found", "Location: /elsewhere\r\n", "");
    let cases = [
        (Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), None, "unreadable"),
        (html, Some(502), "502"),
        (redirect, Some(302), "302"),
        (json("409 Conflict", r#"{"message":"no envelope"}"#), Some(409), "409"),
        (json("404 Not Found", r#"{"error":{"code":"NOT_F"#), Some(404), "404"),
        (json("202 Accepted", r#"{"jobId":"job_1"}"#), Some(202), "unreadable"),
        (json("202 Accepted", r#"{"jobId":"job_1","containerIds":["c"#), Some(202), "unreadable"),
        (json("202 Accepted", ""), Some(202), "unreadable"),
        (json("202 Accepted", &too_long), Some(202), "unreadable"),
        (Reply::Bytes(not_utf8), Some(202), "unreadable"),
    ];
    let mut details = String::new();
    for (reply, status, label) in cases {
        let (no_answer, counted) = no_answer_of(reply).await;
        assert_eq!((no_answer.kind, no_answer.status), (NoAnswerKind::Unreadable, status), "{no_answer:?}");
        assert_eq!(counted, label);
        details = details + &no_answer.detail + "\n";
    }
    insta::assert_snapshot!(details, @"
    error sending request: client error (SendRequest): invalid HTTP version parsed
    502 with an HTML body that is not the API's error envelope
    302, a redirect, which is never followed; check layers.base_url
    409 with a JSON body that is not the API's error envelope
    404 with a JSON body that is not the API's error envelope
    202 with a JSON body that cannot be read: without `containerIds`
    202 with a JSON body that cannot be read: not a JSON object
    202 with a JSON body that cannot be read: not a JSON object
    202 with a body over layers.max_response_bytes (65536)
    202 with a body that is not UTF-8
    ");
}

#[tokio::test]
async fn an_envelope_of_any_status_is_a_refusal_with_its_wait() {
    let envelope =
        r#"{"error":{"code":"RATE_LIMITED","message":"slow","requestId":"r_1","details":{"a":1}}}"#;
    let wait = |headers: &'static str| async move {
        let refusal = refusal_of(http("429 Too Many Requests", headers, envelope)).await;
        assert_eq!((refusal.status, refusal.code.as_str()), (429, "RATE_LIMITED"));
        assert_eq!(refusal.request_id.as_deref(), Some("r_1"));
        refusal.retry_after.map(|wait| wait.as_secs())
    };
    assert_eq!(wait("Retry-After: 7\r\n").await, Some(7));
    assert_eq!(wait("Retry-After: 0\r\n").await, Some(1));
    assert_eq!(wait("Retry-After: soon\r\n").await, None);
    assert_eq!(wait("").await, None);
    // A date counts from the server's own time, whatever our clock says.
    let dates = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    assert_eq!(wait(dates).await, Some(30));
    assert_eq!(refusal_of(json("302 Found", envelope)).await.status, 302);
    assert_eq!(refusal_of(json("503 Service Unavailable", envelope)).await.status, 503);
}

#[tokio::test]
async fn a_deployment_without_whoami_says_not_found_with_or_without_an_envelope() {
    let envelope = r#"{"error":{"code":"NOT_FOUND","message":"no"}}"#;
    for reply in [json("404 Not Found", envelope), http("404 Not Found", "", "404 page not found")] {
        let server = Server::start(reply).await;
        assert!(client(&server).whoami().await.unwrap_err().is_not_found());
        assert!(client(&server).credits().await.unwrap_err().is_not_found());
    }
    let server = Server::start(http("404 Not Found", "", "404 page not found")).await;
    assert!(
        !client(&server).container("c").await.unwrap_err().is_not_found(),
        "a router may have lost its way"
    );
}

#[tokio::test]
async fn the_key_is_blanked_in_every_answer() {
    let record = format!(r#"{{"id":"c","status":"completed","caption":"my {KEY}!"}}"#);
    let server = Server::start(json("200 OK", &record)).await;
    let reading = client(&server).container("c").await.unwrap();
    assert_eq!(reading.record, r#"{"id":"c","status":"completed","caption":"my [redacted]!"}"#);
    let envelope =
        format!(r#"{{"error":{{"code":"X","message":"bad key {KEY}","details":{{"key":"{KEY}"}}}}}}"#);
    let refusal = refusal_of(json("401 Unauthorized", &envelope)).await;
    assert_eq!(refusal.message, "bad key [redacted]");
    assert!(!format!("{refusal:?}").contains(KEY));
}

#[tokio::test]
async fn the_key_is_blanked_in_the_oddest_places() {
    let escaped = KEY.replace('_', "\\u005f");
    let percent = KEY.replace('_', "%5F");
    let envelope = format!(
        r#"{{"error":{{"code":"{KEY}","message":"GET /v1/x?key={percent} failed","requestId":"req-{escaped}",
            "details":{{"{KEY}":["{escaped}",{{"header":"Bearer {KEY}"}}],"body":"{{\"key\":\"{escaped}\"}}"}}}}}}"#
    );
    let headers =
        format!("Retry-After: {KEY}\r\nLocation: http://127.0.0.1:1/?{KEY}\r\nContent-Type: {KEY}\r\n");
    for status in ["401 Unauthorized", "302 Found", "500 Internal Server Error"] {
        let refusal = refusal_of(http(status, &headers, &envelope)).await;
        let shown = format!("{refusal:?}");
        assert!(!shown.contains("secret") && !shown.contains("abcdef"), "{shown}");
        assert_eq!(refusal.request_id.as_deref(), Some("req-[redacted]"));
        assert_eq!(refusal.message, "GET /v1/x?key=[redacted] failed");
        let (no_answer, _) = no_answer_of(http(status, &headers, &format!("<html>{KEY}"))).await;
        assert!(!format!("{no_answer:?}").contains("secret"), "{no_answer:?}");
    }
    let page = format!(r#"{{"items":[{{"id":"{KEY}","status":"{escaped}"}}],"nextCursor":"{KEY}"}}"#);
    let server = Server::start(json("200 OK", &page)).await;
    let page = client(&server).list("p", &ListQuery::default()).await.unwrap();
    assert!(!format!("{page:?}").contains("secret"));
    // An id that cannot be sent is shown; cut in the middle, the key in it would no longer be known.
    let trouble = client(&server).job(&format!("job\n{KEY}")).await.unwrap_err();
    assert!(!format!("{trouble:?}").contains("lp_test"), "{trouble:?}");
}

#[tokio::test]
async fn a_byte_order_mark_before_the_json_costs_nothing() {
    let server = Server::start(json("202 Accepted", &format!("\u{feff}{ACCEPTED}"))).await;
    assert_eq!(submit(&client(&server)).await.unwrap().job_id, "job_1");
    let server = Server::start(json("200 OK", "\u{feff} {\"status\":\"completed\"}\n")).await;
    assert_eq!(client(&server).container("c").await.unwrap().record, r#"{"status":"completed"}"#);
}

#[tokio::test]
async fn the_key_is_in_no_debug_text() {
    let base_url = Url::parse("http://127.0.0.1:1/").unwrap();
    let (client, _) = client_with(&settings(&base_url));
    let text = format!("{client:?} {:#?}", settings(&base_url));
    assert!(!text.contains(KEY) && !text.contains("secret\""), "{text}");
}

#[tokio::test]
async fn another_key_is_used_from_the_next_request_on() {
    let server = Server::start(json("200 OK", "{}")).await;
    let client = client(&server);
    let before = client.key_fingerprint();
    client.whoami().await.unwrap();
    assert!(client.set_key(SecretString::from("lp_test_another")).unwrap());
    client.clone().whoami().await.unwrap();
    assert_ne!(client.key_fingerprint(), before);
    assert!(client.reload_key().unwrap(), "the settings still have the first one");
    assert_eq!(client.key_fingerprint(), before);
    let requests = server.requests();
    assert!(requests[0].contains(&format!("x-api-key: {KEY}\r\n")));
    assert!(requests[1].contains("x-api-key: lp_test_another\r\n"));
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
fn settings_that_cannot_work_are_refused_without_showing_the_key() {
    let good = settings(&Url::parse("https://api.example.com/").unwrap());
    let metrics = || Metrics::new([]);
    let refused = |settings: config::Layers| {
        let error = Client::new(&settings, Clock::system(), metrics()).err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        error
    };
    let bad_key = ApiKey::Given(SecretString::from("lp_test\u{7}secret"));
    assert!(matches!(refused(config::Layers { api_key: bad_key, ..good.clone() }), BuildError::Key(_)));
    let no_file = ApiKey::File("/nowhere/key".into());
    assert!(matches!(refused(config::Layers { api_key: no_file, ..good.clone() }), BuildError::Key(_)));
    let organization = "a\nb".to_owned();
    assert!(matches!(refused(config::Layers { organization, ..good.clone() }), BuildError::Organization));
    let base_url = Url::parse("ftp://user:secret@example.com/").unwrap();
    assert!(matches!(refused(config::Layers { base_url, ..good }), BuildError::BaseUrl(_)));
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
