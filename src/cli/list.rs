//! `briefd list`: one line a brief.

mod sheet;

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::names::{Projects, batch_id, batch_name};
use super::table::{Column, Layout, thousands};
use super::times::{Since, age, iso};
use crate::clock::Clock;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::{BriefFilter, BriefLine, Reader, Waiting};

/// Briefs that are read and written at a time.
const PAGE: u32 = 500;

/// One line a brief, in the order they came
///
/// CODE is why a brief did not complete, or why it is parked; AGE is since
/// it came. Filters are joined by "and". Reads beside a running worker, page by page.
///
/// --csv is for a spreadsheet: why each brief did not complete, and what it asks for, a column a field. What a cell cannot
/// hold is left empty.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  briefd list --batch 2026-05-spring --state failed
  briefd list --code MODERATION_BLOCKED --since 24h --csv > fix.csv")]
pub struct ListArgs {
    /// Only briefs of this batch ('' for those without one)
    #[arg(long)]
    batch: Option<String>,
    /// Only briefs of this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// Only briefs in this state
    #[arg(long, value_parser = state)]
    state: Option<BriefState>,
    /// Only briefs whose latest trouble has this code
    #[arg(long)]
    code: Option<String>,
    /// Only briefs that came since: a duration ("2h") or an ISO 8601 time
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only briefs of this plan of reruns
    #[arg(long, value_name = "N")]
    plan: Option<i64>,
    /// One JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with a header: to be mended in a spreadsheet, and given to a rerun
    #[arg(long)]
    csv: bool,
}

/// Prints the list to `out`.
pub async fn run(
    args: ListArgs,
    settings: &Settings,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    list(&args, settings, (&reader, clock), out).await
}

async fn list(
    args: &ListArgs,
    settings: &Settings,
    (reader, clock): (&Reader, &Clock),
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let projects = Projects(&settings.projects);
    let now_ms = clock.now_ms();
    let filter = BriefFilter {
        batch: args.batch.as_deref().map(batch_id).map(ToOwned::to_owned),
        project: args.project.as_deref().map(|given| projects.id(given).to_owned()),
        state: args.state,
        code: args.code.clone(),
        plan: args.plan,
        since_ms: args.since.map(|since| since.ms(now_ms)),
        with_request: args.csv,
    };
    let waiting = Waiting::new(&reader.holds().await?, now_ms);
    let listed = if args.csv {
        sheet::write(reader, (&filter, &waiting), out).await?
    } else {
        let mut form = if args.json { Form::Json } else { Form::Text { layout: None, now_ms } };
        let mut after = Some(0);
        let mut listed = 0;
        while let Some(from) = after {
            let (lines, last) = reader.brief_lines(&filter, &waiting, from, PAGE).await?;
            if !lines.is_empty() {
                out.write_all(form.page(&lines, projects).as_bytes())?;
            }
            listed += lines.len();
            after = last;
        }
        listed
    };
    out.flush()?;
    if listed == 0 {
        eprintln!("briefd: no brief in the ledger is like that");
    }
    Ok(Outcome::Done)
}

/// The state of a word; `--help` lists them in their order.
fn state(word: &str) -> Result<BriefState, String> {
    BriefState::from_word(word).ok_or_else(|| {
        let words: Vec<_> = BriefState::ALL.into_iter().map(BriefState::word).collect();
        format!("one of {}", words.join(", "))
    })
}

/// How lines are written.
enum Form {
    /// The layout comes from the first page.
    Text {
        layout: Option<Layout>,
        now_ms: i64,
    },
    Json,
}

const COLUMNS: [Column; 7] = [
    Column::name("PROJECT"),
    Column::name("BATCH"),
    Column::name("BRIEF"),
    Column::number("RUN"),
    Column::word("STATE"),
    Column::name("CODE"),
    Column::number("AGE"),
];

impl Form {
    /// One page, with what comes before the first.
    fn page(&mut self, lines: &[BriefLine], projects: Projects<'_>) -> String {
        match self {
            Self::Text { layout, now_ms } => {
                let rows: Vec<_> = lines.iter().map(|line| cells(line, projects, *now_ms)).collect();
                let text: Vec<String> = match layout {
                    Some(layout) => rows.iter().map(|row| layout.line(row)).collect(),
                    None => layout.insert(Layout::fit(&COLUMNS, &rows)).lines(&rows),
                };
                text.join("\n") + "\n"
            }
            Self::Json => lines.iter().map(|line| json_line(line, projects) + "\n").collect(),
        }
    }
}

fn cells(line: &BriefLine, projects: Projects<'_>, now_ms: i64) -> Vec<String> {
    vec![
        projects.name(&line.project_id).to_owned(),
        batch_name(&line.batch_id).to_owned(),
        line.brief_id.clone(),
        thousands(line.run),
        line.state.word().to_owned(),
        line.code.clone().unwrap_or_default(),
        age(line.received_ms, now_ms),
    ]
}

fn json_line(line: &BriefLine, projects: Projects<'_>) -> String {
    json!({
        "projectId": line.project_id,
        "project": projects.alias(&line.project_id),
        "batchId": Some(&line.batch_id).filter(|batch| !batch.is_empty()),
        "briefId": line.brief_id,
        "run": line.run,
        "state": line.state.word(),
        "code": line.code,
        "message": line.message,
        "remedy": line.remedy,
        "receivedAt": iso(line.received_ms),
        "changedAt": iso(line.changed_ms),
    })
    .to_string()
}
