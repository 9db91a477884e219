//! A gate before the sandbox: what it does about each POST that starts a job is said beforehand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::wire::{CuttableListener, Wire};
use super::{Sandbox, control};

/// What becomes of a POST.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    /// The sandbox answers.
    Through,
    /// The sandbox gets it; its answer is lost.
    Lost,
    /// It never gets there, and nobody says so.
    Dropped,
    /// No answer comes for as long as the caller lives, whether the sandbox gets it or not.
    Silent {
        /// The sandbox gets it.
        worked: bool,
    },
    /// It never gets there, and is refused: HTTP status, code, details.
    Refused(u16, &'static str, Value),
}

/// What reads of a container tell instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It is not there.
    NotThere,
    /// It is being generated, whatever its job says.
    StillRunning,
}

/// Reads never lag further behind than this.
const LAG_MS_MAX: i64 = 300_000;

/// How reads of containers lag behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lag {
    /// None is there yet.
    NotThere,
    /// Each is as it was when it was last read, if that is not long ago.
    AsBefore,
}

#[derive(Debug, Default)]
struct Script {
    posts: VecDeque<Post>,
    /// Every POST to come, once the script is over.
    always: Option<Post>,
    /// Reads of containers to come that get no answer.
    reads_lost: usize,
    /// What reads of these containers tell.
    lies: HashMap<String, Lie>,
    /// How reads of all containers lag behind.
    lag: Option<Lag>,
    /// When each container was last read truly, and what that told.
    last_read: HashMap<String, (i64, Bytes)>,
    /// The time that [`Gate::now`] was told last, milliseconds since 1970.
    now_ms: i64,
    /// POSTs that have come so far.
    seen: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    script: Arc<Mutex<Script>>,
    /// Rings when a POST is met with silence.
    silence: Arc<Notify>,
}

impl Gate {
    /// Serves `sandbox` behind this gate; returns where.
    pub(crate) async fn serve(&self, sandbox: &Sandbox) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, sandbox) = (self.clone(), sandbox.clone());
        tokio::spawn(async move { gate.serve_on(listener, &sandbox, std::future::pending()).await });
        format!("http://{address}/")
    }

    /// Serves `sandbox` behind this gate until `shutdown` ends.
    pub(crate) async fn serve_on(
        &self,
        listener: TcpListener,
        sandbox: &Sandbox,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = sandbox.router().layer(from_fn_with_state(self.clone(), pass));
        let service = router.into_make_service_with_connect_info::<Wire>();
        axum::serve(CuttableListener(listener), service).with_graceful_shutdown(shutdown).await.unwrap();
    }

    /// What becomes of the POSTs to come, in their order; those after them go through.
    pub(crate) fn script(&self, posts: impl IntoIterator<Item = Post>) {
        let mut script = self.script.lock().unwrap();
        script.posts = posts.into_iter().collect();
        script.always = None;
    }

    /// Waits for the next POST that is met with silence.
    pub(crate) async fn silent(&self) {
        self.silence.notified().await;
    }

    /// What becomes of the next POST that nothing is said about yet.
    pub(crate) fn next(&self, post: Post) {
        let mut script = self.script.lock().unwrap();
        script.posts.clear();
        script.posts.push_back(post);
    }

    /// What becomes of every POST that nothing else is said about.
    pub(crate) fn always(&self, post: Post) {
        let mut script = self.script.lock().unwrap();
        script.posts.clear();
        script.always = Some(post);
    }

    /// So many reads of containers to come get no answer.
    pub(crate) fn lose_reads(&self, count: usize) {
        self.script.lock().unwrap().reads_lost = count;
    }

    /// What reads of these containers tell from now on; of all others, the truth.
    pub(crate) fn lie(&self, lies: HashMap<String, Lie>) {
        self.script.lock().unwrap().lies = lies;
    }

    /// What time it is, milliseconds since 1970; for what depends on it.
    pub(crate) fn now(&self, now_ms: i64) {
        self.script.lock().unwrap().now_ms = now_ms;
    }

    /// How reads of containers lag from now on; `None`: not at all.
    pub(crate) fn lag(&self, lag: Option<Lag>) {
        self.script.lock().unwrap().lag = lag;
    }

    /// POSTs that have come so far, those that went no further among them.
    pub(crate) fn seen(&self) -> usize {
        self.script.lock().unwrap().seen
    }

    /// What a read of this container is told instead of the truth.
    fn instead(&self, container: &str) -> Option<Instead> {
        let script = self.script.lock().unwrap();
        match (script.lag, script.lies.get(container)) {
            (Some(Lag::NotThere), _) | (None, Some(Lie::NotThere)) => Some(Instead::NotThere),
            (Some(Lag::AsBefore), _) => {
                let last = script.last_read.get(container);
                let last = last.filter(|(read_ms, _)| script.now_ms - read_ms <= LAG_MS_MAX);
                last.map(|(_, record)| Instead::Record(record.clone()))
            }
            (None, Some(Lie::StillRunning)) => Some(Instead::StillRunning),
            (None, None) => None,
        }
    }

    /// A true read of a container, which is remembered.
    async fn read(&self, container: String, request: Request, next: Next) -> Response {
        let (head, body) = next.run(request).await.into_parts();
        let bytes = match to_bytes(body, usize::MAX).await {
            Ok(bytes) => bytes,
            Err(cut) => return Response::from_parts(head, cut_off(cut)),
        };
        if head.status == StatusCode::OK {
            let mut script = self.script.lock().unwrap();
            let now_ms = script.now_ms;
            script.last_read.insert(container, (now_ms, bytes.clone()));
        }
        Response::from_parts(head, bytes.into())
    }

    fn decide(&self, request: &Request) -> Post {
        let mut script = self.script.lock().unwrap();
        if *request.method() != Method::POST {
            if script.reads_lost > 0 && request.uri().path().starts_with("/v1/content/") {
                script.reads_lost -= 1;
                return Post::Dropped;
            }
            return Post::Through;
        }
        script.seen += 1;
        script.posts.pop_front().or_else(|| script.always.clone()).unwrap_or(Post::Through)
    }
}

