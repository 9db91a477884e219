//! PURE. What a person reads at the end: what is there, what it cost, what went wrong, what to do next.
//!
//! Every number has a source: the ledger's rows, and in the sandbox its account. What nobody knows is not shown.

use std::fmt::Write as _;
use std::path::Path;

use super::super::names::quoted;
use super::super::progress::how_long;
use super::super::table::{WIDTH, counted, thousands, wrap};
use crate::app::generate::{End, Report};
use crate::job::BriefState;
use crate::ledger::{FailureCount, Mishap, Results};
use crate::record::{REMEDIES, Remedy};
use crate::sandbox::Account;

/// Lines that were set aside and are named one by one.
const SET_ASIDE_SHOWN: usize = 20;

/// What is shown.
pub(super) struct Shown<'a> {
    pub(super) report: &'a Report,
    /// What the sandbox's account says; `None`: a real API, whose account nobody sees.
    pub(super) proof: Option<Proof>,
    pub(super) file: &'a Path,
    pub(super) out: Option<&'a Path>,
}

/// The sandbox's side of the story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// What completed containers have cost.
    pub(super) charged: u64,
    /// Every job has a key of its own.
    pub(super) once: bool,
    /// Answers that came late.
    pub(super) slow: u64,
}

impl Proof {
    pub(super) fn of(account: &Account) -> Self {
        let distinct = account.jobs_by_key.values().all(|jobs| jobs.len() == 1);
        let keyed = u64::try_from(account.jobs_by_key.len()).unwrap_or(u64::MAX);
        let struck = |name: &str| account.faults.get(name).copied().unwrap_or(0);
        Self {
            charged: account.credits.charged,
            once: distinct && keyed == account.jobs_made,
            slow: struck("slow") + struck("read-slow"),
        }
    }
}

/// Whether every line became a brief, and every brief completed.
pub(super) fn is_complete(report: &Report) -> bool {
    let states = &report.results.states;
    report.set_aside_count == 0 && states.get(BriefState::Completed) == states.total()
}

/// The whole text, each line within 80 columns as far as names allow.
pub(super) fn text(shown: &Shown<'_>) -> String {
    let results = &shown.report.results;
    let mut lines = vec![shown.headline()];
    lines.extend(shown.formats());
    lines.extend(shown.on_the_way());
    lines.extend(why(&results.failures));
    lines.extend(shown.set_aside());
    lines.extend(shown.open());
    lines.extend(shown.files());
    lines.extend(shown.next());
    lines.push(String::new());
    lines.join("\n")
}

