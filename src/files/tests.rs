//! Briefs from files, and records into files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::brief;
use crate::flow::{Channel, Delivery, Outgoing, Properties, SendOutcome, Sink, Source};

fn file(text: impl Into<Vec<u8>>, is_csv: bool) -> Result<BriefFile, FileError> {
    BriefFile::of(Box::new(Cursor::new(text.into())), "briefs".to_owned(), None, is_csv)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn all(mut file: BriefFile) -> Vec<Delivery> {
    block_on(async {
        let mut deliveries = Vec::new();
        while let Some(more) = file.receive(3).await {
            assert!(!more.is_empty() && more.len() <= 3);
            deliveries.extend(more);
            file.acknowledge().await;
        }
        assert_eq!(file.receive(3).await, None);
        deliveries
    })
}

/// `line: body` of each delivery, or `fault`.
fn shown(text: impl Into<Vec<u8>>, is_csv: bool) -> Vec<String> {
    let show = |delivery: Delivery| match delivery.fault {
        Some(fault) => fault,
        None => format!("{}: {}", delivery.position, String::from_utf8_lossy(&delivery.body)),
    };
    all(file(text, is_csv).unwrap()).into_iter().map(show).collect()
}

fn header_problem(header: &str) -> String {
    file(header, true).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn json_lines_come_with_their_line_numbers_without_blank_lines_and_byte_order_mark() {
    let text = "\u{feff}{\"a\":1}\r\n\n  \t\r\n{\"b\":\"\\\"\"}\n\"\n{\"c\":3}";
    assert_eq!(shown(text, false), ["1: {\"a\":1}", "4: {\"b\":\"\\\"\"}", "5: \"", "6: {\"c\":3}"]);
    assert_eq!(file(text, false).unwrap().readable_lines(), 4);
    assert_eq!(shown("", false), [""; 0]);
    assert_eq!(shown("\u{feff}", false), [""; 0]);
}

#[test]
fn the_size_of_a_batch_can_be_counted_by_what_is_readable() {
    let rules = brief::Rules::strict(1000);
    let mut briefs =
        file("{\"projectId\":\"p\",\"brief\":{}}\nnonsense\n{\"projectId\":\"p\"}\n", false).unwrap();
    assert_eq!(briefs.readable_lines(), 3);
    assert_eq!(briefs.count_readable(|delivery| brief::parse(delivery, &rules).is_ok()).unwrap(), 2);
    assert_eq!(all(briefs).len(), 3);
}

#[test]
fn a_line_that_is_too_long_is_a_fault_and_the_next_line_is_read() {
    let long = "x".repeat(4 * 1024 * 1024 + 1);
    assert_eq!(shown(format!("{{}}\n{long}\n{{}}\n"), false), ["1: {}", "line 2: more than 4 MiB", "3: {}"]);
    // An unclosed quotation mark takes no more than the longest row with it.
    let rows = format!("briefId,x\n1,\"{long}\n2,b\n");
    assert_eq!(shown(rows, true), ["line 2: more than 4 MiB", "3: {\"briefId\":\"2\",\"x\":\"b\"}"]);
}

#[test]
fn a_csv_row_becomes_the_message_that_a_person_would_have_written() {
    let text = "\u{feff}projectId,briefId,variantCount,brief.hook,brief.themeTags,budget.maxCredits,metadata.cms.id,targetPlatforms\r\n\
                acme,1,2,\"He said \"\"go\"\", twice\",fun | summer||,120,4711,tiktok\r\n\
                acme,2,many,,,,,\r\n\
                \r\n\
                ,,,,,,,\r\n\
                acme,3,,\"two\nlines\",,,,\r\n\
                acme,4, 1 ,x,|,0.5,,\r\n";
    assert_eq!(
        shown(text, true),
        [
            r#"2: {"projectId":"acme","briefId":"1","variantCount":2,"brief":{"hook":"He said \"go\", twice","themeTags":["fun","summer"]},"budget":{"maxCredits":120},"metadata":{"cms":{"id":"4711"}},"targetPlatforms":["tiktok"]}"#,
            r#"3: {"projectId":"acme","briefId":"2","variantCount":"many"}"#,
            r#"6: {"projectId":"acme","briefId":"3","brief":{"hook":"two\nlines"}}"#,
            r#"8: {"projectId":"acme","briefId":"4","variantCount":1,"brief":{"hook":"x","themeTags":[]},"budget":{"maxCredits":0.5}}"#,
        ]
    );
    assert_eq!(file(text, true).unwrap().readable_lines(), 4);
}

#[test]
fn a_metadata_column_may_hold_a_json_object_which_keeps_its_bytes() {
    let text = "projectId;metadata\np;\"{\"\"n\"\": 1e2, \"\"n\"\": 2}\"\np;plain\np;{broken\n";
    assert_eq!(
        shown(text, true),
        [
            r#"2: {"projectId":"p","metadata":{"n": 1e2, "n": 2}}"#,
            r#"3: {"projectId":"p","metadata":"plain"}"#,
            r#"4: {"projectId":"p","metadata":"{broken"}"#,
        ]
    );
}

#[test]
fn the_delimiter_is_found_in_the_header_line() {
    for delimiter in [',', ';', '\t'] {
        let text = format!("projectId{delimiter}\"brief.hook\"\np{delimiter}a|b, c\n")
            .replace("a|b, c", if delimiter == ',' { "\"a|b, c\"" } else { "a|b, c" });
        assert_eq!(shown(text, true), [r#"2: {"projectId":"p","brief":{"hook":"a|b, c"}}"#]);
    }
    assert_eq!(shown("projectId\np\n", true), [r#"2: {"projectId":"p"}"#]);
}

#[test]
fn a_bad_row_is_a_fault_that_names_its_line_and_hurts_no_other_row() {
    let text =
        b"projectId,brief.hook,\np,a,\np\np,a,b\np,\xff,\np,6\" screen,\np,a\rb,\np,z,\np,\"open,\np,lost,\n"
            .to_vec();
    assert_eq!(
        shown(text, true),
        [
            r#"2: {"projectId":"p","brief":{"hook":"a"}}"#,
            "line 3: 1 fields, but the header line names 3",
            "line 4: column 3 has a value, but no name in the header line",
            "line 5: is not UTF-8; save the file as UTF-8",
            r#"6: {"projectId":"p","brief":{"hook":"6\" screen"}}"#,
            "line 7: has a bare carriage return in it; save the file with LF or CRLF line ends",
            r#"8: {"projectId":"p","brief":{"hook":"z"}}"#,
            "line 9: a quotation mark is opened and never closed; what follows was not read",
        ]
    );
}

#[test]
fn a_header_that_names_no_fields_is_refused_with_one_line() {
    let cases = [
        ("", "briefs: the header line is missing; it names the field of each column"),
        ("\n\n", "briefs: the header line is missing; it names the field of each column"),
        (",,\n", "briefs: the header line is empty; it names the field of each column"),
        ("a,b,a\n", "briefs: the header line names `a` twice"),
        (
            "metadata.x,metadata\n",
            "briefs: the header line has both `metadata.x` and `metadata`; keep one of them",
        ),
        (
            "brief..hook\n",
            "briefs: the header line names `brief..hook`; dots stand between two names, like `brief.hook`",
        ),
        ("\"a,b\n", "briefs: the header line has a quotation mark that is not closed on it"),
        (
            "a\rb\r",
            "briefs: the header line has a bare carriage return in it; save the file with LF or CRLF line ends",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(header_problem(text), problem);
    }
    let latin1 = file(b"br\xfcef\n".to_vec(), true).map(|_| ()).unwrap_err().to_string();
    assert_eq!(latin1, "briefs: the header line is not UTF-8; save the file as UTF-8");
}

#[test]
fn files_are_told_apart_by_their_ending_and_what_cannot_be_opened_says_so() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("spring.jsonl"), "{}\n").unwrap();
    fs::write(path("SPRING.CSV"), "projectId\np\n").unwrap();
    fs::write(path("spring.xlsx"), "").unwrap();
    fs::create_dir(path("folder.csv")).unwrap();
    let opened = BriefFile::open(&path("spring.jsonl")).unwrap();
    assert_eq!((opened.stem(), opened.readable_lines()), (Some("spring"), 1));
    assert_eq!(all(BriefFile::open(&path("SPRING.CSV")).unwrap())[0].body, br#"{"projectId":"p"}"#);
    let problem = |name: &str| {
        let text = BriefFile::open(&path(name)).map(|_| ()).unwrap_err().to_string();
        text.replace(folder.path().to_str().unwrap(), "…")
    };
    assert_eq!(problem("none.jsonl"), "…/none.jsonl: no such file; check the path");
    assert_eq!(problem("folder.csv"), "…/folder.csv: is a directory; name a file in it");
    assert_eq!(
        problem("spring.xlsx"),
        "…/spring.xlsx: the ending must be .jsonl, .ndjson, .json, .csv or .tsv"
    );
}

#[test]
fn a_stopped_file_gives_nothing_more_and_a_pause_loses_nothing() {
    block_on(async {
        let mut briefs = file("1\n2\n3\n", false).unwrap();
        assert_eq!(briefs.receive(1).await.unwrap().len(), 1);
        briefs.pause(true).await;
        briefs.pause(false).await;
        assert_eq!(briefs.receive(1).await.unwrap()[0].position, 2);
        briefs.stop().await;
        assert_eq!(briefs.receive(1).await, None);
    });
}

fn outgoing(id: &str, body: &str) -> Outgoing {
    Outgoing {
        row: 1,
        channel: Channel::Record,
        routing_key: "container.completed.p".to_owned(),
        message_id: id.to_owned(),
        body: body.as_bytes().to_vec(),
        properties: Properties::default(),
    }
}

async fn send(sink: &mut JsonlSink, batch: &[Outgoing]) -> Vec<SendOutcome> {
    sink.ready().await;
    match sink.send(batch).await {
        ControlFlow::Continue(outcomes) => outcomes,
        ControlFlow::Break(()) => panic!("a file sink is always up"),
    }
}

#[test]
fn records_are_written_once_each_on_one_line_and_get_their_name_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("records.jsonl");
    fs::write(folder.path().join("records.jsonl.part"), "left behind by an interrupted command").unwrap();
    block_on(async {
        let mut sink = JsonlSink::create(Some(&path)).unwrap();
        let first = [outgoing("a", "{\"n\":\r\n1}"), outgoing("b", "{}"), outgoing("a", "{\"n\":\r\n1}")];
        assert_eq!(send(&mut sink, &first).await, [SendOutcome::Sent; 3]);
        assert_eq!(
            send(&mut sink, &[outgoing("b", "{}"), outgoing("c", "[]")]).await,
            [SendOutcome::Sent; 2]
        );
        assert_eq!(sink.report().records(), 3);
        assert!(!path.exists());
        sink.finish().unwrap();
    });
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":  1}\n{}\n[]\n");
    assert!(!folder.path().join("records.jsonl.part").exists());
}

#[test]
fn half_a_line_of_an_append_that_failed_is_not_left_in_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("records.jsonl");
    let mut part = part_file::PartFile::create(&path).unwrap();
    part.append(b"{}\n").unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("records.jsonl.part"))
        .and_then(|mut file| io::Write::write_all(&mut file, b"{\"half"))
        .unwrap();
    part.append(b"[]\n").unwrap();
    part.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n[]\n");
}

#[test]
fn only_the_owner_may_read_a_file_of_records() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("records.jsonl");
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    let part = part_file::PartFile::create(&path).unwrap();
    assert_eq!(mode("records.jsonl.part"), 0o600);
    part.finish().unwrap();
    assert_eq!(mode("records.jsonl"), 0o600);
}

#[test]
fn a_file_that_cannot_be_written_is_found_at_the_start() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(JsonlSink::create(Some(folder.path())), Err(FileError::IsDirectory(_))));
    assert!(matches!(
        JsonlSink::create(Some(Path::new("/no/such/folder/records.jsonl"))),
        Err(FileError::Write { .. })
    ));
}

