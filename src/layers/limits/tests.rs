mod running;
mod stored;

use std::sync::Mutex as StdMutex;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::config::layers::{LimitOverrides, Tier};

const WINDOW: Duration = Duration::from_mins(1);
/// After how long a permit is back: 61/60 of the window, and the millisecond that rounding may have hidden.
const BACK_MS: u64 = 61_001;

fn limits(starts: u32) -> (Limits, Clock, Metrics) {
    let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
    let metrics = Metrics::new([]);
    let numbers = Numbers { reads: 1, writes: 1, starts, window: WINDOW };
    (Limits::new(Some(numbers), clock.clone(), metrics.clone()), clock, metrics)
}

/// Lets every task run until all of them wait for the clock or for each other.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_permit_comes_back_after_the_window_and_a_sixtieth_counted_from_the_answer() {
    let (limits, clock, metrics) = limits(1);
    let permit = limits.try_acquire(Class::Start).unwrap();
    clock.advance(Duration::from_mins(10));
    assert!(limits.try_acquire(Class::Start).is_none(), "its request is still out");
    permit.answered();
    clock.advance(Duration::from_millis(BACK_MS - 1));
    assert_eq!(limits.available(Class::Start), 0);
    assert_eq!(metrics.api_budget_remaining.with_label_values(&["start"]).get(), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(limits.available(Class::Start), 1);
    assert_eq!(metrics.api_budget_remaining.with_label_values(&["start"]).get(), 1);
    assert_eq!(metrics.api_limit.with_label_values(&["start"]).get(), 1);
}

#[tokio::test]
async fn the_classes_do_not_share_permits() {
    let (limits, _, _) = limits(1);
    let held = Class::ALL.map(|class| limits.try_acquire(class).unwrap());
    assert!(Class::ALL.iter().all(|class| limits.try_acquire(*class).is_none()));
    drop(held);
}

#[tokio::test]
async fn a_dropped_permit_counts_and_an_unused_one_does_not() {
    let (limits, _, _) = limits(2);
    drop(limits.try_acquire(Class::Start).unwrap());
    assert_eq!(limits.available(Class::Start), 1);
    limits.try_acquire(Class::Start).unwrap().unused();
    assert_eq!(limits.available(Class::Start), 1);
}

#[tokio::test]
async fn waiters_are_served_in_order_and_one_that_gives_up_holds_nobody_back() {
    let (limits, clock, _) = limits(1);
    limits.try_acquire(Class::Start).unwrap().answered();
    let order = Arc::new(StdMutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for name in 0..4 {
        let (limits, order) = (limits.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let permit = limits.acquire(Class::Start).await;
            order.lock().unwrap().push(name);
            permit.answered();
        }));
        settle().await;
    }
    tasks[0].abort();
    tasks[2].abort();
    settle().await;
    clock.advance(Duration::from_millis(BACK_MS));
    settle().await;
    assert_eq!(*order.lock().unwrap(), [1]);
    assert!(limits.try_acquire(Class::Start).is_none(), "nobody overtakes who waits");
    clock.advance(Duration::from_millis(BACK_MS));
    settle().await;
    assert_eq!(*order.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn reads_of_ended_containers_go_before_sweeps_and_those_before_polls() {
    let (limits, clock, _) = limits(1);
    limits.try_acquire(Class::Read).unwrap().answered();
    let order = Arc::new(StdMutex::new(Vec::new()));
    for priority in [Priority::Poll, Priority::Sweep, Priority::Ended, Priority::Ended, Priority::Poll] {
        let (limits, order) = (limits.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let permit = limits.acquire_read(priority).await;
            order.lock().unwrap().push(priority);
            permit.answered();
        });
        settle().await;
    }
    for _ in 0..5 {
        clock.advance(Duration::from_millis(BACK_MS));
        settle().await;
    }
    let expected = [Priority::Ended, Priority::Ended, Priority::Sweep, Priority::Poll, Priority::Poll];
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test]
async fn after_a_429_nothing_is_granted_before_its_time() {
    for numbers in [Some(Numbers::STANDARD), None] {
        let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
        let limits = Limits::new(numbers, clock.clone(), Metrics::new([]));
        limits.slow(Class::Start, Duration::from_secs(30));
        limits.slow(Class::Start, Duration::from_secs(5));
        let waiting = tokio::spawn({
            let limits = limits.clone();
            async move { limits.acquire(Class::Start).await.answered() }
        });
        settle().await;
        clock.advance(Duration::from_secs(29));
        settle().await;
        assert!(!waiting.is_finished());
        assert!(limits.try_acquire(Class::Read).is_some(), "other classes go on");
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
    }
}