impl Shown<'_> {
    fn results(&self) -> &Results {
        &self.report.results
    }

    /// `24 of 24 briefs completed: 33 containers, 2 projects        16 s (sandbox)`
    fn headline(&self) -> String {
        let results = self.results();
        let state = |state| results.states.get(state);
        let all = results.states.total() + i64::try_from(self.report.set_aside_count).unwrap_or(i64::MAX);
        if all == 0 {
            return format!("{} holds no briefs", self.file.display());
        }
        let completed = state(BriefState::Completed);
        let mut left = format!("{} of {} completed", thousands(completed), counted(all, "brief"));
        let others = [
            (BriefState::Partial, "partly"),
            (BriefState::Failed, "failed"),
            (BriefState::Canceled, "canceled"),
        ];
        for (other, word) in others.into_iter().filter(|(other, _)| state(*other) > 0) {
            write!(left, ", {} {word}", thousands(state(other))).unwrap_or_default();
        }
        if self.report.set_aside_count > 0 {
            write!(left, ", {} set aside", thousands(all - results.states.total())).unwrap_or_default();
        }
        if is_complete(self.report) {
            let containers = counted(results.containers(), "container");
            write!(left, ": {containers}, {}", counted(results.projects, "project")).unwrap_or_default();
        }
        let sandbox = if self.proof.is_some() { " (sandbox)" } else { "" };
        apart(&left, &format!("{}{sandbox}", how_long(self.report.took)))
    }

    /// `  video_remix 14   ugc_remix 8        3,190 credits, once`
    fn formats(&self) -> Option<String> {
        let results = self.results();
        if results.containers() == 0 {
            return None;
        }
        let mut formats: Vec<_> = results.completed.iter().collect();
        formats.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let name =
            |format: &str| if format.is_empty() { "format unknown".to_owned() } else { format.to_owned() };
        let formats: Vec<String> =
            formats.into_iter().map(|(format, n)| format!("{} {}", name(format), thousands(*n))).collect();
        let all = if is_complete(self.report) {
            String::new()
        } else {
            format!("{}: ", counted(results.containers(), "container"))
        };
        Some(apart(&format!("  {all}{}", formats.join("   ")), &self.credits().unwrap_or_default()))
    }

    fn credits(&self) -> Option<String> {
        if self.report.end != End::Done {
            // What is charged for and what is recorded are not the same yet.
            return None;
        }
        let number = |credits: u64| thousands(i64::try_from(credits).unwrap_or(i64::MAX));
        match self.proof {
            Some(proof) => {
                let once = if proof.once { ", once" } else { "" };
                Some(format!("{} credits{once}", number(proof.charged)))
            }
            None => self.results().credits.map(|credits| format!("about {} credits", number(credits))),
        }
    }

    /// `  on the way: 1 answer lost, 3 times 502, 1 slow answer: nothing bought twice`
    fn on_the_way(&self) -> Option<String> {
        let mut parts: Vec<String> = self
            .results()
            .mishaps
            .iter()
            .map(|(mishap, n)| match mishap {
                Mishap::AnswerLost => format!("{} lost", counted(*n, "answer")),
                Mishap::NotConnected => times(*n, "no connection"),
                Mishap::Status(status) => times(*n, &status.to_string()),
            })
            .collect();
        let slow = self.proof.map_or(0, |proof| proof.slow);
        if slow > 0 {
            parts.push(counted(i64::try_from(slow).unwrap_or(i64::MAX), "slow answer"));
        }
        if parts.is_empty() {
            return None;
        }
        let once = if self.proof.is_some_and(|proof| proof.once) { ": nothing bought twice" } else { "" };
        Some(wrap("  on the way: ", &format!("{}{once}", parts.join(", "))).join("\n"))
    }

    fn set_aside(&self) -> Vec<String> {
        if self.report.set_aside_count == 0 {
            return Vec::new();
        }
        let mut lines = vec![String::new(), "set aside, not sent:".to_owned()];
        for note in self.report.set_aside.iter().take(SET_ASIDE_SHOWN) {
            let place = note.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            // What is wrong with the form of a line names the line already.
            let detail = note.detail.strip_prefix(&place).unwrap_or(&note.detail);
            lines.extend(wrap("  ", &format!("{place}{}: {detail}", note.reason)));
        }
        let shown = u64::try_from(self.report.set_aside.len().min(SET_ASIDE_SHOWN)).unwrap_or(u64::MAX);
        let more = self.report.set_aside_count.saturating_sub(shown);
        if more > 0 {
            lines.push(format!("  and {} more", thousands(i64::try_from(more).unwrap_or(i64::MAX))));
        }
        lines
    }

    /// Briefs that have not ended although the command has.
    fn open(&self) -> Vec<String> {
        let results = self.results();
        let mut lines = Vec::new();
        let parked = results.states.get(BriefState::Parked);
        if parked > 0 {
            let waits = if parked == 1 { "waits" } else { "wait" };
            lines.push(format!(
                "{} {waits} for a person's decision: briefd list --state parked",
                counted(parked, "brief")
            ));
        }
        if results.queue_open > 0 {
            let are = if results.queue_open == 1 { "is" } else { "are" };
            lines.push(format!(
                "{} {are} already open for the queue; briefd run finishes them",
                counted(results.queue_open, "brief")
            ));
        }
        if !lines.is_empty() {
            lines.insert(0, String::new());
        }
        lines
    }

    fn files(&self) -> Option<String> {
        let out = self.out?;
        let records = counted(i64::try_from(self.report.records).unwrap_or(i64::MAX), "record");
        Some(match self.report.end {
            End::Done => format!("{records} in {}", out.display()),
            End::Interrupted | End::Stuck(_) | End::NobodyReads => {
                format!("{records} so far in {}.part", out.display())
            }
        })
    }

    /// What to do next.
    fn next(&self) -> Vec<String> {
        let next = match &self.report.end {
            End::Stuck(_) => return Vec::new(), // the error says it
            End::Interrupted => format!("interrupted; {}", self.goes_on()),
            End::NobodyReads => format!("nobody reads the records any more; {}", self.goes_on()),
            End::Done if self.results().states.total() == 0 && self.report.set_aside_count == 0 => {
                return Vec::new();
            }
            End::Done if is_complete(self.report) => return vec![self.next_of_success()],
            End::Done => return self.next_of_failure(),
        };
        wrap("", &next)
    }

    fn goes_on(&self) -> &'static str {
        match self.proof {
            Some(_) => "the sandbox and its ledger are gone: the same command starts anew",
            None => "the same command goes on where it stopped, nothing is bought twice",
        }
    }

    fn next_of_success(&self) -> String {
        if self.proof.is_some() {
            return "next: set LAYERS_API_KEY and leave --sandbox out; it asks before it buys".to_owned();
        }
        format!("next: briefd records{}   # the records again", self.batch())
    }

    fn next_of_failure(&self) -> Vec<String> {
        let sandbox = self.proof.is_some();
        let change = self.report.set_aside_count > 0
            || self.results().failures.iter().any(|failure| failure.remedy == Remedy::Change.word());
        let mut lines = vec![String::new()];
        if !sandbox && !self.results().failures.is_empty() {
            lines.push(format!("next: briefd list{} --state failed", self.batch()));
        }
        let again = if sandbox { "" } else { "; what has completed is not bought again" };
        if change && self.file != Path::new("-") {
            let label = if lines.len() == 1 { "next: " } else { "      " };
            let file = self.file.display();
            lines.extend(wrap(label, &format!("mend {file} and run the same command again{again}")));
        }
        if lines.len() == 1 { Vec::new() } else { lines }
    }

    /// ` --batch NAME`, when all briefs are of one batch.
    fn batch(&self) -> String {
        match self.results().batches.as_slice() {
            [batch] if !batch.is_empty() => format!(" --batch {}", quoted(batch)),
            _ => String::new(),
        }
    }
}

