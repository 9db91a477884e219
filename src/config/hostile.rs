//! What must hold for every settings file and variable that anybody may write: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::collections::BTreeMap;

use super::layer::Layer;
use super::load::load_over;
use super::{ConfigErrors, Inputs, Loaded};

/// Longest text about what is wrong with one setting.
const PROBLEM_CHARS_MAX: usize = 2_000;
/// What no text about settings may hold.
const SECRET: &str = "lp_live_0123456789";

/// Loads settings from a file's text; its first line, if it is `#NAME=VALUE`, is a variable.
pub fn a_file_loads_or_says_why(text: &str) {
    let first = text.lines().next().and_then(|line| line.strip_prefix('#')?.split_once('='));
    settings_load_or_say_why(text, first.unwrap_or(("BRIEFD__LOG__LEVEL", "info")));
}

/// Loads settings from a file's text and one variable, and panics where a secret is shown or a text is no help.
pub fn settings_load_or_say_why(file: &str, (variable, value): (&str, &str)) {
    let env = BTreeMap::from([(variable.to_owned(), value.to_owned())]);
    let layer = Layer::from_toml(file, Some("briefd.toml"));
    let loaded = load_over(&Inputs { env, ..Inputs::default() }, layer.map(Some));
    match loaded {
        Ok(Loaded { values, .. }) => {
            for shown in values {
                assert!(!shown.origin.is_empty(), "{} comes from nowhere", shown.key);
                assert!(!shown.key.contains(SECRET), "a name shows a key");
                assert!(!shown.value.to_string().contains(SECRET), "{} shows a key", shown.key);
            }
        }
        Err(ConfigErrors(problems)) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                let text = problem.to_string();
                let length = text.chars().count();
                assert!(length <= PROBLEM_CHARS_MAX, "{length} characters about one setting");
                assert!(!text.contains(SECRET), "a text shows a key");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn any_settings_load_or_are_refused_with_a_reason_and_no_secret(
            lines in prop::collection::vec((
                prop::sample::select(vec![
                    "[amqp]", "[layers]", "[layers.limits]", "[projects]", "url", "api_key", "base_url", "prefetch",
                    "heartbeat", "tier", "reads", "window", "\"a.b\"", "concurrency", "[[amqp]]", "x",
                ]),
                prop::sample::select(vec![
                    "", "= 1", "= -9223372036854775808", "= 1e400", "= nan", "= \"lp_live_0123456789\"",
                    "= \"amqp://u:lp_live_0123456789@h/v\"", "= [1, [2, {a = 3}]]", "= 1979-05-27", "= \"9999999999999d\"",
                    "= \"\\u0000\"", "= \"99999999999999999999GiB\"", "= {", "= true",
                ]),
            ), 0..8),
            variable in prop::sample::select(vec![
                "BRIEFD__AMQP__URL", "BRIEFD__LAYERS__API_KEY", "LAYERS_API_KEY", "BRIEFD__AMQP__PREFETCH", "BRIEFD__",
                "BRIEFD____", "BRIEFD__PROJECTS__A", "BRIEFD__AMQP__OUTPUT__OPTIONAL", "BRIEFD__TRACK__POLL_FACTOR",
            ]),
            value in prop_oneof![
                Just("lp_live_0123456789".to_owned()), Just("amqp://:lp_live_0123456789@[::1".to_owned()), "\\PC{0,12}", "[0-9e+.-]{1,20}",
            ],
        ) {
            let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name} {value}")).collect();
            settings_load_or_say_why(&lines.join("\n"), (variable, &value));
        }
    }

    #[test]
    fn a_key_that_was_written_as_a_name_is_not_shown() {
        settings_load_or_say_why(
            "[proj_lp_live_0123456789]\nlp_live_0123456789 = 1\n[projects]\nlp_live_0123456789 = \"p\"",
            ("BRIEFD__LAYERS__lp_live_0123456789", "1"),
        );
    }

    #[test]
    fn a_key_in_a_list_is_not_shown() {
        settings_load_or_say_why("", ("BRIEFD__AMQP__OUTPUT__OPTIONAL", SECRET));
    }

    #[test]
    fn what_is_said_about_a_text_of_eight_mebibytes_is_short() {
        let long = "é".repeat(4 * 1024 * 1024);
        let name = "n".repeat(8 * 1024 * 1024);
        for file in [
            format!("log.level = \"{long}\""),
            format!("layers.base_url = \"{long}\""),
            format!("amqp.url = \"amqp://{name}\""),
            format!("intake.max_message_bytes = \"{long}\""),
            format!("projects.{name} = \"p\""),
            format!("[{name}]\nx = 1"),
            format!("x = \"{name}"),
            format!("amqp.prefetch = {}", "9".repeat(name.len())),
        ] {
            settings_load_or_say_why(&file, ("BRIEFD__LOG__LEVEL", "info"));
        }
        settings_load_or_say_why("", ("BRIEFD__LOG__LEVEL", &long));
    }

    #[test]
    fn settings_nested_without_end_are_refused_in_bounded_time() {
        const DEEP: usize = 100_000;
        let began = Instant::now();
        for file in [
            format!("x = {}", "[".repeat(DEEP)),
            format!("x = {}", "{a=".repeat(DEEP)),
            format!("{} = 1", vec!["a"; DEEP / 20].join(".")),
            format!("[{}]", vec!["a"; DEEP / 20].join(".")),
            format!("amqp.url = \"{}\"", "amqp://".repeat(DEEP)),
        ] {
            settings_load_or_say_why(&file, ("BRIEFD__X", "1"));
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    }
}
