//! Failures that briefd itself decides, as records name them.

use serde_json::{Value, json};

use crate::record::{RecordError, Source};

/// Why briefd, and not the API, ended something.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OurFailure {
    /// The message breaks the contract: all violations, and the first of them in one line.
    InvalidBrief(Value, String),
    /// `expiresAt` has passed and no POST had left.
    Expired,
    /// The API made fewer containers than were promised, or lost one.
    ContainerMissing,
    /// The API answered for long and never told how it ended.
    GenerationLost,
    /// Somebody canceled it before it was started: who, and why in their words.
    Canceled(String, String),
}

impl OurFailure {
    pub(super) fn error(&self) -> RecordError {
        let (code, message, details): (_, String, _) = match self {
            Self::InvalidBrief(violations, line) => {
                ("INVALID_BRIEF", line.clone(), Some(json!({ "violations": violations })))
            }
            Self::Expired => {
                ("EXPIRED", "its expiresAt passed before it was its turn; nothing was bought".into(), None)
            }
            Self::GenerationLost => (
                "GENERATION_LOST",
                "the API never told how it ended; should a result come after all, it is published by itself"
                    .into(),
                None,
            ),
            Self::Canceled(who, why) => {
                let why = if why.is_empty() { "no reason given" } else { why };
                (
                    "CANCELED",
                    format!("canceled by {who} before it was started, nothing was bought: {why}"),
                    None,
                )
            }
            Self::ContainerMissing => {
                ("CONTAINER_MISSING", "the job ended at the API without this container".into(), None)
            }
        };
        let mut error = RecordError::new(Source::Briefd, code, message);
        error.details = details;
        error
    }
}
