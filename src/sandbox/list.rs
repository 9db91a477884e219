//! `GET /v1/projects/:project/content`: newest first, filtered, in pages.

use jiff::Timestamp;
use serde_json::json;
use url::form_urlencoded;

use super::errors::Refusal;
use super::format::Format;
use super::options::Revision;
use super::records;
use super::reply::Reply;
use super::routes::Visit;
use super::state::World;
use super::time::seconds_ms;

const STATUSES: [&str; 5] = ["queued", "generating", "completed", "failed", "canceled"];

/// What was asked for.
#[derive(Debug)]
struct Filter {
    statuses: Vec<String>,
    formats: Vec<String>,
    since_ms: i64,
    until_ms: i64,
    limit: usize,
    /// How many of the project's containers, counted from the oldest, are still to be looked at.
    left: usize,
}

/// One page.
pub(super) fn list(world: &World, visit: &Visit<'_>, project: &str) -> Result<Reply, Refusal> {
    let filter = Filter::read(visit.query, visit.options.revision)?;
    if !visit.options.projects.is_empty() && !visit.options.projects.iter().any(|known| known == project) {
        return Err(Refusal::not_found("project", project));
    }
    // A list that lags shows the world as it was.
    let seen_ms = visit.now_ms.saturating_sub(seconds_ms(visit.options.list_lag_seconds));
    let project = world.organizations[visit.organization].projects.get(project);
    let containers = project.map_or(&[] as &[usize], |project| project.containers.as_slice());
    let mut left = filter.left.min(containers.len());
    let mut items = Vec::new();
    while left > 0 && items.len() < filter.limit {
        let index = containers[left - 1];
        // They are in the order of their creation, so nothing older can fit.
        if world.containers[index].created_ms < filter.since_ms {
            left = 0;
            break;
        }
        left -= 1;
        if world.containers[index].created_ms > filter.until_ms.min(seen_ms) {
            continue;
        }
        if let Some(view) = world.view(index, seen_ms)
            && filter.fits(view.status(visit.options.revision), view.container.format.name())
        {
            items.push(records::item(&view, visit.options));
        }
    }
    let next_cursor = (left > 0).then(|| format!("cur_{left:x}"));
    Ok(Reply::json(200, json!({ "items": items, "nextCursor": next_cursor }).to_string()))
}

impl Filter {
    fn read(query: &str, revision: Revision) -> Result<Self, Refusal> {
        let mut filter = Self {
            statuses: Vec::new(),
            formats: Vec::new(),
            since_ms: i64::MIN,
            until_ms: i64::MAX,
            limit: 25,
            left: usize::MAX,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                // B calls a running container by either name.
                "status" if revision == Revision::B && matches!(&*value, "generating" | "processing") => {
                    filter.statuses.push("processing".to_owned());
                }
                "status" if STATUSES.contains(&&*value) => filter.statuses.push(value.into_owned()),
                "status" => return Err(Refusal::invalid("status", "is none of the known ones")),
                "format" if Format::named(&value).is_some() => filter.formats.push(value.into_owned()),
                "format" => return Err(Refusal::invalid("format", "is none of the known ones")),
                "since" => filter.since_ms = instant("since", &value)?,
                "until" => filter.until_ms = instant("until", &value)?,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=200).contains(limit));
                    filter.limit =
                        limit.ok_or_else(|| Refusal::invalid("limit", "must be between 1 and 200"))?;
                }
                "cursor" => {
                    let left =
                        value.strip_prefix("cur_").and_then(|left| usize::from_str_radix(left, 16).ok());
                    filter.left = left.ok_or_else(|| Refusal::invalid("cursor", "is not one of ours"))?;
                }
                _ => {}
            }
        }
        Ok(filter)
    }

    fn fits(&self, status: &str, format: &str) -> bool {
        let among = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|it| it == value);
        among(&self.statuses, status) && among(&self.formats, format)
    }
}

fn instant(name: &str, value: &str) -> Result<i64, Refusal> {
    let parsed = value.parse::<Timestamp>().map(Timestamp::as_millisecond);
    parsed.map_err(|_| Refusal::invalid(name, "must be an ISO 8601 instant"))
}
