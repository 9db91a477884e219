//! What shall differ in a rerun: one set of changes for all, and a file with changes for each brief.
//!
//! A file is one JSON object for all; or JSON Lines or CSV, a brief a line, named by `briefId` (and, as in a listing, `projectId`
//! and `batchId`; a line without them is for every brief of that id). Columns that `briefd list --csv` tells for information are not changes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value};

use crate::brief::{IDENTITY_FIELDS, Identity};
use crate::files::{BriefFile, FileError};
use crate::flow::Source as _;

/// Columns of a listing that are no fields of a brief.
const INFORMATION: [&str; 13] = [
    "project",
    "batch",
    "code",
    "message",
    "remedy",
    "state",
    "run",
    "plan",
    "age",
    "receivedAt",
    "changedAt",
    "finishedAt",
    "batchSize",
];
/// Lines that are read at a time.
const LINES: usize = 1_000;
/// A file up to this long may be one object for all.
const OBJECT_BYTES_MAX: u64 = 1024 * 1024;

/// Why a file of changes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of it.
    #[error("{name}: {problem}")]
    Line {
        /// The file.
        name: String,
        /// Which line, and what is wrong with it.
        problem: String,
    },
}

/// Changes to briefs.
#[derive(Clone, Debug, Default)]
pub struct Patches {
    all: Map<String, Value>,
    /// By `briefId`; `None`: the changes are for every brief.
    rows: Option<HashMap<String, Vec<Row>>>,
}

/// The changes of one line.
#[derive(Clone, Debug)]
struct Row {
    line: u64,
    project: Option<String>,
    batch: Option<String>,
    changes: Map<String, Value>,
    used: bool,
}

impl Patches {
    /// Reads a file. `projects`: aliases.
    pub async fn read(path: &Path, projects: &BTreeMap<String, String>) -> Result<Self, PatchError> {
        let name = path.display().to_string();
        if let Some(all) = object_for_all(path) {
            if let Some(field) = IDENTITY_FIELDS.iter().find(|field| all.contains_key(**field)) {
                let problem = format!("`{field}` says which brief it is, and cannot be changed");
                return Err(PatchError::Line { name, problem });
            }
            return Ok(Self { all, rows: None });
        }
        let mut file = BriefFile::open(path)?;
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        while let Some(lines) = file.receive(LINES).await {
            for line in lines {
                let bad = |problem: String| PatchError::Line { name: name.clone(), problem };
                if let Some(fault) = line.fault {
                    return Err(bad(fault));
                }
                let at = |problem: &str| bad(format!("line {}: {problem}", line.position));
                let fields = match serde_json::from_slice(&line.body) {
                    Ok(Value::Object(fields)) => fields,
                    Ok(_) => return Err(at("is not a JSON object")),
                    Err(error) => return Err(at(&format!("is not JSON: {error}"))),
                };
                let (brief, row) = Row::of(fields, line.position, projects).map_err(at)?;
                rows.entry(brief).or_default().push(row);
            }
        }
        Ok(Self { all: Map::new(), rows: Some(rows) })
    }

    /// One more change for all, of a field by its path: `brief.hook`. `None` takes it away.
    pub fn set(&mut self, path: &str, value: Value) {
        let mut names = path.split('.').rev();
        let last = names.next().unwrap_or(path).to_owned();
        let nested = names.fold((last, value), |(inner, value), outer| {
            (outer.to_owned(), Value::Object(Map::from_iter([(inner, value)])))
        });
        merge(&mut self.all, Map::from_iter([nested]));
    }

    /// Ids of the briefs that a file names; none: it names none.
    pub fn brief_ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.rows.iter().flat_map(|rows| rows.keys().cloned()).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether a file names briefs one by one.
    pub const fn names_briefs(&self) -> bool {
        self.rows.is_some()
    }

    /// The changes of one brief; `None`: a file names briefs, and this one is not among them.
    pub fn of(&mut self, identity: &Identity) -> Option<Map<String, Value>> {
        let mut changes = self.all.clone();
        let Some(rows) = &mut self.rows else { return Some(changes) };
        let row = rows.get_mut(&identity.brief_id)?.iter_mut().find(|row| row.names(identity))?;
        row.used = true;
        merge(&mut changes, row.changes.clone());
        Some(changes)
    }

