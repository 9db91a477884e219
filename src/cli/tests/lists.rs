//! `briefd list`: a line a brief, filters, and a sheet that can be mended.

use super::*;

#[tokio::test]
async fn a_list_is_one_line_a_brief() {
    let world = World::with_trouble().await;
    let page = world.run(&["list"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    insta::assert_snapshot!(world.run(&["list", "--batch", SPRING, "--csv"]).await);
    assert_eq!(
        world.run(&["list", "--batch", "nobody", "--csv"]).await,
        "projectId,batchId,briefId,run,state,code,message,remedy\n"
    );
}

#[tokio::test]
async fn a_list_is_filtered_by_what_people_see() {
    let world = World::with_trouble().await;
    assert_eq!(world.listed(&["--state", "held"]).await.len(), 2);
    assert_eq!(world.listed(&["--state", "waiting"]).await, ["n-03"]);
    assert_eq!(world.listed(&["--state", "scheduled"]).await, ["n-04"]);
    assert_eq!(world.listed(&["--code", "RENDER_FAILED"]).await, ["s-02", "n-01"]);
    assert_eq!(world.listed(&["--code", "RENDER_FAILED", "--project", "acme-fit"]).await, ["s-02"]);
    assert_eq!(world.listed(&["--code", "CRASH_LOOP", "--batch", SPRING]).await, ["s-04"]);
    assert_eq!(world.listed(&["--batch", "(no batch)"]).await, ["s-01"]);
    assert_eq!(world.listed(&["--batch", SPRING, "--project", ACME]).await.len(), 7);
    assert_eq!(world.listed(&["--since", "2m"]).await, ["n-04"]);
    assert_eq!(world.listed(&["--since", "2026-05-03"]).await, [""; 0]);
    let wrong = world.try_run(&["list", "--state", "lost"], &mut io::sink()).await.unwrap_err();
    assert!(wrong.to_string().contains("scheduled, waiting, held"), "{wrong}");
}

#[tokio::test]
async fn a_sheet_of_what_failed_can_be_mended_and_read_again() {
    let world = World::with_trouble().await;
    let brief = json!({ "hook": "Run, \"now\"\nor later", "themeTags": ["a", "b"], "topic": "T" });
    world
        .receive("nova", "sheet", "q-01", json!({ "brief": brief, "variantCount": 9, "format": "auto" }))
        .await;
    world
        .receive("nova", "sheet", "q-02", json!({ "brief": { "hook": "x" }, "metadata": { "cms": 1 } }))
        .await;
    let sheet = world.run(&["list", "--batch", "sheet", "--csv"]).await;
    insta::assert_snapshot!(sheet);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fix.csv");
    std::fs::write(&path, &sheet).unwrap();
    let mut file = crate::files::BriefFile::open(&path).unwrap();
    let rows = crate::flow::Source::receive(&mut file, 10).await.unwrap();
    let read: Value = serde_json::from_slice(&rows[0].body).unwrap();
    assert_eq!((&read["brief"], &read["variantCount"], &read["run"]), (&brief, &json!(9), &json!(1)));
    assert_eq!((rows.len(), &read["briefId"]), (2, &json!("q-01")));
}
