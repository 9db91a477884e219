//! PURE. The endpoints, as metrics and the transport see them.

/// What is asked of the API; its words are label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Submit,
    Regenerate,
    Job,
    Cancel,
    Container,
    Progress,
    List,
    Whoami,
    Credits,
}

impl Endpoint {
    pub(super) const ALL: [Self; 9] = [
        Self::Submit,
        Self::Regenerate,
        Self::Job,
        Self::Cancel,
        Self::Container,
        Self::Progress,
        Self::List,
        Self::Whoami,
        Self::Credits,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Regenerate => "regenerate",
            Self::Job => "job",
            Self::Cancel => "cancel",
            Self::Container => "container",
            Self::Progress => "progress",
            Self::List => "list",
            Self::Whoami => "whoami",
            Self::Credits => "credits",
        }
    }

    /// HTTP statuses that this endpoint is expected to answer with, besides those that any may.
    pub(super) const fn own_statuses(self) -> &'static [&'static str] {
        match self {
            Self::Submit | Self::Regenerate => &["202", "402", "404", "409", "422"],
            Self::Cancel => &["200", "202", "404", "409"],
            Self::Job | Self::Container | Self::Progress | Self::Whoami | Self::Credits => &["200", "404"],
            Self::List => &["200", "404", "422"],
        }
    }

    /// Older deployments do not have it, and then the 404 may come from a router that knows no envelope.
    pub(super) const fn may_be_missing(self) -> bool {
        match self {
            Self::Whoami | Self::Credits => true,
            Self::Submit
            | Self::Regenerate
            | Self::Job
            | Self::Cancel
            | Self::Container
            | Self::Progress
            | Self::List => false,
        }
    }
}
