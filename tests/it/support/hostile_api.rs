//! An API that does what it is asked and then answers what nobody can read: a line to the simulator that replaces each
//! body on its way back, for as long as it is told to.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;

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
    hostile: AtomicBool,
    answered: AtomicUsize,
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

    /// Whether bodies are replaced.
    pub fn set_hostile(&self, hostile: bool) {
        self.shared.hostile.store(hostile, Ordering::SeqCst);
    }

    /// How many bodies were replaced.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let hostile = shared.hostile.load(Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap_or_default();
    let url = format!("{}{}", shared.to.lock().expect("nobody panicked with it"), head.uri);
    let passed = shared.client.request(head.method.clone(), url).headers(head.headers).body(body).send();
    let (status, bytes) = match passed.await {
        Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()),
        Err(_) => (reqwest::StatusCode::BAD_GATEWAY, Bytes::new()),
    };
    let mut response = Response::builder().status(status).header("Content-Type", "application/json");
    // Who we are is asked once at the start; all else is hostile.
    let body = if hostile && !head.uri.path().ends_with("/whoami") && status.is_success() {
        let number = shared.answered.fetch_add(1, Ordering::SeqCst);
        response = response.header("Retry-After", "-1");
        KINDS[number % KINDS.len()].1()
    } else {
        Body::from(bytes)
    };
    response.body(body).expect("a status and two headers make a response")
}
