//! Every statement the ledger is asked, and how `SQLite` answers it: none may read a table that grows from end to end.
//!
//! What is checked cannot fall behind the code. Statements that are made up of parts are recorded while a worker runs
//! ([`record`]); those that stand in the sources as a whole are read there (`source`); what is neither is a fault, too.
//! Triggers and foreign keys run with every change of a row: they are checked like statements.
//!
//! - `source`: the texts in the sources; `commands`: what no worker asks; `plans`: how each is answered, and which may
//!   read everything, and why.

pub(crate) mod commands;
mod plans;
mod source;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Mutex, Once};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

pub(crate) use self::plans::faults;

/// Where sqlx tells what was run.
const TARGET: &str = "sqlx::query";
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static LISTENING: Once = Once::new();

thread_local! {
    static RECORDED: Cell<bool> = const { Cell::new(false) };
}

/// Records statements until it is dropped: those of connections that this thread opens meanwhile, so that tests beside
/// it are not heard.
pub(crate) struct Recording(&'static Mutex<BTreeSet<String>>);

/// From now on.
pub(crate) fn record() -> Recording {
    LISTENING.call_once(|| {
        let only = tracing_subscriber::filter::Targets::new().with_target(TARGET, Level::TRACE);
        let subscriber = tracing_subscriber::registry().with(Listener.with_filter(only));
        tracing::subscriber::set_global_default(subscriber).expect("no other test listens to everything");
    });
    RECORDED.set(true);
    Recording(&SEEN)
}

impl Recording {
    /// The statements since the last time.
    pub(crate) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDED.set(false);
    }
}

/// Connections that are opened until it is dropped are not recorded: somebody else's.
pub(crate) fn pause() -> Paused {
    Paused(RECORDED.replace(false))
}

/// Nothing is recorded meanwhile.
pub(crate) struct Paused(bool);

impl Drop for Paused {
    fn drop(&mut self) {
        RECORDED.set(self.0);
    }
}

/// Whether what a connection runs that is opened now is to be recorded.
pub(in crate::ledger) fn is_recorded() -> bool {
    RECORDED.get()
}

/// Tells sqlx's log of each statement, at a level that no other test's connection has.
pub(in crate::ledger) fn told(options: SqliteConnectOptions) -> SqliteConnectOptions {
    let trace = || "trace".parse().unwrap();
    options.log_statements(trace()).log_slow_statements(trace(), Duration::MAX)
}

struct Listener;

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::TRACE {
            return;
        }
        let mut told = Told::default();
        event.record(&mut told);
        // A short statement is its own summary.
        let statement = if told.statement.is_empty() { told.summary } else { told.statement };
        SEEN.lock().unwrap().insert(one_line(&statement));
    }
}

#[derive(Default)]
struct Told {
    summary: String,
    statement: String,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// With one space for any.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
