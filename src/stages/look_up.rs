//! A look-up: is our container there? Asked when a refusal cannot be believed, or the POST must not be repeated.

use std::time::Duration;

use serde_json::Value;

use super::holds::note_refusal;
use super::submit::Submit;
use crate::crash_point::shortened;
use crate::job::ContainerReading;
use crate::layers::Priority;
use crate::ledger::{Claimed, Started};

/// Two look-ups that find nothing must be this far apart before that is believed.
const APART: Duration = Duration::from_mins(10);

/// [`APART`], but for tests that cannot wait so long.
pub(super) fn apart() -> Duration {
    shortened("look_up.apart", APART)
}

/// Stored instead of a container's end when it was not there to be read: nothing can be compared with it.
pub(super) const NOT_SEEN: &str = "{}";

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Our container, with an equal brief.
    Ours,
    /// The same, but it has siblings, which only a 2xx to the same POST names.
    InPart,
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

    /// What was found, to be followed. The API's job id is not known.
    pub(super) fn started(self) -> Started {
        Started { job_id: None, container_ids: self.containers, format: self.format }
    }
}

/// Looks our container up. `may_repeat`: the POST may be repeated should this prove nothing.
pub(super) async fn look_up(stage: &Submit, job: &Claimed, may_repeat: bool, priority: Priority) -> LookedUp {
    let Some(id) = job.container.as_deref().or(job.alias.as_deref()) else {
        return without_id(job);
    };
    // An orderly stop looks up what it can, and waits for no permit.
    let permit = tokio::select! {
        biased;
        permit = stage.limits.acquire_read(priority) => permit,
        () = stage.desk.stopping.cancelled() => {
            return LookedUp::nothing(Found::Later, format!("container {id} was not read: it stops"), Duration::ZERO);
        }
    };
    let answer = stage.api.container(id).await;
    permit.answered();
    match answer {
        Ok(reading) if job.container.is_some() => regenerated(stage, job, &reading).await,
        Ok(reading) if same_brief(&job.body, reading.brief.as_ref()) => {
            ours(job, reading, stage.settings.repeat_after)
        }
        Ok(_) => LookedUp::nothing(
            Found::Other,
            format!("container {id} exists with another brief"),
            Duration::ZERO,
        ),
        // Under a key that may be another organization's, a 404 says nothing.
        Err(trouble) if trouble.is_not_found() && !stage.desk.reads_are_held() => {
            not_found(stage, job, may_repeat, id).await
        }
        Err(trouble) => {
            note_refusal(&stage.desk, stage.settings.probe_interval, &trouble).await;
            let detail = format!("container {id} could not be read: {trouble}");
            LookedUp::nothing(Found::Later, detail, stage.settings.repeat_after)
        }
    }
}

/// A job without an id of ours. A refusal of the first attempt is then all there is to believe.
fn without_id(job: &Claimed) -> LookedUp {
    let found = if job.unknown_first_at.is_none() { Found::Nothing } else { Found::Undecidable };
    LookedUp::nothing(found, "there is no id to look it up by", Duration::ZERO)
}

/// Our container is there. Only a 2xx names its siblings.
fn ours(job: &Claimed, reading: ContainerReading, repeat_after: Duration) -> LookedUp {
    let in_part = job.variant_count > 1;
    LookedUp {
        found: if in_part { Found::InPart } else { Found::Ours },
        detail: format!("found our container {}", reading.id),
        containers: vec![reading.id],
        format: reading.format,
        retry: if in_part { repeat_after } else { Duration::ZERO },
    }
}

async fn not_found(stage: &Submit, job: &Claimed, may_repeat: bool, id: &str) -> LookedUp {
    let detail = format!("container {id} is not there");
    if job.unknown_first_at.is_none() {
        return LookedUp::nothing(Found::Nothing, detail, Duration::ZERO);
    }
    let Ok(look_ups_work) = stage.desk.ledger.look_ups().await else {
        return LookedUp::nothing(Found::Later, detail, stage.settings.repeat_after);
    };
    if job.alias.is_none() || !may_repeat || look_ups_work == Some(false) {
        return LookedUp::nothing(Found::Undecidable, detail, Duration::ZERO);
    }
    let before_ms = stage.desk.clock.ms_ago(apart());
    if job.absent_at.is_none_or(|first_ms| first_ms > before_ms) {
        return LookedUp::nothing(Found::Nothing, detail, apart());
    }
    // Whether look-ups work may become known between the two: others are accepted meanwhile.
    let found = if look_ups_work.is_some() { Found::NothingForSure } else { Found::Undecidable };
    LookedUp::nothing(found, detail, Duration::ZERO)
}

