//! One layer of settings: a TOML text, the environment, or flags, as paths with values and the place each
//! was written at. The `config` crate puts the layers over each other; it cannot tell lines or variables, so
//! the places are made here and travel as its origins.

use std::collections::BTreeMap;
use std::fmt;

use ::config::{Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::schema::{Kind, Place, Schema};
use super::value::holds_key;

/// Variables of this prefix are settings; anything else that starts with `BRIEFD_` is not ours to judge.
const PREFIX: &str = "BRIEFD__";

/// The API's own variable; `BRIEFD__LAYERS__API_KEY` wins over it.
const API_KEY_VARIABLE: &str = "LAYERS_API_KEY";

/// One value where somebody wrote it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) path: Vec<String>,
    /// `briefd.toml:7`, `BRIEFD__LOG__LEVEL`, `--ledger`.
    pub(super) place: String,
    pub(super) kind: ValueKind,
}

/// The values of one source of settings.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) entries: Vec<Entry>,
}

/// Without values: they may be secret.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.path)).finish()
    }
}

impl Layer {
    /// Reads TOML. `name` is the file as people know it; `None`: the built-in defaults, which have no lines.
    pub(super) fn from_toml(text: &str, name: Option<&str>) -> Result<Self, ConfigError> {
        let place = |offset: usize| match name {
            Some(name) => format!("{name}:{}", line(text, offset)),
            None => super::schema::BUILT_IN.to_owned(),
        };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let column =
                text[..text.floor_char_boundary(offset)].chars().rev().take_while(|c| *c != '\n').count();
            // Its `Display` prints the line, which may hold a secret.
            ConfigError::Syntax {
                place: format!("{}:{}", place(offset), column + 1),
                problem: error.message().to_owned(),
            }
        })?;
        let mut found = Vec::new();
        walk(table.get_ref(), &mut Vec::new(), &mut found);
        found.sort_by_key(|(offset, ..)| *offset);
        let entries = found
            .into_iter()
            .map(|(offset, path, kind)| Entry { path, place: place(offset), kind })
            .collect();
        Ok(Self { entries })
    }

    /// `LAYERS_API_KEY`, a layer of its own below the other variables.
    pub(super) fn from_api_key_variable(env: &BTreeMap<String, String>) -> Self {
        let entries = env.get(API_KEY_VARIABLE).map(|key| Entry {
            path: vec!["layers".to_owned(), "api_key".to_owned()],
            place: API_KEY_VARIABLE.to_owned(),
            kind: ValueKind::String(key.clone()),
        });
        Self { entries: entries.into_iter().collect() }
    }

    /// `BRIEFD__SECTION__KEY`.
    pub(super) fn from_env(env: &BTreeMap<String, String>, schema: &Schema) -> Self {
        let entries = env.iter().filter_map(|(variable, text)| {
            let path = variable.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
            let place = if holds_key(variable) { format!("{PREFIX}(not shown)") } else { variable.clone() };
            Some(Entry::from_text(path, place, text, schema))
        });
        Self { entries: entries.collect() }
    }

    /// Flags of the command line, by key.
    pub(super) fn from_flags(flags: &[(String, String)], schema: &Schema) -> Self {
        let entries = flags.iter().map(|(key, text)| {
            let place = match key.as_str() {
                "ledger.url" => "--ledger".to_owned(),
                "log.format" => "--log-format".to_owned(),
                other => format!("command line ({other})"),
            };
            Entry::from_text(key.split('.').map(str::to_owned).collect(), place, text, schema)
        });
        Self { entries: entries.collect() }
    }

    /// Takes out what is no key, and says so.
    pub(super) fn take_misplaced(&mut self, schema: &Schema) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        self.entries.retain(|entry| {
            let problem = entry.misplaced(schema);
            let is_section_header = schema.place(&entry.path) == Place::Section;
            let keep = problem.is_none() && !is_section_header;
            problems.extend(problem);
            keep
        });
        problems
    }
}

