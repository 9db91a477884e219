//! What can happen, and how often. A list of these is one simulated life; proptest makes it and shortens one that fails.
//!
//! What is new in the worker comes in as another [`Op`] with its weight in [`op`], and what it does in `world`.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::sandbox::gate::{Lag, Lie, Post};
use crate::sandbox::{ContainerIds, Fault};

/// Briefs that a list is about. Few, so that the same one is met again and again.
pub(super) const BRIEFS: u8 = 4;

/// Longer than anybody's patience, and not for ever.
pub(super) const SLOW_SECONDS: u32 = 80_000;

/// What the world is like: choices that the API's documentation leaves open, and settings of ours.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    pub overlap_makes_two: bool,
    pub container_ids: ContainerIds,
    pub names_first_container_only: bool,
    pub list_lag_seconds: u32,
    pub replay_billing: bool,
    pub replay_refusals: bool,
    pub validates_first: bool,
    pub serves_account_endpoints: bool,
    pub fail_share: f64,
    pub running_cap: Option<u64>,
    /// `layers.send_container_id`
    pub send_container_id: bool,
    /// `submit.concurrency`
    pub concurrency: usize,
    /// `track.give_up_after`, in hours
    pub give_up_hours: u64,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A brief is sent: which one, with which content, for which run (0: no `run`), wishing for which fate.
    Deliver { brief: u8, content: u8, run: u8, wish: Wish },
    /// A message that was sent before comes again, byte for byte.
    DeliverAgain(u8),
    /// A message that nothing can be made of.
    Poison(Poison),
    /// What waits in the queue is taken, so many at a time.
    Intake { chunk: usize, ack: Ack },
    /// One round of starts, with what becomes of the POSTs in it.
    Submit(Vec<Post>),
    /// Whatever is due is read.
    Track,
    /// What is to leave leaves, with what becomes of each batch.
    Publish(Vec<Fate>),
    /// Time passes.
    Advance(u32),
    /// The process ends in order, or dies, and another one starts.
    Restart { clean: bool },
    /// The process dies in the middle of a step.
    DieDuring { stage: Stage, polls: u32 },
    /// Something about the account changes.
    Account(Change),
    /// The API strikes so many of the requests to come, until told otherwise.
    Faults(Vec<(Fault, f64)>),
    /// Nobody listens at the API's address, or somebody does again.
    ApiListens(bool),
    /// An operator stops starts, or lets them go on.
    Hold { scope: u8, held: bool },
    /// An operator decides about every parked job, by what is true.
    Resolve { repeat: bool },
    /// An operator cancels what is open of a batch, or of no batch; the API is asked about what runs.
    Cancel { batch: bool },
    /// An operator has reruns planned, and sees the plan.
    Plan(Planned),
    /// An operator lets a plan start or go on: which one, and how many of its briefs first.
    Approve { plan: u8, canary: Option<u64> },
    /// The worker starts what plans say.
    CarryOn,
    /// Hours pass, with reads in between: so many times so many seconds.
    Follow { seconds: u32, times: u8 },
    /// Reads of what runs tell this from now on, until they are true again.
    Lie(Option<Lie>),
    /// For so many seconds reads of containers lag behind.
    Lag(Lag, u32),
    /// What ended more than so many seconds ago is pruned.
    Prune(u32),
    /// An operator has all records that have left sent again.
    SendAgain,
}

/// Reads never lag further behind than this: two look-ups so far apart that find nothing are believed.
pub(super) const LAG_SECONDS_MAX: u32 = 300;

/// A stage that can die in the middle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Intake,
    Submit,
    Track,
    Publish,
    CarryOn,
}

/// What is planned to be run again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// Of the batch, or of no batch.
    pub batch: bool,
    /// Whatever has had so many runs.
    pub run: u8,
    /// What was canceled, too.
    pub canceled: bool,
    /// Something else is asked for.
    pub changed: bool,
    /// So many first; 0: all at once.
    pub canary: u64,
}

/// What becomes of an acknowledgment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ack {
    Arrives,
    /// The process dies before it leaves.
    DiesBefore,
    /// The process dies right after.
    DiesAfter,
}

/// What becomes of a batch of messages that leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Confirmed,
    /// Stored, and the confirm is lost.
    StoredUnconfirmed,
    /// Lost on the way.
    Lost,
    /// Every other message is lost on the way.
    HalfLost,
    Refused,
    Unroutable,
    /// The process dies before any of it has left.
    DiesBefore,
    /// The process dies after all of it has arrived.
    DiesAfter,
    /// There is no connection.
    Down,
}

/// A message that nothing can be made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Poison {
    NotUtf8,
    NotJson,
    NoProject,
    /// A run that nobody knows the first of.
    UnknownRun,
    /// The API key is in it.
    Secret,
    /// A brief that does not fit its schema: answered, not set aside.
    Invalid,
    /// A brief that is too late: answered, not set aside.
    Expired,
}

