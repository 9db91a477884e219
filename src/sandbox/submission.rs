//! The body of `POST …/content`: what it must be, and what is kept of it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::creative::Creative;
use super::errors::Refusal;
use super::fields::Fields;
use super::format::Format;
use super::state::Kind;

/// A valid request for new containers.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) kind: Kind,
    pub(super) project: String,
    /// The id that the caller chose for the first container.
    pub(super) id: Option<String>,
    pub(super) names_layer: bool,
    pub(super) format: Format,
    pub(super) variants: u64,
    pub(super) max_credits: Option<u64>,
    pub(super) creative: Arc<Creative>,
}

/// The parts that are kept as text.
#[derive(Deserialize)]
struct Kept {
    brief: Option<Box<RawValue>>,
    metadata: Option<Box<RawValue>>,
}

impl Submission {
    /// Checks a body; `value` is the same body, read already.
    pub(super) fn read(project: &str, bytes: &[u8], value: &Value) -> Result<Self, Refusal> {
        let body = Fields::of_body(value)?;
        let id = body.text("id")?;
        if id.is_some_and(|id| !is_container_id(id)) {
            return Err(body.invalid("id", "must be a UUID"));
        }
        let format = body.format()?;
        let variants = body.count("variantCount", 5)?;
        let missing = || body.invalid("brief", "is required and must be an object");
        body.brief("brief.")?.ok_or_else(missing)?;
        let names_layer = body.text("projectLayerId")?.is_some();
        let budget = body.object("budget", "budget.")?;
        body.object("metadata", "metadata.")?;
        body.references()?;
        body.platforms()?;
        let kept: Kept =
            serde_json::from_slice(bytes).map_err(|error| Refusal::invalid("body", &error.to_string()))?;
        Ok(Self {
            kind: Kind::Generate,
            project: project.to_owned(),
            id: id.map(str::to_owned),
            names_layer,
            format,
            variants,
            max_credits: budget.map_or(Ok(None), |budget| budget.number("maxCredits"))?,
            creative: Arc::new(Creative::new(body.map(), kept.brief.ok_or_else(missing)?, kept.metadata)),
        })
    }
}

/// Whether a caller may give this id to a container.
pub(super) fn is_container_id(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok()
}
