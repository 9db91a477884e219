//! JSON that means one thing only: repeated keys and numbers that a double cannot tell apart are refused.
//!
//! `serde_json` itself refuses nesting over 128, lone surrogates, numbers that are not finite, and a byte order mark.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::excerpt::excerpt;

/// 2^53: above it not every integer is a double of its own.
const EXACT_MAX: u64 = 1 << 53;
/// The same as a double.
const EXACT_MAX_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Parses a whole text. The error is of category `Data` where it is ours, `Syntax` or `Eof` where it is not JSON.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0)
}

/// The fields of an object text, in order, with the exact bytes of their values.
pub(super) fn raw_fields(text: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    serde_json::from_str::<RawFields<'_>>(text).map(|fields| fields.0)
}

/// A value without repeated keys and without numbers beyond ±2^53.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

fn too_big<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format_args!("the number {number} is beyond ±2^53 and not exact; send it as text"))
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > EXACT_MAX { Err(too_big(value)) } else { Ok(Value::from(value)) }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > EXACT_MAX { Err(too_big(value)) } else { Ok(Value::from(value)) }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // 9007199254740993.0 arrives here as 2^53 itself: at the edge a double no longer tells what was written.
        if value.abs() >= EXACT_MAX_FLOAT {
            return Err(too_big(value));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {} appears twice", excerpt(&key))));
            }
            let Strict(value) = fields.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Top-level fields in order. `RawValue` keeps what `Value` loses: `1e2`, `\/`, white space.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawFieldsVisitor)
    }
}

struct RawFieldsVisitor;

impl<'de> Visitor<'de> for RawFieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RawFields<'de>, A::Error> {
        let mut list = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some((key, value)) = fields.next_entry::<String, &RawValue>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {} appears twice", excerpt(&key))));
            }
            list.push((key, value));
        }
        Ok(RawFields(list))
    }
}
