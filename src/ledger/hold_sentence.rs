//! A hold in sentences: whose it is, why, since when, how many wait, what to do. The log, `/readyz` and `briefd status`
//! all say it with these.

use std::fmt;

use super::{Hold, HoldScope, LedgerError, Reader};
use crate::wording::{batch_name, cut, quoted, since_when, thousands};

/// Longest detail that is shown.
const DETAIL_CHARS: usize = 200;

/// A hold in sentences. Displayed, they are one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldSentence {
    /// Whose, why, since when: `acme-fit: BILLING_EXHAUSTED since 01:12Z (needs 120, has 40).`
    pub head: String,
    /// What the API or the operator said, unless the head says as much.
    pub said: Option<String>,
    /// How many wait, and what to do: `218 briefs wait, none failed. Add credits: it goes on by itself.`
    pub next: String,
}

impl fmt::Display for HoldSentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Some(said) => write!(f, "{} {said} {}", self.head, self.next),
            None => write!(f, "{} {}", self.head, self.next),
        }
    }
}

impl Hold {
    /// The hold in sentences. `project`: what people call the project of its scope (an alias, else its id).
    /// `waiting`: how many briefs wait for it; `None`: not said.
    pub fn sentence(&self, project: &str, waiting: Option<i64>, now_ms: i64) -> HoldSentence {
        let of_refusals = self.is_of_refusals();
        let needs = match (self.required, self.available) {
            (Some(required), Some(available)) => {
                format!(" (needs {}, has {})", thousands(required), thousands(available))
            }
            (Some(required), None) => format!(" (needs {})", thousands(required)),
            (None, Some(available)) => format!(" (has {})", thousands(available)),
            (None, None) => String::new(),
        };
        let since = since_when(self.since_ms, now_ms);
        let detail = one_line(&self.detail);
        let told = needs.is_empty() || self.reason != "BILLING_EXHAUSTED";
        let waits = match waiting {
            None => "Nothing fails.".to_owned(),
            Some(0) => "Nothing waits for it.".to_owned(),
            Some(1) if of_refusals => "1 brief waits.".to_owned(),
            Some(1) => "1 brief waits, it has not failed.".to_owned(),
            Some(n) if of_refusals => format!("{} briefs wait.", thousands(n)),
            Some(n) => format!("{} briefs wait, none failed.", thousands(n)),
        };
        HoldSentence {
            head: format!("{}: {} since {since}{needs}.", self.whose(project), self.reason),
            said: (told && !detail.is_empty()).then(|| ended(detail)),
            next: format!("{waits} {}", self.what_lifts(project, now_ms)),
        }
    }

    /// `account`, a project, or a batch.
    fn whose(&self, project: &str) -> String {
        match &self.scope {
            HoldScope::Account => "account".to_owned(),
            HoldScope::Project(_) => project.to_owned(),
            HoldScope::Batch { project: None, batch } => format!("batch {}", batch_name(batch)),
            HoldScope::Batch { project: Some(_), batch } => {
                format!("batch {} of {project}", batch_name(batch))
            }
        }
    }

    /// Set because briefs of a batch were refused in a row with one code: a person mends the briefs.
    fn is_of_refusals(&self) -> bool {
        self.by_api && self.probe_ms.is_none() && matches!(self.scope, HoldScope::Batch { .. })
    }

    /// What to do about it, or when it goes on by itself.
    fn what_lifts(&self, project: &str, now_ms: i64) -> String {
        let scope = match &self.scope {
            HoldScope::Account => String::new(),
            HoldScope::Project(_) => format!(" --project {}", quoted(project)),
            HoldScope::Batch { project: None, batch } => format!(" --batch {}", quoted(batch)),
            HoldScope::Batch { project: Some(_), batch } => {
                format!(" --project {} --batch {}", quoted(project), quoted(batch))
            }
        };
        if self.reason == "OTHER_ORGANIZATION" {
            return "Use the API key of the ledger's organization, or another ledger (--ledger) for this one."
                .to_owned();
        }
        if !self.by_api {
            return format!("Go on: briefd release{scope}");
        }
        if self.easing {
            return "It seems to be over: one job at a time starts, until one is accepted.".to_owned();
        }
        if self.is_of_refusals() && self.reason == "OUTCOME_UNKNOWN" {
            return format!(
                "Layers answers others: ask them what is wrong with these; what they may have bought is looked for. \
                 To ask about them again: briefd release{scope}"
            );
        }
        if self.is_of_refusals() {
            return format!(
                "Mend it ({}) and send the briefs again, then: briefd release{scope}",
                mended_by(&self.reason)
            );
        }
        match (self.reason.as_str(), self.probe_ms) {
            ("BILLING_EXHAUSTED", _) => "Add credits: it goes on by itself.".to_owned(),
            ("UNAUTHENTICATED", _) => {
                "The API key is refused: renew it in the key file, it goes on by itself; or set LAYERS_API_KEY and restart."
                    .to_owned()
            }
            ("FORBIDDEN_SCOPE", _) => {
                "The API key lacks a scope (content:read, content:write, jobs:read): add it, it goes on by itself."
                    .to_owned()
            }
            ("KILL_SWITCH", _) => {
                "Layers has switched the key or the organization off: ask them; it goes on by itself.".to_owned()
            }
            ("API_DOWN", _) => {
                "The API does not answer: each brief that it left without an answer is asked again under the same key, \
                 and all goes on by itself with the first answer."
                    .to_owned()
            }
            (_, None) => format!("When mended: briefd release{scope}"),
            (_, Some(probe_ms)) => {
                format!("It is tested again at {}, and goes on by itself.", since_when(probe_ms, now_ms))
            }
        }
    }
}

