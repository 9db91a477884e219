//! `/metrics`, `/healthz` and `/readyz`, for Prometheus and for whoever restarts us. Nobody is asked for a
//! password, so nothing here changes anything or holds a secret, and the default address is this machine's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Health, Metrics};
use crate::clock::Clock;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape does not wait longer for fresh gauges: while the ledger hangs, the counters matter most.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that is slow to read its answer does not hold up the end of the process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Brings gauges up to date before they are shown. Must be cancel-safe: it is given up after two seconds.
pub type Refresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Why the address of `http.listen` cannot be used.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("cannot listen on {0}: address in use; set http.listen or stop what uses it")]
    InUse(SocketAddr),
    /// The machine does not let us.
    #[error(
        "cannot listen on {address}: {source}; set http.listen to an address and port that this user may use"
    )]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What the endpoints show.
#[derive(Clone)]
pub struct Endpoints {
    /// Shown by `/metrics`.
    pub metrics: Metrics,
    /// Shown by `/healthz` and `/readyz`.
    pub health: Health,
    /// Decides what is late.
    pub clock: Clock,
    /// Runs before each `/metrics`; one at a time, and no longer than two seconds.
    pub refresh: Option<Refresh>,
}

/// Takes the address, so that a taken one is known before work begins.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            BindError::InUse(address)
        } else {
            BindError::Refused { address, source }
        }
    })
}

/// Answers until `shutdown`; then finishes what was asked, for a second at most.
pub async fn serve(
    listener: TcpListener,
    endpoints: Endpoints,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let shared = Arc::new(Shared { endpoints, refreshing: Mutex::new(()) });
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n") })
        .with_state(shared);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        ended = server => ended,
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        } => Ok(()),
    }
}

struct Shared {
    endpoints: Endpoints,
    refreshing: Mutex<()>,
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    // Scrapes that overlap share the freshness of the first.
    if let (Some(refresh), Ok(_turn)) = (&shared.endpoints.refresh, shared.refreshing.try_lock())
        && tokio::time::timeout(REFRESH_TIMEOUT, refresh()).await.is_err()
    {
        tracing::warn!(
            "gauges could not be brought up to date for /metrics in time; they show an earlier state"
        );
    }
    ([(CONTENT_TYPE, METRICS_TYPE)], shared.endpoints.metrics.render()).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let answer = shared.endpoints.health.healthz(shared.endpoints.clock.now());
    (status(answer.healthy), Json(answer)).into_response()
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let answer = shared.endpoints.health.readyz();
    (status(answer.ready), Json(answer)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::telemetry::{Notice, NoticeKind};

    struct Server {
        address: SocketAddr,
        client: reqwest::Client,
        health: Health,
        clock: Clock,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<std::io::Result<()>>,
    }

    impl Server {
        async fn start(refresh: Option<Refresh>, metrics: Metrics) -> Self {
            let clock = Clock::stepped(Timestamp::from_second(1_800_000_000).unwrap());
            let health = Health::new(&["intake", "submit"], &["broker", "ledger", "stages"], clock.now());
            let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let endpoints = Endpoints { metrics, health: health.clone(), clock: clock.clone(), refresh };
            let task = tokio::spawn(serve(listener, endpoints, shutdown.clone()));
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            Self { address, client, health, clock, shutdown, task }
        }

        async fn get(&self, path: &str) -> reqwest::Response {
            self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
        }

        async fn json(&self, path: &str) -> (u16, Value) {
            let response = self.get(path).await;
            let status = response.status().as_u16();
            (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
        }
    }

    fn no_metrics() -> Metrics {
        Metrics::new([])
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text_and_fresh() {
        let metrics = no_metrics();
        let counted = metrics.clone();
        let refresh: Refresh = Arc::new(move || {
            counted.jobs_due.set(7);
            async {}.boxed()
        });
        let server = Server::start(Some(refresh), metrics).await;
        let response = server.get("/metrics").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.text().await.unwrap();
        assert!(text.lines().any(|line| line == "briefd_jobs_due 7"), "{text}");
    }

    #[tokio::test]
    async fn a_process_is_healthy_until_a_stage_or_the_writer_has_not_moved_for_a_minute() {
        let server = Server::start(None, no_metrics()).await;
        server.clock.advance(Duration::from_mins(1));
        assert_eq!(server.json("/healthz").await, (200, json!({"healthy": true, "late": []})));

        server.clock.advance(Duration::from_secs(1));
        server.health.stage_step("intake", server.clock.now());
        let (status, answer) = server.json("/healthz").await;
        assert_eq!(status, 503);
        assert_eq!(
            answer,
            json!({"healthy": false, "late": [
                {"name": "submit", "last_step": "2027-01-15T08:00:00Z", "seconds": 61},
                {"name": "writer", "last_step": "2027-01-15T08:00:00Z", "seconds": 61},
            ]})
        );

        server.health.stage_step("submit", server.clock.now());
        server.health.writer_step(server.clock.now());
        assert_eq!(server.get("/healthz").await.status(), 200);
    }

    #[tokio::test]
    async fn a_stage_that_has_ended_is_not_late() {
        let server = Server::start(None, no_metrics()).await;
        server.clock.advance(Duration::from_secs(90));
        server.health.writer_step(server.clock.now());
        server.health.stage_ended("intake");
        server.health.stage_ended("submit");
        assert_eq!(server.get("/healthz").await.status(), 200);
    }

    #[tokio::test]
    async fn a_process_is_ready_once_all_components_are_up_whatever_is_held() {
        let server = Server::start(None, no_metrics()).await;
        server.health.set_ready("ledger", true);
        server.health.set_ready("stages", true);
        let (status, answer) = server.json("/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(answer["components"], json!({"broker": false, "ledger": true, "stages": true}));

        server.health.set_ready("broker", true);
        server.health.set_notices(vec![
            Notice { kind: NoticeKind::Hold, text: "account: UNAUTHENTICATED".to_owned() },
            Notice { kind: NoticeKind::Warning, text: "another consumer".to_owned() },
        ]);
        assert_eq!(
            server.json("/readyz").await,
            (
                200,
                json!({
                    "ready": true,
                    "components": {"broker": true, "ledger": true, "stages": true},
                    "holds": ["account: UNAUTHENTICATED"],
                    "warnings": ["another consumer"],
                })
            )
        );
    }

    #[tokio::test]
    async fn other_methods_are_405_and_other_paths_404() {
        let server = Server::start(None, no_metrics()).await;
        for path in ["/metrics", "/healthz", "/readyz"] {
            let posted = server.client.post(format!("http://{}{path}", server.address)).send().await.unwrap();
            assert_eq!(posted.status(), 405, "{path}");
        }
        assert_eq!(server.get("/").await.status(), 404);
        assert_eq!(server.get("/metrics/x").await.status(), 404);
    }

    #[tokio::test]
    async fn a_busy_port_is_one_clear_line() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: address in use; set http.listen or stop what uses it")
        );
    }

    #[tokio::test]
    async fn it_ends_at_the_shutdown_and_closes_idle_connections() {
        let server = Server::start(None, no_metrics()).await;
        assert_eq!(server.get("/readyz").await.status(), 503);
        server.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap().unwrap();
    }
}
