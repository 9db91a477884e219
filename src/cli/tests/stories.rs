//! `briefd show`: the story of one brief.

use super::*;

#[tokio::test]
async fn a_story_is_told_in_order_of_time() {
    let world = World::with_trouble().await;
    let page = world.run(&["show", "s-02"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    let document: Value = serde_json::from_str(&world.run(&["show", "s-03", "--json"]).await).unwrap();
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn a_story_tells_what_kept_it_waiting_and_how_far_it_is() {
    let world = World::new().await;
    world.hold(HoldScope::Project("other".to_owned()), "BILLING_EXHAUSTED", Some(120)).await;
    world.hold(HoldScope::Account, "API_DOWN", None).await;
    world.receive(ACME, SPRING, "s-01", json!({})).await;
    world.clock.advance(Duration::from_mins(5));
    let now_ms = world.clock.now_ms();
    let lift = LiftHold { scope: HoldScope::Account, reason: Some("API_DOWN".to_owned()), now_ms };
    world.ledger.write(lift).await.unwrap();
    let job = world.claim().await;
    let started = Started {
        job_id: Some("job_s-01".to_owned()),
        container_ids: vec!["cnt_s-01_1".to_owned()],
        format: None,
    };
    world.outcome(&job, AttemptOutcome::Accepted(started), Told::default()).await;
    // What comes after its start kept it from nothing.
    world.hold(HoldScope::Account, "KILL_SWITCH", None).await;
    let page = world.run(&["show", "s-01"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    assert!(!world.run(&["show", "s-01", "--offline"]).await.contains("at the API  not known"));
    let document: Value = serde_json::from_str(&world.run(&["show", "s-01", "--json"]).await).unwrap();
    insta::assert_json_snapshot!([&document["live"], &document["holds"]]);
}

#[tokio::test]
async fn several_briefs_of_one_id_are_listed_and_one_of_them_is_asked_for() {
    let world = World::with_trouble().await;
    let error = world.try_run(&["show", "s-01"], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>());
    insta::assert_snapshot!(error, @r"
    several briefs go by 's-01': say which
      briefd show s-01 --project acme-fit --batch 2026-05-spring
      briefd show s-01 --project nova --batch ''
    ");
    let page = world.run(&["show", "s-01", "--batch", "", "--project", "nova"]).await;
    assert!(page.contains("cnt_s-01_1"), "{page}");
    let error = world.try_run(&["show", "s-99", "--batch", SPRING], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>(), "{error}");
}

#[tokio::test]
async fn a_story_tells_what_was_unknown_and_how_it_became_known() {
    let world = World::new().await;
    world.receive(ACME, SPRING, "s-01", json!({})).await;
    let job = world.claim().await;
    world.again(&job, Again::NotConnected, None, "connection refused").await;
    let job = world.claim().await;
    world.again(&job, Again::Unanswered, Some(502), "a 502 with an HTML page of 159 bytes").await;
    assert!(world.run(&["show", "s-01"]).await.contains("outcome unknown since 2026-05-02 01:00:02.000Z"));
    let job = world.claim().await;
    world.again(&job, Again::Unanswered, None, "no answer within 30 s").await;
    world.clock.advance(Duration::from_mins(2));
    let job = world.claim().await;
    let started = Started {
        job_id: Some("job_s-01".to_owned()),
        container_ids: vec!["cnt_s-01_1".to_owned()],
        format: None,
    };
    let told = Told { status: Some(202), request_id: Some("req_1".to_owned()), detail: String::new() };
    world.outcome(&job, AttemptOutcome::Accepted(started), told).await;
    let page = world.run(&["show", "s-01"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}
