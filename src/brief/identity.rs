//! Which brief a message is about, and what it says: the two answers every decision of intake rests on.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Which brief this is: within a project, within a batch. Ids are 1 to 200 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The Layers project; an alias is resolved already.
    pub project_id: String,
    /// The batch; empty when there is none.
    pub batch_id: String,
    /// The brief within project and batch.
    pub brief_id: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.project_id, self.batch_id, self.brief_id)
    }
}

/// SHA-256 of the canonical request (RFC 8785) without `metadata`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request that is stripped of `metadata`, identity and scheduling fields.
    pub(super) fn of(request: &Value) -> Result<Self, serde_json::Error> {
        let canonical = serde_json_canonicalizer::to_vec(request)?;
        Ok(Self(Sha256::digest(&canonical).into()))
    }
}

/// The SHA-256 of a body's bytes, in hexadecimal: what both sides of a dispute can compute.
pub fn body_hash(body: &str) -> String {
    Fingerprint(Sha256::digest(body).into()).to_string()
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: 64 lower-case hexadecimal digits are expected")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        fn digit(byte: u8) -> Option<u8> {
            match byte {
                b'0'..=b'9' => Some(byte - b'0'),
                b'a'..=b'f' => Some(byte - b'a' + 10),
                _ => None,
            }
        }
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(NotAFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (high, low) =
                (digit(pair[0]).ok_or(NotAFingerprint)?, digit(pair[1]).ok_or(NotAFingerprint)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}
