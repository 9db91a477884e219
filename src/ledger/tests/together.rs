//! What is done together leaves the same ledger as the same done one by one.

use proptest::collection::vec;
use proptest::prelude::*;

use super::writer::together;
use super::*;

/// What comes in, and what becomes of it.
#[derive(Clone, Debug)]
struct Fate {
    delivery: Comes,
    variants: usize,
    answer: Answer,
    /// How its containers end, and whether each is told by itself.
    ends: Vec<Ended>,
    one_by_one: bool,
    /// The first end is told twice.
    twice: bool,
    close: bool,
}

#[derive(Clone, Copy, Debug)]
enum Comes {
    New,
    /// The one before once more.
    Repeat,
    /// The one before with other content.
    Changed,
    /// The next run of the one before.
    NextRun,
    Invalid,
    Unreadable,
    OfABatch,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Accepted,
    AcceptedInPart,
    NamedTwice,
    Refused,
    Lost,
    /// Of an attempt that is not the job's.
    Foreign,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delivery = prop_oneof![
        6 => Just(Comes::New),
        1 => Just(Comes::Repeat),
        1 => Just(Comes::Changed),
        1 => Just(Comes::NextRun),
        1 => Just(Comes::Invalid),
        1 => Just(Comes::Unreadable),
        3 => Just(Comes::OfABatch),
    ];
    let answer = prop_oneof![
        8 => Just(Answer::Accepted),
        1 => Just(Answer::AcceptedInPart),
        1 => Just(Answer::NamedTwice),
        1 => Just(Answer::Refused),
        1 => Just(Answer::Lost),
        1 => Just(Answer::Foreign),
    ];
    let end = prop_oneof![4 => Just(DONE), 1 => Just(FAILED), 1 => Just(CANCELED)];
    (delivery, 1..=3_usize, answer, vec(end, 3), any::<bool>(), prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(delivery, variants, answer, ends, one_by_one, twice, close)| Fate {
            delivery,
            variants,
            answer,
            ends,
            one_by_one,
            twice,
            close,
        })
}

/// A ledger to which several writes come at once, or one after the other.
struct Way {
    bench: Bench,
    together: bool,
}

impl Way {
    async fn write<W: Write>(&self, writes: Vec<W>) -> Vec<Option<W::Out>> {
        let ledger = &self.bench.ledger;
        let results = if self.together {
            together(ledger, writes).await
        } else {
            let mut results = Vec::new();
            for write in writes {
                results.push(ledger.write(write).await);
            }
            results
        };
        self.bench.check().await;
        results.into_iter().map(Result::ok).collect()
    }

    /// Takes all of them from the message to the confirmed record; returns what was decided.
    async fn live(&self, fates: &[Fate]) -> Vec<String> {
        let mut told = self.deliver(fates).await;
        let claim = Claim { submitting_max: 1_000, ..self.bench.claim_of(1_000) };
        let claimed = self.bench.ledger.write(claim).await.unwrap().claimed;
        let fate_of = |job: &Claimed| &fates[job.brief_id[1..].parse::<usize>().unwrap()];
        let outcomes = claimed.iter().map(|job| self.outcome(job, fate_of(job))).collect();
        told.push(format!("{:?}", self.write(outcomes).await));
        let settles = claimed.iter().flat_map(|job| self.settles(job, fate_of(job))).collect();
        let settled = self.write::<Settle>(settles).await;
        told.extend(settled.into_iter().map(|settled| format!("{settled:?}")));
        self.bench.publish().await;
        told
    }

    async fn deliver(&self, fates: &[Fate]) -> Vec<String> {
        let mut last = 0;
        let mut deliveries = Vec::new();
        for (number, fate) in fates.iter().enumerate() {
            if !matches!(fate.delivery, Comes::Repeat | Comes::Changed | Comes::NextRun) {
                last = number;
            }
            let variants = fates[last].variants;
            let message = |more: Value| {
                let mut message = numbered(last, more);
                message["variantCount"] = json!(variants);
                message.to_string()
            };
            deliveries.push(received(&match fate.delivery {
                Comes::New | Comes::Repeat => message(json!({})),
                Comes::Changed => message(json!({"brief": {"hook": "Other"}})),
                Comes::NextRun => message(json!({"run": 2})),
                Comes::Invalid => message(json!({"brief": {"hook": 7}})),
                Comes::Unreadable => "{".to_owned(),
                Comes::OfABatch => message(json!({"batchId": "batch", "batchSize": number + 2})),
            }));
        }
        let parts: Vec<Vec<Received>> = if self.together {
            vec![deliveries]
        } else {
            deliveries.into_iter().map(|one| vec![one]).collect()
        };
        let mut told = Vec::new();
        for part in parts {
            told.extend(self.bench.send_all(part).await.iter().map(|decision| format!("{decision:?}")));
        }
        told
    }

