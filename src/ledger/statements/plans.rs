//! How `SQLite` answers a statement, and whether it may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::source::{Text, texts};
use crate::ledger::claim::CLAIMED;

/// Tables that stay small however much is done. Any other grows, one that is new as well.
const SMALL: [(&str, &str); 7] = [
    ("meta", "a row for each thing there is to know"),
    ("total", "a row for each total"),
    ("tally", "a row for each state, of briefs in each project"),
    ("hold", "what is in force now"),
    ("spent", "what counts against the limits now"),
    ("_sqlx_migrations", "a row for each migration"),
    ("sqlite_master", "the tables themselves"),
];

/// Indexes that stay small however large their table is.
const BOUNDED: [(&str, &str); 6] = [
    ("batch_over", "empty but for a moment"),
    ("plan_open", "what is being carried out"),
    ("request_open", "what nobody has carried out yet"),
    ("job_repeat", "no more than submit.concurrency"),
    ("job_silent", "the same"),
    ("job_claimed", "what is read before a rerun at this moment"),
];

/// Who runs a statement that reads all of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The worker, again and again; all the same it is little.
    Worker,
    /// The worker, once when it starts.
    Start,
    /// A person, now and then.
    Command,
    /// Nobody: it is the beginning of others.
    Nobody,
}
use By::{Command, Nobody, Start, Worker};

/// How rows are counted again (P8).
const COUNTED: &str = "all is counted when the worker starts, beside its work, and by `ledger check`";

/// Statements that may read all of something: what each begins with, who runs it, and why.
const EXCUSED: [(&str, By, &str); 20] = [
    (
        "INSERT INTO brief (",
        Worker,
        "rows that refer to a new one are looked for only while a reference is broken",
    ),
    (
        "SELECT project_id, batch_id, attempts = 0 AND due_at > $1",
        Worker,
        "what waits; every 20 s while it is much",
    ),
    (
        "SELECT c.job FROM container c JOIN job j ON j.id = c.job WHERE j.alias",
        Worker,
        "until one job was accepted",
    ),
    ("SELECT max(at) FROM (SELECT max(at)", Start, "the newest row of each"),
    ("SELECT coalesce(sum(owed), 0)", Start, COUNTED),
    ("SELECT count(*) FROM outbox WHERE channel = 'record'", Start, COUNTED),
    ("SELECT count(*) FROM run WHERE owed <> made", Start, COUNTED),
    ("SELECT count(*) FROM run r WHERE made <>", Start, COUNTED),
    ("SELECT count(*) FROM run r WHERE owed <> made", Start, COUNTED),
    ("SELECT count(*) AS \"all\", count(*) FILTER (WHERE result", Start, COUNTED),
    ("SELECT coalesce(sum(received), 0) AS received", Start, COUNTED),
    ("SELECT batch_id, project_id, what, sum(kept) AS kept", Start, COUNTED),
    ("SELECT EXISTS (SELECT 1 FROM brief WHERE input = $1)", Command, "`generate`, before it asks to begin"),
    ("SELECT count(*) FROM job WHERE state IN ('submitting', 'parked')", Command, "`reconcile`"),
    ("SELECT channel, kind, input, count(*) AS n", Command, "`status` and `doctor`: what has not left"),
    ("SELECT scope, reason, detail, set_by, since, lifted_at FROM hold_past", Command, "`show`"),
    ("WITH RECURSIVE batch (id) AS", Command, "`status`: a look at each batch, none at its briefs"),
    (
        "SELECT c.id, c.status, c.known_at, c.ended_at, c.variant, c.job, j.kind, j.seen_before, c.brief, b.brief_id, b.batch_id, c.run \
         FROM container c JOIN job j ON j.id = c.job JOIN brief b ON b.id = c.brief WHERE c.id IN",
        Command,
        "`reconcile`: an index of ids that come in no order would slow down every start",
    ),
    ("SELECT c.id, c.status, c.known_at, c.ended_at", Nobody, "of what `reconcile` asks"),
    ("SELECT j.id, j.brief, j.run, j.kind, j.container", Nobody, "of what is claimed"),
];

