//! The one writer: groups, failures inside a group, failures of the commit itself.

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, join_all};
use tokio::sync::oneshot;

use super::*;
use crate::ledger::open::set_meta;

/// Sets a value, after whatever `how` says.
#[derive(Debug)]
struct Put {
    name: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Plainly,
    /// Fails after it has written.
    ThenFail,
    /// Leaves a violation that only the commit finds.
    WithDeferredViolation,
    /// Writes more than the file may hold.
    TooMuch,
    /// Says that it has started, then waits to be told to go on.
    Gated(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>),
}

impl Put {
    fn new(name: impl Into<String>, how: How) -> Self {
        Self { name: name.into(), how }
    }
}

impl Write for Put {
    type Out = String;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<String, LedgerError>> {
        Box::pin(async move {
            set_meta(db, &self.name, "put").await?;
            match &self.how {
                How::Plainly => {}
                How::ThenFail => return Err(LedgerError::Conflict("on purpose".to_owned())),
                How::WithDeferredViolation => {
                    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *db).await?;
                    sqlx::query("INSERT INTO history VALUES (1000000, 99, 1, 1, 'x', '{}')")
                        .execute(&mut *db)
                        .await?;
                }
                How::TooMuch => {
                    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *db).await?;
                    let most = format!("PRAGMA max_page_count = {}", pages + 1);
                    sqlx::query(sqlx::AssertSqlSafe(most)).execute(&mut *db).await?;
                    set_meta(db, "large", &"x".repeat(1_000_000)).await?;
                }
                How::Gated(gate) => {
                    let gate = gate.lock().unwrap().take();
                    if let Some((started, go)) = gate {
                        started.send(()).unwrap();
                        go.await.unwrap();
                    }
                }
            }
            Ok(self.name.clone())
        })
    }
}

/// Writes that all wait while the writer is busy, and so share the next commit; their results in order.
pub(super) async fn together<W: Write>(ledger: &Ledger, writes: Vec<W>) -> Vec<Result<W::Out, LedgerError>> {
    let (started, has_started) = oneshot::channel();
    let (go, gate) = oneshot::channel();
    let first = Put::new("first", How::Gated(Mutex::new(Some((started, gate)))));
    let mut first = Box::pin(ledger.write(first));
    assert!(futures::poll!(&mut first).is_pending());
    has_started.await.unwrap();
    let mut waiting: Vec<_> = writes.into_iter().map(|write| Box::pin(ledger.write(write))).collect();
    for write in &mut waiting {
        // One poll puts it into the writer's queue.
        assert!(futures::poll!(write).is_pending());
    }
    go.send(()).unwrap();
    first.await.unwrap();
    join_all(waiting).await
}

async fn stored(bench: &Bench, name: &str) -> bool {
    bench.ledger.reader().meta(name).await.unwrap().is_some()
}

#[tokio::test]
async fn what_waits_together_shares_one_commit() {
    let bench = Bench::new().await;
    let before = bench.metrics.ledger_commit_rows.get_sample_count();
    let writes = (0..50).map(|n| Put::new(format!("n{n}"), How::Plainly)).collect();
    let results = together(&bench.ledger, writes).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(bench.metrics.ledger_commit_rows.get_sample_count() - before, 2, "the first, and all others");
    for n in 0..50 {
        assert!(stored(&bench, &format!("n{n}")).await);
    }
}

#[tokio::test]
async fn a_write_that_fails_takes_nobody_with_it() {
    let bench = Bench::new().await;
    let writes =
        vec![Put::new("a", How::Plainly), Put::new("bad", How::ThenFail), Put::new("b", How::Plainly)];
    let results = together(&bench.ledger, writes).await;
    assert_eq!(results[0].as_deref().unwrap(), "a");
    assert!(matches!(results[1], Err(LedgerError::Conflict(_))));
    assert_eq!(results[2].as_deref().unwrap(), "b");
    assert!(stored(&bench, "a").await && stored(&bench, "b").await && !stored(&bench, "bad").await);
    // Alone it fails just so.
    assert!(bench.ledger.write(Put::new("bad", How::ThenFail)).await.is_err());
    assert!(!stored(&bench, "bad").await);
}

#[tokio::test]
async fn when_the_commit_fails_each_write_is_done_again_alone_and_hears_its_own_result() {
    let bench = Bench::new().await;
    let writes = vec![
        Put::new("a", How::Plainly),
        Put::new("bad", How::WithDeferredViolation),
        Put::new("b", How::Plainly),
        Put::new("worse", How::ThenFail),
    ];
    let results = together(&bench.ledger, writes).await;
    assert_eq!(results[0].as_deref().unwrap(), "a");
    let error = results[1].as_ref().unwrap_err();
    assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
    assert!(!error.may_pass(), "a broken constraint stays broken");
    assert_eq!(results[2].as_deref().unwrap(), "b");
    assert!(matches!(results[3], Err(LedgerError::Conflict(_))));
    assert!(stored(&bench, "a").await && stored(&bench, "b").await);
    assert!(!stored(&bench, "bad").await && !stored(&bench, "worse").await);
    // The writer goes on, on a fresh connection.
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    assert_eq!(bench.number("PRAGMA foreign_keys").await, 1);
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_may_pass() {
    let bench = Bench::new().await;
    let error = bench.ledger.write(Put::new("alone", How::TooMuch)).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert!(error.may_pass());
    assert!(!stored(&bench, "alone").await);
    bench.ledger.write(Put::new("after", How::Plainly)).await.unwrap();
    let writes =
        vec![Put::new("a", How::Plainly), Put::new("large", How::TooMuch), Put::new("b", How::Plainly)];
    let results = together(&bench.ledger, writes).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(results[1].as_ref().unwrap_err().to_string().contains("full"), "{results:?}");
    assert!(stored(&bench, "a").await && stored(&bench, "b").await && !stored(&bench, "large").await);
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_committed_all_the_same() {
    let bench = Bench::new().await;
    let (started, has_started) = oneshot::channel();
    let (go, gate) = oneshot::channel();
    let write = Put::new("orphan", How::Gated(Mutex::new(Some((started, gate)))));
    let ledger = bench.ledger.clone();
    let caller = tokio::spawn(async move { ledger.write(write).await });
    has_started.await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    bench.ledger.write(Put::new("after", How::Plainly)).await.unwrap();
    assert!(stored(&bench, "orphan").await);
}

#[tokio::test]
async fn a_caller_who_shares_a_write_is_its_only_owner_when_the_answer_is_there() {
    let bench = Bench::new().await;
    for how in [How::Plainly, How::ThenFail] {
        let shared = Arc::new(Put::new("shared", how));
        drop(bench.ledger.write(Arc::clone(&shared)).await);
        assert!(Arc::into_inner(shared).is_some());
    }
}
