//! [`Client`]: the API's endpoints as functions.

use std::fmt;

use jiff::SignedDuration;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use super::endpoint::Endpoint;
use super::fields::ID_BYTES_MAX;
use super::http::{BuildError, base_of, http_client};
use super::key::{KeyError, KeyStore};
use super::list::ListQuery;
use super::transport::Transport;
use super::wire::{self, CancelAnswer, Credits, ListPage, Progress, Whoami};
use crate::clock::Clock;
use crate::config;
use crate::job::{Acceptance, ContainerReading, JobReading, Refusal, Trouble};
use crate::telemetry::Metrics;

/// Trace headers of the brief, passed on as they came. What no header can carry is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// `traceparent`
    pub parent: Option<&'a str>,
    /// `tracestate`
    pub state: Option<&'a str>,
}

/// The Layers API. Cheap to clone; clones share connections and key. Each call sends at most one request and
/// never repeats it. Dropping a call half-way leaves open whether its request arrived.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: Url,
    key: KeyStore,
    /// `layers.organization`
    organization: String,
    transport: Transport,
}

impl Client {
    /// Reads the key (a small file, perhaps) and sets up TLS; connects to nothing.
    pub fn new(settings: &config::Layers, clock: Clock, metrics: Metrics) -> Result<Self, BuildError> {
        let base_url = base_of(&settings.base_url)?;
        let key = KeyStore::open(settings.api_key.clone(), settings.auth)?;
        let http = http_client(settings, &base_url)?;
        let transport = Transport::new(key.clone(), settings.max_response_bytes, clock, metrics);
        Ok(Self { http, base_url, key, organization: settings.organization.clone(), transport })
    }

    /// `POST /v1/projects/:projectId/content`: starts generation. `body` is sent as it is.
    pub async fn submit(
        &self,
        project_id: &str,
        idempotency_key: Uuid,
        body: &str,
        trace: TraceContext<'_>,
    ) -> Result<Acceptance, Trouble> {
        let url = self.url(&["v1", "projects", project_id, "content"])?;
        let request = self.start_request(url, idempotency_key, body, trace);
        self.transport.ask(Endpoint::Submit, request, |text| wire::acceptance(text, None)).await
    }

    /// `POST /v1/content/:containerId/regenerate`: starts generation anew. `body` is sent as it is.
    pub async fn regenerate(
        &self,
        container_id: &str,
        idempotency_key: Uuid,
        body: &str,
        trace: TraceContext<'_>,
    ) -> Result<Acceptance, Trouble> {
        let url = self.url(&["v1", "content", container_id, "regenerate"])?;
        let request = self.start_request(url, idempotency_key, body, trace);
        self.transport
            .ask(Endpoint::Regenerate, request, |text| wire::acceptance(text, Some(container_id)))
            .await
    }

    /// `GET /v1/jobs/:jobId`
    pub async fn job(&self, job_id: &str) -> Result<JobReading, Trouble> {
        let request = self.get(&["v1", "jobs", job_id])?;
        self.transport.ask(Endpoint::Job, request, |text| wire::job(text, job_id)).await
    }

    /// `POST /v1/jobs/:jobId/cancel`: asks the API to stop at the next stage; only a reading tells whether it did.
    pub async fn cancel_job(&self, job_id: &str) -> Result<CancelAnswer, Trouble> {
        let url = self.url(&["v1", "jobs", job_id, "cancel"])?;
        // Some servers answer 411 to a POST that does not tell its length.
        let request =
            self.http.request(Method::POST, url).header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.transport.ask(Endpoint::Cancel, request, wire::cancel).await
    }

    /// `GET /v1/content/:containerId`
    pub async fn container(&self, container_id: &str) -> Result<ContainerReading, Trouble> {
        let request = self.get(&["v1", "content", container_id])?;
        self.transport.ask(Endpoint::Container, request, |text| wire::container(text, container_id)).await
    }

    /// `GET /v1/content/:containerId/progress`
    pub async fn progress(&self, container_id: &str) -> Result<Progress, Trouble> {
        let request = self.get(&["v1", "content", container_id, "progress"])?;
        self.transport.ask(Endpoint::Progress, request, wire::progress).await
    }

    /// `GET /v1/projects/:projectId/content`: one page. [`Pages`](super::Pages) walks through all of them.
    pub async fn list(&self, project_id: &str, query: &ListQuery) -> Result<ListPage, Trouble> {
        let mut url = self.url(&["v1", "projects", project_id, "content"])?;
        let pairs = query.pairs();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        self.transport.ask(Endpoint::List, self.http.get(url), wire::list).await
    }

    /// `GET /v1/whoami`. Deployments without it: a refusal with [`Trouble::is_not_found`].
    pub async fn whoami(&self) -> Result<Whoami, Trouble> {
        let request = self.get(&["v1", "whoami"])?;
        self.transport.ask(Endpoint::Whoami, request, wire::whoami).await
    }

