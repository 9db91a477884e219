//! What a start has to pass once its key is new, and what it makes: validation, ownership, layers, moderation, credits,
//! the cap on running jobs, acceptance.

use std::sync::Arc;

use serde_json::json;

use super::changes::Changes;
use super::creative::Creative;
use super::draw::Draw;
use super::errors::Refusal;
use super::faults::Fault;
use super::format::Format;
use super::generation::draw_courses;
use super::idempotency::{Answer, IdRecord};
use super::options::ContainerIds;
use super::routes::Visit;
use super::starts::Post;
use super::state::{Container, Job, Kind, World};
use super::submission::Submission;
use super::time::iso;
use super::wish::Wish;

/// Makes new containers, or says why not.
pub(super) fn make_containers(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    submission: &Submission,
) -> Result<Arc<Answer>, Refusal> {
    if let Some(answer) = first_answer(world, visit, post, submission)? {
        return Ok(answer);
    }
    check_wish(&post.wish)?;
    let fate = Draw::new(visit.options.seed, &["brief", &post.identity]);
    let refused_by_chance = post.wish == Wish::default() && fate.hits("refused", visit.options.refuse_share);
    if refused_by_chance && fate.hits("invalid", 0.5) {
        return Err(Refusal::invalid("brief", "cannot be used (refused by the sandbox)"));
    }
    let project = submission.project.as_str();
    if !visit.options.projects.is_empty() && !visit.options.projects.iter().any(|known| known == project) {
        return Err(Refusal::not_found("project", project));
    }
    if !submission.names_layer && visit.options.two_layers.iter().any(|layered| layered == project) {
        let candidates = json!([{ "projectLayerId": "lay_organic", "name": "Organic" }, { "projectLayerId": "lay_paid", "name": "Paid" }]);
        return Err(Refusal::conflict("The project has several layers; name one as projectLayerId.")
            .with_details(json!({ "candidates": candidates })));
    }
    let required = submission.format.price() * submission.variants;
    let available = world.organizations[visit.organization].available(project);
    match post.wish.refuse.as_deref() {
        Some(code) => return Err(Refusal::wished(code, (required, available))),
        None if refused_by_chance => return Err(Refusal::moderation()),
        None => {}
    }
    check_means(world, visit, (required, available), submission.max_credits)?;
    Ok(accept(world, visit, post, submission))
}

/// What the first container's id was answered with before, whatever the key.
fn first_answer(
    world: &World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    submission: &Submission,
) -> Result<Option<Arc<Answer>>, Refusal> {
    let known = &world.organizations[visit.organization].starts_by_id;
    let id = submission.id.as_ref().filter(|_| !visit.options.forgets_ids);
    let Some(record) = id.and_then(|id| known.get(id)) else {
        return Ok(None);
    };
    if post.overlaps || (visit.now_ms < record.served_ms && visit.options.overlap_makes_two) {
        return Ok(None);
    }
    if visit.now_ms < record.served_ms {
        return Err(Refusal::in_progress());
    }
    let container = world.containers.get(record.container);
    let first_run =
        container.and_then(|container| container.runs.first()).and_then(|(job, _)| world.jobs.get(*job));
    let same = first_run
        .is_some_and(|job| *job.project == *submission.project && job.creative.equals(&submission.creative));
    if same {
        Ok(Some(Arc::clone(&record.answer)))
    } else {
        Err(Refusal::conflict("This id belongs to another brief."))
    }
}

/// Refuses a wish that cannot be read, or that asks to be invalid.
fn check_wish(wish: &Wish) -> Result<(), Refusal> {
    match (&wish.problem, wish.refuse.as_deref()) {
        (Some(problem), _) => Err(Refusal::invalid("metadata.sandbox", problem)),
        (None, Some("VALIDATION_FAILED")) => {
            Err(Refusal::invalid("brief", "cannot be used (refused by the sandbox)"))
        }
        (None, Some(_) | None) => Ok(()),
    }
}

/// Credits, then the cap on running jobs.
fn check_means(
    world: &World,
    visit: &Visit<'_>,
    (required, available): (u64, u64),
    max_credits: Option<u64>,
) -> Result<(), Refusal> {
    if required > available || max_credits.is_some_and(|most| required > most) {
        return Err(Refusal::billing(required, available));
    }
    let running = world.organizations[visit.organization].running;
    match world.running_cap {
        Some(cap) if running >= cap => Err(Refusal::running_cap(cap, running)),
        Some(_) | None => Ok(()),
    }
}

