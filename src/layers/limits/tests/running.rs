//! The cap on running jobs, as starts see it.

use super::*;

const WAIT: Duration = Duration::from_secs(5);

/// An API that runs `cap` jobs at once, and starts that wait for it in order.
#[derive(Clone)]
struct Api {
    limits: Limits,
    cap: usize,
    running: Arc<StdMutex<usize>>,
    refused: Arc<StdMutex<Vec<Option<Bound>>>>,
}

impl Api {
    fn new(numbers: Option<Numbers>, cap: usize) -> (Self, Clock) {
        let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
        let limits = Limits::new(numbers, clock.clone(), Metrics::new([]));
        (Self { limits, cap, running: Arc::default(), refused: Arc::default() }, clock)
    }

    /// As many starts as may leave at once, and how many of them are accepted.
    fn burst(&self, most: usize) -> usize {
        let permits: Vec<Permit> =
            std::iter::from_fn(|| self.limits.try_acquire(Class::Start)).take(most).collect();
        permits.into_iter().map(|permit| self.start(permit)).filter(|accepted| *accepted).count()
    }

    fn start(&self, permit: Permit) -> bool {
        let mut running = self.running.lock().unwrap();
        if *running < self.cap {
            *running += 1;
            permit.start_answered(StartAnswer::Accepted);
            return true;
        }
        let bound = permit.start_answered(StartAnswer::TooMany(WAIT));
        self.refused.lock().unwrap().push(bound);
        false
    }

    fn end_one(&self) {
        *self.running.lock().unwrap() -= 1;
        self.limits.job_ended();
    }

    fn refused(&self) -> usize {
        self.refused.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_429_while_the_bucket_has_room_is_the_cap_and_one_while_it_is_empty_is_the_rate() {
    let (api, _) = Api::new(Some(Numbers::STANDARD), 0);
    let permit = api.limits.try_acquire(Class::Start).unwrap();
    assert!(!api.start(permit));
    assert_eq!(*api.refused.lock().unwrap(), [Some(Bound::RunningJobs)]);
    api.limits.job_ended();
    assert!(api.limits.try_acquire(Class::Start).is_some());

    let (api, _) = Api::new(Some(Numbers { starts: 1, ..Numbers::STANDARD }), 0);
    let permit = api.limits.try_acquire(Class::Start).unwrap();
    assert!(!api.start(permit));
    assert_eq!(*api.refused.lock().unwrap(), [Some(Bound::Rate)]);
}

#[tokio::test]
async fn the_last_start_of_a_full_burst_is_the_only_one_that_the_rate_could_have_refused() {
    let (api, clock) = Api::new(Some(Numbers { starts: 3, ..Numbers::STANDARD }), 0);
    let mut permits: Vec<Permit> = std::iter::from_fn(|| api.limits.try_acquire(Class::Start)).collect();
    assert_eq!(permits.len(), 3);
    // The rate slows the bucket: an end of a job does not let anybody leave sooner.
    assert!(!api.start(permits.pop().unwrap()));
    assert_eq!(*api.refused.lock().unwrap(), [Some(Bound::Rate)]);
    clock.advance(Duration::from_millis(4_999));
    api.limits.job_ended();
    assert_eq!(api.limits.available(Class::Start), 0);
    assert!(!api.start(permits.pop().unwrap()));
    assert!(!api.start(permits.pop().unwrap()));
    assert_eq!(api.refused.lock().unwrap()[1..], [Some(Bound::RunningJobs); 2]);
}

#[tokio::test]
async fn a_backlog_at_the_cap_costs_a_refusal_now_and_then_and_not_a_burst_at_each_end() {
    let (api, clock) = Api::new(None, 3);
    assert_eq!(api.burst(32), 3);
    assert_eq!(api.refused(), 29);
    let mut started = 3;
    // A job ends every ten seconds for an hour, and whoever may leaves.
    for _ in 0..360 {
        api.end_one();
        for _ in 0..10 {
            started += api.burst(32);
            clock.advance(Duration::from_secs(1));
        }
    }
    assert_eq!(started, 3 + 360, "no place stays empty");
    let refused = api.refused() - 29;
    assert!(refused <= 360 / 6 + 5, "{refused}: as rare as once a minute, whoever else is let in");
}

#[tokio::test]
async fn a_cap_that_is_lifted_is_found_out_in_doubling_steps() {
    let (mut api, clock) = Api::new(None, 3);
    assert_eq!(api.burst(32), 3);
    api.cap = 1_000;
    clock.advance(WAIT);
    let mut steps = Vec::new();
    while steps.last() != Some(&32) {
        steps.push(api.burst(32));
        assert!(steps.len() < 10, "{steps:?}");
    }
    assert_eq!(steps, [1, 2, 4, 8, 16, 32]);
    assert_eq!(api.limits.available(Class::Start), u32::MAX);
}

#[tokio::test]
async fn whoever_waits_at_the_cap_is_woken_by_each_end_and_by_the_end_of_the_wait() {
    let (api, clock) = Api::new(None, 1);
    assert_eq!(api.burst(2), 1);
    let served = Arc::new(StdMutex::new(0));
    for _ in 0..4 {
        let (api, served) = (api.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let permit = api.limits.acquire(Class::Start).await;
            *served.lock().unwrap() += 1;
            api.start(permit);
        });
    }
    settle().await;
    assert_eq!(*served.lock().unwrap(), 0);
    for end in 1..=2 {
        api.end_one();
        settle().await;
        assert_eq!(*served.lock().unwrap(), end);
    }
    clock.advance(Duration::from_millis(4_999));
    settle().await;
    assert_eq!(*served.lock().unwrap(), 2);
    clock.advance(Duration::from_millis(1));
    settle().await;
    assert_eq!(*served.lock().unwrap(), 3);
    assert_eq!(api.refused(), 2);
}

#[tokio::test]
async fn a_permit_that_is_not_used_leaves_the_place_to_the_next() {
    let (api, clock) = Api::new(None, 1);
    assert_eq!(api.burst(2), 1);
    api.limits.job_ended();
    api.limits.try_acquire(Class::Start).unwrap().unused();
    assert_eq!(api.limits.available(Class::Start), 1);
    api.limits.try_acquire(Class::Start).unwrap().start_answered(StartAnswer::Other);
    assert_eq!(api.limits.available(Class::Start), 1, "no job came of it");
    api.limits.try_acquire(Class::Start).unwrap().start_answered(StartAnswer::Accepted);
    assert!(api.limits.try_acquire(Class::Start).is_none());
    clock.advance(WAIT);
    api.limits.try_acquire(Class::Start).unwrap().unused();
    assert!(api.limits.try_acquire(Class::Start).is_some());
}
