//! The client against the reference: what it asks, byte for byte, and what it makes of each documented answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use briefd::job::{ApiError, Trouble, verdict};
use briefd::layers::{Client, ListQuery, TraceContext};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{API_KEY, Auth, client, config, fixture, fixtures_folder, settings};

/// A request as it arrived.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Serves one answer to whatever is asked, and keeps what was asked.
struct FixtureServer {
    url: String,
    answer: Arc<Mutex<Value>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl FixtureServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (answer, arrived) = (Arc::new(Mutex::new(Value::Null)), Arc::new(Mutex::new(Vec::new())));
        let router = axum::Router::new().fallback({
            let (answer, arrived) = (Arc::clone(&answer), Arc::clone(&arrived));
            move |request: Request| async move {
                let request = arrival(request).await;
                arrived.lock().unwrap().push(request);
                let answer = answer.lock().unwrap().clone();
                response(&answer)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, answer, arrived }
    }

    fn only_arrival(&self) -> Arrived {
        let mut arrived = std::mem::take(&mut *self.arrived.lock().unwrap());
        assert_eq!(arrived.len(), 1, "one call is one request");
        arrived.remove(0)
    }
}

async fn arrival(request: Request) -> Arrived {
    let (head, body) = request.into_parts();
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut headers: BTreeMap<_, _> = head.headers.iter().map(header).collect();
    assert_eq!(headers.len(), head.headers.len(), "no header comes twice");
    headers.remove("host");
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Arrived {
        line: format!("{} {}", head.method, head.uri),
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn response(answer: &Value) -> Response<Body> {
    let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
    let mut response = Response::builder().status(status);
    for (name, value) in answer["headers"].as_object().unwrap() {
        response = response.header(name, value.as_str().unwrap());
    }
    response.body(Body::from(answer["json"].to_string())).unwrap()
}

/// What every request carries, and what this one does besides.
fn expected_request(fixture: &Value) -> Arrived {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let request = &fixture["request"];
    let given = request["headers"].as_object().unwrap();
    let mut headers: BTreeMap<_, _> = given.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    headers.insert("accept".to_owned(), "application/json".to_owned());
    headers.insert("user-agent".to_owned(), format!("briefd/{}", env!("CARGO_PKG_VERSION")));
    let (name, value) = match settings_of(fixture, "http://unused/").auth {
        Auth::XApiKey => ("x-api-key", API_KEY.to_owned()),
        Auth::Bearer => ("authorization", format!("Bearer {API_KEY}")),
    };
    headers.insert(name.to_owned(), value);
    Arrived { line: text(&request["line"]), headers, body: text(&request["body"]) }
}

fn settings_of(fixture: &Value, url: &str) -> config::Layers {
    let auth = if fixture["settings"]["auth"] == "bearer" { Auth::Bearer } else { Auth::XApiKey };
    let organization = fixture["settings"]["organization"].as_str().unwrap_or_default().to_owned();
    config::Layers { auth, organization, ..settings(url, API_KEY) }
}

/// Asks what the fixture asks; what the client makes of the answer, as JSON.
async fn made(client: &Client, fixture: &Value) -> Value {
    let (ask, request) = (&fixture["ask"], &fixture["request"]);
    let id = ask["id"].as_str().unwrap_or_default();
    let body = request["body"].as_str().unwrap();
    let key = request["headers"]["idempotency-key"].as_str().map(|key| Uuid::parse_str(key).unwrap());
    let trace =
        TraceContext { parent: ask["trace"]["parent"].as_str(), state: ask["trace"]["state"].as_str() };
    let made = match ask["endpoint"].as_str().unwrap() {
        "submit" => client.submit(id, key.unwrap(), body, trace).await.map(|accepted| acceptance(&accepted)),
        "regenerate" => client.regenerate(id, key.unwrap(), body, trace).await.map(|accepted| acceptance(&accepted)),
        "job" => client.job(id).await.map(job),
        "cancel" => client.cancel_job(id).await.map(|answer| {
            json!({ "accepted": answer.accepted, "reason": answer.reason })
        }),
        "container" => client.container(id).await.map(|reading| {
            assert_eq!(reading.record, fixture["answer"]["json"].to_string(), "the record is kept verbatim");
            container(reading)
        }),
        "progress" => client.progress(id).await.map(|progress| {
            json!({
                "status": progress.status.word(), "terminal": progress.status.is_terminal(), "stage": progress.stage,
                "stageProgress": progress.stage_progress, "etaSeconds": progress.eta_seconds,
                "updatedAt": progress.updated_at,
            })
        }),
        "list" => client.list(id, &query(&ask["query"])).await.map(|page| {
            let item = |item: &briefd::job::ListedContainer| {
                json!({
                    "id": item.id, "status": item.status.word(), "createdAt": item.created_at,
                    "completedAt": item.completed_at,
                })
            };
            json!({ "items": page.items.iter().map(item).collect::<Vec<_>>(), "nextCursor": page.next_cursor })
        }),
        "whoami" => client.whoami().await.map(|who| whoami(&who)),
        "credits" => client.credits().await.map(|wallet| credits(&wallet)),
        other => panic!("no such endpoint: {other}"),
    };
    made.unwrap_or_else(|trouble| refused(&trouble))
}

fn query(asked: &Value) -> ListQuery {
    let texts = |name: &str| {
        let texts = asked[name].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let time = |name: &str| asked[name].as_str().map(|text| text.parse::<Timestamp>().unwrap());
    ListQuery {
        statuses: texts("statuses"),
        formats: texts("formats"),
        since: time("since"),
        until: time("until"),
        limit: asked["limit"].as_u64().map(|limit| u32::try_from(limit).unwrap()),
        cursor: asked["cursor"].as_str().map(str::to_owned),
    }
}

fn acceptance(accepted: &briefd::job::Acceptance) -> Value {
    json!({ "jobId": accepted.job_id, "containerIds": accepted.container_ids, "format": accepted.format })
}

fn api_error(error: Option<ApiError>) -> Value {
    error.map_or(Value::Null, |error| json!({ "code": error.code, "message": error.message }))
}

fn job(reading: briefd::job::JobReading) -> Value {
    json!({
        "jobId": reading.job_id, "status": reading.status.word(), "terminal": reading.status.is_terminal(),
        "stage": reading.stage, "finishedAt": reading.finished_at, "containerIds": reading.container_ids,
        "error": api_error(reading.error),
    })
}

fn container(reading: briefd::job::ContainerReading) -> Value {
    json!({
        "id": reading.id, "status": reading.status.word(), "terminal": reading.status.is_terminal(),
        "format": reading.format, "brief": reading.brief, "createdAt": reading.created_at,
        "updatedAt": reading.updated_at, "completedAt": reading.completed_at, "failedAt": reading.failed_at,
        "lastError": api_error(reading.last_error), "approvalStatus": reading.approval_status,
    })
}

fn whoami(who: &briefd::layers::Whoami) -> Value {
    json!({
        "organizationId": who.organization_id, "workspaceId": who.workspace_id,
        "organizationName": who.organization_name, "scopes": who.scopes, "tier": who.tier,
        "killSwitch": who.kill_switch, "accessRevoked": who.access_revoked, "apiKeyId": who.api_key_id,
        "creditBalance": who.credit_balance,
    })
}

fn credits(credits: &briefd::layers::Credits) -> Value {
    json!({
        "organizationId": credits.organization_id, "available": credits.available, "balance": credits.balance,
        "reserved": credits.reserved, "usedThisPeriod": credits.used_this_period,
        "billingStatus": credits.billing_status, "perFormat": credits.per_format,
    })
}

fn refused(trouble: &Trouble) -> Value {
    let Trouble::Refusal(refusal) = trouble else { panic!("an envelope is a refusal: {trouble:?}") };
    json!({
        "refusal": {
            "status": refusal.status, "code": refusal.code, "message": refusal.message,
            "requestId": refusal.request_id, "details": refusal.details, "subcode": refusal.subcode(),
            "retryAfterSeconds": refusal.retry_after.as_ref().map(Duration::as_secs),
        },
        "verdict": format!("{:?}", verdict(trouble)),
    })
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures_folder()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_documented_request_is_sent_and_every_documented_answer_is_understood() {
    let server = FixtureServer::start().await;
    let names = names();
    assert!(names.len() > 50, "the reference is in there: {names:?}");
    for name in names {
        let fixture = fixture(&name);
        *server.answer.lock().unwrap() = fixture["answer"].clone();
        let client = client(&settings_of(&fixture, &server.url));
        let made = made(&client, &fixture).await;
        assert_eq!(server.only_arrival(), expected_request(&fixture), "{name}: the request");
        assert_eq!(made, fixture["made"], "{name}: what the client made of the answer");
    }
}

#[test]
fn every_endpoint_and_every_documented_code_has_its_fixtures() {
    let names = names();
    for endpoint in
        ["submit", "regenerate", "job", "cancel", "container", "progress", "list", "whoami", "credits"]
    {
        let cases = names.iter().filter(|name| name.starts_with(&format!("{endpoint}.")));
        assert!(cases.count() >= 3, "{endpoint}");
    }
    let codes: Vec<Value> =
        names.iter().map(|name| fixture(name)["answer"]["json"]["error"]["code"].clone()).collect();
    for code in [
        "UNAUTHENTICATED",
        "FORBIDDEN_SCOPE",
        "KILL_SWITCH",
        "BILLING_EXHAUSTED",
        "RATE_LIMITED",
        "VALIDATION_FAILED",
        "VALIDATION",
        "MODERATION_BLOCKED",
        "NOT_FOUND",
        "CONFLICT",
        "IDEMPOTENCY_CONFLICT",
    ] {
        assert!(codes.iter().any(|found| found == code), "{code}");
    }
}
