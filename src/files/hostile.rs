//! What must hold for every file that anybody may name: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::io::Cursor;

use futures::FutureExt as _;

use super::BriefFile;
use crate::brief::hostile::a_message_stays_what_it_is;
use crate::flow::Source as _;

/// Most that is said about one line.
const PROBLEM_BYTES_MAX: usize = 2_000;
/// Longest row that is read.
const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads a file either way; see [`a_file_keeps_its_lines`].
pub fn a_file_keeps_its_lines_either_way(bytes: &[u8]) {
    a_file_keeps_its_lines(bytes, true);
    a_file_keeps_its_lines(bytes, false);
}

/// Reads a file and each message in it, and panics where a line is lost, made up, or changed. How many
/// lines can be read.
pub fn a_file_keeps_its_lines(bytes: &[u8], is_csv: bool) -> u64 {
    let file = BriefFile::of(Box::new(Cursor::new(bytes.to_vec())), "file".to_owned(), None, is_csv);
    let mut file = match file {
        Ok(file) => file,
        Err(error) => {
            assert!(is_csv, "only a header line can spoil a whole file: {error}");
            let told = error.to_string();
            assert!(!told.contains('\n') && told.len() < PROBLEM_BYTES_MAX, "{} bytes of a text", told.len());
            return 0;
        }
    };
    let (readable, mut good, mut last) = (file.readable_lines(), 0, 0);
    // A file in memory never lets anybody wait.
    while let Some(deliveries) = file.receive(7).now_or_never().flatten() {
        for delivery in deliveries {
            assert!(delivery.position > last, "lines come in order, each once");
            last = delivery.position;
            // A control character takes six bytes in JSON.
            assert!(delivery.body.len() <= 7 * ROW_BYTES_MAX, "{} bytes of a line", delivery.body.len());
            if let Some(fault) = delivery.fault {
                assert!(fault.len() < PROBLEM_BYTES_MAX && !fault.contains('\n'), "{} bytes", fault.len());
                continue;
            }
            good += 1;
            a_message_stays_what_it_is(&delivery.body);
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
    good
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::brief::{Rules, parse};

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

    /// A cell of the column `metadata`: JSON as nobody means it.
    fn metadata() -> impl Strategy<Value = String> {
        prop_oneof![
            // 127 levels are read alone, and not in a message, where they lie a level deeper.
            prop_oneof![1..300_usize, 126..129_usize].prop_map(|levels| format!(
                "{}1{}",
                "{\"a\":".repeat(levels),
                "}".repeat(levels)
            )),
            (1..300_usize).prop_map(|levels| format!("{{\"a\":{}", "[".repeat(levels))),
            prop::sample::select(vec![
                r#"{"a":1e400,"b":99999999999999999999}"#,
                r#"{"a":1,"a":2}"#,
                r#"{"a":1,"\u0061":2}"#,
                r#"{"a":"\ud83d"}"#,
                r#"{"a":"\u0000"}"#,
                r#"{"a": 1.0 , "b":-0}"#,
                "{} {}",
                "[1]",
                "null",
            ])
            .prop_map(str::to_owned),
            (0..20_000_usize).prop_map(|length| format!("{{\"a\":\"{}\"}}", "x".repeat(length))),
            "\\{\"[a-b]\":[0-9eE+.\\-]{1,6}(,\"[a-b]\":[0-9]{1,20}){0,2}\\}",
        ]
    }

    /// A cell with whatever is in it.
    fn cell(text: &str) -> String {
        format!("\"{}\"", text.replace('"', "\"\""))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_cell_of_json_comes_through_as_it_is_or_not_at_all(json in metadata(), hook in "\\PC{0,9}") {
            let table = format!("projectId,brief.hook,metadata\np,{},{}\n", cell(&hook), cell(&json));
            a_file_keeps_its_lines(table.as_bytes(), true);
            let mut file = BriefFile::of(Box::new(Cursor::new(table.into_bytes())), "file".to_owned(), None, true).unwrap();
            let deliveries = file.receive(2).now_or_never().flatten().unwrap();
            let Ok(brief) = parse(&deliveries[0], &Rules::strict(1 << 20)) else { return Ok(()) };
            let in_a_message = format!("{{\"metadata\":{json}}}");
            if json.starts_with('{') && serde_json::from_str::<serde_json::Value>(&in_a_message).is_ok() {
                prop_assert_eq!(brief.metadata.as_deref(), Some(json.as_str()));
            } else {
                prop_assert!(!brief.is_valid(), "{json} is no object");
            }
        }
    }

    #[test]
    fn a_cell_of_eight_mebibytes_hurts_only_its_line() {
        let long = "é".repeat(4 * 1024 * 1024);
        // Nearly as long as a row may be: it is read, and the message that it makes is refused by its length.
        let nearly = cell(&format!("{{\"a\":\"{}\"}}", "x".repeat(ROW_BYTES_MAX - 100)));
        let metadata = cell(&format!("{{\"a\":\"{long}\"}}"));
        for (table, good) in [
            (format!("projectId,brief.hook,metadata\np,{long},\np,h,{metadata}\np,h,\n"), 1),
            (format!("projectId,brief.hook,metadata\np,h,{nearly}\np,h,\n"), 2),
            (format!("projectId,brief.themeTags\np,{}\np,h\n", "a|".repeat(ROW_BYTES_MAX / 2 - 10)), 2),
            (format!("{long}.,b\n1,2\n"), 0),
        ] {
            assert_eq!(a_file_keeps_its_lines(table.as_bytes(), true), good);
        }
        let lines = format!("{{\"projectId\":\"{long}\"}}\n{{\"projectId\":\"p\"}}");
        assert_eq!(a_file_keeps_its_lines(lines.as_bytes(), false), 1);
    }

    #[test]
    fn what_is_said_about_a_long_name_in_the_header_line_is_short() {
        let long = "n".repeat(1024 * 1024);
        for header in [
            format!("{long}..a"),
            format!("{long},{long}"),
            format!("{long},{long}.a"),
            format!("{long}.a,{long}"),
        ] {
            a_file_keeps_its_lines(header.as_bytes(), true);
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
