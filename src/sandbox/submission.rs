//! The body of `POST …/content` and of `…/regenerate`: what it must be, and what is kept of it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::errors::Refusal;

/// What a container can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Auto,
    VideoRemix,
    SlideshowRemix,
    UgcRemix,
}

impl Format {
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::VideoRemix, Self::SlideshowRemix, Self::UgcRemix];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::VideoRemix => "video_remix",
            Self::SlideshowRemix => "slideshow_remix",
            Self::UgcRemix => "ugc_remix",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Credits for one container.
    pub(super) fn price(self) -> u64 {
        match self {
            Self::Auto | Self::VideoRemix | Self::UgcRemix => 120,
            Self::SlideshowRemix => 50,
        }
    }
}

const PLATFORMS: [&str; 3] = ["instagram", "tiktok", "youtube"];

/// What is kept of a brief: its text as it came, and what captions and assets are made from.
#[derive(Debug)]
pub(super) struct Creative {
    pub(super) brief: Box<RawValue>,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) topic: Box<str>,
    pub(super) influencer: Option<Box<str>>,
    pub(super) platforms: Vec<&'static str>,
}

impl Creative {
    fn new(body: &Map<String, Value>, brief: Box<RawValue>, metadata: Option<Box<RawValue>>) -> Self {
        let fields: Value = serde_json::from_str(brief.get()).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let platforms = body.get("targetPlatforms").or_else(|| fields.get("targetPlatforms"));
        let named = |name: &&str| {
            platforms.and_then(Value::as_array).is_some_and(|list| list.iter().any(|it| it == name))
        };
        let platforms: Vec<_> = PLATFORMS.into_iter().filter(named).collect();
        Self {
            topic: text("topic")
                .or_else(|| text("hook"))
                .unwrap_or("Something new")
                .chars()
                .take(80)
                .collect::<String>()
                .into(),
            influencer: text("influencerId").map(Into::into),
            platforms: if platforms.is_empty() { PLATFORMS.to_vec() } else { platforms },
            brief,
            metadata,
        }
    }

    /// Whether another brief says the same.
    pub(super) fn has_brief(&self, other: Option<&Value>) -> bool {
        serde_json::from_str::<Value>(self.brief.get()).is_ok_and(|own| Some(&own) == other)
    }

    /// What a regeneration with this body makes: `brief` or `patch.brief`, laid over the brief that was.
    pub(super) fn patched(&self, body: &Value) -> Option<Self> {
        let patch = body
            .get("patch")
            .and_then(|patch| patch.get("brief"))
            .or_else(|| body.get("brief"))?
            .as_object()?;
        let mut brief: Map<String, Value> = serde_json::from_str(self.brief.get()).ok()?;
        brief.extend(patch.clone());
        let brief = serde_json::value::to_raw_value(&brief).ok()?;
        let own = Map::from_iter([("targetPlatforms".to_owned(), Value::from(self.platforms.clone()))]);
        Some(Self::new(&own, brief, self.metadata.clone()))
    }
}

/// A valid request for containers.
#[derive(Debug)]
pub(super) struct Submission {
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
    pub(super) fn read(bytes: &[u8], value: &Value) -> Result<Self, Refusal> {
        let Value::Object(body) = value else {
            return Err(Refusal::invalid("body", "must be a JSON object"));
        };
        let id = text(body, "id")?;
        if id.as_ref().is_some_and(|id| uuid::Uuid::try_parse(id).is_err()) {
            return Err(Refusal::invalid("id", "must be a UUID"));
        }
        let format = match text(body, "format")? {
            None => Format::Auto,
            Some(name) => Format::named(&name).ok_or_else(|| {
                Refusal::invalid("format", "must be auto, video_remix, slideshow_remix or ugc_remix")
            })?,
        };
        let variants = number(body, "variantCount")?.unwrap_or(1);
        if !(1..=5).contains(&variants) {
            return Err(Refusal::invalid("variantCount", "must be between 1 and 5"));
        }
        check_brief(body.get("brief"))?;
        check_rest(body)?;
        let kept: Kept =
            serde_json::from_slice(bytes).map_err(|error| Refusal::invalid("body", &error.to_string()))?;
        let brief = kept.brief.ok_or_else(|| Refusal::invalid("brief", "is required"))?;
        Ok(Self {
            id,
            names_layer: body.get("projectLayerId").is_some_and(Value::is_string),
            format,
            variants,
            max_credits: match body.get("budget") {
                Some(Value::Object(budget)) => number(budget, "maxCredits")?,
                Some(_) | None => None,
            },
            creative: Arc::new(Creative::new(body, brief, kept.metadata)),
        })
    }
}

fn check_brief(brief: Option<&Value>) -> Result<(), Refusal> {
    let Some(Value::Object(brief)) = brief else {
        return Err(Refusal::invalid("brief", "is required and must be an object"));
    };
    for name in ["topic", "angle", "cta", "hook", "influencerId", "language"] {
        if brief.get(name).is_some_and(|value| !value.is_string() && !value.is_null()) {
            return Err(Refusal::invalid(&format!("brief.{name}"), "must be a string"));
        }
    }
    for (name, most) in
        [("valuePropositions", 20), ("themeTags", usize::MAX), ("referenceMediaIds", usize::MAX)]
    {
        check_list(brief, "brief.", name, most)?;
    }
    check_platforms(brief, "brief.targetPlatforms")
}

fn check_rest(body: &Map<String, Value>) -> Result<(), Refusal> {
    text(body, "projectLayerId")?;
    for name in ["references", "budget", "metadata"] {
        if body.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(Refusal::invalid(name, "must be an object"));
        }
    }
    if let Some(Value::Object(references)) = body.get("references") {
        check_list(references, "references.", "sourcePostIds", 20)?;
        check_list(references, "references.", "assetIds", 20)?;
    }
    check_platforms(body, "targetPlatforms")
}

fn check_list(object: &Map<String, Value>, prefix: &str, name: &str, most: usize) -> Result<(), Refusal> {
    let path = format!("{prefix}{name}");
    match object.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(items)) if items.len() > most => {
            Err(Refusal::invalid(&path, &format!("must have at most {most} entries")))
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(Refusal::invalid(&path, "must be a list of strings")),
    }
}

fn check_platforms(object: &Map<String, Value>, path: &str) -> Result<(), Refusal> {
    let known = |item: &Value| item.as_str().is_some_and(|name| PLATFORMS.contains(&name));
    match object.get("targetPlatforms") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(items)) if items.iter().all(known) => Ok(()),
        Some(_) => Err(Refusal::invalid(path, "must be a list of instagram, tiktok, youtube")),
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::invalid(name, "must be a string")),
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| Refusal::invalid(name, "must be a whole number, 0 or more")),
    }
}
