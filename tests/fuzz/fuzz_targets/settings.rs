//! Any text as a settings file; its first line, if it is `#NAME=VALUE`, as a variable.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| briefd::config::hostile::a_file_loads_or_says_why(text));
