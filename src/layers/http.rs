//! How reqwest is set up: bounded, without redirects, without repeats, encrypted wherever it leaves the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;

use super::key::KeyError;
use crate::config;

/// Connections kept for the next request: as many as submit and track use at once at most.
const IDLE_CONNECTIONS: usize = 1_160;
/// Shorter than the idle time of usual load balancers (60 s): a connection that they drop is not used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The API key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The base URL is not one to which paths can be added.
    #[error("layers.base_url must be an http or https URL with a host, not {0}")]
    BaseUrl(String),
    /// `layers.organization` has characters that a header cannot carry.
    #[error("layers.organization has characters that a header cannot carry")]
    Organization,
    /// The file of `layers.ca_file` cannot be used.
    #[error("layers.ca_file {}: {problem}; correct the file or the setting", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS could not be set up.
    #[error(
        "the HTTPS client cannot be built; check that the machine has CA certificates (package ca-certificates)"
    )]
    Http(#[source] reqwest::Error),
}

/// The base URL: http or https, with nothing behind its path.
pub(super) fn base_of(given: &Url) -> Result<Url, BuildError> {
    if !matches!(given.scheme(), "https" | "http") || given.host().is_none() {
        return Err(BuildError::BaseUrl(given.scheme().to_owned() + ":…"));
    }
    let mut base_url = given.clone();
    base_url.set_query(None);
    base_url.set_fragment(None);
    Ok(base_url)
}

/// The client for `base_url`.
pub(super) fn http_client(settings: &config::Layers, base_url: &Url) -> Result<reqwest::Client, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if !settings.organization.is_empty() {
        let organization =
            HeaderValue::from_str(&settings.organization).map_err(|_| BuildError::Organization)?;
        headers.insert("x-layers-organization", organization);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("briefd/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(Policy::none()) // the key and a POST go to nobody but the API
        .retry(reqwest::retry::never()) // a repeat is decided by the stages, which know the ledger
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT);
    if base_url.scheme() == "https" {
        builder = builder.https_only(true);
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
    } else {
        // Settings allow this to loopback, or when asked for by name. No TLS, so no CA certificates are needed.
        builder = builder.tls_certs_only([]);
        if !settings.is_loopback() {
            tracing::warn!("layers.allow_http: the API key travels unencrypted");
        }
    }
    if settings.is_loopback() {
        builder = builder.no_proxy(); // a proxy of the environment is not for this machine
    }
    builder.build().map_err(BuildError::Http)
}

/// The certificates of `layers.ca_file`: at least one, so that a wrong file is not found out by the first request.
fn authorities(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let unfit = |problem: String| BuildError::Authority { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(|error| unfit(error.to_string()))?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(unfit("no certificate in PEM form".to_owned())),
    }
}
