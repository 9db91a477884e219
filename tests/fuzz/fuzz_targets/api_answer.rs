//! Any text as an answer of the API, to everything that is asked.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| briefd::layers::hostile::answers_tell_no_lie(text));
