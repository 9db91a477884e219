//! Permits that are stored before they are used, and what is known of them after a restart.

use tokio::task::JoinHandle;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a slice may be granted from: a tenth of the window.
const LIFE: Duration = Duration::from_secs(6);

fn of_worker(numbers: Option<Numbers>) -> (Limits, Clock, Metrics) {
    let clock = Clock::stepped(Timestamp::from_second(1_000_000).unwrap());
    let metrics = Metrics::new([]);
    (Limits::of_worker(numbers, TIMEOUT, clock.clone(), metrics.clone()), clock, metrics)
}

/// Reads that wait, each of which is answered at once.
async fn spawn_reads(limits: &Limits, n: usize) -> Vec<JoinHandle<()>> {
    let read = || {
        let limits = limits.clone();
        tokio::spawn(async move { limits.acquire_read(Priority::Poll).await.answered() })
    };
    let reads = (0..n).map(|_| read()).collect();
    settle().await;
    reads
}

fn served(reads: &[JoinHandle<()>]) -> usize {
    reads.iter().filter(|read| read.is_finished()).count()
}

/// The slice that is wanted now, if one is.
async fn wanted(limits: &Limits) -> Option<Slice> {
    settle().await;
    tokio::select! {
        biased;
        slice = limits.slice_wanted() => Some(slice),
        () = settle() => None,
    }
}

#[tokio::test]
async fn a_read_leaves_only_once_its_permit_is_stored() {
    let (limits, _, _) = of_worker(Some(Numbers::STANDARD));
    assert!(wanted(&limits).await.is_none(), "nobody waits");
    assert!(limits.try_acquire(Class::Read).is_none());
    let reads = spawn_reads(&limits, 3).await;
    let slice = wanted(&limits).await.unwrap();
    assert_eq!((slice.class(), slice.n(), slice.drawn_ms()), (Class::Read, 3, 1_000_000_000));
    settle().await;
    assert_eq!(served(&reads), 0);
    assert!(wanted(&limits).await.is_none(), "one slice at a time");
    slice.stored();
    settle().await;
    assert_eq!(served(&reads), 3);
    assert!(wanted(&limits).await.is_none(), "nobody waits any more");
}

#[tokio::test]
async fn a_slice_is_as_large_as_who_waits_for_it_at_most_a_tenth_of_the_limit_and_never_more_than_is_left() {
    let (limits, _, _) = of_worker(Some(Numbers::STANDARD));
    let reads = spawn_reads(&limits, 120).await;
    let mut sizes = Vec::new();
    while let Some(slice) = wanted(&limits).await {
        sizes.push(slice.n());
        slice.stored();
    }
    settle().await;
    assert_eq!(served(&reads), 114);
    assert_eq!(sizes, [[12; 9].as_slice(), &[6]].concat());
}

#[tokio::test]
async fn what_is_left_of_a_slice_is_granted_for_a_tenth_of_the_window_and_then_drawn_again() {
    let (limits, clock, _) = of_worker(Some(Numbers::STANDARD));
    let reads = spawn_reads(&limits, 3).await;
    let slice = wanted(&limits).await.unwrap();
    reads.iter().for_each(JoinHandle::abort);
    settle().await;
    slice.stored();
    clock.advance(Duration::from_millis(5_999));
    assert_eq!(served(&spawn_reads(&limits, 1).await), 1);
    clock.advance(Duration::from_millis(1));
    let late = spawn_reads(&limits, 1).await;
    assert_eq!(served(&late), 0, "no row says that it may leave now");
    wanted(&limits).await.unwrap().stored();
    settle().await;
    assert_eq!(served(&late), 1);
    assert_eq!(limits.available(Class::Read), 114 - 2, "what was not used is free again");
}

