//! What people see of a running worker: metrics, logs, HTTP endpoints.

mod metrics;

pub use metrics::{KNOWN_CODES, Metrics};
