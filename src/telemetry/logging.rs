//! Log lines: one format for people, one for collectors, always to standard error.
//!
//! Which lines appear is `log.level`, checked when settings are loaded; `-v` adds to it. Libraries below us speak
//! only from `warn` on, unless the filter names them: their chatter would bury the briefs.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::Log;
use crate::config::log::LogFormat;

/// Goes before `log.level`, so that a filter that names one of these wins. lapin reports each closed channel as an error,
/// also where closing it was the question (does this queue exist?); `broker` says what matters.
const QUIET: &str =
    "lapin=off,amq_protocol=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,sqlx=warn,tower=warn";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// `log.level` is no filter; settings that were loaded cannot have this.
    #[error("log.level is not a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Taken(#[source] TryInitError),
}

/// Sets up logging for the whole process. `verbosity` counts `-v`: 1 shows what briefd does in detail, 2 what
/// everything below it does. `writer` leads to standard error.
pub fn init<W>(log: &Log, verbosity: u8, writer: W) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = std::io::stderr().is_terminal() && !no_color;
    subscriber(log, verbosity, ansi, writer)?.try_init().map_err(LoggingError::Taken)
}

fn subscriber<W>(
    log: &Log,
    verbosity: u8,
    ansi: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter(&log.level, verbosity)).map_err(LoggingError::Filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.with_ansi(ansi).with_target(false).finish()),
        LogFormat::Json => {
            Box::new(builder.with_ansi(false).json().flatten_event(true).with_span_list(false).finish())
        }
    })
}

/// Of two directives for the same part the later one counts.
fn filter(level: &str, verbosity: u8) -> String {
    match verbosity {
        0 => format!("{QUIET},{level}"),
        1 => format!("{QUIET},{level},briefd=debug"),
        _ => format!("{level},debug"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, verbosity: u8, events: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let log = Log { format, level: level.to_owned() };
        let subscriber = subscriber(&log, verbosity, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_text_line_has_time_level_message_and_fields() {
        let text = logged(LogFormat::Text, "info", 0, || tracing::info!(brief.id = "b-1", "accepted"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert_eq!(rest.trim(), r#"INFO accepted brief.id="b-1""#);
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(LogFormat::Json, "info", 0, || tracing::info!(attempt = 2, "accepted"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "accepted");
        assert_eq!(line["attempt"], 2);
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn libraries_are_quiet_unless_the_filter_names_them() {
        let events = || {
            tracing::info!(target: "sqlx::query", "chatter");
            tracing::warn!(target: "sqlx::query", "trouble");
        };
        let text = logged(LogFormat::Text, "debug", 0, events);
        assert!(!text.contains("chatter") && text.contains("trouble"), "{text}");
        assert!(logged(LogFormat::Text, "warn,sqlx=info", 0, events).contains("chatter"));
        assert!(logged(LogFormat::Text, "info", 2, events).contains("chatter"));
    }

    #[test]
    fn one_v_shows_our_own_details_and_two_show_everything() {
        let events = || {
            tracing::debug!(target: "briefd::stages", "ours");
            tracing::debug!(target: "elsewhere", "theirs");
        };
        assert_eq!(logged(LogFormat::Text, "info", 0, events), "");
        let text = logged(LogFormat::Text, "info", 1, events);
        assert!(text.contains("ours") && !text.contains("theirs"), "{text}");
        let text = logged(LogFormat::Text, "info", 2, events);
        assert!(text.contains("ours") && text.contains("theirs"), "{text}");
    }

    #[test]
    fn two_v_win_over_a_filter_for_briefd() {
        let text = logged(LogFormat::Text, "briefd=warn", 1, || tracing::debug!(target: "briefd::x", "ours"));
        assert!(text.contains("ours"), "{text}");
    }
}
