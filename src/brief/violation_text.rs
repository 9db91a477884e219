//! What is wrong with one value, in words a marketer understands.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::excerpt::excerpt_of;

/// The problem of one schema error that is about a value (not about a missing or an unknown field).
pub(super) fn problem(error: &ValidationError<'_>) -> String {
    let found = error.instance();
    let shown = excerpt_of(found);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "jsonschema's enum; the published schema uses only these keywords"
    )]
    match error.kind() {
        ValidationErrorKind::Type { kind } => format!("{shown} is not {}", expected(kind)),
        ValidationErrorKind::Enum { options } => format!("{shown} is not one of {}", listed(options)),
        ValidationErrorKind::Maximum { limit } => format!("{shown} is more than the maximum of {limit}"),
        ValidationErrorKind::Minimum { limit } => format!("{shown} is less than the minimum of {limit}"),
        ValidationErrorKind::MaxItems { limit } => {
            format!("{} entries; at most {limit} are allowed", found.as_array().map_or(0, Vec::len))
        }
        ValidationErrorKind::MinLength { limit: 1 } => "is empty".to_owned(),
        ValidationErrorKind::MinLength { limit } => format!("{shown} is shorter than {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("{shown} is longer than {limit} characters"),
        _ => error.masked_with(shown.as_str()).to_string(),
    }
}

fn expected(kind: &TypeKind) -> String {
    let word = |name: &str| match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    };
    match kind {
        TypeKind::Single(kind) => word(kind.as_str()).to_owned(),
        // `null` stands for "absent"; nobody needs to be told that they could have written it.
        TypeKind::Multiple(kinds) => {
            let words: Vec<_> =
                kinds.iter().map(|kind| word(kind.as_str())).filter(|word| *word != "null").collect();
            words.join(" or ")
        }
    }
}

fn listed(options: &Value) -> String {
    let names = options.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}
