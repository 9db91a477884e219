//! The API key: how it is sent, how it is blanked, and how it is told apart without being shown.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use memchr::memmem;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::layers::{ApiKey, Auth};

/// What stands where the key stood.
const BLANK: &str = "[redacted]";
/// A shorter text is no key (they have over 60 characters), and blanking it would spoil honest answers.
const SHORTEST_BLANKED: usize = 8;
/// Backslashes before one escaped character: JSON texts four deep. Without a bound, a long row of them would be read
/// again from each of its places.
const MOST_BACKSLASHES: usize = 8;
/// What stands behind the last `_` of a key is its secret; a shorter one may be a word.
const SHORTEST_SECRET: usize = 20;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read.
    #[error("the API key cannot be read from {place}; check layers.api_key_file and its permissions")]
    Unreadable {
        /// The file.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// The key has characters that no header can carry. The text does not show it.
    #[error(
        "the API key has characters that a header cannot carry (a line break, or not ASCII); copy it again"
    )]
    Characters,
}

/// The key in use and where it comes from. Clones share one key.
#[derive(Clone)]
pub(super) struct KeyStore(Arc<Inner>);

struct Inner {
    origin: ApiKey,
    auth: Auth,
    current: RwLock<Arc<Key>>,
}

impl KeyStore {
    /// Reads the key for the first time.
    pub(super) fn open(origin: ApiKey, auth: Auth) -> Result<Self, KeyError> {
        let key = Key::new(read(&origin)?, auth)?;
        Ok(Self(Arc::new(Inner { origin, auth, current: RwLock::new(Arc::new(key)) })))
    }

    /// The key as it is now; a request keeps the one it began with.
    pub(super) fn current(&self) -> Arc<Key> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses `secret` from now on. Returns whether it is another key than before.
    pub(super) fn set(&self, secret: SecretString) -> Result<bool, KeyError> {
        let key = Arc::new(Key::new(secret, self.0.auth)?);
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.fingerprint != key.fingerprint;
        *current = key;
        Ok(changed)
    }

    /// Reads the key again from where it comes from. Returns whether it has changed.
    pub(super) fn reload(&self) -> Result<bool, KeyError> {
        self.set(read(&self.0.origin)?)
    }
}

fn read(origin: &ApiKey) -> Result<SecretString, KeyError> {
    origin.read().map_err(|source| {
        let place = match origin {
            ApiKey::Given(_) => "the settings".to_owned(),
            ApiKey::File(path) => path.display().to_string(),
        };
        KeyError::Unreadable { place, source }
    })
}

/// One key, ready to be sent.
pub(super) struct Key {
    /// `None` for an empty key: then no header is sent, and the API says 401.
    header: Option<(HeaderName, HeaderValue)>,
    /// What is blanked in texts: the key, its secret part, and both in base64. Empty if it is too short to be one.
    blanked: Vec<SecretString>,
    fingerprint: String,
}

impl Key {
    fn new(secret: SecretString, auth: Auth) -> Result<Self, KeyError> {
        let plain = secret.expose_secret();
        let (name, text) = match auth {
            Auth::XApiKey => (HeaderName::from_static("x-api-key"), plain.to_owned()),
            Auth::Bearer => (AUTHORIZATION, format!("Bearer {plain}")),
        };
        let header = if plain.is_empty() {
            None
        } else {
            // `HeaderValue` would take bytes beyond ASCII, which servers read in different ways.
            let mut value = Some(text)
                .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
                .and_then(|text| HeaderValue::from_str(&text).ok())
                .ok_or(KeyError::Characters)?;
            value.set_sensitive(true); // or `Debug` of whatever holds it prints the key
            Some((name, value))
        };
        let fingerprint = fingerprint(plain);
        let blanked = forms(secret);
        Ok(Self { header, blanked, fingerprint })
    }

