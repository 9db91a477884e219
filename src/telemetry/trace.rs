//! PURE. The trace that a brief belongs to, as fields of log lines, so that a search for a trace finds what became of it.
//!
//! briefd makes no spans of its own: the pipeline's `traceparent` and `tracestate` go on to the API and onto the
//! records as they came. Here they are only read.

/// The ids of a `traceparent`; both `None` where there is none, or it is not one by W3C Trace Context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceIds<'a> {
    /// The whole trace: 32 hexadecimal digits.
    pub trace: Option<&'a str>,
    /// The span that sent the brief: 16 hexadecimal digits.
    pub parent: Option<&'a str>,
}

impl<'a> TraceIds<'a> {
    /// Reads them from a message's `traceparent`.
    pub fn of(traceparent: Option<&'a str>) -> Self {
        traceparent.and_then(read).unwrap_or_default()
    }
}

fn read(text: &str) -> Option<TraceIds<'_>> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may add parts at the end; version 00 has none.
    let whole = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let told = |id: &str, length| hex(id, length) && id.bytes().any(|digit| digit != b'0');
    (whole && told(trace, 32) && told(parent, 16) && hex(flags, 2))
        .then_some(TraceIds { trace: Some(trace), parent: Some(parent) })
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn the_ids_of_a_traceparent_are_told() {
        let ids = TraceIds { trace: Some(TRACE), parent: Some(PARENT) };
        assert_eq!(TraceIds::of(Some(&format!("00-{TRACE}-{PARENT}-01"))), ids);
        assert_eq!(TraceIds::of(Some(&format!("01-{TRACE}-{PARENT}-01-more"))), ids, "a later version");
    }

    #[test]
    fn what_is_no_traceparent_tells_nothing() {
        let zeros = "0".repeat(32);
        let unfit = [
            String::new(),
            "00-a-b-01".to_owned(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}\n-{PARENT}-01"),
        ];
        for text in unfit {
            assert_eq!(TraceIds::of(Some(&text)), TraceIds::default(), "{text}");
        }
        assert_eq!(TraceIds::of(None), TraceIds::default());
    }
}
