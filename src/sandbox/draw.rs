//! Chance that can be repeated: a draw is a hash of the seed and of what it is about.
//!
//! Nothing here depends on the order in which requests arrive, so a run with many concurrent callers gives each
//! brief the same fate as the next run with the same seed.

use sha2::{Digest, Sha256};

/// The chances of one thing (a job, a key's n-th POST). Copying it draws nothing; each name has one outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// The chances of the thing that `parts` name.
    pub(super) fn new(seed: u64, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        for part in parts {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(u64::from_le_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ]))
    }

    /// A number in 0..1.
    pub(super) fn unit(self, name: &str) -> f64 {
        f64::from(u32::try_from(self.bits(name, 0) >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// Whether something that happens to this share of all things happens to this one.
    pub(super) fn hits(self, name: &str, share: f64) -> bool {
        self.unit(name) < share
    }

    /// A number in `low..=high`.
    pub(super) fn between(self, name: &str, low: u64, high: u64) -> u64 {
        low + self.bits(name, 0) % (high.saturating_sub(low) + 1)
    }

    /// One of the choices.
    pub(super) fn pick<T: Copy>(self, name: &str, first: T, others: &[T]) -> T {
        let index = self.between(name, 0, u64::try_from(others.len()).unwrap_or(0));
        usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_sub(1))
            .and_then(|index| others.get(index))
            .map_or(first, |it| *it)
    }

    /// Letters and digits, as ids and keys are made of.
    pub(super) fn text(self, name: &str, length: u64) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let letter = |index| {
            let at = usize::try_from(self.bits(name, index) % 62).unwrap_or(0);
            ALPHABET.get(at).map_or('0', |byte| char::from(*byte))
        };
        (1..=length).map(letter).collect()
    }

    /// FNV-1a over the name, finished by splitmix64.
    fn bits(self, name: &str, index: u64) -> u64 {
        let mut bits = self.0 ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in name.bytes() {
            bits = (bits ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

/// SHA-256 of a body as 32 bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}
