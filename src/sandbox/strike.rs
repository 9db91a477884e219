//! What strikes one request: what it asks for itself in `X-Sandbox-Fault`, else what its brief wished for, else chance.

use std::collections::BTreeMap;

use axum::http::HeaderMap;

use super::call::{Call, Class};
use super::draw::Draw;
use super::errors::Refusal;
use super::faults::{Fault, Moment};
use super::reply::{Reply, internal_error};
use super::routes::Visit;
use super::time::http_date;
use super::wire::Cut;

/// The request header that names faults, `NAME[,NAME]`; they strike this request and no other.
const HEADER: &str = "x-sandbox-fault";

/// What strikes one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strike {
    /// Instead of the work.
    pub(super) before: Option<Fault>,
    /// The answer comes late.
    pub(super) slow: Option<Fault>,
    /// What becomes of the answer; also for reads.
    pub(super) answer: Option<Fault>,
}

impl Strike {
    /// Exactly these, as far as they belong to requests of this class.
    pub(super) fn named(faults: &[Fault], class: Class) -> Self {
        let slow = |fault: &Fault| matches!(fault, Fault::Slow | Fault::ReadSlow);
        let wanted = if class == Class::Read { Moment::Read } else { Moment::After };
        let of_moment = |moment| faults.iter().filter(move |fault| fault.moment() == moment);
        Self {
            before: of_moment(Moment::Before).next().copied(),
            slow: of_moment(wanted).find(|fault| slow(fault)).copied(),
            answer: of_moment(wanted).find(|fault| !slow(fault)).copied(),
        }
    }

    /// What chance brings to a start or a read. Short writes are spared.
    pub(super) fn by_chance(shares: &BTreeMap<Fault, f64>, class: Class, draw: Draw) -> Self {
        let hits = |(fault, share): (&Fault, &f64)| draw.hits(fault.name(), *share).then_some(*fault);
        let strike = Self::named(&shares.iter().filter_map(hits).collect::<Vec<_>>(), class);
        match class {
            Class::Start => strike,
            Class::Read => Self { before: None, ..strike },
            Class::Write => Self::default(),
        }
    }

    /// Whether the caller does not learn what became of its request.
    pub(super) fn loses_answer(self) -> bool {
        self.answer.is_some()
    }

    /// Every fault in it.
    pub(super) fn faults(self) -> impl Iterator<Item = Fault> {
        // What strikes before the work leaves nothing for the others to strike.
        let after = if self.before.is_some() { [None, None] } else { [self.slow, self.answer] };
        [self.before].into_iter().chain(after).flatten()
    }
}

/// The faults that a request asks for. An unknown one, or one that cannot strike it, is refused: a test that asks
/// in vain proves nothing.
pub(super) fn asked_for(headers: &HeaderMap, call: &Call) -> Result<Vec<Fault>, Refusal> {
    let mut faults = Vec::new();
    for value in headers.get_all(HEADER) {
        let names = value.to_str().map_err(|_| Refusal::invalid(HEADER, "must be names of faults"))?;
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let fault: Fault = name.parse().map_err(|error| Refusal::invalid(HEADER, &format!("{error}")))?;
            if !fault.fits(call) {
                return Err(Refusal::invalid(HEADER, &format!("{name} cannot strike this request")));
            }
            faults.push(fault);
        }
    }
    Ok(faults)
}

/// The answer of a fault that strikes before the work.
pub(super) fn instead_of_work(fault: Fault, draw: Draw, visit: &Visit<'_>) -> Reply {
    let unknown = |status| Refusal::new(status, "QUANTUM_FLUX", "Something that no documentation mentions.");
    let refusal = match fault {
        Fault::ResetBefore => return Reply { cut: Some(Cut::Reset), ..Reply::default() },
        Fault::KillSwitch => Refusal::kill_switch(),
        Fault::OddRetryAfter => oddly_rate_limited(draw, visit.now_ms),
        Fault::OddRetryAfterDate => odd_retry_after(0, visit.now_ms),
        Fault::OddRetryAfterAbsent => odd_retry_after(1, visit.now_ms),
        Fault::OddRetryAfterZero => odd_retry_after(2, visit.now_ms),
        Fault::OddRetryAfterHuge => odd_retry_after(3, visit.now_ms),
        Fault::OddRetryAfterNegative => odd_retry_after(4, visit.now_ms),
        Fault::OddRetryAfterNonsense => odd_retry_after(5, visit.now_ms),
        Fault::UnknownCode => unknown(422),
        Fault::UnknownCode403 => unknown(403),
        Fault::UnknownCode500 => unknown(500),
        // The others do not strike before the work.
        Fault::Error500
        | Fault::AcceptedUnanswered
        | Fault::AcceptedReset
        | Fault::Accepted500
        | Fault::Error502Html
        | Fault::CutJson
        | Fault::Slow
        | Fault::ReadReset
        | Fault::ReadError500
        | Fault::ReadError502Html
        | Fault::ReadCutJson
        | Fault::ReadOddRetryAfter
        | Fault::ReadSlow
        | Fault::UnknownStatus
        | Fault::CancelIgnored => internal_error(),
    };
    visit.refused(&refusal)
}

/// A 429 with any of the odd forms.
pub(super) fn oddly_rate_limited(draw: Draw, now_ms: i64) -> Refusal {
    odd_retry_after(draw.between("odd retry after", 0, 5), now_ms)
}

fn odd_retry_after(form: u64, now_ms: i64) -> Refusal {
    let retry_after = match form {
        0 => Some(http_date(now_ms.saturating_add(2_000))),
        1 => None,
        2 => Some("0".to_owned()),
        3 => Some("99999999999".to_owned()),
        4 => Some("-5".to_owned()),
        _ => Some("soon".to_owned()),
    };
    Refusal { retry_after, ..Refusal::rate_limited(1) }
}
