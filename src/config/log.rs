//! `[log]`

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Text for people, JSON for collectors.
    pub format: LogFormat,
    /// A `tracing` filter: a level, or `briefd=debug,lapin=warn`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}
