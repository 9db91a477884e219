//! What a start has to pass once its key is new, and what it makes: validation, ownership, layers, moderation, credits,
//! the cap on running jobs, acceptance.

use std::sync::Arc;

use serde_json::{Value, json};

use super::draw::Draw;
use super::errors::Refusal;
use super::faults::Fault;
use super::generation::draw_courses;
use super::idempotency::{Answer, IdRecord};
use super::options::ContainerIds;
use super::routes::Visit;
use super::starts::Post;
use super::state::{Container, Job, Kind, World};
use super::submission::{Format, Submission};
use super::time::iso;
use super::wish::Wish;

/// Makes the containers of a brief, or says why not.
pub(super) fn make_containers(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    project: &str,
) -> Result<Arc<Answer>, Refusal> {
    if let Some(answer) = first_answer(world, visit, post, project)? {
        return Ok(answer);
    }
    if let Some(problem) = &post.wish.problem {
        return Err(Refusal::invalid("metadata.sandbox", problem));
    }
    let fate = Draw::new(visit.options.seed, &["brief", &post.identity]);
    let refused_by_chance = post.wish == Wish::default() && fate.hits("refused", visit.options.refuse_share);
    let invalid = refused_by_chance && fate.hits("invalid", 0.5);
    if invalid || post.wish.refuse.as_deref() == Some("VALIDATION_FAILED") {
        return Err(Refusal::invalid("brief", "cannot be used (refused by the sandbox)"));
    }
    let submission = Submission::read(visit.body, &post.value)?;
    if !visit.options.projects.is_empty() && !visit.options.projects.iter().any(|known| known == project) {
        return Err(Refusal::not_found("project", project));
    }
    if !submission.names_layer && visit.options.two_layers.iter().any(|layered| layered == project) {
        let candidates = json!([{ "projectLayerId": "lay_organic", "name": "Organic" }, { "projectLayerId": "lay_paid", "name": "Paid" }]);
        return Err(Refusal::conflict("The project has several layers; name one as projectLayerId.")
            .with_details(json!({ "candidates": candidates })));
    }
    match post.wish.refuse.as_deref() {
        Some("MODERATION_BLOCKED") => return Err(Refusal::moderation()),
        Some(code) => return Err(Refusal::wished(code)),
        None if refused_by_chance => return Err(Refusal::moderation()),
        None => {}
    }
    let required = submission.format.price() * submission.variants;
    check_means(world, visit, required, submission.max_credits)?;
    Ok(accept(world, visit, post, (project, &submission)))
}

