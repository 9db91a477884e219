//! For whoever runs campaigns and pays for them.

use briefd::record::REMEDIES;
use briefd::record::Remedy;
use briefd::telemetry::HOLD_REASONS;

use super::panel::{Dashboard, GREEN, Panel, RED, Row, YELLOW};

const OPEN: &str = r#"briefd_briefs{instance=~"$instance", project=~"$project", state=~"scheduled|waiting|held|submitting|running|parked"}"#;
const ENDED: &str = r#"briefd_briefs{instance=~"$instance", project=~"$project", state=~"completed|partial|failed|canceled"}"#;
const COMPLETED: &str = r#"briefd_briefs{instance=~"$instance", project=~"$project", state="completed"}"#;
const FAILURES: &str = r#"briefd_failures_total{instance=~"$instance", project=~"$project"}"#;
const CREDITS: &str = r#"briefd_credits_estimated_total{instance=~"$instance", project=~"$project"}"#;

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "briefd-campaigns",
        title: "briefd: Campaigns",
        description: "For whoever runs campaigns: is anything stopped, how far are we, what fails and what helps, what does it cost.",
        by_project: true,
        rows: vec![stopped(), progress(), over_time(), failures(), clients(), durations(), credits()],
    }
}

fn stopped() -> Row {
    let mut why = Panel::table(
        "What is stopped, and what helps",
        "One line for each kind of hold. Briefs behind a hold wait; none of them fails, and nothing is paid for them.",
    )
    .size(12, 4)
    .ask("Holds", r#"sum by (scope, reason) (briefd_holds{instance=~"$instance"}) > 0"#)
    .nothing("nothing is stopped")
    .runbook("BriefdAccountHeld");
    for reason in HOLD_REASONS {
        why = why.word(reason, hold_in_words(reason));
    }
    let panels = vec![
        Panel::number("Holds in force", "0: everything may start.")
            .size(4, 4)
            .ask("holds", r#"sum(briefd_holds{instance=~"$instance"})"#)
            .word("0", "none")
            .from(1.0, RED)
            .runbook("BriefdProjectHeld"),
        Panel::number(
            "Briefs held back",
            "They wait behind a hold and go on by themselves once it is lifted.",
        )
        .size(4, 4)
        .ask("held", r#"sum(briefd_briefs{instance=~"$instance", project=~"$project", state="held"})"#)
        .from(1.0, YELLOW)
        .runbook("BriefdProjectHeld"),
        Panel::number(
            "Wait for a person",
            "It cannot be found out whether these were bought: somebody has to decide.",
        )
        .size(4, 4)
        .ask("parked", r#"sum(briefd_briefs{instance=~"$instance", project=~"$project", state="parked"})"#)
        .from(1.0, RED)
        .runbook("BriefdParkedJobs"),
        why,
    ];
    Row { title: "Is anything stopped?", panels }
}

/// What a reason of a hold means for people; a test knows that each has words.
pub fn hold_in_words(reason: &str) -> &'static str {
    match reason {
        "UNAUTHENTICATED" => "The API key is not accepted: put a valid one into the key file",
        "FORBIDDEN_SCOPE" => "The API key lacks a scope: the account's owner has to add it",
        "KILL_SWITCH" => "Layers has switched the account off: its owner has to talk to Layers",
        "BILLING_EXHAUSTED" => "No credits left: add credits",
        "OTHER_ORGANIZATION" => "The API key belongs to another organization: use the right one",
        "API_DOWN" => "Layers does not answer: wait",
        "OPERATOR" => "Held by hand: briefd release",
        "OTHER" => "Many refusals in a row: briefd status names the mistake",
        _ => "",
    }
}

fn progress() -> Row {
    let panels = vec![
        Panel::number("Open now", "Briefs that are not through: scheduled, waiting, held, running or waiting for a person.")
            .ask("open", format!("sum({OPEN})")),
        Panel::number("Time until empty", "What is open, at the pace of the last half hour. Nothing while nothing ends.")
            .ask("left", format!("sum({OPEN}) / (sum(clamp_min(deriv({ENDED}[30m]), 0)) > 0)"))
            .unit("s")
            .nothing("nothing ends"),
        Panel::number("Ended in this range", "Briefs that completed, failed in part or whole, or were canceled within the range chosen above.")
            .ask("ended", format!("round(sum(clamp_min(delta({ENDED}[$__range]), 0)))")),
        Panel::number("Completed, of what ended", "The share of those that brought everything they asked for.")
            .ask("completed", format!("sum(clamp_min(delta({COMPLETED}[$__range]), 0)) / (sum(clamp_min(delta({ENDED}[$__range]), 0)) > 0)"))
            .unit("percentunit")
            .from(0.0, RED)
            .from(0.8, YELLOW)
            .from(0.95, GREEN)
            .nothing("nothing ended")
            .runbook("BriefdFailureShare"),
    ];
    Row { title: "How far are we?", panels }
}

fn over_time() -> Row {
    let panels = vec![
        Panel::areas(
            "Open briefs",
            "By what they are doing. Scheduled ones wait for their time, waiting ones for a start.",
        )
        .ask("{{state}}", format!("sum by (state) ({OPEN})")),
        Panel::bars(
            "Briefs ended an hour",
            "By how they ended; partial: some of the containers asked for failed.",
        )
        .ask("{{state}}", format!("sum by (state) (clamp_min(delta({ENDED}[15m]), 0)) * 4"))
        .nothing("nothing ended"),
    ];
    Row { title: "Briefs over time", panels }
}

fn failures() -> Row {
    let mut table = Panel::table(
        "Why things fail, and what helps",
        "One failure a container, or a brief that made none, within the range. `rerun`: run it again as it is (`briefd rerun`); `change`: as it is, it would be refused again.",
    )
    .ask("Failures", format!("sort_desc(round(sum by (code, source) (increase({FAILURES}[$__range]))) > 0)"))
    .nothing("nothing failed")
    .runbook("BriefdFailureShare");
    for row in REMEDIES {
        if table.words.iter().any(|(code, _)| code == row.code) {
            continue;
        }
        let helps = match row.remedy {
            Remedy::Rerun => "rerun",
            Remedy::Change => "change",
            Remedy::None => "nothing helps",
        };
        table = table.word(row.code, format!("{}: {} ({helps})", row.code, row.meaning));
    }
    table = table.word("other", "other: a code of the API that is new (rerun)");
    let panels = vec![
        table.size(14, 8),
        Panel::bars("Failures over time", "By code.")
            .size(10, 8)
            .ask("{{code}}", format!("sum by (code) (increase({FAILURES}[15m])) > 0"))
            .nothing("nothing failed")
            .runbook("BriefdFailureShare"),
    ];
    Row { title: "Why do things fail, and what helps?", panels }
}

fn clients() -> Row {
    let by_project = |what: &str| format!("sum by (project) ({what})");
    let ended = |state: &str| {
        by_project(&format!(
            r#"clamp_min(delta(briefd_briefs{{instance=~"$instance", project=~"$project", state=~"{state}"}}[$__range]), 0)"#
        ))
    };
    let panels = vec![
        Panel::table(
            "Clients",
            "By alias of [projects]; what has none is `other`. All but `Open now` within the range.",
        )
        .ask("Open now", by_project(OPEN))
        .ask("Completed", format!("round({})", ended("completed")))
        .ask("Failed or in part", format!("round({})", ended("failed|partial")))
        .ask("Canceled", format!("round({})", ended("canceled")))
        .ask(
            "Credits (estimate)",
            format!("round({})", by_project(&format!("increase({CREDITS}[$__range])"))),
        )
        .size(14, 8),
        Panel::gauge("Open by client", "Whose briefs are being worked on now.")
            .size(10, 8)
            .ask("{{project}}", by_project(OPEN)),
    ];
    Row { title: "By client", panels }
}

fn durations() -> Row {
    let quantile = |share: &str| {
        format!(
            r#"histogram_quantile({share}, sum by (format, le) (rate(briefd_generation_seconds_bucket{{instance=~"$instance"}}[1h]))) >= 0"#
        )
    };
    let panels = vec![
        Panel::heat("Wait for a start", "From the message to the API's yes. The darker, the more briefs waited that long.")
            .size(8, 8)
            .unit("s")
            .ask("{{le}}", r#"sum by (le) (increase(briefd_queue_wait_seconds_bucket{instance=~"$instance"}[$__rate_interval]))"#),
        Panel::lines("Generation by format", "From the API's yes to the end: half of them, and nineteen of twenty, are faster.")
            .size(10, 8)
            .unit("s")
            .ask("{{format}}, half", quantile("0.5"))
            .ask("{{format}}, 19 of 20", quantile("0.95"))
            .runbook("BriefdOverdueJobs"),
        Panel::gauge("Containers ended, by format", "Within the range.")
            .size(6, 8)
            .ask("{{format}} {{status}}", r#"round(sum by (format, status) (increase(briefd_containers_total{instance=~"$instance"}[$__range]))) > 0"#),
    ];
    Row { title: "How long does it take?", panels }
}

fn credits() -> Row {
    let panels = vec![
        Panel::number("Credits available", "As the API says; one number for the whole account.")
            .size(4, 4)
            .ask("credits", r#"max(briefd_credits_available{instance=~"$instance"} >= 0)"#)
            .nothing("not known")
            .runbook("BriefdCreditsEndSoon"),
        Panel::number("Credits last for", "At the pace of the last hour.")
            .size(4, 4)
            .ask("left", r#"min(briefd:credits_left:hours{instance=~"$instance"})"#)
            .unit("h")
            .from(0.0, RED)
            .from(8.0, YELLOW)
            .from(24.0, GREEN)
            .nothing("nothing is spent")
            .runbook("BriefdCreditsEndSoon"),
        Panel::number("Credits an hour, now", "An estimate from layers.prices; the bill is the API's.")
            .size(4, 4)
            .ask("credits", r#"sum(briefd:credits_spent:rate_1h{instance=~"$instance"})"#),
        Panel::number("Starts a minute", "What the API accepted, over the last five minutes.")
            .size(4, 4)
            .ask("starts", r#"sum(briefd:starts:per_minute{instance=~"$instance"})"#),
        Panel::number("Allowed a minute", "The API's limit; 0: no limit. More than that has to wait.")
            .size(4, 4)
            .ask("limit", r#"max(briefd_api_limit{instance=~"$instance", class="start"})"#)
            .word("0", "no limit"),
        Panel::number("Starts refused, in this range", "By what is wrong with the brief. Those that were told to wait are not among them.")
            .size(4, 4)
            .ask("refused", r#"round(sum(increase(briefd_submissions_total{instance=~"$instance", outcome="refused"}[$__range])))"#)
            .from(1.0, YELLOW)
            .runbook("BriefdFailureShare"),
        Panel::areas("Credits an hour, by client", "An estimate from layers.prices, over the last hour.")
            .ask("{{project}}", format!("sum by (project) (rate({CREDITS}[1h])) * 3600")),
        Panel::lines("Starts against the limit", "At the limit, more briefs only wait longer: Layers can raise the tier.")
            .ask("starts a minute", r#"sum(briefd:starts:per_minute{instance=~"$instance"})"#)
            .ask("allowed a minute", r#"max(briefd_api_limit{instance=~"$instance", class="start"})"#)
            .runbook("BriefdRateLimited"),
    ];
    Row { title: "What does it cost, and how fast may we go?", panels }
}
