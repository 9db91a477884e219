//! `metadata.sandbox`: one brief asks for its own fate. The fields are described in `reference.md`.

use serde::Deserialize;
use serde_json::Value;

use super::faults::{Fault, Moment};

/// What a brief asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wish {
    pub(super) fail: Option<String>,
    pub(super) fail_variants: Vec<u64>,
    pub(super) fail_code: Option<String>,
    pub(super) refuse: Option<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) fault_posts: Option<u64>,
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
        let wish = Self::deserialize(wish).map_err(|error| error.to_string()).and_then(Self::checked);
        wish.unwrap_or_else(|problem| Self { problem: Some(problem), ..Self::default() })
    }

    /// A read is no brief's: it can only ask for its faults itself.
    fn checked(self) -> Result<Self, String> {
        match self.faults.iter().find(|fault| fault.moment() == Moment::Read) {
            Some(fault) => Err(format!("{} strikes reads only", fault.name())),
            None => self.regenerate.clone().map_or(Ok(()), |later| later.checked().map(drop)).map(|()| self),
        }
    }
}
