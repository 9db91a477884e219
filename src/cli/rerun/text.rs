//! Plans for people: what is left out first, then what happens, what it costs and how long it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::names::Projects;
use super::super::table::{Column, Layout, counted, thousands, wrap};
use super::super::times::roughly;
use super::Made;
use super::figures::Figures;
use super::follow::Far;
use crate::brief::Identity;
use crate::job::BriefState;
use crate::job::plan::{Deed, Reason};
use crate::ledger::{PlanRow, PlanState};

/// Briefs of one kind that are named.
const NAMED: usize = 5;
/// Briefs that are told each with its own reason.
const TOLD: usize = 10;

const GROUPS: [Column; 6] = [
    Column::word(""),
    Column::word("WHAT HAPPENS"),
    Column::number("BRIEFS"),
    Column::number("CONTAINERS"),
    Column::number("STARTS"),
    Column::number("CREDITS AT MOST"),
];

/// A plan that was made. `number`: it is stored.
pub(super) fn plan(made: &Made, figures: &Figures, (number, dry_run): (Option<i64>, bool)) -> String {
    let looked_at = counted(whole(made.looked_at), "brief");
    let Some(number) = number else {
        let mut lines = vec![match made.looked_at {
            0 => "nothing to run again: no brief that is meant ended without all its containers".to_owned(),
            _ => format!("nothing to run again among {looked_at}"),
        }];
        lines.extend(left_out(made));
        return lines.join("\n") + "\n";
    };
    let head = format!(
        "plan {number} runs {} again, of {} looked at{}",
        counted(whole(figures.briefs), "brief"),
        thousands(whole(made.looked_at)),
        if dry_run { "; nothing was started" } else { "" }
    );
    let mut lines = vec![head];
    lines.extend(left_out(made));
    lines.extend(money_trouble(figures));
    for (file, n) in &made.files {
        let text = format!(
            "{} came from the file {file}: they go on with briefd generate, not with briefd run",
            thousands(whole(*n))
        );
        lines.extend(wrap("! ", &text));
    }
    lines.extend(groups(figures));
    lines.extend(totals(figures));
    if dry_run {
        lines.push(format!("next: briefd rerun --plan {number}"));
    }
    lines.join("\n") + "\n"
}

/// What is asked before a plan starts.
pub(super) fn cost(figures: &Figures, number: i64, origin: &str) -> String {
    let text = format!(
        "plan {number} starts up to {} for {}: {origin} may charge {}",
        counted(whole(figures.starts), "job"),
        counted(whole(figures.containers), "container"),
        credits(figures)
    );
    wrap("", &text).join("\n")
}

fn credits(figures: &Figures) -> String {
    let known = format!("up to {} credits", thousands(whole(figures.credits_max)));
    match figures.unpriced.as_slice() {
        [] => known,
        unpriced => format!("{known}, and for {} what nobody knows", unpriced.join(", ")),
    }
}

fn money_trouble(figures: &Figures) -> Vec<String> {
    match figures.balance {
        Some(balance) if whole(figures.credits_max) > balance => wrap(
            "! ",
            &format!(
                "the balance of {} credits does not pay for all of it: the rest would wait, held, and nothing of it \
                 fails; --max-credits {} plans what it pays for",
                thousands(balance),
                balance.max(0)
            ),
        ),
        Some(_) | None => Vec::new(),
    }
}

fn groups(figures: &Figures) -> Vec<String> {
    let row = |group: &super::figures::Group| {
        let n = |n: u64| thousands(whole(n));
        let credits = group.credits_max.map_or_else(|| "unknown".to_owned(), n);
        vec![
            String::new(),
            group.deed.clone(),
            n(group.briefs),
            n(group.containers),
            n(group.starts),
            credits,
        ]
    };
    let rows: Vec<_> = figures.groups.iter().map(row).collect();
    let mut lines = Layout::fit(&GROUPS, &rows).lines(&rows);
    let has = |deed: Deed| figures.groups.iter().any(|group| group.deed == deed.word());
    if has(Deed::LookAgain) {
        lines.extend(wrap(
            "  look again: ",
            "they were given up; free where they have a result or are at work by now, else regenerated",
        ));
    }
    if has(Deed::Regenerate) {
        lines.extend(wrap(
            "  regenerate: ",
            "under the same container id, and free where it has completed by now",
        ));
    }
    if has(Deed::Anew) {
        lines.extend(wrap("  submit anew: ", "they never got a container"));
    }
    lines
}

