//! How two requests differ. `metadata` never counts: pipelines stamp run ids there.

use serde_json::{Map, Value};

use super::excerpt::bounded;
use super::strict;

/// Paths at which two request texts differ, at most `max`, in the order of `a`, then what only `b` has.
pub fn differing_paths(a: &str, b: &str, max: usize) -> Vec<String> {
    let mut paths = Vec::new();
    walk(&request(a), &request(b), "", &mut |path| {
        paths.push(bounded(path));
        paths.len() < max
    });
    paths.truncate(max);
    paths
}

/// Whether two request texts are canonically equal in everything but `brief`.
pub fn only_brief_differs(a: &str, b: &str) -> bool {
    let without_brief = |text| {
        let mut request = request(text);
        if let Value::Object(fields) = &mut request {
            fields.shift_remove("brief");
        }
        request
    };
    same(&without_brief(a), &without_brief(b))
}

/// Whether two JSON texts are canonically equal.
pub(super) fn same_json(a: &str, b: &str) -> bool {
    let parse = |text| strict::parse(text).ok();
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => same(&a, &b),
        (Some(_) | None, _) => a == b,
    }
}

/// A request as a value, without `metadata`. A text that is not JSON (never one of ours) compares as that text.
fn request(text: &str) -> Value {
    let mut request = strict::parse(text).unwrap_or_else(|_| Value::from(text));
    if let Value::Object(fields) = &mut request {
        fields.shift_remove("metadata");
    }
    request
}

fn same(a: &Value, b: &Value) -> bool {
    let mut equal = true;
    walk(a, b, "", &mut |_| {
        equal = false;
        false
    });
    equal
}

/// Calls `found` with each path that differs, until it returns `false`. Returns whether to go on.
fn walk(a: &Value, b: &Value, path: &str, found: &mut dyn FnMut(&str) -> bool) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => walk_objects(a, b, path, found),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().all(|(index, (a, b))| walk(a, b, &format!("{path}[{index}]"), found))
        }
        // 120 and 120.0 are one number in canonical JSON, and two in `Value`.
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => true,
        (a, b) => a == b || found(path),
    }
}

fn walk_objects(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    path: &str,
    found: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    a.iter().all(|(key, left)| match b.get(key) {
        Some(right) => walk(left, right, &join(key), found),
        None => found(&join(key)),
    }) && b.keys().filter(|key| !a.contains_key(*key)).all(|key| found(&join(key)))
}
