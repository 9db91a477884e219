//! A dashboard in the words of Grafana: JSON that it loads from a file.

use serde_json::{Map, Value, json};

use super::panel::{Dashboard, GREEN, LINES, Panel, Show};
use super::runbook;

/// Of the runbook's dashboard.
pub const RUNBOOK_UID: &str = "briefd-runbook";
const COLUMNS: u32 = 24;

/// The file's text.
pub fn text(dashboard: &Value) -> String {
    let mut text = serde_json::to_string_pretty(dashboard).expect("JSON can be written");
    text.push('\n');
    text
}

pub fn dashboard(of: &Dashboard, book: &[runbook::Entry]) -> Value {
    let (mut panels, mut y) = (Vec::new(), 0);
    for row in &of.rows {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if x + panel.width > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            let place = json!({"h": panel.height, "w": panel.width, "x": x, "y": y});
            panels.push(one(panel, panels.len() + 1, &place, book));
            (x, height) = (x + panel.width, height.max(panel.height));
        }
        y += height;
    }
    frame(of.uid, of.title, of.description, &variables(of.by_project), &panels)
}

/// What every dashboard has around its panels.
pub fn frame(uid: &str, title: &str, description: &str, variables: &[Value], panels: &[Value]) -> Value {
    let link = |title: &str, uid: &str| json!({"type": "link", "title": title, "url": format!("/d/{uid}"), "keepTime": true, "includeVars": true, "icon": "dashboard"});
    json!({
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["briefd"],
        "schemaVersion": 39,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [link("Campaigns", "briefd-campaigns"), link("Worker", "briefd-worker"), link("Runbook", RUNBOOK_UID)],
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": panels,
    })
}

fn variables(by_project: bool) -> Vec<Value> {
    let choice = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": source(),
            "query": {"query": query, "refId": name}, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        })
    };
    let mut variables = vec![
        json!({"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "refresh": 1}),
        choice("instance", "Worker", "label_values(briefd_build_info, instance)"),
    ];
    if by_project {
        variables.push(choice("project", "Client", "label_values(briefd_briefs, project)"));
    }
    variables
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn one(panel: &Panel, id: usize, place: &Value, book: &[runbook::Entry]) -> Value {
    let over_time = matches!(panel.show, Show::Lines | Show::Areas | Show::Bars | Show::Heat);
    let format = match panel.show {
        Show::Table => "table",
        Show::Heat => "heatmap",
        Show::Number | Show::Lines | Show::Areas | Show::Bars | Show::Gauge => "time_series",
    };
    let targets: Vec<Value> = ('A'..='Z')
        .zip(&panel.queries)
        .map(|(letter, query)| {
            json!({
                "refId": letter.to_string(), "expr": query.expr, "legendFormat": query.legend,
                "range": over_time, "instant": !over_time, "format": format, "datasource": source(),
            })
        })
        .collect();
    let kind = match panel.show {
        Show::Number => "stat",
        Show::Lines | Show::Areas | Show::Bars => "timeseries",
        Show::Table => "table",
        Show::Gauge => "bargauge",
        Show::Heat => "heatmap",
    };
    let mut json = json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.description,
        "datasource": source(), "gridPos": place, "targets": targets,
        "fieldConfig": fields(panel), "options": options(panel),
    });
    if panel.show == Show::Table {
        json["transformations"] = columns(panel);
    }
    if let Some(alert) = panel.runbook {
        let entry = book.iter().find(|entry| entry.title == alert).expect("the runbook has an entry for it");
        let url = format!("/d/{RUNBOOK_UID}?viewPanel={}", entry.panel);
        json["links"] = json!([{"title": format!("Runbook: {alert}"), "url": url, "targetBlank": true}]);
    }
    json
}

fn fields(panel: &Panel) -> Value {
    let mut steps = vec![json!({"color": GREEN, "value": null})];
    for (value, color) in &panel.colors {
        steps.push(json!({"color": color, "value": value}));
    }
    let words: Map<String, Value> =
        panel.words.iter().map(|(value, text)| (value.clone(), json!({"text": text}))).collect();
    let mappings = if words.is_empty() { json!([]) } else { json!([{"type": "value", "options": words}]) };
    let by_value = matches!(panel.show, Show::Number);
    json!({
        "defaults": {
            "unit": panel.unit,
            "noValue": panel.nothing,
            "color": {"mode": if by_value { "thresholds" } else { "palette-classic" }},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": mappings,
            "custom": drawing(panel),
        },
        "overrides": lines(panel),
    })
}

/// Lines that have a color of their own.
fn lines(panel: &Panel) -> Vec<Value> {
    let over_time = matches!(panel.show, Show::Lines | Show::Areas | Show::Bars);
    let of_panel = LINES
        .iter()
        .filter(|(legend, _)| over_time && panel.queries.iter().any(|query| query.legend == *legend));
    let fixed = |(name, color): &(&str, &str)| {
        json!({
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        })
    };
    of_panel.flat_map(|(_, colors)| colors.iter().map(fixed)).collect()
}

/// How lines are drawn.
fn drawing(panel: &Panel) -> Value {
    let stacked = json!({"mode": "normal", "group": "A"});
    match panel.show {
        Show::Lines => {
            let limits = if panel.colors.is_empty() { "off" } else { "line" };
            json!({"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "never", "spanNulls": false, "thresholdsStyle": {"mode": limits}})
        }
        Show::Areas => {
            json!({"drawStyle": "line", "lineWidth": 1, "fillOpacity": 60, "showPoints": "never", "spanNulls": false, "stacking": stacked})
        }
        Show::Bars => {
            json!({"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 80, "showPoints": "never", "stacking": stacked})
        }
        Show::Table => json!({"align": "auto", "filterable": false}),
        Show::Number | Show::Gauge | Show::Heat => json!({}),
    }
}

fn options(panel: &Panel) -> Value {
    let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    // A number that is neither good nor bad has no color.
    let color = if panel.colors.is_empty() { "none" } else { "background" };
    match panel.show {
        Show::Number => {
            json!({"colorMode": color, "graphMode": "none", "textMode": "value", "justifyMode": "auto", "orientation": "auto", "reduceOptions": last})
        }
        Show::Lines | Show::Areas | Show::Bars => {
            json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi", "sort": "desc"}})
        }
        Show::Table => json!({"showHeader": true, "cellHeight": "sm"}),
        Show::Gauge => {
            json!({"displayMode": "basic", "orientation": "horizontal", "valueMode": "text", "showUnfilled": true, "reduceOptions": last})
        }
        Show::Heat => {
            json!({"calculate": false, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Blues", "steps": 64}, "cellGap": 1, "filterValues": {"le": 0.000_000_1}, "tooltip": {"mode": "single"}})
        }
    }
}

/// One row for each set of labels, and a column for each query with its name.
fn columns(panel: &Panel) -> Value {
    let mut names = Map::new();
    for (letter, query) in ('A'..='Z').zip(&panel.queries) {
        let column = if panel.queries.len() == 1 { "Value".to_owned() } else { format!("Value #{letter}") };
        names.insert(column, json!(query.legend));
    }
    json!([
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": true}, "renameByName": names}},
    ])
}
