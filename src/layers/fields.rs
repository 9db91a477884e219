//! PURE. A JSON object read field by field: what is missing, `null` or of another type is simply not there, and of a
//! repeated name the last counts. Values are kept as text until they are asked for, so a number that no double can
//! hold hurts only its own field.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::job::{ApiError, ApiStatus};

/// A JSON object, its values not looked at yet.
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// `None` for whatever is not an object.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The JSON text of a field; `None` for `null` too.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get()).filter(|text| *text != "null")
    }

    /// A field that is a `T`.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// Text that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.read::<String>(name).filter(|text| !text.is_empty())
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.raw(name)?)
    }

    pub(super) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// `status`
    pub(super) fn status(&self) -> Option<ApiStatus> {
        self.text("status").map(|word| ApiStatus::from_word(&word))
    }

    /// A number of credits, rounded down.
    pub(super) fn credits(&self, name: &str) -> Option<i64> {
        self.read::<i64>(name).or_else(|| {
            let credits = self.read::<f64>(name)?.floor();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, which is near enough for a wallet"
            )]
            let credits = credits as i64;
            Some(credits)
        })
    }

    /// The names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// `containerIds` and `containerId`, each once, in this order.
    pub(super) fn container_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let many = self.array("containerIds").unwrap_or_default();
        let many = many.into_iter().filter_map(|raw| serde_json::from_str::<String>(raw.get()).ok());
        for id in many.chain(self.text("containerId")) {
            if !id.is_empty() && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// `error` of a job, `lastError` of a container.
    pub(super) fn error(&self, name: &str) -> Option<ApiError> {
        let unknown = || "UNKNOWN".to_owned();
        if let Some(error) = self.object(name) {
            let code = error.text("code").unwrap_or_else(unknown);
            return Some(ApiError { code, message: error.text("message").unwrap_or_default() });
        }
        Some(ApiError { code: unknown(), message: self.text(name)? })
    }
}
