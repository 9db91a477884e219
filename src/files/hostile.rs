//! What must hold for every file that anybody may name: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::io::Cursor;

use futures::FutureExt as _;

use super::BriefFile;
use crate::flow::Source as _;

/// Reads a file, and panics where a line is lost, made up, or changed.
pub fn a_file_keeps_its_lines(bytes: &[u8], is_csv: bool) {
    let file = BriefFile::of(Box::new(Cursor::new(bytes.to_vec())), "file".to_owned(), None, is_csv);
    let mut file = match file {
        Ok(file) => file,
        Err(error) => {
            assert!(is_csv, "only a header line can spoil a whole file: {error}");
            assert!(!error.to_string().contains('\n'), "{error}");
            return;
        }
    };
    let (readable, mut good, mut last) = (file.readable_lines(), 0, 0);
    // A file in memory never lets anybody wait.
    while let Some(deliveries) = file.receive(7).now_or_never().flatten() {
        for delivery in deliveries {
            assert!(delivery.position > last, "lines come in order, each once");
            last = delivery.position;
            if delivery.fault.is_some() {
                continue;
            }
            good += 1;
            if is_csv {
                let row: Result<serde_json::Map<String, serde_json::Value>, _> =
                    serde_json::from_slice(&delivery.body);
                assert!(row.is_ok_and(|row| !row.is_empty()), "a row that is no object");
            } else {
                let is_there = bytes.windows(delivery.body.len()).any(|part| part == delivery.body);
                assert!(is_there && !delivery.body.contains(&b'\n'), "a line that is not in the file");
            }
        }
    }
    assert_eq!(good, readable, "so many lines were counted");
    let lines = u64::try_from(bytes.split(|byte| *byte == b'\n').count()).unwrap_or(u64::MAX);
    assert!(last <= lines, "line {last} of {lines}");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_line_is_lost_made_up_or_changed(
            text in prop_oneof![
                "(\u{feff})?(briefId|brief\\.hook|run|metadata|a\\.b|a|[,;\t\"]){1,6}\r?\n([a-c0-9{}:,;|\t\"\u{0}é]{0,8}[,\n\r\"]){0,12}".prop_map(String::into_bytes),
                prop::collection::vec(prop::sample::select(b"a,;\"\n\r\t{}[]\xff\xef\xbb\xbf\0.1".to_vec()), 0..120),
            ],
            is_csv in any::<bool>(),
        ) {
            a_file_keeps_its_lines(&text, is_csv);
        }
    }

    #[test]
    fn long_lines_and_endless_quotes_are_read_in_bounded_time() {
        let began = Instant::now();
        for text in [
            "\"".repeat(1_000_001),
            format!("briefId,a\n{}", "\"\n".repeat(10_001)),
            format!("briefId,a\n{}\n", "x".repeat(5 * 1024 * 1024)),
            format!(
                "{}\n",
                vec!["n"; 2_000]
                    .iter()
                    .enumerate()
                    .map(|(n, name)| format!("{name}{n}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            format!("{}\n1\n", vec!["d"; 100_000].join(".")),
        ] {
            a_file_keeps_its_lines(text.as_bytes(), true);
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    }
}