    fn outcome(&self, job: &Claimed, fate: &Fate) -> RecordOutcome {
        let mut containers = containers(job);
        let mut attempt = job.attempts;
        let mut outcome = None;
        match fate.answer {
            Answer::Accepted => {}
            Answer::AcceptedInPart => containers.truncate(1),
            Answer::NamedTwice => containers[0] = containers.last().cloned().unwrap(),
            Answer::Refused => outcome = Some(refused("MODERATION_BLOCKED")),
            Answer::Lost => outcome = Some(AttemptOutcome::Again(Again::Unanswered)),
            Answer::Foreign => attempt += 1,
        }
        let ids: Vec<&str> = containers.iter().map(String::as_str).collect();
        RecordOutcome {
            job: job.id,
            boot: self.bench.ledger.boot().to_owned(),
            attempt,
            outcome: outcome.unwrap_or_else(|| accepted(Some(&format!("job_{}", job.id)), &ids)),
            told: Told::default(),
            now_ms: self.bench.now() + job.id % 3,
            retry_ms: self.bench.now(),
        }
    }

    fn settles(&self, job: &Claimed, fate: &Fate) -> Vec<Settle> {
        let all = containers(job).into_iter().zip(&fate.ends).map(|(id, ended)| self.bench.end(&id, *ended));
        let mut ends: Vec<Vec<ContainerEnd>> =
            if fate.one_by_one { all.map(|end| vec![end]).collect() } else { vec![all.collect()] };
        if fate.twice {
            ends.push(ends[0].clone());
        }
        let now_ms = self.bench.now() + job.id % 5;
        let last = ends.len() - 1;
        let settle = |(n, ends)| Settle { job: job.id, ends, close: fate.close && n == last, now_ms };
        ends.into_iter().enumerate().map(settle).collect()
    }

    /// Every row of every table; a claim names its process. In which order things happened is told for each brief, not
    /// among them: the unusual goes last.
    async fn rows(&self) -> Vec<String> {
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('meta', '_sqlx_migrations') ORDER BY name";
        let mut rows = Vec::new();
        for table in self.bench.texts(tables).await {
            let numbered = matches!(table.as_str(), "history" | "outbox");
            let (but, order) = if numbered { ("id", "brief, id") } else { ("", "1") };
            let columns = format!(
                "SELECT group_concat(printf('quote(\"%w\")', name), ' || '', '' || ') FROM pragma_table_info('{table}') WHERE name <> '{but}'"
            );
            let pool = &self.bench.ledger.reader().pool;
            let columns: String =
                sqlx::query_scalar(sqlx::AssertSqlSafe(columns)).fetch_one(pool).await.unwrap();
            let all = format!("SELECT {columns} FROM {table} ORDER BY {order}");
            let all: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_all(pool).await.unwrap();
            rows.extend(all.into_iter().map(|row| format!("{table}: {row}")));
        }
        rows.iter().map(|row| row.replace(self.bench.ledger.boot(), "BOOT")).collect()
    }
}

fn containers(job: &Claimed) -> Vec<String> {
    (1..=job.variant_count).map(|variant| format!("c{}-{variant}", job.id)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_waits_together_leaves_the_same_ledger_as_one_by_one(fates in vec(fate(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut seen = Vec::new();
            for together in [true, false] {
                let way = Way { bench: Bench::new().await, together };
                let told = way.live(&fates).await;
                seen.push((told, way.rows().await));
            }
            let (alone, together) = (seen.pop().unwrap(), seen.pop().unwrap());
            assert_eq!(together, alone);
        });
    }
}

#[tokio::test]
async fn one_that_fails_among_many_takes_nobody_with_it() {
    let bench = Bench::new().await;
    bench.send_all((0..5).map(|n| received(&numbered(n, json!({})).to_string())).collect()).await;
    let claimed = bench.claim().await;
    let way = Way { bench, together: true };
    let before = way.bench.metrics.ledger_commit_seconds.get_sample_count();
    let fate = Fate {
        delivery: Comes::New,
        variants: 1,
        answer: Answer::Accepted,
        ends: vec![DONE],
        one_by_one: false,
        twice: false,
        close: true,
    };
    let mut outcomes: Vec<RecordOutcome> = claimed.iter().map(|job| way.outcome(job, &fate)).collect();
    outcomes[2].attempt += 1;
    let states = way.write(outcomes).await;
    let running = Some(JobState::Running);
    assert_eq!(states, [running, running, None, running, running]);
    assert_eq!(
        way.bench.metrics.ledger_commit_seconds.get_sample_count() - before,
        2,
        "one commit for all, after the one they waited for"
    );
    let settles = claimed.iter().flat_map(|job| way.settles(job, &fate)).collect();
    let settled = way.write::<Settle>(settles).await;
    let newly: Vec<bool> = settled.into_iter().map(|settled| settled.unwrap().newly == [true]).collect();
    assert_eq!(newly, [true, true, false, true, true]);
}