    /// The header that proves who we are; its value is marked as sensitive.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header.clone()
    }

    /// The first 16 hex digits of a hash: tells keys apart, gives none away.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// `text` with the key blanked, however JSON or a URL spells it: who reads the text would have the key.
    pub(super) fn blank<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        // A text without escapes can only hold a form as it stands, and blanking adds none.
        let is_plain = !text.contains(['\\', '%']);
        for form in self.blanked.iter().map(ExposeSecret::expose_secret) {
            if is_plain && memmem::find(clean.as_bytes(), form.as_bytes()).is_none() {
                continue;
            }
            if let Some(cleaner) = without(&clean, form) {
                clean = Cow::Owned(cleaner);
            }
        }
        clean
    }
}

/// Whatever gives the key away. A key of visible ASCII characters is the only one that can be sent.
fn forms(key: SecretString) -> Vec<SecretString> {
    let plain = key.expose_secret();
    if plain.len() < SHORTEST_BLANKED {
        return Vec::new();
    }
    let secret = plain.rsplit_once('_').map(|(_, secret)| secret);
    let secret = secret.filter(|secret| secret.len() >= SHORTEST_SECRET);
    let mut forms = Vec::new();
    for text in std::iter::once(plain).chain(secret) {
        for shift in 0..3 {
            let encoded = base64(text.as_bytes(), shift);
            forms.push(encoded.replace('+', "-").replace('/', "_"));
            forms.push(encoded);
        }
    }
    forms.extend(secret.map(ToOwned::to_owned));
    forms.dedup(); // most are the same for URLs
    let others: Vec<_> = forms.into_iter().map(SecretString::from).collect();
    // The whole key before its part, in each form: else something of it would be left.
    std::iter::once(key).chain(others).collect()
}

