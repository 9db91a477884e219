//! Lists as the sandbox serves them: every filter, and the walk from page to page.

use std::collections::BTreeSet;

use briefd::job::{ListedContainer, Trouble, Verdict, verdict};
use briefd::layers::{ListQuery, Pages, PagesEnd};
use briefd::sandbox::Options;
use jiff::Timestamp;
use serde_json::json;

use super::served::{Api, PROJECT, brief};

/// One container every ten seconds, of every format: those that complete at once, those that fail, those that run on.
async fn campaign(api: &Api, briefs: u128) -> Vec<String> {
    let formats = ["video_remix", "slideshow_remix", "ugc_remix"];
    let fates =
        [json!({"seconds": 1}), json!({"seconds": 1, "fail": "RENDER_FAILED"}), json!({"seconds": 100_000})];
    let mut ids = Vec::new();
    for key in 0..briefs {
        let place = usize::try_from(key).unwrap();
        let mut body = brief(&fates[place / 3 % 3]);
        body["format"] = json!(formats[place % 3]);
        ids.extend(api.submit(key, &body).await.unwrap().container_ids);
        api.step(10);
    }
    ids.reverse(); // newest first
    ids
}

async fn walk(api: &Api, query: ListQuery, max_pages: u32) -> (Vec<ListedContainer>, Pages) {
    let mut pages = Pages::new(query, max_pages);
    let mut items = Vec::new();
    while let Some(query) = pages.next_query() {
        let answer = api.client.list(PROJECT, query).await;
        items.extend(pages.turn(answer).unwrap());
    }
    (items, pages)
}

fn ids(items: &[ListedContainer]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

#[tokio::test]
async fn a_walk_sees_every_container_once_newest_first_whatever_the_page() {
    let api = Api::start(Options::default()).await;
    let made = campaign(&api, 30).await;
    for (limit, pages) in [(None, 2), (Some(1), 30), (Some(7), 5), (Some(30), 1), (Some(200), 1)] {
        let before = api.running.account().reads.list;
        let (items, walk) = walk(&api, ListQuery { limit, ..ListQuery::default() }, 100).await;
        assert_eq!(ids(&items), made, "{limit:?}");
        assert!(walk.is_whole());
        assert_eq!(api.running.account().reads.list - before, pages, "{limit:?}: one request a page");
    }
    let (items, walk) = walk(&api, ListQuery { limit: Some(7), ..ListQuery::default() }, 2).await;
    assert_eq!((items.len(), walk.end()), (14, Some(PagesEnd::PageLimit)));
}

#[tokio::test]
async fn filters_of_one_kind_widen_and_filters_of_two_kinds_narrow() {
    let api = Api::start(Options::default()).await;
    let made = campaign(&api, 18).await;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let listed = async |statuses: &[&str], formats: &[&str]| {
        let query = ListQuery { statuses: texts(statuses), formats: texts(formats), ..ListQuery::default() };
        walk(&api, ListQuery { limit: Some(4), ..query }, 100).await.0
    };
    assert_eq!(ids(&listed(&[], &[]).await), made);
    let running = listed(&["queued", "generating"], &[]).await;
    assert!(running.len() == 6 && running.iter().all(|item| !item.status.is_terminal()), "{running:?}");
    assert_eq!(listed(&["completed"], &[]).await.len(), 6);
    assert_eq!(listed(&["completed", "failed"], &[]).await.len(), 12);
    assert_eq!(listed(&["canceled"], &[]).await.len(), 0);
    assert_eq!(listed(&[], &["video_remix"]).await.len(), 6);
    assert_eq!(listed(&[], &["video_remix", "ugc_remix"]).await.len(), 12);
    assert_eq!(listed(&["failed"], &["video_remix"]).await.len(), 2);
    assert_eq!(listed(&["failed", "completed"], &["video_remix", "ugc_remix"]).await.len(), 8);
}

#[tokio::test]
async fn since_and_until_include_their_own_moment() {
    let api = Api::start(Options::default()).await;
    let made = campaign(&api, 6).await;
    let at = |seconds: i64| Some(Timestamp::new(1_772_366_400 + seconds, 0).unwrap());
    for (since, until, expected) in [
        (at(20), None, 0..4),
        (None, at(20), 3..6),
        (at(20), at(40), 1..4),
        (at(21), at(29), 3..3),
        (at(20), at(20), 3..4),
    ] {
        let (items, _) = walk(&api, ListQuery { since, until, ..ListQuery::default() }, 9).await;
        assert_eq!(ids(&items), made[expected], "{since:?} {until:?}");
    }
}

#[tokio::test]
async fn a_list_that_lags_still_shows_what_was() {
    let api = Api::start(Options { list_lag_seconds: 15.0, ..Options::default() }).await;
    let made = campaign(&api, 3).await;
    let (items, walk) = walk(&api, ListQuery::default(), 9).await;
    assert_eq!(ids(&items), made[1..], "the newest is not listed yet, though it exists");
    assert!(walk.is_whole());
    assert!(api.client.container(&made[0]).await.is_ok());
}

#[tokio::test]
async fn a_filter_that_the_api_does_not_know_is_refused_and_ends_the_walk() {
    let api = Api::start(Options::default()).await;
    let wrong = [
        ListQuery { statuses: vec!["sleeping".to_owned()], ..ListQuery::default() },
        ListQuery { formats: vec!["podcast".to_owned()], ..ListQuery::default() },
        ListQuery { limit: Some(0), ..ListQuery::default() },
        ListQuery { limit: Some(201), ..ListQuery::default() },
        ListQuery { cursor: Some("not one of ours".to_owned()), ..ListQuery::default() },
    ];
    for query in wrong {
        let mut pages = Pages::new(query.clone(), 9);
        let trouble = pages.turn(api.client.list(PROJECT, &query).await).unwrap_err();
        assert!(matches!(&trouble, Trouble::Refusal(it) if it.code == "VALIDATION_FAILED"), "{query:?}");
        assert_eq!(verdict(&trouble), Verdict::Refused);
        assert_eq!((pages.next_query(), pages.end()), (None, Some(PagesEnd::Failed)));
    }
}

#[tokio::test]
async fn a_page_that_fails_in_the_middle_ends_the_walk_without_claiming_to_be_whole() {
    let api = Api::start(Options::default()).await;
    campaign(&api, 6).await;
    let mut pages = Pages::new(ListQuery { limit: Some(2), ..ListQuery::default() }, 9);
    let mut seen = BTreeSet::new();
    let page = api.client.list(PROJECT, pages.next_query().unwrap()).await;
    seen.extend(pages.turn(page).unwrap().into_iter().map(|item| item.id));
    api.change("faults", json!({"read-cut-json": 1.0})).await;
    let page = api.client.list(PROJECT, pages.next_query().unwrap()).await;
    assert!(pages.turn(page).is_err());
    assert_eq!((seen.len(), pages.is_whole(), pages.next_query()), (2, false, None));
}