/// `PUT /_sandbox/account` without the way there.
pub(crate) async fn change_account(sandbox: &Sandbox, change: &Value) {
    let answer = control::change_account(State(sandbox.clone()), change.to_string().into()).await;
    assert_eq!(answer.status(), StatusCode::OK, "{change}");
}

/// `PUT /_sandbox/faults` without the way there.
pub(crate) async fn change_faults(sandbox: &Sandbox, shares: &Value) {
    let answer = control::change_faults(State(sandbox.clone()), shares.to_string().into()).await;
    assert_eq!(answer.status(), StatusCode::OK, "{shares}");
}

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let container = container_read(&request);
    match container.as_deref().and_then(|container| gate.instead(container)) {
        Some(Instead::NotThere) => return refused(404, "NOT_FOUND", &Value::Null, gate.seen()),
        Some(Instead::StillRunning) => return still_running(next.run(request).await).await,
        Some(Instead::Record(record)) => {
            return ([(header::CONTENT_TYPE, "application/json")], record).into_response();
        }
        None => {}
    }
    match (gate.decide(&request), container) {
        (Post::Through, Some(container)) => gate.read(container, request, next).await,
        (post, _) => answer(&gate, post, request, next).await,
    }
}

/// The container of a read of one.
fn container_read(request: &Request) -> Option<String> {
    let id = request.uri().path().strip_prefix("/v1/content/")?;
    (*request.method() == Method::GET && !id.contains('/')).then(|| id.to_owned())
}

/// What a read is told instead of the truth.
enum Instead {
    NotThere,
    StillRunning,
    Record(Bytes),
}

async fn answer(gate: &Gate, post: Post, request: Request, next: Next) -> Response {
    match post {
        Post::Through => next.run(request).await,
        Post::Lost => {
            next.run(answer_lost(request)).await;
            lost()
        }
        Post::Dropped => lost(),
        Post::Silent { worked } => {
            if worked {
                next.run(answer_lost(request)).await;
            }
            gate.silence.notify_one();
            std::future::pending().await
        }
        Post::Refused(status, code, details) => refused(status, code, &details, gate.seen()),
    }
}

fn refused(status: u16, code: &str, details: &Value, nth: usize) -> Response {
    let error = json!({ "error": { "code": code, "message": "no", "requestId": format!("req_gate_{nth}"), "details": details } });
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], error.to_string()).into_response()
}

/// A body that breaks off, as one did that the simulator cut.
fn cut_off(cut: axum::Error) -> Body {
    Body::from_stream(futures::stream::once(std::future::ready(Err::<Bytes, _>(cut))))
}

/// The record of a container, as it was while it was generated.
async fn still_running(truth: Response) -> Response {
    let (head, body) = truth.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(cut) => return Response::from_parts(head, cut_off(cut)),
    };
    let Ok(mut record) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(head, bytes.into());
    };
    if record["status"].is_string() {
        record["status"] = json!("generating");
        for end in ["completedAt", "failedAt", "lastError"] {
            record[end] = Value::Null;
        }
    }
    (head.status, [(header::CONTENT_TYPE, "application/json")], record.to_string()).into_response()
}

/// Lets the sandbox know that its answer gets lost: to the API such a POST may count as being served for a while.
fn answer_lost(mut request: Request) -> Request {
    request.headers_mut().insert("x-sandbox-fault", HeaderValue::from_static("accepted-500"));
    request
}

/// What a gateway says that knows nothing.
fn lost() -> Response {
    (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response()
}
