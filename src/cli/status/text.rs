//! The status as a page of text.

use super::super::color::{Paint, Tone};
use super::super::names::{Projects, batch_name, quoted};
use super::super::table::{Column, Layout, counted, thousands, wrap};
use super::advice::trouble;
use super::facts::{BatchFacts, Detail, Facts};
use super::pace::Left;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::StateCounts;

/// What somebody wanted canceled is not run again unless they say so.
const CANCELED: &str = "CANCELED";
/// The project has several layers, and the brief must say which.
const CONFLICT: &str = "CONFLICT";
/// Projects of a batch that are listed.
const PROJECTS_SHOWN: usize = 20;

/// Trouble, then the batches or the one batch, then the next command.
pub(super) fn page(facts: &Facts, settings: &Settings, paint: Paint) -> String {
    let red = |line: String| match line.strip_prefix("! ") {
        // The mark and the words in capitals behind it.
        Some(rest) => {
            let capitals = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == ' ').count();
            paint.tint_start(Tone::Trouble, &line, 2 + capitals)
        }
        None => line,
    };
    let mut parts = vec![trouble(facts, settings).into_iter().map(red).collect()];
    match (&facts.detail, facts.batches.first()) {
        (Some(detail), Some(batch)) => parts.extend(one_batch(facts, batch, detail, settings)),
        (None, Some(_)) => {
            parts.push(batches(facts));
            let pace = facts.pace.sentence().filter(|_| facts.worker);
            let mut end: Vec<String> = pace.into_iter().collect();
            end.push(next(facts));
            parts.push(end);
        }
        (_, None) => {
            parts.push(vec![
                "No briefs yet. Bring some:  briefd enqueue FILE  or  briefd generate FILE".to_owned(),
            ]);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.into_iter().map(|part| part.join("\n")).collect::<Vec<_>>().join("\n\n")
}

/// The columns of states. The last three only appear where there is something in them.
const STATES: [(&str, &[BriefState]); 9] = [
    ("DONE", &[BriefState::Completed]),
    ("PART", &[BriefState::Partial]),
    ("FAIL", &[BriefState::Failed]),
    ("RUN", &[BriefState::Submitting, BriefState::Running]),
    ("WAIT", &[BriefState::Waiting]),
    ("HELD", &[BriefState::Held]),
    ("LATER", &[BriefState::Scheduled]),
    ("PARK", &[BriefState::Parked]),
    ("CANC", &[BriefState::Canceled]),
];
const ALWAYS: usize = 6;

struct StateColumns(Vec<(&'static str, &'static [BriefState])>);

impl StateColumns {
    fn of(rows: &[&StateCounts]) -> Self {
        let used = |states: &[BriefState]| rows.iter().any(|counts| sum(counts, states) > 0);
        let shown = STATES.into_iter().enumerate().filter(|(at, (_, states))| *at < ALWAYS || used(states));
        Self(shown.map(|(_, column)| column).collect())
    }

    fn columns(&self) -> impl Iterator<Item = Column> + '_ {
        std::iter::once(Column::number("BRIEFS")).chain(self.0.iter().map(|(title, _)| Column::number(title)))
    }

    fn cells(&self, counts: &StateCounts) -> impl Iterator<Item = String> + '_ {
        let cells: Vec<String> = self.0.iter().map(|(_, states)| thousands(sum(counts, states))).collect();
        std::iter::once(thousands(counts.total())).chain(cells)
    }
}

fn sum(counts: &StateCounts, states: &[BriefState]) -> i64 {
    states.iter().map(|state| counts.get(*state)).sum()
}

fn batches(facts: &Facts) -> Vec<String> {
    let states = StateColumns::of(&facts.batches.iter().map(|batch| &batch.counts).collect::<Vec<_>>());
    let mut columns = vec![Column::name("BATCH")];
    columns.extend(states.columns());
    let any_credits = facts.batches.iter().any(|batch| batch.credits.is_some());
    columns.extend(any_credits.then(|| Column::number("CREDITS")));
    columns.push(Column::number("LEFT"));
    let row = |batch: &BatchFacts| {
        let mut row = vec![batch_name(&batch.batch).to_owned()];
        row.extend(states.cells(&batch.counts));
        row.extend(any_credits.then(|| batch.credits.map(about).unwrap_or_default()));
        row.push(Left::of(batch, facts.pace.numbers).word());
        row
    };
    let rows: Vec<_> = facts.batches.iter().map(row).collect();
    let mut lines = Layout::fit(&columns, &rows).lines(&rows);
    if facts.more_batches > 0 {
        lines.push(format!("and {} more; of one: briefd status BATCH", thousands(facts.more_batches)));
    }
    lines
}

/// What records say is an estimate, and shown to be one.
fn about(credits: i64) -> String {
    format!("~{}", thousands(credits))
}