/// What the body's `id` was answered with before, whatever the key.
fn first_answer(
    world: &World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    project: &str,
) -> Result<Option<Arc<Answer>>, Refusal> {
    let id = post.value.get("id").and_then(Value::as_str);
    let Some(record) = id.and_then(|id| world.replays.find_id(id)) else {
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
        .is_some_and(|job| *job.project == *project && job.creative.has_brief(post.value.get("brief")));
    if same {
        Ok(Some(Arc::clone(&record.answer)))
    } else {
        Err(Refusal::conflict("This id belongs to another brief."))
    }
}

/// Credits, then the cap on running jobs.
fn check_means(
    world: &World,
    visit: &Visit<'_>,
    required: u64,
    max_credits: Option<u64>,
) -> Result<(), Refusal> {
    let available = world.credits.available();
    if required > available || max_credits.is_some_and(|most| required > most) {
        return Err(Refusal::billing(required, available));
    }
    match visit.options.running_cap {
        Some(cap) if world.running >= cap => Err(Refusal::running_cap(cap, world.running)),
        Some(_) | None => Ok(()),
    }
}

fn accept(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    (project, submission): (&str, &Submission),
) -> Arc<Answer> {
    let (id, draw) = new_job_id(world, visit, post);
    let format = match submission.format {
        Format::Auto => draw.pick("format", Format::VideoRemix, &[Format::UgcRemix]),
        Format::VideoRemix | Format::SlideshowRemix | Format::UgcRemix => submission.format,
    };
    let project: Arc<str> =
        world.projects.get_key_value(project).map_or_else(|| project.into(), |(known, _)| Arc::clone(known));
    let later = post.wish.regenerate.as_deref().cloned().map(Arc::new);
    let containers: Vec<usize> = (1..=submission.variants)
        .map(|variant| {
            let own = submission
                .id
                .as_ref()
                .filter(|_| variant == 1 && visit.options.container_ids == ContainerIds::Ours);
            let id = own.filter(|id| !world.has_container(id)).cloned();
            world.create(Container {
                id: id.unwrap_or_else(|| format!("cnt_{}", draw.text(&format!("container {variant}"), 20))),
                project: Arc::clone(&project),
                format,
                created_ms: visit.now_ms,
                runs: Vec::with_capacity(1),
                decision: None,
                later: later.clone(),
            })
        })
        .collect();
    let job = world.start(Job {
        id,
        kind: Kind::Generate,
        project,
        containers: containers.clone(),
        creative: Arc::clone(&submission.creative),
        started_ms: visit.now_ms,
        courses: draw_courses(visit.options, &post.wish, submission.variants, draw),
        cancel_ignored: post.wish.cancel_ignored || hits(world, Fault::CancelIgnored, draw),
        unknown_status: post.wish.unknown_status || hits(world, Fault::UnknownStatus, draw),
        price: submission.format.price(),
        key: post.key.map(str::to_owned),
        body_sha: post.body_sha,
        canceled_ms: None,
        settled: false,
    });
    let answer = Arc::new(accepted(world, visit, job));
    if let (Some(id), Some(first)) = (&submission.id, containers.first()) {
        if visit.options.container_ids == ContainerIds::CntAlias {
            world.alias(id.clone(), *first);
        }
        let record = IdRecord { container: *first, answer: Arc::clone(&answer), served_ms: post.served_ms };
        world.replays.keep_id(id.clone(), record);
    }
    answer
}

/// Makes a container anew, or says why not.
pub(super) fn make_again(
    world: &mut World,
    visit: &Visit<'_>,
    post: &Post<'_>,
    container: &str,
) -> Result<Arc<Answer>, Refusal> {
    if !post.value.is_object() {
        return Err(Refusal::invalid("body", "must be a JSON object"));
    }
    let missing = || Refusal::not_found("container", container);
    let index = world.find_container(container).ok_or_else(missing)?;
    if world.is_busy(index, visit.now_ms) {
        return Err(Refusal::conflict_of("CONTAINER_BUSY", "The container is still being generated."));
    }
    if let Some(code) = &post.wish.refuse {
        return Err(Refusal::wished(code));
    }
    let found = world.containers.get(index).ok_or_else(missing)?;
    let (project, format) = (Arc::clone(&found.project), found.format);
    let newest = found.runs.last().and_then(|(job, _)| world.jobs.get(*job)).ok_or_else(missing)?;
    let creative =
        newest.creative.patched(&post.value).map_or_else(|| Arc::clone(&newest.creative), Arc::new);
    check_means(world, visit, format.price(), None)?;
    let (id, draw) = new_job_id(world, visit, post);
    let job = world.start(Job {
        id,
        kind: Kind::Regenerate,
        project,
        containers: vec![index],
        creative,
        started_ms: visit.now_ms,
        courses: draw_courses(visit.options, &post.wish, 1, draw),
        cancel_ignored: post.wish.cancel_ignored || hits(world, Fault::CancelIgnored, draw),
        unknown_status: post.wish.unknown_status || hits(world, Fault::UnknownStatus, draw),
        price: format.price(),
        key: post.key.map(str::to_owned),
        body_sha: post.body_sha,
        canceled_ms: None,
        settled: false,
    });
    Ok(Arc::new(accepted(world, visit, job)))
}

fn hits(world: &World, fault: Fault, draw: Draw) -> bool {
    world.faults.get(&fault).is_some_and(|share| draw.hits(fault.name(), *share))
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