/// For a regenerate the container was there before; only a change of its end, or a new run of it, proves the POST.
async fn regenerated(stage: &Submit, job: &Claimed, reading: &ContainerReading) -> LookedUp {
    let before = stage.desk.ledger.seen_before(job.id).await.unwrap_or_default();
    let changed =
        !reading.status.is_terminal() || before.is_some_and(|before| end_has_changed(&before, reading));
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

/// Whether a terminal read is another end than the one stored before the regenerate.
pub fn end_has_changed(before: &str, reading: &ContainerReading) -> bool {
    before != NOT_SEEN && before != end_of(reading)
}

/// Whether a read shows again, with its time, the end that was stored before the regenerate: it may be the old record.
pub(super) fn is_the_old_end(before: &str, reading: &ContainerReading) -> bool {
    before == end_of(reading) && (reading.completed_at.is_some() || reading.failed_at.is_some())
}

/// Whether the API's echo holds everything our brief says. It may hold more: defaults, nulls.
pub fn same_brief(body: &str, echo: Option<&Value>) -> bool {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
    match (body.get("brief"), echo) {
        (Some(ours), Some(theirs)) => holds(theirs, ours),
        // The id is made of our identity of the brief: an API that does not echo it is believed.
        (Some(_), None) => true,
        (None, _) => false,
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
    use crate::job::ApiStatus;

    #[test]
    fn an_echo_with_more_fields_is_still_our_brief_and_one_with_another_hook_is_not() {
        let body = r#"{"id":"x","brief":{"hook":"Run","cta":null}}"#;
        assert!(same_brief(body, Some(&json!({"hook": "Run", "language": "en"}))));
        assert!(!same_brief(body, Some(&json!({"hook": "Walk"}))));
        assert!(same_brief(body, None), "the id alone is ours");
    }

    fn claimed(alias: Option<&str>, variant_count: i64, attempts: i64, unknown: bool) -> Claimed {
        Claimed {
            id: 1,
            brief: 1,
            run: 1,
            kind: "generate".to_owned(),
            container: None,
            project_id: "p".to_owned(),
            batch_id: String::new(),
            brief_id: "b".to_owned(),
            idempotency_key: String::new(),
            alias: alias.map(ToOwned::to_owned),
            body: "{}".to_owned(),
            attempts,
            unknown_first_at: unknown.then_some(1),
            unknown_ended_at: unknown.then_some(2),
            unknown_key: None,
            attempt_key: None,
            absent_at: None,
            received_at: 0,
            variant_count,
            traceparent: None,
            tracestate: None,
        }
    }

    fn reading(status: ApiStatus, failed_at: Option<&str>) -> ContainerReading {
        ContainerReading {
            id: "cnt_1".to_owned(),
            status,
            format: None,
            brief: None,
            created_at: None,
            updated_at: None,
            completed_at: None,
            failed_at: failed_at.map(|time| time.parse().unwrap()),
            last_error: None,
            approval_status: None,
            record: "{}".to_owned(),
        }
    }

    #[test]
    fn a_key_only_job_that_was_refused_at_once_fails_and_is_not_stuck() {
        assert_eq!(without_id(&claimed(None, 1, 1, false)).found, Found::Nothing);
        assert_eq!(without_id(&claimed(None, 1, 2, true)).found, Found::Undecidable);
    }

    #[test]
    fn of_several_variants_a_look_up_knows_only_the_first() {
        let found = |variants| {
            let job = claimed(Some("u"), variants, 2, true);
            ours(&job, reading(ApiStatus::Completed, None), Duration::from_mins(1)).found
        };
        assert_eq!((found(1), found(3)), (Found::Ours, Found::InPart));
    }

    #[test]
    fn an_end_that_could_not_be_read_before_is_never_taken_for_a_new_one() {
        let old = reading(ApiStatus::Failed, Some("2026-05-01T00:00:00Z"));
        let new = reading(ApiStatus::Failed, Some("2026-05-02T00:00:00Z"));
        assert!(!end_has_changed(&end_of(&old), &old));
        assert!(end_has_changed(&end_of(&old), &new));
        assert!(!end_has_changed(NOT_SEEN, &old));
    }
}
