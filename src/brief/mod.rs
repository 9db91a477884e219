//! PURE. The inbound message: one delivery in, one [`Brief`] out, or the one reason why it is [`Unreadable`].
//!
//! Reading order: [`parse`] decides what a message is: strict JSON comes first, then identity and routing
//! fields, then the published schema. [`keys`] derives everything that must be the same for the same intent.
//!
//! Invariants:
//! - Reading never fails half-way: a message is unreadable, or it has an identity, a fingerprint and a request, with
//!   whatever is wrong with it listed in [`Brief::violations`]. Only the identity decides which.
//! - What goes to the API is what came in: values keep their bytes and their order; nothing is re-serialized.
//! - Two messages have one fingerprint exactly if their requests are equal as canonical JSON (RFC 8785), `metadata`
//!   aside. What canonical JSON cannot tell apart (repeated keys, numbers beyond ±2^53) is refused before.
//!
//! It does not know the ledger: whether a brief is new, a duplicate or a rerun is decided there.

mod body;
mod compare;
mod excerpt;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod identity;
pub mod keys;
mod message;
mod parse;
mod patch;
mod routing;
mod strict;
mod validate;
mod violation_text;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use body::{body, enqueueable, regenerate_body, with_batch};
pub use compare::{differing_paths, only_brief_differs};
pub use identity::{Fingerprint, Identity, NotAFingerprint, body_hash};
pub(crate) use message::drop_number_formats;
pub use message::schema;
pub use parse::{Rules, Unreadable, parse};
pub use patch::{IDENTITY_FIELDS, patched, rerun_message};
pub(crate) use routing::integer;

/// Most violations that one brief lists; a person mends the first few and tries again.
pub const VIOLATIONS_MAX: usize = 50;
/// Priority of a message that names none.
pub const PRIORITY_DEFAULT: u8 = 4;
/// Most variants that one brief may ask for.
pub const VARIANTS_MAX: u8 = 5;

/// One campaign brief as it was asked for, read and judged, but not yet decided about.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    /// Which brief this is.
    pub identity: Identity,
    /// Which run of it is asked for, from 1.
    pub run: u32,
    /// How many briefs its batch has, where the message (or `--batch`) says so.
    pub batch_size: Option<u64>,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// No POST before this time.
    pub not_before: Option<Timestamp>,
    /// Fails with `EXPIRED` if no POST has left by this time.
    pub expires_at: Option<Timestamp>,
    /// What the request says, `metadata` aside.
    pub fingerprint: Fingerprint,
    /// JSON object text: the API's request fields with their values byte for byte as received, in the order received,
    /// without routing fields and without `id`.
    pub request: String,
    /// `metadata` as received, raw JSON text.
    pub metadata: Option<String>,
    /// How many variants are asked for; 1 when absent or invalid.
    pub variant_count: u8,
    /// `format` as received.
    pub format: Option<String>,
    /// What is wrong with it, by path. Empty: valid.
    pub violations: Vec<Violation>,
}

impl Brief {
    /// Whether it may be submitted.
    pub const fn is_valid(&self) -> bool {
        self.violations.is_empty()
    }
}

/// One thing that is wrong with a brief, for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Violation {
    /// Where: `brief.valuePropositions[3]`; empty for the whole message.
    pub path: String,
    /// What is wrong, with at most 60 characters of the offending value.
    pub problem: String,
}
