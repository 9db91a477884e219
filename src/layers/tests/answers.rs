//! What becomes of every way an answer can go wrong.

use super::*;

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
async fn a_byte_order_mark_before_the_json_costs_nothing() {
    let server = Server::start(json("202 Accepted", &format!("\u{feff}{ACCEPTED}"))).await;
    assert_eq!(submit(&client(&server)).await.unwrap().job_id, "job_1");
    let server = Server::start(json("200 OK", "\u{feff} {\"status\":\"completed\"}\n")).await;
    assert_eq!(client(&server).container("c").await.unwrap().record, r#"{"status":"completed"}"#);
}
