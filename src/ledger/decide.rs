//! The decision about each delivery, in order of arrival, inside one transaction: the contract's table
//! "What happens to what comes in", first row that fits.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::batch::announce_size;
use super::decision::Decision;
use super::deliveries::Decided;
use super::newcomers::{known_identities, unheard_of};
use super::ours::OurFailure;
use super::outbox::{DeadLetter, insert_brief_failed, insert_dead_letter, publish_again};
use super::rows::{BriefRow, Input, RunRow, Table, detail, next_id, note, owe};
use super::runs::{Chosen, Containers, NewRun, give_jobs, make_current};
use super::writer::Write;
use crate::brief::{Brief, Rules, Unreadable, differing_paths, only_brief_differs, parse};
use crate::flow::{Delivery, Properties};
use crate::job::BriefState;

/// Paths that a conflict's detail names at most.
const PATHS_SHOWN: usize = 5;

/// Decides a batch of deliveries. The caller acknowledges them once this is committed.
#[derive(Debug)]
pub struct Decide {
    /// In order of arrival.
    pub deliveries: Vec<Received>,
    /// Where they come from.
    pub input: Input,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// `layers.send_container_id`
    pub send_container_id: bool,
}

/// One delivery, parsed.
#[derive(Debug)]
pub struct Received {
    /// What it says, or why that cannot be read.
    pub content: Result<Brief, Unreadable>,
    /// The bytes as received (a secret in them already blanked).
    pub body: Vec<u8>,
    /// What travelled beside them.
    pub properties: Properties,
    /// Where it stood in its source.
    pub position: u64,
    /// The broker had delivered it before.
    pub redelivered: bool,
}

impl Received {
    /// One delivery as it came, read under these rules.
    pub fn of(delivery: Delivery, rules: &Rules<'_>) -> Self {
        let content = parse(&delivery, rules);
        let Delivery { position, body, properties, redelivered, fault: _ } = delivery;
        Self { content, body, properties, position, redelivered }
    }
}

impl Write for Decide {
    /// One decision for each delivery, with its brief's number where there is one.
    type Out = Vec<(Decision, Option<i64>)>;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Self::Out, LedgerError>> {
        Box::pin(async move {
            let mut decisions = Vec::with_capacity(self.deliveries.len());
            let mut known = known_identities(db, &self.deliveries).await?;
            let mut rest = self.deliveries.as_slice();
            while let Some(first) = rest.first() {
                let new = unheard_of(&known, rest);
                let (decided, later) = rest.split_at(new.len().max(1));
                if new.is_empty() {
                    decisions.push(self.decide(db, first).await?);
                } else {
                    decisions.extend(self.take_new(db, &new).await?);
                }
                known.extend(
                    decided.iter().filter_map(|one| Some(one.content.as_ref().ok()?.identity.clone())),
                );
                rest = later;
            }
            Ok(decisions)
        })
    }

    fn rows(&self) -> usize {
        self.deliveries.len()
    }

    fn step(&self) -> Option<&'static str> {
        self.deliveries.iter().any(|one| one.content.is_err()).then_some("dead_letter")
    }
}

/// A verdict before it is written down.
enum Verdict {
    Done(Decision, i64, i64),
    Conflict(String),
}

impl Decide {
    async fn decide(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
    ) -> Result<(Decision, Option<i64>), LedgerError> {
        let (decision, at) = match &received.content {
            Err(unreadable) => {
                self.set_aside(db, received, "UNREADABLE", unreadable.to_string()).await?;
                (Decision::Unreadable, None)
            }
            Ok(brief) => match self.known_or_new(db, received, brief).await? {
                Verdict::Done(decision, id, run) => (decision, Some((id, run))),
                Verdict::Conflict(why) => {
                    self.set_aside(db, received, "BRIEF_CONFLICT", why).await?;
                    (Decision::Conflict, None)
                }
            },
        };
        if at.is_some() {
            self.announce_size(db, received).await?;
        }
        self.note_deliveries(db, &[Decided { received, decision, at }]).await?;
        Ok((decision, at.map(|(brief, _)| brief)))
    }