#[tokio::test]
async fn while_nothing_can_be_stored_reads_wait_and_none_is_lost() {
    let (limits, clock, _) = of_worker(Some(Numbers { reads: 3, ..Numbers::STANDARD }));
    let reads = spawn_reads(&limits, 2).await;
    for _ in 0..5 {
        let slice = wanted(&limits).await.expect("it is tried again");
        clock.advance(Duration::from_secs(1));
        drop(slice);
        settle().await;
        assert_eq!(served(&reads), 0);
    }
    // One that took longer than its row stands for is drawn again, too.
    let slice = wanted(&limits).await.unwrap();
    clock.advance(LIFE);
    slice.stored();
    settle().await;
    assert_eq!(served(&reads), 0);
    for _ in 0..2 {
        wanted(&limits).await.unwrap().stored();
        settle().await;
    }
    assert_eq!(served(&reads), 2);
}

#[tokio::test]
async fn a_slice_is_wanted_as_soon_as_a_permit_is_back_and_no_429_is_waited_out() {
    let (limits, clock, _) = of_worker(Some(Numbers { reads: 2, ..Numbers::STANDARD }));
    let first = spawn_reads(&limits, 1).await;
    wanted(&limits).await.unwrap().stored();
    settle().await;
    assert_eq!(served(&first), 1);
    let second = spawn_reads(&limits, 1).await;
    let drawing = tokio::spawn({
        let limits = limits.clone();
        async move { limits.slice_wanted().await.stored() }
    });
    settle().await;
    clock.advance(Duration::from_millis(BACK_MS - 1));
    settle().await;
    assert!(!drawing.is_finished());
    limits.slow(Class::Read, Duration::from_secs(10));
    clock.advance(Duration::from_secs(9));
    settle().await;
    assert!(!drawing.is_finished());
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert!(drawing.is_finished());
    assert_eq!(served(&second), 1);
}

#[tokio::test]
async fn who_waits_with_a_stored_permit_at_hand_is_served_when_a_429_is_over() {
    let (limits, clock, _) = of_worker(Some(Numbers::STANDARD));
    let read = spawn_reads(&limits, 1).await;
    let slice = wanted(&limits).await.unwrap();
    limits.slow(Class::Read, Duration::from_secs(3));
    slice.stored();
    settle().await;
    assert_eq!(served(&read), 0);
    clock.advance(Duration::from_secs(3));
    settle().await;
    assert_eq!(served(&read), 1);
}

#[tokio::test]
async fn without_a_limit_and_for_starts_no_slice_is_wanted() {
    let (limits, _, metrics) = of_worker(None);
    assert_eq!(served(&spawn_reads(&limits, 1_000).await), 1_000);
    assert!(wanted(&limits).await.is_none());
    assert!(Class::ALL.iter().all(|class| limits.forget_before_ms(*class).is_none()));
    assert_eq!(metrics.api_limit.with_label_values(&["read"]).get(), i64::from(u32::MAX));

    let (limits, clock, _) = of_worker(Some(Numbers::STANDARD));
    limits.try_acquire(Class::Start).unwrap().answered();
    assert!(wanted(&limits).await.is_none());
    let reach_ms = clock.now_ms() - limits.forget_before_ms(Class::Start).unwrap();
    assert!(reach_ms >= 6_000 + 30_000 + 61_001, "{reach_ms}");
    let alone = Limits::new(Some(Numbers::STANDARD), clock, Metrics::new([]));
    assert_eq!(alone.forget_before_ms(Class::Start), None, "nobody remembers");
}

#[tokio::test]
async fn what_was_drawn_before_a_restart_counts_from_its_latest_possible_answer() {
    let (limits, clock, _) = of_worker(Some(Numbers { starts: 10, ..Numbers::STANDARD }));
    let ago = |seconds: i64| clock.now_ms() - seconds * 1_000;
    limits.remember(Class::Start, ago(1_000), 5); // long over
    limits.remember(Class::Start, ago(90), 1); // answered 54 s ago
    limits.remember(Class::Start, ago(30), 2); // perhaps under way when that process ended
    limits.remember(Class::Start, ago(-100), 1); // the clock went back
    assert_eq!(limits.available(Class::Start), 10 - 4);
    clock.advance(Duration::from_millis(BACK_MS - 54_000));
    assert_eq!(limits.available(Class::Start), 10 - 3);
    clock.advance(Duration::from_secs(54));
    assert_eq!(limits.available(Class::Start), 10);
    assert_eq!(limits.available(Class::Write), 60, "the classes do not share permits");
}

