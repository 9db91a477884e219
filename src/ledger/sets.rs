//! Statements over many rows at once: `VALUES` lists of a few lengths.
//!
//! A statement costs a round trip to the thread that talks to `SQLite`, and a look at each index; a hundred rows of one
//! statement cost little more than one. So that each text is made and prepared once, there are few lengths: a list has
//! places for more rows than there are, and what is not bound is `NULL`, which is equal to nothing. Row values are joined
//! and not looked for with `IN`: for those `SQLite` reads the whole table.

use std::collections::HashMap;
use std::slice::Chunks;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Executor, FromRow, Type};

use super::LedgerError;

/// For how many rows statements have places.
const LENGTHS: [usize; 13] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, MOST];
const MOST: usize = 256;

/// Texts that were made before, by what stands before and after their lists, and for how many rows.
type Texts = HashMap<(&'static str, &'static str, usize), Arc<str>>;

static TEXTS: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);

/// Rows in parts that fit into one statement, in order.
pub(super) fn parts<T>(rows: &[T]) -> Chunks<'_, T> {
    rows.chunks(MOST)
}

/// What is bound to the places of a statement, in order.
#[derive(Debug, Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    /// The first one that could not be bound.
    error: Option<BoxDynError>,
}

impl Values {
    /// Binds the next place.
    pub(super) fn push_bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error);
        }
        self
    }
}

/// A statement with its values, ready to run.
pub(super) struct Statement {
    text: Arc<str>,
    values: Values,
}

impl Statement {
    /// Runs it; returns how many rows of the table it changed.
    pub(super) async fn execute(self, db: &mut SqliteConnection) -> Result<u64, LedgerError> {
        let (text, arguments) = self.checked()?;
        Ok(sqlx::query_with(text, arguments).execute(db).await?.rows_affected())
    }

    /// Runs it; returns what it finds.
    pub(super) async fn fetch<T>(
        self,
        db: impl Executor<'_, Database = Sqlite>,
    ) -> Result<Vec<T>, LedgerError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let (text, arguments) = self.checked()?;
        Ok(sqlx::query_as_with(text, arguments).fetch_all(db).await?)
    }

    fn checked(self) -> Result<(AssertSqlSafe<Arc<str>>, SqliteArguments), LedgerError> {
        match self.values.error {
            Some(error) => Err(sqlx::Error::Encode(error).into()),
            None => Ok((AssertSqlSafe(self.text), self.values.arguments)),
        }
    }
}

/// Runs `before VALUES (row), (row), … after` for all rows; returns how many rows of the table it changed.
pub(super) async fn change<T: Sync>(
    db: &mut SqliteConnection,
    (before, after): (&'static str, &'static str),
    rows: &[T],
    bind: impl Fn(&mut Values, &T) + Send + Sync,
) -> Result<u64, LedgerError> {
    let mut changed = 0;
    for part in parts(rows) {
        changed += lists((before, after), part, &bind).execute(db).await?;
    }
    Ok(changed)
}

/// Inserts rows, of which the first value is never `NULL`.
pub(super) async fn insert<T: Sync>(
    db: &mut SqliteConnection,
    (before, after): (&'static str, &'static str),
    rows: &[T],
    bind: impl Fn(&mut Values, &T) + Send + Sync,
) -> Result<(), LedgerError> {
    for part in parts(rows) {
        let text = |lists: &str| format!("{before} SELECT * FROM ({lists}) WHERE column1 IS NOT NULL{after}");
        statement((before, after), part, &bind, text).execute(db).await?;
    }
    Ok(())
}

/// `before VALUES (row), (row), … after`
pub(super) fn lists<T>(
    (before, after): (&'static str, &'static str),
    part: &[T],
    bind: impl Fn(&mut Values, &T),
) -> Statement {
    statement((before, after), part, bind, |lists| format!("{before}{lists}{after}"))
}

fn statement<T>(
    (before, after): (&'static str, &'static str),
    part: &[T],
    bind: impl Fn(&mut Values, &T),
    text: impl Fn(&str) -> String,
) -> Statement {
    let mut values = Values::default();
    for row in part {
        bind(&mut values, row);
    }
    let columns = values.arguments.len() / part.len().max(1);
    let row = || format!("({})", places(columns));
    let text = known_text((before, after), part.len(), |rows| {
        text(&format!("VALUES {}", vec![row(); rows].join(", ")))
    });
    Statement { text, values }
}