/// How a brief's generation shall go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    Seconds(u32),
    Fails,
    /// The second variant fails, where there is one.
    SecondFails,
    Refused(&'static str),
    /// The answers of so many POSTs are struck.
    Struck(Fault, u64),
    UnknownStatus,
    Never,
    /// It fails, and so does the first regeneration.
    FailsTwice,
    /// It fails after so many seconds.
    FailsAfter(u32),
    /// It fails, and the first regeneration takes so many seconds.
    FailsThenTakes(u32),
}

impl Wish {
    /// As `metadata.sandbox`.
    pub(super) fn json(self) -> Value {
        match self {
            Self::Seconds(seconds) => json!({ "seconds": seconds }),
            Self::Fails => json!({ "fail": "RENDER_FAILED", "seconds": 20 }),
            Self::SecondFails => json!({ "failVariants": [2], "seconds": 30 }),
            Self::Refused(code) => json!({ "refuse": code }),
            Self::Struck(fault, posts) => json!({ "faults": [fault.name()], "faultPosts": posts }),
            Self::UnknownStatus => json!({ "unknownStatus": true, "seconds": 40 }),
            Self::Never => json!({ "never": true }),
            Self::FailsAfter(seconds) => json!({ "fail": "RENDER_FAILED", "seconds": seconds }),
            Self::FailsThenTakes(seconds) => {
                json!({ "fail": "RENDER_FAILED", "seconds": 5, "regenerate": { "seconds": seconds } })
            }
            Self::FailsTwice => {
                json!({ "fail": "RENDER_FAILED", "seconds": 5, "regenerate": { "fail": "RENDER_FAILED", "seconds": 60 } })
            }
        }
    }
}

/// What changes about the account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Credits(u64),
    /// No key is let in, or the one in use is again.
    Revoked(bool),
    Killed(bool),
    /// The old key is revoked; a new one of the same organization lies in the file.
    Rotated,
}

pub(super) fn switches() -> impl Strategy<Value = Switches> {
    let api = (
        any::<bool>(),
        select(vec![ContainerIds::Ours, ContainerIds::CntAlias, ContainerIds::CntOnly]),
        any::<bool>(),
        select(vec![0, 0, 5, 30]),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.8),
        select(vec![0.0, 0.0, 0.3]),
        select(vec![None, None, None, Some(1)]),
    );
    let ours = (prop::bool::weighted(0.7), select(vec![1, 3]), select(vec![2, 2, 12]));
    (api, ours).prop_map(|(api, ours)| Switches {
        overlap_makes_two: api.0,
        container_ids: api.1,
        names_first_container_only: api.2,
        list_lag_seconds: api.3,
        replay_billing: api.4,
        replay_refusals: api.5,
        validates_first: api.6,
        serves_account_endpoints: api.7,
        fail_share: api.8,
        running_cap: api.9,
        send_container_id: ours.0,
        concurrency: ours.1,
        give_up_hours: ours.2,
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..BRIEFS, content(), run(), wish())
            .prop_map(|(brief, content, run, wish)| Op::Deliver { brief, content, run, wish }),
        2 => any::<u8>().prop_map(Op::DeliverAgain),
        1 => poison().prop_map(Op::Poison),
        7 => (1..4_usize, ack()).prop_map(|(chunk, ack)| Op::Intake { chunk, ack }),
        14 => vec(post(), 0..3).prop_map(Op::Submit),
        7 => Just(Op::Track),
        5 => vec(fate(), 0..3).prop_map(Op::Publish),
        12 => select(vec![1, 5, 20, 30, 59, 61, 61, 120, 300, 605, 3_700, 20_000, 83_000, 90_000]).prop_map(Op::Advance),
        3 => any::<bool>().prop_map(|clean| Op::Restart { clean }),
        2 => (stage(), 1..25_u32).prop_map(|(stage, polls)| Op::DieDuring { stage, polls }),
        3 => change().prop_map(Op::Account),
        3 => faults().prop_map(Op::Faults),
        1 => any::<bool>().prop_map(Op::ApiListens),
        2 => (0..3_u8, any::<bool>()).prop_map(|(scope, held)| Op::Hold { scope, held }),
        1 => any::<bool>().prop_map(|repeat| Op::Resolve { repeat }),
        1 => any::<bool>().prop_map(|batch| Op::Cancel { batch }),
        1 => planned().prop_map(Op::Plan),
        1 => approve(),
        1 => Just(Op::CarryOn),
        1 => lie().prop_map(Op::Lie),
        1 => (lag(), 1..=LAG_SECONDS_MAX).prop_map(|(lag, seconds)| Op::Lag(lag, seconds)),
        1 => prune(),
        1 => Just(Op::SendAgain),
    ]
}

fn stage() -> impl Strategy<Value = Stage> {
    select(vec![Stage::Intake, Stage::Submit, Stage::Submit, Stage::Track, Stage::Publish, Stage::CarryOn])
}

pub(super) fn planned() -> impl Strategy<Value = Planned> {
    let run = prop_oneof![4 => Just(1), 2 => Just(2), 1 => Just(3)];
    let more = (prop::bool::weighted(0.3), prop::bool::weighted(0.3), select(vec![0, 0, 1, 2]));
    (prop::bool::weighted(0.8), run, more).prop_map(|(batch, run, (canceled, changed, canary))| Planned {
        batch,
        run,
        canceled,
        changed,
        canary,
    })
}