/// Why things did not complete: code, how many, what helps.
fn why(failures: &[FailureCount]) -> Vec<String> {
    let Some(width) = failures.iter().map(|failure| failure.code.chars().count()).max() else {
        return Vec::new();
    };
    let row = |code: &str, n: &str, helps: &str| wrap(&format!("  {code:<width$}  {n:>6}  "), helps);
    let mut lines = vec![String::new()];
    lines.extend(row("why", "count", "what helps"));
    for failure in failures {
        lines.extend(row(&failure.code, &thousands(failure.n), &helps(failure)));
    }
    lines
}

fn helps(failure: &FailureCount) -> String {
    let what = match Remedy::from_word(&failure.remedy) {
        Some(Remedy::Rerun) => "run it again",
        Some(Remedy::Change) => "change the brief",
        Some(Remedy::None) | None => "nothing",
    };
    let known = REMEDIES.iter().find(|row| row.code == failure.code && row.source.word() == failure.source);
    match known {
        Some(row) => format!("{what}: {}", row.meaning),
        None => what.to_owned(),
    }
}

fn times(n: i64, what: &str) -> String {
    if n == 1 { format!("once {what}") } else { format!("{} times {what}", thousands(n)) }
}

/// `left`, and `right` at the right edge, on a line of its own if it must.
fn apart(left: &str, right: &str) -> String {
    let (left_width, right_width) = (left.chars().count(), right.chars().count());
    if left_width + 2 + right_width > WIDTH && !right.is_empty() {
        return format!("{left}\n{right:>WIDTH$}");
    }
    let room = WIDTH - left_width;
    if right.is_empty() { left.to_owned() } else { format!("{left}{right:>room$}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::app::generate::Stuck;
    use crate::files::DeadLetterNote;
    use crate::ledger::StateCounts;

    fn report(states: &[(BriefState, i64)]) -> Report {
        let mut counts = StateCounts::default();
        for (state, n) in states {
            counts.add(*state, *n);
        }
        let completed = [("video_remix", 14), ("ugc_remix", 8), ("slideshow_remix", 11)];
        Report {
            end: End::Done,
            results: Results {
                states: counts,
                projects: 2,
                batches: vec!["2026-05-spring".to_owned()],
                completed: completed.map(|(format, n)| (format.to_owned(), n)).into(),
                credits: Some(3_190),
                mishaps: BTreeMap::from([(Mishap::AnswerLost, 1), (Mishap::Status(502), 3)]),
                ..Results::default()
            },
            records: 33,
            set_aside: Vec::new(),
            set_aside_count: 0,
            took: Duration::from_secs(16),
        }
    }

    fn shown(report: &Report, proof: Option<Proof>, out: Option<&str>) -> String {
        text(&Shown { report, proof, file: Path::new("spring.jsonl"), out: out.map(Path::new) })
    }

    const PROOF: Proof = Proof { charged: 3_190, once: true, slow: 1 };

    #[test]
    fn a_success_tells_what_is_there_what_it_cost_and_what_happened_on_the_way() {
        let report = report(&[(BriefState::Completed, 24)]);
        insta::assert_snapshot!(shown(&report, Some(PROOF), None), @r"
        24 of 24 briefs completed: 33 containers, 2 projects              16 s (sandbox)
          video_remix 14   slideshow_remix 11   ugc_remix 8          3,190 credits, once
          on the way: 1 answer lost, 3 times 502, 1 slow answer: nothing bought twice
        next: set LAYERS_API_KEY and leave --sandbox out; it asks before it buys
        ");
        insta::assert_snapshot!(shown(&report, None, Some("out.jsonl")), @r"
        24 of 24 briefs completed: 33 containers, 2 projects                        16 s
          video_remix 14   slideshow_remix 11   ugc_remix 8          about 3,190 credits
          on the way: 1 answer lost, 3 times 502
        33 records in out.jsonl
        next: briefd records --batch 2026-05-spring   # the records again
        ");
    }

    #[test]
    fn a_price_nobody_knows_is_not_shown() {
        let mut report = report(&[(BriefState::Completed, 24)]);
        report.results.credits = None;
        assert!(!shown(&report, None, None).contains("credits"));
    }

    #[test]
    fn a_second_job_under_one_key_is_never_called_once() {
        let report = report(&[(BriefState::Completed, 24)]);
        let text = shown(&report, Some(Proof { once: false, ..PROOF }), None);
        assert!(!text.contains("once") && !text.contains("nothing bought twice"), "{text}");
    }

    #[test]
    fn failures_tell_why_and_what_helps_and_lines_that_were_set_aside_are_named() {
        let mut report = report(&[
            (BriefState::Completed, 3),
            (BriefState::Partial, 2),
            (BriefState::Failed, 6),
            (BriefState::Parked, 1),
        ]);
        let failure = |code: &str, source: &str, remedy: &str, n| FailureCount {
            code: code.to_owned(),
            source: source.to_owned(),
            remedy: remedy.to_owned(),
            n,
        };
        report.results.failures = vec![
            failure("RENDER_FAILED", "layers", "rerun", 5),
            failure("INVALID_BRIEF", "briefd", "change", 2),
            failure("SOMETHING_NEW", "layers", "rerun", 1),
        ];
        report.results.queue_open = 1;
        let (reason, detail) = (
            "UNREADABLE".to_owned(),
            "the message is not JSON: EOF while parsing a string at column 196".to_owned(),
        );
        report.set_aside = vec![DeadLetterNote { line: Some(6), reason, detail }; 22];
        report.set_aside_count = 22;
        let text = shown(&report, None, None);
        assert_eq!(text.matches("UNREADABLE").count(), 20);
        report.set_aside.truncate(1);
        report.set_aside_count = 1;
        insta::assert_snapshot!(shown(&report, None, None), @r"
        3 of 13 briefs completed, 2 partly, 6 failed, 1 set aside                   16 s
          33 containers: video_remix 14   slideshow_remix 11   ugc_remix 8
                                                                     about 3,190 credits
          on the way: 1 answer lost, 3 times 502

          why             count  what helps
          RENDER_FAILED       5  run it again: generation failed
          INVALID_BRIEF       2  change the brief: the brief does not fit its schema
          SOMETHING_NEW       1  run it again

        set aside, not sent:
          line 6: UNREADABLE: the message is not JSON: EOF while parsing a string at
          column 196

        1 brief waits for a person's decision: briefd list --state parked
        1 brief is already open for the queue; briefd run finishes them

        next: briefd list --batch 2026-05-spring --state failed
              mend spring.jsonl and run the same command again; what has completed is
              not bought again
        ");
        assert!(shown(&report, Some(PROOF), None).contains("next: mend spring.jsonl"));
    }

    #[test]
    fn an_interruption_says_how_it_goes_on() {
        let mut report = report(&[(BriefState::Completed, 5), (BriefState::Running, 19)]);
        report.end = End::Interrupted;
        insta::assert_snapshot!(shown(&report, None, Some("out.jsonl")), @r"
        5 of 24 briefs completed                                                    16 s
          33 containers: video_remix 14   slideshow_remix 11   ugc_remix 8
          on the way: 1 answer lost, 3 times 502
        33 records so far in out.jsonl.part
        interrupted; the same command goes on where it stopped, nothing is bought twice
        ");
        assert!(shown(&report, Some(PROOF), None).ends_with("the same command starts anew\n"));
        report.end = End::Stuck(Stuck { reason: "UNAUTHENTICATED".to_owned(), detail: String::new() });
        assert!(!shown(&report, None, None).contains("next:"));
    }
}
