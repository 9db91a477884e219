//! `GET /openapi.json`: the documented API, as what is served here by default. Needs no key.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// In the form of `OpenAPI` 3.1. A test compares its paths with the routes, others its words with the lists in the code.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// Serves the document.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
