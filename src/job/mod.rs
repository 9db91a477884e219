//! PURE. What a job is: its states, its transitions, and what an answer of the API means for it.

pub mod answer;
pub mod plan;
pub mod reading;
pub mod state;
pub mod transition;

pub use answer::{Acceptance, NoAnswer, NoAnswerKind, Refusal, Trouble, Verdict, Wait, verdict};
pub use reading::{ApiError, ApiStatus, ContainerReading, JobReading, ListedContainer};
pub use state::{BriefState, JobState};
pub use transition::{Certainty, Event, Next, next};
