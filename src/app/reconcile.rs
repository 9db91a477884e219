//! `briefd reconcile`: the ledger against the API's own list of a project, both ways. Is every credit explained?
//!
//! It reads and changes nothing. Beside a worker it reads no faster than is left to commands; without one, as fast as
//! the API allows. What is new is not called a difference (lists lag, and following takes its time), and what seems to
//! differ is read once more by itself before it is called one, up to a bound.

mod judge;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::judge::Kind;
use self::judge::{Now, Verdict, known, must_be_listed, read, unknown};
use crate::clock::Clock;
use crate::config::Settings;
use crate::job::{ContainerReading, ListedContainer, Trouble};
use crate::layers::limits::numbers;
use crate::layers::{
    BuildError, Class, Client, Limits, ListPage, ListQuery, Numbers, Pages, Permit, Priority,
};
use crate::ledger::{ContainerEnd, KnownContainer, LedgerError, Reader, UnnamedJob};
use crate::stages::{Prices, container_end};
use crate::telemetry::Metrics;

/// Pages of one walk: a million containers.
const PAGES_MAX: u32 = 5_000;
/// Containers a page, the most that the API gives.
const PAGE: u32 = 200;
/// Containers that are looked up in the ledger at once. It has no index of their ids, which come in no order: each look-up
/// reads all of them.
const COMPARED_AT_ONCE: usize = 10_000;
/// Containers that are read by themselves because they seem to differ.
const READS_MAX: u32 = 50;
/// Differences that are kept; beyond, they are only counted.
const KEPT_MAX: usize = 10_000;
/// Times that a read is tried, and how long apart.
const TRIES: u32 = 4;
const APART: Duration = Duration::from_secs(2);
/// Longest wait that a 429 can ask for.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// Why the list could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The API client.
    #[error(transparent)]
    Client(#[from] BuildError),
    /// The API did not answer, or refused.
    #[error("the API's list could not be read: {0}")]
    Api(String),
    /// The ledger was made with another API.
    #[error(
        "the ledger belongs to {ledger}, and layers.base_url is {asked}: use the settings it was made with"
    )]
    OtherOrigin {
        /// What the ledger is bound to.
        ledger: String,
        /// What is asked.
        asked: String,
    },
    /// Another organization's list says nothing about this ledger.
    #[error("the ledger belongs to organization {ledger}, and the API key to {asked}: use a key of {ledger}")]
    OtherOrganization {
        /// What the ledger is bound to.
        ledger: String,
        /// Whose the key is.
        asked: String,
    },
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Span {
    /// The project's id.
    pub project: String,
    /// Containers that were created then or later,
    pub since: Timestamp,
    /// and then or earlier.
    pub until: Option<Timestamp>,
    /// Only those with one of these statuses at the API; empty: all.
    pub statuses: Vec<String>,
    /// What is newer is not called a difference.
    pub grace: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Containers at the API.
    pub at_api: u64,
    /// Those that the ledger explains.
    pub explained: u64,
    /// Those that are too new to tell.
    pub too_new: u64,
    /// What those at the API are thought to have cost; `None`: no price is known.
    pub credits: Option<u64>,
    /// Differences, ten thousand at most.
    pub differences: Vec<Difference>,
    /// How many there are.
    pub difference_count: u64,
    /// Jobs without an id of ours whose outcome is unknown: what is foreign may be theirs.
    pub unknown_without_id: i64,
    /// The list was read to its end.
    pub whole: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// In which way.
    pub kind: Kind,
    /// The container; '' for a record of a brief without any.
    pub container: String,
    /// What the API says.
    pub at_api: Option<String>,
    /// What the ledger says.
    pub here: Option<String>,
    /// The batch and the brief, where it is ours.
    pub brief: Option<(String, String)>,
    /// What taking it over means, where that can be done.
    pub adopt: Option<Adopt>,
}

/// What `--adopt` takes over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Adopt {
    /// A container with an id of ours: its job is running from now on.
    Found {
        /// The ledger's number of the job.
        job: i64,
        /// The container, by the API's id.
        container: String,
        /// What `auto` became, when told.
        format: Option<String>,
    },
    /// A result that came after its job was given up, as it was read.
    Late {
        /// The ledger's number of the job.
        job: i64,
        /// Its end.
        end: Box<ContainerEnd>,
    },
}

/// Compares; `watch` is told how many containers of the list were read.
pub async fn run(
    settings: &Settings,
    span: &Span,
    clock: &Clock,
    watch: &mut (dyn FnMut(u64) + Send),
) -> Result<Reconciled, ReconcileError> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let api = Api::new(settings, reader.clone(), clock)?;
    api.belongs(settings).await?;
    let prices = api.prices(settings).await;
    let unnamed = reader.unnamed_jobs(&span.project).await?;
    let unnamed = unnamed.into_iter().map(|job| (job.alias.clone(), job)).collect();
    let comparing = Comparing { api, reader, prices, unnamed, span, clock, reads_left: READS_MAX };
    comparing.run(watch).await
}

