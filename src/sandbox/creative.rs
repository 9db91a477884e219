//! What is kept of a brief, and what becomes of it.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::changes::Changes;
use super::fields::PLATFORMS;

/// What is kept of a brief: its text as it came, and what captions and assets are made from.
#[derive(Debug)]
pub(super) struct Creative {
    pub(super) brief: Box<RawValue>,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) topic: Box<str>,
    pub(super) influencer: Option<Box<str>>,
    pub(super) platforms: Vec<&'static str>,
    /// The post that it was made after, if it was.
    pub(super) source: Option<Source>,
}

/// A published post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) post: Box<str>,
    /// As it is; else its idea only.
    pub(super) is_fork: bool,
}

impl Source {
    /// What a brief says that nobody wrote.
    pub(super) fn topic(&self) -> String {
        let how = if self.is_fork { "Fork of post" } else { "Reimagined from post" };
        format!("{how} {}", self.post)
    }
}

impl Creative {
    pub(super) fn new(
        body: &Map<String, Value>,
        brief: Box<RawValue>,
        metadata: Option<Box<RawValue>>,
    ) -> Self {
        let fields: Value = serde_json::from_str(brief.get()).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let own = body.get("targetPlatforms").filter(|own| !own.is_null());
        let platforms = own.or_else(|| fields.get("targetPlatforms"));
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
            source: None,
        }
    }

    /// Whether another one says the same.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let brief = |creative: &Self| serde_json::from_str::<Value>(creative.brief.get()).ok();
        self.source == other.source && brief(self) == brief(other)
    }

    /// What a regeneration makes of it.
    pub(super) fn changed(&self, changes: &Changes) -> Option<Self> {
        if changes.brief.is_none() && changes.platforms.is_none() {
            return None;
        }
        let mut brief: Map<String, Value> = serde_json::from_str(self.brief.get()).ok()?;
        brief.extend(changes.brief.clone().unwrap_or_default());
        let brief = to_raw_value(&brief).ok()?;
        let told = changes.brief.as_ref().and_then(|brief| brief.get("targetPlatforms"));
        let platforms = changes.platforms.as_ref().or(told).cloned();
        let platforms = platforms.unwrap_or_else(|| Value::from(self.platforms.clone()));
        let own = Map::from_iter([("targetPlatforms".to_owned(), platforms)]);
        Some(Self { source: self.source.clone(), ..Self::new(&own, brief, self.metadata.clone()) })
    }
}
