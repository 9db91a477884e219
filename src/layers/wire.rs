//! PURE. The API's JSON texts, read into what the worker works with.
//!
//! A reader asks for the few fields it needs and tolerates everything else: fields that are missing, `null`, of
//! another type, repeated (the last counts), or numbers no double can hold. Only what nothing can be done without
//! is an error, which says what is missing. Works for both revisions of the API.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::fields::{Fields, WORD_CHARS_MAX};
use crate::job::{Acceptance, ApiStatus, ContainerReading, JobReading, ListedContainer, Refusal};

/// `POST /v1/jobs/:jobId/cancel`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelAnswer {
    /// The API will try; the job may still complete.
    pub accepted: bool,
    /// Why it will not.
    pub reason: Option<String>,
}

/// `GET /v1/content/:containerId/progress`
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Where the container stands.
    pub status: ApiStatus,
    /// `stage`
    pub stage: Option<String>,
    /// `stageProgress`: 0 to 1, from the start in each stage.
    pub stage_progress: Option<f64>,
    /// `etaSeconds`
    pub eta_seconds: Option<f64>,
    /// `updatedAt`
    pub updated_at: Option<Timestamp>,
}

/// One page of `GET /v1/projects/:projectId/content`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// The containers. An item without an id is left out.
    pub items: Vec<ListedContainer>,
    /// Asks for the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// `GET /v1/whoami`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whoami {
    /// `organizationId`
    pub organization_id: Option<String>,
    /// `organizationName`
    pub organization_name: Option<String>,
    /// `workspaceId`
    pub workspace_id: Option<String>,
    /// `apiKeyId`: names the key without giving it away.
    pub api_key_id: Option<String>,
    /// `scopes`
    pub scopes: Option<Vec<String>>,
    /// `rateLimitTier`, as the API writes it.
    pub tier: Option<String>,
    /// `killSwitch`
    pub kill_switch: Option<bool>,
    /// `apiAccessRevoked`
    pub access_revoked: Option<bool>,
    /// `creditBalance`
    pub credit_balance: Option<i64>,
}

/// `GET /v1/credits`; whole credits, rounded down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// `available`, else `balance` less `reservedCredits`.
    pub available: Option<i64>,
    /// `balance`
    pub balance: Option<i64>,
    /// `reservedCredits`
    pub reserved: Option<i64>,
    /// `usedThisPeriod`
    pub used_this_period: Option<i64>,
    /// `billingStatus`, as the API writes it.
    pub billing_status: Option<String>,
    /// `organizationId`
    pub organization_id: Option<String>,
    /// `estimatedCreditsPerFormat`
    pub per_format: BTreeMap<String, u64>,
}

/// Why a text is not the answer that was asked for: one clause.
type Unreadable = String;

/// Longest `nextCursor`: a server refuses a URL that is longer, and a walk remembers each.
const CURSOR_BYTES_MAX: usize = 8 * 1024;
/// Most containers that a start is taken to have made; the most that can be asked for are 5.
const CONTAINERS_MAX: usize = 100;
/// Most formats that have a price.
const PRICES_MAX: usize = 100;

fn object(text: &str) -> Result<Fields<'_>, Unreadable> {
    Fields::of(text).ok_or_else(|| "not a JSON object".to_owned())
}

fn lacks(field: &str) -> Unreadable {
    format!("without `{field}`")
}

/// Either 202 of a POST that starts generation. `asked` is the container that is regenerated.
pub(super) fn acceptance(text: &str, asked: Option<&str>) -> Result<Acceptance, Unreadable> {
    let fields = object(text)?;
    let job_id = fields.id("jobId").ok_or_else(|| lacks("jobId"))?;
    let mut container_ids = fields.container_ids();
    if container_ids.is_empty() {
        container_ids.push(asked.ok_or_else(|| lacks("containerIds"))?.to_owned());
    }
    if container_ids.len() > CONTAINERS_MAX {
        return Err(format!("with {} containers", container_ids.len()));
    }
    Ok(Acceptance { job_id, container_ids, format: fields.word("format") })
}

