//! A scripted API: what each id and each page answers is set by the test, and every request is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A scripted API. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Fixture(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// Pages of the list; `None`: 500. The cursor is the page's number.
    pages: Vec<Option<Vec<String>>>,
    containers: BTreeMap<String, Value>,
    jobs: BTreeMap<String, Value>,
    /// After the last page comes the first one again.
    endless: bool,
    /// The list knows none of our filters.
    refuses_lists: bool,
    /// Everything is answered with 500.
    silent: bool,
    asked: Vec<String>,
}

impl Fixture {
    pub(super) async fn serve(&self) -> String {
        let router = Router::new()
            .route("/v1/projects/{project}/content", get(list))
            .route("/v1/content/{id}", get(container))
            .route("/v1/jobs/{id}", get(job))
            .with_state(self.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    pub(super) fn pages(&self, pages: &[Option<&[&str]>]) {
        let texts = |page: &[&str]| page.iter().map(|id| (*id).to_owned()).collect();
        self.0.lock().unwrap().pages = pages.iter().map(|page| page.map(texts)).collect();
    }

    pub(super) fn endless(&self) {
        self.0.lock().unwrap().endless = true;
    }

    pub(super) fn refuse_lists(&self) {
        self.0.lock().unwrap().refuses_lists = true;
    }

    pub(super) fn container(&self, id: &str, status: &str) {
        let ended = (status == "completed").then_some("2026-05-01T00:00:30Z");
        let record = json!({ "id": id, "status": status, "format": "auto", "completedAt": ended });
        self.0.lock().unwrap().containers.insert(id.to_owned(), record);
    }

    /// One that tells when it ended.
    pub(super) fn container_ended(&self, id: &str, status: &str, at: &str) {
        let time = if status == "completed" { "completedAt" } else { "failedAt" };
        let record = json!({ "id": id, "status": status, "format": "auto", time: at });
        self.0.lock().unwrap().containers.insert(id.to_owned(), record);
    }

    pub(super) fn job(&self, id: &str, status: &str, containers: &[&str]) {
        let record = json!({ "jobId": id, "status": status, "result": { "containerIds": containers } });
        self.0.lock().unwrap().jobs.insert(id.to_owned(), record);
    }

    pub(super) fn silent(&self, silent: bool) {
        self.0.lock().unwrap().silent = silent;
    }

    /// Requests since this was last asked for: `list`, or the id.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn answer(&self, what: &str, find: impl FnOnce(&Script) -> Option<Value>) -> Response {
        let mut script = self.0.lock().unwrap();
        script.asked.push(what.to_owned());
        let error = |status: StatusCode, code: &str| {
            (status, json!({ "error": { "code": code, "message": "m", "requestId": "r" } }).to_string())
                .into_response()
        };
        if script.silent {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL");
        }
        match find(&script) {
            Some(Value::Null) => error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            Some(Value::Bool(_)) => error(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_FAILED"),
            Some(value) => value.to_string().into_response(),
            None => error(StatusCode::NOT_FOUND, "NOT_FOUND"),
        }
    }
}

async fn list(State(api): State<Fixture>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
    let page: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
    api.answer("list", |script| {
        let item = |id: &String| json!({ "id": id, "status": "generating" });
        let next = match page + 1 {
            next if next < script.pages.len() => Some(next.to_string()),
            _ if script.endless => Some("0".to_owned()),
            _ => None,
        };
        if script.refuses_lists {
            return Some(Value::Bool(false));
        }
        Some(match script.pages.get(page) {
            None => json!({ "items": [], "nextCursor": null }),
            Some(None) => Value::Null,
            Some(Some(ids)) => json!({
                "items": ids.iter().map(item).collect::<Vec<_>>(),
                "nextCursor": next,
            }),
        })
    })
}

async fn container(State(api): State<Fixture>, Path(id): Path<String>) -> Response {
    api.answer(&id, |script| script.containers.get(&id).cloned())
}

async fn job(State(api): State<Fixture>, Path(id): Path<String>) -> Response {
    api.answer(&id, |script| script.jobs.get(&id).cloned())
}
