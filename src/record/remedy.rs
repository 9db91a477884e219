//! What helps after a failure: the one table for records, `status`, `rerun` and dashboards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Source;

/// What helps after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Remedy {
    /// Running the brief again as it is.
    Rerun,
    /// Changing the brief or the project; as it is, it would be refused again.
    Change,
    /// Nothing that a rerun could do.
    None,
}

impl Remedy {
    /// Every remedy.
    pub const ALL: [Self; 3] = [Self::Rerun, Self::Change, Self::None];

    /// The word in records and in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Change => "change",
            Self::None => "none",
        }
    }

    /// The remedy of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.word() == word)
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RemedyRow {
    /// Who says so.
    pub source: Source,
    /// The code.
    pub code: &'static str,
    /// What helps.
    pub remedy: Remedy,
    /// What the code means, for people.
    pub meaning: &'static str,
}

const fn row(source: Source, code: &'static str, remedy: Remedy, meaning: &'static str) -> RemedyRow {
    RemedyRow { source, code, remedy, meaning }
}

/// The codes that are known, and what helps. They are also the closed set of `code` in metrics.
pub const REMEDIES: &[RemedyRow] = &[
    row(Source::Layers, "BILLING_EXHAUSTED", Remedy::Change, "the brief's own budget.maxCredits is too low"),
    row(Source::Layers, "CANCELED", Remedy::Rerun, "canceled at the API"),
    row(
        Source::Layers,
        "CONFLICT",
        Remedy::Change,
        "several project layers fit, or our id was used by another brief",
    ),
    row(Source::Layers, "IDEMPOTENCY_CONFLICT", Remedy::Change, "the key was used with another body"),
    row(Source::Layers, "MODERATION_BLOCKED", Remedy::Change, "the brief did not pass moderation"),
    row(
        Source::Layers,
        "NOT_FOUND",
        Remedy::Change,
        "the project, its layer or the influencer does not exist",
    ),
    row(Source::Layers, "RENDER_FAILED", Remedy::Rerun, "generation failed"),
    row(Source::Layers, "VALIDATION", Remedy::Change, "the API refused the body"),
    row(Source::Layers, "VALIDATION_FAILED", Remedy::Change, "the API refused the body"),
    row(Source::Briefd, "CANCELED", Remedy::Rerun, "canceled before it was started"),
    // A rerun regenerates containers that the API named. This one it did not, and making all again would buy again what
    // is there.
    row(Source::Briefd, "CONTAINER_MISSING", Remedy::None, "the job ended without this container"),
    row(Source::Briefd, "EXPIRED", Remedy::Rerun, "not started before expiresAt"),
    row(Source::Briefd, "GENERATION_LOST", Remedy::Rerun, "the API never told how it ended"),
    row(Source::Briefd, "INVALID_BRIEF", Remedy::Change, "the brief does not fit its schema"),
];

/// What helps after a failure with this code. A code of the API that is not known is a generation that failed: another
/// run may succeed. briefd has no unknown codes of its own.
pub fn remedy(code: &str, source: Source) -> Remedy {
    let unknown = match source {
        Source::Layers => Remedy::Rerun,
        Source::Briefd => Remedy::None,
    };
    REMEDIES.iter().find(|row| row.code == code && row.source == source).map_or(unknown, |row| row.remedy)
}
