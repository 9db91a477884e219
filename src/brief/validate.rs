//! Judges a message by the published schema and lists everything that is wrong with it.

use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Map, Value};

use super::excerpt::{bounded, excerpt};
use super::message::schema;
use super::violation_text::problem;
use super::{VIOLATIONS_MAX, Violation};
use crate::config::work::Validation;

static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
static STRICT: LazyLock<Validator> = LazyLock::new(|| compiled(&SCHEMA));
static LENIENT: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = SCHEMA.clone();
    allow_unknown(&mut schema);
    compiled(&schema)
});

/// Everything the schema finds wrong with a message, in no order and without a bound.
pub(super) fn violations(message: &Value, validation: Validation) -> Vec<Violation> {
    let validator = match validation {
        Validation::Strict => &STRICT,
        Validation::Lenient => &LENIENT,
    };
    let mut violations = Vec::new();
    for error in validator.iter_errors(message) {
        let place = error.instance_path();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "jsonschema's enum; whatever is not below is about one value"
        )]
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => violations.extend(
                unexpected
                    .iter()
                    .map(|name| violation(&child(&dotted(place), name), &unknown_field(place, name))),
            ),
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                violations.push(violation(&child(&dotted(place), name), "is missing"));
            }
            _ => violations.push(violation(&dotted(place), &problem(&error))),
        }
    }
    violations
}

/// Sorts what was found by path and keeps the first fifty.
pub(super) fn sorted(mut violations: Vec<Violation>) -> Vec<Violation> {
    violations.sort();
    violations.dedup();
    violations.truncate(VIOLATIONS_MAX);
    violations
}

/// One violation, its texts bounded and printable.
pub(super) fn violation(path: &str, problem: &str) -> Violation {
    Violation { path: bounded(path), problem: bounded(problem) }
}

#[expect(clippy::expect_used, reason = "our own schema; a test compiles it")]
fn compiled(schema: &Value) -> Validator {
    jsonschema::validator_for(schema).expect("the published schema compiles")
}

/// Turns the strict schema into the lenient one: unknown fields and enum values go through to the API.
fn allow_unknown(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.get("additionalProperties") == Some(&Value::Bool(false)) {
            object.shift_remove("additionalProperties");
        }
        object.shift_remove("enum");
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.values_mut().for_each(allow_unknown);
        }
        if let Some(items) = object.get_mut("items") {
            allow_unknown(items);
        }
    }
}

/// `/brief/valuePropositions/3` as people write it: `brief.valuePropositions[3]`.
fn dotted(place: &Location) -> String {
    place.segments().fold(String::new(), |path, segment| match segment {
        LocationSegment::Property(name) => child(&path, &name),
        LocationSegment::Index(index) => format!("{path}[{index}]"),
    })
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Names the field that was probably meant: the same name elsewhere, else a similar one beside it.
fn unknown_field(place: &Location, name: &str) -> String {
    match elsewhere(name).or_else(|| similar(place, name)) {
        Some(meant) => format!("unknown field; did you mean `{meant}`?"),
        None => format!("unknown field {}", excerpt(name)),
    }
}

/// `hook` at the top belongs in `brief.hook`; `variantCount` in `brief` belongs at the top.
fn elsewhere(name: &str) -> Option<String> {
    let top = properties(&SCHEMA)?;
    if top.contains_key(name) {
        return Some(name.to_owned());
    }
    let (parent, _) =
        top.iter().find(|(_, inner)| properties(inner).is_some_and(|fields| fields.contains_key(name)))?;
    Some(format!("{parent}.{name}"))
}

fn similar(place: &Location, name: &str) -> Option<String> {
    /// Below this, a suggestion confuses more than it helps.
    const SIMILARITY_MIN: f64 = 0.8;
    /// No field of ours is near this long, and comparing takes time.
    const NAME_BYTES_MAX: usize = 60;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let beside = place.segments().try_fold(&*SCHEMA, |schema, segment| match segment {
        LocationSegment::Property(name) => properties(schema)?.get(name.as_ref()),
        LocationSegment::Index(_) => schema.get("items"),
    })?;
    let squeezed = |name: &str| name.replace(['_', '-', ' '], "").to_lowercase();
    properties(beside)?
        .keys()
        .map(|known| (strsim::jaro_winkler(&squeezed(known), &squeezed(name)), known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.clone())
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}
