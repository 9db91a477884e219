//! Whether look-ups by our own id work: tried on the first accepted job.

use super::*;

async fn of(container_ids: ContainerIds) -> Bench {
    Bench::with(Options { container_ids, ..Options::default() }).await
}

async fn known(bench: &Bench) -> (Option<String>, Option<bool>) {
    let ledger = &bench.stage.desk.ledger;
    (ledger.reader().meta("look_ups").await.unwrap(), ledger.look_ups().await.unwrap())
}

#[tokio::test]
async fn an_answer_with_our_own_id_says_it_without_a_read() {
    let bench = of(ContainerIds::Ours).await;
    bench.send("a", json!({})).await;
    bench.go_on().await;
    assert_eq!((known(&bench).await, bench.reads()), ((Some("works".to_owned()), Some(true)), 0));
    assert!(bench.stage.desk.ledger.reader().meta("look_ups_at").await.unwrap().is_some());
}

#[tokio::test]
async fn an_answer_with_another_id_is_looked_up_by_ours_once_in_a_ledger() {
    for (ids, word, works) in
        [(ContainerIds::CntAlias, "works", true), (ContainerIds::CntOnly, "fails", false)]
    {
        let bench = of(ids).await;
        bench.send("a", json!({})).await;
        bench.go_on().await;
        assert_eq!(known(&bench).await, (Some(word.to_owned()), Some(works)));
        let reads = bench.reads();
        bench.send("b", json!({})).await;
        bench.go_on().await;
        let bench = Bench { stage: Submit { trial: Trial::default(), ..bench.stage.clone() }, ..bench };
        bench.send("c", json!({})).await;
        bench.go_on().await;
        assert_eq!((bench.jobs_made(), bench.reads()), (3, reads), "also after a restart it is known");
    }
}

#[tokio::test]
async fn a_try_that_could_not_be_made_is_made_with_the_next_accepted_job() {
    let bench = of(ContainerIds::CntAlias).await;
    bench.gate.lose_reads(usize::MAX);
    bench.send("a", json!({})).await;
    bench.go_on().await;
    assert_eq!(known(&bench).await, (None, None));
    bench.gate.lose_reads(0);
    bench.send("b", json!({})).await;
    bench.go_on().await;
    assert_eq!(known(&bench).await, (Some("works".to_owned()), Some(true)));
}

#[tokio::test]
async fn a_container_found_by_our_id_is_proof_enough() {
    let bench = of(ContainerIds::CntAlias).await;
    bench.gate.always(Post::Lost);
    bench.send("a", json!({})).await;
    for _ in 0..3 {
        bench.go_on().await;
    }
    assert_eq!(bench.state("a").await, "running");
    assert_eq!(known(&bench).await, (Some("works".to_owned()), Some(true)));
}

#[tokio::test]
async fn where_look_ups_fail_a_404_proves_nothing_and_a_person_must_decide() {
    let refused = Post::Refused(422, "VALIDATION_FAILED", json!(null));
    for (ids, state, later) in
        [(ContainerIds::CntOnly, "parked", "parked"), (ContainerIds::CntAlias, "submitting", "rejected")]
    {
        let bench = of(ids).await;
        bench.send("a", json!({})).await;
        bench.go_on().await;
        bench.send("b", json!({})).await;
        bench.posts(&[Post::Dropped, refused.clone()]).await;
        assert_eq!(bench.state("b").await, state, "{ids:?}");
        bench.minutes_pass(10);
        bench.posts(std::slice::from_ref(&refused)).await;
        assert_eq!(bench.state("b").await, later, "{ids:?}");
        assert_eq!(bench.jobs_made(), 1);
    }
}

#[tokio::test]
async fn a_404_before_anything_was_accepted_is_looked_up_again_before_a_person_must_decide() {
    let refused = Post::Refused(422, "VALIDATION_FAILED", json!(null));
    for (another_is_accepted, later) in [(true, "rejected"), (false, "parked")] {
        let bench = of(ContainerIds::Ours).await;
        bench.send("a", json!({})).await;
        bench.posts(&[Post::Dropped, refused.clone()]).await;
        assert_eq!((bench.state("a").await.as_str(), known(&bench).await), ("submitting", (None, None)));
        if another_is_accepted {
            bench.send("b", json!({})).await;
            bench.go_on().await;
        }
        bench.minutes_pass(10);
        bench.posts(std::slice::from_ref(&refused)).await;
        assert_eq!(bench.state("a").await, later);
    }
}
