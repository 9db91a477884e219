//! `metadata.sandbox`: one brief asks for its own fate.
//!
//! ```json
//! {"metadata": {"sandbox": {"fail": "RENDER_FAILED", "seconds": 12}}}
//! ```
//!
//! | field | effect |
//! |---|---|
//! | `fail: CODE` | every container of the job fails with this code |
//! | `failVariants: [2]` | these variants fail (with `failCode`, else `RENDER_FAILED`), the others complete |
//! | `refuse: CODE` | the POST is refused with this code |
//! | `faults: [NAME]` | these faults strike the first POST with this key, and only that |
//! | `slowSeconds: n` | how late `slow` is, API seconds |
//! | `seconds: n` | how long generation takes, API seconds |
//! | `never: true` | generation never ends |
//! | `cancelIgnored`, `unknownStatus: true` | like the faults of these names |
//! | `regenerate: {…}` | the same fields for later regenerations of these containers |

use serde::Deserialize;
use serde_json::Value;

use super::faults::Fault;

/// What a brief asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wish {
    pub(super) fail: Option<String>,
    pub(super) fail_variants: Vec<u64>,
    pub(super) fail_code: Option<String>,
    pub(super) refuse: Option<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) slow_seconds: Option<f64>,
    pub(super) seconds: Option<f64>,
    pub(super) never: bool,
    pub(super) cancel_ignored: bool,
    pub(super) unknown_status: bool,
    pub(super) regenerate: Option<Box<Wish>>,
    /// Why it cannot be read; the brief is then refused, because a test that asks in vain proves nothing.
    #[serde(skip)]
    pub(super) problem: Option<String>,
}

impl Wish {
    /// The wish in a request body; the default one when there is none.
    pub(super) fn of(body: &Value) -> Self {
        let Some(wish) = body.get("metadata").and_then(|metadata| metadata.get("sandbox")) else {
            return Self::default();
        };
        Self::deserialize(wish)
            .unwrap_or_else(|error| Self { problem: Some(error.to_string()), ..Self::default() })
    }
}
