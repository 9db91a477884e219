//! Named places where a test lets the process die: before and after each step that is durable or that somebody outside
//! can see.
//!
//! They stand at the narrow places, so that no new step can go without: the ledger's writer (`ledger.WRITE.before_commit`,
//! `.after_commit`), the API's transport (`api.ENDPOINT.before_send`, `.after_answer`; `.in_flight` where an answer is
//! slow) and the broker's calls (`amqp.CALL.before`, `.after`). Names follow from the code: a write's from its type, an endpoint's from its word, a
//! call's from lapin's. `tests/crash` reads them all from the sources and dies at each.
//!
//! Two more places do not die, but take a value from a test: a wait (`shortened`) and the wall clock (`clock_ahead_ms`).
//!
//! Without the feature `failpoints` everything here is empty: a release has none of it. With it, the variable
//! `FAILPOINTS` of the `fail` crate says where: `FAILPOINTS=api.submit.after_answer=return` dies at the first answer,
//! `1*off->return` at the second. The process is aborted, as by a power cut: nothing unwinds, nothing is flushed.

#[cfg(feature = "failpoints")]
use std::io::Write as _;

/// Keeps the places armed while it lives.
#[must_use]
pub struct Armed {
    #[cfg(feature = "failpoints")]
    _scenario: fail::FailScenario<'static>,
}

/// Reads from the environment where to die.
pub fn arm() -> Armed {
    Armed {
        #[cfg(feature = "failpoints")]
        _scenario: fail::FailScenario::setup(),
    }
}

/// Dies here if a test asked for it.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(edge: &str, step: &str, moment: &str) {
    let name = format!("{edge}.{step}.{moment}");
    fail::fail_point!(&name, |_| {
        // Said for those who arm several; the process ends whether or not it can be said.
        drop(writeln!(std::io::stderr(), "it dies at {name}"));
        std::process::abort()
    });
}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reached(_edge: &str, _step: &str, _moment: &str) {}

/// A step at the broker, with a place before and one after it.
pub(crate) async fn around<T>(call: &str, doing: impl Future<Output = T>) -> T {
    reached("amqp", call, "before");
    let done = doing.await;
    reached("amqp", call, "after");
    done
}

/// A request, with a place while its answer is awaited: it has left, and what it did is not known.
#[cfg(feature = "failpoints")]
pub(crate) async fn in_flight<T>(edge: &str, step: &str, exchange: impl Future<Output = T>) -> T {
    let left = async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        reached(edge, step, "in_flight");
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        () = left => exchange.await,
    }
}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) async fn in_flight<T>(_edge: &str, _step: &str, exchange: impl Future<Output = T>) -> T {
    exchange.await
}

/// `usual`, or the milliseconds that a test gives instead: `FAILPOINTS=NAME=return(200)`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "only a test knows another one"))]
pub(crate) fn shortened(name: &str, usual: std::time::Duration) -> std::time::Duration {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(name, |given: Option<String>| {
        let millis = given.and_then(|millis| millis.parse().ok());
        millis.map_or(usual, std::time::Duration::from_millis)
    });
    usual
}

/// How far a test wants the wall clock to be ahead, in milliseconds: what stands in the file that
/// `FAILPOINTS=clock.ahead=return(FILE)` names, at this moment.
#[cfg(feature = "failpoints")]
pub(crate) fn clock_ahead_ms() -> i64 {
    fail::fail_point!("clock.ahead", |file: Option<String>| {
        let told = file.and_then(|file| std::fs::read_to_string(file).ok());
        told.and_then(|ms| ms.trim().parse().ok()).unwrap_or(0)
    });
    0
}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn clock_ahead_ms() -> i64 {
    0
}
