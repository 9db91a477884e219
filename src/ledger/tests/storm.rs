//! Random lives of a few briefs against an API that keeps its promises and nothing else: answers get lost, processes
//! die, messages come twice, reruns are asked for at any time. Whatever happens, nothing is bought twice, and in the
//! end every run has its records.

use std::collections::HashMap;

use super::*;
use crate::job::Event;

const SEEDS: u64 = 12;
const STEPS: usize = 120;
const BRIEFS: usize = 3;
const VARIANTS: usize = 2;

/// Small, seeded, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The API, as far as it may be relied on: a key makes one job.
#[derive(Default)]
struct Api {
    /// By key: the job's id and its containers.
    jobs: HashMap<String, (String, Vec<String>)>,
    /// How each container stands; `None`: running.
    containers: HashMap<String, Option<Ended>>,
    /// Accepted `generate`s by brief.
    bought: HashMap<String, u32>,
}

impl Api {
    fn accept(&mut self, job: &Claimed) -> (String, Vec<String>) {
        if let Some(known) = self.jobs.get(&job.idempotency_key) {
            return known.clone();
        }
        let containers = if let Some(container) = &job.container {
            let before = self.containers.insert(container.clone(), None);
            assert!(
                matches!(before, Some(Some(FAILED | CANCELED))),
                "{container} was {before:?} when it was bought again"
            );
            vec![container.clone()]
        } else {
            let bought = self.bought.entry(job.brief_id.clone()).or_default();
            *bought += 1;
            assert_eq!(*bought, 1, "{} was generated twice", job.brief_id);
            // Of one brief the API makes fewer than were asked for.
            let made = if job.brief_id == "b0" { 1 } else { VARIANTS };
            let ids: Vec<String> = (0..made).map(|n| format!("{}-{n}", job.brief_id)).collect();
            for id in &ids {
                assert!(self.containers.insert(id.clone(), None).is_none());
            }
            ids
        };
        let made = (format!("job_{}", self.jobs.len()), containers);
        self.jobs.insert(job.idempotency_key.clone(), made.clone());
        made
    }
}

struct Storm {
    bench: Bench,
    api: Api,
    dice: Dice,
}

impl Storm {
    async fn message(&mut self) {
        let number = usize::try_from(self.dice.below(BRIEFS as u64)).unwrap();
        let run: Option<i64> = sqlx::query_scalar("SELECT run FROM brief WHERE brief_id = $1")
            .bind(format!("b{number}"))
            .fetch_optional(&self.bench.ledger.reader().pool)
            .await
            .unwrap();
        let mut message = numbered(number, json!({ "variantCount": VARIANTS }));
        if self.dice.below(3) == 0 {
            message["brief"]["hook"] = json!(format!("Walk {}", self.dice.below(3)));
        }
        if let (Some(run), 0..=3) = (run, self.dice.below(6)) {
            message["run"] = json!(run + 1);
        }
        self.bench.send(message).await;
    }

    /// Takes due jobs to the API; some answers get lost, and some processes die.
    async fn submit(mut self, calm: bool) -> Self {
        for job in self.bench.write(self.bench.claim_of(3)).await.unwrap().claimed {
            let fate = if calm { 0 } else { self.dice.below(10) };
            let known = self.api.jobs.contains_key(&job.idempotency_key);
            let outcome = match fate {
                5 => AttemptOutcome::Again(Again::Held),
                6 => AttemptOutcome::Again(Again::NotConnected),
                7 => {
                    if self.dice.below(2) == 0 {
                        self.api.accept(&job);
                    }
                    AttemptOutcome::Again(Again::Unanswered)
                }
                8 if !known => {
                    let event =
                        if job.unknown_first_at.is_some() { Event::NotFoundForSure } else { Event::Refused };
                    let error = RecordError::new(Source::Layers, "MODERATION_BLOCKED", "no");
                    AttemptOutcome::Rejected(event, Box::new(error))
                }
                9 => {
                    if self.dice.below(2) == 0 {
                        self.api.accept(&job);
                    }
                    self.bench = self.bench.crash().await;
                    return self;
                }
                _ => {
                    let (id, containers) = self.api.accept(&job);
                    let named: Vec<&str> = containers.iter().map(String::as_str).collect();
                    accepted(Some(&id), &named)
                }
            };
            self.bench.record(job.id, outcome).await.unwrap();
        }
        self
    }