    /// Any message of a batch may say how many briefs it has, a repeat too.
    pub(super) async fn announce_size(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
    ) -> Result<(), LedgerError> {
        match &received.content {
            Ok(brief) if self.input == Input::Queue && !brief.identity.batch_id.is_empty() => {
                let Some(size) = brief.batch_size else { return Ok(()) };
                announce_size(db, &brief.identity.batch_id, size).await
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn set_aside(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        reason: &'static str,
        why: String,
    ) -> Result<(), LedgerError> {
        let letter = DeadLetter {
            reason,
            detail: why,
            body: &received.body,
            properties: &received.properties,
            position: received.position,
        };
        insert_dead_letter(db, &self.input, &letter, self.now_ms).await
    }

    async fn known_or_new(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
    ) -> Result<Verdict, LedgerError> {
        match BriefRow::find(db, &brief.identity).await? {
            None => self.unknown(db, received, brief).await,
            Some(known) if known.pruned_at.is_some() => {
                let last: String = sqlx::query_scalar("SELECT fingerprint FROM tombstone WHERE brief = $1")
                    .bind(known.id)
                    .fetch_one(&mut *db)
                    .await?;
                Ok(if last == brief.fingerprint.to_string() {
                    Verdict::Done(Decision::Duplicate, known.id, known.run)
                } else {
                    Verdict::Conflict(
                        "this brief ended long ago with other content: give the new one another briefId"
                            .to_owned(),
                    )
                })
            }
            Some(known) => {
                let verdict = self.known(db, received, brief, &known).await?;
                let takes = matches!(verdict, Verdict::Done(..));
                if takes && known.input != self.input.word() && known.input != Input::Queue.word() {
                    // A file's briefs belong to whoever asks for them now. What the queue asked for stays the queue's.
                    take_over(db, known.id, &self.input).await?;
                }
                Ok(verdict)
            }
        }
    }

    async fn unknown(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
    ) -> Result<Verdict, LedgerError> {
        if brief.run > 1 {
            return Ok(Verdict::Conflict(format!(
                "run {} of a brief that is not known: enqueue run 1 first (free if it was bought)",
                brief.run
            )));
        }
        let id = next_id(db, Table::Brief).await?;
        self.insert_briefs(db, &[(id, &brief.identity)]).await?;
        let valid = self.start_run(db, received, brief, (id, 1)).await?;
        Ok(Verdict::Done(if valid { Decision::New } else { Decision::Invalid }, id, 1))
    }

    async fn known(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
        known: &BriefRow,
    ) -> Result<Verdict, LedgerError> {
        let asked = i64::from(brief.run);
        let current = RunRow::get(db, known.id, known.run).await?;
        let fingerprint = brief.fingerprint.to_string();
        if asked > known.run + 1 {
            return Ok(Verdict::Conflict(format!(
                "run {asked} was asked for, but the current run is {}: ask for run {}",
                known.run,
                known.run + 1
            )));
        }
        if asked == known.run + 1 {
            return self.next_run(db, received, brief, (known, &current)).await;
        }
        if current.fingerprint == fingerprint {
            return self.repeat(db, known).await;
        }
        if self.was_an_earlier_run(db, known, &fingerprint).await? {
            self.show_file_again(db, known).await?;
            return Ok(Verdict::Done(Decision::Duplicate, known.id, known.run));
        }
        if !known.touched && !in_flight(known)? {
            return self.replace(db, received, brief, (known, &current)).await;
        }
        let paths = differing_paths(&current.request, &brief.request, PATHS_SHOWN).join(", ");
        Ok(Verdict::Conflict(format!(
            "the brief is known with other content, and may have been bought: differs in {paths}; give the new one another briefId"
        )))
    }

    /// Same content as the current run.
    async fn repeat(&self, db: &mut SqliteConnection, known: &BriefRow) -> Result<Verdict, LedgerError> {
        if !has_ended(known.state()?) {
            self.show_file_again(db, known).await?;
            return Ok(Verdict::Done(Decision::Duplicate, known.id, known.run));
        }
        publish_again(db, known.id, &self.input, self.now_ms).await?;
        Ok(Verdict::Done(Decision::Republished, known.id, known.run))
    }

    /// A file of records is written anew by each command, so what an earlier one has shown of a brief is part of it.
    async fn show_file_again(&self, db: &mut SqliteConnection, known: &BriefRow) -> Result<(), LedgerError> {
        if matches!(self.input, Input::File(_)) && known.input != Input::Queue.word() {
            publish_again(db, known.id, &self.input, self.now_ms).await?;
        }
        Ok(())
    }

    async fn was_an_earlier_run(
        &self,
        db: &mut SqliteConnection,
        known: &BriefRow,
        fingerprint: &str,
    ) -> Result<bool, LedgerError> {
        let found: Option<i64> =
            // A remembered run is a later one.
            sqlx::query_scalar("SELECT run FROM run WHERE brief = $1 AND run < $2 AND fingerprint = $3 LIMIT 1")
                .bind(known.id)
                .bind(known.run)
                .bind(fingerprint)
                .fetch_optional(db)
                .await?;
        Ok(found.is_some())
    }

    /// `run` = current + 1.
    async fn next_run(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
        (known, current): (&BriefRow, &RunRow),
    ) -> Result<Verdict, LedgerError> {
        let next = (known.id, known.run + 1);
        match known.state()? {
            BriefState::Completed => {
                publish_again(db, known.id, &self.input, self.now_ms).await?;
                Ok(Verdict::Done(Decision::Republished, known.id, known.run))
            }
            BriefState::Partial | BriefState::Failed | BriefState::Canceled => {
                if received.redelivered && was_a_rerun(db, next, received).await? {
                    // It was remembered and then dropped, because somebody canceled: that is not undone by its repeat.
                    return Ok(Verdict::Done(Decision::Duplicate, known.id, known.run));
                }
                if let Some(why) = refuse_rerun(db, brief, current).await? {
                    return Ok(Verdict::Conflict(why));
                }
                self.start_run(db, received, brief, next).await?;
                Ok(Verdict::Done(Decision::Rerun, known.id, next.1))
            }
            BriefState::Scheduled
            | BriefState::Waiting
            | BriefState::Held
            | BriefState::Submitting
            | BriefState::Running
            | BriefState::Parked => {
                if let Some(remembered) = RunRow::find(db, next.0, next.1).await? {
                    return Ok(if remembered.fingerprint == brief.fingerprint.to_string() {
                        Verdict::Done(Decision::Duplicate, known.id, next.1)
                    } else {
                        Verdict::Conflict(format!("run {} was already asked for with other content", next.1))
                    });
                }
                if !brief.violations.is_empty() {
                    return Ok(Verdict::Conflict(format!(
                        "run {} is invalid: {}",
                        next.1,
                        violations(brief)
                    )));
                }
                if !only_brief_differs(&current.request, &brief.request) {
                    return Ok(Verdict::Conflict(other_than_brief(current, brief)));
                }
                self.insert_run(db, received, brief, next, "remembered").await?;
                Ok(Verdict::Done(Decision::Rerun, known.id, next.1))
            }
        }
    }

    /// Other content, and nothing of the brief was ever accepted or unknown.
    async fn replace(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
        (known, current): (&BriefRow, &RunRow),
    ) -> Result<Verdict, LedgerError> {
        let old = (known.id, known.run);
        if !has_ended(known.state()?) {
            let stopped = sqlx::query(
                "UPDATE job SET state = 'canceled', finished_at = $3 WHERE brief = $1 AND run = $2 AND state = 'ready'",
            )
            .bind(old.0)
            .bind(old.1)
            .bind(self.now_ms)
            .execute(&mut *db)
            .await?
            .rows_affected();
            if stopped != 1 {
                return Ok(Verdict::Conflict("the brief is being submitted with other content".to_owned()));
            }
            owe(db, old, current.made - current.owed, 0).await?;
            sqlx::query(
                "UPDATE run SET state = 'superseded', finished_at = $3 WHERE brief = $1 AND run = $2",
            )
            .bind(old.0)
            .bind(old.1)
            .bind(self.now_ms)
            .execute(&mut *db)
            .await?;
            note(db, old, self.now_ms, "superseded", &detail("by", old.1 + 1)).await?;
        }
        self.start_run(db, received, brief, (known.id, known.run + 1)).await?;
        Ok(Verdict::Done(Decision::Replaced, known.id, known.run + 1))
    }

    /// Makes `at` the brief's current run and gives it its jobs. `false`: it is invalid and has ended.
    async fn start_run(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
        at: (i64, i64),
    ) -> Result<bool, LedgerError> {
        sqlx::query("DELETE FROM run WHERE brief = $1 AND run = $2 AND state = 'remembered'")
            .bind(at.0)
            .bind(at.1)
            .execute(&mut *db)
            .await?;
        self.insert_run(db, received, brief, at, "waiting").await?;
        make_current(db, at, &self.input.word(), self.now_ms).await?;
        if brief.violations.is_empty() {
            give_jobs(db, at, (Chosen::NotCompleted, self.send_container_id), self.now_ms).await?;
            return Ok(true);
        }
        let why = OurFailure::InvalidBrief(
            serde_json::to_value(&brief.violations).unwrap_or_default(),
            violations(brief),
        );
        insert_brief_failed(db, at, &why.error(), self.now_ms).await?;
        Ok(false)
    }

    async fn insert_run(
        &self,
        db: &mut SqliteConnection,
        received: &Received,
        brief: &Brief,
        at: (i64, i64),
        state: &'static str,
    ) -> Result<(), LedgerError> {
        let new = NewRun { brief, received: &received.properties, plan: None, now_ms: self.now_ms };
        new.insert(db, at, state).await
    }
}

/// Why a rerun with this content cannot be done; `None`: it can.
async fn refuse_rerun(
    db: &mut SqliteConnection,
    brief: &Brief,
    current: &RunRow,
) -> Result<Option<String>, LedgerError> {
    let containers = Containers::of(db, current.brief).await?;
    if containers.named == 0 {
        return Ok(None);
    }
    if containers.to_do == 0 {
        return Ok(Some(
            "every container that exists is completed: there is nothing to run again".to_owned(),
        ));
    }
    if !brief.violations.is_empty() {
        return Ok(Some(format!("run {} is invalid: {}", brief.run, violations(brief))));
    }
    if !only_brief_differs(&current.request, &brief.request) {
        return Ok(Some(other_than_brief(current, brief)));
    }
    Ok(None)
}

fn other_than_brief(current: &RunRow, brief: &Brief) -> String {
    let paths = differing_paths(&current.request, &brief.request, PATHS_SHOWN).join(", ");
    format!("containers exist, so only `brief` may differ in a rerun; differs in {paths}")
}

fn violations(brief: &Brief) -> String {
    let shown: Vec<String> = brief
        .violations
        .iter()
        .take(PATHS_SHOWN)
        .map(|violation| format!("{}: {}", violation.path, violation.problem))
        .collect();
    shown.join("; ")
}

pub(super) const fn has_ended(state: BriefState) -> bool {
    match state {
        BriefState::Completed | BriefState::Partial | BriefState::Failed | BriefState::Canceled => true,
        BriefState::Scheduled
        | BriefState::Waiting
        | BriefState::Held
        | BriefState::Submitting
        | BriefState::Running
        | BriefState::Parked => false,
    }
}

/// Whether this delivery was decided before, as the rerun that it asks for.
async fn was_a_rerun(
    db: &mut SqliteConnection,
    (brief, run): (i64, i64),
    received: &Received,
) -> Result<bool, LedgerError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM delivery WHERE brief = $1 AND run = $2 AND result = $3 AND message_id IS $4 LIMIT 1",
    )
    .bind(brief)
    .bind(run)
    .bind(Decision::Rerun.word())
    .bind(&received.properties.message_id)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

async fn take_over(db: &mut SqliteConnection, brief: i64, input: &Input) -> Result<(), LedgerError> {
    for statement in [
        "UPDATE brief SET input = $2 WHERE id = $1",
        "UPDATE job SET input = $2 WHERE brief = $1",
        "UPDATE outbox SET input = $2 WHERE brief = $1",
    ] {
        sqlx::query(statement).bind(brief).bind(input.word()).execute(&mut *db).await?;
    }
    Ok(())
}

/// A POST in flight counts as unknown.
fn in_flight(known: &BriefRow) -> Result<bool, LedgerError> {
    Ok(match known.state()? {
        BriefState::Submitting | BriefState::Running | BriefState::Parked => true,
        BriefState::Scheduled
        | BriefState::Waiting
        | BriefState::Held
        | BriefState::Completed
        | BriefState::Partial
        | BriefState::Failed
        | BriefState::Canceled => false,
    })
}
