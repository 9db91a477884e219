//! What people see of a running worker: metrics, logs, HTTP endpoints, and what its service manager is told.

pub mod event;
mod health;
pub mod http;
pub mod logging;
mod metrics;
pub mod service_manager;
mod trace;
mod trouble;

pub use health::{Health, LATE_AFTER_SECONDS, Notice, NoticeKind};
pub use metrics::{HOLD_REASONS, HOLD_SCOPES, KNOWN_CODES, Metrics};
pub use trace::TraceIds;
pub use trouble::{Incident, TroubleLog, Weight, kind_of};