pub(super) fn approve() -> impl Strategy<Value = Op> {
    let canary = select(vec![None, None, Some(0), Some(1)]);
    (0..3_u8, canary).prop_map(|(plan, canary)| Op::Approve { plan, canary })
}

pub(super) fn prune() -> impl Strategy<Value = Op> {
    select(vec![0, 0, 300, 30_000]).prop_map(Op::Prune)
}

pub(super) fn lag() -> impl Strategy<Value = Lag> {
    select(vec![Lag::NotThere, Lag::AsBefore])
}

pub(super) fn lie() -> impl Strategy<Value = Option<Lie>> {
    select(vec![None, Some(Lie::NotThere), Some(Lie::StillRunning)])
}

fn content() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), 1 => Just(1), 1 => Just(2)]
}

fn run() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0), 1 => Just(1), 4 => Just(2), 2 => Just(3), 1 => Just(4)]
}

pub(super) fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => select(vec![5, 60, 100, 2_000]).prop_map(Wish::Seconds),
        3 => Just(Wish::Fails),
        2 => Just(Wish::SecondFails),
        2 => select(vec!["MODERATION_BLOCKED", "VALIDATION_FAILED", "NOT_FOUND"]).prop_map(Wish::Refused),
        3 => (select(START_FAULTS.to_vec()), select(vec![1, 1, 1, 5, 40]))
            .prop_map(|(fault, posts)| Wish::Struck(fault, posts)),
        1 => Just(Wish::UnknownStatus),
        1 => Just(Wish::Never),
        2 => Just(Wish::FailsTwice),
        1 => select(vec![60, SLOW_SECONDS]).prop_map(Wish::FailsThenTakes),
    ]
}

pub(super) fn post() -> impl Strategy<Value = Post> {
    prop_oneof![
        5 => Just(Post::Through),
        3 => Just(Post::Lost),
        2 => Just(Post::Dropped),
        1 => Just(Post::Silent { worked: false }),
        3 => Just(Post::Silent { worked: true }),
        3 => refusal(),
    ]
}

/// What a gateway or the account may answer without asking the API proper.
fn refusal() -> impl Strategy<Value = Post> {
    select(vec![
        (422, "MODERATION_BLOCKED"),
        (422, "VALIDATION_FAILED"),
        (404, "NOT_FOUND"),
        (409, "CONFLICT"),
        (409, "IDEMPOTENCY_CONFLICT"),
        (402, "BILLING_EXHAUSTED"),
        (401, "UNAUTHENTICATED"),
        (503, "KILL_SWITCH"),
        (429, "RATE_LIMITED"),
        (418, "TEAPOT"),
    ])
    .prop_map(|(status, code)| Post::Refused(status, code, Value::Null))
}

pub(super) fn fate() -> impl Strategy<Value = Fate> {
    select(vec![
        Fate::Confirmed,
        Fate::StoredUnconfirmed,
        Fate::Lost,
        Fate::Lost,
        Fate::HalfLost,
        Fate::Refused,
        Fate::Unroutable,
        Fate::DiesBefore,
        Fate::DiesAfter,
        Fate::Down,
    ])
}

fn ack() -> impl Strategy<Value = Ack> {
    prop_oneof![5 => Just(Ack::Arrives), 1 => Just(Ack::DiesBefore), 1 => Just(Ack::DiesAfter)]
}

fn poison() -> impl Strategy<Value = Poison> {
    select(vec![
        Poison::NotUtf8,
        Poison::NotJson,
        Poison::NoProject,
        Poison::UnknownRun,
        Poison::Secret,
        Poison::Invalid,
        Poison::Expired,
    ])
}

fn change() -> impl Strategy<Value = Change> {
    select(vec![
        Change::Credits(0),
        Change::Credits(130),
        Change::Credits(1_000_000),
        Change::Revoked(true),
        Change::Revoked(false),
        Change::Killed(true),
        Change::Killed(false),
        Change::Rotated,
    ])
}

fn faults() -> impl Strategy<Value = Vec<(Fault, f64)>> {
    let strike = (select([START_FAULTS, READ_FAULTS].concat()), select(vec![0.3, 0.7, 1.0]));
    prop_oneof![2 => Just(Vec::new()), 3 => vec(strike, 1..3)]
}

/// What strikes starts. `slow` is not among them: nobody moves the clock while an answer is waited for.
const START_FAULTS: &[Fault] = &[
    Fault::AcceptedUnanswered,
    Fault::AcceptedReset,
    Fault::Accepted500,
    Fault::Error502Html,
    Fault::CutJson,
    Fault::ResetBefore,
    Fault::Error500,
    Fault::UnknownCode,
    Fault::UnknownCode403,
    Fault::UnknownCode500,
    Fault::KillSwitch,
    Fault::OddRetryAfter,
    Fault::OddRetryAfterHuge,
    Fault::UnknownStatus,
];

/// What strikes reads. Not a 429 either, for the same reason.
const READ_FAULTS: &[Fault] =
    &[Fault::ReadReset, Fault::ReadError500, Fault::ReadError502Html, Fault::ReadCutJson];
