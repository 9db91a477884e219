//! What people see of a running worker: metrics, logs, HTTP endpoints.

mod health;
pub mod http;
pub mod logging;
mod metrics;
mod trouble;

pub use health::{Health, LATE_AFTER_SECONDS, Notice, NoticeKind};
pub use metrics::{HOLD_REASONS, HOLD_SCOPES, KNOWN_CODES, Metrics};
pub use trouble::{Incident, TroubleLog, Weight, kind_of};
