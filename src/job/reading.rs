//! What a `GET` told about a job or a container. Truth comes only from here.

use jiff::Timestamp;

/// The status of a job or a container. Whatever is not one of the three ends is still running, never an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApiStatus {
    /// `queued`, `generating`, `processing`, `running`, or a word that this version does not know (kept as it came).
    Running(String),
    /// `completed`
    Completed,
    /// `failed`
    Failed,
    /// `canceled`
    Canceled,
}

impl ApiStatus {
    /// Reads the API's word.
    pub fn from_word(word: &str) -> Self {
        match word {
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            other => Self::Running(other.to_owned()),
        }
    }

    /// The API's word.
    pub fn word(&self) -> &str {
        match self {
            Self::Running(word) => word,
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether generation has ended.
    pub const fn is_terminal(&self) -> bool {
        match self {
            Self::Running(_) => false,
            Self::Completed | Self::Failed | Self::Canceled => true,
        }
    }
}

/// `error` of a job or `lastError` of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The API's code, unchanged unless it is longer than 128 characters.
    pub code: String,
    /// The API's message, cut to 2,000 characters.
    pub message: String,
}

/// `GET /v1/jobs/:jobId`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReading {
    /// The job's id.
    pub job_id: String,
    /// Where it stands.
    pub status: ApiStatus,
    /// `stage`, when told.
    pub stage: Option<String>,
    /// When it ended, when told.
    pub finished_at: Option<Timestamp>,
    /// Containers that `result` names (`containerId`, `containerIds`); often empty.
    pub container_ids: Vec<String>,
    /// Why it failed.
    pub error: Option<ApiError>,
}

/// `GET /v1/content/:containerId`
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerReading {
    /// The id that the record itself carries.
    pub id: String,
    /// Where it stands.
    pub status: ApiStatus,
    /// `format`: what `auto` became.
    pub format: Option<String>,
    /// `brief` as the API echoes it.
    pub brief: Option<serde_json::Value>,
    /// `createdAt`
    pub created_at: Option<Timestamp>,
    /// `updatedAt`
    pub updated_at: Option<Timestamp>,
    /// `completedAt`
    pub completed_at: Option<Timestamp>,
    /// `failedAt`
    pub failed_at: Option<Timestamp>,
    /// `lastError`
    pub last_error: Option<ApiError>,
    /// `approvalStatus`
    pub approval_status: Option<String>,
    /// The record as the API sent it: the very bytes of the JSON text (our API key blanked, should it be in there).
    pub record: String,
}

/// One item of `GET /v1/projects/:projectId/content`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedContainer {
    /// The container's id.
    pub id: String,
    /// Where it stands, by the list.
    pub status: ApiStatus,
    /// `format`
    pub format: Option<String>,
    /// `approvalStatus`
    pub approval_status: Option<String>,
    /// `createdAt`
    pub created_at: Option<Timestamp>,
    /// `completedAt`
    pub completed_at: Option<Timestamp>,
}
