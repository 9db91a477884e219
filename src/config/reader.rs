//! Strict reading of the layered settings: each method takes a key, checks its value and returns it typed.
//!
//! What does not fit is noted with its place and a stand-in is returned, so that one run finds all mistakes;
//! [`Reader::finish`] then refuses. Nothing is rounded or converted: 3.7 is not a whole number, `2` is no duration.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::config::{Value, ValueKind};
use bytesize::ByteSize;
use secrecy::SecretString;

use super::error::{ConfigError, ConfigErrors};
use super::layer::dotted;
use super::schema::BUILT_IN;
use super::value::{find, one_of, shown, text};

/// Keys whose values no message may hold.
pub(super) const SECRETS: [&str; 2] = ["amqp.url", "layers.api_key"];

/// Names in AMQP are short strings.
const AMQP_NAME_BYTES_MAX: usize = 255;

/// Nothing here takes longer; sums of times stay far from the ends of the calendar.
const DURATION_MAX: Duration = Duration::from_hours(3_650 * 24);

/// The layered values and what was found wrong with them so far.
pub(super) struct Reader<'a> {
    root: &'a Value,
    problems: Vec<ConfigError>,
    refused: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, problems: Vec::new(), refused: Vec::new() }
    }

    /// `settings`, if nothing was wrong.
    pub(super) fn finish<T>(self, settings: Option<T>) -> Result<T, ConfigErrors> {
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            Some(_) | None => Err(ConfigErrors(self.problems)),
        }
    }

    /// Any text.
    pub(super) fn text(&mut self, key: &str) -> String {
        match self.kind(key) {
            Some(ValueKind::String(text)) => text.clone(),
            Some(_) | None => self.reject(key, "text in quotes"),
        }
    }

    /// Text that is never shown.
    pub(super) fn secret(&mut self, key: &str) -> SecretString {
        SecretString::from(self.text(key))
    }

    /// The name of an exchange or a queue.
    pub(super) fn name(&mut self, key: &str) -> String {
        let name = self.routing_key(key);
        if name.is_empty() && self.fits(&[key]) { self.reject(key, "a name") } else { name }
    }

    /// Text that fits an AMQP short string; may be empty.
    pub(super) fn routing_key(&mut self, key: &str) -> String {
        let name = self.text(key);
        if name.len() > AMQP_NAME_BYTES_MAX {
            return self.reject(key, &format!("at most {AMQP_NAME_BYTES_MAX} bytes, not {}", name.len()));
        }
        name
    }

    /// A file; `None` when empty.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// A whole number within `range`.
    pub(super) fn count<T: TryFrom<i64> + Default>(&mut self, key: &str, range: RangeInclusive<i64>) -> T {
        let number = match self.kind(key) {
            Some(ValueKind::I64(number)) if range.contains(number) => T::try_from(*number).ok(),
            Some(_) | None => None,
        };
        number.unwrap_or_else(|| {
            self.reject(key, &format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// Like [`Reader::count`], for a key without a default.
    pub(super) fn optional_count(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<u32> {
        self.value(key).is_some().then(|| self.count(key, range))
    }

    /// A number within `range`; a whole one will do.
    pub(super) fn factor(&mut self, key: &str, range: RangeInclusive<f64>) -> f64 {
        let number = match self.kind(key) {
            Some(ValueKind::Float(number)) => Some(*number),
            Some(ValueKind::I64(number)) => i32::try_from(*number).ok().map(f64::from),
            Some(_) | None => None,
        };
        number.filter(|number| range.contains(number)).unwrap_or_else(|| {
            self.reject(key, &format!("a number from {} to {}", range.start(), range.end()))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.kind(key) {
            Some(ValueKind::Boolean(flag)) => *flag,
            Some(_) | None => self.reject(key, "true or false"),
        }
    }

    /// Text such as `"2s"`, at least `min`.
    pub(super) fn duration(&mut self, key: &str, min: Duration) -> Duration {
        let expected = "a duration as text with a unit, such as \"2s\", \"500ms\" or \"24h\"";
        let duration = match self.kind(key) {
            Some(ValueKind::String(text)) => humantime::parse_duration(text.trim()).ok(),
            Some(_) | None => None,
        };
        match duration {
            None => self.reject(key, expected),
            Some(duration) if duration < min || duration > DURATION_MAX => {
                let min = humantime::format_duration(min);
                self.reject(key, &format!("a duration from \"{min}\" to \"3650d\""))
            }
            Some(duration) => duration,
        }
    }

    /// Like [`Reader::duration`], for a key without a default.
    pub(super) fn optional_duration(&mut self, key: &str, min: Duration) -> Option<Duration> {
        self.value(key).is_some().then(|| self.duration(key, min))
    }

    /// Text such as `"8MiB"`, in bytes.
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        let size = match self.kind(key) {
            Some(ValueKind::String(text)) => text.trim().parse::<ByteSize>().ok(),
            Some(_) | None => None,
        };
        size.map(|size| size.as_u64()).filter(|size| range.contains(size)).unwrap_or_else(|| {
            let (min, max) = (ByteSize(*range.start()), ByteSize(*range.end()));
            self.reject(key, &format!("a size as text, such as \"256KiB\" or \"8MiB\", from {min} to {max}"))
        })
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy, const N: usize>(&mut self, key: &str, words: [(&str, T); N]) -> T {
        let chosen = match self.kind(key) {
            Some(ValueKind::String(text)) => words.iter().find(|(word, _)| word == text),
            Some(_) | None => None,
        };
        if let Some((_, meaning)) = chosen {
            return *meaning;
        }
        let _: () = self.reject(key, &one_of(words.iter().map(|(word, _)| *word)));
        words[0].1
    }

    /// A list of words from a closed set.
    pub(super) fn words(&mut self, key: &str, allowed: &[&str]) -> Vec<String> {
        let words = match self.kind(key) {
            Some(ValueKind::Array(items)) => items
                .iter()
                .map(|item| text(item).filter(|word| allowed.contains(word)).map(str::to_owned))
                .collect::<Option<Vec<String>>>(),
            Some(_) | None => None,
        };
        words.unwrap_or_else(|| self.reject(key, &format!("a list of {}", one_of(allowed.iter().copied()))))
    }

    /// The names and values of a map with free names, sorted by name.
    pub(super) fn map(&self, key: &str) -> Vec<(String, &'a Value)> {
        let Some(ValueKind::Table(table)) = self.kind(key) else { return Vec::new() };
        let mut entries: Vec<_> = table.iter().map(|(name, value)| (name.clone(), value)).collect();
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        entries
    }

    /// Notes that the value of `key` does not fit; returns a stand-in.
    pub(super) fn reject<T: Default>(&mut self, key: &str, expected: &str) -> T {
        let place = self.place(key);
        let value = match self.value(key) {
            Some(_) if SECRETS.contains(&key) => "(not shown)".to_owned(),
            Some(value) => shown(value),
            None => "(nothing)".to_owned(),
        };
        self.refuse(
            key,
            ConfigError::BadValue { place, key: key.to_owned(), value, expected: expected.to_owned() },
        );
        T::default()
    }

    /// Like [`Reader::reject`], for an entry of a map with free names.
    pub(super) fn reject_entry(&mut self, map: &str, name: &str, value: &Value, expected: &str) {
        let path: Vec<String> = map.split('.').chain([name]).map(str::to_owned).collect();
        let place = value.origin().unwrap_or(BUILT_IN).to_owned();
        let error = ConfigError::BadValue {
            place,
            key: dotted(&path),
            value: shown(value),
            expected: expected.to_owned(),
        };
        self.refuse(map, error);
    }

    /// Notes that settings do not fit together.
    pub(super) fn contradiction(&mut self, problem: String) {
        self.problems.push(ConfigError::Contradiction(problem));
    }

    /// Whether none of the keys was refused, so that it makes sense to compare them.
    pub(super) fn fits(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.refused.iter().any(|refused| refused == key))
    }

    /// A key with its value and where it comes from, for a message about several keys.
    pub(super) fn cite(&self, key: &str) -> String {
        let place = self.place(key);
        match self.value(key) {
            Some(value) if !SECRETS.contains(&key) => format!("{key} = {} ({place})", shown(value)),
            Some(_) | None => format!("{key} ({place})"),
        }
    }

    fn refuse(&mut self, key: &str, error: ConfigError) {
        self.refused.push(key.to_owned());
        self.problems.push(error);
    }

    /// Where the value of a key was written.
    pub(super) fn place(&self, key: &str) -> String {
        self.value(key).and_then(Value::origin).unwrap_or(BUILT_IN).to_owned()
    }

    fn kind(&self, key: &str) -> Option<&'a ValueKind> {
        self.value(key).map(|value| &value.kind)
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        find(self.root, key.split('.'))
    }
}
