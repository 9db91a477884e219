//! The state machine of one POST that starts generation: every state, every event, one table.
//!
//! `submitting` means "a POST may have left". While every attempt so far is [`Certainty::Harmless`], the job may go
//! back to `ready` or end `rejected`. After one attempt of unknown outcome (a crash counts as one) the only ways out
//! are a 2xx to the same key and bytes, our container found by `GET`, or a person: a refusal after a lost answer is
//! never believed without a look-up, expiry and local cancel never apply, and no path leads to a new key.
//!
//! The table is data for the reader (`CONTRIBUTING.md` shows it) and a snapshot for the tests.

use super::state::JobState;

/// What is known about the attempts that were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// Each attempt provably made no job, or there was none.
    Harmless,
    /// At least one attempt may have made a job.
    Unknown,
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The submit stage takes it: the next thing that happens is a POST.
    Claimed,
    /// Claimed, but the POST did not leave: an orderly stop, or a check directly before the bytes would have left.
    Unclaimed,
    /// A readable 2xx.
    Accepted,
    /// No connection came about.
    NotConnected,
    /// The POST may have left, and nothing readable came back; or the process died with it in flight.
    Unanswered,
    /// The same, again and again, while others were accepted: it is this brief that the API has no answer to.
    Unheeded,
    /// The API asked to wait (a rate limit).
    ToldToWait,
    /// The API says that the first call with this key is still in progress: somebody's POST may be making our job.
    InProgress,
    /// The account or the project is in trouble, not the brief.
    Held,
    /// The API refused it for good.
    Refused,
    /// The API has seen this key or this id with something else.
    SeenBefore,
    /// Look-up: our container is there, with an equal brief.
    FoundOurs,
    /// Look-up: our container is there, but it has siblings, which only a 2xx to the same POST names: it is sent once
    /// more (`id` guards), and never counts as harmless again.
    FoundInPart,
    /// Look-up: our container id is there, but with another brief.
    FoundOther,
    /// Look-up: not there (once).
    NotFound,
    /// Look-up: not there, twice ten minutes apart, where look-ups by our id are known to work, and refused again.
    NotFoundForSure,
    /// The look-up proved nothing, and the POST must not be repeated or would be refused again.
    Undecidable,
    /// The time in which a key-only job may be repeated is over, or the API key has changed meanwhile.
    RepeatForbidden,
    /// Claimed ten times without a recorded outcome.
    CrashLoop,
    /// `expiresAt` has passed.
    Expired,
    /// Somebody canceled it here, or replaced it, before it was started.
    CanceledHere,
    /// A rerun looked first: the container is completed after all.
    FoundCompleted,
    /// A rerun looked first: the container is still being generated.
    FoundRunning,
    /// Every container has ended, at least one completed.
    EndedWell,
    /// Every container has ended, none completed.
    EndedBadly,
    /// Every container has ended because somebody asked.
    EndedCanceled,
    /// `briefd resolve --accepted`
    ResolvedAccepted,
    /// `briefd resolve --repeat`
    ResolvedRepeat,
    /// `briefd resolve --never-accepted`
    ResolvedNever,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 29] = [
        Self::Claimed,
        Self::Unclaimed,
        Self::Accepted,
        Self::NotConnected,
        Self::Unanswered,
        Self::Unheeded,
        Self::ToldToWait,
        Self::InProgress,
        Self::Held,
        Self::Refused,
        Self::SeenBefore,
        Self::FoundOurs,
        Self::FoundInPart,
        Self::FoundOther,
        Self::NotFound,
        Self::NotFoundForSure,
        Self::Undecidable,
        Self::RepeatForbidden,
        Self::CrashLoop,
        Self::Expired,
        Self::CanceledHere,
        Self::FoundCompleted,
        Self::FoundRunning,
        Self::EndedWell,
        Self::EndedBadly,
        Self::EndedCanceled,
        Self::ResolvedAccepted,
        Self::ResolvedRepeat,
        Self::ResolvedNever,
    ];

    /// The event that the ledger's story stores under this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| format!("{event:?}") == name)
    }

    /// What happened, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Claimed => "to be sent",
            Self::Unclaimed => "not sent after all",
            Self::Accepted => "accepted",
            Self::NotConnected => "no connection, nothing was sent",
            Self::Unanswered => "no readable answer, so it may have been taken",
            Self::Unheeded => "again no readable answer, while others got theirs",
            Self::ToldToWait => "told to wait",
            Self::InProgress => "its first POST is still being served",
            Self::Held => "held back: the account's or the project's trouble",
            Self::Refused => "refused for good",
            Self::SeenBefore => "the API has seen this key or id before",
            Self::FoundOurs => "looked up and found: it was accepted",
            Self::FoundInPart => "looked up and found; asked again for its other variants",
            Self::FoundOther => "looked up: our id is there with another brief",
            Self::NotFound => "looked up and not found; looked for once more later",
            Self::NotFoundForSure => "looked up twice and not found: it was never accepted",
            Self::Undecidable => "looked up, and that proved nothing",
            Self::RepeatForbidden => "too late, or under another API key, to be repeated",
            Self::CrashLoop => "cut off ten times in a row",
            Self::Expired => "expired before it was sent",
            Self::CanceledHere => "canceled before it was sent",
            Self::FoundCompleted => "read before the rerun: completed already",
            Self::FoundRunning => "read before the rerun: still running",
            Self::EndedWell => "completed",
            Self::EndedBadly => "failed",
            Self::EndedCanceled => "canceled",
            Self::ResolvedAccepted => "a person says: it was accepted",
            Self::ResolvedRepeat => "a person says: repeat it",
            Self::ResolvedNever => "a person says: it was never accepted",
        }
    }
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Go to this state (or stay in it).
    To(JobState),
    /// Ask the API for our container before anything is believed.
    LookUp,
    /// This cannot happen to a job in that state: a conflict, reported and not carried out.
    Conflict,
}