    /// Lines whose brief was never asked for.
    pub fn unused(&self) -> Vec<String> {
        let mut lines: Vec<_> = self
            .rows
            .iter()
            .flatten()
            .flat_map(|(brief, rows)| rows.iter().map(move |row| (row, brief)))
            .filter(|(row, _)| !row.used)
            .map(|(row, brief)| (row.line, format!("line {}: {brief}", row.line)))
            .collect();
        lines.sort_unstable();
        lines.into_iter().map(|(_, text)| text).collect()
    }
}

impl Row {
    fn of(
        mut fields: Map<String, Value>,
        line: u64,
        projects: &BTreeMap<String, String>,
    ) -> Result<(String, Self), &'static str> {
        let mut text = |name: &str| match fields.shift_remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(_) | None => None,
        };
        let brief = text("briefId").ok_or("has no briefId, and so names no brief")?;
        let project = text("projectId").map(|given| projects.get(&given).cloned().unwrap_or(given));
        let batch = text("batchId");
        for name in INFORMATION {
            fields.shift_remove(name);
        }
        Ok((brief, Self { line, project, batch, changes: fields, used: false }))
    }

    fn names(&self, identity: &Identity) -> bool {
        match &self.project {
            // A listing names all three; what it leaves empty is the batch of briefs without one.
            Some(project) => {
                *project == identity.project_id
                    && self.batch.as_deref().unwrap_or_default() == identity.batch_id
            }
            None => self.batch.as_ref().is_none_or(|batch| *batch == identity.batch_id),
        }
    }
}

/// The one object of a file that is nothing but one, and names no brief.
fn object_for_all(path: &Path) -> Option<Map<String, Value>> {
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if length > OBJECT_BYTES_MAX {
        return None;
    }
    match serde_json::from_slice(&std::fs::read(path).ok()?) {
        Ok(Value::Object(fields)) if !fields.contains_key("briefId") => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

fn merge(into: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, change) in changes {
        match (into.get_mut(&name), change) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, change) => drop(into.insert(name, change)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(project: &str, batch: &str, brief: &str) -> Identity {
        Identity { project_id: project.to_owned(), batch_id: batch.to_owned(), brief_id: brief.to_owned() }
    }

    async fn read(name: &str, text: &str) -> Result<Patches, PatchError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let aliases = BTreeMap::from([("acme".to_owned(), "p-1".to_owned())]);
        Patches::read(&path, &aliases).await
    }

    #[tokio::test]
    async fn one_object_is_for_all_briefs() {
        let mut patches = read("fix.json", "{\n  \"brief\": {\"hook\": \"new\"}\n}").await.unwrap();
        patches.set("brief.cta", json!("go"));
        patches.set("priority", json!(9));
        assert!(!patches.names_briefs());
        let changes = patches.of(&identity("p", "", "b")).unwrap();
        assert_eq!(Value::Object(changes), json!({"brief": {"hook": "new", "cta": "go"}, "priority": 9}));
    }

    #[tokio::test]
    async fn a_spreadsheet_names_its_briefs_and_what_a_listing_tells_is_no_change() {
        let text = "projectId,batchId,briefId,run,state,code,message,remedy,brief.hook\n\
                    acme,spring,one,1,failed,MODERATION_BLOCKED,no,change,New hook\n\
                    ,,two,1,failed,RENDER_FAILED,,rerun,\n";
        let mut patches = read("fix.csv", text).await.unwrap();
        assert_eq!(patches.brief_ids(), ["one", "two"]);
        let changes = patches.of(&identity("p-1", "spring", "one")).unwrap();
        assert_eq!(Value::Object(changes), json!({"brief": {"hook": "New hook"}}));
        assert_eq!(patches.of(&identity("p-2", "spring", "one")), None, "of another project");
        assert_eq!(patches.unused(), ["line 3: two"]);
        assert_eq!(patches.of(&identity("p-2", "any", "two")), Some(Map::new()), "nothing was changed");
        assert_eq!(patches.unused(), [""; 0]);
    }

    #[tokio::test]
    async fn a_line_that_names_no_brief_is_told_and_ids_cannot_be_changed() {
        let error = read("fix.jsonl", "{\"briefId\":\"a\"}\n{\"brief\":{}}\n").await.unwrap_err();
        assert!(error.to_string().ends_with("fix.jsonl: line 2: has no briefId, and so names no brief"));
        let error = read("fix.json", r#"{"projectId":"q"}"#).await.unwrap_err();
        assert!(error.to_string().contains("`projectId` says which brief it is"), "{error}");
    }
}
