//! An API that does what it is asked and then answers what nobody can read, or nobody means: a line to the simulator that
//! replaces bodies on their way back, for as long as it is told to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use reqwest::Method;

/// A name, and what makes the body.
type Kind = (&'static str, fn() -> Body);

/// Ways in which a body cannot be read, each with its name.
pub const KINDS: [Kind; 12] = [
    ("deep", || Body::from("[".repeat(8 * 1024 * 1024 - 1))),
    ("deep-inside", || Body::from(format!("{{\"jobId\":{}", "{\"a\":".repeat(1024 * 1024)))),
    ("endless", || Body::from_stream(stream::repeat_with(|| ok(" ".repeat(64 * 1024))))),
    ("drip", || {
        Body::from_stream(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((ok("{".to_owned()), ()))
        }))
    }),
    ("long-name", || Body::from(format!("{{\"{}\":1}}", "n".repeat(7 * 1024 * 1024)))),
    ("half-a-surrogate", || Body::from(r#"{"jobId":"job_\ud83d","containerIds":["c"],"status":5}"#)),
    ("the-last-counts", || Body::from(r#"{"jobId":"j","jobId":null,"containerIds":["c"],"status":null}"#)),
    ("no-containers", || Body::from(r#"{"jobId":"j","containerIds":[null,"",7,{}],"items":7}"#)),
    ("huge-number", || Body::from(format!(r#"{{"jobId":{},"status":1e999}}"#, "9".repeat(1024 * 1024)))),
    ("not-utf8", || Body::from(&b"{\"jobId\":\"\xff\",\"containerIds\":[\"c\"]}"[..])),
    ("marks", || Body::from("\u{feff}\u{feff}\0\0{}")),
    ("nothing", || Body::empty()),
];

/// What a refusal's envelope becomes, its code kept.
type Envelope = fn(&str) -> String;

/// As long as a text may be inside of an answer of 8 MiB.
const LONG: usize = 8 * 1024 * 1024 - 1024;

/// Envelopes that nobody means, each with its name. All but the last can be read.
pub const ENVELOPES: [(&str, Envelope); 5] = [
    ("long-message", |code| envelope(code, &format!("\"message\":\"{}\"", "m".repeat(LONG)))),
    ("half-a-surrogate", |code| envelope(code, "\"message\":\"Run \\ud83d\",\"requestId\":\"\\udfff\"")),
    ("deep-details", |code| {
        let (open, close) = ("[".repeat(LONG / 2), "]".repeat(LONG / 2));
        envelope(code, &format!("\"message\":\"m\",\"details\":{open}{close}"))
    }),
    ("wide-details", |code| {
        let fields: String = (0..300_000).map(|n| format!("\"k{n}\":{n},")).collect();
        envelope(code, &format!("\"message\":7,\"details\":{{{fields}\"big\":1e999}}"))
    }),
    ("odd-code", |_| r#"{"error":{"code":{"a":["VALIDATION_FAILED"]},"message":"m"}}"#.to_owned()),
];

fn envelope(code: &str, rest: &str) -> String {
    format!("{{\"error\":{{\"code\":\"{code}\",{rest}}}}}")
}

/// Whose answers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// All that is well, but who we are: that is asked once at the start.
    Answers,
    /// All that is well.
    AllAnswers,
    /// All envelopes of refusals. Those of POSTs stay readable: which code they have decides what is bought.
    Refusals,
}

#[expect(clippy::unnecessary_wraps, reason = "a stream of a body is one of results")]
fn ok(text: String) -> Result<String, Infallible> {
    Ok(text)
}

/// A server in the test's own process.
pub struct HostileApi {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    to: Mutex<String>,
    hostile: Mutex<Option<Hostile>>,
    answered: Mutex<BTreeMap<&'static str, usize>>,
    client: reqwest::Client,
}

impl HostileApi {
    /// Listens; passes on nothing yet.
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who really does what is asked.
    pub fn pass_on_to(&self, url: &str) {
        url.clone_into(&mut self.shared.to.lock().expect("nobody panicked with it"));
    }

    /// Whose bodies are replaced from now on.
    pub fn set_hostile(&self, hostile: Option<Hostile>) {
        *self.shared.hostile.lock().expect("nobody panicked with it") = hostile;
    }

    /// How many bodies were replaced.
    pub fn answered(&self) -> usize {
        self.shared.answered.lock().expect("nobody panicked with it").values().sum()
    }

    /// What was asked for and got another body.
    pub fn replaced(&self) -> Vec<&'static str> {
        self.shared.answered.lock().expect("nobody panicked with it").keys().copied().collect()
    }
}

/// What a path asks for.
fn endpoint(method: &Method, path: &str) -> &'static str {
    match path.trim_start_matches("/v1/").split('/').collect::<Vec<_>>()[..] {
        ["whoami"] => "whoami",
        ["credits"] => "credits",
        ["projects", _, "content"] if method == Method::POST => "start",
        ["projects", _, "content"] => "list",
        ["content", _, "progress"] => "progress",
        ["content", _] => "container",
        ["jobs", _, "cancel"] => "cancel",
        ["jobs", _] => "job",
        _ => "other",
    }
}

impl Shared {
    /// What stands in the place of this body, if anything does.
    fn instead_of(&self, of: &'static str, status: reqwest::StatusCode, body: &[u8]) -> Option<Body> {
        let hostile = (*self.hostile.lock().expect("nobody panicked with it"))?;
        let mut answered = self.answered.lock().expect("nobody panicked with it");
        let number: usize = answered.values().sum();
        let body = match hostile {
            Hostile::Answers if of == "whoami" => return None,
            Hostile::Answers | Hostile::AllAnswers if status.is_success() => KINDS[number % KINDS.len()].1(),
            Hostile::Answers | Hostile::AllAnswers => return None,
            Hostile::Refusals => {
                let refusal: serde_json::Value = serde_json::from_slice(body).ok()?;
                let code = refusal["error"]["code"].as_str()?;
                let kinds = if of == "start" { ENVELOPES.len() - 1 } else { ENVELOPES.len() };
                Body::from(ENVELOPES[number % kinds].1(code))
            }
        };
        *answered.entry(of).or_default() += 1;
        Some(body)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap_or_default();
    let url = format!("{}{}", shared.to.lock().expect("nobody panicked with it"), head.uri);
    let passed = shared.client.request(head.method.clone(), url).headers(head.headers).body(body).send();
    let (status, bytes) = match passed.await {
        Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()),
        Err(_) => (reqwest::StatusCode::BAD_GATEWAY, Bytes::new()),
    };
    let mut response = Response::builder().status(status).header("Content-Type", "application/json");
    let body = match shared.instead_of(endpoint(&head.method, head.uri.path()), status, &bytes) {
        Some(hostile) => {
            response = response.header("Retry-After", "-1");
            hostile
        }
        None => Body::from(bytes),
    };
    response.body(body).expect("a status and two headers make a response")
}
