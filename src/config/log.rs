//! `[log]`

use tracing_subscriber::EnvFilter;

use super::reader::Reader;

/// Words that are a level; any other bare word would be taken for the name of a part, and silence all others.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

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

impl Log {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let level = reader.text("log.level");
        if reader.fits(&["log.level"]) && !is_filter(&level) {
            let _: () = reader.reject(
                "log.level",
                "error, warn, info, debug, trace or off, or a filter such as \"info,briefd=debug\"",
            );
        }
        Self {
            format: reader.word("log.format", [("text", LogFormat::Text), ("json", LogFormat::Json)]),
            level,
        }
    }
}

fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let names_parts =
        text.split(',').all(|directive| directive.contains(['=', '[']) || is_level(directive.trim()));
    names_parts && EnvFilter::try_new(text).is_ok()
}
