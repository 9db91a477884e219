//! Any bytes as a file of briefs, CSV and JSON Lines.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| briefd::files::hostile::a_file_keeps_its_lines_either_way(bytes));
