//! PURE. What a container at the API and what the ledger holds of it say together.

use crate::job::{ApiStatus, ContainerReading, ListedContainer};
use crate::ledger::{KnownContainer, UnnamedJob};
use crate::stages::end_has_changed;

/// Now, and how long before that something may have happened that is not everywhere yet: lists lag, and so does
/// following.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub ms: i64,
    pub grace_ms: i64,
}

impl Now {
    const fn is_new(self, ms: i64) -> bool {
        self.ms - ms < self.grace_ms
    }
}

/// In which way the API and the ledger differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It bears an id of ours, and its job's outcome is unknown here.
    Unknown,
    /// It bears an id of ours, and its brief has ended here without it.
    Unclaimed,
    /// Its job was given up here, and it has ended after all.
    Late,
    /// It has ended at the API, and not here.
    NotCollected,
    /// It has ended in another way than here.
    OtherEnd,
    /// The ledger has it, the API does not.
    Missing,
    /// Its record was made and has not been published.
    Unpublished,
    /// Nothing of it is in the ledger.
    Foreign,
}

impl Kind {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unclaimed => "unclaimed",
            Self::Late => "late",
            Self::NotCollected => "notCollected",
            Self::OtherEnd => "otherEnd",
            Self::Missing => "missing",
            Self::Unpublished => "unpublished",
            Self::Foreign => "foreign",
        }
    }

    /// What it is, and what to do, for people.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unknown => {
                "bought, but the answer was lost: --adopt follows it; with several variants, briefd resolve"
            }
            Self::Unclaimed => {
                "at the API under an id of ours, but its brief has ended here without it: see briefd show"
            }
            Self::Late => "came after its job was given up: --adopt publishes it",
            Self::NotCollected => {
                "has ended at the API and not here: a running worker collects it (briefd run)"
            }
            Self::OtherEnd => "has ended otherwise than here: somebody else changed or regenerated it",
            Self::Missing => "is in the ledger, but not at the API: ask Layers",
            Self::Unpublished => "its record is made, but not published: see briefd status",
            Self::Foreign => "not of this ledger: made by somebody else, or under an id that is not ours",
        }
    }
}

/// What is to be said of one container at the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The ledger says the same, or will soon.
    Explained,
    /// Too new to tell whose it is.
    TooNew,
    Differs(Kind),
}

/// Of one that the ledger knows by its id.
pub(super) fn known(item: &ListedContainer, known: &KnownContainer, now: Now) -> Verdict {
    let ended_ms = item.completed_at.map(jiff::Timestamp::as_millisecond);
    let is_new = |ms: Option<i64>| ms.is_some_and(|ms| now.is_new(ms));
    match (known.status.as_str(), &item.status) {
        // A regenerated one shows its old end until the new job has started.
        ("running", status) if !status.is_terminal() || known.kind == "regenerate" => Verdict::Explained,
        ("running", _) if is_new(ended_ms) || is_new(Some(known.known_at)) => Verdict::Explained,
        ("running", _) => Verdict::Differs(Kind::NotCollected),
        ("lost", status) if status.is_terminal() => Verdict::Differs(Kind::Late),
        ("lost", _) => Verdict::Explained,
        (word, status) if word == status.word() || is_new(known.ended_at) => Verdict::Explained,
        _ => Verdict::Differs(Kind::OtherEnd),
    }
}

/// The same, of one that was read by itself.
pub(super) fn read(reading: &ContainerReading, ours: &KnownContainer, now: Now) -> Verdict {
    let is_as_before = ours.seen_before.as_deref().is_some_and(|before| !end_has_changed(before, reading));
    let verdict = known(&as_listed(reading), ours, now);
    if verdict == Verdict::Differs(Kind::Late) && is_as_before {
        // Its old end: its job was given up before the API began with it.
        return Verdict::Explained;
    }
    verdict
}

/// Of one that the ledger does not know by its id; `ours`: the job whose id it bears.
pub(super) fn unknown(item: &ListedContainer, ours: Option<&UnnamedJob>, now: Now) -> Verdict {
    let is_new = item.created_at.is_none_or(|at| now.is_new(at.as_millisecond()));
    match ours.map(|job| job.state.as_str()) {
        Some("running") => Verdict::Explained,
        _ if is_new => Verdict::TooNew,
        Some("ready" | "submitting" | "parked") => Verdict::Differs(Kind::Unknown),
        Some(_) => Verdict::Differs(Kind::Unclaimed),
        None => Verdict::Differs(Kind::Foreign),
    }
}

/// Whether a container of the ledger must be in a whole list of this span by now.
pub(super) fn must_be_listed(known: &KnownContainer, statuses: &[String], now: Now) -> bool {
    let settled = |ms: i64| !now.is_new(ms);
    let listed = match known.status.as_str() {
        "completed" | "failed" | "canceled" => statuses.is_empty() || statuses.contains(&known.status),
        // Where it stands at the API, only the API knows.
        _ => statuses.is_empty(),
    };
    listed && settled(known.known_at) && known.ended_at.is_none_or(settled)
}