/// `before id, id, … after`
pub(super) fn ids(texts: (&'static str, &'static str), part: &[i64]) -> Statement {
    ids_behind(texts, Values::default(), part)
}

/// The same, where `before` has places too.
pub(super) fn ids_behind(
    (before, after): (&'static str, &'static str),
    mut values: Values,
    part: &[i64],
) -> Statement {
    for id in part {
        values.push_bind(*id);
    }
    let text = known_text((before, after), part.len(), |rows| format!("{before}{}{after}", places(rows)));
    Statement { text, values }
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// The text for so many rows, made if nobody has asked for it before.
fn known_text(
    (before, after): (&'static str, &'static str),
    rows: usize,
    make: impl Fn(usize) -> String,
) -> Arc<str> {
    let length = LENGTHS.into_iter().find(|length| *length >= rows).unwrap_or(rows);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(texts.entry((before, after, length)).or_insert_with(|| make(length).into()))
}

/// As many changes as were meant to be made, or none: somebody else was at one of the rows.
pub(super) fn all_changed(what: &str, meant: usize, changed: u64) -> Result<(), LedgerError> {
    if u64::try_from(meant).is_ok_and(|meant| meant == changed) {
        return Ok(());
    }
    Err(LedgerError::Conflict(format!("{changed} of {meant} {what} were as they should be")))
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    async fn numbers() -> SqliteConnection {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::query("CREATE TABLE number (n INTEGER PRIMARY KEY, word TEXT)").execute(&mut db).await.unwrap();
        db
    }

    fn texts(before: &'static str) -> usize {
        TEXTS.lock().unwrap().keys().filter(|(text, ..)| *text == before).count()
    }

    #[tokio::test]
    async fn places_that_no_row_fills_change_nothing() {
        let mut db = numbers().await;
        let insert = ("INSERT INTO number (n, word) ", "");
        let update = (
            "WITH said (n, word) AS (",
            ") UPDATE number SET word = said.word FROM said WHERE number.n = said.n",
        );
        let found = ("SELECT n FROM number WHERE word = ? AND n IN (", ") ORDER BY n");
        for most in [1_i64, 2, 3, 5, 100, 255, 256, 257, 600] {
            let rows: Vec<i64> = (1..=most).collect();
            sqlx::query("DELETE FROM number").execute(&mut db).await.unwrap();
            self::insert(&mut db, insert, &rows, |row, n| {
                row.push_bind(*n).push_bind("old");
            })
            .await
            .unwrap();
            let stored: i64 =
                sqlx::query_scalar("SELECT count(*) FROM number").fetch_one(&mut db).await.unwrap();
            assert_eq!(stored, most);
            let changed = change(&mut db, update, &rows, |row, n| {
                row.push_bind(*n).push_bind("new");
            })
            .await;
            assert_eq!(changed.unwrap(), rows.len() as u64);
            let mut read = Vec::new();
            for part in parts(&rows) {
                let mut word = Values::default();
                word.push_bind("new");
                let numbers: Vec<(i64,)> = ids_behind(found, word, part).fetch(&mut db).await.unwrap();
                read.extend(numbers.into_iter().map(|(n,)| n));
            }
            assert_eq!(read, rows);
        }
        // 1, 2, 3 as 4, 5 as 8, 100 as 128, 88 (of 600) as 96, and 256.
        assert_eq!((texts(insert.0), texts(update.0), texts(found.0)), (7, 7, 7));
    }

    #[tokio::test]
    async fn what_cannot_be_bound_is_an_error() {
        let mut db = numbers().await;
        let insert = ("INSERT INTO number (n) ", "");
        let error = self::insert(&mut db, insert, &[u64::MAX], |row, n| {
            row.push_bind(Unbindable(*n));
        });
        assert!(error.await.unwrap_err().to_string().contains("never"));
    }

    struct Unbindable(u64);

    impl Type<Sqlite> for Unbindable {
        fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
            <i64 as Type<Sqlite>>::type_info()
        }
    }

    impl Encode<'_, Sqlite> for Unbindable {
        fn encode_by_ref(
            &self,
            _: &mut sqlx::sqlite::SqliteArgumentsBuffer,
        ) -> Result<sqlx::encode::IsNull, BoxDynError> {
            Err(format!("{} never fits", self.0).into())
        }
    }
}