/// What follows when `event` happens to a job in `state` whose attempts so far are `certainty`.
pub const fn next(state: JobState, certainty: Certainty, event: Event) -> Next {
    match state {
        JobState::Ready => from_ready(event),
        JobState::Submitting => match certainty {
            Certainty::Harmless => from_submitting_harmless(event),
            Certainty::Unknown => from_submitting_unknown(event),
        },
        JobState::Running => from_running(event),
        JobState::Parked => from_parked(event),
        JobState::Completed | JobState::Failed | JobState::Canceled | JobState::Rejected => Next::Conflict,
    }
}

const fn from_ready(event: Event) -> Next {
    match event {
        Event::Claimed => Next::To(JobState::Submitting),
        Event::Expired => Next::To(JobState::Rejected),
        Event::CanceledHere => Next::To(JobState::Canceled),
        Event::FoundCompleted => Next::To(JobState::Completed),
        Event::FoundRunning => Next::To(JobState::Running),
        Event::Unclaimed
        | Event::Accepted
        | Event::NotConnected
        | Event::Unanswered
        | Event::Unheeded
        | Event::ToldToWait
        | Event::InProgress
        | Event::Held
        | Event::Refused
        | Event::SeenBefore
        | Event::FoundOurs
        | Event::FoundInPart
        | Event::FoundOther
        | Event::NotFound
        | Event::NotFoundForSure
        | Event::Undecidable
        | Event::RepeatForbidden
        | Event::CrashLoop
        | Event::EndedWell
        | Event::EndedBadly
        | Event::EndedCanceled
        | Event::ResolvedAccepted
        | Event::ResolvedRepeat
        | Event::ResolvedNever => Next::Conflict,
    }
}

const fn from_submitting_harmless(event: Event) -> Next {
    match event {
        Event::Unanswered | Event::Unheeded | Event::InProgress | Event::FoundInPart => {
            Next::To(JobState::Submitting)
        }
        Event::Accepted | Event::FoundOurs => Next::To(JobState::Running),
        Event::Unclaimed | Event::NotConnected | Event::ToldToWait | Event::Held => Next::To(JobState::Ready),
        // After `SeenBefore` on a first attempt: somebody else's container, or none at all.
        Event::Refused | Event::FoundOther | Event::NotFound | Event::NotFoundForSure => {
            Next::To(JobState::Rejected)
        }
        Event::SeenBefore => Next::LookUp,
        Event::CrashLoop => Next::To(JobState::Parked),
        Event::Claimed
        | Event::Undecidable
        | Event::RepeatForbidden
        | Event::Expired
        | Event::CanceledHere
        | Event::FoundCompleted
        | Event::FoundRunning
        | Event::EndedWell
        | Event::EndedBadly
        | Event::EndedCanceled
        | Event::ResolvedAccepted
        | Event::ResolvedRepeat
        | Event::ResolvedNever => Next::Conflict,
    }
}

const fn from_submitting_unknown(event: Event) -> Next {
    match event {
        Event::Claimed
        | Event::Unclaimed
        | Event::NotConnected
        | Event::Unanswered
        | Event::Unheeded
        | Event::ToldToWait
        | Event::InProgress
        | Event::Held
        | Event::FoundInPart
        | Event::NotFound => Next::To(JobState::Submitting),
        Event::Accepted | Event::FoundOurs => Next::To(JobState::Running),
        Event::Refused | Event::SeenBefore | Event::RepeatForbidden => Next::LookUp,
        Event::NotFoundForSure => Next::To(JobState::Rejected),
        Event::FoundOther | Event::Undecidable | Event::CrashLoop => Next::To(JobState::Parked),
        Event::Expired
        | Event::CanceledHere
        | Event::FoundCompleted
        | Event::FoundRunning
        | Event::EndedWell
        | Event::EndedBadly
        | Event::EndedCanceled
        | Event::ResolvedAccepted
        | Event::ResolvedRepeat
        | Event::ResolvedNever => Next::Conflict,
    }
}