struct Comparing<'a> {
    api: Api,
    reader: Reader,
    prices: Prices,
    /// By our container id.
    unnamed: HashMap<String, UnnamedJob>,
    span: &'a Span,
    clock: &'a Clock,
    reads_left: u32,
}

/// A container of the list, and when the list was read.
struct Listed {
    item: ListedContainer,
    now: Now,
}

impl Comparing<'_> {
    async fn run(mut self, watch: &mut (dyn FnMut(u64) + Send)) -> Result<Reconciled, ReconcileError> {
        let mut result = Reconciled::default();
        let mut seen = HashSet::new();
        let query = ListQuery {
            statuses: self.span.statuses.clone(),
            since: Some(self.span.since),
            until: self.span.until,
            limit: Some(PAGE),
            ..ListQuery::default()
        };
        let mut pages = Pages::new(query, PAGES_MAX);
        let mut listed = Vec::new();
        while let Some(query) = pages.next_query() {
            let page = self.api.page(&self.span.project, query).await?;
            let now = self.now();
            let items = pages.turn(Ok(page)).unwrap_or_default();
            // Pages shift while new containers are made: one may be on two of them.
            let items = items.into_iter().filter(|item| seen.insert(item.id.clone()));
            listed.extend(items.map(|item| Listed { item, now }));
            if listed.len() >= COMPARED_AT_ONCE {
                self.compare(&std::mem::take(&mut listed), &mut result).await?;
            }
            watch(seen.len() as u64);
        }
        self.compare(&listed, &mut result).await?;
        result.whole = pages.is_whole();
        if result.whole {
            self.look_for_missing(&seen, &mut result).await?;
        }
        let now = self.now();
        for record in self.reader.unpublished(&self.span.project, now.ms.saturating_sub(now.grace_ms)).await?
        {
            result.add(Difference {
                kind: Kind::Unpublished,
                container: String::new(),
                at_api: None,
                here: Some(format!("{} {}", record.kind, record.state)),
                brief: Some((record.batch_id, record.brief_id)),
                adopt: None,
            });
        }
        result.unknown_without_id = self.reader.unknown_without_id(&self.span.project).await?;
        Ok(result)
    }

    async fn compare(&mut self, listed: &[Listed], result: &mut Reconciled) -> Result<(), ReconcileError> {
        if listed.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = listed.iter().map(|one| one.item.id.as_str()).collect();
        let rows = self.reader.known_containers(&ids).await?;
        let rows: HashMap<&str, &KnownContainer> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        for one in listed {
            result.at_api += 1;
            if let Some(price) = self.prices.of(one.item.format.as_deref()) {
                *result.credits.get_or_insert(0) += price;
            }
            match rows.get(one.item.id.as_str()) {
                Some(row) => self.compare_known(one, row, result).await?,
                None => self.compare_unknown(one, result),
            }
        }
        Ok(())
    }

    /// One that seems to differ is read by itself: the list may lag, and only its record says all.
    async fn compare_known(
        &mut self,
        Listed { item, now }: &Listed,
        row: &KnownContainer,
        result: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let mut verdict = known(item, row, *now);
        let mut status = item.status.clone();
        let mut reading = None;
        if matches!(verdict, Verdict::Differs(_)) {
            reading = self.read(&item.id).await?;
        }
        if let Some(reading) = &reading {
            status = reading.status.clone();
            verdict = read(reading, row, self.now());
        }
        let Verdict::Differs(kind) = verdict else {
            result.explained += 1;
            return Ok(());
        };
        let end = reading
            .filter(|_| kind == Kind::Late)
            .and_then(|reading| container_end(&row.id, &reading, None, &self.prices, self.clock.now_ms()));
        result.add(Difference {
            kind,
            container: item.id.clone(),
            at_api: Some(status.word().to_owned()),
            here: Some(row.status.clone()),
            brief: Some((row.batch_id.clone(), row.brief_id.clone())),
            adopt: end.map(|end| Adopt::Late { job: row.job, end: Box::new(end) }),
        });
        Ok(())
    }

    fn compare_unknown(&self, Listed { item, now }: &Listed, result: &mut Reconciled) {
        let ours = self.unnamed.get(&item.id);
        match unknown(item, ours, *now) {
            Verdict::Explained => result.explained += 1,
            Verdict::TooNew => result.too_new += 1,
            Verdict::Differs(kind) => {
                let adopt = ours.filter(|job| kind == Kind::Unknown && job.variant_count == 1);
                result.add(Difference {
                    kind,
                    container: item.id.clone(),
                    at_api: Some(item.status.word().to_owned()),
                    here: ours.map(|job| job.state.clone()),
                    brief: ours.map(|job| (job.batch_id.clone(), job.brief_id.clone())),
                    adopt: adopt.map(|job| Adopt::Found {
                        job: job.job,
                        container: item.id.clone(),
                        format: item.format.clone(),
                    }),
                });
            }
        }
    }

    /// What the ledger has and a whole list does not is asked for by itself before it is called missing.
    async fn look_for_missing(
        &mut self,
        seen: &HashSet<String>,
        result: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let until = self.span.until.unwrap_or_else(|| self.clock.now());
        let span = (self.span.since.as_millisecond(), until.as_millisecond());
        let mut after = (0, 0);
        loop {
            let rows = self.reader.containers_of(&self.span.project, span, after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.brief, last.variant);
            let now = self.now();
            let unseen = rows
                .iter()
                .filter(|row| !seen.contains(&row.id) && must_be_listed(row, &self.span.statuses, now));
            for row in unseen {
                if self.reads_left > 0 && self.read(&row.id).await?.is_some() {
                    continue;
                }
                result.add(Difference {
                    kind: Kind::Missing,
                    container: row.id.clone(),
                    at_api: None,
                    here: Some(row.status.clone()),
                    brief: Some((row.batch_id.clone(), row.brief_id.clone())),
                    adopt: None,
                });
            }
        }
    }

    fn now(&self) -> Now {
        let grace_ms = i64::try_from(self.span.grace.as_millis()).unwrap_or(i64::MAX);
        Now { ms: self.clock.now_ms(), grace_ms }
    }

    /// Reads a container by itself; `None`: the API has none by that id, or enough were read.
    async fn read(&mut self, id: &str) -> Result<Option<ContainerReading>, ReconcileError> {
        if self.reads_left == 0 {
            return Ok(None);
        }
        self.reads_left -= 1;
        self.api.container(id).await
    }
}

