//! The API key stays secret (P7): whoever sends it in a message, and whatever the API echoes, it is in no log line, no
//! file of the ledger, no record, no dead letter, no endpoint, and nothing that a command prints.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{API_KEY, PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

/// Behind the last `_`.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789a";
/// The key in base64, behind none, one and two other bytes.
const ENCODED: [&str; 3] = [
    "bHBfdGVzdF8wMTIzNDU2Nzg5YWJjZGVmXzAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWE=",
    "eGxwX3Rlc3RfMDEyMzQ1Njc4OWFiY2RlZl8wMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlh",
    "eHhscF90ZXN0XzAxMjM0NTY3ODlhYmNkZWZfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YQ==",
];

/// The key as JSON may write it.
fn escaped() -> String {
    API_KEY.replace('_', "\\u005f")
}

/// Everything that would give the key away.
fn forms() -> Vec<String> {
    let mut forms = vec![SECRET.to_owned(), escaped(), API_KEY.replace('_', "%5F")];
    // Without what depends on the bytes beside the key.
    forms.extend(ENCODED.map(|text| text[4..text.len() - 8].to_owned()));
    forms
}

/// Fails if the key is in `bytes` in any form.
fn assert_clean(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for form in forms() {
        if let Some(at) = text.find(&form) {
            let from = text.floor_char_boundary(at.saturating_sub(200));
            let to = text.floor_char_boundary((at + 100).min(text.len()));
            panic!("{place} gives the key away as {form}: …{}…", &text[from..to]);
        }
    }
}

/// An API that puts the key that it was sent wherever it can.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<HashSet<String>>>);

impl Echo {
    /// Serves until the test ends; returns the address.
    async fn serve() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(Self::default());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }
}

fn refusal(status: u16, code: &str) -> Response {
    let encoded = format!("Basic {}", ENCODED[1]);
    let error = json!({"error": {
        "code": code,
        "message": format!("the key {API_KEY} may not\n{SECRET}"),
        "requestId": format!("req_{API_KEY}"),
        "details": {"key": API_KEY, API_KEY: 1, "authorization": encoded, "required": 120,
            "nested": format!("{{\"key\":\"{}\"}}", escaped()), "url": format!("https://x?k={}", API_KEY.replace('_', "%5F"))},
    }});
    (StatusCode::from_u16(status).unwrap(), echoes(), error.to_string()).into_response()
}

/// Headers with the key.
fn echoes() -> [(&'static str, String); 4] {
    [
        ("content-type", format!("application/json; key={API_KEY}")),
        ("x-request-id", API_KEY.to_owned()),
        ("retry-after", API_KEY.to_owned()),
        ("location", format!("/elsewhere?key={API_KEY}")),
    ]
}

async fn answer(
    State(echo): State<Echo>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["x-api-key"], API_KEY, "the worker sends the key as it is");
    let path: Vec<&str> = uri.path().split('/').skip(2).collect();
    match (method, path.as_slice()) {
        (Method::GET, ["whoami"]) => {
            let me = json!({"organizationId": format!("org-{API_KEY}"), "organizationName": API_KEY});
            (echoes(), me.to_string()).into_response()
        }
        (Method::GET, ["jobs", id]) => {
            (echoes(), json!({"jobId": id, "status": "completed", "stage": API_KEY}).to_string())
                .into_response()
        }
        (Method::GET, ["content", id]) => {
            let failed = id.contains("failed");
            let record = json!({
                "id": id, "status": if failed { "failed" } else { "completed" },
                "assets": [{"url": format!("https://m.example/a?key={}", API_KEY.replace('_', "%5F"))}],
                "lastError": {"code": format!("BAD_{API_KEY}"), "message": API_KEY}, API_KEY: escaped(),
            });
            (echoes(), record.to_string()).into_response()
        }
        (Method::POST, ["projects", project, "content"]) => posted(&echo, project, &body),
        // Lists, credits and whatever else.
        _ => refusal(500, "INTERNAL"),
    }
}

fn posted(echo: &Echo, project: &str, body: &[u8]) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap();
    let hook = body["brief"]["hook"].as_str().unwrap().to_owned();
    let first = echo.0.lock().unwrap().insert(format!("{project} {hook}"));
    match hook.as_str() {
        "refused" => refusal(422, "VALIDATION_FAILED"),
        "refused with a code" => refusal(422, &format!("BAD_{API_KEY}")),
        "no credits" => refusal(402, "BILLING_EXHAUSTED"),
        "slower" if first => refusal(429, "RATE_LIMITED"),
        "a page" if first => {
            (StatusCode::BAD_GATEWAY, echoes(), format!("<html>{API_KEY}</html>")).into_response()
        }
        "elsewhere" if first => (StatusCode::FOUND, echoes(), API_KEY).into_response(),
        "half" if first => {
            (StatusCode::ACCEPTED, echoes(), format!("{{\"jobId\":\"{API_KEY}")).into_response()
        }
        _ => {
            let accepted = json!({"jobId": format!("job_{API_KEY}"), "containerIds": [format!("cnt-{hook}")],
                "format": API_KEY});
            (StatusCode::ACCEPTED, echoes(), accepted.to_string()).into_response()
        }
    }
}

