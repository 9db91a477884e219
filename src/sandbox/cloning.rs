//! The body of `POST …/clone-from-post`: containers made after a published post.

use std::sync::Arc;

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::creative::{Creative, Source};
use super::errors::Refusal;
use super::fields::Fields;
use super::state::Kind;
use super::submission::{Submission, is_container_id};

/// The most containers of one clone.
const VARIATIONS_MAX: u64 = 10;

/// Checks a body; `id` is what the first container shall be called. Posts are not looked up: every one is known.
pub(super) fn read_clone(id: &str, value: &Value) -> Result<Submission, Refusal> {
    if !is_container_id(id) {
        return Err(Refusal::invalid("newId", "must be a UUID"));
    }
    let body = Fields::of_body(value)?;
    let project = body.required("projectId")?;
    let source = source(body)?;
    let variants = body.count("variations", VARIATIONS_MAX)?;
    let overrides = body.object("overrides", "overrides.")?;
    let format = overrides.map_or(Ok(super::format::Format::Auto), Fields::format)?;
    let mut brief = Map::from_iter([("topic".to_owned(), json!(source.topic()))]);
    if let Some(overrides) = overrides {
        overrides.platforms()?;
        brief.extend(overrides.brief("overrides.brief.")?.map(Fields::map).cloned().unwrap_or_default());
    }
    body.object("metadata", "metadata.")?;
    let unwritable = |error: serde_json::Error| Refusal::invalid("body", &error.to_string());
    let metadata = body.get("metadata").map(to_raw_value).transpose().map_err(unwritable)?;
    let empty = Map::new();
    let creative = Creative::new(
        overrides.map_or(&empty, Fields::map),
        to_raw_value(&brief).map_err(unwritable)?,
        metadata,
    );
    Ok(Submission {
        kind: Kind::Clone,
        project: project.to_owned(),
        id: Some(id.to_owned()),
        // A post belongs to a layer, so its clone does.
        names_layer: true,
        format,
        variants,
        max_credits: None,
        creative: Arc::new(Creative { source: Some(source), ..creative }),
    })
}

fn source(body: Fields<'_>) -> Result<Source, Refusal> {
    let post = body.required("sourcePlatformPostId")?.into();
    let is_fork = match body.text("mode")? {
        None | Some("fork") => true,
        Some("reimagine") => false,
        Some(_) => return Err(body.invalid("mode", "must be fork or reimagine")),
    };
    Ok(Source { post, is_fork })
}
