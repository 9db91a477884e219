//! What people see of a running worker: metrics, logs, HTTP endpoints.

mod health;
pub mod http;
pub mod logging;
mod metrics;

pub use health::{Health, LATE_AFTER_SECONDS, Notice, NoticeKind};
pub use metrics::{HOLD_REASONS, HOLD_SCOPES, KNOWN_CODES, Metrics};
