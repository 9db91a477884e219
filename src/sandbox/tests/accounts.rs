//! Several keys, organizations and budgets, and what the account tells of them.

use super::*;

const PATH: &str = "/v1/projects/p1/content";

fn two_organizations() -> Options {
    let api_keys = ["one", "two", "rich=org_rich"].map(str::to_owned).to_vec();
    Options { api_keys, credits: Some(300), ..Options::default() }
}

async fn start(api: &Api, key: &str, idempotency_key: &str, body: &Value) -> Got {
    let headers = [("x-api-key", key), ("idempotency-key", idempotency_key)];
    api.send(Method::POST, PATH, &headers, &body.to_string()).await
}

async fn get_as(api: &Api, key: &str, path: &str) -> Got {
    api.send(Method::GET, path, &[("x-api-key", key)], "").await
}

#[tokio::test]
async fn what_belongs_to_another_organization_is_not_found_and_ids_are_used_there_anew() {
    let api = Api::start(two_organizations()).await;
    let mut body = plain();
    body["id"] = json!("0b7d8f8e-6a51-5c39-9d0e-2f4c0a1b2c3d");
    let ours = start(&api, "one", "k", &body).await;
    let theirs = start(&api, "rich", "k", &body).await;
    assert_ne!(ours.job(), theirs.job());
    assert_eq!(ours.containers(), theirs.containers());
    let second = start(&api, "two", "another", &body).await;
    assert_eq!(second.text, ours.text, "two keys of one organization share its ids");
    let job = format!("/v1/jobs/{}", ours.job());
    assert_eq!(get_as(&api, "two", &job).await.status, 200);
    assert_eq!(get_as(&api, "rich", &job).await.code(), "NOT_FOUND");
    let only_ours = start(&api, "one", "k2", &plain()).await.containers()[0].clone();
    for path in ["", "/progress", "/assets/ast_x"] {
        assert_eq!(get_as(&api, "rich", &format!("/v1/content/{only_ours}{path}")).await.code(), "NOT_FOUND");
    }
    let cancel = format!("{job}/cancel");
    assert_eq!(api.send(Method::POST, &cancel, &[("x-api-key", "rich")], "").await.code(), "NOT_FOUND");
    assert_eq!(get_as(&api, "rich", PATH).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn each_organization_pays_for_itself() {
    let api = Api::start(two_organizations()).await;
    for number in ["1", "2"] {
        assert_eq!(start(&api, "one", number, &plain()).await.status, 202);
    }
    assert_eq!(start(&api, "two", "3", &plain()).await.code(), "BILLING_EXHAUSTED");
    assert_eq!(start(&api, "rich", "3", &plain()).await.status, 202);
    assert_eq!(get_as(&api, "rich", "/v1/credits").await.json()["available"], 180);
    assert_eq!(get_as(&api, "rich", "/v1/whoami").await.json()["organizationId"], "org_rich");
    api.put("/_sandbox/account", &json!({ "balances": { "org_sandbox": 1_000 } })).await;
    assert_eq!(start(&api, "two", "4", &plain()).await.status, 202);
    api.step(101);
    let account = api.running.account();
    assert_eq!(account.credits.charged, 480);
    assert_eq!(account.organizations["org_rich"].credits.charged, 120);
    assert_eq!(account.organizations["org_sandbox"].credits.balance, 640);
    assert_eq!((account.api_keys["key_1"].jobs, account.api_keys["key_2"].jobs), (2, 1));
}

#[tokio::test]
async fn a_child_organization_is_selected_by_header_and_others_are_not_found() {
    let api = Api::start(two_organizations()).await;
    let as_child = |path: &'static str, key: &'static str, child: &'static str| {
        let headers = [("x-api-key", key), ("x-layers-organization", child)];
        let api = &api;
        async move { api.send(Method::GET, path, &headers, "").await }
    };
    assert_eq!(as_child("/v1/whoami", "one", "org_child").await.json()["organizationId"], "org_child");
    assert_eq!(as_child("/v1/whoami", "one", "").await.json()["organizationId"], "org_sandbox");
    assert_eq!(as_child("/v1/whoami", "one", "org_rich").await.code(), "NOT_FOUND");
    assert_eq!(as_child("/v1/whoami", "rich", "org_child").await.code(), "NOT_FOUND");
    start(&api, "one", "k", &plain()).await;
    assert_eq!(as_child(PATH, "one", "org_child").await.json()["items"], json!([]));
    assert_eq!(as_child(PATH, "one", "org_sandbox").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_project_with_a_budget_of_its_own_can_be_broke_while_others_go_on() {
    let options = Options { project_credits: [("p1".to_owned(), 130)].into(), ..Options::default() };
    let api = Api::start(options).await;
    assert_eq!(api.generate("1", &plain()).await.status, 202);
    let refused = api.generate("2", &plain()).await;
    assert_eq!(refused.status, 402);
    assert_eq!(refused.json()["error"]["details"], json!({ "required": 120, "available": 10 }));
    assert_eq!(api.post("/v1/projects/p2/content", "2", &plain()).await.status, 202);
    api.step(101);
    let project = api.running.account().organizations["org_sandbox"].projects["p1"];
    assert_eq!((project.balance, project.reserved, project.charged), (Some(10), 0, 120));
    api.put("/_sandbox/account", &json!({ "projectBalances": { "p1": 120, "p2": 0 } })).await;
    assert_eq!(api.generate("3", &plain()).await.status, 202);
    assert_eq!(api.post("/v1/projects/p2/content", "3", &plain()).await.status, 402);
    api.put("/_sandbox/account", &json!({ "projectBalances": { "p2": null } })).await;
    assert_eq!(api.post("/v1/projects/p2/content", "4", &plain()).await.status, 202);
}

#[tokio::test]
async fn single_keys_and_organizations_can_be_switched_off_and_it_is_counted() {
    let api = Api::start(two_organizations()).await;
    api.put("/_sandbox/account", &json!({ "revokedKeys": ["one"], "killedOrganizations": ["org_rich"] }))
        .await;
    assert_eq!(start(&api, "one", "k", &plain()).await.code(), "UNAUTHENTICATED");
    assert_eq!(start(&api, "rich", "k", &plain()).await.code(), "KILL_SWITCH");
    assert_eq!(get_as(&api, "rich", "/v1/whoami").await.json()["killSwitch"], true);
    assert_eq!(start(&api, "two", "k", &plain()).await.status, 202);
    let account = api.running.account();
    assert_eq!((account.while_revoked, account.while_killed), (1, 2));
    assert_eq!((account.api_keys["key_1"].revoked, account.api_keys["key_1"].while_revoked), (true, 1));
    assert!(account.organizations["org_rich"].kill_switch);
    api.put("/_sandbox/account", &json!({ "revokedKeys": [], "killedOrganizations": [] })).await;
    assert_eq!(start(&api, "one", "k", &plain()).await.status, 202);
    assert_eq!(start(&api, "rich", "k", &plain()).await.status, 202);
}

#[tokio::test]
async fn keys_scopes_and_the_cap_can_be_changed_while_it_runs_and_a_typo_changes_nothing() {
    let api = Api::start(two_organizations()).await;
    assert_eq!(start(&api, "new", "k", &plain()).await.status, 401);
    let change = json!({ "addKey": "new=org_new", "runningCap": 1, "scopes": ["content:write"] });
    assert_eq!(api.put("/_sandbox/account", &change).await.status, 200);
    assert_eq!(start(&api, "new", "k", &plain()).await.status, 202);
    assert_eq!(start(&api, "new", "k2", &plain()).await.code(), "RATE_LIMITED");
    assert_eq!(start(&api, "one", "k2", &plain()).await.status, 202, "the cap is each organization's");
    assert_eq!(get_as(&api, "new", PATH).await.code(), "FORBIDDEN_SCOPE");
    api.put("/_sandbox/account", &json!({ "runningCap": null })).await;
    assert_eq!(start(&api, "new", "k2", &plain()).await.status, 202);
    for typo in [
        json!({ "balance": 1, "revokedKeys": ["on"] }),
        json!({ "balance": 1, "scopes": ["content:raed"] }),
        json!({ "balance": 1, "balances": { "org_none": 1 } }),
        json!({ "balance": 1, "addKey": "" }),
        json!({ "balance": 1, "balence": 1 }),
    ] {
        assert_eq!(api.put("/_sandbox/account", &typo).await.status, 422, "{typo}");
    }
    assert_eq!(api.running.account().organizations["org_rich"].credits.balance, 300);
}

#[tokio::test]
async fn the_account_tells_refusals_by_code_429s_by_class_and_requests_by_endpoint() {
    let options = Options { tier: Tier::Standard, ..Options::default() };
    let api = Api::start(options).await;
    let body = plain().to_string();
    let started = api.generate("0", &plain()).await;
    for number in 1..=20 {
        api.generate(&number.to_string(), &plain()).await;
    }
    api.step(60);
    api.generate("bad", &json!({})).await;
    api.post("/v1/jobs/job_none/cancel", "c", &json!({})).await;
    api.get("/v1/jobs/job_none").await;
    let account = api.running.account();
    let refusals = [("NOT_FOUND", 1), ("RATE_LIMITED", 1), ("VALIDATION_FAILED", 1)];
    assert_eq!(account.refusals, refusals.map(|(code, count)| (code.to_owned(), count)).into());
    assert_eq!(account.rate_limited_by_class, [("long-running".to_owned(), 1)].into());
    assert_eq!(account.endpoints["POST /v1/projects/{projectId}/content"], 22);
    assert_eq!(account.endpoints["GET /v1/jobs/{jobId}"], 1);
    let refused = &account.refused_posts[0];
    assert_eq!((refused.at.as_str(), refused.status), ("2026-03-01T12:00:00.000Z", 429));
    assert_eq!(refused.idempotency_key.as_deref(), Some("20"));
    assert_eq!(refused.code.as_deref(), Some("RATE_LIMITED"));
    let job = &account.jobs[0];
    assert_eq!((job.id.clone(), job.body_bytes), (started.job(), body.len() as u64));
    assert_eq!((job.status.as_str(), job.organization.as_str()), ("running", "org_sandbox"));
    assert!(account.api_keys[&job.api_key].requests > 20);
    let summary = api.get("/_sandbox/account?summary=1").await.json();
    assert!(summary.get("refusedPosts").is_none() && summary["refusals"]["NOT_FOUND"] == 1);
    api.step(60);
    let job = &api.running.account().jobs[0];
    assert_eq!((job.status.as_str(), job.charged), ("completed", 120));
}
