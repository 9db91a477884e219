//! How often the worker calls the broker, and how often it may.

use std::time::Duration;

use super::{RECONNECTS, Scene, connected, integer};
use crate::support::process::Worker;

/// The delays of a worker (`src/broker/supervise.rs`) without their jitter, which makes them longer: they double until
/// the largest.
const DELAY_MIN: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(15);
/// After this time with a good connection they start small again.
const STEADY_AFTER: Duration = Duration::from_secs(10);

impl Scene {
    /// Tells how often this worker, the only one so far, has called the broker, which must not be more often than its
    /// growing delays allow.
    pub async fn calls(&self, worker: &Worker) -> String {
        let (calls, time) = (self.line.calls(), self.began.elapsed());
        let mut outages = integer(worker, RECONNECTS).await;
        for side in ["consume", "publish"] {
            outages += 1 - integer(worker, &connected(side)).await;
        }
        let seconds = usize::try_from(time.as_secs()).unwrap();
        let told = format!("{calls} connections in {seconds} s, {} a minute", calls * 60 / seconds.max(1));
        let allowed = allowed(time, outages);
        assert!(
            calls <= allowed,
            "{told}, are a busy loop: with {outages} outages of a side there are {allowed} at most"
        );
        told
    }
}

/// The most connections of a worker's two sides, each of which had some of the outages.
fn allowed(time: Duration, outages: usize) -> usize {
    // An outage after a short time of peace goes on with the delays of the one before.
    let steady = 2 * (1 + usize::try_from(time.as_millis() / STEADY_AFTER.as_millis()).unwrap());
    let series = outages.min(steady);
    let share = u32::try_from(series.div_ceil(2)).unwrap();
    // Several in turn share the time: most are those that last equally long, give or take a call that was nearly due.
    let nearly_due = usize::from(share > 1);
    2 + series * (tries(time / share.max(1)) + nearly_due)
}

/// How many delays have passed in this time.
fn tries(time: Duration) -> usize {
    let delays = (0..).map(|doubled| (DELAY_MIN * 2_u32.pow(doubled.min(6))).min(DELAY_MAX));
    let ends = delays.scan(Duration::ZERO, |end, delay| {
        *end += delay;
        Some(*end)
    });
    ends.take_while(|end| *end <= time).count()
}

#[test]
fn calls_are_few_and_the_longer_an_outage_lasts_the_fewer_in_its_time() {
    let minutes = |minutes| Duration::from_mins(minutes);
    assert_eq!(allowed(minutes(10), 0), 2, "each side connects once");
    // A quarter of a second, a half, 1, 2, 4, 8 and 15 s, which are 30.75 s, and then 15 s each.
    assert_eq!([29, 31, 60].map(|seconds| tries(Duration::from_secs(seconds))), [6, 7, 8]);
    assert_eq!([1, 2, 10].map(|long| allowed(minutes(long), 2)), [18, 26, 90]);
    // Flaps within a second do not begin anew.
    assert_eq!(allowed(Duration::from_secs(1), 50), allowed(Duration::from_secs(1), 2));
}