/// What is wrong with the statements of this ledger, a line each: those that a worker ran, that commands ran, and that
/// stand in the sources.
pub(crate) async fn faults(
    ledger: &Path,
    (worker, commands): (&BTreeSet<String>, &BTreeSet<String>),
) -> Vec<String> {
    let mut db = SqliteConnectOptions::new().filename(ledger).connect().await.unwrap();
    let schema = Schema::read(&mut db).await;
    let texts = texts();
    assert!(texts.len() > 100, "the sources hold SQL: {}", texts.len());
    let mut asked: BTreeSet<String> = schema.of_triggers().into_iter().collect();
    // While starts are held, of what may have been bought.
    asked.insert(super::one_line(CLAIMED));
    for statement in worker.union(commands).filter(|statement| is_question(statement)) {
        asked.extend(in_all_sizes(statement));
    }
    let mut plans = BTreeMap::new();
    for statement in asked {
        let plan = plan(&mut db, &statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        plans.insert(statement, plan);
    }
    for text in texts.iter().filter(|text| is_question(&text.text)) {
        // What is no statement by itself is part of one, or a fault.
        if let Ok(plan) = plan(&mut db, &text.text).await {
            plans.insert(text.text.clone(), plan);
        }
    }
    db.close().await.unwrap();

    let mut faults: Vec<String> =
        texts.iter().filter(|text| !is_known(text, &plans)).map(never_seen).collect();
    let mut needed = BTreeSet::new();
    for (statement, plan) in &plans {
        let Some(step) = plan.iter().find(|step| schema.reads_everything(statement, step)) else { continue };
        let excuse = EXCUSED.iter().find(|(begin, by, _)| {
            let is_right = match by {
                Worker | Start => true,
                Command => !worker.contains(statement),
                Nobody => !worker.contains(statement) && !commands.contains(statement),
            };
            is_right && statement.starts_with(begin)
        });
        match excuse {
            Some(excuse) => drop(needed.insert(excuse.0)),
            None => faults.push(format!("{step}\n    in: {statement}\n    plan: {}", plan.join("; "))),
        }
    }
    let idle = EXCUSED.iter().filter(|excuse| !needed.contains(excuse.0));
    faults.extend(idle.map(|excuse| format!("nothing needs this excuse any more: {excuse:?}")));
    faults.extend(schema.unindexed_references);
    faults
}

fn never_seen(text: &Text) -> String {
    format!(
        "never run here, and no statement by itself, so nobody knows how it is answered: {}: {}",
        text.file, text.text
    )
}

/// Whether it is part of something that was looked at.
fn is_known(text: &Text, plans: &BTreeMap<String, Vec<String>>) -> bool {
    plans.contains_key(&text.text)
        || plans.keys().any(|statement| text.pieces().iter().all(|piece| statement.contains(piece)))
}

fn is_question(statement: &str) -> bool {
    ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|verb| statement.starts_with(verb))
}

/// The steps in which it is answered.
async fn plan(db: &mut SqliteConnection, statement: &str) -> Result<Vec<String>, sqlx::Error> {
    let steps: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"))).fetch_all(db).await?;
    Ok(steps.into_iter().map(|(_, _, _, step)| step).collect())
}

/// A statement; if it has a list of rows or of places, with one, with few and with many of them.
fn in_all_sizes(statement: &str) -> Vec<String> {
    let list = ["VALUES (", "IN (?", "IN ($"].into_iter().find_map(|begin| {
        let at = statement.find(begin)? + begin.find('(')?;
        let length = statement[at..].find(')')? + 1;
        Some((begin, at, length))
    });
    let Some((begin, at, length)) = list else { return vec![statement.to_owned()] };
    let (before, row) = (&statement[..at], &statement[at..at + length]);
    let mut after = &statement[at + length..];
    let sizes = [1, 3, 128].into_iter();
    if begin.starts_with("IN") {
        return sizes.map(|n| format!("{before}({}){after}", vec!["?"; n].join(", "))).collect();
    }
    while let Some(rest) = after.strip_prefix(", ").and_then(|rest| rest.strip_prefix(row)) {
        after = rest;
    }
    sizes.map(|n| format!("{before}{}{after}", vec![row; n].join(", "))).collect()
}

