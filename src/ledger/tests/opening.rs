//! Who may open a ledger, and what is checked before anything is believed.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

async fn open_at(path: &std::path::Path, origin: &str) -> Result<Ledger, LedgerError> {
    let (clock, metrics) = (Clock::stepped(Timestamp::UNIX_EPOCH), Metrics::new([]));
    let options = OpenOptions { origin: origin.to_owned(), ..options(&clock, &metrics, &Input::Queue) };
    Ledger::open(path, options).await
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_at(&folder.path().join("no/briefd.db"), "https://a").await.unwrap_err();
    assert!(matches!(&error, LedgerError::NoFolder(path) if path.ends_with("no")), "{error}");
}

#[tokio::test]
async fn a_second_worker_is_refused_and_readers_are_not() {
    let bench = Bench::new().await;
    let error = open_at(&bench.path(), "https://api.layers.com").await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    let reader = Reader::open(&bench.path()).await.unwrap();
    assert!(reader.has_worker());
    assert_eq!(reader.open_briefs().await.unwrap(), 0);
    // Still locked by the first one.
    assert!(matches!(open_at(&bench.path(), "x").await, Err(LedgerError::Locked { .. })));
}

#[tokio::test]
async fn the_lock_is_let_go_only_when_everything_that_was_handed_in_is_committed() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let (ledger, claim) = (bench.ledger.clone(), bench.claim_of(1));
    // Its caller goes away; the write stands, and a process that starts now sees it as a claim that was cut off.
    let caller = tokio::spawn(async move { ledger.write(claim).await });
    tokio::task::yield_now().await;
    caller.abort();
    drop(caller.await);
    let bench = bench.crash().await;
    let states = bench.texts("SELECT state || coalesce(claim, '') FROM job").await;
    assert!(states == ["ready"] || states == ["submitting"], "never a claim of the dead: {states:?}");
}

#[tokio::test]
async fn whoever_has_closed_a_ledger_is_no_worker_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    for _ in 0..5 {
        let ledger = open_at(&path, "https://a").await.unwrap();
        let reader = Reader::open(&path).await.unwrap();
        ledger.stop_cleanly().await.unwrap();
        ledger.close().await;
        assert!(!reader.has_worker());
    }
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused() {
    let bench = Bench::new().await;
    bench
        .doctor(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', TRUE, x'00', 0)",
        )
        .await;
    assert!(matches!(Reader::open(&bench.path()).await, Err(LedgerError::Newer(_))));
    let Bench { ledger, folder, .. } = bench;
    drop(ledger);
    let error = loop {
        match open_at(&path_in(&folder), "https://api.layers.com").await {
            Err(LedgerError::Locked { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, LedgerError::Newer(_)), "{error}");
}

#[tokio::test]
async fn a_ledger_that_no_worker_of_this_version_was_at_is_named_with_what_brings_it_up_to_date() {
    let bench = Bench::new().await;
    bench
        .doctor("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    let error = Reader::open(&bench.path()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Older(_)), "{error}");
    assert!(error.to_string().contains("briefd run"), "{error}");
    assert!(Reader::open_of_any_age(&bench.path()).await.unwrap().damage().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ledger_of_another_api_is_refused() {
    let Bench { ledger, folder, .. } = Bench::new().await;
    drop(ledger);
    let error = loop {
        match open_at(&path_in(&folder), "http://127.0.0.1:9").await {
            Err(LedgerError::Locked { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(error.to_string().contains("https://api.layers.com"), "{error}");
}

#[tokio::test]
async fn the_first_organization_stays() {
    let bench = Bench::new().await;
    let bind = async |organization: &str, key: &str| {
        let (organization, key) = (organization.to_owned(), key.to_owned());
        bench.write(BindOrganization { organization, key }).await.unwrap()
    };
    let may_be_foreign = async |key| bench.ledger.reader().may_be_foreign(key).await.unwrap();
    assert!(!may_be_foreign("k1").await, "there is nothing to guard yet");
    assert_eq!(bind("org_1", "k1").await, "org_1");
    assert_eq!(bind("org_2", "k2").await, "org_1");
    assert!(!may_be_foreign("k1").await && may_be_foreign("k2").await);
}

#[tokio::test]
async fn only_the_owner_may_read_what_customers_asked_for() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for ending in ["", "-wal", "-shm", ".lock"] {
        let mut name = bench.path().into_os_string();
        name.push(ending);
        let mode = std::fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", name.display());
    }
}

#[tokio::test]
async fn the_clock_never_goes_back_behind_what_is_stored() {
    let bench = Bench::new().await;
    bench.send_all(vec![received("no json")]).await;
    let (newest, Bench { ledger, folder, .. }) = (bench.now(), bench);
    drop(ledger);
    let bench = Bench::open(folder, Clock::stepped(Timestamp::UNIX_EPOCH), Input::Queue).await;
    assert_eq!(bench.now(), newest);
}

#[tokio::test]
async fn a_reader_without_a_ledger_says_so_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(&path_in(&folder)).await, Err(LedgerError::Missing(_))));
    assert!(!path_in(&folder).exists());
}

#[tokio::test]
async fn requests_beside_the_worker_are_seen_once_each() {
    let bench = Bench::new().await;
    let asked = Request {
        id: 0,
        at: bench.now(),
        kind: "hold".to_owned(),
        args: "{}".to_owned(),
        who: "me".to_owned(),
        reason: "why not".to_owned(),
    };
    assert_eq!(Request::append(&bench.path(), &asked).await.unwrap(), 1);
    assert_eq!(Request::append(&bench.path(), &asked).await.unwrap(), 2);
    let open = bench.ledger.reader().open_requests(10).await.unwrap();
    assert_eq!(open.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2]);
    bench.write(RequestDone { id: 1, outcome: "held".to_owned(), now_ms: bench.now() }).await.unwrap();
    let open = bench.ledger.reader().open_requests(10).await.unwrap();
    assert_eq!(open.iter().map(|one| one.id).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn holds_survive_a_restart_until_they_are_lifted() {
    let bench = Bench::new().await;
    let hold = Hold {
        scope: HoldScope::Project("p".to_owned()),
        reason: "BILLING_EXHAUSTED".to_owned(),
        detail: "no credits".to_owned(),
        required: Some(120),
        available: None,
        stops_reads: false,
        by_api: true,
        since_ms: bench.now(),
        probe_ms: Some(bench.now() + 1),
        easing: false,
    };
    assert!(bench.write(SetHold(hold.clone())).await.unwrap());
    let later = Hold { probe_ms: Some(bench.now() + 9), since_ms: bench.now() + 5, ..hold.clone() };
    assert!(!bench.write(SetHold(later)).await.unwrap());
    let bench = bench.crash().await;
    let moved = Hold { probe_ms: Some(bench.now() + 9), ..hold.clone() };
    assert_eq!(bench.ledger.reader().holds().await.unwrap(), [moved]);
    let lift = LiftHold { scope: hold.scope, reason: None, now_ms: bench.now() };
    assert_eq!(bench.write(lift.clone()).await.unwrap(), 1);
    assert_eq!(bench.write(lift).await.unwrap(), 0);
}

#[tokio::test]
async fn a_second_worker_is_refused_under_another_name_of_the_same_file_too() {
    let bench = Bench::new().await;
    let link = bench.folder.path().join("link.db");
    std::os::unix::fs::symlink(bench.path(), &link).unwrap();
    let error = open_at(&link, "https://api.layers.com").await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    assert!(Reader::open(&link).await.unwrap().has_worker());
}
