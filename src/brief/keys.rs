//! Everything that must be the same for the same intent: `Idempotency-Key`, our container id, record ids.
//!
//! Nothing here is random and no setting changes it. The *key text* names one intent to buy:
//! `briefd/1`, project, batch, brief and run, joined by newlines (ids have no control characters, so no two
//! intents share a text); for a regenerate the container's id is added. Each id is the version 5 UUID of a text in a
//! namespace of its own. In Python, with nothing but the standard library:
//!
//! ```python
//! import uuid
//! KEY, CONTAINER, RECORD = (uuid.uuid5(uuid.NAMESPACE_OID, f"briefd/{n}/1") for n in ("key", "container", "record"))
//! def key_text(project, batch, brief, run, container=None):
//!     parts = ["briefd/1", project, batch, brief, str(run)] + ([container] if container is not None else [])
//!     return "\n".join(parts)
//! text = key_text("254a4ce1-f4ca-42b1-9e36-17ca45ef3d39", "spring", "hook-7", 1)
//! print("Idempotency-Key", uuid.uuid5(KEY, text))                                   # f0d58403-d4ff-58c8-beb2-3a67c7c36f5e
//! print("container id   ", uuid.uuid5(CONTAINER, text))
//! print("record id      ", uuid.uuid5(RECORD, f"{text}\n1\ncontainer.completed"))   # variant 1; empty when the brief has none
//! ```
//!
//! Test vectors, which the tests of this module hold to:
//!
//! | project | batch | brief | run | container | `Idempotency-Key` | container id |
//! |---|---|---|---|---|---|---|
//! | `254a4ce1-f4ca-42b1-9e36-17ca45ef3d39` | `spring` | `hook-7` | `1` |  | `f0d58403-d4ff-58c8-beb2-3a67c7c36f5e` | `79299669-094b-5474-bc5f-d86bf95988b4` |
//! | `254a4ce1-f4ca-42b1-9e36-17ca45ef3d39` | `spring` | `hook-7` | `2` |  | `5f227172-12ef-53ac-9d50-be917af37024` | `fccf6326-9de4-5b5b-9dbe-87af9ca03329` |
//! | `254a4ce1-f4ca-42b1-9e36-17ca45ef3d39` | `spring` | `hook-7` | `2` | `cnt_01` | `b68d1726-47cb-565f-a004-4b7e990ad6ec` |  |
//! | `p` |  | `b` | `1` |  | `2bec147c-15e6-5e6b-b869-11c74776e9b1` | `3c43262c-0fe6-58f0-b1a2-d18cf4cd9c51` |
//! | `café` | `Ünï` | `日本` | `1` |  | `d203895b-82ce-56b7-8564-15b168263527` | `88dbb59f-a0f7-5e5a-b0b7-7dcc9187fd95` |
//!
//! Record ids of the first row: variant 1, `container.completed`: `09742cbd-2076-5353-a57a-922018190ef6`; no variant, `brief.failed`:
//! `12094507-7344-5a5b-8472-0027f52f70dd`. `batch.finished` of batch `spring`, revision 1: `475e8a61-33db-5022-bf09-6018c90a615d`.

use uuid::{Uuid, uuid};

use super::Identity;

/// Namespace of `Idempotency-Key`: version 5 UUID of `briefd/key/1` in the OID namespace.
pub const KEY_NAMESPACE: Uuid = uuid!("09d9444a-1abc-544b-97e1-fcfb69c51dd2");
/// Namespace of dead letters: version 5 UUID of `briefd/dead-letter/1` in the OID namespace.
pub const DEAD_LETTER_NAMESPACE: Uuid = uuid!("886b3f80-b1f2-53bd-8b0a-7a521f2e3e6a");
/// Namespace of our container ids: version 5 UUID of `briefd/container/1` in the OID namespace.
pub const CONTAINER_NAMESPACE: Uuid = uuid!("e663b381-3085-54c4-b552-45a33519df30");
/// Namespace of record ids: version 5 UUID of `briefd/record/1` in the OID namespace.
pub const RECORD_NAMESPACE: Uuid = uuid!("91381f13-4c95-5a1d-8149-0e2f619227b8");

/// Names one intent to buy: a brief and its run, for a regenerate also the container.
pub fn key_text(identity: &Identity, run: u32, container: Option<&str>) -> String {
    let Identity { project_id, batch_id, brief_id } = identity;
    let text = format!("briefd/1\n{project_id}\n{batch_id}\n{brief_id}\n{run}");
    match container {
        Some(container) => format!("{text}\n{container}"),
        None => text,
    }
}

/// The `Idempotency-Key` of an intent.
pub fn idempotency_key(key_text: &str) -> Uuid {
    Uuid::new_v5(&KEY_NAMESPACE, key_text.as_bytes())
}

/// The `id` that a generate sends: the first container's.
pub fn container_id(key_text: &str) -> Uuid {
    Uuid::new_v5(&CONTAINER_NAMESPACE, key_text.as_bytes())
}

/// The `recordId` of a record: its intent, its variant (none for a brief-level record, whose key text is that of
/// the run) and its type.
pub fn record_id(key_text: &str, variant: Option<u8>, kind: &str) -> Uuid {
    let variant = variant.map(|number| number.to_string()).unwrap_or_default();
    Uuid::new_v5(&RECORD_NAMESPACE, format!("{key_text}\n{variant}\n{kind}").as_bytes())
}

/// The `recordId` of a `batch.finished`; `revision` counts how often the batch has ended.
pub fn batch_record_id(batch_id: &str, revision: u32) -> Uuid {
    Uuid::new_v5(&RECORD_NAMESPACE, format!("briefd/1\n{batch_id}\n{revision}\nbatch.finished").as_bytes())
}