/// What helps where brief after brief of a batch is refused.
fn mended_by(code: &str) -> &'static str {
    match code {
        "CONFLICT" => "set projectLayerId",
        "NOT_FOUND" => "check projectId and references",
        _ => "change the briefs",
    }
}

/// What comes from outside is shown in one line of bounded length.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), DETAIL_CHARS)
}

fn ended(mut sentence: String) -> String {
    if !sentence.ends_with(['.', '!', '?', '…']) {
        sentence.push('.');
    }
    sentence
}

impl Reader {
    /// How many briefs wait behind a hold. For a batch this counts the batch's briefs, else it reads a small table.
    pub async fn waiting_behind(&self, hold: &Hold) -> Result<i64, LedgerError> {
        let project = match &hold.scope {
            HoldScope::Batch { project, batch } => {
                return self.batch_waiting(project.as_deref(), batch).await;
            }
            HoldScope::Account => None,
            HoldScope::Project(id) => Some(id.as_str()),
        };
        Ok(sqlx::query_scalar(
            "SELECT coalesce(sum(n), 0) FROM tally WHERE what = 'brief' AND state = 'waiting' \
             AND ($1 IS NULL OR label = $1)",
        )
        .bind(project)
        .fetch_one(&self.pool)
        .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_777_684_500_000; // 2026-05-02 01:15
    const SINCE: i64 = NOW - 180_000;

    fn hold(scope: HoldScope, reason: &str) -> Hold {
        Hold {
            scope,
            reason: reason.to_owned(),
            detail: "what the\nAPI said".to_owned(),
            required: None,
            available: None,
            stops_reads: false,
            by_api: true,
            since_ms: SINCE,
            probe_ms: Some(NOW + 60_000),
            easing: false,
        }
    }

    fn project() -> HoldScope {
        HoldScope::Project("254a".to_owned())
    }

    fn batch() -> HoldScope {
        HoldScope::Batch { project: Some("254a".to_owned()), batch: "2026 spring".to_owned() }
    }

    #[test]
    fn a_hold_says_whose_why_since_when_how_many_wait_and_what_to_do() {
        let billing =
            Hold { required: Some(120), available: Some(40), ..hold(project(), "BILLING_EXHAUSTED") };
        let refusals = Hold {
            probe_ms: None,
            detail: "20 in a row: several layers fit".to_owned(),
            ..hold(batch(), "CONFLICT")
        };
        let unheeded =
            Hold { probe_ms: None, detail: "no answer".to_owned(), ..hold(batch(), "OUTCOME_UNKNOWN") };
        let operator = Hold {
            by_api: false,
            probe_ms: None,
            detail: "anna: wrong hook".to_owned(),
            ..hold(batch(), "OPERATOR")
        };
        let organization =
            Hold { by_api: false, probe_ms: None, ..hold(HoldScope::Account, "OTHER_ORGANIZATION") };
        let easing = Hold { easing: true, ..hold(HoldScope::Account, "API_DOWN") };
        let reasons = ["UNAUTHENTICATED", "FORBIDDEN_SCOPE", "KILL_SWITCH", "API_DOWN", "SOMETHING_NEW"];
        let account = reasons.map(|reason| hold(HoldScope::Account, reason));
        let all = [billing, refusals, unheeded, operator, organization, easing].into_iter().chain(account);
        let lines: Vec<String> =
            all.map(|hold| hold.sentence("acme-fit", Some(1_218), NOW).to_string()).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn who_waits_is_counted_in_words() {
        let next = |waiting| hold(project(), "BILLING_EXHAUSTED").sentence("p", waiting, NOW).next;
        assert!(next(Some(0)).starts_with("Nothing waits for it. "));
        assert!(next(Some(1)).starts_with("1 brief waits, it has not failed. "));
        assert!(next(None).starts_with("Nothing fails. "));
    }
}