impl Entry {
    /// Text from outside a TOML file, as the kind of value its key has; what cannot be read stays text and is
    /// refused when its key is checked.
    fn from_text(path: Vec<String>, place: String, text: &str, schema: &Schema) -> Self {
        let kind = match schema.place(&path) {
            Place::Key(Kind::Integer) => text.trim().parse().ok().map(ValueKind::I64),
            Place::Key(Kind::Float) => text.trim().parse().ok().map(ValueKind::Float),
            Place::Key(Kind::Flag) => text.trim().parse().ok().map(ValueKind::Boolean),
            Place::Key(Kind::List) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(ValueKind::Array(items.map(|item| Value::new(None, item)).collect()))
            }
            Place::Key(Kind::Text) | Place::Section | Place::Nowhere => None,
        };
        Self { path, place, kind: kind.unwrap_or_else(|| ValueKind::String(text.to_owned())) }
    }

    fn misplaced(&self, schema: &Schema) -> Option<ConfigError> {
        let is_table = matches!(self.kind, ValueKind::Table(_));
        let (place, key) = (self.place.clone(), dotted(&self.path));
        match schema.place(&self.path) {
            Place::Key(_) if is_table => {
                Some(ConfigError::Shape { place, key, problem: "is a setting, not a section".to_owned() })
            }
            Place::Section if !is_table => {
                let problem = "is a section, not a setting: set the keys in it".to_owned();
                Some(ConfigError::Shape { place, key, problem })
            }
            Place::Key(_) | Place::Section => None,
            Place::Nowhere => Some(ConfigError::UnknownKey { place, key, hint: schema.hint(&self.path) }),
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        let mut root = Map::new();
        for entry in &self.entries {
            insert(&mut root, &entry.path, Value::new(Some(&entry.place), entry.kind.clone()));
        }
        Ok(root)
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [leaf] => {
            table.insert(leaf.clone(), value);
        }
        [section, rest @ ..] => {
            let child = table.entry(section.clone()).or_insert_with(|| Map::<String, Value>::new().into());
            if let ValueKind::Table(child) = &mut child.kind {
                insert(child, rest, value);
            }
        }
    }
}

/// Every value with its path and where its key stands; an empty table counts as a value. The parser bounds the depth.
fn walk(table: &DeTable<'_>, path: &mut Vec<String>, found: &mut Vec<(usize, Vec<String>, ValueKind)>) {
    for (key, value) in table {
        path.push(key.get_ref().clone().into_owned());
        match value.get_ref().as_table() {
            Some(table) if !table.is_empty() => walk(table, path, found),
            Some(_) | None => found.push((key.span().start, path.clone(), kind(value.get_ref()))),
        }
        path.pop();
    }
}

fn kind(value: &DeValue<'_>) -> ValueKind {
    match value {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ValueKind::I64(number),
            Err(_) => ValueKind::String(number.to_string()), // beyond 64 bits: fits no key, and is refused as text
        },
        DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(_) => ValueKind::Nil, // fits no key
        DeValue::Array(items) => {
            ValueKind::Array(items.iter().map(|item| Value::new(None, kind(item.get_ref()))).collect())
        }
        DeValue::Table(table) => {
            let entries = table.iter();
            ValueKind::Table(
                entries
                    .map(|(key, value)| {
                        (key.get_ref().clone().into_owned(), Value::new(None, kind(value.get_ref())))
                    })
                    .collect(),
            )
        }
    }
}

/// The line of a byte offset, from 1.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// A path as TOML writes it: `projects."acme.fit"`.
pub(super) fn dotted(path: &[String]) -> String {
    let parts = path.iter().map(|part| {
        let is_bare =
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        match (holds_key(part), is_bare) {
            // An API key that was written as a name is one all the same.
            (true, _) => "(not shown)".to_owned(),
            (false, true) => part.clone(),
            (false, false) => format!("{part:?}"),
        }
    });
    parts.collect::<Vec<_>>().join(".")
}