#[test]
fn dead_letters_are_noted_with_line_and_reason_and_not_written() {
    block_on(async {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&seen);
        let mut sink = JsonlSink::with(Box::new(move |outgoing| {
            hook.lock().unwrap().push(outgoing.message_id.clone());
            Ok(())
        }));
        let mut dead = outgoing("d", "nonsense");
        dead.channel = Channel::DeadLetter;
        dead.properties.headers = BTreeMap::from([
            ("x-briefd-reason".to_owned(), json!("UNREADABLE")),
            ("x-briefd-detail".to_owned(), json!("the message is not JSON")),
            ("x-briefd-position".to_owned(), json!(7)),
        ]);
        let mut brief = outgoing("b", "{}");
        brief.channel = Channel::Brief;
        let outcomes = send(&mut sink, &[outgoing("a", "{}"), dead, brief]).await;
        assert_eq!(outcomes, [SendOutcome::Sent, SendOutcome::Sent, SendOutcome::Impossible]);
        assert_eq!(*seen.lock().unwrap(), ["a"]);
        let report = sink.report();
        let (reason, detail) = ("UNREADABLE".to_owned(), "the message is not JSON".to_owned());
        assert_eq!(report.dead_letters(), [DeadLetterNote { line: Some(7), reason, detail }]);
        assert_eq!((report.dead_letter_count(), report.records()), (1, 1));
        sink.finish().unwrap();
    });
}

