//! A gate before the sandbox: what it does about each POST that starts a job is said beforehand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::to_bytes;
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

#[derive(Debug, Default)]
struct Script {
    posts: VecDeque<Post>,
    /// Every POST to come, once the script is over.
    always: Option<Post>,
    /// Reads of containers to come that get no answer.
    reads_lost: usize,
    /// What reads of these containers tell.
    lies: HashMap<String, Lie>,
    /// Reads lag behind: no container is there yet.
    behind: bool,
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

    /// Whether reads lag so far behind that no container is there yet.
    pub(crate) fn lag(&self, behind: bool) {
        self.script.lock().unwrap().behind = behind;
    }

    /// POSTs that have come so far, those that went no further among them.
    pub(crate) fn seen(&self) -> usize {
        self.script.lock().unwrap().seen
    }

    fn lie_about(&self, request: &Request) -> Option<Lie> {
        let id = request.uri().path().strip_prefix("/v1/content/")?;
        let script = self.script.lock().unwrap();
        if *request.method() != Method::GET || id.contains('/') {
            return None;
        }
        script.behind.then_some(Lie::NotThere).or_else(|| script.lies.get(id).copied())
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
    match gate.lie_about(&request) {
        Some(Lie::NotThere) => return refused(404, "NOT_FOUND", &Value::Null, gate.seen()),
        Some(Lie::StillRunning) => return still_running(next.run(request).await).await,
        None => {}
    }
    match gate.decide(&request) {
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

/// The record of a container, as it was while it was generated.
async fn still_running(truth: Response) -> Response {
    let (head, body) = truth.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
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
