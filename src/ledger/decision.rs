//! What can be decided about a delivery.

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// An unknown identity, valid.
    New,
    /// An unknown identity, ended at once.
    Invalid,
    /// Known, still open (or pruned).
    Duplicate,
    /// Known and ended: its latest records go out again, unchanged.
    Republished,
    /// Other content, and nothing was ever accepted: taken as the next run.
    Replaced,
    /// The next run was asked for.
    Rerun,
    /// Set aside: it contradicts what is known.
    Conflict,
    /// Set aside: it cannot be read.
    Unreadable,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Invalid,
        Self::Duplicate,
        Self::Republished,
        Self::Replaced,
        Self::Rerun,
        Self::Conflict,
        Self::Unreadable,
    ];

    /// The metric's label and the ledger's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Republished => "republished",
            Self::Replaced => "replaced",
            Self::Rerun => "rerun",
            Self::Conflict => "conflict",
            Self::Unreadable => "unreadable",
        }
    }

    /// The running total it counts into: decided = new + duplicate + rerun + dead-lettered.
    pub(super) const fn total(self) -> &'static str {
        match self {
            Self::New | Self::Invalid => "new",
            Self::Duplicate | Self::Republished => "duplicate",
            Self::Replaced | Self::Rerun => "rerun",
            Self::Conflict | Self::Unreadable => "dead_lettered",
        }
    }
}