#[tokio::test]
async fn a_higher_tier_wakes_who_waits() {
    let (limits, _, metrics) = limits(1);
    let held = limits.acquire(Class::Start).await;
    let waiting = tokio::spawn({
        let limits = limits.clone();
        async move { limits.acquire(Class::Start).await.answered() }
    });
    settle().await;
    limits.set_numbers(Some(Numbers::PILOT));
    waiting.await.unwrap();
    assert_eq!(metrics.api_limit.with_label_values(&["start"]).get(), 60);
    assert_eq!(limits.available(Class::Start), 58);
    held.answered();
}

#[tokio::test]
async fn without_a_limit_every_request_is_granted() {
    let limits = Limits::new(None, Clock::stepped(Timestamp::UNIX_EPOCH), Metrics::new([]));
    for _ in 0..10_000 {
        limits.acquire(Class::Start).await.answered();
    }
    assert_eq!(limits.available(Class::Start), u32::MAX);
}

#[test]
fn the_numbers_are_those_of_the_tier_unless_overridden() {
    let none = LimitOverrides::default();
    let some = LimitOverrides { starts: Some(5), window: Some(Duration::from_secs(1)), ..none };
    assert_eq!(numbers(Tier::Auto, none), Some(Numbers::STANDARD));
    assert_eq!(numbers(Tier::Unlimited, none), None);
    let partner = numbers(Tier::Partner, some).unwrap();
    assert_eq!((partner.reads, partner.starts, partner.window), (6_000, 5, Duration::from_secs(1)));
    let unlimited = numbers(Tier::Unlimited, some).unwrap();
    assert_eq!((unlimited.reads, unlimited.starts), (u32::MAX, 5));
    assert_eq!(Numbers::with_tier_word("pilot"), Some(Numbers::PILOT));
    assert_eq!(Numbers::with_tier_word("platinum"), None);
}

/// When a request was granted and answered, in milliseconds.
type Sent = (i64, i64);

/// Requests that arrive after the given pauses and take the given times, in milliseconds.
async fn run_requests(limit: u32, requests: Vec<(u64, u64)>) -> Vec<Sent> {
    let (limits, clock, _) = limits(limit);
    let sent = Arc::new(StdMutex::new(Vec::new()));
    let mut tasks = Vec::new();
    let count = requests.len();
    let mut arrives_ms = 0;
    for (pause_ms, takes_ms) in requests {
        arrives_ms += pause_ms;
        let (limits, clock, sent) = (limits.clone(), clock.clone(), Arc::clone(&sent));
        tasks.push(tokio::spawn(async move {
            clock.sleep(Duration::from_millis(arrives_ms)).await;
            let permit = limits.acquire(Class::Start).await;
            let granted_ms = clock.now_ms();
            clock.sleep(Duration::from_millis(takes_ms)).await;
            sent.lock().unwrap().push((granted_ms, clock.now_ms()));
            permit.answered();
        }));
    }
    settle().await;
    for _ in 0..10_000 {
        if sent.lock().unwrap().len() == count {
            break;
        }
        clock.advance(Duration::from_millis(499));
        settle().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    Arc::into_inner(sent).unwrap().into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_requests_than_the_limit_wherever_the_api_counts_them(
        limit in 1_u32..6,
        requests in prop::collection::vec((0_u64..20_000, 0_u64..30_000), 1..30),
        counted_at in prop::collection::vec(0.0_f64..=1.0, 30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = runtime.block_on(run_requests(limit, requests.clone()));
        prop_assert_eq!(sent.len(), requests.len(), "everybody is served in the end");
        let answers = sent.iter().map(|(_, answered)| *answered).collect::<Vec<_>>();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
        let between = sent.iter().zip(&counted_at)
            .map(|((granted, answered), part)| granted + ((answered - granted) as f64 * part) as i64)
            .collect::<Vec<_>>();
        for mut times in [answers, between] {
            times.sort_unstable();
            for pair in times.windows(limit as usize + 1) {
                prop_assert!(pair[limit as usize] - pair[0] > 60_000, "{:?}", times);
            }
        }
    }
}
