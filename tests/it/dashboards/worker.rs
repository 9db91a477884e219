//! For whoever keeps the worker running.

use super::panel::{Dashboard, GREEN, Panel, RED, Row, YELLOW};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "briefd-worker",
        title: "briefd: Worker",
        description: "For whoever is on call: does it run, does it move, what holds it, and what it stands on.",
        by_project: false,
        rows: vec![health(), stuck(), held(), api(), results(), records(), rabbitmq(), ledger(), process()],
    }
}

/// The name of a metric with the labels chosen above, and more.
fn of(metric: &str, labels: &str) -> String {
    let more = if labels.is_empty() { String::new() } else { format!(", {labels}") };
    format!(r#"{metric}{{instance=~"$instance"{more}}}"#)
}

fn health() -> Row {
    let last_step = of("briefd_stage_last_step_timestamp_seconds", "");
    let panels = vec![
        Panel::number("Up", "Whether Prometheus gets an answer. A restart is always safe.")
            .size(4, 4)
            .ask("{{instance}}", of("up", r#"job="briefd""#))
            .word("1", "up")
            .word("0", "DOWN")
            .from(0.0, RED)
            .from(1.0, GREEN)
            .runbook("BriefdDown"),
        Panel::number("Ready", "Both connections to RabbitMQ are up, and each stage has moved within a minute.")
            .size(4, 4)
            .ask("{{instance}}", format!("min by (instance) ({}) * on (instance) (time() - min by (instance) ({last_step}) < bool 60)", of("briefd_amqp_connected", "")))
            .word("1", "ready")
            .word("0", "NOT READY")
            .from(0.0, RED)
            .from(1.0, GREEN)
            .runbook("BriefdStuck"),
        Panel::number("Imbalance", "Must be 0: what came in and what went out, against what the ledger's rows say.")
            .size(4, 4)
            .ask("{{instance}}", of("briefd_ledger_imbalance", ""))
            .from(1.0, RED)
            .runbook("BriefdLedgerImbalance"),
        Panel::number("Unknown outcomes", "Jobs whose POST was never answered, over a minute ago. They are asked about; nothing is bought twice.")
            .size(4, 4)
            .ask("{{instance}}", of("briefd_outcome_unknown", ""))
            .from(1.0, YELLOW)
            .runbook("BriefdOutcomeUnknown"),
        Panel::number("Oldest record not sent", "How long the oldest result has waited to be published.")
            .size(4, 4)
            .unit("s")
            .ask("{{instance}}", of("briefd_outbox_oldest_seconds", ""))
            .from(60.0, YELLOW)
            .from(600.0, RED)
            .runbook("BriefdRecordsNotLeaving"),
        Panel::number("Alerts firing", "Of the rules in deploy/prometheus.")
            .size(4, 4)
            .ask("alerts", r#"count(ALERTS{alertname=~"Briefd.+", alertstate="firing", instance=~"$instance|"}) or vector(0)"#)
            .from(1.0, RED),
    ];
    Row { title: "Is it healthy?", panels }
}

fn stuck() -> Row {
    let panels = vec![
        Panel::lines("Due against started", "Jobs whose time has come, held ones too, and how many started a minute. Due without starts is stuck, unless something is held.")
            .size(8, 8)
            .ask("due", format!("sum({})", of("briefd_jobs_due", "")))
            .ask("starts a minute", format!("sum({})", of("briefd:starts:per_minute", "")))
            .runbook("BriefdStuck"),
        Panel::lines("Oldest job by state", "A line that only rises is a job that does not move, or that is held.")
            .size(8, 8)
            .unit("s")
            .ask("{{state}}", format!("max by (state) ({})", of("briefd_jobs_oldest_seconds", r#"state=~"ready|submitting|running""#)))
            .runbook("BriefdOverdueJobs"),
        Panel::lines("Since the last step, by stage", "Each stage takes a step every few seconds, also when there is nothing to do.")
            .size(8, 8)
            .unit("s")
            .ask("{{stage}}", format!("max by (stage) (time() - {})", of("briefd_stage_last_step_timestamp_seconds", "")))
            .from(60.0, YELLOW)
            .from(300.0, RED)
            .runbook("BriefdStuck"),
        Panel::areas("Jobs by state", "Those that are not over.")
            .ask("{{state}}", format!("sum by (state) ({})", of("briefd_jobs", r#"state=~"ready|submitting|running|parked""#)))
            .runbook("BriefdParkedJobs"),
        Panel::bars("Briefs received a minute", "By what became of the message: duplicates and republished ones cost nothing.")
            .ask("{{result}}", format!("sum by (result) (rate({}[$__rate_interval])) * 60 > 0", of("briefd_briefs_received_total", "")))
            .nothing("no messages"),
    ];
    Row { title: "Is it stuck?", panels }
}

fn held() -> Row {
    let panels = vec![
        Panel::table("Holds", "What must not start, and why. `briefd status` says what to do.")
            .size(8, 8)
            .ask("Holds", format!("sum by (instance, scope, reason) ({}) > 0", of("briefd_holds", "")))
            .nothing("nothing is held")
            .runbook("BriefdAccountHeld"),
        Panel::lines(
            "Share of requests left",
            "By class, of what the API allows in this window. At 0, requests of that class wait.",
        )
        .size(8, 8)
        .unit("percentunit")
        .ask(
            "{{class}}",
            format!(
                "min by (class) ({} / ({} > 0))",
                of("briefd_api_budget_remaining", ""),
                of("briefd_api_limit", "")
            ),
        )
        .nothing("no limits")
        .runbook("BriefdRateLimited"),
        Panel::lines(
            "Intake paused",
            "1: no messages are taken. `backlog` is by design; `ledger`: a commit takes over two seconds.",
        )
        .size(4, 8)
        .ask("{{reason}}", format!("max by (reason) ({})", of("briefd_intake_paused", "")))
        .runbook("BriefdIntakePaused"),
        Panel::bars("POSTs by outcome", "A minute. `unknown`: no answer came; `rate_limited`: told to wait.")
            .size(4, 8)
            .ask(
                "{{outcome}}",
                format!(
                    "sum by (outcome) (rate({}[$__rate_interval])) * 60 > 0",
                    of("briefd_submissions_total", "")
                ),
            )
            .nothing("no POSTs")
            .runbook("BriefdOutcomeUnknown"),
    ];
    Row { title: "Is it held or limited?", panels }
}

fn api() -> Row {
    let slow = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (endpoint, le) (rate({}[5m]))) >= 0",
            of("briefd_api_request_seconds_bucket", "")
        )
    };
    let panels = vec![
        Panel::bars("Requests a minute", "By endpoint.")
            .size(8, 8)
            .ask("{{endpoint}}", format!("sum by (endpoint) (rate({}[$__rate_interval])) * 60 > 0", of("briefd_api_requests_total", "")))
            .nothing("no requests"),
        Panel::bars("Answers that are no success, a minute", "By HTTP status, or timeout, connect, reset, unreadable. A 429 means that somebody else uses the key, or that the tier is wrong.")
            .size(8, 8)
            .ask("{{endpoint}} {{status}}", format!("sum by (endpoint, status) (rate({}[$__rate_interval])) * 60 > 0", of("briefd_api_requests_total", r#"status!~"2..""#)))
            .nothing("all succeed")
            .runbook("BriefdRateLimited"),
        Panel::lines("Request time, 19 of 20", "By endpoint.")
            .size(5, 8)
            .unit("s")
            .ask("{{endpoint}}", slow("0.95")),
        Panel::lines("Clock skew", "Our clock less the API's. More than some seconds: look at NTP.")
            .size(3, 8)
            .unit("s")
            .ask("{{instance}}", of("briefd_clock_skew_seconds", "")),
    ];
    Row { title: "Layers API", panels }
}

fn results() -> Row {
    let panels = vec![
        Panel::lines("From the end at the API to the record", "Half of the results, and nineteen of twenty, are known and published within this time.")
            .unit("s")
            .size(10, 8)
            .ask("half", format!("max({} >= 0)", of("briefd:detection_lag_seconds:p50_15m", "")))
            .ask("19 of 20", format!("max({} >= 0)", of("briefd:detection_lag_seconds:p95_15m", "")))
            .from(60.0, RED)
            .runbook("BriefdSlowResults"),
        Panel::lines("Overdue jobs", "They run for much longer than usual. They are followed.")
            .size(7, 8)
            .ask("{{instance}}", of("briefd_jobs_overdue", ""))
            .runbook("BriefdOverdueJobs"),
        Panel::number("Key window", "How long the first job of unknown outcome may still be asked about under its key; then a person must decide.")
            .size(7, 8)
            .unit("s")
            .ask("{{instance}}", of("briefd_key_window_seconds", ""))
            .word("Infinity", "nothing is unknown")
            .from(0.0, RED)
            .from(21_600.0, GREEN)
            .runbook("BriefdOutcomeUnknown"),
    ];
    Row { title: "Are results found in time?", panels }
}

fn records() -> Row {
    let panels = vec![
        Panel::lines(
            "Records that wait to leave",
            "Pending ones are sent as RabbitMQ confirms. Parked ones can never be sent as they are.",
        )
        .size(8, 8)
        .ask("pending", format!("sum({})", of("briefd_outbox_pending", "")))
        .ask("parked", format!("sum({})", of("briefd_outbox_parked", "")))
        .runbook("BriefdRecordsNotLeaving"),
        Panel::bars("Records published a minute", "By type.")
            .size(8, 8)
            .ask(
                "{{type}}",
                format!(
                    "sum by (type) (rate({}[$__rate_interval])) * 60 > 0",
                    of("briefd_records_published_total", "")
                ),
            )
            .nothing("no records"),
        Panel::bars("Records that no queue took", "By type. They are kept and tried again.")
            .size(5, 8)
            .ask(
                "{{type}}",
                format!("sum by (type) (increase({}[10m])) > 0", of("briefd_unroutable_total", "")),
            )
            .nothing("all were taken")
            .runbook("BriefdUnroutable"),
        Panel::number(
            "Acknowledgements lost",
            "In this range. Those messages come again and are recognised: a nuisance, no harm.",
        )
        .size(3, 8)
        .ask("lost", format!("round(sum(increase({}[$__range])))", of("briefd_ack_lost_total", ""))),
    ];
    Row { title: "Do records leave?", panels }
}

fn rabbitmq() -> Row {
    let panels = vec![
        Panel::lines(
            "Messages in our queues",
            "`input` is what waits for us; `dead_letter` what was set aside.",
        )
        .size(8, 8)
        .ask("{{queue}}", format!("max by (queue) ({})", of("briefd_queue_messages", "")))
        .runbook("BriefdDeadLetters"),
        Panel::bars("Messages set aside", "Within an hour, by reason.")
            .size(6, 8)
            .ask(
                "{{reason}}",
                format!("sum by (reason) (increase({}[1h])) > 0", of("briefd_dead_lettered_total", "")),
            )
            .nothing("none")
            .runbook("BriefdDeadLetters"),
        Panel::lines("Reconnects in 15 minutes", "Connections and channels that were built again.")
            .size(5, 8)
            .ask("{{instance}}", format!("increase({}[15m])", of("briefd_amqp_reconnects_total", "")))
            .from(5.0, RED)
            .runbook("BriefdBrokerFlapping"),
        Panel::lines("Connected", "1: up.")
            .size(5, 8)
            .ask("{{connection}}", format!("min by (connection) ({})", of("briefd_amqp_connected", "")))
            .runbook("BriefdBrokerFlapping"),
    ];
    Row { title: "RabbitMQ", panels }
}

fn ledger() -> Row {
    let bucket = of("briefd_ledger_commit_seconds_bucket", "");
    let panels = vec![
        Panel::heat("Commits", "How long they take. More than a tenth of a second is a slow disk.")
            .size(8, 8)
            .unit("s")
            .ask("{{le}}", format!("sum by (le) (increase({bucket}[$__rate_interval]))"))
            .runbook("BriefdStuck"),
        Panel::lines(
            "Commits a second, and writes in each",
            "The more there is to do, the more one commit carries.",
        )
        .size(6, 8)
        .ask(
            "commits a second",
            format!("sum(rate({}[$__rate_interval]))", of("briefd_ledger_commit_seconds_count", "")),
        )
        .ask(
            "writes in each",
            format!(
                "sum(rate({}[$__rate_interval])) / (sum(rate({}[$__rate_interval])) > 0)",
                of("briefd_ledger_commit_rows_sum", ""),
                of("briefd_ledger_commit_rows_count", "")
            ),
        ),
        Panel::lines("Size of the ledger", "The file, and its write-ahead log.")
            .size(6, 8)
            .unit("bytes")
            .ask("file", format!("sum({})", of("briefd_ledger_bytes", "")))
            .ask("write-ahead log", format!("sum({})", of("briefd_ledger_wal_bytes", ""))),
        Panel::number("Free on its disk", "At 0 nothing more is taken or started; nothing is lost.")
            .size(4, 8)
            .unit("bytes")
            .ask("{{instance}}", of("briefd_disk_free_bytes", ""))
            .from(0.0, RED)
            .from(1_073_741_824.0, YELLOW)
            .from(5_368_709_120.0, GREEN)
            .runbook("BriefdDiskFull"),
    ];
    Row { title: "Ledger and disk", panels }
}

fn process() -> Row {
    let panels = vec![
        Panel::lines("CPU", "Cores in use.").size(6, 8).ask(
            "{{instance}}",
            format!("rate({}[$__rate_interval])", of("process_cpu_seconds_total", r#"job="briefd""#)),
        ),
        Panel::lines("Memory", "Resident.")
            .size(6, 8)
            .unit("bytes")
            .ask("{{instance}}", of("process_resident_memory_bytes", r#"job="briefd""#)),
        Panel::lines("Open files and threads", "Files include sockets.")
            .size(5, 8)
            .ask("files", of("process_open_fds", r#"job="briefd""#))
            .ask("threads", of("process_threads", r#"job="briefd""#)),
        Panel::number("Running for", "Since its last start.")
            .size(3, 8)
            .unit("s")
            .ask("{{instance}}", format!("time() - {}", of("process_start_time_seconds", r#"job="briefd""#))),
        Panel::table("Build", "What runs.")
            .size(4, 8)
            .ask("Workers", format!("count by (version, revision) ({})", of("briefd_build_info", ""))),
    ];
    Row { title: "Process", panels }
}
