//! RabbitMQ: within reach, with what a worker needs, read by nobody else, and with a queue for every record.
//!
//! AMQP cannot list bindings, and publishing to find out is out of the question: a message that is routed is a message
//! that somebody gets. So bindings are told by the management API, or not at all; so are rights, but for the one to
//! publish, which the broker refuses before it routes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Checks, LIMIT, Scope};
use crate::broker::management::{Bound, Management, ManagementError, Rights, topic_matches};
use crate::broker::topology::{Finding, State, check as look};
use crate::broker::{Connection, Purpose, connect, forbidden};
use crate::config::{Amqp, Settings};
use crate::ledger::Reader;
use crate::record::{RecordType, routing_key};
use crate::wording::{counted, quoted};

/// How long saying goodbye to the broker may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Keys without a queue that are named.
const NAMED: usize = 5;
/// The record that is about no project.
const BATCH_FINISHED: &str = "batch.finished";

pub(super) async fn check(
    settings: &Settings,
    reader: Option<&Reader>,
    scope: &Scope,
    projects: &BTreeSet<String>,
) -> Checks {
    let mut checks = Checks::of("broker");
    if scope.without_broker {
        checks.unchecked("broker", "--without-broker");
        return checks;
    }
    let amqp = &settings.amqp;
    match connect(amqp, Purpose::Inspect).await {
        Err(error) => {
            checks.failed("broker", super::Mark::Bad, &error);
            checks.unchecked("topology", "the broker was not reached");
        }
        Ok(connection) => {
            checks.good("broker", format!("RabbitMQ at {} lets us in", amqp.address));
            let findings = tokio::time::timeout(LIMIT, look(&connection, amqp)).await;
            publishing(&mut checks, &connection, amqp).await;
            connection.close(CLOSE_LIMIT).await;
            match findings {
                Ok(findings) => {
                    for finding in &findings {
                        topology(&mut checks, finding, amqp.declare);
                    }
                    consumers(&mut checks, &findings, amqp, reader);
                }
                Err(_) => checks.bad(
                    "topology",
                    format!("the broker did not answer within {} s", LIMIT.as_secs()),
                    "is it under a memory or disk alarm, or overloaded?",
                ),
            }
        }
    }
    told_by_management(&mut checks, amqp, scope, projects).await;
    checks
}

/// What comes of it where the right is missing: everything for that exchange waits in the ledger.
async fn publishing(checks: &mut Checks, connection: &Connection, amqp: &Amqp) {
    for exchange in [&amqp.output.exchange, &amqp.dead_letter.exchange] {
        if let Some(why) = forbidden(connection, exchange).await {
            let says = format!("the user may not publish to exchange {}: {why}", quoted(exchange));
            checks.bad("rights", says, "grant it the write right (rabbitmqctl set_permissions)");
        }
    }
}

fn topology(checks: &mut Checks, finding: &Finding, declare: bool) {
    let Finding { object, setting, wanted, state, .. } = finding;
    match state {
        State::Same => checks.good("topology", format!("{object}: {wanted}")),
        State::Missing if declare => checks.warn(
            "topology",
            format!("{object} does not exist yet"),
            "briefd run makes it; now: briefd topology --declare",
        ),
        State::Missing => checks.bad(
            "topology",
            format!("{object} does not exist, and amqp.declare is false"),
            format!(
                "briefd topology --declare, or import briefd topology --definitions, or correct {setting}"
            ),
        ),
        State::Differs(difference) => checks.bad(
            "topology",
            format!("{object}: {difference}"),
            format!("delete it when it is empty and unused, or give {setting} a new name"),
        ),
        State::Exists(_) if declare => checks.bad(
            "topology",
            format!("{object} exists, but this user may not configure it, as amqp.declare = true needs"),
            "grant the configure right, or set amqp.declare = false",
        ),
        State::Exists(why) => checks.good("topology", format!("{object} exists ({why})")),
        State::Unknown(why) => checks.bad(
            "topology",
            format!("{object}: {why}"),
            format!("see whether {setting} and the user's rights are what they should be"),
        ),
    }
}