    async fn inspect(&mut self) {
        for inspection in self.bench.inspect().await {
            let found = match self.api.containers[&inspection.container] {
                None => Found::Running,
                Some(DONE) => Found::Completed(Box::new(self.bench.end(&inspection.container, DONE))),
                Some(FAILED | CANCELED) => Found::Ended("old".to_owned()),
            };
            assert!(self.bench.inspected(inspection.id, found).await);
        }
    }

    /// Some containers end at the API, and what has ended is settled.
    async fn track(&mut self, calm: bool) {
        let mut running: Vec<_> =
            self.api.containers.iter_mut().filter(|(_, ended)| ended.is_none()).collect();
        running.sort_by_key(|(id, _)| (*id).clone());
        for (_, ended) in running {
            *ended = match if calm { 0 } else { self.dice.below(5) } {
                0 | 1 => Some(DONE),
                2 => Some(FAILED),
                3 => Some(CANCELED),
                _ => None,
            };
        }
        for job in self.bench.ledger.running((0, 0), 100).await.unwrap() {
            let ends: Vec<_> = job
                .open
                .iter()
                .filter_map(|id| self.api.containers[id].map(|ended| self.bench.end(id, ended)))
                .collect();
            let close = ends.len() == job.open.len();
            let now_ms = self.bench.now();
            self.bench.write(Settle { job: job.job, ends, close, now_ms }).await.unwrap();
        }
    }

    async fn step(mut self) -> Self {
        match self.dice.below(6) {
            0 => self.message().await,
            1 => self.inspect().await,
            2 | 3 => return self.submit(false).await,
            4 => self.track(false).await,
            _ => {
                if self.dice.below(2) == 0 {
                    self.bench.publish().await;
                }
                self.bench.clock.advance(Duration::from_secs(45));
            }
        }
        self
    }

    /// Nothing more comes, and the API and the process behave.
    async fn calm(mut self) -> Self {
        for _ in 0..12 {
            self.bench.minutes_pass(2);
            self.inspect().await;
            self = self.submit(true).await;
            self.track(true).await;
        }
        self.bench.publish().await;
        self
    }
}

#[tokio::test]
async fn in_any_storm_nothing_is_bought_twice_and_every_run_ends_with_its_records() {
    for seed in 0..SEEDS {
        let bench = Bench::new().await;
        let mut storm = Storm { bench, api: Api::default(), dice: Dice(seed) };
        for _ in 0..STEPS {
            storm = storm.step().await;
        }
        let storm = storm.calm().await;
        let bench = &storm.bench;
        assert!(!bench.ledger.is_busy().await.unwrap(), "seed {seed}: {:?}", bench.job_states().await);
        let short = bench.number("SELECT count(*) FROM run WHERE owed <> made OR state = 'remembered'").await;
        assert_eq!(short, 0, "seed {seed}");
        // What completed at the API, completed here, and a consumer got it.
        let completed = storm.api.containers.values().filter(|ended| **ended == Some(DONE)).count();
        let told = bench
            .number("SELECT count(DISTINCT brief || '/' || variant) FROM outbox WHERE kind = 'container.completed' AND state = 'sent'")
            .await;
        assert_eq!(i64::try_from(completed).unwrap(), told, "seed {seed}");
        let duplicates = bench.number("SELECT count(*) - count(DISTINCT idempotency_key) FROM job").await;
        assert_eq!(duplicates, 0, "seed {seed}");
    }
}
