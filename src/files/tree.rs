//! A JSON object that is put together from dotted paths, in the order in which they come.

use serde_json::Value;

/// An object, or the JSON text of anything else.
#[derive(Debug)]
pub(super) enum Tree {
    Object(Vec<(String, Self)>),
    Raw(String),
}

impl Tree {
    /// An empty object.
    pub(super) const fn new() -> Self {
        Self::Object(Vec::new())
    }

    /// Puts a JSON text at a path. Paths neither repeat nor run through another value; what would is ignored.
    pub(super) fn put(&mut self, path: &[String], raw: String) {
        let (Self::Object(fields), [name, rest @ ..]) = (self, path) else { return };
        if rest.is_empty() {
            return fields.push((name.clone(), Self::Raw(raw)));
        }
        if let Some((_, inner)) = fields.iter_mut().find(|(field, _)| field == name) {
            return inner.put(rest, raw);
        }
        let mut inner = Self::new();
        inner.put(rest, raw);
        fields.push((name.clone(), inner));
    }

    /// The JSON text.
    pub(super) fn to_json(&self) -> String {
        match self {
            Self::Raw(raw) => raw.clone(),
            Self::Object(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, inner)| format!("{}:{}", Value::from(name.as_str()), inner.to_json()))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }
}
