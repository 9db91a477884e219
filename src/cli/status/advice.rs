//! Trouble in sentences that say what to do.

use super::super::names::{Projects, batch_name, quoted};
use super::super::table::{counted, thousands, wrap};
use super::super::times::since_when;
use super::facts::Facts;
use crate::config::Settings;
use crate::ledger::Hold;

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
    lines.extend(no_answer(facts));
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
    let sentence = hold.sentence(projects.name(hold.scope.project()), Some(waiting), now_ms);
    let mut lines = wrap("! HELD    ", &sentence.head);
    if let Some(said) = &sentence.said {
        lines.extend(wrap(INDENT, said));
    }
    lines.extend(wrap(INDENT, &sentence.next));
    lines
}

/// The API is silent, for some or for all.
fn no_answer(facts: &Facts) -> Vec<String> {
    let silence = &facts.silence;
    let mut lines = Vec::new();
    if let (1.., Some(since_ms)) = (silence.unknown, silence.unknown_since) {
        let text = format!(
            "{}: the API has not answered since {}. Whether it took {} is not known: {} asked again under the same \
             key, and nothing is bought twice.",
            counted(silence.unknown, "brief"),
            since_when(since_ms, facts.now_ms),
            if silence.unknown == 1 { "it" } else { "them" },
            if silence.unknown == 1 { "it is" } else { "each is" },
        );
        lines.extend(wrap("! NO ANSWER  ", &text));
    }
    if let (1.., Some(since_ms)) = (silence.unsent, silence.unsent_since) {
        let text = format!(
            "{}: no connection to the API since {}. Nothing was sent; {} tried again by itself.",
            counted(silence.unsent, "brief"),
            since_when(since_ms, facts.now_ms),
            if silence.unsent == 1 { "it is" } else { "each is" },
        );
        lines.extend(wrap("! NO ANSWER  ", &text));
    }
    // A hold of the account says it already.
    let down = facts.holds.iter().any(|(hold, _)| hold.reason == "API_DOWN");
    if !lines.is_empty() && !down {
        let text = "If it stays so: is layers.base_url right and within reach, is Layers up? Of one brief: briefd show ID";
        lines.extend(wrap("             ", text));
    }
    lines
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
        lines.extend(wrap(INDENT, &format!("What is known of it: briefd show {id}. Then decide:")));
        let decide = format!("briefd resolve {id} --accepted JOB_ID | --repeat | --never-accepted");
        lines.extend(wrap(INDENT, &decide));
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