impl Reconciled {
    fn add(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < KEPT_MAX {
            self.differences.push(difference);
        }
    }
}

/// The API, read within what a command may use.
struct Api {
    client: Client,
    reader: Reader,
    /// With a worker beside us, and without.
    beside: Limits,
    alone: Limits,
    clock: Clock,
}

impl Api {
    fn new(settings: &Settings, reader: Reader, clock: &Clock) -> Result<Self, BuildError> {
        let metrics = Metrics::new([]);
        let client = Client::new(&settings.layers, clock.clone(), metrics.clone())?;
        let all = numbers(settings.layers.tier, settings.layers.limits);
        let limits = |numbers| Limits::new(numbers, clock.clone(), metrics.clone());
        let (beside, alone) = (limits(all.map(Numbers::of_commands)), limits(all));
        Ok(Self { client, reader, beside, alone, clock: clock.clone() })
    }

    async fn permit(&self) -> Permit {
        let limits = if self.reader.has_worker() { &self.beside } else { &self.alone };
        limits.acquire_read(Priority::Sweep).await
    }

    /// Whether the ledger's organization is the key's, as far as that is known.
    async fn belongs(&self, settings: &Settings) -> Result<(), ReconcileError> {
        let asked = settings.layers.origin();
        if let Some(ledger) = self.reader.meta("origin").await?.filter(|bound| *bound != asked) {
            return Err(ReconcileError::OtherOrigin { ledger, asked });
        }
        let Some(ledger) = self.reader.meta("organization").await? else { return Ok(()) };
        let permit = self.permit().await;
        let answer = self.client.whoami().await;
        permit.answered();
        match answer.ok().and_then(|whoami| whoami.organization_id) {
            Some(asked) if asked != ledger => Err(ReconcileError::OtherOrganization { ledger, asked }),
            Some(_) | None => Ok(()),
        }
    }

    async fn prices(&self, settings: &Settings) -> Prices {
        let prices = Prices::new(&settings.layers.prices);
        let permit = self.permit().await;
        let answer = self.client.credits().await;
        permit.answered();
        if let Ok(credits) = answer {
            prices.learn(credits.per_format);
        }
        prices
    }

    async fn page(&self, project: &str, query: &ListQuery) -> Result<ListPage, ReconcileError> {
        self.again(async || self.client.list(project, query).await)
            .await
            .map_err(|trouble| ReconcileError::Api(trouble.to_string()))
    }

    async fn container(&self, id: &str) -> Result<Option<ContainerReading>, ReconcileError> {
        match self.again(async || self.client.container(id).await).await {
            Ok(reading) => Ok(Some(reading)),
            Err(trouble) if trouble.is_not_found() => Ok(None),
            Err(trouble) => Err(ReconcileError::Api(trouble.to_string())),
        }
    }

    /// Asks a few times where another try may help.
    async fn again<T>(&self, ask: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut tries = 1;
        loop {
            let permit = self.permit().await;
            let answer = ask().await;
            permit.answered();
            let wait = match &answer {
                Err(Trouble::Refusal(refusal)) if refusal.status == 429 => {
                    let wait = refusal.retry_after.unwrap_or(APART).min(WAIT_MAX);
                    self.alone.slow(Class::Read, wait);
                    self.beside.slow(Class::Read, wait);
                    Duration::ZERO
                }
                Err(Trouble::NoAnswer(_) | Trouble::NotConnected(_)) => APART.saturating_mul(tries),
                Err(Trouble::Refusal(refusal)) if refusal.status >= 500 => APART.saturating_mul(tries),
                Ok(_) | Err(Trouble::Refusal(_)) => return answer,
            };
            if tries >= TRIES {
                return answer;
            }
            tries += 1;
            self.clock.sleep(wait).await;
        }
    }
}
