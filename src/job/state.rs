//! The states of a job and of a brief.

/// Where one POST that starts generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// May be started when its time has come.
    Ready,
    /// A POST may have left.
    Submitting,
    /// The API has accepted it.
    Running,
    /// The API ended it well.
    Completed,
    /// The API, or we after long silence, ended it badly.
    Failed,
    /// It ended because somebody asked.
    Canceled,
    /// A definite refusal; no job exists at the API.
    Rejected,
    /// A person must decide (`briefd resolve`).
    Parked,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::Submitting,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
        Self::Parked,
    ];

    /// The word in the ledger, in metrics and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
            Self::Parked => "parked",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// Where a brief's current run stands, for people. Derived from its job, its holds and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BriefState {
    /// `notBefore` is in the future.
    Scheduled,
    /// Waits for its turn.
    Waiting,
    /// Would start, but a hold is in force.
    Held,
    /// A POST may have left.
    Submitting,
    /// The API is generating.
    Running,
    /// Every container completed.
    Completed,
    /// Some containers completed.
    Partial,
    /// No container completed.
    Failed,
    /// Ended because somebody asked.
    Canceled,
    /// A person must decide.
    Parked,
}

impl BriefState {
    /// Every state, in the order of a brief's life.
    pub const ALL: [Self; 10] = [
        Self::Scheduled,
        Self::Waiting,
        Self::Held,
        Self::Submitting,
        Self::Running,
        Self::Completed,
        Self::Partial,
        Self::Failed,
        Self::Canceled,
        Self::Parked,
    ];

    /// The word in the ledger, in metrics and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Parked => "parked",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}
