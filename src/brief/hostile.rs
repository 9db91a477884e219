//! What must hold for every message that anybody may send: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::collections::BTreeMap;

use super::{Rules, body, differing_paths, enqueueable, parse};
use crate::config::work::Validation;
use crate::flow::Delivery;

/// Longest text about what is wrong.
const PROBLEM_CHARS_MAX: usize = 2_000;

/// Longest message that is read by default.
const BYTES_MAX: usize = 256 * 1024;

/// Reads `message` under each set of rules, and panics where what comes out is not what came in.
pub fn a_message_stays_what_it_is(message: &[u8]) {
    stays_where_so_long_is_allowed(message, BYTES_MAX);
}

fn stays_where_so_long_is_allowed(message: &[u8], bytes_max: usize) {
    let projects = BTreeMap::from([("alias".to_owned(), "project".to_owned())]);
    for validation in [Validation::Strict, Validation::Lenient] {
        let rules = Rules { validation, projects: &projects, ..Rules::strict(bytes_max as u64) };
        let of = |body: &[u8]| parse(&Delivery { body: body.to_vec(), ..Delivery::default() }, &rules);
        let brief = match of(message) {
            Ok(brief) => {
                assert!(message.len() <= bytes_max, "{} bytes were read", message.len());
                brief
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.chars().count() < PROBLEM_CHARS_MAX && !text.contains('\n'), "{text}");
                continue;
            }
        };
        assert!(!brief.identity.project_id.is_empty() && !brief.identity.brief_id.is_empty());
        assert!(brief.violations.len() <= super::VIOLATIONS_MAX);
        for told in &brief.violations {
            let length = told.path.len() + told.problem.len();
            assert!(length < PROBLEM_CHARS_MAX && !told.problem.contains('\n'), "{length} bytes about it");
        }
        // Read again from what is stored, it is the same brief, byte for byte where it goes to the API.
        let again = of(enqueueable(&brief.identity, &brief.request).as_bytes());
        let again = again.unwrap_or_else(|error| panic!("what was read once cannot be read again: {error}"));
        assert_eq!(again.fingerprint, brief.fingerprint);
        assert_eq!(again.request, brief.request);
        assert_eq!(again.identity, brief.identity);
        assert_eq!(differing_paths(&again.request, &brief.request, 5), Vec::<String>::new());
        // Each value of the body stands in the message as it is, and nothing else is added but our id.
        let sent = body(&brief.request, Some(uuid::Uuid::nil()));
        let fields: Result<BTreeMap<String, &serde_json::value::RawValue>, _> = serde_json::from_str(&sent);
        let fields = fields.unwrap_or_else(|error| panic!("a body that is no JSON: {error}"));
        for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
            let is_there = message.windows(value.get().len()).any(|part| part == value.get().as_bytes());
            assert!(is_there, "{name} was changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// A message as nobody means it, and whether a name stands twice in it.
    fn message() -> impl Strategy<Value = (String, bool)> {
        let name = prop::sample::select(vec![
            "projectId",
            "batchId",
            "briefId",
            "run",
            "batchSize",
            "priority",
            "notBefore",
            "expiresAt",
            "format",
            "variantCount",
            "brief",
            "metadata",
            "budget",
            "id",
            "references",
            "targetPlatforms",
            "hook",
            "x\\u0000",
        ]);
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("1e2".to_owned()),
            Just("1.0".to_owned()),
            Just("-0.0".to_owned()),
            Just("1e400".to_owned()),
            Just("9007199254740993".to_owned()),
            Just("9999-12-31T23:59:59Z".to_owned()).prop_map(|text| format!("\"{text}\"")),
            Just(r#""\ud83d\ude00\/""#.to_owned()),
            Just(r#""\udfff""#.to_owned()),
            Just(r#""a\u0000\n""#.to_owned()),
            Just("\"alias\"".to_owned()),
            "[a-z\u{feff}\u{7f}é ]{0,6}".prop_map(|text| format!("\"{text}\"")),
            (1..200_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        ];
        let value = leaf.prop_recursive(3, 20, 4, {
            let name = name.clone();
            move |inner| {
                let field =
                    (name.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\": {value}"));
                prop_oneof![
                    prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                    prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(","))),
                ]
            }
        });
        let fields = prop::collection::btree_map(name, value, 1..6);
        (fields, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8).prop_map(
            |(fields, which, place, repeats)| {
                let names: Vec<&str> = std::iter::once("projectId").chain(fields.keys().copied()).collect();
                let repeated = names[which.index(names.len())];
                let mut fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                if !fields.iter().any(|field| field.starts_with("\"projectId\"")) {
                    fields.insert(0, "\"projectId\":\"p\"".to_owned());
                }
                // The same name once more, as it is or in other letters, anywhere, with a value that reads well.
                let again = match repeats {
                    0 => Some(format!("\"{repeated}\":\"x\"")),
                    1 => repeated
                        .strip_prefix(|first: char| first.is_ascii())
                        .map(|rest| format!("\"\\u{:04x}{rest}\":1", u32::from(repeated.as_bytes()[0]))),
                    _ => None,
                };
                let is_repeated = again.is_some();
                if let Some(again) = again {
                    fields.insert(place.index(fields.len() + 1), again);
                }
                (format!("{{{}}}", fields.join(",")), is_repeated)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_message_is_read_as_what_it_is_or_not_at_all((text, is_repeated) in message()) {
            a_message_stays_what_it_is(text.as_bytes());
            a_message_stays_what_it_is(text.replacen("\"projectId\":\"p\"", "\"x\":1", 1).as_bytes());
            let delivery = Delivery { body: text.clone().into_bytes(), ..Delivery::default() };
            prop_assert!(!(is_repeated && parse(&delivery, &Rules::strict(1 << 20)).is_ok()), "two meanings: {text}");
        }
    }

    #[test]
    fn a_text_of_eight_mebibytes_is_refused_by_its_length_and_where_it_is_allowed_stays_what_it_is() {
        const LONG: usize = 8 * 1024 * 1024;
        let long = "é".repeat(LONG / 2);
        for message in [
            format!("{{\"projectId\":\"{long}\"}}"),
            format!("{{\"projectId\":\"p\",\"briefId\":\"{long}\"}}"),
            format!("{{\"projectId\":\"p\",\"format\":\"{long}\",\"brief\":{{\"hook\":7}}}}"),
            format!("{{\"projectId\":\"p\",\"brief\":{{\"hook\":\"{long}\"}}}}"),
            format!("{{\"projectId\":\"p\",\"brief\":{{\"{long}\":1}},\"metadata\":{{}}}}"),
            format!("{{\"projectId\":\"p\",\"metadata\":{{\"a\":\"{long}\"}}}}"),
            format!("{{\"projectId\":\"p\",\"{long}\":1,\"{long}\":1}}"),
        ] {
            let delivery = Delivery { body: message.clone().into_bytes(), ..Delivery::default() };
            let told = parse(&delivery, &Rules::strict(BYTES_MAX as u64)).unwrap_err().to_string();
            assert_eq!(
                told,
                format!(
                    "the message has {} bytes; intake.max_message_bytes allows {BYTES_MAX}",
                    message.len()
                )
            );
            stays_where_so_long_is_allowed(message.as_bytes(), 128 << 20);
        }
    }

    #[test]
    fn messages_as_long_as_are_taken_are_read_in_bounded_time() {
        const LONG: usize = 255 * 1024;
        let began = Instant::now();
        let of = |brief: String| format!("{{\"projectId\":\"p\",\"briefId\":\"b\",\"brief\":{brief}}}");
        for text in [
            of("[".repeat(LONG)),
            of("{\"a\":".repeat(LONG / 5)),
            of(format!("\"{}\"", "\\u0041".repeat(LONG / 6))),
            of(format!("[{}0]", "0,".repeat(LONG / 2))),
            of(format!(
                "{{{}\"hook\":1}}",
                (0..10_000).map(|n| format!("\"k{n}\":{n},")).collect::<String>()
            )),
            of(format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120))),
            of("1".repeat(LONG)),
        ] {
            a_message_stays_what_it_is(text.as_bytes());
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    }
}