const fn from_running(event: Event) -> Next {
    match event {
        Event::EndedWell => Next::To(JobState::Completed),
        Event::EndedBadly => Next::To(JobState::Failed),
        Event::EndedCanceled => Next::To(JobState::Canceled),
        Event::Claimed
        | Event::Unclaimed
        | Event::Accepted
        | Event::NotConnected
        | Event::Unanswered
        | Event::Unheeded
        | Event::ToldToWait
        | Event::InProgress
        | Event::Held
        | Event::Refused
        | Event::SeenBefore
        | Event::FoundOurs
        | Event::FoundInPart
        | Event::FoundOther
        | Event::NotFound
        | Event::NotFoundForSure
        | Event::Undecidable
        | Event::RepeatForbidden
        | Event::CrashLoop
        | Event::Expired
        | Event::CanceledHere
        | Event::FoundCompleted
        | Event::FoundRunning
        | Event::ResolvedAccepted
        | Event::ResolvedRepeat
        | Event::ResolvedNever => Next::Conflict,
    }
}

const fn from_parked(event: Event) -> Next {
    match event {
        Event::ResolvedAccepted | Event::FoundOurs => Next::To(JobState::Running),
        Event::ResolvedRepeat => Next::To(JobState::Submitting),
        Event::ResolvedNever => Next::To(JobState::Rejected),
        Event::Claimed
        | Event::Unclaimed
        | Event::Accepted
        | Event::NotConnected
        | Event::Unanswered
        | Event::Unheeded
        | Event::ToldToWait
        | Event::InProgress
        | Event::Held
        | Event::Refused
        | Event::SeenBefore
        | Event::FoundInPart
        | Event::FoundOther
        | Event::NotFound
        | Event::NotFoundForSure
        | Event::Undecidable
        | Event::RepeatForbidden
        | Event::CrashLoop
        | Event::Expired
        | Event::CanceledHere
        | Event::FoundCompleted
        | Event::FoundRunning
        | Event::EndedWell
        | Event::EndedBadly
        | Event::EndedCanceled => Next::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn table() -> String {
        let mut text = String::from(
            "| event | ready | submitting, harmless | submitting, unknown | running | parked | ended |\n|---|---|---|---|---|---|---|\n",
        );
        for event in Event::ALL {
            let cell = |state, certainty| match next(state, certainty, event) {
                Next::To(state) => state.word(),
                Next::LookUp => "look up",
                Next::Conflict => "–",
            };
            let ended = [JobState::Completed, JobState::Failed, JobState::Canceled, JobState::Rejected]
                .map(|state| cell(state, Certainty::Unknown));
            assert!(ended.iter().all(|word| *word == ended[0]));
            writeln!(
                text,
                "| {event:?} | {} | {} | {} | {} | {} | {} |",
                cell(JobState::Ready, Certainty::Harmless),
                cell(JobState::Submitting, Certainty::Harmless),
                cell(JobState::Submitting, Certainty::Unknown),
                cell(JobState::Running, Certainty::Unknown),
                cell(JobState::Parked, Certainty::Unknown),
                ended[0],
            )
            .unwrap();
        }
        text
    }

    #[test]
    fn the_transition_table_is_the_published_one() {
        insta::assert_snapshot!(table());
    }

    #[test]
    fn every_event_has_words_of_its_own_and_is_found_by_its_stored_name() {
        let words: std::collections::BTreeSet<_> = Event::ALL.map(Event::words).into();
        assert_eq!(words.len(), Event::ALL.len());
        for event in Event::ALL {
            assert_eq!(Event::from_name(&format!("{event:?}")), Some(event));
        }
        assert_eq!(Event::from_name("accepted"), None);
    }

    #[test]
    fn an_unknown_attempt_never_leads_back_to_ready_nor_to_an_end_without_a_look_up() {
        for event in Event::ALL {
            let after = next(JobState::Submitting, Certainty::Unknown, event);
            assert_ne!(after, Next::To(JobState::Ready), "{event:?}");
            if matches!(after, Next::To(JobState::Rejected | JobState::Canceled | JobState::Failed)) {
                assert_eq!(event, Event::NotFoundForSure);
            }
        }
    }
}