fn totals(figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let balance = match figures.balance {
        Some(balance) => format!("; the balance is {}", thousands(balance)),
        None => "; the API did not tell the balance".to_owned(),
    };
    lines.extend(wrap("  ", &format!("costs {}{balance}", credits(figures))));
    if let (Some(seconds), Some((starts, window))) = (figures.last_start_seconds, figures.start_rate) {
        let rate = if window == 60 {
            format!("{starts} starts a minute")
        } else {
            format!("{starts} starts in {window} s")
        };
        let when = match seconds {
            0 => "all may start at once".to_owned(),
            seconds => format!("the last one starts after {}", roughly(Duration::from_secs(seconds))),
        };
        lines.push(format!("  {when} ({rate})"));
    }
    lines.push(match figures.approved_back_to_pending {
        0 => "  no approved container goes back to pending".to_owned(),
        n => format!("  {} that was approved goes back to pending", counted(whole(n), "container")),
    });
    lines
}

/// What is left out, by reason.
fn left_out(made: &Made) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<(&Identity, Option<String>)>> = BTreeMap::new();
    for (brief, reason) in &made.plan.left_out {
        let (title, own) = told(reason);
        by_reason.entry(title).or_default().push((brief, own));
    }
    let mut groups: Vec<_> = by_reason.into_iter().collect();
    groups.sort_by_key(|(_, briefs)| std::cmp::Reverse(briefs.len()));
    let mut lines = Vec::new();
    for (title, briefs) in groups {
        let n = i64::try_from(briefs.len()).unwrap_or(i64::MAX);
        lines.extend(wrap("! ", &format!("{} left out: {title}", counted(n, "brief"))));
        lines.extend(names(&briefs));
    }
    let unknown = made.unknown.len();
    if unknown > 0 {
        let shown = made.unknown.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let n = i64::try_from(unknown).unwrap_or(i64::MAX);
        let more = more(unknown, NAMED);
        let text =
            format!("{} of the patch without a brief that is meant: {shown}{more}", counted(n, "line"));
        lines.extend(wrap("! ", &text));
    }
    lines
}

/// Their names on one line, or each with its own reason.
fn names(briefs: &[(&Identity, Option<String>)]) -> Vec<String> {
    if briefs.iter().any(|(_, own)| own.is_some()) {
        let line = |(brief, own): &(&Identity, Option<String>)| {
            wrap("    ", &format!("{}: {}", brief.brief_id, own.as_deref().unwrap_or_default()))
        };
        let mut lines: Vec<_> = briefs.iter().take(TOLD).flat_map(line).collect();
        if briefs.len() > TOLD {
            lines.push(format!("   {}", more(briefs.len(), TOLD)));
        }
        return lines;
    }
    let shown: Vec<_> = briefs.iter().take(NAMED).map(|(brief, _)| brief.brief_id.as_str()).collect();
    wrap("    ", &format!("{}{}", shown.join(", "), more(briefs.len(), NAMED)))
}

fn more(all: usize, shown: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        n => format!(" and {} more", thousands(i64::try_from(n).unwrap_or(i64::MAX))),
    }
}

