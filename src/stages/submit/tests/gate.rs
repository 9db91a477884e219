//! A gate before the sandbox: what it does about each POST that starts a job is said beforehand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::sandbox::Sandbox;

/// What becomes of a POST.
#[derive(Clone, Debug)]
pub(super) enum Post {
    /// The sandbox answers.
    Through,
    /// The sandbox gets it; its answer is lost.
    Lost,
    /// It never gets there, and nobody says so.
    Dropped,
    /// It never gets there, and is refused: HTTP status, code, details.
    Refused(u16, &'static str, Value),
}

#[derive(Debug, Default)]
struct Script {
    posts: VecDeque<Post>,
    /// Every POST to come, once the script is over.
    always: Option<Post>,
    /// Reads of containers to come that get no answer.
    reads_lost: usize,
    /// POSTs that have come so far.
    seen: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Script>>);

impl Gate {
    /// Serves `sandbox` behind this gate; returns where.
    pub(super) async fn serve(&self, sandbox: &Sandbox) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = sandbox.router().layer(from_fn_with_state(self.clone(), pass));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/")
    }

    /// What becomes of the next POST that nothing is said about yet.
    pub(super) fn next(&self, post: Post) {
        let mut script = self.0.lock().unwrap();
        script.posts.clear();
        script.posts.push_back(post);
    }

    /// What becomes of every POST that nothing else is said about.
    pub(super) fn always(&self, post: Post) {
        let mut script = self.0.lock().unwrap();
        script.posts.clear();
        script.always = Some(post);
    }

    /// So many reads of containers to come get no answer.
    pub(super) fn lose_reads(&self, count: usize) {
        self.0.lock().unwrap().reads_lost = count;
    }

    /// POSTs that have come so far, those that went no further among them.
    pub(super) fn seen(&self) -> usize {
        self.0.lock().unwrap().seen
    }

    fn decide(&self, request: &Request) -> Post {
        let mut script = self.0.lock().unwrap();
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

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.decide(&request) {
        Post::Through => next.run(request).await,
        Post::Lost => {
            next.run(request).await;
            lost()
        }
        Post::Dropped => lost(),
        Post::Refused(status, code, details) => {
            let error = json!({ "error": { "code": code, "message": "no", "requestId": format!("req_gate_{}", gate.seen()), "details": details } });
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::CONTENT_TYPE, "application/json")], error.to_string()).into_response()
        }
    }
}

/// What a gateway says that knows nothing.
fn lost() -> Response {
    (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response()
}