#[test]
fn a_closed_pipe_is_noted_quietly_and_nothing_more_is_tried() {
    block_on(async {
        let calls = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&calls);
        let mut sink = JsonlSink::with(Box::new(move |_| {
            *counted.lock().unwrap() += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }));
        let report = sink.report();
        assert_eq!(send(&mut sink, &[outgoing("a", "{}")]).await, [SendOutcome::Refused]);
        assert!(report.closed());
        assert_eq!(send(&mut sink, &[outgoing("a", "{}")]).await, [SendOutcome::Refused]);
        assert_eq!((*calls.lock().unwrap(), report.records()), (1, 0));
    });
}

#[test]
fn a_full_disk_is_told_and_only_what_was_not_written_is_written_by_the_next_try() {
    block_on(async {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&seen);
        let mut room = 1;
        let mut sink = JsonlSink::with(Box::new(move |outgoing| {
            room -= 1;
            if room == -1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            hook.lock().unwrap().push(outgoing.message_id.clone());
            Ok(())
        }));
        let report = sink.report();
        let batch = [outgoing("a", "{}"), outgoing("b", "{}")];
        assert_eq!(send(&mut sink, &batch).await, [SendOutcome::Sent, SendOutcome::Refused]);
        assert!(!report.closed() && report.trouble().is_some());
        assert_eq!(send(&mut sink, &batch).await, [SendOutcome::Sent; 2]);
        assert_eq!((report.trouble(), report.records()), (None, 2));
        assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
    });
}

