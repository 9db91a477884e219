//! What callers see: container records, list items, progress and jobs, as JSON.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::draw::{Draw, hex, sha256};
use super::format::Format;
use super::generation::{Look, Phase};
use super::options::{Options, Revision};
use super::state::{Job, World};
use super::time::{iso, whole_seconds};
use super::view::View;

/// A container in full.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    id: &'a str,
    project_id: &'a str,
    status: &'static str,
    format: &'static str,
    influencer_id: Option<&'a str>,
    brief: &'a RawValue,
    metadata: Option<&'a RawValue>,
    caption: Option<String>,
    first_comment: Option<String>,
    captions: Vec<Caption>,
    assets: Vec<Value>,
    approval_status: &'static str,
    created_at: String,
    updated_at: String,
    completed_at: Option<String>,
    failed_at: Option<String>,
    last_error: Option<LastError>,
}

#[derive(Debug, Serialize)]
struct Caption {
    platform: &'static str,
    text: String,
}

/// One piece of media.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asset {
    #[serde(rename = "assetId")]
    pub(super) id: String,
    kind: &'static str,
    url: String,
    thumbnail_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    width: u32,
    height: u32,
    mime_type: &'static str,
    size_bytes: u64,
    checksum_sha256: String,
}

#[derive(Debug, Serialize)]
struct LastError {
    code: String,
    message: String,
}

impl LastError {
    fn new(code: &str) -> Self {
        let message = match code {
            "RENDER_FAILED" => "The renderer gave up on this creative.",
            "PROVIDER_TIMEOUT" => "A media provider did not answer in time.",
            "MEDIA_UNAVAILABLE" => "Referenced media could not be fetched.",
            _ => "The brief asked the sandbox for this failure.",
        };
        Self { code: code.to_owned(), message: message.to_owned() }
    }
}

/// The full record of a container.
pub(super) fn record<'a>(view: &View<'a>, options: &Options) -> Record<'a> {
    let creative = &view.job.creative;
    let completed = matches!(view.look.phase, Phase::Completed { .. });
    let caption = completed.then(|| caption(view));
    let text = |platform: &&'static str| Caption {
        platform,
        text: format!("{} #{platform}", caption.as_deref().unwrap_or("")),
    };
    let decided_ms = view.container.decision.as_ref().map_or(0, |decision| decision.at_ms);
    Record {
        id: &view.container.id,
        project_id: &view.container.project,
        status: view.status(options.revision),
        format: view.container.format.name(),
        influencer_id: creative.influencer.as_deref(),
        brief: &creative.brief,
        metadata: creative.metadata.as_deref(),
        captions: if completed { creative.platforms.iter().map(text).collect() } else { Vec::new() },
        first_comment: completed.then(|| "Would you try it?".to_owned()),
        assets: if completed { told(view, options) } else { Vec::new() },
        approval_status: view.approval(options.approval_required),
        created_at: iso(view.container.created_ms),
        updated_at: iso(view.look.changed_ms.max(decided_ms)),
        completed_at: completed.then(|| iso(view.look.changed_ms)),
        failed_at: matches!(view.look.phase, Phase::Failed { .. }).then(|| iso(view.look.changed_ms)),
        last_error: match &view.look.phase {
            Phase::Failed { code, .. } => Some(LastError::new(code)),
            Phase::Running | Phase::Completed { .. } | Phase::Canceled { .. } => None,
        },
        caption,
    }
}

/// A container as the list shows it.
pub(super) fn item(view: &View<'_>, options: &Options) -> Value {
    let completed = matches!(view.look.phase, Phase::Completed { .. });
    let primary = completed.then(|| assets(view).into_iter().next()).flatten().map(|asset| {
        json!({
            "assetId": asset.id, "kind": asset.kind,
            "thumbnailUrl": asset.thumbnail_url, "durationMs": asset.duration_ms,
        })
    });
    json!({
        "id": view.container.id,
        "status": view.status(options.revision),
        "format": view.container.format.name(),
        "caption": completed.then(|| caption(view)),
        "approvalStatus": view.approval(options.approval_required),
        "createdAt": iso(view.container.created_ms),
        "completedAt": completed.then(|| iso(view.look.changed_ms)),
        "primaryAsset": primary,
    })
}

/// How far a container is.
pub(super) fn progress(view: &View<'_>, revision: Revision, now_ms: i64) -> Value {
    let running = matches!(view.look.phase, Phase::Running);
    let eta = view.look.expected_ms.filter(|_| running).map(|at_ms| whole_seconds(at_ms - now_ms));
    json!({
        "containerId": view.container.id,
        "status": view.status(revision),
        "stage": view.look.stage.name(),
        "stageProgress": fraction(view.look.stage_thousandths),
        "etaSeconds": eta,
        "updatedAt": iso(if running { now_ms } else { view.look.changed_ms }),
    })
}