/// The command that helps next.
fn next(facts: &Facts) -> String {
    if let Some(batch) = facts.batches.iter().find(|batch| batch.counts.not_completed() > 0) {
        let n = thousands(batch.counts.not_completed());
        return format!("Why did {n} not complete?  briefd status {}", quoted(&batch.batch));
    }
    if facts.totals.open() > 0 {
        "Until it has ended:  briefd status --wait".to_owned()
    } else {
        "What came of it:  briefd records".to_owned()
    }
}

fn one_batch(facts: &Facts, batch: &BatchFacts, detail: &Detail, settings: &Settings) -> Vec<Vec<String>> {
    let left = Left::of(batch, facts.pace.numbers);
    vec![
        summary(batch, detail, left),
        totals(batch, left),
        codes(detail),
        projects(detail, settings),
        vec![next_of_batch(batch, detail)],
    ]
}

fn summary(batch: &BatchFacts, detail: &Detail, left: Left) -> Vec<String> {
    let total = batch.counts.total();
    let briefs = match batch.size {
        Some(size) if size > total => {
            format!("{} of {} announced briefs", thousands(total), thousands(size))
        }
        Some(_) | None => counted(total, "brief"),
    };
    let projects = i64::try_from(detail.projects.len()).unwrap_or(i64::MAX);
    let left = match left {
        Left::Done => "ended".to_owned(),
        Left::About(left) => format!("about {} left", Left::About(left).word()),
        Left::Soon => "all started".to_owned(),
        Left::Stuck(state) => format!("the rest is {}", state.word()),
        Left::Later => "the rest is scheduled".to_owned(),
        Left::Incoming => "the rest has not come yet".to_owned(),
    };
    let credits = batch.credits.map(|credits| format!(", {} credits", about(credits))).unwrap_or_default();
    let name = batch_name(&batch.batch);
    wrap("", &format!("{name}: {briefs}, {}{credits}, {left}", counted(projects, "project")))
}

fn totals(batch: &BatchFacts, left: Left) -> Vec<String> {
    let states = StateColumns::of(&[&batch.counts]);
    let columns: Vec<_> = states.columns().chain(std::iter::once(Column::number("LEFT"))).collect();
    let mut row: Vec<_> = states.cells(&batch.counts).collect();
    row.push(left.word());
    let rows = [row];
    Layout::fit(&columns, &rows).lines(&rows)
}

fn codes(detail: &Detail) -> Vec<String> {
    if detail.codes.is_empty() {
        return Vec::new();
    }
    let columns = [
        Column::name("WHY NOT COMPLETE"),
        Column::number("BRIEFS"),
        Column::number("CONTAINERS"),
        Column::word("WHAT HELPS"),
    ];
    let rows: Vec<_> = detail
        .codes
        .iter()
        .map(|code| {
            let helps = match code.remedy.as_str() {
                _ if code.code == CANCELED => "run it again, if it is wanted after all",
                _ if code.code == CONFLICT => "say which projectLayerId; the record names them",
                "rerun" => "run it again as it is",
                "change" => "change the brief or the project first",
                _ => "nothing",
            };
            vec![code.code.clone(), thousands(code.briefs), thousands(code.containers), helps.to_owned()]
        })
        .collect();
    Layout::fit(&columns, &rows).lines(&rows)
}

fn projects(detail: &Detail, settings: &Settings) -> Vec<String> {
    if detail.projects.len() < 2 {
        return Vec::new();
    }
    let names = Projects(&settings.projects);
    let shown = &detail.projects[..detail.projects.len().min(PROJECTS_SHOWN)];
    let states = StateColumns::of(&shown.iter().map(|(_, counts)| counts).collect::<Vec<_>>());
    let columns: Vec<_> = std::iter::once(Column::name("PROJECT")).chain(states.columns()).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|(id, counts)| std::iter::once(names.name(id).to_owned()).chain(states.cells(counts)).collect())
        .collect();
    let mut lines = Layout::fit(&columns, &rows).lines(&rows);
    if shown.len() < detail.projects.len() {
        lines.push(format!("and {} more", detail.projects.len() - shown.len()));
    }
    lines
}

fn next_of_batch(batch: &BatchFacts, detail: &Detail) -> String {
    let name = quoted(&batch.batch);
    let most = |remedy: &str| detail.codes.iter().find(|code| code.remedy == remedy && code.code != CANCELED);
    if let Some(code) = most("rerun") {
        let again = match code.briefs {
            1 => "1 brief may be run again as it is".to_owned(),
            n => format!("{} briefs may be run again as they are", thousands(n)),
        };
        return format!(
            "{again}; what that costs:\n  briefd rerun --batch {name} --code {} --dry-run",
            code.code
        );
    }
    if let Some(code) = most("change") {
        return format!("Which to mend:  briefd list --batch {name} --code {}", code.code);
    }
    if batch.counts.open() > 0 {
        format!("Until it has ended:  briefd status {name} --wait")
    } else {
        format!("What came of it:  briefd records --batch {name}")
    }
}