/// `GET /v1/jobs/:jobId`
pub(super) fn job(text: &str, asked: &str) -> Result<JobReading, Unreadable> {
    let fields = object(text)?;
    let mut container_ids = fields.object("result").map(|result| result.container_ids()).unwrap_or_default();
    container_ids.truncate(CONTAINERS_MAX);
    Ok(JobReading {
        job_id: fields.id("jobId").unwrap_or_else(|| asked.to_owned()),
        status: fields.status().ok_or_else(|| lacks("status"))?,
        stage: fields.word("stage"),
        finished_at: fields.time("finishedAt"),
        container_ids,
        error: fields.error("error"),
    })
}

/// `GET /v1/content/:containerId`
pub(super) fn container(text: &str, asked: &str) -> Result<ContainerReading, Unreadable> {
    let fields = object(text)?;
    Ok(ContainerReading {
        id: fields.id("id").or_else(|| fields.id("containerId")).unwrap_or_else(|| asked.to_owned()),
        status: fields.status().ok_or_else(|| lacks("status"))?,
        format: fields.word("format"),
        brief: fields.value("brief"),
        created_at: fields.time("createdAt"),
        updated_at: fields.time("updatedAt"),
        completed_at: fields.time("completedAt"),
        failed_at: fields.time("failedAt"),
        last_error: fields.error("lastError"),
        approval_status: fields.word("approvalStatus"),
        // The white space around a JSON text is not part of it.
        record: text.trim_ascii().to_owned(),
    })
}

/// `GET /v1/projects/:projectId/content`
pub(super) fn list(text: &str) -> Result<ListPage, Unreadable> {
    let fields = object(text)?;
    let items = fields.array("items").ok_or_else(|| lacks("items"))?;
    let items = items.into_iter().filter_map(|raw| listed(raw.get())).collect();
    let next_cursor = fields.read::<String>("nextCursor").filter(|cursor| !cursor.is_empty());
    if next_cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err("with a `nextCursor` that is too long for a URL".to_owned());
    }
    // A cursor that cannot be read must not look like the last page: absence from a whole sweep means something.
    if next_cursor.is_none() && !matches!(fields.raw("nextCursor"), None | Some("\"\"")) {
        return Err("with a `nextCursor` that is not text".to_owned());
    }
    Ok(ListPage { items, next_cursor })
}

fn listed(text: &str) -> Option<ListedContainer> {
    let fields = Fields::of(text)?;
    Some(ListedContainer {
        id: fields.id("id").or_else(|| fields.id("containerId"))?,
        status: fields.status().unwrap_or_else(|| ApiStatus::Running(String::new())),
        format: fields.word("format"),
        approval_status: fields.word("approvalStatus"),
        created_at: fields.time("createdAt"),
        completed_at: fields.time("completedAt"),
    })
}

/// `POST /v1/jobs/:jobId/cancel`
pub(super) fn cancel(text: &str) -> Result<CancelAnswer, Unreadable> {
    let fields = object(text)?;
    let accepted = fields.read("accepted").ok_or_else(|| lacks("accepted"))?;
    Ok(CancelAnswer { accepted, reason: fields.word("reason") })
}

/// `GET /v1/content/:containerId/progress`
pub(super) fn progress(text: &str) -> Result<Progress, Unreadable> {
    let fields = object(text)?;
    Ok(Progress {
        status: fields.status().ok_or_else(|| lacks("status"))?,
        stage: fields.word("stage"),
        stage_progress: fields.read("stageProgress"),
        eta_seconds: fields.read("etaSeconds"),
        updated_at: fields.time("updatedAt"),
    })
}

/// `GET /v1/whoami`
pub(super) fn whoami(text: &str) -> Result<Whoami, Unreadable> {
    let fields = object(text)?;
    Ok(Whoami {
        organization_id: fields.id("organizationId"),
        organization_name: fields.word("organizationName"),
        workspace_id: fields.id("workspaceId"),
        api_key_id: fields.id("apiKeyId"),
        scopes: fields.words("scopes"),
        tier: fields.word("rateLimitTier"),
        kill_switch: fields.read("killSwitch"),
        access_revoked: fields.read("apiAccessRevoked"),
        credit_balance: fields.credits("creditBalance"),
    })
}