fn settings(dir: &Path, broker: &TestBroker) -> Vec<Variable> {
    let mut variables = broker.variables();
    variables.extend([
        ("LAYERS_API_KEY", API_KEY.to_owned()),
        ("BRIEFD__LEDGER__URL", format!("sqlite://{}/briefd.db", dir.display())),
        ("BRIEFD__LAYERS__TIER", "unlimited".to_owned()),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "200ms".to_owned()),
        ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms".to_owned()),
        ("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()),
        ("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()),
    ]);
    variables
}

fn ran(dir: &Path, arguments: &[&str], variables: &[Variable]) -> Vec<u8> {
    let output = briefd(dir, arguments, variables).output().unwrap();
    [output.stdout, output.stderr].concat()
}

/// What every command prints, and every file that the worker left or keeps.
fn assert_nothing_is_told(dir: &Path, variables: &[Variable], ids: &[&str]) {
    let mut lines: Vec<Vec<&str>> = vec![
        vec!["status"],
        vec!["status", "b"],
        vec!["status", "--json"],
        vec!["list"],
        vec!["list", "--json"],
        vec!["list", "--csv"],
        vec!["records"],
        vec!["config"],
        vec!["config", "--json"],
    ];
    lines.extend(ids.iter().flat_map(|id| [vec!["show", id], vec!["show", id, "--json"]]));
    for line in lines {
        let told = ran(dir, &[&["-vv"], line.as_slice()].concat(), variables);
        assert!(!told.is_empty(), "{line:?}");
        assert_clean(&format!("briefd {}", line.join(" ")), &told);
    }
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn a_key_that_the_api_echoes_is_nowhere() {
    for (format, level) in [("text", "info,briefd=debug"), ("json", "trace")] {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let mut variables = settings(dir.path(), &broker);
        variables.push(("BRIEFD__LAYERS__BASE_URL", Echo::serve().await));
        variables.push(("BRIEFD__LOG__FORMAT", format.to_owned()));
        variables.push(("BRIEFD__LOG__LEVEL", level.to_owned()));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        let hooks = [
            "refused",
            "refused with a code",
            "slower",
            "a page",
            "elsewhere",
            "half",
            "completed",
            "failed",
        ];
        for hook in hooks {
            let brief = json!({"projectId": "p", "batchId": "b", "briefId": hook, "brief": {"hook": hook}});
            broker.publish(&brief).await;
        }
        let records = broker.take_records(hooks.len(), PROMPTLY).await;
        assert_eq!(records.len(), hooks.len(), "{}", worker.process.stderr());
        let broke = json!({"projectId": "broke", "briefId": "broke", "brief": {"hook": "no credits"}});
        broker.publish(&broke).await;
        worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 1.0).await;
        let held = eventually(PROMPTLY, async || {
            let (_, ready) = worker.look("/readyz").await?;
            ready["holds"][0].is_string().then(|| ready.to_string())
        });
        assert_clean("/readyz", held.await.expect("/readyz lists the hold").as_bytes());
        assert_clean("/metrics", worker.metrics().await.as_bytes());
        for record in &records {
            assert_clean(
                "a record",
                format!("{record:?} {}", String::from_utf8_lossy(&record.body)).as_bytes(),
            );
        }
        let echoed =
            records.iter().filter(|record| String::from_utf8_lossy(&record.body).contains("[redacted]"));
        assert_eq!(echoed.count(), records.len(), "what was echoed is blanked, not dropped");
        let ids = [hooks.as_slice(), &["broke"]].concat();
        assert_nothing_is_told(dir.path(), &variables, &ids);
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
        assert_clean("the log", worker.process.stderr().as_bytes());
        assert_nothing_is_told(dir.path(), &variables, &["broke"]);
    }
}

/// Messages with the key in odd places.
fn leaks() -> Vec<(Vec<u8>, BasicProperties)> {
    let plain = BasicProperties::default;
    let brief = |id: &str, more: Value| {
        let mut brief = json!({"projectId": "p", "briefId": id, "brief": {"hook": "x"}});
        brief.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        brief.to_string().into_bytes()
    };
    let nested = |text: &str| json!({"metadata": {"a": [{"b": text}]}});
    let raw = |id: &str, hook: &str| {
        format!(r#"{{"projectId":"p","briefId":"{id}","brief":{{"hook":"{hook}"}}}}"#).into_bytes()
    };
    let spelled = API_KEY.chars().fold(String::new(), |mut text, char| {
        write!(text, "\\u{:04x}", u32::from(char)).unwrap();
        text
    });
    let header = |value: AMQPValue| {
        let mut table = FieldTable::default();
        table.insert("x-note".into(), value);
        plain().with_headers(table)
    };
    let mut inner = FieldTable::default();
    inner.insert(API_KEY.into(), AMQPValue::LongString(API_KEY.into()));
    vec![
        (brief("hook", json!({"brief": {"hook": format!("use {API_KEY}!")}})), plain()),
        (brief("batch", json!({"batchId": API_KEY})), plain()),
        (brief(API_KEY, json!({})), plain()),
        (brief("project", json!({"projectId": API_KEY})), plain()),
        (brief("format", json!({"format": API_KEY})), plain()),
        (brief("name", json!({API_KEY: true})), plain()),
        (brief("time", json!({"notBefore": API_KEY})), plain()),
        (raw("escaped", &escaped()), plain()),
        (raw("spelled", &spelled), plain()),
        (brief("nested", nested(&format!("{{\"k\":\"{}\"}}", escaped()))), plain()),
        (brief("url", nested(&format!("https://x/?k={}", API_KEY.replace('_', "%5F")))), plain()),
        (brief("secret", nested(SECRET)), plain()),
        (brief("encoded", nested(&format!("Basic {}", ENCODED[2]))), plain()),
        (format!("not JSON: {API_KEY}").into_bytes(), plain()),
        ([b"\xff\xfe".as_slice(), API_KEY.as_bytes()].concat(), plain()),
        (brief("message", json!({})), plain().with_message_id(API_KEY.into())),
        (brief("correlation", json!({})), plain().with_correlation_id(API_KEY.into())),
        (brief("reply", json!({})), plain().with_reply_to(API_KEY.into())),
        (brief("header", json!({})), header(AMQPValue::LongString(API_KEY.into()))),
        (brief("table", json!({})), header(AMQPValue::FieldTable(inner))),
        (brief("bytes", json!({})), header(AMQPValue::ByteArray(API_KEY.as_bytes().to_vec().into()))),
    ]
}

#[tokio::test]
async fn a_message_with_the_key_is_set_aside_blanked_wherever_the_key_is() {
    for (format, level) in [("text", "info,briefd=debug"), ("json", "trace")] {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
        let mut variables = [sandbox.variables(), settings(dir.path(), &broker)].concat();
        variables.push(("BRIEFD__LOG__FORMAT", format.to_owned()));
        variables.push(("BRIEFD__LOG__LEVEL", level.to_owned()));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        let leaks = leaks();
        let n = leaks.len();
        for (body, properties) in leaks {
            broker.publish_with(&body, properties).await;
        }
        broker.publish(&json!({"projectId": "p", "briefId": "fine", "brief": {"hook": "x"}})).await;
        let letters = broker.take_dead_letters(n, PROMPTLY).await;
        assert_eq!(letters.len(), n, "{}", worker.process.stderr());
        for letter in &letters {
            assert!(letter.header("x-briefd-detail").contains("holds the Layers API key"), "{letter:?}");
            assert_clean(
                "a dead letter",
                format!("{letter:?} {}", String::from_utf8_lossy(&letter.body)).as_bytes(),
            );
        }
        assert_eq!(broker.take_records(1, PROMPTLY).await.len(), 1, "the one without the key goes on");
        assert_clean("/metrics", worker.metrics().await.as_bytes());
        let (_, ready) = worker.look("/readyz").await.unwrap();
        assert_clean("/readyz", ready.to_string().as_bytes());
        assert_nothing_is_told(dir.path(), &variables, &["fine"]);
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
        assert_clean("the log", worker.process.stderr().as_bytes());
        assert_eq!(sandbox.account().await["jobsMade"], 1, "none with the key was bought");
    }
}

#[test]
fn a_key_in_the_wrong_setting_is_refused_without_being_shown() {
    let dir = TempDir::new().unwrap();
    let urls = [
        format!("https://{API_KEY}@api.layers.com"),
        format!("https://user:{API_KEY}@api.layers.com"),
        format!("https://api.layers.com/?api_key={API_KEY}"),
        format!("https://api.layers.com/#{}", API_KEY.replace('_', "%5F")),
        format!("ftp://{API_KEY}"),
    ];
    for url in urls {
        let variables = [("LAYERS_API_KEY", API_KEY.to_owned()), ("BRIEFD__LAYERS__BASE_URL", url.clone())];
        let output = briefd(dir.path(), &["-vv", "config"], &variables).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{url}");
        assert_clean(&url.replace(API_KEY, "KEY"), &[output.stdout, output.stderr].concat());
    }
    for variable in ["BRIEFD__LAYERS__ORGANIZATION", "BRIEFD__LAYERS__API_KEY_FILE", "BRIEFD__LAYERS__TIER"] {
        let variables = [("LAYERS_API_KEY", API_KEY.to_owned()), (variable, API_KEY.to_owned())];
        let output = briefd(dir.path(), &["-vv", "config"], &variables).output().unwrap();
        assert_clean(variable, &[output.stdout, output.stderr].concat());
    }
}
