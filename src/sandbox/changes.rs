//! The body of `POST …/regenerate`: what shall become different.

use serde_json::{Map, Value};

use super::errors::Refusal;
use super::fields::Fields;

/// A valid request to make a container anew.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Laid over the brief that was.
    pub(super) brief: Option<Map<String, Value>>,
    /// In place of the platforms that were.
    pub(super) platforms: Option<Value>,
    /// The media stay; only the words are made anew.
    pub(super) keeps_assets: bool,
}

impl Changes {
    /// Checks a body. `patch` and `brief` are two ways to say the same, so only one of them may be there.
    pub(super) fn read(value: &Value) -> Result<Self, Refusal> {
        let body = Fields::of_body(value)?;
        let patch = body.object("patch", "patch.")?;
        let brief = body.brief("brief.")?;
        if patch.is_some() && brief.is_some() {
            return Err(body.invalid("brief", "cannot be given together with patch"));
        }
        body.references()?;
        let keeps_assets = body.flag("preserveAssets")?;
        let (brief, platforms) = match patch {
            None => (brief, None),
            Some(patch) => {
                patch.platforms()?;
                (patch.brief("patch.brief.")?, patch.get("targetPlatforms").cloned())
            }
        };
        Ok(Self { brief: brief.map(Fields::map).cloned(), platforms, keeps_assets })
    }
}
