//! What is sent, and where to.

use super::*;

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
