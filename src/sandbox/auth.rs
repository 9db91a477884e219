//! Who calls: the key in `X-Api-Key`, else in `Authorization: Bearer`.

use axum::http::HeaderMap;

use super::choices::Revision;

/// The key a request carries.
pub(super) fn presented_key(headers: &HeaderMap, revision: Revision) -> Option<&str> {
    if let (Revision::A, Some(key)) = (revision, headers.get("x-api-key")) {
        return key.to_str().ok().map(str::trim);
    }
    let value = headers.get("authorization")?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// What may be shown of a key: everything but its secret part.
pub(super) fn key_id(key: &str) -> String {
    key.rsplit_once('_').map_or("", |(public, _)| public).replace("lp_", "key_")
}