/// A job. It has ended when its last container has.
pub(super) fn job(world: &World, job: &Job, options: &Options, now_ms: i64) -> Value {
    let looks: Vec<Look> = job.looks(now_ms).collect();
    let mut answer = json!({ "jobId": job.id, "kind": job.kind.wire_name() });
    let slowest = looks.iter().min_by_key(|look| (look.phase != Phase::Running, look.thousandths));
    let finished_at = job.end_ms().filter(|end_ms| *end_ms <= now_ms).map(iso);
    let failure = looks.iter().find_map(|look| match &look.phase {
        Phase::Failed { code, .. } => Some((look.stage, LastError::new(code))),
        Phase::Running | Phase::Completed { .. } | Phase::Canceled { .. } => None,
    });
    let canceled = looks.iter().any(|look| matches!(look.phase, Phase::Canceled { .. }));
    let first_completed = looks.iter().position(|look| matches!(look.phase, Phase::Completed { .. }));
    let rest = match (finished_at, slowest) {
        (Some(finished_at), _) if canceled => json!({ "status": "canceled", "finishedAt": finished_at }),
        (Some(finished_at), _) => match (first_completed, failure) {
            (None, Some((stage, error))) => json!({
                "status": "failed", "finishedAt": finished_at, "stage": stage.name(), "error": error,
            }),
            (first, _) => {
                json!({ "status": "completed", "finishedAt": finished_at, "result": result(world, job, (options, first.unwrap_or(0)), now_ms) })
            }
        },
        (None, look) => json!({
            "status": "running",
            "progress": fraction(look.map_or(0, |look| look.thousandths)),
            "stage": look.map_or("queued", |look| look.stage.name()),
            "startedAt": iso(job.started_ms),
        }),
    };
    if let (Some(fields), Value::Object(rest)) = (answer.as_object_mut(), rest) {
        fields.extend(rest);
    }
    answer
}

fn result(world: &World, job: &Job, (options, place): (&Options, usize), now_ms: i64) -> Value {
    let view = job.containers.get(place).and_then(|container| world.view(*container, now_ms));
    let result = |view: View<'_>| json!({ "containerId": view.container.id, "assets": told(&view, options) });
    view.map_or(Value::Null, result)
}

/// The media as records show them.
fn told(view: &View<'_>, options: &Options) -> Vec<Value> {
    let tell = |asset: Asset| {
        let mut asset = json!(asset);
        if let (true, Some(fields)) = (options.asset_ids_as_id, asset.as_object_mut())
            && let Some(id) = fields.shift_remove("assetId")
        {
            fields.insert("id".to_owned(), id);
        }
        asset
    };
    assets(view).into_iter().map(tell).collect()
}

/// The media of a completed container. A regeneration brings new ones.
pub(super) fn assets(view: &View<'_>) -> Vec<Asset> {
    let slides = match view.container.format {
        Format::Auto | Format::VideoRemix | Format::UgcRemix => return vec![asset(view, 1, true)],
        Format::SlideshowRemix => 5,
    };
    (1..=slides).map(|number| asset(view, number, false)).collect()
}

fn asset(view: &View<'_>, number: u32, video: bool) -> Asset {
    let draw =
        Draw::new(0, &["asset", &view.container.id, &view.assets_take.to_string(), &number.to_string()]);
    let id = format!("ast_{}", draw.text("id", 20));
    let base = format!("https://media.layers-sandbox.example/{}/{id}", view.container.id);
    Asset {
        kind: if video { "video" } else { "image" },
        url: format!("{base}.{}", if video { "mp4" } else { "jpg" }),
        thumbnail_url: Some(format!("{base}-thumb.jpg")),
        duration_ms: video.then(|| draw.between("duration", 12_000, 38_000)),
        width: 1080,
        height: if video { 1920 } else { 1350 },
        mime_type: if video { "video/mp4" } else { "image/jpeg" },
        size_bytes: if video {
            draw.between("size", 2_000_000, 9_000_000)
        } else {
            draw.between("size", 120_000, 600_000)
        },
        checksum_sha256: hex(&sha256(id.as_bytes())),
        id,
    }
}

fn caption(view: &View<'_>) -> String {
    format!("{} (take {})", view.job.creative.topic, view.take)
}

fn fraction(thousandths: i64) -> f64 {
    f64::from(i32::try_from(thousandths).unwrap_or(0)) / 1000.0
}