/// The reason for all of a kind, and what is told of each brief.
fn told(reason: &Reason) -> (String, Option<String>) {
    let all = |text: String| (text, None);
    match reason {
        Reason::Invalid(why) => ("what is asked for is invalid".to_owned(), Some(why.clone())),
        Reason::OnlyBrief(paths) => {
            ("containers exist, so only `brief` may change".to_owned(), Some(paths.join(", ")))
        }
        Reason::Refused(code) => {
            all(format!("{code}, as they would be again unchanged; --patch or --set changes them"))
        }
        Reason::NoHelp(code) => all(format!(
            "{code}: no rerun makes one container alone; look in the API's console, or enqueue it under another briefId"
        )),
        Reason::Canceled => all("canceled; --canceled takes them".to_owned()),
        Reason::NothingToDo => all("no container that exists is to be made again".to_owned()),
        Reason::NotEnded(BriefState::Parked) => all("parked; decide first with briefd resolve".to_owned()),
        Reason::NotEnded(_) => all("not ended yet".to_owned()),
        Reason::OtherRun(run) => all(format!("run {run} already; --run {run} takes them")),
        Reason::PriceUnknown(formats) => all(format!("nobody knows what {formats} costs")),
        Reason::OverBudget => all("over --max-credits".to_owned()),
    }
}

/// How far a plan is. `now`: this command started it, or let it go on.
pub(super) fn progress(far: &Far, projects: Projects<'_>, now: bool) -> String {
    let plan = &far.plan;
    let all = plan.pending + plan.started + plan.left_out;
    let already = if now { "" } else { " already, nothing was done now" };
    let mut lines = Vec::new();
    if plan.left_out > 0 {
        let n = counted(plan.left_out, "brief");
        lines.extend(wrap("! ", &format!("{n} changed since the plan was made: left out")));
        let line = |row: &PlanRow| {
            let why = row.why.as_deref().unwrap_or_default();
            wrap("    ", &format!("{} of {}: {why}", row.brief_id, projects.name(&row.project_id)))
        };
        lines.extend(far.left_out.iter().take(TOLD).flat_map(line));
        let left = usize::try_from(plan.left_out).unwrap_or(usize::MAX);
        if left > TOLD {
            lines.push(format!("   {}", more(left, TOLD)));
        }
    }
    let started = format!("{} of {}", thousands(plan.started), counted(all, "brief"));
    let waits = thousands(plan.pending);
    match plan.state {
        PlanState::Stopped => {
            let n = thousands(far.ends.not_completed);
            let text = format!(
                "plan {} has stopped: {n} of its first {} did not complete; {waits} wait",
                plan.id,
                counted(plan.started, "brief")
            );
            lines.extend(wrap("! ", &text));
        }
        PlanState::Canary => {
            let text = format!(
                "plan {}: {started} started{already}; the other {waits} start by themselves once all of these have \
                 completed",
                plan.id
            );
            lines.extend(wrap("", &text));
        }
        PlanState::Starting | PlanState::Draft | PlanState::Planned => {
            let text = format!("plan {}: {started} started so far; the worker goes on", plan.id);
            lines.extend(wrap("", &text));
        }
        PlanState::Started => {
            lines.extend(wrap("", &format!("plan {}: {started} started{already}", plan.id)));
        }
    }
    if far.ends.open == 0 && plan.started > 0 {
        let ends = format!(
            "all ended: {} completed, {} did not",
            thousands(far.ends.completed),
            thousands(far.ends.not_completed)
        );
        lines.extend(wrap("  ", &ends));
    } else if !far.has_worker {
        lines.push("no worker runs: they go on with the next briefd run".to_owned());
    }
    lines.push(format!("next: briefd {}", next(far)));
    lines.join("\n") + "\n"
}

fn next(far: &Far) -> String {
    let plan = far.plan.id;
    if far.plan.state == PlanState::Stopped && far.ends.open == 0 {
        return format!("rerun --plan {plan} --canary 0 lets the rest start all the same");
    }
    if far.ends.open > 0 || matches!(far.plan.state, PlanState::Starting | PlanState::Canary) {
        return format!("rerun --plan {plan} --wait");
    }
    if far.ends.not_completed > 0 {
        return format!("list --plan {plan}");
    }
    "status".to_owned()
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
