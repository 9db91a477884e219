//! The Layers API simulator: what `briefd sandbox` serves, `generate --sandbox` runs in-process, and tests check against.
//!
//! It answers like the documented API, revision A, and can be told to answer badly. Where the documentation is silent,
//! each choice is a switch in [`Options`].
//!
//! Invariants:
//! - **It shares no code with the client.** What both got wrong in the same way would never be found.
//! - **A job is a few numbers.** Statuses, stages and credits are functions of time; there is no timer and no task for a
//!   job, so 100,000 jobs cost memory only. Idempotency keys are forgotten after 24 API hours (a switch).
//! - **Chance can be repeated.** Every draw is a hash of the seed and of what it is about, never of the order of arrival.
//! - **It keeps the account** ([`Account`]): which key made which jobs from which bytes, and what they cost.
//!
//! Reading order: `routes` (what becomes of a request), `admission` (the first checks), `starts` and `acceptance` (the endpoints
//! that cost credits), `generation` (the course of a job), `state` and `organization` (what is remembered), `faults`, `strike`
//! and `wish` (what goes wrong, and on whose wish).
//!
//! It does not send webhooks or make media, and it knows every post and every asset that a request refers to.
//!
#![doc = include_str!("reference.md")]

mod acceptance;
mod account;
mod admission;
mod auth;
mod call;
mod changes;
mod choices;
mod cloning;
mod control;
mod creative;
mod draw;
mod errors;
mod faults;
mod fields;
mod format;
#[cfg(test)]
pub(crate) mod gate;
mod generation;
mod idempotency;
mod keys;
mod limits;
mod list;
mod openapi;
mod options;
mod organization;
mod reads;
mod records;
mod reply;
mod routes;
mod starts;
mod state;
mod statement;
mod strike;
mod submission;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod view;
mod wire;
mod wish;
mod writes;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;

pub use account::{
    Account, ApiKeyAccount, CreditsAccount, JobAccount, KeyAccount, OrganizationAccount, Posts,
    ProjectAccount, Reads, RefusedPost,
};
pub use choices::{Check, ContainerIds, Revision, Tier};
pub use faults::Fault;
pub use options::{Options, OptionsError};

use keys::split_key;
use state::World;
use time::ApiTime;
use wire::{CuttableListener, Wire};

/// How long open requests may take once a sandbox was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// One simulated API with all it remembers. Cheap to clone; clones are the same API.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    first_key: String,
    options: Options,
    time: ApiTime,
    world: Mutex<World>,
}

impl Sandbox {
    /// An API that has seen nothing yet. Its time starts with that of `clock`.
    pub fn new(options: Options, clock: Clock) -> Self {
        let (time, world) = (ApiTime::new(clock, options.speed), Mutex::new(World::new(&options)));
        let first_key = options.keys().first().map_or_else(String::new, |key| split_key(key).0.to_owned());
        Self(Arc::new(Inner { first_key, options, time, world }))
    }

    /// The endpoints. To lose answers as a dead connection does, serve them with [`Sandbox::serve`].
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// Serves until `shutdown` ends, then lets open requests finish. May be called again: what the API knows stays.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let service = self.router().into_make_service_with_connect_info::<Wire>();
        axum::serve(CuttableListener(listener), service).with_graceful_shutdown(shutdown).await
    }

    /// What happened so far, with every job and key.
    pub fn account(&self) -> Account {
        self.account_now(true)
    }

    /// A key that is let in.
    pub fn api_key(&self) -> &str {
        &self.0.first_key
    }

    /// Runs a new sandbox in this process, on a free loopback port.
    pub async fn start(options: Options) -> Result<Running, StartError> {
        Self::start_with(options, Clock::system()).await
    }

    /// The same with a clock of one's own.
    pub async fn start_with(options: Options, clock: Clock) -> Result<Running, StartError> {
        options.check()?;
        let sandbox = Self::new(options, clock);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StartError::Bind)?;
        let address = listener.local_addr().map_err(StartError::Bind)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (sandbox, stop) = (sandbox.clone(), stop.clone());
            async move { sandbox.serve(listener, stop.cancelled_owned()).await }
        });
        Ok(Running {
            base_url: format!("http://{address}"),
            api_key: sandbox.api_key().to_owned(),
            sandbox,
            stop: stop.drop_guard(),
            task,
        })
    }

    fn account_now(&self, lists: bool) -> Account {
        let now_ms = self.time().now_ms();
        let mut world = self.world();
        world.settle(now_ms);
        statement::account(&world, now_ms, lists)
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn time(&self) -> &ApiTime {
        &self.0.time
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sandbox that runs in this process. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, without a slash at the end.
    pub base_url: String,
    /// A key that is let in.
    pub api_key: String,
    /// The API itself.
    pub sandbox: Sandbox,
    stop: DropGuard,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// What happened so far, with every job and key.
    pub fn account(&self) -> Account {
        self.sandbox.account()
    }

    /// Stops listening, and waits up to two seconds for open requests.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(GRACE, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An option makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No port was to be had.
    #[error("the sandbox cannot listen on a loopback port")]
    Bind(#[source] io::Error),
}
