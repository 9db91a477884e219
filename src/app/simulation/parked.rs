//! What is parked waits for a person, and so may be forgotten: where the API can tell, nobody has to be asked.

use jiff::Timestamp;
use sqlx::{Connection as _, FromRow};

use super::world::World;

/// Two look-ups that found nothing are believed when they are so far apart.
const APART_MS: i64 = 10 * 60_000;
/// Claims in a row without an outcome, after which a job is taken for what kills the process.
const CLAIMS: i64 = 10;

/// Attempts that the API left without an answer while it accepted others, after which a person is asked.
const UNHEEDED: i64 = 24;

const PARKED: &str = "SELECT id, kind, alias IS NOT NULL AS has_id, absent_at, unrecorded, \
    unknown_first_at IS NOT NULL AS unknown, coalesce(error, '') AS error, \
    (SELECT count(*) FROM history WHERE history.brief = job.brief AND what = 'attempt' \
    AND json_extract(detail, '$.job') = job.id AND json_extract(detail, '$.outcome') = 'Unheeded') AS unheeded, \
    (SELECT value FROM meta WHERE name = 'look_ups') AS look_ups, \
    (SELECT value FROM meta WHERE name = 'look_ups_at') AS look_ups_at \
    FROM job WHERE state = 'parked'";

/// A parked job, and what is known of look-ups by our ids.
#[derive(FromRow)]
struct Parked {
    id: i64,
    kind: String,
    has_id: bool,
    absent_at: Option<i64>,
    unrecorded: i64,
    unknown: bool,
    unheeded: i64,
    error: String,
    look_ups: Option<String>,
    look_ups_at: Option<String>,
}

impl Parked {
    /// It is unknown what it bought, and either it has no id of its own to be looked up by, or look-ups do not work, or
    /// nobody knew that when it was not found for the second time, or it was asked about often enough while others were
    /// answered; or it has killed process after process.
    fn is_right(&self, now_ms: i64) -> bool {
        let absent_twice = self.absent_at.is_some_and(|first_ms| now_ms - first_ms >= APART_MS);
        let key_only = self.kind == "regenerate" || !self.has_id;
        // In the same step they may have been found to work a moment later.
        let tried_at = self.look_ups_at.as_ref().map(|at| at.parse::<Timestamp>().unwrap().as_millisecond());
        let not_known = self.look_ups.is_none() || tried_at == Some(now_ms);
        let cannot_tell = match self.look_ups.as_deref() {
            Some("works") | None => absent_twice && not_known,
            Some(_) => true,
        };
        self.unrecorded >= CLAIMS || (self.unknown && (key_only || cannot_tell || self.unheeded >= UNHEEDED))
    }
}

impl World {
    /// Looks at what was just parked. Whatever is parked has been looked at, or is resolved before the next step.
    pub(super) fn look_at_parked(&mut self) {
        let process = self.process.as_ref().unwrap();
        let reader = process.worker.desk.ledger.reader();
        let parked: Vec<Parked> = process.wait(async {
            if !reader.tally().await.unwrap().iter().any(|tally| tally.state == "parked" && tally.n > 0) {
                return Vec::new();
            }
            let mut db = self.beside().await;
            let parked = sqlx::query_as(PARKED).fetch_all(&mut db).await.unwrap();
            db.close().await.unwrap();
            parked
        });
        let now_ms = self.clock.now_ms();
        for job in parked {
            if self.parked.insert(job.id) && !job.is_right(now_ms) {
                let Parked { id, kind, error, .. } = job;
                self.parked_wrongly.push(format!("{kind} {id} was parked: {error}"));
            }
        }
    }
}