    /// `GET /v1/credits`; what it tells is in the gauge too. Deployments without it: a refusal with [`Trouble::is_not_found`].
    pub async fn credits(&self) -> Result<Credits, Trouble> {
        let request = self.get(&["v1", "credits"])?;
        let credits = self.transport.ask(Endpoint::Credits, request, wire::credits).await?;
        if let Some(available) = credits.available {
            self.transport.metrics().set_credits(available);
        }
        Ok(credits)
    }

    /// Uses this key from now on. Returns whether it is another one than before.
    pub fn set_key(&self, secret: SecretString) -> Result<bool, KeyError> {
        self.key.set(secret)
    }

    /// Reads the key again from where the settings say (blocks for one small file). Returns whether it has changed.
    /// After an error the key in use stays.
    pub fn reload_key(&self) -> Result<bool, KeyError> {
        self.key.reload()
    }

    /// Tells apart under which API key, and which organization that was asked for with it, requests leave; gives no key
    /// away.
    pub fn key_fingerprint(&self) -> String {
        let key = self.key.current();
        match self.organization.as_str() {
            "" => key.fingerprint().to_owned(),
            organization => format!("{}@{organization}", key.fingerprint()),
        }
    }

    /// `text` with the API key blanked.
    pub fn blank_key(&self, text: &str) -> String {
        self.key.current().blank(text).into_owned()
    }

    /// Our clock less the API's, by the `Date` of its last answer, give or take a second.
    pub fn skew(&self) -> Option<SignedDuration> {
        self.transport.skew()
    }

    /// Whether several requests in a row found no connection.
    pub fn is_unreachable(&self) -> bool {
        self.transport.is_unreachable()
    }

    #[expect(
        clippy::result_large_err,
        reason = "the error of every call here; one HTTP request dwarfs its copy"
    )]
    fn get(&self, segments: &[&str]) -> Result<RequestBuilder, Trouble> {
        Ok(self.http.get(self.url(segments)?))
    }

    fn start_request(
        &self,
        url: Url,
        idempotency_key: Uuid,
        body: &str,
        trace: TraceContext<'_>,
    ) -> RequestBuilder {
        let mut request = self
            .http
            .request(Method::POST, url)
            .header("Idempotency-Key", idempotency_key.hyphenated().to_string())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body.to_owned());
        for (name, value) in [("traceparent", trace.parent), ("tracestate", trace.state)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                request = request.header(name, value);
            }
        }
        request
    }

    /// The base URL with `segments`, each escaped by the URL parser.
    #[expect(
        clippy::result_large_err,
        reason = "the error of every call here; one HTTP request dwarfs its copy"
    )]
    fn url(&self, segments: &[&str]) -> Result<Url, Trouble> {
        if let Some(id) = segments.iter().find(|segment| !fits_a_path(segment)) {
            return Err(refused_here(&self.blank_key(id)));
        }
        let mut url = self.base_url.clone();
        add_segments(&mut url, segments);
        Ok(url)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.base_url.origin().ascii_serialization();
        f.debug_struct("Client")
            .field("origin", &origin)
            .field("key", &self.key_fingerprint())
            .finish_non_exhaustive()
    }
}

fn add_segments(url: &mut Url, segments: &[&str]) {
    // Only a URL without a host has no path to add to, and `base_of` lets none in.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}

/// Whether the URL parser keeps `id` as it is: it drops `.` and `..`, tabs and line breaks.
fn fits_a_path(id: &str) -> bool {
    !matches!(id, "" | "." | "..") && id.len() <= ID_BYTES_MAX && !id.chars().any(char::is_control)
}

/// No request can be made of such an id, today or later: the answer that the API itself would give.
fn refused_here(id: &str) -> Trouble {
    let shown: String = id.chars().take(40).flat_map(char::escape_default).collect();
    Trouble::Refusal(Refusal {
        status: 422,
        code: "VALIDATION_FAILED".to_owned(),
        message: format!("the id \"{shown}\" cannot be part of a URL; nothing was sent"),
        request_id: None,
        details: None,
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_stays_one_segment_that_decodes_to_itself_or_is_not_sent(id in r"[./\\%2eE\t a]{0,6}|\PC*|(?s:.{0,8})") {
            let base = "https://example.com/base/";
            let mut url = Url::parse(base).unwrap();
            add_segments(&mut url, &["v1", &id, "end"]);
            if fits_a_path(&id) {
                let segment = url.as_str().strip_prefix("https://example.com/base/v1/").unwrap();
                let segment = segment.strip_suffix("/end").unwrap();
                prop_assert!(!segment.contains(['/', '?', '#', '\\']));
                prop_assert_eq!(Url::parse(url.as_str()).unwrap(), url.clone(), "what the server parses is what was meant");
                let decoded = url::form_urlencoded::parse(format!("x={}", segment.replace('+', "%2B")).replace('&', "%26").as_bytes())
                    .next().unwrap().1.into_owned();
                prop_assert_eq!(decoded, id);
            }
        }
    }
}
