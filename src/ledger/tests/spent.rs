//! What was drawn from the API's rate limits.

use super::*;

const MINUTE_MS: i64 = 60_000;

fn reads(n: u32, bench: &Bench) -> Spend {
    Spend { class: "read", drawn_ms: bench.now(), n, forget_before_ms: bench.now() - 2 * MINUTE_MS }
}

#[tokio::test]
async fn a_claim_stores_how_many_starts_it_took_and_nothing_where_there_is_no_limit() {
    let bench = Bench::new().await;
    for number in 1..=4 {
        bench.send(numbered(number, json!({}))).await;
    }
    let forget = Some(bench.now() - MINUTE_MS);
    let claim = |limit| Claim { forget_starts_ms: forget, ..bench.claim_of(limit) };
    assert_eq!(bench.write(claim(3)).await.unwrap().claimed.len(), 3);
    let first = ("start".to_owned(), bench.now(), 3);
    assert_eq!(bench.ledger.spent().await.unwrap(), [first]);
    // The fourth, without a limit; then nothing is left.
    assert_eq!(bench.write(bench.claim_of(1)).await.unwrap().claimed.len(), 1);
    assert_eq!(bench.write(claim(3)).await.unwrap().claimed.len(), 0);
    assert_eq!(bench.ledger.spent().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeat_of_a_start_is_stored_beside_the_first() {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({}))).await;
    let claim = || Claim { forget_starts_ms: Some(0), ..bench.claim_of(1) };
    let job = bench.write(claim()).await.unwrap().claimed.remove(0);
    bench.lose_answer(job.id).await;
    let first_ms = bench.now();
    bench.minutes_pass(1);
    assert_eq!(bench.write(claim()).await.unwrap().claimed.len(), 1);
    let times = bench.ledger.spent().await.unwrap().into_iter().map(|(_, at_ms, _)| at_ms);
    assert_eq!(times.collect::<Vec<_>>(), [first_ms, bench.now()]);
}

#[tokio::test]
async fn what_is_spent_survives_a_crash_and_what_is_too_old_goes_with_the_next() {
    let bench = Bench::new().await;
    let begin_ms = bench.now();
    for n in 1..=3 {
        bench.write(reads(n, &bench)).await.unwrap();
        bench.minutes_pass(1);
    }
    let bench = bench.crash().await;
    let kept = |n: u32| ("read".to_owned(), begin_ms + (i64::from(n) - 1) * MINUTE_MS, n);
    assert_eq!(bench.ledger.spent().await.unwrap(), [1, 2, 3].map(kept));
    bench.write(reads(4, &bench)).await.unwrap();
    assert_eq!(bench.ledger.spent().await.unwrap(), [2, 3, 4].map(kept));
}

#[tokio::test]
async fn the_clock_never_goes_back_behind_what_was_spent() {
    let bench = Bench::new().await;
    bench.write(reads(1, &bench)).await.unwrap();
    let (newest, Bench { ledger, folder, .. }) = (bench.now(), bench);
    drop(ledger);
    let bench = Bench::open(folder, Clock::stepped(Timestamp::UNIX_EPOCH), Input::Queue).await;
    assert_eq!(bench.now(), newest);
}

#[tokio::test]
async fn the_tier_that_was_told_last_is_known_at_the_next_start() {
    let bench = Bench::new().await;
    assert_eq!(bench.ledger.tier().await.unwrap(), None);
    for tier in ["pilot", "partner"] {
        bench.write(RememberTier(tier.to_owned())).await.unwrap();
    }
    assert_eq!(bench.crash().await.ledger.tier().await.unwrap().as_deref(), Some("partner"));
}
