//! One request and its answer: sent once, read up to a bound, counted, sorted into answer or trouble.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};

use super::endpoint::Endpoint;
use super::key::{Key, KeyStore};
use super::{retry_after, wire};
use crate::clock::Clock;
use crate::crash_point::{in_flight, reached};
use crate::job::{NoAnswer, NoAnswerKind, Trouble};
use crate::telemetry::Metrics;
use crate::telemetry::event::Asked;

/// Longest text for people; what is cut off here was never meant for them.
const MAX_DETAIL_CHARS: usize = 300;
/// So many requests in a row without a connection are an outage; one or two are the network.
const OUTAGE: u32 = 3;
/// No answer has shown the API's time yet.
const NO_SKEW: i64 = i64::MIN;

/// What every request needs besides itself. Clones share one state.
#[derive(Clone)]
pub(super) struct Transport {
    key: KeyStore,
    max_response_bytes: u64,
    clock: Clock,
    metrics: Metrics,
    skew_ms: Arc<AtomicI64>,
    /// Requests since the last one that found a connection.
    not_connected: Arc<AtomicU32>,
}

impl Transport {
    /// Also starts every expected series at 0.
    pub(super) fn new(key: KeyStore, max_response_bytes: u64, clock: Clock, metrics: Metrics) -> Self {
        for endpoint in Endpoint::ALL {
            let of_all =
                ["401", "403", "429", "500", "502", "503", "timeout", "connect", "reset", "unreadable"];
            for status in endpoint.own_statuses().iter().chain(&of_all) {
                metrics.api_requests_total.with_label_values(&[endpoint.word(), status]).inc_by(0);
            }
            metrics.api_request_seconds.with_label_values(&[endpoint.word()]);
        }
        let skew_ms = Arc::new(AtomicI64::new(NO_SKEW));
        Self { key, max_response_bytes, clock, metrics, skew_ms, not_connected: Arc::default() }
    }

    /// What is counted into.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the last requests found no connection.
    pub(super) fn is_unreachable(&self) -> bool {
        self.not_connected.load(Ordering::Relaxed) >= OUTAGE
    }

