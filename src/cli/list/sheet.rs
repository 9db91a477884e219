//! The list as a sheet: to be read, mended, and given back (`rerun --patch`).
//!
//! Which columns there are is known only once every brief was looked at, so everything is read twice, page by page.

use std::collections::HashMap;
use std::io::Write;

use crate::files::cells;
use crate::ledger::{BriefFilter, Reader, Waiting};

/// Briefs that are held at a time, each with what it asks for.
const PAGE: u32 = 100;
/// Fields that get a column; only briefs with many unknown fields have so many.
const COLUMNS_MAX: usize = 500;
/// Before the fields of what was asked for.
const FIXED: [&str; 8] = ["projectId", "batchId", "briefId", "run", "state", "code", "message", "remedy"];

/// Writes the sheet; returns how many briefs it has.
pub(super) async fn write(
    reader: &Reader,
    (filter, waiting): (&BriefFilter, &Waiting),
    out: &mut impl Write,
) -> anyhow::Result<usize> {
    let columns = columns(reader, filter, waiting).await?;
    let mut listed = 0;
    let mut after = Some(0);
    let mut sheet = csv::Writer::from_writer(out);
    sheet.write_record(FIXED.into_iter().chain(in_order(&columns)))?;
    while let Some(from) = after {
        let (lines, last) = reader.brief_lines(filter, waiting, from, PAGE).await?;
        for line in &lines {
            let run = line.run.to_string();
            let mut row = vec![
                line.project_id.as_str(),
                &line.batch_id,
                &line.brief_id,
                &run,
                line.state.word(),
                line.code.as_deref().unwrap_or_default(),
                line.message.as_deref().unwrap_or_default(),
                line.remedy.as_deref().unwrap_or_default(),
            ];
            let cells = cells(line.request.as_deref().unwrap_or_default());
            row.resize(FIXED.len() + columns.len(), "");
            for (name, cell) in &cells {
                // What came meanwhile has no column.
                if let Some(place) = columns.get(name).and_then(|at| row.get_mut(FIXED.len() + at)) {
                    *place = cell;
                }
            }
            sheet.write_record(row)?;
        }
        listed += lines.len();
        after = last;
    }
    sheet.flush()?;
    Ok(listed)
}

/// Which fields there are, in the order in which they are met.
async fn columns(
    reader: &Reader,
    filter: &BriefFilter,
    waiting: &Waiting,
) -> anyhow::Result<HashMap<String, usize>> {
    let mut columns = HashMap::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let (lines, last) = reader.brief_lines(filter, waiting, from, PAGE).await?;
        for (name, _) in lines.iter().filter_map(|line| line.request.as_deref()).flat_map(cells) {
            let next = columns.len();
            if next < COLUMNS_MAX && !columns.contains_key(&name) && !clashes(&columns, &name) {
                columns.insert(name, next);
            }
        }
        after = last;
    }
    Ok(columns)
}

/// A field that is a text in one brief and an object in another would make two columns that nobody can read together.
fn clashes(columns: &HashMap<String, usize>, name: &str) -> bool {
    let within = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'));
    FIXED.contains(&name) || columns.keys().any(|known| within(known, name) || within(name, known))
}

fn in_order(columns: &HashMap<String, usize>) -> Vec<&str> {
    let mut names: Vec<_> = columns.iter().map(|(name, at)| (*at, name.as_str())).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name).collect()
}
