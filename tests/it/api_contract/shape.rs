//! Whether two JSON texts have the same fields, of the same kinds.

use jiff::Timestamp;
use serde_json::Value;

/// Objects whose fields are the caller's own, or open by nature.
const FREE: [&str; 4] = ["brief", "metadata", "details", "estimatedCreditsPerFormat"];

/// In what `served` differs from the documented shape, one line each. `null` fits every kind, an empty list every list.
pub fn differences(documented: &Value, served: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("$", documented, served, &mut found);
    found
}

fn compare(path: &str, documented: &Value, served: &Value, found: &mut Vec<String>) {
    match (documented, served) {
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_)) => {}
        (Value::Object(documented), Value::Object(served)) => {
            found.extend(
                documented
                    .keys()
                    .filter(|name| !served.contains_key(*name))
                    .map(|name| format!("{path}.{name} is documented and not served")),
            );
            for (name, served) in served {
                let path = format!("{path}.{name}");
                match documented.get(name) {
                    None => found.push(format!("{path} is served and not documented")),
                    Some(_) if FREE.contains(&name.as_str()) => {}
                    Some(documented) => compare(&path, documented, served, found),
                }
            }
        }
        (Value::Array(documented), Value::Array(served)) => {
            if let Some(documented) = documented.first() {
                for served in served {
                    compare(&format!("{path}[]"), documented, served, found);
                }
            }
        }
        (Value::String(documented), Value::String(served)) => {
            if documented.parse::<Timestamp>().is_ok()
                && (served.parse::<Timestamp>().is_err() || !served.ends_with('Z'))
            {
                found.push(format!("{path} is no time in UTC: {served:?}"));
            }
        }
        (documented, served) => {
            found.push(format!("{path} is documented as {documented} and served as {served}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_too_many_too_few_or_of_another_kind_is_found() {
        let documented =
            json!({"id": "a", "at": "2026-03-01T12:00:00Z", "list": [{"n": 1}], "brief": {"x": 1}});
        let same = json!({"id": "b", "at": "2026-04-01T12:00:00.5Z", "list": [], "brief": {"y": 2}});
        assert_eq!(differences(&documented, &same), Vec::<String>::new());
        let other = json!({"id": 7, "at": "yesterday", "list": [{"n": 1}, {"m": 2}], "new": null});
        insta::assert_snapshot!(differences(&documented, &other).join("\n"), @r#"
        $.brief is documented and not served
        $.id is documented as "a" and served as 7
        $.at is no time in UTC: "yesterday"
        $.list[].n is documented and not served
        $.list[].m is served and not documented
        $.new is served and not documented
        "#);
    }
}
