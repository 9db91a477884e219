//! Trouble in sentences that say what to do.

use super::super::names::{Projects, batch_name, quoted};
use super::super::table::{counted, cut, thousands, wrap};
use super::super::times::since_when;
use super::facts::Facts;
use crate::config::Settings;
use crate::ledger::{Hold, HoldScope};

/// Longest detail that is shown of a hold.
const DETAIL_CHARS: usize = 200;
/// Reasons of late rows that are shown.
const LATE_SHOWN: usize = 5;
/// Under the labels.
const INDENT: &str = "          ";

/// Everything that is in the way, each with what to do about it.
pub(super) fn trouble(facts: &Facts, settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for (hold, waiting) in &facts.holds {
        lines.extend(held(hold, *waiting, facts.now_ms, Projects(&settings.projects)));
    }
    lines.extend(parked(facts, Projects(&settings.projects)));
    for late in LateGroup::of(facts).iter().take(LATE_SHOWN) {
        lines.extend(wrap("! UNSENT  ", &late.sentence(facts, settings)));
    }
    if facts.outbox_parked > 0 {
        let text = format!(
            "{}: the broker closed the channel over each of them, too large perhaps. \
             Raise its message size limit, then send their briefs again: the records go out once more",
            counted(facts.outbox_parked, "message")
        );
        lines.extend(wrap("! UNSENT  ", &text));
    }
    if !facts.worker && facts.totals.open() > 0 {
        let text = format!(
            "no worker is at this ledger, and {} open: start briefd run, or the briefd generate they came from",
            match facts.totals.open() {
                1 => "1 brief is".to_owned(),
                n => format!("{} briefs are", thousands(n)),
            }
        );
        lines.extend(wrap("! STOPPED ", &text));
    }
    lines
}

fn held(hold: &Hold, waiting: i64, now_ms: i64, projects: Projects<'_>) -> Vec<String> {
    let what = match &hold.scope {
        HoldScope::Account => "everything".to_owned(),
        HoldScope::Project(id) => projects.name(id).to_owned(),
        HoldScope::Batch { project: None, batch } => format!("batch {}", batch_name(batch)),
        HoldScope::Batch { project: Some(id), batch } => {
            format!("batch {} of {}", batch_name(batch), projects.name(id))
        }
    };
    let needs = match (hold.required, hold.available) {
        (Some(required), Some(available)) => {
            format!(" (needs {}, has {})", thousands(required), thousands(available))
        }
        (Some(required), None) => format!(" (needs {})", thousands(required)),
        (None, _) => String::new(),
    };
    let head = format!("{what}: {} since {}{needs}", hold.reason, since_when(hold.since_ms, now_ms));
    let mut lines = wrap("! HELD    ", &head);
    if !hold.detail.is_empty() {
        lines.extend(wrap(INDENT, &cut(&hold.detail, DETAIL_CHARS)));
    }
    let who = match waiting {
        0 => "Nothing waits for it.".to_owned(),
        1 => "1 brief waits, it has not failed.".to_owned(),
        n => format!("{} briefs wait, none failed.", thousands(n)),
    };
    lines.extend(wrap(INDENT, &format!("{who} {}", what_lifts(hold, now_ms, projects))));
    lines
}