/// A container that was read by itself, as a list would have it.
pub(super) fn as_listed(reading: &ContainerReading) -> ListedContainer {
    let ended = match reading.status {
        ApiStatus::Completed => reading.completed_at,
        ApiStatus::Failed | ApiStatus::Canceled => reading.failed_at.or(reading.updated_at),
        ApiStatus::Running(_) => None,
    };
    ListedContainer {
        id: reading.id.clone(),
        status: reading.status.clone(),
        format: reading.format.clone(),
        approval_status: reading.approval_status.clone(),
        created_at: reading.created_at,
        completed_at: ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_777_683_600_000;
    const NOW: Now = Now { ms: NOW_MS, grace_ms: 600_000 };
    const LONG_AGO: i64 = NOW_MS - 3_600_000;

    fn time(ms: i64) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_millisecond(ms).ok()
    }

    fn item(status: &str, created_ms: i64, completed_ms: Option<i64>) -> ListedContainer {
        ListedContainer {
            id: "c".to_owned(),
            status: ApiStatus::from_word(status),
            format: None,
            approval_status: None,
            created_at: time(created_ms),
            completed_at: completed_ms.and_then(time),
        }
    }

    fn here(status: &str, kind: &str, ended_at: Option<i64>) -> KnownContainer {
        KnownContainer {
            id: "c".to_owned(),
            status: status.to_owned(),
            known_at: LONG_AGO,
            ended_at,
            variant: 1,
            job: 1,
            kind: kind.to_owned(),
            seen_before: None,
            brief: 1,
            brief_id: "b".to_owned(),
            batch_id: String::new(),
            run: 1,
        }
    }

    #[test]
    fn the_old_end_of_a_rerun_that_was_given_up_is_no_late_result() {
        let reading = |failed_at: &str| ContainerReading {
            id: "c".to_owned(),
            status: ApiStatus::Failed,
            format: None,
            brief: None,
            created_at: None,
            updated_at: None,
            completed_at: None,
            failed_at: failed_at.parse().ok(),
            last_error: None,
            approval_status: None,
            record: "{}".to_owned(),
        };
        let old = r#"{"completedAt":null,"failedAt":"2026-05-01T00:00:00Z"}"#;
        let lost = |seen_before: Option<&str>| KnownContainer {
            seen_before: seen_before.map(str::to_owned),
            ..here("lost", "regenerate", Some(LONG_AGO))
        };
        let late = Verdict::Differs(Kind::Late);
        assert_eq!(read(&reading("2026-05-01T00:00:00Z"), &lost(Some(old)), NOW), Verdict::Explained);
        assert_eq!(read(&reading("2026-05-01T01:00:00Z"), &lost(Some(old)), NOW), late);
        assert_eq!(read(&reading("2026-05-01T00:00:00Z"), &lost(None), NOW), late, "a look-up saw it run");
    }

    #[test]
    fn what_is_known_differs_only_once_everybody_had_time() {
        let judge = |api: &str, ours: &str, kind: &str| {
            known(&item(api, LONG_AGO, None), &here(ours, kind, Some(LONG_AGO)), NOW)
        };
        for (api, ours, expected) in [
            ("completed", "completed", Verdict::Explained),
            ("generating", "running", Verdict::Explained),
            ("generating", "lost", Verdict::Explained),
            ("failed", "running", Verdict::Differs(Kind::NotCollected)),
            ("completed", "lost", Verdict::Differs(Kind::Late)),
            ("completed", "failed", Verdict::Differs(Kind::OtherEnd)),
            ("generating", "completed", Verdict::Differs(Kind::OtherEnd)),
        ] {
            assert_eq!(judge(api, ours, "generate"), expected, "{api} {ours}");
        }
        assert_eq!(judge("failed", "running", "regenerate"), Verdict::Explained, "its old end");
        let just_now = item("completed", LONG_AGO, Some(NOW_MS - 1_000));
        assert_eq!(known(&just_now, &here("running", "generate", None), NOW), Verdict::Explained);
        let lags = here("completed", "generate", Some(NOW_MS - 1_000));
        assert_eq!(known(&item("generating", LONG_AGO, None), &lags, NOW), Verdict::Explained);
        assert!(!must_be_listed(&lags, &[], NOW));
        assert!(must_be_listed(&here("completed", "generate", Some(LONG_AGO)), &[], NOW));
        assert!(!must_be_listed(&here("completed", "generate", Some(LONG_AGO)), &["failed".to_owned()], NOW));
    }

    #[test]
    fn what_is_not_known_is_ours_by_its_id_or_foreign_or_too_new_to_tell() {
        let job = |state: &str| UnnamedJob {
            alias: "c".to_owned(),
            job: 1,
            state: state.to_owned(),
            variant_count: 1,
            brief_id: "b".to_owned(),
            batch_id: String::new(),
            run: 1,
        };
        let old = item("completed", LONG_AGO, None);
        assert_eq!(unknown(&old, None, NOW), Verdict::Differs(Kind::Foreign));
        assert_eq!(unknown(&old, Some(&job("parked")), NOW), Verdict::Differs(Kind::Unknown));
        assert_eq!(unknown(&old, Some(&job("rejected")), NOW), Verdict::Differs(Kind::Unclaimed));
        assert_eq!(unknown(&old, Some(&job("running")), NOW), Verdict::Explained);
        let new = item("generating", NOW_MS - 1_000, None);
        assert_eq!(unknown(&new, None, NOW), Verdict::TooNew);
        assert_eq!(unknown(&new, Some(&job("submitting")), NOW), Verdict::TooNew);
    }
}