/// `GET /v1/credits`
pub(super) fn credits(text: &str) -> Result<Credits, Unreadable> {
    let fields = object(text)?;
    let (balance, reserved) = (fields.credits("balance"), fields.credits("reservedCredits"));
    let left = || Some(balance?.saturating_sub(reserved?));
    let prices = fields.object("estimatedCreditsPerFormat");
    let price = |prices: &Fields<'_>, format: &str| u64::try_from(prices.credits(format)?).ok();
    let per_format = prices.map(|prices| {
        let names = prices.names().filter(|format| format.len() <= WORD_CHARS_MAX).take(PRICES_MAX);
        let formats = names.filter_map(|format| Some((format.clone(), price(&prices, format)?)));
        formats.collect()
    });
    Ok(Credits {
        available: fields.credits("available").or_else(left),
        balance,
        reserved,
        used_this_period: fields.credits("usedThisPeriod"),
        billing_status: fields.word("billingStatus"),
        organization_id: fields.id("organizationId"),
        per_format: per_format.unwrap_or_default(),
    })
}

/// The error envelope, if `text` is one. `retry_after` is left to the caller, who sees the headers.
pub(super) fn refusal(text: &str, status: u16) -> Option<Refusal> {
    let error = Fields::of(text)?.object("error")?;
    Some(Refusal {
        status,
        code: error.word("code")?,
        message: error.prose("message").unwrap_or_default(),
        request_id: error.id("requestId"),
        details: error.details(),
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::ApiError;

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in r#"\PC*|\{("(status|id|jobId|items|error|balance)":([-0-9e.]+|"\PC*"|null|\[\]|\{\}),?)*\}"#) {
            let readable = [
                acceptance(&text, Some("c")).is_ok(),
                job(&text, "j").is_ok(),
                container(&text, "c").is_ok(),
                list(&text).is_ok(),
                cancel(&text).is_ok(),
                progress(&text).is_ok(),
                whoami(&text).is_ok(),
                credits(&text).is_ok(),
                refusal(&text, 500).is_some(),
            ];
            let object = text.trim_start().starts_with('{');
            prop_assert!(object || readable == [false; 9]);
        }
    }

    #[test]
    fn both_shapes_of_an_acceptance_are_read() {
        let many = acceptance(r#"{"jobId":"job_1","containerIds":["a","b"],"format":"auto"}"#, None).unwrap();
        assert_eq!(many.container_ids, ["a", "b"]);
        assert_eq!(many.format.as_deref(), Some("auto"));
        let one = acceptance(r#"{"jobId":"job_1","stage":"queued","containerId":"a"}"#, None).unwrap();
        assert_eq!(one.container_ids, ["a"]);
        let both =
            acceptance(r#"{"jobId":"job_1","containerId":"b","containerIds":["a","b"]}"#, None).unwrap();
        assert_eq!(both.container_ids, ["a", "b"]);
        let again = acceptance(r#"{"jobId":"job_2"}"#, Some("a")).unwrap();
        assert_eq!(again.container_ids, ["a"]);
    }

    #[test]
    fn an_acceptance_without_its_ids_cannot_be_read() {
        for text in [
            r#"{"containerId":"a"}"#,
            r#"{"jobId":"job_1"}"#,
            r#"{"jobId":"","containerId":"a"}"#,
            r#"{"jobId":7,"containerId":"a"}"#,
            r#"{"jobId":"job_1","containerIds":[]}"#,
            r#"["job_1","a"]"#,
            r#"{"jobId":"job_1","containerIds":["a""#,
            "",
        ] {
            assert!(acceptance(text, None).is_err(), "{text}");
        }
        let long = format!(r#"{{"jobId":"{}","containerId":"a"}}"#, "j".repeat(513));
        assert!(acceptance(&long, None).is_err(), "nothing could be asked by it");
        let ids: Vec<String> = (0..101).map(|n| format!("\"{n}\"")).collect();
        let many = format!(r#"{{"jobId":"j","containerIds":[{}]}}"#, ids.join(","));
        assert_eq!(acceptance(&many, None).unwrap_err(), "with 101 containers");
    }

    #[test]
    fn a_record_keeps_its_bytes() {
        let record =
            r#"{ "b":1e400, "a":1.0, "status":"completed","big":99999999999999999999999,"u":"\/A", "a":2}"#;
        let reading = container(&format!("\n{record}\n"), "cnt_1").unwrap();
        assert_eq!(reading.record, record);
        assert_eq!(reading.status, ApiStatus::Completed);
        assert_eq!(reading.id, "cnt_1");
    }

    #[test]
    fn readings_tolerate_what_is_missing_odd_or_new() {
        let reading =
            container(r#"{"id":"c","status":"processing","createdAt":"yesterday","lastError":"boom"}"#, "x")
                .unwrap();
        assert_eq!(reading.status, ApiStatus::Running("processing".into()));
        assert_eq!((reading.id.as_str(), reading.created_at), ("c", None));
        assert_eq!(reading.last_error.unwrap(), ApiError { code: "UNKNOWN".into(), message: "boom".into() });
        let reading = job(r#"{"status":"thinking","result":null,"error":null}"#, "job_1").unwrap();
        assert_eq!(reading.status, ApiStatus::Running("thinking".into()));
        assert_eq!((reading.job_id.as_str(), reading.error), ("job_1", None));
        let reading = job(
            r#"{"jobId":"j","status":"completed","finishedAt":"2026-01-02T03:04:05Z","result":{"containerId":"c"}}"#,
            "j",
        );
        let reading = reading.unwrap();
        assert_eq!(reading.container_ids, ["c"]);
        assert_eq!(reading.finished_at.unwrap().to_string(), "2026-01-02T03:04:05Z");
        assert!(job(r#"{"jobId":"j"}"#, "j").is_err());
        assert!(container(r#"{"id":"c"}"#, "c").is_err());
    }

    #[test]
    fn a_page_without_a_readable_end_is_not_the_last_page() {
        let page = list(r#"{"items":[{"id":"a","status":"queued"},{"status":"queued"},7],"nextCursor":"n"}"#)
            .unwrap();
        assert_eq!(page.items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(page.next_cursor.as_deref(), Some("n"));
        for last in
            [r#"{"items":[]}"#, r#"{"items":[],"nextCursor":null}"#, r#"{"items":[],"nextCursor":""}"#]
        {
            assert_eq!(list(last).unwrap().next_cursor, None);
        }
        assert!(list(r#"{"items":[],"nextCursor":5}"#).is_err());
        assert!(list(r#"{"nextCursor":null}"#).is_err());
        let long = format!(r#"{{"items":[],"nextCursor":"{}"}}"#, "n".repeat(CURSOR_BYTES_MAX + 1));
        assert!(list(&long).is_err(), "no URL could hold it");
    }

    #[test]
    fn credits_come_from_what_is_there() {
        let all = credits(
            r#"{"balance":10.9,"available":7,"reservedCredits":3,"estimatedCreditsPerFormat":{"auto":120,"x":-1}}"#,
        );
        let expected = Credits {
            available: Some(7),
            balance: Some(10),
            reserved: Some(3),
            per_format: BTreeMap::from([("auto".into(), 120)]),
            ..Credits::default()
        };
        assert_eq!(all.unwrap(), expected);
        assert_eq!(credits(r#"{"balance":10,"reservedCredits":3}"#).unwrap().available, Some(7));
        assert_eq!(credits(r#"{"balance":10}"#).unwrap().available, None);
    }

    #[test]
    fn only_an_envelope_with_a_code_is_a_refusal() {
        let full = r#"{"error":{"code":"CONFLICT","message":"m","requestId":"r","details":{"subcode":"S"}}}"#;
        let full = refusal(full, 409).unwrap();
        assert_eq!(
            (full.code.as_str(), full.subcode(), full.request_id.as_deref()),
            ("CONFLICT", Some("S"), Some("r"))
        );
        assert!(refusal(r#"{"error":{"code":"X"}}"#, 400).is_some());
        for text in [
            "<html>",
            r#"{"error":"no"}"#,
            r#"{"error":{"message":"m"}}"#,
            r#"{"code":"X"}"#,
            r#"{"error":{"#,
        ] {
            assert!(refusal(text, 502).is_none(), "{text}");
        }
    }
}