/// What `bytes` look like within a base64 text that has `shift` bytes (modulo 3) before them: only the characters that
/// depend on nothing else.
fn base64(bytes: &[u8], shift: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| {
        let byte = bytes.get((at / 8).wrapping_sub(shift)).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    let (first, end) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
    let digit = |digit: usize| (0..6).fold(0, |value, place| value << 1 | bit(digit * 6 + place));
    (first..end).filter_map(|at| DIGITS.get(digit(at))).map(|digit| char::from(*digit)).collect()
}

/// `text` with `secret` blanked; `None` if it is not in there.
fn without(text: &str, secret: &str) -> Option<String> {
    let first = secret.chars().next()?;
    let (mut clean, mut at, mut copied) = (String::new(), 0, 0);
    // A spelling begins with the first character itself, or with an escape of it.
    while let Some(found) = text.get(at..)?.find([first, '\\', '%']) {
        at += found;
        match spelled(text.get(at..)?, secret) {
            Some(length) => {
                clean.push_str(text.get(copied..at)?);
                clean.push_str(BLANK);
                at += length;
                copied = at;
            }
            None => at += text.get(at..)?.chars().next()?.len_utf8(),
        }
    }
    if copied == 0 {
        return None;
    }
    clean.push_str(text.get(copied..)?);
    Some(clean)
}

/// How many bytes at the start of `text` spell `secret`.
fn spelled(text: &str, secret: &str) -> Option<usize> {
    let rest = secret.chars().try_fold(text, after_char)?;
    Some(text.len() - rest.len())
}

/// What follows on `wanted` at the start of `rest`: written as itself, as JSON may escape it (`_`, `\_`, `\u005f`; with
/// more backslashes where a JSON text stands in another), or as a URL may (`%5F`, and `%255F` where one stands in another).
fn after_char(rest: &str, wanted: char) -> Option<&str> {
    if let Some(rest) = rest.strip_prefix(wanted) {
        // A backslash of the key may be written as two.
        return Some(if wanted == '\\' { rest.strip_prefix(wanted).unwrap_or(rest) } else { rest });
    }
    let is_wanted = |digits| u32::from_str_radix(digits, 16).is_ok_and(|code| code == u32::from(wanted));
    if let Some(mut escape) = rest.strip_prefix('%') {
        while let Some(inner) = escape.strip_prefix("25") {
            escape = inner;
        }
        let (digits, rest) = escape.split_at_checked(2)?;
        return is_wanted(digits).then_some(rest);
    }
    let mut escape = rest.strip_prefix('\\')?;
    for _ in 1..MOST_BACKSLASHES {
        escape = escape.strip_prefix('\\').unwrap_or(escape);
    }
    escape.strip_prefix(wanted).or_else(|| {
        let (digits, rest) = escape.strip_prefix('u')?.split_at_checked(4)?;
        is_wanted(digits).then_some(rest)
    })
}

fn fingerprint(plain: &str) -> String {
    let digest = Sha256::new().chain_update("briefd/api-key\n").chain_update(plain).finalize();
    let (first, _) = digest.as_slice().split_at(8);
    format!("{:016x}", first.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(plain: &str, auth: Auth) -> Key {
        Key::new(SecretString::from(plain), auth).unwrap()
    }

    #[test]
    fn the_header_is_marked_sensitive_in_both_forms() {
        for (auth, name, text) in [
            (Auth::XApiKey, "x-api-key", "lp_test_0123456789"),
            (Auth::Bearer, "authorization", "Bearer lp_test_0123456789"),
        ] {
            let (header, value) = key("lp_test_0123456789", auth).header().unwrap();
            assert_eq!((header.as_str(), value.to_str().unwrap()), (name, text));
            assert!(value.is_sensitive());
        }
        assert!(key("", Auth::XApiKey).header().is_none());
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_an_error_that_does_not_show_it() {
        for plain in ["lp_test\nsecret", "lp_tést_secret"] {
            let error = Key::new(SecretString::from(plain), Auth::XApiKey).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn every_form_of_the_key_is_blanked() {
        let key = key("lp/test\"0123\\456", Auth::XApiKey);
        let text = r#"raw lp/test"0123\456, "lp/test\"0123\\456" "lp\/test\"0123\\456""#;
        assert_eq!(key.blank(text), r#"raw [redacted], "[redacted]" "[redacted]""#);
        assert!(matches!(key.blank("nothing here"), Cow::Borrowed(_)));
        assert!(matches!(key.blank(r#"nothing \"here\" – \u00"#), Cow::Borrowed(_)));
    }

    #[test]
    fn a_key_in_json_escapes_is_blanked() {
        let key = key("lp_test_0123456789", Auth::XApiKey);
        let escape = |text: String, char: char| format!("{text}\\u{:04X}", u32::from(char));
        let escaped = "lp_test_0123456789".chars().fold(String::new(), escape);
        let text =
            format!(r#"{{"ö":"a{escaped}z","b":"lp\u005ftest\u005F0123456789\n","lp_test_012345678":1}}"#);
        let clean = r#"{"ö":"a[redacted]z","b":"[redacted]\n","lp_test_012345678":1}"#;
        assert_eq!(key.blank(&text), clean);
    }

    #[test]
    fn a_key_in_percent_escapes_is_blanked() {
        let key = key("lp_test_0123456789", Auth::XApiKey);
        for spelling in ["lp%5Ftest%5f0123456789", "%6C%70_test_0123456789", "lp%255Ftest%25255F0123456789"] {
            let text = format!("GET https://example.com/v1/x?key={spelling}&y=%5F failed");
            assert_eq!(key.blank(&text), "GET https://example.com/v1/x?key=[redacted]&y=%5F failed");
        }
        for honest in ["100 % of %5F%", "%", "%2", "%25", "%ö", "%6C%70_test"] {
            assert!(matches!(key.blank(honest), Cow::Borrowed(_)), "{honest}");
        }
    }

    #[test]
    fn a_key_in_a_json_text_within_a_json_text_is_blanked() {
        let key = key("lp_test_0123456789", Auth::XApiKey);
        let text = r#"{"body":"{\"key\":\"lp\\u005ftest\\\\u005f0123456789\"}"}"#;
        assert_eq!(key.blank(text), r#"{"body":"{\"key\":\"[redacted]\"}"}"#);
        let row = "\\".repeat(1 << 20);
        assert_eq!(key.blank(&row), row.as_str(), "and in a moment");
    }

    proptest! {
        #[test]
        fn however_it_is_spelled_the_key_does_not_come_out(
            spellings in prop::collection::vec(0..6_u8, 18),
            (before, after) in (r"[a-z%\\ö]{0,4}", r"[a-z%\\ö]{0,4}"),
        ) {
            let plain = "lp_test_0123456789";
            let spelled: String = plain.chars().zip(spellings).map(|(char, spelling)| match spelling {
                0 => format!("\\u{:04x}", u32::from(char)),
                1 => format!("%{:02X}", u32::from(char)),
                2 => format!("%25{:02x}", u32::from(char)),
                3 => format!("\\\\u{:04X}", u32::from(char)),
                _ => char.to_string(),
            }).collect();
            let key = key(plain, Auth::XApiKey);
            let text = format!("{before} {spelled} {after}");
            prop_assert_eq!(key.blank(&text), format!("{before} {BLANK} {after}"));
        }
    }

    #[test]
    fn the_secret_part_and_what_encodes_the_key_are_blanked_too() {
        const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789a";
        let whole = format!("lp_test_0123456789abcdef_{SECRET}");
        let key = key(&whole, Auth::XApiKey);
        assert_eq!(key.blank(&format!("ends in {SECRET}.")), "ends in [redacted].");
        assert_eq!(key.blank(&whole.replace('_', "%5F")), "[redacted]");
        assert_eq!(key.blank(&whole.replace('_', "\\\\u005f")), "[redacted]");
        assert_eq!(
            key.blank("50 % of lp_test_0123456789abcdef is \"known\" \\u00"),
            "50 % of lp_test_0123456789abcdef is \"known\" \\u00"
        );
        // Of "key:" + the key and of "u:" + its secret part, as a program that is not ours makes them.
        let basic = "a2V5OmxwX3Rlc3RfMDEyMzQ1Njc4OWFiY2RlZl8wMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlh";
        let clean = key.blank(basic);
        assert!(clean.len() < 20 && clean.contains("[redacted]"), "{clean}");
        let basic = "dTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlh";
        let clean = key.blank(basic);
        assert!(clean.len() < 20 && clean.contains("[redacted]"), "{clean}");
    }

    #[test]
    fn a_fingerprint_tells_keys_apart_and_is_the_same_tomorrow() {
        assert_eq!(
            key("lp_test_a", Auth::XApiKey).fingerprint(),
            key("lp_test_a", Auth::Bearer).fingerprint()
        );
        assert_ne!(
            key("lp_test_a", Auth::XApiKey).fingerprint(),
            key("lp_test_b", Auth::XApiKey).fingerprint()
        );
        insta::assert_snapshot!(key("lp_test_a", Auth::XApiKey).fingerprint(), @"8c9ad041f3a7ceb3");
    }

    #[test]
    fn a_changed_key_file_is_noticed_at_the_next_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "lp_test_old\n").unwrap();
        let store = KeyStore::open(ApiKey::File(path.clone()), Auth::XApiKey).unwrap();
        assert!(!store.reload().unwrap());
        std::fs::write(&path, "lp_test_new\n").unwrap();
        assert!(store.reload().unwrap());
        assert_eq!(store.current().header().unwrap().1, "lp_test_new");
        std::fs::remove_file(&path).unwrap();
        assert!(store.reload().unwrap_err().to_string().contains("key"));
        assert_eq!(store.current().header().unwrap().1, "lp_test_new", "an unreadable file changes nothing");
    }
}