fn consumers(checks: &mut Checks, findings: &[Finding], amqp: &Amqp, reader: Option<&Reader>) {
    let depth = |setting: &str| findings.iter().find(|one| one.setting == setting).and_then(|one| one.depth);
    if let Some(input) = depth("amqp.input.queue") {
        let worker = reader.is_some_and(Reader::has_worker);
        let queue = quoted(&amqp.input.queue);
        let readers = format!(
            "{} queue {queue}",
            match input.consumers {
                1 => "1 consumer reads".to_owned(),
                n => format!("{n} consumers read"),
            }
        );
        let waiting = format!("{} there", counted(i64::from(input.messages), "message"));
        match (input.consumers, worker) {
            (0, true) => checks.warn(
                "consumers",
                format!("nobody reads queue {queue}, although somebody is at the ledger; {waiting}"),
                "curl the worker's /readyz: the broker's part may be down, or it is a briefd generate",
            ),
            (0, false) => checks.good("consumers", format!("nobody reads queue {queue}; {waiting}")),
            (1, true) => checks.good("consumers", format!("{readers}: the worker, as it seems; {waiting}")),
            (_, _) => checks.warn(
                "consumers",
                format!(
                    "{readers}, and {} is at this ledger",
                    if worker { "one worker" } else { "no worker" }
                ),
                "another program takes briefs away: find it in the broker's list of connections",
            ),
        }
    }
    if let Some(dead) = depth("amqp.dead_letter.queue") {
        match dead.messages {
            0 => checks.good("dead letters", "none wait"),
            n => checks.warn(
                "dead letters",
                format!(
                    "{} wait in queue {}",
                    counted(i64::from(n), "dead letter"),
                    quoted(&amqp.dead_letter.queue)
                ),
                "briefd dead-letters list says why",
            ),
        }
    }
}

async fn told_by_management(checks: &mut Checks, amqp: &Amqp, scope: &Scope, projects: &BTreeSet<String>) {
    let Some(base) = &scope.management else {
        let how = "AMQP cannot tell; name the management API: --management http://HOST:15672";
        checks.unchecked("bindings", how);
        return checks.unchecked("rights", how);
    };
    let Some(management) = Management::new(base, amqp) else {
        return checks.unchecked("bindings", "the address of the management API cannot be used");
    };
    match tokio::time::timeout(LIMIT, bindings(checks, &management, amqp, projects)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return checks.failed("bindings", super::Mark::Warning, &error),
        Err(_) => return checks.unchecked("bindings", "the management API does not answer in time"),
    }
    match tokio::time::timeout(LIMIT, management.rights()).await {
        Ok(Ok(Some(told))) => rights(checks, &told, amqp),
        Ok(Ok(None)) => checks.unchecked("rights", "only a user with the tag administrator may ask for them"),
        Ok(Err(error)) => checks.unchecked("rights", error.to_string()),
        Err(_) => checks.unchecked("rights", "the management API does not answer in time"),
    }
}

async fn bindings(
    checks: &mut Checks,
    management: &Management,
    amqp: &Amqp,
    projects: &BTreeSet<String>,
) -> Result<(), ManagementError> {
    let (input, dead) = (&amqp.input, &amqp.dead_letter);
    let mut direct = true;
    let bound = management.bindings_from(&input.exchange).await?;
    if !bound.iter().any(|one| one.destination == input.queue && one.routing_key == input.routing_key) {
        direct = false;
        let says = format!(
            "queue {} is not bound to exchange {} for {}: no brief arrives",
            quoted(&input.queue),
            quoted(&input.exchange),
            quoted(&input.routing_key)
        );
        checks.bad("bindings", says, "briefd run binds it; now: briefd topology --declare");
    }
    let bound = management.bindings_from(&dead.exchange).await?;
    if !bound.iter().any(|one| one.destination == dead.queue) {
        direct = false;
        let says = format!(
            "queue {} is not bound to exchange {}: dead letters cannot leave",
            quoted(&dead.queue),
            quoted(&dead.exchange)
        );
        checks.bad("bindings", says, "briefd run binds it; now: briefd topology --declare");
    }
    if direct {
        checks.good("bindings", "of the queues for briefs and for dead letters: there");
    }
    let bound = management.bindings_from(&amqp.output.exchange).await?;
    records(checks, &bound, amqp, projects);
    Ok(())
}