    /// Says once that the API is gone, and once that it is back.
    fn note_connection<T>(&self, answer: &Result<T, Trouble>) {
        if let Err(Trouble::NotConnected(cause)) = answer {
            let saturated = |count: u32| Some(count.saturating_add(1));
            let before =
                self.not_connected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, saturated).unwrap_or(0);
            if before.saturating_add(1) == OUTAGE {
                tracing::warn!(
                    cause,
                    "the Layers API cannot be reached; nothing fails, and it is tried again until it can"
                );
            }
        } else if self.not_connected.swap(0, Ordering::Relaxed) >= OUTAGE {
            tracing::info!("the Layers API can be reached again");
        }
    }

    /// Our clock less the API's, by its last answer.
    pub(super) fn skew(&self) -> Option<SignedDuration> {
        Some(self.skew_ms.load(Ordering::Relaxed))
            .filter(|skew_ms| *skew_ms != NO_SKEW)
            .map(SignedDuration::from_millis)
    }

    /// Sends `request` with the key, once, and reads a 2xx with `read`. Dropped half-way, the request may have left.
    pub(super) async fn ask<T>(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
        read: impl FnOnce(&str) -> Result<T, String> + Send,
    ) -> Result<T, Trouble> {
        let key = self.key.current();
        let request = match key.header() {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let started = Instant::now();
        reached("api", endpoint.word(), "before_send");
        let answer = in_flight("api", endpoint.word(), self.exchange(endpoint, &key, request, read)).await;
        reached("api", endpoint.word(), "after_answer");
        let took = started.elapsed();
        self.note_connection(&answer);
        let status = match &answer {
            Ok((status, _)) => status_label(*status),
            Err(trouble) => trouble_label(trouble),
        };
        Asked { endpoint: endpoint.word(), status: &status, took }.emit(&self.metrics);
        answer.map(|(_, value)| value)
    }

    async fn exchange<T>(
        &self,
        endpoint: Endpoint,
        key: &Key,
        request: RequestBuilder,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<(u16, T), Trouble> {
        let response = request.send().await.map_err(|error| trouble_of(key, error, None))?;
        let status = response.status().as_u16();
        let wait = self.look_at_clocks(response.headers());
        let kind = body_kind(response.headers());
        let unreadable = |detail: &str| {
            let detail = one_line(&key.blank(detail));
            Trouble::NoAnswer(NoAnswer { kind: NoAnswerKind::Unreadable, status: Some(status), detail })
        };
        let bytes = self.body(key, response).await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| unreadable(&format!("{status} with a body that is not UTF-8")))?;
        // Some servers begin with a byte order mark, which is not part of the JSON behind it.
        let text = key.blank(text.strip_prefix('\u{feff}').unwrap_or(&text));
        if (200..300).contains(&status) {
            return match read(&text) {
                Ok(value) => Ok((status, value)),
                Err(why) => Err(unreadable(&format!("{status} with {kind} body that cannot be read: {why}"))),
            };
        }
        match wire::refusal(&text, status) {
            Some(refusal) => Err(Trouble::Refusal(crate::job::Refusal { retry_after: wait, ..refusal })),
            None if status == 404 && endpoint.may_be_missing() => Err(missing_endpoint(endpoint)),
            None if matches!(status, 301..=303 | 307..=308) => Err(unreadable(&format!(
                "{status}, a redirect, which is never followed; check layers.base_url"
            ))),
            None => {
                Err(unreadable(&format!("{status} with {kind} body that is not the API's error envelope")))
            }
        }
    }

    /// Reads the body up to the longest length allowed; a chunk more than that has been in memory at most.
    async fn body(&self, key: &Key, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| trouble_of(key, error, Some(status)))?
        {
            if (bytes.len() as u64).saturating_add(chunk.len() as u64) > self.max_response_bytes {
                let detail = format!(
                    "{status} with a body over layers.max_response_bytes ({})",
                    self.max_response_bytes
                );
                return Err(Trouble::NoAnswer(NoAnswer {
                    kind: NoAnswerKind::Unreadable,
                    status: Some(status),
                    detail,
                }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Notes how far the clocks are apart and returns what `Retry-After` asks for.
    fn look_at_clocks(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name| headers.get(name)?.to_str().ok();
        let ours = self.clock.now();
        let theirs = text(DATE).and_then(retry_after::http_date);
        if let Some(theirs) = theirs {
            // `Date` has whole seconds, cut off: half a second is the fairest guess of the rest.
            let skew = ours.duration_since(theirs) - SignedDuration::from_millis(500);
            let skew_ms = i64::try_from(skew.as_millis()).unwrap_or(i64::MAX);
            self.skew_ms.store(skew_ms, Ordering::Relaxed);
            self.metrics.clock_skew_seconds.set(skew.as_secs_f64());
        }
        retry_after::parse(text(RETRY_AFTER)?, theirs.unwrap_or(ours))
    }
}

/// Sorts an error of reqwest. `status` is set when a head had arrived.
fn trouble_of(key: &Key, error: reqwest::Error, status: Option<u16>) -> Trouble {
    // The URL may hold a cursor or whatever else was in the query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut broken = status.is_some();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        broken = broken || is_broken_connection(cause, &cause_text);
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if error.is_connect() {
        return Trouble::NotConnected(one_line(&key.blank(&(text.clone() + tls_advice(&text)))));
    }
    let detail = one_line(&key.blank(&text));
    let kind = if error.is_timeout() {
        NoAnswerKind::Timeout
    } else if broken {
        NoAnswerKind::Reset
    } else {
        NoAnswerKind::Unreadable
    };
    Trouble::NoAnswer(NoAnswer { kind, status, detail })
}

/// What to do about a certificate that is not accepted.
fn tls_advice(text: &str) -> &'static str {
    // The second: an authority of the same name with another key.
    if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        "; set layers.ca_file to the authority that signed the certificate"
    } else if text.contains("not valid for name") || text.contains("NotValidForName") {
        "; the certificate is for another name: use that name in layers.base_url"
    } else if text.contains("InvalidContentType") {
        "; that port does not talk TLS: check layers.base_url"
    } else {
        ""
    }
}

/// Before a head came, an answer that is not HTTP looks much like a broken connection; only words tell them apart.
/// Both mean the same for a job, so a mistake costs a label.
fn is_broken_connection(cause: &(dyn Error + 'static), text: &str) -> bool {
    let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(
        io,
        Some(
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::NotConnected
        )
    ) || text.contains("connection closed")
        || text.contains("connection error")
}

fn missing_endpoint(endpoint: Endpoint) -> Trouble {
    Trouble::Refusal(crate::job::Refusal {
        status: 404,
        code: "NOT_FOUND".to_owned(),
        message: format!("this deployment has no {}", endpoint.word()),
        request_id: None,
        details: None,
        retry_after: None,
    })
}

/// What the head says about the body, with its article.
fn body_kind(headers: &HeaderMap) -> &'static str {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/html" => "an HTML",
        "text/plain" => "a text",
        "" => "an unnamed",
        kind if kind.ends_with("json") => "a JSON",
        _ => "another",
    }
}

/// Text for a log line or a cell: one line, of bounded length.
fn one_line(text: &str) -> String {
    let blank_controls = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(MAX_DETAIL_CHARS).map(blank_controls).collect()
}

fn trouble_label(trouble: &Trouble) -> String {
    match trouble {
        Trouble::NotConnected(_) => "connect".to_owned(),
        Trouble::Refusal(refusal) => status_label(refusal.status),
        Trouble::NoAnswer(no_answer) => match (no_answer.kind, no_answer.status) {
            (NoAnswerKind::Timeout, _) => "timeout".to_owned(),
            (NoAnswerKind::Reset, _) => "reset".to_owned(),
            // An HTML 502 is best known by its status; of a 2xx, that it was not readable is what matters.
            (NoAnswerKind::Unreadable, Some(status)) if status >= 300 => status_label(status),
            (NoAnswerKind::Unreadable, _) => "unreadable".to_owned(),
        },
    }
}

/// A server may make up statuses; the label values stay a bounded set.
fn status_label(status: u16) -> String {
    if (200..600).contains(&status) { status.to_string() } else { "unreadable".to_owned() }
}
