//! What the API can tell a command beside the worker: about a job that a person names, and how far a container is.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::layers::{Client, Progress};
use crate::ledger::ParkedJob;
use crate::stages::same_brief;
use crate::telemetry::Metrics;

/// Longest wait for one read.
const LIMIT: Duration = Duration::from_secs(10);

/// What the API told about a job that a person names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It knows the job: its containers and its format, as far as they are told.
    Known {
        /// Containers, in the order of their variants.
        containers: Vec<String>,
        /// What `auto` became.
        format: Option<String>,
    },
    /// It knows no such job.
    NoSuchJob,
    /// It could not be asked, and why.
    NotAsked(String),
}

/// Asks the API for `job_id`, and for our own container if `parked` carries its id. Two reads at most.
pub async fn about(settings: &Settings, job_id: &str, parked: &ParkedJob) -> Evidence {
    let client = match Client::new(&settings.layers, Clock::system(), Metrics::new([])) {
        Ok(client) => client,
        Err(error) => return Evidence::NotAsked(error.to_string()),
    };
    let job = match tokio::time::timeout(LIMIT, client.job(job_id)).await {
        Ok(Ok(job)) => job,
        Ok(Err(trouble)) if trouble.is_not_found() => return Evidence::NoSuchJob,
        Ok(Err(trouble)) => return Evidence::NotAsked(trouble.to_string()),
        Err(_late) => return Evidence::NotAsked("no answer in time".to_owned()),
    };
    // Only what the API itself answers to counts: our own id may be unknown to it.
    let alias = match &parked.alias {
        Some(alias) => tokio::time::timeout(LIMIT, client.container(alias)).await.ok().and_then(Result::ok),
        None => None,
    };
    let ours = alias.filter(|reading| same_brief(&parked.body, reading.brief.as_ref()));
    let format = ours.as_ref().and_then(|reading| reading.format.clone());
    // One container may go by two ids, so those of the job and ours are never mixed.
    let containers = if job.container_ids.is_empty() {
        ours.map(|reading| reading.id).into_iter().collect()
    } else {
        job.container_ids
    };
    Evidence::Known { containers, format }
}

/// Asks the API how far a container is: one read. The error is why nobody knows, in a line for people.
pub async fn progress(settings: &Settings, container_id: &str) -> Result<Progress, String> {
    let client = Client::new(&settings.layers, Clock::system(), Metrics::new([]))
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(LIMIT, client.progress(container_id)).await {
        Ok(answer) => answer.map_err(|trouble| client.blank_key(&trouble.to_string())),
        Err(_late) => Err("no answer in time".to_owned()),
    }
}
