//! A JSON object as cells of a CSV row: what [`super::csv`] reads, the other way round.
//!
//! A cell is written only if reading it gives back the very value. What a cell cannot hold (a list entry with `|` in it, a
//! number where texts stand) is left out, and an empty cell is an absent field: whoever patches with the file leaves it as
//! it is.

use serde_json::Value;

use super::csv::kind_of;

/// The name of each field's column, dotted when nested, and its cell; in the object's order.
pub fn cells(object: &str) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(object) {
        flatten("", &value, &mut cells);
    }
    cells
}

fn flatten(path: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    let kind = kind_of(path);
    match value {
        Value::Object(fields) if path.is_empty() || !kind.is_object() => {
            // A dot or nothing as a name would be read as something else.
            for (name, value) in fields.iter().filter(|(name, _)| !name.is_empty() && !name.contains('.')) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, cells);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(entries) => entries
                    .iter()
                    .map(|entry| entry.as_str().unwrap_or_default())
                    .collect::<Vec<_>>()
                    .join("|"),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
            };
            let read = serde_json::from_str::<Value>(&kind.json(text.trim()));
            if !text.is_empty() && read.is_ok_and(|read| read == *value) {
                cells.push((path.to_owned(), text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv::Columns;
    use super::*;

    /// What is read of what was written.
    fn again(object: &str) -> Value {
        let cells = cells(object);
        let mut page = csv::Writer::from_writer(Vec::new());
        page.write_record(cells.iter().map(|(name, _)| name)).unwrap();
        page.write_record(cells.iter().map(|(_, cell)| cell)).unwrap();
        let page = String::from_utf8(page.into_inner().unwrap()).unwrap();
        let (header, row) = page.split_once('\n').unwrap();
        let columns = Columns::of_header(header.as_bytes()).unwrap();
        let read = columns.object(row.trim_end_matches('\n').as_bytes()).unwrap();
        serde_json::from_str(&read.unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let object = r#"{"format":"video_remix","variantCount":2,"targetPlatforms":["tiktok","instagram"],
            "brief":{"hook":"Run, \"now\"\nor later;","topic":"=1+1","themeTags":["a"]},"budget":{"maxCredits":120},
            "metadata":{"cmsId":4711,"a":{"b":null}}}"#;
        assert_eq!(again(object), serde_json::from_str::<Value>(object).unwrap());
    }

    #[test]
    fn what_a_cell_cannot_hold_is_left_out() {
        let object = r#"{"brief":{"hook":" space","themeTags":["a|b"],"seconds":30,"live":true,"a.b":"c","":"d","empty":"",
            "list":["no list in CSV"],"none":null,"fits":"yes"},"targetPlatforms":[],"metadata":{}}"#;
        assert_eq!(again(object), serde_json::json!({"brief": {"fits": "yes"}, "metadata": {}}));
        assert_eq!(cells("[1]"), []);
    }
}
