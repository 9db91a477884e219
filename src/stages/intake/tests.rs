//! When intake counts as paused.

use std::pin::pin;

use futures::poll;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::*;
use crate::app::Worker;
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::Input;

fn decide(desk: &Desk, position: u64) -> Arc<Decide> {
    let received = Received {
        content: Err(Unreadable::Fault("it is none".to_owned())),
        body: b"no brief".to_vec(),
        properties: crate::flow::Properties::default(),
        position,
        redelivered: false,
    };
    let (input, now_ms) = (desk.ledger.input().clone(), desk.clock.now_ms());
    Arc::new(Decide { deliveries: vec![received], input, now_ms, send_container_id: true })
}

#[tokio::test]
async fn intake_counts_as_paused_once_a_commit_takes_seconds_and_not_at_each_one() {
    let (folder, clock) =
        (tempfile::tempdir().unwrap(), Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap()));
    let mut settings = Settings::builtin();
    settings.ledger.path = folder.path().join("briefd.db");
    let options = SqliteConnectOptions::new().filename(&settings.ledger.path);
    let worker = Worker::open(settings, Input::Queue, clock.clone()).await.unwrap();
    let desk = worker.desk.clone();
    let paused = || desk.metrics.intake_paused.with_label_values(&["ledger"]).get();

    write(&desk, decide(&desk, 1)).await.unwrap();
    assert_eq!(paused(), 0);

    let mut lock = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let mut writing = pin!(write(&desk, decide(&desk, 2)));
    assert!(poll!(&mut writing).is_pending());
    clock.advance(BEHIND_AFTER / 2);
    assert!(poll!(&mut writing).is_pending());
    assert_eq!(paused(), 0, "it may be a slow one");
    clock.advance(BEHIND_AFTER / 2);
    assert!(poll!(&mut writing).is_pending());
    assert_eq!(paused(), 1);

    lock.close().await.unwrap();
    // Between two tries it waits on this clock.
    let passing = async {
        loop {
            clock.advance(LOOK_AGAIN);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        written = writing => assert_eq!(written.unwrap().len(), 1),
        () = passing => {}
    }
    assert_eq!(paused(), 0);
}
