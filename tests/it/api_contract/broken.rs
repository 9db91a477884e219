//! Servers that answer in every way a network can spoil: each gives its stated trouble and verdict, in time, after one
//! request, and none follows anybody elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use briefd::job::{Acceptance, NoAnswerKind, Trouble, Verdict, verdict};
use briefd::layers::TraceContext;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::{API_KEY, client, config, settings};

/// How long the client waits for a server that will say nothing more; what was said before gets through on a busy machine.
const SHORT: Duration = Duration::from_secs(3);
/// How long it waits for all others.
const LONG: Duration = Duration::from_secs(30);
/// No case takes longer, whatever the server does.
const BOUND: Duration = Duration::from_secs(40);
const ACCEPTED: &str = r#"{"jobId":"job_1","containerIds":["cnt_1"]}"#;

/// What a server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Act<'a> {
    /// Sends these bytes before it reads anything.
    Greet(&'a [u8]),
    /// Reads the request, sends these bytes and closes.
    Send(&'a [u8]),
    /// Reads the request, sends these bytes and then nothing more.
    Stall(&'a [u8]),
    /// Reads the request, sends the first bytes, then the second ones again and again.
    Repeat(&'a [u8], &'a [u8]),
    /// Resets the connection before it reads.
    ResetAtOnce,
    /// Reads the request, sends these bytes, and resets the connection.
    Reset(&'a [u8]),
}

struct Server {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(act: Act<'static>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        tokio::spawn({
            let connections = Arc::clone(&connections);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, act));
                }
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Whatever fails here fails because the client has gone, which is the client's to explain.
async fn serve(mut stream: TcpStream, act: Act<'static>) {
    if matches!(act, Act::ResetAtOnce) {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        return;
    }
    if !matches!(act, Act::Greet(_)) {
        read_request(&mut stream).await;
    }
    let (first, again) = match act {
        Act::Greet(bytes) | Act::Send(bytes) | Act::Stall(bytes) | Act::Reset(bytes) => (bytes, None),
        Act::Repeat(first, again) => (first, Some(again)),
        Act::ResetAtOnce => return,
    };
    if stream.write_all(first).await.is_err() {
        return;
    }
    if let Some(again) = again {
        while stream.write_all(again).await.is_ok() {}
    }
    match act {
        Act::Greet(_) => read_request(&mut stream).await,
        Act::Stall(_) => drop(stream.read(&mut [0; 1]).await),
        Act::Reset(_) => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        Act::Send(_) | Act::Repeat(..) | Act::ResetAtOnce => {}
    }
}

/// Reads a head and, of a POST, the `{}` behind it.
async fn read_request(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    let is_whole = |bytes: &[u8]| {
        let end: &[u8] = if bytes.starts_with(b"GET ") { b"\r\n\r\n" } else { b"\r\n\r\n{}" };
        bytes.ends_with(end)
    };
    while !is_whole(&bytes) {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => return,
        }
    }
}

fn patient(url: &str) -> config::Layers {
    config::Layers { request_timeout: LONG, connect_timeout: LONG, ..settings(url, API_KEY) }
}

/// One submit, which must end in time.
async fn submit(settings: &config::Layers) -> Result<Acceptance, Trouble> {
    let began = Instant::now();
    let client = client(settings);
    let answer = client.submit("p", Uuid::from_u128(1), "{}", TraceContext::default()).await;
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    answer
}

/// The trouble of a submit, as `kind status: detail`. It must be unknown, and one connection must have been enough.
async fn unknown(name: &str, act: Act<'static>) -> String {
    let server = Server::start(act).await;
    let request_timeout = if matches!(act, Act::Stall(_)) { SHORT } else { LONG };
    let settings = config::Layers { request_timeout, ..patient(&server.url()) };
    let trouble = submit(&settings).await.expect_err(name);
    assert_eq!(verdict(&trouble), Verdict::Unknown, "{name}: {trouble:?}");
    assert!(!trouble.is_not_found(), "{name}");
    assert_eq!(server.connections.load(Ordering::Relaxed), 1, "{name}: sent once");
    let Trouble::NoAnswer(no_answer) = trouble else { panic!("{name}: {trouble:?}") };
    assert!(!no_answer.detail.contains(&server.address.to_string()), "{name}: {}", no_answer.detail);
    let status = no_answer.status.map_or("-".to_owned(), |status| status.to_string());
    // The words for what broke on the way are those of libraries and of the system.
    let words = if no_answer.kind == NoAnswerKind::Unreadable && no_answer.status.is_some() {
        &*no_answer.detail
    } else {
        "…"
    };
    assert!(!no_answer.detail.is_empty() && !no_answer.detail.contains('\n'), "{name}");
    format!("{name} | {:?} | {status} | {words}\n", no_answer.kind)
}

#[tokio::test]
async fn every_spoiled_answer_leaves_the_outcome_open_and_says_in_one_line_what_came() {
    const JSON: &str = "Content-Type: application/json\r\nConnection: close\r\n";
    let http = |status: &str, headers: &str, body: &str| -> Act<'static> {
        let length = body.len();
        Act::Send(
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").leak().as_bytes(),
        )
    };
    let cases = [
        ("500 with nothing", http("500 Internal Server Error", "Connection: close\r\n", "")),
        ("502 as HTML", http("502 Bad Gateway", "Content-Type: text/html\r\nConnection: close\r\n", "<html>")),
        ("503 as HTML with Retry-After", http("503 Unavailable", "Content-Type: text/html\r\nRetry-After: 9\r\n", "<p>")),
        ("429 without envelope", http("429 Too Many Requests", JSON, r#"{"message":"slow down"}"#)),
        ("401 of a proxy", http("401 Unauthorized", "Content-Type: text/plain\r\n", "who are you")),
        ("404 of a router", http("404 Not Found", "Content-Type: text/plain\r\n", "404 page not found")),
        ("409 with a cut envelope", http("409 Conflict", JSON, r#"{"error":{"code":"CONFLICT""#)),
        ("422 with an envelope without code", http("422 Unprocessable", JSON, r#"{"error":{"message":"no"}}"#)),
        ("202 with cut JSON", http("202 Accepted", JSON, &ACCEPTED[..20])),
        ("202 with nothing", http("202 Accepted", JSON, "")),
        ("202 with other JSON", http("202 Accepted", JSON, r#"{"ok":true}"#)),
        ("202 with an error envelope", http("202 Accepted", JSON, r#"{"error":{"code":"NOT_FOUND"}}"#)),
        ("202 with a list", http("202 Accepted", JSON, "[1]")),
        ("200 as HTML", http("200 OK", "Content-Type: text/html\r\n", "<html>please log in</html>")),
        ("202 in too deep", Act::Send(deep())),
        ("204", Act::Send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")),
        ("301 to another host", http("301 Moved", "Location: http://127.0.0.1:1/elsewhere\r\n", "")),
        ("307 to another path", http("307 Temporary Redirect", "Location: /elsewhere\r\n", "")),
        ("304", Act::Send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")),
        ("999", http("999 Made Up", "", "")),
        ("invalid UTF-8", Act::Send(b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n{\"jobId\":\"\xff\",\"containerId\":\"c\"}")),
        ("a huge body", Act::Repeat(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9000000000\r\n\r\n", &[b' '; 4096])),
        ("chunks without end", Act::Repeat(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\n     \r\n")),
        ("a chunk that is none", Act::Send(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}")),
        ("a head without end", Act::Repeat(b"HTTP/1.1 202 Accepted\r\n", b"X-More: and more\r\n")),
        ("not HTTP at all", Act::Send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
        ("the answer of a TLS server", Act::Send(b"\x15\x03\x01\x00\x02\x02\x16")),
        ("nothing at all", Act::Send(b"")),
        ("a body shorter than announced", Act::Send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\n{")),
        ("a reset after the request", Act::Reset(b"")),
        ("a reset within the answer", Act::Reset(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\n{\"jobId\"")),
        ("silence", Act::Stall(b"")),
        ("silence within the head", Act::Stall(b"HTTP/1.1 202 Acc")),
        ("silence within the body", Act::Stall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\n{\"jobId\":")),
        ("silence within chunks", Act::Stall(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"job\r\n")),
    ];
    let told = futures::future::join_all(cases.map(|(name, act)| unknown(name, act))).await;
    insta::assert_snapshot!(told.concat(), @"
    500 with nothing | Unreadable | 500 | 500 with an unnamed body that is not the API's error envelope
    502 as HTML | Unreadable | 502 | 502 with an HTML body that is not the API's error envelope
    503 as HTML with Retry-After | Unreadable | 503 | 503 with an HTML body that is not the API's error envelope
    429 without envelope | Unreadable | 429 | 429 with a JSON body that is not the API's error envelope
    401 of a proxy | Unreadable | 401 | 401 with a text body that is not the API's error envelope
    404 of a router | Unreadable | 404 | 404 with a text body that is not the API's error envelope
    409 with a cut envelope | Unreadable | 409 | 409 with a JSON body that is not the API's error envelope
    422 with an envelope without code | Unreadable | 422 | 422 with a JSON body that is not the API's error envelope
    202 with cut JSON | Unreadable | 202 | 202 with a JSON body that cannot be read: not a JSON object
    202 with nothing | Unreadable | 202 | 202 with a JSON body that cannot be read: not a JSON object
    202 with other JSON | Unreadable | 202 | 202 with a JSON body that cannot be read: without `jobId`
    202 with an error envelope | Unreadable | 202 | 202 with a JSON body that cannot be read: without `jobId`
    202 with a list | Unreadable | 202 | 202 with a JSON body that cannot be read: not a JSON object
    200 as HTML | Unreadable | 200 | 200 with an HTML body that cannot be read: not a JSON object
    202 in too deep | Unreadable | 202 | 202 with an unnamed body that cannot be read: not a JSON object
    204 | Unreadable | 204 | 204 with an unnamed body that cannot be read: not a JSON object
    301 to another host | Unreadable | 301 | 301, a redirect, which is never followed; check layers.base_url
    307 to another path | Unreadable | 307 | 307, a redirect, which is never followed; check layers.base_url
    304 | Unreadable | 304 | 304 with an unnamed body that is not the API's error envelope
    999 | Unreadable | 999 | 999 with an unnamed body that is not the API's error envelope
    invalid UTF-8 | Unreadable | 202 | 202 with a body that is not UTF-8
    a huge body | Unreadable | 202 | 202 with a body over layers.max_response_bytes (65536)
    chunks without end | Unreadable | 202 | 202 with a body over layers.max_response_bytes (65536)
    a chunk that is none | Reset | 202 | …
    a head without end | Unreadable | - | …
    not HTTP at all | Unreadable | - | …
    the answer of a TLS server | Unreadable | - | …
    nothing at all | Reset | - | …
    a body shorter than announced | Reset | 202 | …
    a reset after the request | Reset | - | …
    a reset within the answer | Reset | 202 | …
    silence | Timeout | - | …
    silence within the head | Timeout | - | …
    silence within the body | Timeout | 202 | …
    silence within chunks | Timeout | 202 | …
    ");
}

/// A 202 whose JSON is nested deeper than anybody reads.
fn deep() -> &'static [u8] {
    let body = "[".repeat(30_000) + &"]".repeat(30_000);
    let head =
        format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    (head + &body).leak().as_bytes()
}

#[tokio::test]
async fn an_acceptance_counts_however_it_is_dressed() {
    let http = |head: &str, body: &str| -> Act<'static> {
        Act::Send(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}").leak().as_bytes())
    };
    let twice = r#"{"jobId":"job_0","jobId":"job_1","containerIds":["cnt_1"]}"#;
    let huge = r#"{"jobId":"job_1","containerIds":["cnt_1"],"eta":1e99999,"n":99999999999999999999999999}"#;
    let odd = r#"{"jobId":"job_1","containerIds":["cnt_1"],"format":7,"status":{},"startedAt":"soon","x":"\ud83d"}"#;
    let deep = format!(r#"{{"x":{}1{},{}"#, "[".repeat(9_000), "]".repeat(9_000), &ACCEPTED[1..]);
    for (name, act) in [
        ("as text", http("202 Accepted\r\nContent-Type: text/plain", ACCEPTED)),
        ("as HTML", http("202 Accepted\r\nContent-Type: text/html", ACCEPTED)),
        ("unnamed", http("202 Accepted", ACCEPTED)),
        ("as another 2xx", http("200 OK\r\nContent-Type: application/json", ACCEPTED)),
        ("with repeated names", http("202 Accepted", twice)),
        ("with huge numbers", http("202 Accepted", huge)),
        ("with other types where nothing is needed", http("202 Accepted", odd)),
        ("beside a deep nesting", http("202 Accepted", &deep)),
        ("without an end of its own", Act::Send(leak(&format!("HTTP/1.0 202 Accepted\r\n\r\n{ACCEPTED}")))),
        (
            "after an interim answer",
            Act::Send(leak(&format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n{ACCEPTED}"
            ))),
        ),
    ] {
        let server = Server::start(act).await;
        let accepted =
            submit(&patient(&server.url())).await.unwrap_or_else(|trouble| panic!("{name}: {trouble:?}"));
        assert_eq!(
            (accepted.job_id.as_str(), &*accepted.container_ids),
            ("job_1", &["cnt_1".to_owned()][..]),
            "{name}"
        );
    }
}

fn leak(text: &str) -> &'static [u8] {
    text.to_owned().leak().as_bytes()
}

#[tokio::test]
async fn a_redirect_is_never_followed_and_takes_the_key_nowhere() {
    let elsewhere = Server::start(Act::Send(b"HTTP/1.1 202 Accepted\r\n\r\n")).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let answer =
            format!("HTTP/1.1 {status}\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
        let server = Server::start(Act::Send(leak(&answer))).await;
        let trouble = submit(&patient(&server.url())).await.unwrap_err();
        assert_eq!(verdict(&trouble), Verdict::Unknown);
        let read = client(&patient(&server.url())).container("c").await.unwrap_err();
        assert_eq!(verdict(&read), Verdict::Unknown);
    }
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_connection_that_never_came_about_let_nothing_leave() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let garbage = Server::start(Act::Greet(b"SSH-2.0-OpenSSH_9.2\r\n")).await;
    let silent = Server::start(Act::Stall(b"")).await;
    let cases = [
        ("a refused connection", format!("http://{closed}/"), LONG),
        ("a refused TLS connection", format!("https://{closed}/"), LONG),
        ("garbage where TLS should be", format!("https://{}/", garbage.address), LONG),
        ("silence where TLS should be", format!("https://{}/", silent.address), Duration::from_millis(300)),
    ];
    for (name, url, connect_timeout) in cases {
        let settings = config::Layers { connect_timeout, ..patient(&url) };
        let trouble = submit(&settings).await.expect_err(name);
        assert!(matches!(&trouble, Trouble::NotConnected(cause) if !cause.is_empty()), "{name}: {trouble:?}");
        assert_eq!(verdict(&trouble), Verdict::NotConnected, "{name}");
    }
}

#[tokio::test]
async fn a_reset_before_the_request_was_read_may_still_have_let_it_leave() {
    let server = Server::start(Act::ResetAtOnce).await;
    let trouble = submit(&patient(&server.url())).await.unwrap_err();
    // The connection had come about; what the kernel took was perhaps read.
    assert!(matches!(&trouble, Trouble::NoAnswer(it) if it.kind != NoAnswerKind::Timeout), "{trouble:?}");
    assert_eq!(verdict(&trouble), Verdict::Unknown);
}

#[tokio::test]
async fn an_answer_at_the_longest_length_is_read_and_one_byte_more_is_not() {
    let most = 1_024;
    for (length, readable) in [(most, true), (most + 1, false)] {
        let body = format!("{ACCEPTED}{}", " ".repeat(length - ACCEPTED.len()));
        let chunked = format!(
            "{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            1_000,
            &body[..1_000],
            length - 1_000,
            &body[1_000..]
        );
        for answer in [
            format!("HTTP/1.1 202 Accepted\r\nContent-Length: {length}\r\n\r\n{body}"),
            format!("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ] {
            let server = Server::start(Act::Send(leak(&answer))).await;
            let settings = config::Layers { max_response_bytes: most as u64, ..patient(&server.url()) };
            match submit(&settings).await {
                Ok(_) => assert!(readable),
                Err(Trouble::NoAnswer(no_answer)) => {
                    assert!(!readable);
                    assert_eq!(no_answer.kind, NoAnswerKind::Unreadable);
                    assert_eq!(no_answer.detail, "202 with a body over layers.max_response_bytes (1024)");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
