//! Which keys exist, in which order, and what kind of value each has. `config/default.toml` is the list; only the
//! keys that have no default (limits, prices, aliases) are added here.

use ::config::ValueKind;

use super::layer::{Layer, dotted};
use crate::wording::cut;

/// The built-in settings: every key with its default and its reason.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The origin of values that nobody set.
pub(super) const BUILT_IN: &str = "default";

/// Below this a known key is too far from an unknown one to be what was meant.
const ALIKE_MIN: f64 = 0.6;
/// Of longer names no more is compared; the longest key has half of it.
const ALIKE_CHARS_MAX: usize = 100;

/// What kind of TOML value a key has. Variables and flags are text and are read as this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    Flag,
    List,
}

/// A key, or a map with keys of the user's choice.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
    /// `path` is a map: any name may follow.
    pub(super) is_map: bool,
}

/// All keys, in the order of `config/default.toml`.
#[derive(Debug)]
pub(super) struct Schema(pub(super) Vec<Slot>);

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Key(Kind),
    Section,
    Nowhere,
}

impl Schema {
    pub(super) fn new(defaults: &Layer) -> Self {
        let mut slots: Vec<Slot> = defaults
            .entries
            .iter()
            .filter_map(|entry| {
                let kind = match entry.kind {
                    ValueKind::String(_) => Kind::Text,
                    ValueKind::Boolean(_) => Kind::Flag,
                    ValueKind::Float(_) => Kind::Float,
                    ValueKind::Array(_) => Kind::List,
                    ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
                        Kind::Integer
                    }
                    ValueKind::Nil | ValueKind::Table(_) => return None,
                };
                Some(Slot { path: entry.path.clone(), kind, is_map: false })
            })
            .collect();
        let after_layers = slots.iter().rposition(|slot| slot.path[0] == "layers").map_or(0, |last| last + 1);
        let slot = |path: &[&str], kind, is_map| Slot {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            kind,
            is_map,
        };
        let without_default = [
            slot(&["layers", "limits", "reads"], Kind::Integer, false),
            slot(&["layers", "limits", "writes"], Kind::Integer, false),
            slot(&["layers", "limits", "starts"], Kind::Integer, false),
            slot(&["layers", "limits", "window"], Kind::Text, false),
            slot(&["layers", "prices"], Kind::Integer, true),
            slot(&["projects"], Kind::Text, true),
        ];
        slots.splice(after_layers..after_layers, without_default);
        Self(slots)
    }

    pub(super) fn place(&self, path: &[String]) -> Place {
        for slot in &self.0 {
            if slot.is_map {
                match path.strip_prefix(slot.path.as_slice()) {
                    Some([]) => return Place::Section,
                    Some([_name]) => return Place::Key(slot.kind),
                    Some(_) | None => {}
                }
            } else if slot.path == path {
                return Place::Key(slot.kind);
            }
            if slot.path.len() > path.len() && slot.path.starts_with(path) {
                return Place::Section;
            }
        }
        Place::Nowhere
    }

    /// What to write in place of an unknown key: the nearest known one, else those of its section.
    pub(super) fn hint(&self, unknown: &[String]) -> String {
        if let Some(map) = self.0.iter().find(|slot| slot.is_map && unknown.starts_with(&slot.path)) {
            return format!("put a name with dots in quotes: {}.\"…\"", dotted(&map.path));
        }
        let keys = self.0.iter().map(|slot| (likeness(unknown, &slot.path), dotted(&slot.path)));
        let sections = self.0.iter().map(|slot| {
            let section = &slot.path[..1];
            (alike(unknown, section), format!("[{}]", dotted(section)))
        });
        let nearest = keys
            .chain(sections)
            .filter(|(score, _)| *score >= ALIKE_MIN)
            .max_by(|(left, _), (right, _)| left.total_cmp(right));
        if let Some((_, nearest)) = nearest {
            return format!("did you mean {nearest}?");
        }
        let section = unknown.split_last().map_or(&[][..], |(_, section)| section);
        let mut known: Vec<&str> = self
            .0
            .iter()
            .filter_map(|slot| slot.path.strip_prefix(section).and_then(<[String]>::first))
            .map(String::as_str)
            .collect();
        known.dedup();
        if !section.is_empty() && !known.is_empty() {
            return format!("{} has: {}", dotted(section), known.join(", "));
        }
        let mut sections: Vec<&str> = self.0.iter().map(|slot| slot.path[0].as_str()).collect();
        sections.dedup();
        format!("the sections are: {}", sections.join(", "))
    }
}

/// From 0 to 1. The last part weighs more than the section: a key in the wrong section should find its own.
fn likeness(unknown: &[String], known: &[String]) -> f64 {
    match (unknown.split_last(), known.split_last()) {
        (Some((leaf, section)), Some((known_leaf, known_section))) => {
            let leaves = alike(std::slice::from_ref(leaf), std::slice::from_ref(known_leaf));
            0.65 * leaves + 0.35 * alike(section, known_section)
        }
        (None, _) | (_, None) => 0.0,
    }
}

fn alike(left: &[String], right: &[String]) -> f64 {
    // Each letter is compared with each, and what is cut off is like no key.
    let part = |path: &[String]| cut(&path.join("."), ALIKE_CHARS_MAX).to_lowercase();
    strsim::normalized_damerau_levenshtein(&part(left), &part(right))
}
