//! Dashboards for Grafana: made by the code here, kept in `deploy/grafana/dashboards`, and shown to be true by a real
//! Prometheus that scrapes a real worker ([`live`]).

mod campaigns;
mod grafana;
mod live;
mod panel;
mod runbook;
mod worker;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use briefd::telemetry::HOLD_REASONS;
use serde_json::Value;

use self::panel::Dashboard;

/// Set to anything, the files are written anew instead of compared.
const WRITE: &str = "BRIEFD_WRITE_DASHBOARDS";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn book() -> Vec<runbook::Entry> {
    runbook::entries(&std::fs::read_to_string(deploy().join("RUNBOOK.md")).unwrap())
}

fn dashboards() -> [Dashboard; 2] {
    [campaigns::dashboard(), worker::dashboard()]
}

#[test]
fn the_dashboards_are_what_their_code_says() {
    let book = book();
    let of_panels = dashboards().map(|of| (of.uid, grafana::dashboard(&of, &book)));
    let all = of_panels.into_iter().chain([(grafana::RUNBOOK_UID, runbook::dashboard(&book))]);
    for (uid, dashboard) in all {
        let path = deploy().join(format!("grafana/dashboards/{uid}.json"));
        let text = grafana::text(&dashboard);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{} is not what its code says: run this with {WRITE}=1", path.display());
    }
}

#[test]
fn each_panel_has_a_title_of_its_own_says_what_it_shows_and_fits_its_row() {
    for dashboard in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            assert!(titles.insert(panel.title), "two panels are called {:?}", panel.title);
            assert!(panel.description.len() > 4 && !panel.queries.is_empty(), "{}", panel.title);
            assert!(panel.description.ends_with('.') && panel.width <= 24, "{}", panel.title);
            assert!(
                panel.colors.windows(2).all(|two| two[0].0 < two[1].0),
                "{}: colors out of order",
                panel.title
            );
        }
        for row in &dashboard.rows {
            let total: u32 = row.panels.iter().map(|panel| panel.width).sum();
            assert_eq!(total % 24, 0, "{}: there is a gap in the row", row.title);
        }
    }
    assert!(HOLD_REASONS.iter().all(|reason| !campaigns::hold_in_words(reason).is_empty()));
}

/// Panels lie beside and below each other, never upon each other.
#[test]
fn no_two_panels_share_a_place() {
    let book = book();
    for dashboard in dashboards() {
        let json = grafana::dashboard(&dashboard, &book);
        let mut taken = BTreeSet::new();
        for panel in json["panels"].as_array().unwrap() {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            for cell in
                (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
            {
                assert!(taken.insert(cell), "{} lies upon another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn what_alerts_also_shows_on_a_panel_that_leads_to_its_entry_of_the_runbook() {
    let mut linked: BTreeSet<&str> = BTreeSet::new();
    let dashboards = dashboards();
    for panel in dashboards.iter().flat_map(|of| &of.rows).flat_map(|row| &row.panels) {
        linked.extend(panel.runbook);
    }
    let book = book();
    let alerts = book.iter().map(|entry| entry.title.as_str()).filter(|title| title.starts_with("Briefd"));
    assert_eq!(alerts.filter(|alert| !linked.contains(alert)).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// What Grafana provisions lies where its files say.
#[test]
fn provisioning_names_one_datasource_and_the_folder_of_the_dashboards() {
    let read =
        |file: &str| std::fs::read_to_string(deploy().join("grafana/provisioning").join(file)).unwrap();
    assert!(read("datasources/prometheus.yaml").contains("type: prometheus"));
    assert!(read("dashboards/briefd.yaml").contains("path: /var/lib/grafana/dashboards"));
    for entry in std::fs::read_dir(deploy().join("grafana/dashboards")).unwrap() {
        let dashboard: Value =
            serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        assert!(dashboard["uid"].as_str().unwrap().starts_with("briefd-"));
    }
}
