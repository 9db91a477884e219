//! Any text as a settings file; its first line, if it is `#NAME=VALUE`, as a variable.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let first = text.lines().next().and_then(|line| line.strip_prefix('#')?.split_once('='));
    briefd::config::hostile::settings_load_or_say_why(text, first.unwrap_or(("BRIEFD__LOG__LEVEL", "info")));
});
