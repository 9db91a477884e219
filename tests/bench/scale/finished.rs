//! Many briefs that are finished: how fast new ones pass, and what each takes on the disk.

use tempfile::TempDir;

use super::support::copies::{free, multiply};
use super::support::node::Node;
use super::worker::{self, Measured};
use super::{Line, Rate, folder};

/// Passes `count` briefs through an empty ledger, then through one with `finished` finished ones, and both again: a machine
/// is not equally fast all the time.
pub async fn measure(node: &Node, count: usize, finished: usize) -> (Vec<Line>, Vec<String>) {
    // Whole copies of what has passed first.
    let finished = (finished / count).max(1) * count;
    eprintln!("{count} briefs and an empty ledger …");
    let (dir, again) = (folder(), folder());
    let empty = passed(node, (0, count), &dir).await;
    let ledger = dir.path().join("briefd.db");
    let bytes = std::fs::metadata(&ledger).expect("there is a ledger").len();
    let each = bytes / u64::try_from(count).expect("a count");
    eprintln!("copying them until there are {finished} …");
    multiply(&ledger, finished / count).await;
    eprintln!("{count} briefs and {finished} finished ones …");
    // The copies have other ids; so must these.
    let full = passed(node, (finished, count), &dir).await;
    eprintln!("both again …");
    let empty_again = passed(node, (0, count), &again).await;
    let full_again = passed(node, (finished + count, count), &dir).await;
    let rate = |runs: [&Measured; 2]| Rate::of_all(&runs.map(|run| run.rate)).per_second();
    let (of_empty, of_full) = (rate([&empty, &empty_again]), rate([&full, &full_again]));
    let ratio = of_full / of_empty;
    let violations = [empty, full, empty_again, full_again].map(|one| one.violations).concat();
    let lines = vec![
        ("ledger, of a finished one-variant brief".to_owned(), format!("{each} B"), "≤ 6,144 B"),
        ("briefs a second, empty ledger".to_owned(), format!("{of_empty:.0}"), ""),
        (format!("the same with {finished} finished"), format!("{of_full:.0}"), ""),
        ("ratio".to_owned(), format!("{ratio:.2}"), "≥ 0.9"),
    ];
    (lines, violations)
}

/// Once the disk has what was written before: five gigabytes of copies would else be on their way while it is measured.
async fn passed(node: &Node, briefs: (usize, usize), dir: &TempDir) -> Measured {
    let ledger = dir.path().join("briefd.db");
    if ledger.exists() {
        free(&ledger).await;
    }
    rustix::fs::sync();
    let measured = worker::measure_from(node, briefs, dir.path()).await;
    eprintln!("  {:.0} a second", measured.rate.per_second());
    measured
}
