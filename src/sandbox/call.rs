//! What a request asks for, and which rules hold for it.

/// One endpoint with its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `POST /v1/projects/:project/content`
    Start { project: String },
    /// `POST /v1/content/:container/regenerate`
    Regenerate { container: String },
    /// `POST /v1/content/:newId/clone-from-post`
    Clone { container: String },
    /// `GET /v1/projects/:project/content`
    List { project: String },
    /// `GET /v1/content/:container`
    Container { container: String },
    /// `GET /v1/content/:container/progress`
    Progress { container: String },
    /// `GET /v1/content/:container/assets/:asset`
    Asset { container: String, asset: String },
    /// `GET /v1/jobs/:job`
    Job { job: String },
    /// `POST /v1/jobs/:job/cancel`
    Cancel { job: String },
    /// `POST /v1/content/:container/approve`
    Approve { container: String },
    /// `POST /v1/content/:container/reject`
    Reject { container: String },
    /// `GET /v1/whoami`
    Whoami,
    /// `GET /v1/credits`
    Credits,
    /// A known path with another method.
    OtherMethod,
    /// Anything else.
    Unknown,
}

/// Which rate limit counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Every GET.
    Read,
    /// Short writes.
    Write,
    /// Job starts.
    Start,
}

impl Class {
    /// The value of `X-RateLimit-Endpoint-Class`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read-light",
            Self::Write => "write-light",
            Self::Start => "long-running",
        }
    }
}

impl Call {
    /// The class of a request; for an unknown endpoint that of a read.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Start { .. } | Self::Regenerate { .. } | Self::Clone { .. } => Class::Start,
            Self::Cancel { .. } | Self::Approve { .. } | Self::Reject { .. } => Class::Write,
            Self::List { .. }
            | Self::Container { .. }
            | Self::Progress { .. }
            | Self::Asset { .. }
            | Self::Job { .. }
            | Self::Whoami
            | Self::Credits
            | Self::OtherMethod
            | Self::Unknown => Class::Read,
        }
    }

    /// The scope a key needs for it.
    pub(super) fn scope(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. }
            | Self::Regenerate { .. }
            | Self::Clone { .. }
            | Self::Approve { .. }
            | Self::Reject { .. } => Some("content:write"),
            Self::List { .. } | Self::Container { .. } | Self::Progress { .. } | Self::Asset { .. } => {
                Some("content:read")
            }
            Self::Job { .. } => Some("jobs:read"),
            Self::Cancel { .. } => Some("jobs:cancel"),
            Self::Whoami | Self::Credits | Self::OtherMethod | Self::Unknown => None,
        }
    }
}
