//! Containers that a job names only in the end: the answer to its POST named fewer than were promised, or a person
//! resolved a parked job by the API's job id alone.

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::rows::{RunRow, note, owe};
use super::writer::Write;

/// Gives the containers that a `generate` job's `result` names to the variants that have none.
#[derive(Clone, Debug)]
pub struct NameContainers {
    /// The job.
    pub job: i64,
    /// Containers as the API names them, in its order.
    pub ids: Vec<String>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

#[derive(sqlx::FromRow)]
struct JobRow {
    brief: i64,
    run: i64,
    state: String,
}

impl Write for NameContainers {
    /// The containers that have got a variant now.
    type Out = Vec<String>;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Vec<String>, LedgerError>> {
        Box::pin(async move {
            let row: Option<JobRow> = sqlx::query_as(
                "SELECT j.brief, j.run, j.state FROM job j JOIN brief b ON b.id = j.brief AND b.run = j.run \
                 WHERE j.id = $1 AND j.kind = 'generate' AND j.state IN ('running', 'completed', 'failed')",
            )
            .bind(self.job)
            .fetch_optional(&mut *db)
            .await?;
            let Some(row) = row else { return Ok(Vec::new()) };
            let known: Vec<(i64, String)> =
                sqlx::query_as("SELECT variant, id FROM container WHERE brief = $1 ORDER BY variant")
                    .bind(row.brief)
                    .fetch_all(&mut *db)
                    .await?;
            let run = RunRow::get(db, row.brief, row.run).await?;
            let promised = run.variant_count.max(run.owed);
            let named = if row.state == "running" {
                self.name_new(db, &row, (&known, promised)).await?
            } else {
                self.name_lost(db, &row, &known).await?
            };
            if !named.is_empty() {
                let said = json!({ "job": self.job, "containers": named });
                note(db, (row.brief, row.run), self.now_ms, "containers named", &said).await?;
            }
            Ok(named)
        })
    }

    fn rows(&self) -> usize {
        self.ids.len().max(1)
    }
}

impl NameContainers {
    async fn name_new(
        &self,
        db: &mut SqliteConnection,
        row: &JobRow,
        (known, promised): (&[(i64, String)], i64),
    ) -> Result<Vec<String>, LedgerError> {
        let pairs = variants_for(&self.ids, known, promised);
        for (variant, id) in &pairs {
            sqlx::query(
                "INSERT INTO container (brief, variant, id, job, run, status, known_at) VALUES ($1, $2, $3, $4, $5, 'running', $6)",
            )
            .bind(row.brief)
            .bind(variant)
            .bind(id)
            .bind(self.job)
            .bind(row.run)
            .bind(self.now_ms)
            .execute(&mut *db)
            .await?;
        }
        // Promised are those that the API names, never fewer than were asked for.
        let all = i64::try_from(known.len() + pairs.len()).unwrap_or(i64::MAX);
        let run = RunRow::get(db, row.brief, row.run).await?;
        owe(db, (row.brief, row.run), all.max(run.owed) - run.owed, 0).await?;
        Ok(pairs.into_iter().map(|(_, id)| id).collect())
    }

    /// Variants that were given up before anybody named them keep their rows.
    async fn name_lost(
        &self,
        db: &mut SqliteConnection,
        row: &JobRow,
        known: &[(i64, String)],
    ) -> Result<Vec<String>, LedgerError> {
        let named: Vec<(i64, String)> = known.iter().filter(|(_, id)| !id.is_empty()).cloned().collect();
        let promised = i64::try_from(known.len()).unwrap_or(i64::MAX);
        let mut done = Vec::new();
        for (variant, id) in variants_for(&self.ids, &named, promised) {
            let changed = sqlx::query(
                "UPDATE container SET id = $3 WHERE brief = $1 AND variant = $2 AND job = $4 AND id = '' AND status = 'lost'",
            )
            .bind(row.brief)
            .bind(variant)
            .bind(&id)
            .bind(self.job)
            .execute(&mut *db)
            .await?;
            if changed.rows_affected() == 1 {
                done.push(id);
            }
        }
        Ok(done)
    }
}

/// Which variant each container becomes that the API names and we do not know yet.
///
/// Where none of those we know is among the names, the API writes ids in another form here: only a list of all of them
/// tells then, by its order, which are new. Otherwise a container would be published under two variants.
fn variants_for(ids: &[String], known: &[(i64, String)], promised: i64) -> Vec<(i64, String)> {
    let mut names: Vec<&String> = Vec::with_capacity(ids.len());
    for id in ids {
        if !names.contains(&id) {
            names.push(id);
        }
    }
    let is_free = |variant: &i64| known.iter().all(|(taken, _)| taken != variant);
    let is_known = |id: &String| known.iter().any(|(_, other)| other == id);
    if !known.is_empty() && !names.iter().any(|id| is_known(id)) {
        if i64::try_from(names.len()).is_ok_and(|named| named < promised) {
            return Vec::new();
        }
        let by_order = (1_i64..).zip(names).filter(|(variant, _)| is_free(variant));
        return by_order.map(|(variant, id)| (variant, id.clone())).collect();
    }
    let new = names.into_iter().filter(|id| !is_known(id));
    (1_i64..).filter(is_free).zip(new).map(|(variant, id)| (variant, id.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ids: &[&str], known: &[(i64, &str)], promised: i64) -> Vec<(i64, String)> {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let known: Vec<(i64, String)> =
            known.iter().map(|(variant, id)| (*variant, (*id).to_owned())).collect();
        variants_for(&ids, &known, promised)
    }

    fn pairs(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
        pairs.iter().map(|(variant, id)| (*variant, (*id).to_owned())).collect()
    }

    #[test]
    fn names_go_to_the_next_free_variants_and_known_ones_keep_theirs() {
        assert_eq!(named(&["a", "b", "a"], &[], 2), pairs(&[(1, "a"), (2, "b")]));
        assert_eq!(named(&["a", "b", "c"], &[(1, "a")], 3), pairs(&[(2, "b"), (3, "c")]));
        assert_eq!(named(&["b", "a"], &[(2, "a")], 2), pairs(&[(1, "b")]));
        assert_eq!(
            named(&["a", "b", "c"], &[(1, "a")], 2),
            pairs(&[(2, "b"), (3, "c")]),
            "more than promised"
        );
    }

    #[test]
    fn another_form_of_an_id_never_makes_a_container_two_variants() {
        assert_eq!(named(&["cnt_1"], &[(1, "uuid-1")], 3), []);
        assert_eq!(named(&["cnt_1", "cnt_2"], &[(1, "uuid-1")], 2), pairs(&[(2, "cnt_2")]));
    }
}
