//! The API key: where it goes, where it never shows, and how another one takes its place.

use super::*;

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
