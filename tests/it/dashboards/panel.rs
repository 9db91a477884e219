//! What a dashboard consists of, without the words of Grafana.

pub const GREEN: &str = "green";
pub const YELLOW: &str = "yellow";
pub const RED: &str = "red";

/// What a line or an area is drawn in, by what its legend says: the same everywhere, and never a failure in green.
pub const LINES: [(&str, &[(&str, &str)]); 4] = [
    (
        "{{state}}",
        &[
            ("completed", GREEN),
            ("partial", YELLOW),
            ("failed", RED),
            ("canceled", "#808080"),
            ("parked", "purple"),
            ("held", "orange"),
            ("scheduled", "super-light-blue"),
            ("waiting", "light-blue"),
            ("ready", "light-blue"),
            ("submitting", "blue"),
            ("running", "dark-blue"),
        ],
    ),
    (
        "{{outcome}}",
        &[
            ("accepted", GREEN),
            ("refused", RED),
            ("unknown", "purple"),
            ("rate_limited", YELLOW),
            ("held", "orange"),
        ],
    ),
    (
        "{{type}}",
        &[
            ("container.completed", GREEN),
            ("container.failed", RED),
            ("container.canceled", "#808080"),
            ("brief.failed", "dark-red"),
            ("batch.finished", "blue"),
        ],
    ),
    (
        "{{result}}",
        &[
            ("new", GREEN),
            ("rerun", "dark-green"),
            ("replaced", "light-green"),
            ("duplicate", "light-blue"),
            ("republished", "blue"),
            ("invalid", YELLOW),
            ("conflict", "orange"),
            ("unreadable", RED),
        ],
    ),
];

/// A dashboard, from top to bottom.
pub struct Dashboard {
    /// Its address in Grafana, and the name of its file.
    pub uid: &'static str,
    pub title: &'static str,
    /// Who reads it, and what for.
    pub description: &'static str,
    /// Whether one can look at one client alone.
    pub by_project: bool,
    pub rows: Vec<Row>,
}

/// A question, and the panels that answer it.
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// How the answer looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// One large number a query.
    Number,
    /// Lines over time.
    Lines,
    /// Areas over time, one upon the other.
    Areas,
    /// Bars over time, one upon the other.
    Bars,
    /// A row for each set of labels, with a column for each query.
    Table,
    /// A bar for each set of labels.
    Gauge,
    /// The buckets of a histogram over time.
    Heat,
}

/// One question to Prometheus.
pub struct Query {
    pub expr: String,
    /// The name of a line, such as `{{state}}`, or of a column.
    pub legend: &'static str,
}

/// One answer.
pub struct Panel {
    pub title: &'static str,
    /// What it says, for somebody who sees it for the first time.
    pub description: &'static str,
    pub show: Show,
    pub unit: &'static str,
    pub queries: Vec<Query>,
    /// Of 24.
    pub width: u32,
    pub height: u32,
    /// From which value on in which color; green before the first.
    pub colors: Vec<(f64, &'static str)>,
    /// What a value is called instead.
    pub words: Vec<(String, String)>,
    /// What stands there when there is nothing to show.
    pub nothing: &'static str,
    /// The alert of which the runbook tells.
    pub runbook: Option<&'static str>,
}

impl Panel {
    fn new(show: Show, (width, height): (u32, u32), title: &'static str, description: &'static str) -> Self {
        Self {
            title,
            description,
            show,
            unit: "short",
            queries: Vec::new(),
            width,
            height,
            colors: Vec::new(),
            words: Vec::new(),
            nothing: "nothing",
            runbook: None,
        }
    }

    pub fn number(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Number, (6, 4), title, description)
    }

    pub fn lines(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Lines, (12, 8), title, description)
    }

    pub fn areas(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Areas, (12, 8), title, description)
    }

    pub fn bars(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Bars, (12, 8), title, description)
    }

    pub fn table(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Table, (12, 8), title, description)
    }

    pub fn gauge(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Gauge, (12, 8), title, description)
    }

    pub fn heat(title: &'static str, description: &'static str) -> Self {
        Self::new(Show::Heat, (12, 8), title, description)
    }

    /// Asks this, and calls the answer that.
    pub fn ask(mut self, legend: &'static str, expr: impl Into<String>) -> Self {
        self.queries.push(Query { expr: expr.into(), legend });
        self
    }

    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    pub fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    pub fn from(mut self, value: f64, color: &'static str) -> Self {
        self.colors.push((value, color));
        self
    }

    pub fn word(mut self, value: &str, text: impl Into<String>) -> Self {
        self.words.push((value.to_owned(), text.into()));
        self
    }

    pub fn nothing(self, nothing: &'static str) -> Self {
        Self { nothing, ..self }
    }

    pub fn runbook(self, alert: &'static str) -> Self {
        Self { runbook: Some(alert), ..self }
    }
}
