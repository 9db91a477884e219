//! Tells the service manager that started this process (systemd with `Type=notify`, or what speaks like it) how it is:
//! at work, still moving, stopping. Without one (`NOTIFY_SOCKET` is not set) every call does nothing.
//!
//! The watchdog is fed only while `/healthz` would say 200, so that a process that no longer moves is restarted; that is
//! always safe. Not being *ready* (the broker is away) is shown in the status line and restarts nothing.

use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;

use super::Health;
use crate::clock::Clock;

/// How often the status line is looked at where no watchdog asks for more.
const LOOK: Duration = Duration::from_secs(5);

/// The worker is at work: the ledger is open and the stages take steps.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The worker stops in order; its grace is what `TimeoutStopSec` must be longer than.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what is under way finishes")]);
}

/// Feeds the watchdog and keeps the status line true, until it is dropped.
pub async fn watch(health: Health, clock: Clock) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    // A third, so that one late look does not count as a hang.
    let pause = sd_notify::watchdog_enabled().map_or(LOOK, |limit| LOOK.min(limit / 3));
    let mut shown = String::new();
    loop {
        tell(&news(&health, clock.now(), &mut shown));
        clock.sleep(pause).await;
    }
}

/// What there is to tell now: a sign of life, if there is life, and the status line, if it is another than `shown`.
fn news<'s>(health: &Health, now: Timestamp, shown: &'s mut String) -> Vec<NotifyState<'s>> {
    let mut news = Vec::new();
    if health.healthz(now).healthy {
        news.push(NotifyState::Watchdog);
    }
    let status = health.readyz().sentence();
    if status != *shown {
        *shown = status;
        news.push(NotifyState::Status(shown));
    }
    news
}

/// A service manager that does not listen is its own trouble, not that of the briefs.
fn tell(states: &[NotifyState<'_>]) {
    if states.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told how this process is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_only_while_healthz_would_say_200() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let health = Health::new(&["submit"], &[], start);
        let told = |now, shown: &mut String| {
            let texts: Vec<String> = news(&health, now, shown).iter().map(ToString::to_string).collect();
            texts
        };
        let mut shown = String::new();
        assert_eq!(told(at(60), &mut shown), ["WATCHDOG=1", "STATUS=at work"]);
        assert_eq!(told(at(60), &mut shown), ["WATCHDOG=1"]);
        health.writer_step(at(60));
        assert_eq!(told(at(61), &mut shown), [""; 0], "submit has not moved for over a minute");
        health.stage_step("submit", at(61));
        assert_eq!(told(at(62), &mut shown), ["WATCHDOG=1"]);
    }
}