/// What the database says about itself.
struct Schema {
    tables: BTreeSet<String>,
    triggers: Vec<String>,
    unindexed_references: Vec<String>,
}

impl Schema {
    async fn read(db: &mut SqliteConnection) -> Self {
        let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
            .fetch_all(&mut *db)
            .await
            .unwrap();
        assert!(
            !tables.iter().any(|table| table.starts_with("sqlite_stat")),
            "plans do not depend on the rows"
        );
        let triggers = sqlx::query_scalar("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut *db)
            .await
            .unwrap();
        // Rows of `brief` stay for ever; where others go, those that refer to them are looked for.
        let unindexed_references = sqlx::query_scalar(
            "SELECT t.name || '.' || f.\"from\" || ' refers to ' || f.\"table\" || ', of which rows go, and has no index' \
             FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table' AND f.\"table\" <> 'brief' \
             AND NOT EXISTS (SELECT 1 FROM pragma_index_list(t.name) i JOIN pragma_index_info(i.name) c \
             WHERE c.seqno = 0 AND c.name = f.\"from\" AND i.partial = 0)",
        )
        .fetch_all(&mut *db)
        .await
        .unwrap();
        Self { tables: tables.into_iter().collect(), triggers, unindexed_references }
    }

    /// The statements inside of triggers, which no plan shows. A column of the row is a place there.
    fn of_triggers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for trigger in &self.triggers {
            let body = trigger.split_once("BEGIN").and_then(|(_, body)| body.rsplit_once("END"));
            let body = body.unwrap_or_else(|| panic!("not a trigger: {trigger}")).0;
            let body: Vec<&str> =
                body.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
            for statement in body.join(" ").split(';').map(super::one_line).filter(|one| !one.is_empty()) {
                found.push(with_places(&statement));
            }
        }
        assert!(!found.is_empty());
        found
    }

    /// Whether a step of a statement goes through a whole table, or a whole index, that grows.
    fn reads_everything(&self, statement: &str, step: &str) -> bool {
        if step.contains(" VIRTUAL TABLE ") {
            return false;
        }
        let mut words = step.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default();
        // An index that is made for the statement is made from all rows.
        if verb != "SCAN" && !(verb == "SEARCH" && step.contains(" AUTOMATIC ")) {
            return false;
        }
        let index = step.split_once(" INDEX ").map(|(_, index)| index.split(' ').next().unwrap_or_default());
        if index.is_some_and(|index| BOUNDED.iter().any(|(bounded, _)| *bounded == index)) {
            return false;
        }
        self.tables_called(statement, name).iter().any(|table| !SMALL.iter().any(|(small, _)| small == table))
    }

    /// The tables that a statement calls so. None: it is no table, but a list, or the answer of a part of the statement.
    fn tables_called<'a>(&'a self, statement: &'a str, name: &'a str) -> BTreeSet<&'a str> {
        if self.tables.contains(name) {
            return BTreeSet::from([name]);
        }
        let words: Vec<&str> = statement.split(' ').filter(|word| *word != "AS").collect();
        let of_table = |pair: &&[&str]| {
            let alias = pair[1].trim_end_matches([',', ')']);
            alias == name && self.tables.contains(pair[0].trim_start_matches('('))
        };
        words.windows(2).filter(of_table).map(|pair| pair[0].trim_start_matches('(')).collect()
    }
}

/// `new.id` and `old.id` become places.
fn with_places(statement: &str) -> String {
    let mut made = String::new();
    let mut rest = statement;
    while let Some(at) = ["new.", "old."].iter().filter_map(|row| rest.find(row)).min() {
        made.push_str(&rest[..at]);
        made.push('?');
        rest = rest[at + 4..].trim_start_matches(|char: char| char.is_alphanumeric() || char == '_');
    }
    made + rest
}
