//! Draws up the account of a world as it is at a moment.

use std::collections::BTreeMap;

use super::account::{
    Account, ApiKeyAccount, CreditsAccount, JobAccount, OrganizationAccount, ProjectAccount,
};
use super::draw::hex;
use super::generation::{Look, Phase};
use super::keys::Key;
use super::organization::{Organization, Project, Wallet};
use super::state::{Job, World};
use super::time::iso;

/// The account of a world as it is now; `lists`: with every job, key and refusal.
pub(super) fn account(world: &World, now_ms: i64, lists: bool) -> Account {
    let tally = &world.tally;
    let sum = |count: fn(&Key) -> u64| world.keys.iter().map(count).sum();
    let mut account = Account {
        now: iso(now_ms),
        jobs_made: count(world.jobs.len()),
        jobs_running: world.organizations.iter().map(|organization| organization.running).sum(),
        containers_made: count(world.containers.len()),
        containers: containers(world, now_ms),
        credits: world.organizations.iter().map(|organization| credits(organization.credits)).fold(
            CreditsAccount::default(),
            |sum, one| CreditsAccount {
                balance: sum.balance.saturating_add(one.balance),
                reserved: sum.reserved + one.reserved,
                available: sum.available.saturating_add(one.available),
                charged: sum.charged + one.charged,
            },
        ),
        reads: tally.reads,
        posts: tally.posts,
        answers: tally.answers.clone(),
        rate_limited: tally.answers.get(&429).copied().unwrap_or(0),
        rate_limited_by_class: by_name(&tally.rate_limited),
        endpoints: by_name(&tally.endpoints),
        refusals: tally.refusals.clone(),
        while_revoked: sum(|key| key.counts.while_revoked),
        while_killed: sum(|key| key.counts.while_killed),
        api_keys: world.keys.iter().map(|key| (key.label.clone(), api_key(world, key))).collect(),
        organizations: world
            .organizations
            .iter()
            .map(|it| (it.id.clone(), organization(world, it)))
            .collect(),
        faults: tally.faults.iter().map(|(fault, count)| (fault.name().to_owned(), *count)).collect(),
        keys_remembered: count(world.replays.keys()),
        jobs: Vec::new(),
        keys: BTreeMap::new(),
        jobs_by_key: BTreeMap::new(),
        refused_posts: Vec::new(),
    };
    if lists {
        account.jobs = world.jobs.iter().map(|it| job(world, it, now_ms)).collect();
        account.keys = tally.keys();
        account.refused_posts = tally.refused_posts.iter().cloned().collect();
        for job in &account.jobs {
            if let Some(key) = &job.idempotency_key {
                account.jobs_by_key.entry(key.clone()).or_default().push(job.id.clone());
            }
        }
    }
    account
}

fn by_name(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn credits(wallet: Wallet) -> CreditsAccount {
    CreditsAccount {
        balance: wallet.balance(),
        reserved: wallet.reserved,
        available: wallet.available(),
        charged: wallet.charged,
    }
}

fn api_key(world: &World, key: &Key) -> ApiKeyAccount {
    ApiKeyAccount {
        organization: world.organizations[key.organization].id.clone(),
        revoked: key.revoked || world.key_revoked,
        requests: key.counts.requests,
        jobs: key.counts.jobs,
        rate_limited: key.counts.rate_limited,
        while_revoked: key.counts.while_revoked,
        while_killed: key.counts.while_killed,
    }
}

fn organization(world: &World, it: &Organization) -> OrganizationAccount {
    let project = |project: &Project| ProjectAccount {
        containers: count(project.containers.len()),
        balance: project.credits.balance,
        reserved: project.credits.reserved,
        charged: project.credits.charged,
    };
    OrganizationAccount {
        credits: credits(it.credits),
        kill_switch: it.kill_switch || world.kill_switch,
        jobs_made: it.jobs_made,
        jobs_running: it.running,
        projects: it.projects.iter().map(|(id, it)| (id.to_string(), project(it))).collect(),
    }
}

fn containers(world: &World, now_ms: i64) -> BTreeMap<String, u64> {
    let names = ["running", "completed", "failed", "canceled"];
    let mut counts: BTreeMap<_, _> = names.map(|name| (name.to_owned(), 0)).into();
    for view in (0..world.containers.len()).filter_map(|container| world.view(container, now_ms)) {
        *counts.entry(name(&view.look.phase).to_owned()).or_default() += 1;
    }
    counts
}

fn name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Completed { .. } => "completed",
        Phase::Failed { .. } => "failed",
        Phase::Canceled { .. } => "canceled",
    }
}

fn job(world: &World, job: &Job, now_ms: i64) -> JobAccount {
    let looks: Vec<Look> = job.looks(now_ms).collect();
    // The same precedence as in the answer to a caller.
    let status = ["running", "canceled", "completed", "failed"]
        .into_iter()
        .find(|status| looks.iter().any(|look| name(&look.phase) == *status));
    JobAccount {
        id: job.id.clone(),
        project: job.project.to_string(),
        container_ids: job
            .containers
            .iter()
            .map(|container| world.containers[*container].id.clone())
            .collect(),
        credits: job.price * count(job.containers.len()),
        idempotency_key: job.key.clone(),
        traceparent: job.trace[0].clone(),
        tracestate: job.trace[1].clone(),
        api_key: world.keys.get(job.caller).map_or_else(String::new, |key| key.label.clone()),
        organization: world.organizations[job.organization].id.clone(),
        body_sha256: hex(&job.body_sha),
        body_bytes: count(job.body_bytes),
        kind: job.kind.name().to_owned(),
        status: status.unwrap_or("running").to_owned(),
        charged: job.charged,
        started_at: iso(job.started_ms),
        ends_at: job.end_ms().map(iso),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
