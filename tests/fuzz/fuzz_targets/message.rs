//! Any bytes as a brief message.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| briefd::brief::hostile::a_message_stays_what_it_is(bytes));
