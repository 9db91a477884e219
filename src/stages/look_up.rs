//! A look-up: is our container there? Asked when a refusal cannot be believed, or the POST must not be repeated.

use std::time::Duration;

use serde_json::Value;

use super::submit::Submit;
use crate::job::ContainerReading;
use crate::layers::Priority;
use crate::ledger::Claimed;

/// Two look-ups that find nothing must be this far apart before that is believed.
const APART: Duration = Duration::from_mins(10);

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Our container, with an equal brief.
    Ours,
    /// Our container id, with another brief.
    Other,
    /// Nothing, this once.
    Nothing,
    /// Nothing, twice, far enough apart.
    NothingForSure,
    /// Nothing that proves anything, and the POST must not be repeated or would be refused again.
    Undecidable,
    /// The look-up could not be made now, or another one is needed.
    Later,
}

/// What a look-up told.
#[derive(Debug)]
pub(super) struct LookedUp {
    pub found: Found,
    pub containers: Vec<String>,
    pub format: Option<String>,
    pub detail: String,
    pub retry: Duration,
}

impl LookedUp {
    fn nothing(found: Found, detail: impl Into<String>, retry: Duration) -> Self {
        Self { found, containers: Vec::new(), format: None, detail: detail.into(), retry }
    }
}

/// Looks our container up. `may_repeat`: the POST may be repeated should this prove nothing.
pub(super) async fn look_up(stage: &Submit, job: &Claimed, may_repeat: bool) -> LookedUp {
    let Some(id) = job.container.as_deref().or(job.alias.as_deref()) else {
        return LookedUp::nothing(Found::Undecidable, "there is no id to look it up by", Duration::ZERO);
    };
    let permit = stage.limits.acquire_read(Priority::Ended).await;
    let answer = stage.api.container(id).await;
    permit.answered();
    match answer {
        Ok(reading) if job.container.is_some() => regenerated(stage, job, &reading).await,
        Ok(reading) if same_brief(&job.body, reading.brief.as_ref()) => {
            if job.variant_count > 1 {
                // Only a 2xx names the other containers; `id` guards the repeat for ever.
                let detail = format!("container {id} is ours; asked again for its siblings");
                return LookedUp::nothing(Found::Later, detail, stage.settings.retry_max);
            }
            LookedUp {
                found: Found::Ours,
                detail: format!("found our container {id}"),
                containers: vec![reading.id],
                format: reading.format,
                retry: Duration::ZERO,
            }
        }
        Ok(_) => LookedUp::nothing(
            Found::Other,
            format!("container {id} exists with another brief"),
            Duration::ZERO,
        ),
        Err(trouble) if trouble.is_not_found() => not_found(stage, job, may_repeat, id).await,
        Err(_) => LookedUp::nothing(
            Found::Later,
            format!("container {id} could not be read"),
            stage.settings.repeat_after,
        ),
    }
}

async fn not_found(stage: &Submit, job: &Claimed, may_repeat: bool, id: &str) -> LookedUp {
    let detail = format!("container {id} is not there");
    if job.unknown_first_at.is_none() {
        return LookedUp::nothing(Found::Nothing, detail, Duration::ZERO);
    }
    let known_to_work = stage.desk.ledger.look_ups_work().await.unwrap_or(false);
    let provable = job.alias.is_some() && known_to_work && may_repeat;
    if !provable {
        return LookedUp::nothing(Found::Undecidable, detail, Duration::ZERO);
    }
    let apart_ms = i64::try_from(APART.as_millis()).unwrap_or(i64::MAX);
    match job.absent_at {
        Some(first_ms) if stage.desk.clock.now_ms() - first_ms >= apart_ms => {
            LookedUp::nothing(Found::NothingForSure, detail, Duration::ZERO)
        }
        Some(_) | None => LookedUp::nothing(Found::Nothing, detail, APART),
    }
}

/// For a regenerate the container was there before; only a change of its end, or a new run of it, proves the POST.
async fn regenerated(stage: &Submit, job: &Claimed, reading: &ContainerReading) -> LookedUp {
    let before = stage.desk.ledger.seen_before(job.id).await.unwrap_or_default();
    let changed = !reading.status.is_terminal() || before.is_some_and(|before| before != end_of(reading));
    if changed {
        return LookedUp {
            found: Found::Ours,
            detail: format!("container {} has changed since", reading.id),
            containers: vec![reading.id.clone()],
            format: reading.format.clone(),
            retry: Duration::ZERO,
        };
    }
    if job.unknown_first_at.is_none() {
        return LookedUp::nothing(
            Found::Nothing,
            format!("container {} is as it was", reading.id),
            Duration::ZERO,
        );
    }
    LookedUp::nothing(Found::Undecidable, format!("container {} is as it was", reading.id), Duration::ZERO)
}

/// When a container ended, as it is stored before a regenerate: `completedAt` and `failedAt`.
pub(super) fn end_of(reading: &ContainerReading) -> String {
    serde_json::json!({
        "completedAt": reading.completed_at.map(|time| time.to_string()),
        "failedAt": reading.failed_at.map(|time| time.to_string()),
    })
    .to_string()
}

/// Whether the API's echo holds everything our brief says. It may hold more: defaults, nulls.
fn same_brief(body: &str, echo: Option<&Value>) -> bool {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
    match (body.get("brief"), echo) {
        (Some(ours), Some(theirs)) => holds(theirs, ours),
        (Some(_), None) | (None, _) => false,
    }
}

fn holds(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => ours
            .iter()
            .all(|(name, value)| theirs.get(name).map_or(value.is_null(), |echo| holds(echo, value))),
        (theirs, ours) => theirs == ours,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_echo_with_more_fields_is_still_our_brief_and_one_with_another_hook_is_not() {
        let body = r#"{"id":"x","brief":{"hook":"Run","cta":null}}"#;
        assert!(same_brief(body, Some(&json!({"hook": "Run", "language": "en"}))));
        assert!(!same_brief(body, Some(&json!({"hook": "Walk"}))));
        assert!(!same_brief(body, None));
    }
}