fn accept(world: &mut World, visit: &Visit<'_>, post: &Post<'_>, submission: &Submission) -> Arc<Answer> {
    let (id, draw) = new_job_id(world, visit, post);
    let format = match submission.format {
        Format::Auto => draw.pick("format", Format::VideoRemix, &[Format::UgcRemix]),
        Format::VideoRemix | Format::SlideshowRemix | Format::UgcRemix => submission.format,
    };
    let organization = &world.organizations[visit.organization];
    let known = organization.projects.get_key_value(submission.project.as_str());
    let project: Arc<str> =
        known.map_or_else(|| submission.project.as_str().into(), |(known, _)| Arc::clone(known));
    let is_free = |id: &&String| !organization.container_ids.contains_key(*id);
    let mut own_id = submission
        .id
        .as_ref()
        .filter(|_| visit.options.container_ids == ContainerIds::Ours)
        .filter(is_free)
        .cloned();
    let later = post.wish.regenerate.as_deref().cloned().map(Arc::new);
    let containers: Vec<usize> = (1..=submission.variants)
        .map(|variant| {
            let new = Container {
                id: own_id
                    .take()
                    .unwrap_or_else(|| format!("cnt_{}", draw.text(&format!("container {variant}"), 20))),
                project: Arc::clone(&project),
                format,
                created_ms: visit.now_ms,
                runs: Vec::with_capacity(1),
                decision: None,
                later: later.clone(),
            };
            world.create(visit.organization, new)
        })
        .collect();
    let job = start(
        world,
        visit,
        post,
        (id, draw),
        Plan {
            kind: submission.kind,
            project,
            containers: containers.clone(),
            creative: Arc::clone(&submission.creative),
            price: submission.format.price(),
            keeps_assets: false,
        },
    );
    let answer = Arc::new(accepted(world, visit, job));
    if let (Some(id), Some(first)) = (&submission.id, containers.first()) {
        if visit.options.container_ids == ContainerIds::CntAlias {
            world.alias(visit.organization, id.clone(), *first);
        }
        let record = IdRecord { container: *first, answer: Arc::clone(&answer), served_ms: post.served_ms };
        // The first one stays.
        world.organizations[visit.organization].starts_by_id.entry(id.clone()).or_insert(record);
    }
    answer
}

/// Makes a container anew, or says why not.
pub(super) fn make_again(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    (container, changes): (&str, &Changes),
) -> Result<Arc<Answer>, Refusal> {
    check_wish(&post.wish)?;
    let missing = || Refusal::not_found("container", container);
    let index = world.find_container(visit.organization, container).ok_or_else(missing)?;
    if world.is_busy(index, visit.now_ms) {
        return Err(Refusal::conflict_of("CONTAINER_BUSY", "The container is still being generated."));
    }
    let found = world.containers.get(index).ok_or_else(missing)?;
    let (project, price) = (Arc::clone(&found.project), found.format.price());
    let available = world.organizations[visit.organization].available(&project);
    if let Some(code) = &post.wish.refuse {
        return Err(Refusal::wished(code, (price, available)));
    }
    let newest = found.runs.last().and_then(|(job, _)| world.jobs.get(*job)).ok_or_else(missing)?;
    let creative = newest.creative.changed(changes).map_or_else(|| Arc::clone(&newest.creative), Arc::new);
    check_means(world, visit, (price, available), None)?;
    let named = new_job_id(world, visit, post);
    let job = start(
        world,
        visit,
        post,
        named,
        Plan {
            kind: Kind::Regenerate,
            project,
            containers: vec![index],
            creative,
            price,
            keeps_assets: changes.keeps_assets,
        },
    );
    Ok(Arc::new(accepted(world, visit, job)))
}

/// What one job is to make.
struct Plan {
    kind: Kind,
    project: Arc<str>,
    containers: Vec<usize>,
    creative: Arc<Creative>,
    price: u64,
    keeps_assets: bool,
}

fn start(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    (id, draw): (String, Draw),
    plan: Plan,
) -> usize {
    let mut strikes = |fault: Fault, wished: bool| {
        let share = world.faults.get(&fault).copied().unwrap_or(0.0);
        let struck = wished || post.named.contains(&fault) || draw.hits(fault.name(), share);
        if struck {
            world.tally.struck(fault);
        }
        struck
    };
    let variants = u64::try_from(plan.containers.len()).unwrap_or(1);
    let job = Job {
        id,
        kind: plan.kind,
        organization: visit.organization,
        caller: visit.caller,
        project: plan.project,
        containers: plan.containers,
        creative: plan.creative,
        started_ms: visit.now_ms,
        courses: draw_courses(visit.options, &post.wish, variants, draw),
        cancel_ignored: strikes(Fault::CancelIgnored, post.wish.cancel_ignored),
        unknown_status: strikes(Fault::UnknownStatus, post.wish.unknown_status),
        keeps_assets: plan.keeps_assets,
        price: plan.price,
        key: post.key.map(str::to_owned),
        trace: ["traceparent", "tracestate"].map(|name| {
            let value = visit.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        }),
        body_sha: post.body_sha,
        body_bytes: visit.body.len(),
        canceled_ms: None,
        settled: false,
        charged: 0,
    };
    world.start(job)
}

/// A new job's id and chances: the same for the same intent, another one for each job that it makes.
fn new_job_id(world: &World, visit: &Visit<'_>, post: &Post<'_>) -> (String, Draw) {
    let mut nth = 0_u64;
    loop {
        let draw = Draw::new(visit.options.seed, &["job", visit.path, &post.identity, &nth.to_string()]);
        let id = format!("job_{}", draw.text("id", 20));
        if !world.has_job(&id) {
            return (id, draw);
        }
        nth += 1;
    }
}

/// The 202, in one of its two documented shapes.
fn accepted(world: &World, visit: &Visit<'_>, job: usize) -> Answer {
    let job = &world.jobs[job];
    let ids: Vec<&str> =
        job.containers.iter().map(|container| world.containers[*container].id.as_str()).collect();
    let location = format!("/v1/jobs/{}", job.id);
    let body = if visit.options.names_first_container_only {
        json!({
            "jobId": job.id, "kind": job.kind.wire_name(), "status": "running", "stage": "queued",
            "projectId": &*job.project, "containerId": ids.first(), "locationUrl": location, "startedAt": iso(job.started_ms),
        })
    } else {
        let format = job.containers.first().map(|container| world.containers[*container].format.name());
        json!({
            "jobId": job.id, "kind": job.kind.wire_name(), "status": "running",
            "containerIds": ids, "format": format, "locationUrl": location,
        })
    };
    Answer { status: 202, body: body.to_string(), retry_after: None }
}
