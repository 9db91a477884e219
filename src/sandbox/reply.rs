//! An answer before it becomes bytes: what it says, how late it is, and whether it arrives at all.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::errors::Refusal;
use super::faults::Fault;
use super::options::Revision;
use super::strike::Strike;
use super::wire::Cut;

/// What a request gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) retry_after: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) html: bool,
    /// How late it comes, API milliseconds.
    pub(super) delay_ms: i64,
    /// The connection ends instead.
    pub(super) cut: Option<Cut>,
}

/// What every answer carries besides.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub(super) class: &'static str,
    pub(super) date: String,
    pub(super) request_id: String,
}

const GATEWAY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

impl Reply {
    pub(super) fn json(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(super) fn refused(refusal: &Refusal, revision: Revision, request_id: &str) -> Self {
        let reply = Self::json(refusal.status, refusal.body(revision, request_id));
        Self { retry_after: refusal.retry_after.clone(), ..reply }
    }

    /// What is left of an answer that a fault strikes.
    pub(super) fn struck(mut self, strike: Strike, slow_ms: i64, request_id: &str) -> Self {
        if strike.slow.is_some() {
            self.delay_ms = self.delay_ms.saturating_add(slow_ms);
        }
        let delay_ms = self.delay_ms;
        let struck = match strike.answer {
            Some(Fault::AcceptedUnanswered) => Self { cut: Some(Cut::Close), ..self },
            Some(Fault::AcceptedReset | Fault::ReadReset) => Self { cut: Some(Cut::Reset), ..self },
            Some(Fault::Accepted500 | Fault::ReadError500) => {
                Self::refused(&internal_error(), Revision::A, request_id)
            }
            Some(Fault::Error502Html | Fault::ReadError502Html) => {
                Self { html: true, ..Self::json(502, GATEWAY_PAGE) }
            }
            Some(Fault::CutJson | Fault::ReadCutJson) => {
                let half = self.body.floor_char_boundary(self.body.len() / 2);
                self.body.truncate(half);
                self
            }
            // None of the others strikes an answer.
            Some(
                Fault::Slow
                | Fault::ReadSlow
                | Fault::ResetBefore
                | Fault::Error500
                | Fault::UnknownCode
                | Fault::UnknownCode403
                | Fault::UnknownCode500
                | Fault::KillSwitch
                | Fault::OddRetryAfter
                | Fault::OddRetryAfterDate
                | Fault::OddRetryAfterAbsent
                | Fault::OddRetryAfterZero
                | Fault::OddRetryAfterHuge
                | Fault::OddRetryAfterNegative
                | Fault::OddRetryAfterNonsense
                | Fault::ReadOddRetryAfter
                | Fault::UnknownStatus
                | Fault::CancelIgnored,
            )
            | None => self,
        };
        Self { delay_ms, ..struck }
    }

    /// The bytes.
    pub(super) fn into_response(self, stamp: &Stamp) -> Response<Body> {
        if self.cut.is_some() {
            // Where the connection could not be marked (a router served by somebody else), the body breaks off.
            let broken = futures::stream::once(async {
                Err::<String, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
            });
            return Response::new(Body::from_stream(broken));
        }
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = if self.html { "text/html" } else { "application/json" };
        let headers = [
            ("content-type", (self.status != 304).then(|| content_type.to_owned())),
            ("date", Some(stamp.date.clone())),
            ("x-request-id", Some(stamp.request_id.clone())),
            ("x-ratelimit-endpoint-class", Some(stamp.class.to_owned())),
            ("retry-after", self.retry_after),
            ("etag", self.etag),
        ];
        for (name, value) in headers {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(header::HeaderName::from_static(name), value);
            }
        }
        response
    }
}

pub(super) fn internal_error() -> Refusal {
    Refusal::new(500, "INTERNAL", "Something went wrong.")
}
