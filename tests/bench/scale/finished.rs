//! Many briefs that are finished: how fast new ones pass, and what each takes on the disk.

use super::support::copies::multiply;
use super::{Line, folder, worker};

/// Passes `count` briefs through an empty ledger, then through one with `finished` finished ones.
pub async fn measure(url: &str, count: usize, finished: usize) -> (Vec<Line>, Vec<String>) {
    // Whole copies of what has passed first.
    let finished = (finished / count).max(1) * count;
    eprintln!("{count} briefs and an empty ledger …");
    let dir = folder();
    let empty = worker::measure(url, count, dir.path()).await;
    let ledger = dir.path().join("briefd.db");
    let bytes = std::fs::metadata(&ledger).expect("there is a ledger").len();
    let each = bytes / u64::try_from(count).expect("a count");
    eprintln!("copying them until there are {finished} …");
    multiply(&ledger, finished / count).await;
    eprintln!("{count} briefs and {finished} finished ones …");
    // The copies have other ids; so must these.
    let full = worker::measure_from(url, (finished, count), dir.path()).await;
    let ratio = full.rate.per_second() / empty.rate.per_second();
    let mut violations = empty.violations;
    violations.extend(full.violations);
    let lines = vec![
        ("ledger, of a finished one-variant brief".to_owned(), format!("{each} B"), "≤ 6,144 B"),
        ("briefs a second, empty ledger".to_owned(), format!("{:.0}", empty.rate.per_second()), ""),
        (format!("the same with {finished} finished"), format!("{:.0}", full.rate.per_second()), ""),
        ("ratio".to_owned(), format!("{ratio:.2}"), "≥ 0.9"),
    ];
    (lines, violations)
}