#[test]
fn a_file_that_lacks_records_does_not_get_its_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("records.jsonl");
    let sink = JsonlSink::create(Some(&path)).unwrap();
    sink.report().note_write(0, Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(sink.finish(), Err(FileError::Write { .. })));
    assert!(!path.exists());
}

/// A brief as its fields: texts, a number and a list.
fn fields() -> impl Strategy<Value = (String, Option<String>, Option<u8>, Vec<String>)> {
    // Cells are trimmed, `|` splits lists, an empty cell is an absent field, and a bare CR is refused.
    let cell = "[a-zé\"',;\t|]?[a-z \"',;\n\t|é]{0,12}[a-zé\"]";
    let entry = "[a-zé\"',; ]{0,6}[a-z]";
    (
        "[a-z0-9]{1,8}",
        prop::option::of(cell.prop_map(|text: String| text.trim().to_owned())),
        prop::option::of(0..9_u8),
        prop::collection::vec(entry.prop_map(|text: String| text.trim().to_owned()), 0..4),
    )
}

proptest! {
    #[test]
    fn the_same_briefs_as_csv_and_as_json_lines_are_the_same_messages(
        briefs in prop::collection::vec(fields(), 1..6), delimiter in prop_oneof![Just(b','), Just(b';'), Just(b'\t')],
    ) {
        let mut table = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        table.write_record(["briefId", "brief.hook", "variantCount", "brief.themeTags"]).unwrap();
        let mut lines = String::new();
        for (id, hook, count, tags) in briefs {
            let cells = [id.clone(), hook.clone().unwrap_or_default(), count.map(|count| count.to_string()).unwrap_or_default(), tags.join("|")];
            table.write_record(&cells).unwrap();
            let mut message = json!({"briefId": id});
            if let Some(hook) = hook {
                message["brief"]["hook"] = json!(hook);
            }
            if let Some(count) = count {
                message["variantCount"] = json!(count);
            }
            if !tags.is_empty() {
                message["brief"]["themeTags"] = json!(tags);
            }
            lines.push_str(&message.to_string());
            lines.push('\n');
        }
        let read = |text: Vec<u8>, is_csv| {
            let deliveries = all(file(text, is_csv).unwrap());
            deliveries.into_iter().map(|delivery| {
                assert_eq!(delivery.fault, None);
                serde_json::from_slice::<Value>(&delivery.body).unwrap()
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(read(table.into_inner().unwrap(), true), read(lines.into_bytes(), false));
    }

    #[test]
    fn reading_a_file_never_panics_and_positions_rise(text in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[ab,\"\n\r|{}\\.]{0,300}".prop_map(String::into_bytes),
    ], is_csv in any::<bool>()) {
        if let Ok(briefs) = file(text, is_csv) {
            let readable = briefs.readable_lines();
            let deliveries = all(briefs);
            prop_assert!(deliveries.windows(2).all(|pair| pair[0].position < pair[1].position));
            let good = deliveries.iter().filter(|delivery| delivery.fault.is_none()).count();
            prop_assert_eq!(u64::try_from(good).unwrap(), readable);
        }
    }
}