#[tokio::test]
async fn a_waiter_behind_more_remembered_starts_than_the_limit_wakes_at_the_right_time() {
    let (limits, clock, _) = of_worker(Some(Numbers { starts: 1, ..Numbers::STANDARD }));
    limits.remember(Class::Start, clock.now_ms() - 46_000, 1);
    limits.remember(Class::Start, clock.now_ms() - 37_000, 1);
    let waiting = tokio::spawn({
        let limits = limits.clone();
        async move { limits.acquire(Class::Start).await.answered() }
    });
    settle().await;
    clock.advance(Duration::from_millis(BACK_MS - 1_000 - 1));
    settle().await;
    assert!(!waiting.is_finished());
    clock.advance(Duration::from_millis(1));
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_worker_leaves_some_reads_to_commands_and_shows_what_the_api_allows() {
    let (limits, _, metrics) = of_worker(Some(Numbers::STANDARD));
    let shown = || metrics.api_limit.with_label_values(&["read"]).get();
    assert_eq!((limits.available(Class::Read), shown()), (114, 120));
    limits.set_numbers(Some(Numbers::PILOT));
    assert_eq!((limits.available(Class::Read), shown()), (1_194, 1_200));
    assert_eq!(limits.available(Class::Start), 60);

    let parted = |reads| {
        let all = Numbers { reads, ..Numbers::STANDARD };
        (all.of_worker().reads, all.of_commands().reads)
    };
    assert_eq!(parted(60), (54, 6));
    assert_eq!(parted(59), (57, 2));
    assert_eq!(parted(20), (19, 1));
    assert_eq!(parted(2), (1, 1));
    assert_eq!(parted(1), (1, 1), "one cannot be parted");
    assert_eq!(parted(u32::MAX), (u32::MAX, u32::MAX));
}

/// What happens to a worker and its requests.
#[derive(Clone, Debug)]
enum Op {
    /// A request that takes so long to be answered.
    Ask(Class, u64),
    /// The process is killed; another one starts so much later.
    Restart(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop::sample::select(Class::ALL.to_vec());
    prop_oneof![
        8 => (class, 0_u64..=30_000).prop_map(|(class, takes_ms)| Op::Ask(class, takes_ms)),
        1 => (0_u64..90_000).prop_map(Op::Restart),
    ]
}

/// A request, and when it left and was answered: where between the two the API counts it, nobody knows.
#[derive(Clone, Copy, Debug)]
struct Asked {
    class: Class,
    left_ms: i64,
    answered_ms: Option<i64>,
}

/// What is stored as drawn: class, milliseconds since 1970, how many.
type Rows = Arc<StdMutex<Vec<(Class, i64, u32)>>>;

/// A worker that can be killed, and what outlives it.
struct Life {
    numbers: Numbers,
    clock: Clock,
    limits: Limits,
    /// How long each commit takes, and whether it fails; again and again.
    commits: Vec<(u64, bool)>,
    rows: Rows,
    asked: Arc<StdMutex<Vec<Asked>>>,
    tasks: Vec<JoinHandle<()>>,
    drawer: JoinHandle<()>,
}

impl Life {
    fn begin(numbers: Numbers, commits: Vec<(u64, bool)>) -> Self {
        let (limits, clock, _) = of_worker(Some(numbers));
        let rows = Arc::default();
        let drawer = draw(&limits, &clock, &rows, commits.clone());
        Self { numbers, clock, limits, commits, rows, asked: Arc::default(), tasks: Vec::new(), drawer }
    }

    fn ask(&mut self, class: Class, takes_ms: u64) {
        let (limits, clock) = (self.limits.clone(), self.clock.clone());
        let (rows, asked) = (Arc::clone(&self.rows), Arc::clone(&self.asked));
        self.tasks.push(tokio::spawn(async move {
            let permit = limits.acquire(class).await;
            if class == Class::Start {
                // The claim stores it.
                rows.lock().unwrap().push((class, clock.now_ms(), 1));
            }
            let number = {
                let mut asked = asked.lock().unwrap();
                asked.push(Asked { class, left_ms: clock.now_ms(), answered_ms: None });
                asked.len() - 1
            };
            clock.sleep(Duration::from_millis(takes_ms)).await;
            asked.lock().unwrap()[number].answered_ms = Some(clock.now_ms());
            permit.answered();
        }));
    }

    async fn restart(&mut self, down_ms: u64) {
        self.tasks.drain(..).for_each(|task| task.abort());
        self.drawer.abort();
        settle().await;
        let now_ms = self.clock.now_ms();
        for asked in self.asked.lock().unwrap().iter_mut() {
            // Its connection is cut.
            asked.answered_ms = asked.answered_ms.or(Some(now_ms));
        }
        self.pass(down_ms).await;
        self.limits = Limits::of_worker(Some(self.numbers), TIMEOUT, self.clock.clone(), Metrics::new([]));
        for (class, drawn_ms, n) in self.rows.lock().unwrap().iter() {
            self.limits.remember(*class, *drawn_ms, *n);
        }
        self.drawer = draw(&self.limits, &self.clock, &self.rows, self.commits.clone());
    }

    async fn pass(&self, ms: u64) {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(499);
            self.clock.advance(Duration::from_millis(step_ms));
            settle().await;
            left_ms -= step_ms;
        }
    }

    /// Lets everybody who still waits be served.
    async fn end(self) -> Vec<Asked> {
        for _ in 0..200 {
            if self.tasks.iter().all(JoinHandle::is_finished) {
                break;
            }
            self.pass(30_000).await;
        }
        assert!(self.tasks.iter().all(JoinHandle::is_finished), "everybody is served in the end");
        self.asked.lock().unwrap().clone()
    }
}

/// Stores slices until it is aborted.
fn draw(limits: &Limits, clock: &Clock, rows: &Rows, commits: Vec<(u64, bool)>) -> JoinHandle<()> {
    let (limits, clock, rows) = (limits.clone(), clock.clone(), Arc::clone(rows));
    tokio::spawn(async move {
        for (takes_ms, works) in commits.into_iter().cycle() {
            let slice = limits.slice_wanted().await;
            clock.sleep(Duration::from_millis(takes_ms)).await;
            if works {
                rows.lock().unwrap().push((slice.class(), slice.drawn_ms(), slice.n()));
                slice.stored();
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_requests_than_the_limit_whenever_the_process_is_killed(
        limit in 1_u32..6,
        ops in prop::collection::vec((0_u64..8_000, op()), 1..60),
        mut commits in prop::collection::vec((0_u64..4_000, prop::bool::weighted(0.8)), 1..6),
        counted_at in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0_f64..=1.0], 60),
    ) {
        commits.push((0, true));
        let numbers = Numbers { reads: limit + 1, writes: limit, starts: limit, window: WINDOW };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asked = runtime.block_on(async {
            let mut life = Life::begin(numbers, commits);
            for (pause_ms, op) in ops {
                life.pass(pause_ms).await;
                match op {
                    Op::Ask(class, takes_ms) => life.ask(class, takes_ms),
                    Op::Restart(down_ms) => life.restart(down_ms).await,
                }
                settle().await;
            }
            life.end().await
        });
        for class in Class::ALL {
            let asked = asked.iter().filter(|asked| asked.class == class);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
            let mut times = asked.zip(&counted_at).map(|(asked, part)| {
                let (left_ms, answered_ms) = (asked.left_ms, asked.answered_ms.unwrap());
                left_ms + ((answered_ms - left_ms) as f64 * part) as i64
            }).collect::<Vec<_>>();
            times.sort_unstable();
            for pair in times.windows(limit as usize + 1) {
                prop_assert!(pair[limit as usize] - pair[0] > 60_000, "{} {:?}", class.word(), times);
            }
        }
    }
}
