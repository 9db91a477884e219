//! The fields that several bodies share, and what they must be. `null` is taken as absent.

use serde_json::{Map, Value};

use super::errors::Refusal;
use super::format::Format;

pub(super) const PLATFORMS: [&str; 3] = ["instagram", "tiktok", "youtube"];

/// What a value under a path in the body must be.
type Checked<T> = Result<T, Refusal>;

/// A body, or the object in it that `path` leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The body itself.
    pub(super) fn of_body(body: &'a Value) -> Checked<Self> {
        let object = body.as_object().ok_or_else(|| Refusal::invalid("body", "must be a JSON object"))?;
        Ok(Self { object, path: "" })
    }

    /// The object of that name; `path` is its full path with a dot at the end.
    pub(super) fn object(self, name: &str, path: &'a str) -> Checked<Option<Self>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self { object, path })),
            Some(_) => Err(self.invalid(name, "must be an object")),
        }
    }

    /// A value that is there.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn map(self) -> &'a Map<String, Value> {
        self.object
    }

    pub(super) fn text(self, name: &str) -> Checked<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "must be a string")),
        }
    }

    /// A text that must be there.
    pub(super) fn required(self, name: &str) -> Checked<&'a str> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.invalid(name, "is required and must not be empty"))
    }

    pub(super) fn flag(self, name: &str) -> Checked<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.invalid(name, "must be true or false")),
        }
    }

    pub(super) fn number(self, name: &str) -> Checked<Option<u64>> {
        let number = |value: &Value| {
            value.as_u64().ok_or_else(|| self.invalid(name, "must be a whole number, 0 or more"))
        };
        self.get(name).map(number).transpose()
    }

    /// How many containers are wanted; 1 if it does not say.
    pub(super) fn count(self, name: &str, most: u64) -> Checked<u64> {
        let count = self.number(name)?.unwrap_or(1);
        if (1..=most).contains(&count) {
            Ok(count)
        } else {
            Err(self.invalid(name, &format!("must be between 1 and {most}")))
        }
    }

    pub(super) fn format(self) -> Checked<Format> {
        match self.text("format")? {
            None => Ok(Format::Auto),
            Some(name) => Format::named(name).ok_or_else(|| {
                self.invalid("format", "must be auto, video_remix, slideshow_remix or ugc_remix")
            }),
        }
    }

    pub(super) fn texts(self, name: &str, most: usize) -> Checked<()> {
        match self.get(name) {
            None => Ok(()),
            Some(Value::Array(items)) if items.len() > most => {
                Err(self.invalid(name, &format!("must have at most {most} entries")))
            }
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
            Some(_) => Err(self.invalid(name, "must be a list of strings")),
        }
    }

    /// `targetPlatforms`
    pub(super) fn platforms(self) -> Checked<()> {
        let known = |item: &Value| item.as_str().is_some_and(|name| PLATFORMS.contains(&name));
        match self.get("targetPlatforms") {
            None => Ok(()),
            Some(Value::Array(items)) if items.iter().all(known) => Ok(()),
            Some(_) => Err(self.invalid("targetPlatforms", "must be a list of instagram, tiktok, youtube")),
        }
    }

    /// `references {sourcePostIds[≤20], assetIds[≤20]}`
    pub(super) fn references(self) -> Checked<()> {
        let Some(references) = self.object("references", "references.")? else { return Ok(()) };
        references.texts("sourcePostIds", 20)?;
        references.texts("assetIds", 20)
    }

    /// The fields of a brief, if it is there.
    pub(super) fn brief(self, path: &'a str) -> Checked<Option<Self>> {
        let Some(brief) = self.object("brief", path)? else { return Ok(None) };
        for name in ["topic", "angle", "cta", "hook", "influencerId"] {
            brief.text(name)?;
        }
        if brief.text("language")?.is_some_and(|tag| !is_language_tag(tag)) {
            return Err(brief.invalid("language", "must be a BCP 47 tag such as en or pt-BR"));
        }
        for (name, most) in
            [("valuePropositions", 20), ("themeTags", usize::MAX), ("referenceMediaIds", usize::MAX)]
        {
            brief.texts(name, most)?;
        }
        brief.platforms()?;
        Ok(Some(brief))
    }

    pub(super) fn invalid(self, name: &str, problem: &str) -> Refusal {
        Refusal::invalid(&format!("{}{name}", self.path), problem)
    }
}

/// Whether it has the form of a BCP 47 tag: a language of letters, then subtags.
fn is_language_tag(tag: &str) -> bool {
    let is_subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or("");
    is_subtag(language) && language.bytes().all(|byte| byte.is_ascii_alphabetic()) && parts.all(is_subtag)
}
