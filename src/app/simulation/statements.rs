//! Whatever a worker asks its ledger in its lives is answered without reading a table that grows from end to end.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy as _, ValueTree as _};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::world::World;
use super::{life, runner};
use crate::ledger::statements::{self, Recording};
use crate::ledger::{PruneMark, PruneStep};

/// In these all that can happen does.
const LIVES: u64 = 16;

/// What a worker asks in its lives, and the world of the last one.
fn lives(recording: &Recording) -> (BTreeSet<String>, World) {
    let mut last = None;
    for seed in 1..=LIVES {
        let (switches, ops) = life().new_tree(&mut runner(seed)).unwrap().current();
        let world = last.insert(World::new(&switches));
        for op in &ops {
            world.happen(op).unwrap();
        }
        world.calm().unwrap();
    }
    let world = last.unwrap();
    let process = world.process.as_ref().unwrap();
    let ledger = &process.worker.desk.ledger;
    process.wait(ledger.waits_only_for(&[])).unwrap();
    let step = PruneStep {
        before_ms: i64::MAX,
        after: PruneMark::default(),
        limit: 10,
        now_ms: world.clock.now_ms(),
    };
    assert!(process.wait(ledger.prune(step)).unwrap().briefs > 0);
    (recording.take(), world)
}

#[test]
fn no_statement_reads_all_of_a_table_that_grows() {
    let recording = statements::record();
    let (worker, world) = lives(&recording);
    let (process, path) = (world.process.as_ref().unwrap(), &world.settings.ledger.path);
    process.wait(statements::commands::ask(process.worker.desk.ledger.reader())).unwrap();
    let commands: BTreeSet<String> = recording.take().difference(&worker).cloned().collect();
    drop(recording);
    println!("{} statements of a worker, {} of commands", worker.len(), commands.len());
    let faults = process.wait(statements::faults(path, (&worker, &commands)));
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // One index less, and it is seen.
    process.wait(async {
        let mut db = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::query("DROP INDEX container_job").execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    });
    let faults = process.wait(statements::faults(path, (&worker, &commands)));
    assert!(faults.iter().any(|fault| fault.starts_with("SCAN container")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.starts_with("container.job refers")), "{faults:#?}");
}
