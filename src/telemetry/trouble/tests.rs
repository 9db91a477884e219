use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::job::{NoAnswer, Refusal};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines from info on, without their times.
fn logged(events: impl FnOnce(&TroubleLog, &Clock)) -> Vec<String> {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
    let log = TroubleLog::new(clock.clone());
    tracing::subscriber::with_default(subscriber, || events(&log, &clock));
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn incident<'a>(kind: &'a str, brief: &'a str, weight: Weight) -> Incident<'a> {
    Incident {
        subject: "submit",
        kind,
        weight,
        then: "each is repeated under the same key, nothing is bought twice",
        stage: "submit",
        job: Some(7),
        brief,
        batch: "spring",
        attempt: Some(1),
        trace: TraceIds::default(),
        detail: "no answer within 30 s",
    }
}

fn lost(kind: NoAnswerKind, status: Option<u16>) -> Trouble {
    Trouble::NoAnswer(NoAnswer { kind, status, detail: String::new() })
}

fn refusal(status: u16, code: &str) -> Trouble {
    Trouble::Refusal(Refusal {
        status,
        code: code.to_owned(),
        message: String::new(),
        request_id: None,
        details: None,
        retry_after: None,
    })
}

#[test]
fn three_hundred_attempts_of_six_kinds_are_a_line_or_two_for_each_kind() {
    let troubles = [
        lost(NoAnswerKind::Timeout, None),
        lost(NoAnswerKind::Reset, None),
        lost(NoAnswerKind::Unreadable, Some(502)),
        lost(NoAnswerKind::Unreadable, Some(202)),
        refusal(500, "INTERNAL"),
        refusal(429, "RATE_LIMITED"),
    ];
    let lines = logged(|log, clock| {
        for n in 0..300 {
            let kind = kind_of(&troubles[n % troubles.len()]);
            log.note(&incident(&kind, &format!("b-{n}"), Weight::Warning));
            clock.advance(Duration::from_millis(300));
            log.look();
        }
    });
    for trouble in &troubles {
        let of_kind: Vec<_> = lines.iter().filter(|line| line.contains(&kind_of(trouble))).collect();
        assert_eq!(of_kind.len(), 2, "{lines:#?}");
        assert!(of_kind[1].contains("still, "), "{}", of_kind[1]);
    }
    assert_eq!(lines.len(), 12, "{lines:#?}");
}

#[test]
fn a_trouble_is_told_with_its_first_example_then_counted_then_over() {
    let lines = logged(|log, clock| {
        for n in 0..2_000 {
            log.note(&incident("502 without an envelope", &format!("b-{n}"), Weight::Warning));
            clock.advance(Duration::from_millis(900));
            log.look();
        }
        clock.advance(Duration::from_mins(5));
        log.look(); // nobody has answered yet
        log.answered("job");
        log.look();
        log.answered("submit");
        log.look();
        log.look();
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_refusal_is_a_line_and_more_of_them_one_more_line() {
    let lines = logged(|log, clock| {
        for _ in 0..20 {
            log.note(&incident("refused with CONFLICT in acme-fit", "b", Weight::Notice));
            log.answered("submit");
        }
        log.note(&incident("refused with NOT_FOUND in nova", "b", Weight::Notice));
        log.answered("submit");
        clock.advance(Duration::from_secs(61));
        log.look();
    });
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("INFO")), "{lines:#?}");
    assert!(
        lines[2].ends_with("CONFLICT in acme-fit: 20 times in 1 min, none in the last minute"),
        "{}",
        lines[2]
    );
}

#[test]
fn what_somebody_else_says_is_only_said_to_go_on() {
    let lines = logged(|log, clock| {
        for _ in 0..70 {
            log.note(&incident("no connection", "b", Weight::SaidElsewhere));
            clock.advance(Duration::from_secs(1));
            log.look();
        }
        log.answered("submit");
        clock.advance(Duration::from_secs(61));
        log.look();
    });
    assert_eq!(lines, ["WARN submit: no connection: still, 59 more in the last 1 min"]);
}

#[test]
fn kinds_without_number_share_one_line() {
    let lines = logged(|log, _| {
        for n in 0..1_000 {
            log.note(&incident(&format!("4{n} NEW"), "b", Weight::Warning));
        }
    });
    assert_eq!(lines.len(), KEYS_MAX + 1);
}

#[test]
fn a_kind_from_outside_cannot_forge_a_line() {
    let lines = logged(|log, _| {
        log.note(&incident(&kind_of(&refusal(418, &"A\nWARN forged ".repeat(40))), "b", Weight::Warning));
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].chars().count() < 400);
}