fn what_lifts(hold: &Hold, now_ms: i64, projects: Projects<'_>) -> String {
    let scope = match &hold.scope {
        HoldScope::Account => String::new(),
        HoldScope::Project(id) => format!(" --project {}", quoted(projects.name(id))),
        HoldScope::Batch { project: None, batch } => format!(" --batch {}", quoted(batch)),
        HoldScope::Batch { project: Some(id), batch } => {
            format!(" --project {} --batch {}", quoted(projects.name(id)), quoted(batch))
        }
    };
    if !hold.by_api {
        return format!("Go on: briefd release{scope}");
    }
    match (hold.reason.as_str(), hold.probe_ms) {
        ("BILLING_EXHAUSTED", _) => "Add credits: it goes on by itself.".to_owned(),
        ("UNAUTHENTICATED", _) => {
            "The API key is refused: renew it in the key file, or set LAYERS_API_KEY and restart.".to_owned()
        }
        ("FORBIDDEN_SCOPE", _) => {
            "The API key lacks a scope (content:read, content:write, jobs:read): add it, it goes on by itself."
                .to_owned()
        }
        ("KILL_SWITCH", _) => {
            "Layers has switched the key or the organization off: ask them; it goes on by itself.".to_owned()
        }
        ("API_DOWN", _) => "The API does not answer: it goes on by itself with the first answer.".to_owned(),
        ("OTHER_ORGANIZATION", _) => {
            "Use the key of that organization, or another ledger for this one.".to_owned()
        }
        (code, None) => format!(
            "See which: briefd list{scope} --code {}. When mended: briefd release{scope}",
            quoted(code)
        ),
        (_, Some(probe_ms)) => {
            format!("It is tested again at {}, and goes on by itself.", since_when(probe_ms, now_ms))
        }
    }
}

fn parked(facts: &Facts, projects: Projects<'_>) -> Vec<String> {
    let (n, named) = &facts.parked;
    if *n == 0 {
        return Vec::new();
    }
    let head = match n {
        1 => "1 brief may have been bought or not, and only a person can tell.".to_owned(),
        n => format!("{} briefs may have been bought or not, and only a person can tell.", thousands(*n)),
    };
    let mut lines = wrap("! PARKED  ", &head);
    for brief in named {
        let text = format!(
            "{}/{}/{}: {}",
            projects.name(&brief.project_id),
            batch_name(&brief.batch_id),
            brief.brief_id,
            brief.code.as_deref().or(brief.message.as_deref()).unwrap_or("no reason stored"),
        );
        lines.extend(wrap(INDENT, &text));
    }
    if let Some(first) = named.first() {
        let id = quoted(&first.brief_id);
        lines.extend(wrap(INDENT, &format!("Look at what is known: briefd show {id}")));
    }
    lines
}

/// Rows that are late for one reason.
struct LateGroup<'a> {
    dead_letters: bool,
    input: &'a str,
    /// Tried in vain, so their kind matters: a queue may not be bound for it.
    tried: bool,
    kinds: Vec<&'a str>,
    n: i64,
    oldest_ms: i64,
}

impl<'a> LateGroup<'a> {
    fn of(facts: &'a Facts) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for late in &facts.late {
            let dead_letters = late.channel == "dead_letter";
            let tried = facts.worker && late.attempts > 0;
            let known = groups.iter_mut().find(|group| {
                (group.dead_letters, group.input) == (dead_letters, &late.input) && !group.tried && !tried
            });
            if let Some(group) = known {
                group.kinds.push(&late.kind);
                group.n += late.n;
                group.oldest_ms = group.oldest_ms.min(late.oldest_ms);
            } else {
                groups.push(Self {
                    dead_letters,
                    input: &late.input,
                    tried,
                    kinds: vec![&late.kind],
                    n: late.n,
                    oldest_ms: late.oldest_ms,
                });
            }
        }
        groups
    }

    fn sentence(&self, facts: &Facts, settings: &Settings) -> String {
        let (what, exchange) = if self.dead_letters {
            ("dead letter", &settings.amqp.dead_letter.exchange)
        } else {
            ("record", &settings.amqp.output.exchange)
        };
        let since = since_when(self.oldest_ms, facts.now_ms);
        let head = format!("{} not sent since {since} ({})", counted(self.n, what), self.kinds.join(", "));
        if let Some(file) = self.input.strip_prefix("file:") {
            format!("{head}: they go to a file. Go on: briefd generate {}", quoted(file))
        } else if !facts.worker {
            format!("{head}: no worker runs. Start: briefd run")
        } else if self.tried {
            format!(
                "{head}: tried in vain. Is a queue bound for it on exchange {exchange}? See: briefd topology"
            )
        } else {
            format!(
                "{head}: exchange {exchange} is not reached, or many are to be sent. See: briefd topology"
            )
        }
    }
}
