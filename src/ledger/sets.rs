//! Statements over many rows at once: `VALUES` lists in parts.
//!
//! A statement costs a round trip to the thread that talks to `SQLite`, and a look at each index; a hundred rows of one
//! statement cost little more than one. Parameters are bound by the builder, one for each place. Row values are joined and not looked for with
//! `IN`: for those `SQLite` reads the whole table.

use sqlx::QueryBuilder;
use sqlx::query_builder::Separated;
use sqlx::sqlite::{Sqlite, SqliteConnection};

use super::LedgerError;

/// How many rows statements have: few lengths, so that each text is prepared once, and yet few parts for what one
/// commit brings.
const LENGTHS: [usize; 17] = [256, 128, 96, 64, 48, 32, 24, 16, 12, 8, 7, 6, 5, 4, 3, 2, 1];

/// The values of one row, to be bound in order.
pub(super) type Values<'q> = Separated<'q, Sqlite, &'static str>;

/// Rows in parts of which there are few lengths, in order.
pub(super) fn parts<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = LENGTHS.into_iter().find(|length| *length <= rest.len())?;
        let (part, left) = rest.split_at(length);
        rest = left;
        Some(part)
    })
}

/// Runs `before (row), (row), … after` for all rows; returns how many rows of the table it changed.
pub(super) async fn change<T: Sync>(
    db: &mut SqliteConnection,
    (before, after): (&'static str, &'static str),
    rows: &[T],
    bind: impl Fn(&mut Values<'_>, &T) + Send + Sync,
) -> Result<u64, LedgerError> {
    let mut changed = 0;
    for part in parts(rows) {
        let mut statement = lists((before, after), part, &bind);
        changed += statement.build().execute(&mut *db).await?.rows_affected();
    }
    Ok(changed)
}

/// `before (row), (row), … after`, ready to run.
pub(super) fn lists<T>(
    (before, after): (&'static str, &'static str),
    part: &[T],
    bind: impl Fn(&mut Values<'_>, &T),
) -> QueryBuilder<Sqlite> {
    let mut statement = QueryBuilder::new(before);
    statement.push_values(part, |mut values, row| bind(&mut values, row));
    statement.push(after);
    statement
}

/// `before id, id, … after`, ready to run: as many places as there are ids.
pub(super) fn ids(before: &'static str, part: &[i64], after: &'static str) -> QueryBuilder<Sqlite> {
    let mut statement = QueryBuilder::new("");
    push_ids(&mut statement, before, part, after);
    statement
}

/// The same, behind what the statement has already.
pub(super) fn push_ids(
    statement: &mut QueryBuilder<Sqlite>,
    before: &'static str,
    part: &[i64],
    after: &'static str,
) {
    statement.push(before);
    let mut places = statement.separated(", ");
    for id in part {
        places.push_bind(*id);
    }
    statement.push(after);
}

/// As many changes as were meant to be made, or none: somebody else was at one of the rows.
pub(super) fn all_changed(what: &str, meant: usize, changed: u64) -> Result<(), LedgerError> {
    if u64::try_from(meant).is_ok_and(|meant| meant == changed) {
        return Ok(());
    }
    Err(LedgerError::Conflict(format!("{changed} of {meant} {what} were as they should be")))
}
