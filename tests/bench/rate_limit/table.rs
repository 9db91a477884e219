//! The table: each figure of briefd beside its target, and the poll loop below it.

use super::measure::Row;
use super::world::Client;

const HEAD: [&str; 8] = ["load", "client", "÷ ideal", "lag p50", "lag p95", "lag p99", "429", "reads"];

/// At most 100 columns. `1.02 ≤ 1.03` has reached its target, `1.21 > 1.03` has not.
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for (index, row) in rows.iter().enumerate() {
        let repeats = index > 0 && rows[index - 1].load.name() == row.load.name();
        lines.push(cells(row, repeats));
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        text +=
            &line.iter().zip(&widths).map(|(cell, width)| format!("| {cell:<width$} ")).collect::<String>();
        text += "|\n";
        if index == 0 {
            text += &widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect::<String>();
            text += "|\n";
        }
    }
    format!("{text}\n{}\n", legend())
}

fn cells(row: &Row, repeats: bool) -> [String; 8] {
    let targets = row.load.targets();
    let figure = |value: f64, target: f64, digits: usize| match row.client {
        Client::PollLoop => shown(value, digits),
        Client::Briefd => {
            let shown = shown(value, digits);
            // As it is printed: 1.0301 is not above 1.03 to anyone who reads the table.
            let holds = shown.parse::<f64>().is_ok_and(|shown| shown <= target);
            format!("{shown} {} {target}", if holds { "≤" } else { ">" })
        }
    };
    let [p50, p95, p99] = targets.lag_seconds;
    [
        if repeats { String::new() } else { row.load.name() },
        row.client.name().to_owned(),
        figure(row.makespan_over_ideal(), targets.makespan_over_ideal, 2),
        figure(row.lag.p50, p50, 1),
        figure(row.lag.p95, p95, 1),
        figure(row.lag.p99, p99, 1),
        figure(row.rate_limited, targets.rate_limited, 0),
        figure(row.reads_per_container, targets.reads_per_container, 1),
    ]
}

fn shown(value: f64, digits: usize) -> String {
    let digits = if value >= 100.0 { 0 } else { digits };
    format!("{value:.digits$}")
}

fn legend() -> &'static str {
    "Load: tier, briefs x variants. A job generates 30 to 180 API seconds, with 5000 briefs 1080 to 1200.\n\
     ÷ ideal: from the first brief sent to the last record received, over the same had every job started\n\
     as early as the limit allows and every record come the moment its job ended.\n\
     Lag: API seconds from ended at the API to the record's arrival at a consumer of the output queue.\n\
     Reads: answered GETs for each container, sweeps included; refused ones are among the 429s.\n\
     The poll loop is not run with 5000 jobs: it would ask for 29,000 reads a minute of 6,000."
}