/// Whether each record finds a queue.
fn records(checks: &mut Checks, bound: &[Bound], amqp: &Amqp, projects: &BTreeSet<String>) {
    let keys = keys(amqp, projects);
    let nowhere: Vec<&String> =
        keys.iter().filter(|key| !bound.iter().any(|one| topic_matches(&one.routing_key, key))).collect();
    let exchange = quoted(&amqp.output.exchange);
    if nowhere.is_empty() {
        let through = bound.iter().any(|one| one.destination_type == "exchange");
        let through = if through { "; some through another exchange, which was not followed" } else { "" };
        let says =
            format!("exchange {exchange} has a queue for all {} kinds of records{through}", keys.len());
        return checks.good("bindings", says);
    }
    let named: Vec<&str> = nowhere.iter().take(NAMED).map(|key| key.as_str()).collect();
    let more = match nowhere.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let says = format!("no queue is bound on exchange {exchange} for {}{more}", named.join(", "));
    let mend = "bind the consumer's queue (# takes all); until then such records wait in the ledger";
    checks.bad("bindings", says, mend);
}

/// The routing keys of every kind of record that must find a queue.
fn keys(amqp: &Amqp, projects: &BTreeSet<String>) -> Vec<String> {
    let is_optional = |word: &str| amqp.output.optional.iter().any(|optional| optional == word);
    // Where no project is known yet, one that no consumer can have named.
    let any = BTreeSet::from(["any-project".to_owned()]);
    let projects = if projects.is_empty() { &any } else { projects };
    let mut keys: Vec<String> = RecordType::ALL
        .into_iter()
        .filter(|kind| !is_optional(kind.word()))
        .flat_map(|kind| projects.iter().map(move |project| routing_key(kind, project)))
        .collect();
    if !is_optional(BATCH_FINISHED) {
        keys.push(BATCH_FINISHED.to_owned());
    }
    keys
}

/// A right is a regular expression; only the two plain ones are judged here.
fn rights(checks: &mut Checks, told: &Rights, amqp: &Amqp) {
    let nothing = |pattern: &str| matches!(pattern, "" | "^$");
    if nothing(&told.write) {
        let says = format!("the user may not publish to exchange {}", quoted(&amqp.output.exchange));
        return checks.bad("rights", says, "grant it the write right (rabbitmqctl set_permissions)");
    }
    if nothing(&told.read) {
        let says = format!("the user may not read queue {}", quoted(&amqp.input.queue));
        return checks.bad("rights", says, "grant it the read right (rabbitmqctl set_permissions)");
    }
    checks.good("rights", format!("write {}, read {}", told.write, told.read));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Mark;

    fn bound(pattern: &str) -> Bound {
        Bound {
            destination: "q".to_owned(),
            destination_type: "queue".to_owned(),
            routing_key: pattern.to_owned(),
        }
    }

    fn judged(patterns: &[&str], projects: &[&str]) -> (Mark, String) {
        let mut checks = Checks::of("broker");
        let patterns: Vec<Bound> = patterns.iter().map(|pattern| bound(pattern)).collect();
        let projects = projects.iter().map(|project| (*project).to_owned()).collect();
        records(&mut checks, &patterns, &Settings::builtin().amqp, &projects);
        let check = checks.list.remove(0);
        (check.mark, check.says)
    }

    #[test]
    fn each_record_of_each_project_must_find_a_queue() {
        assert_eq!(judged(&["#"], &[]).0, Mark::Good);
        assert_eq!(judged(&["container.#", "brief.#"], &["a.b", "c"]).0, Mark::Good);
        let (mark, says) = judged(&["container.#"], &["a.b", "c"]);
        assert_eq!(mark, Mark::Bad);
        assert_eq!(says, "no queue is bound on exchange containers for brief.failed.a_b, brief.failed.c");
        let (mark, says) = judged(&["*.*.c"], &["a.b", "c"]);
        assert_eq!(mark, Mark::Bad);
        assert!(says.contains("container.completed.a_b"), "{says}");
        assert_eq!(judged(&["*.*.c", "brief.failed.c"], &["c"]).0, Mark::Good);
        assert_eq!(judged(&["container.*.c", "brief.failed.c"], &[]).0, Mark::Bad, "a project may come");
    }
}
