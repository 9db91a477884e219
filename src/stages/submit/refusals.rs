//! Counts refusals in a row, so that a mistake that all briefs of a batch share does not use up the whole batch.
//!
//! Counted in memory: a restart begins anew, which costs `submit.stop_after_refusals` briefs more. Of more than
//! [`BATCHES`] batches at once those are forgotten that had one refusal only, then all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::ledger::{Hold, HoldScope};
use crate::record::RecordError;

/// Batches that are counted at once.
const BATCHES: usize = 10_000;
/// Layers that are named at most.
const LAYERS_NAMED: usize = 10;

/// A batch of one project: the project's id, and the batch's or ''.
pub(super) type BatchOfProject = (String, String);

/// Refusals in a row, by project and batch.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<BatchOfProject, InARow>>);

#[derive(Debug)]
struct InARow {
    code: String,
    n: u32,
    /// The batch is held for it; until it is released nothing is counted.
    held: bool,
}

impl Refusals {
    /// A brief was refused for good. Returns whether it was one too many.
    pub(super) fn refused(&self, of: &BatchOfProject, code: &str, limit: u32) -> bool {
        let mut rows = self.rows();
        if rows.len() >= BATCHES && !rows.contains_key(of) {
            rows.retain(|_, row| row.n > 1);
            if rows.len() >= BATCHES {
                rows.clear();
            }
        }
        let row =
            rows.entry(of.clone()).or_insert_with(|| InARow { code: code.to_owned(), n: 0, held: false });
        if row.held {
            return false;
        }
        if row.code != code {
            code.clone_into(&mut row.code);
            row.n = 0;
        }
        row.n = row.n.saturating_add(1);
        row.n >= limit
    }

    /// A start was accepted: what was refused before was no mistake of the whole batch.
    pub(super) fn accepted(&self, of: &BatchOfProject) {
        self.rows().remove(of);
    }

    /// The batch is held now.
    pub(super) fn hold(&self, of: &BatchOfProject) {
        if let Some(row) = self.rows().get_mut(of) {
            row.held = true;
        }
    }

    /// The batches that are held.
    pub(super) fn held(&self) -> Vec<BatchOfProject> {
        self.rows().iter().filter(|(_, row)| row.held).map(|(of, _)| of.clone()).collect()
    }

    /// Counts those anew that were held before `holds` were read, and are not any more.
    pub(super) fn forget_released(&self, held: &[BatchOfProject], holds: &[Hold]) {
        let mut rows = self.rows();
        for of in held {
            let in_force = |hold: &Hold| {
                let same = HoldScope::Batch { project: Some(of.0.clone()), batch: of.1.clone() };
                hold.by_api && hold.scope == same
            };
            if !holds.iter().any(in_force) {
                rows.remove(of);
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<BatchOfProject, InARow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API said, and what mends it.
pub(super) fn what_mends(error: &RecordError) -> String {
    let mends = match (error.code.as_str(), candidates(error)) {
        ("CONFLICT", Some(layers)) => format!(
            "several layers: {layers}; set projectLayerId in the briefs or send the file again with it"
        ),
        ("NOT_FOUND", _) => "make sure that the project, its layer and the influencer exist".to_owned(),
        ("VALIDATION_FAILED" | "VALIDATION" | "MODERATION_BLOCKED", _) => {
            "change it in the briefs and send them again".to_owned()
        }
        _ => "see what the briefs have in common, change it and send them again".to_owned(),
    };
    let message = error.message.trim_end().trim_end_matches('.');
    if message.is_empty() { mends } else { format!("{message}: {mends}") }
}

/// The layers that a conflict names.
fn candidates(error: &RecordError) -> Option<String> {
    let candidates = error.details.as_ref()?.get("candidates")?.as_array()?;
    let id = |layer: &Value| {
        let named = ["projectLayerId", "id"].iter().find_map(|name| layer.get(name)?.as_str());
        named.or_else(|| layer.as_str()).map(ToOwned::to_owned)
    };
    let layers: Vec<String> = candidates.iter().filter_map(id).take(LAYERS_NAMED).collect();
    (!layers.is_empty()).then(|| layers.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::Source;

    fn of(batch: &str) -> BatchOfProject {
        ("p".to_owned(), batch.to_owned())
    }

    #[test]
    fn only_refusals_in_a_row_with_one_code_within_a_batch_count() {
        let refusals = Refusals::default();
        let refused = |batch: &str, code: &str| refusals.refused(&of(batch), code, 3);
        assert_eq!([refused("a", "X"), refused("a", "X"), refused("b", "X")], [false; 3]);
        refusals.accepted(&of("a"));
        assert_eq!([refused("a", "X"), refused("a", "X"), refused("a", "Y"), refused("a", "X")], [false; 4]);
        assert_eq!([refused("a", "X"), refused("a", "X")], [false, true]);
    }

    #[test]
    fn a_batch_that_is_released_is_counted_anew() {
        let refusals = Refusals::default();
        assert!(refusals.refused(&of(""), "X", 1));
        refusals.hold(&of(""));
        assert!(!refusals.refused(&of(""), "X", 1), "it is held already");
        let held = refusals.held();
        let scope = HoldScope::Batch { project: Some("p".to_owned()), batch: String::new() };
        refusals.forget_released(&held, &[super::super::holds::tests::hold(scope, true)]);
        assert_eq!(refusals.held(), held);
        refusals.forget_released(&held, &[]);
        assert!(refusals.refused(&of(""), "X", 1));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let refusals = Refusals::default();
        assert!(!refusals.refused(&of("known"), "X", 3));
        assert!(!refusals.refused(&of("known"), "X", 3));
        for number in 0..3 * BATCHES {
            refusals.refused(&of(&number.to_string()), "X", 3);
        }
        assert!(refusals.rows().len() <= BATCHES);
        assert!(refusals.refused(&of("known"), "X", 3), "one that has more is kept");
    }

    #[test]
    fn the_layers_to_choose_from_are_named() {
        let mut error = RecordError::new(Source::Layers, "CONFLICT", "The project has several layers.");
        for candidates in [json!(["a", "b"]), json!([{"projectLayerId": "a"}, {"id": "b", "name": "B"}])] {
            error.details = Some(json!({ "candidates": candidates }));
            assert_eq!(
                what_mends(&error),
                "The project has several layers: several layers: a, b; set projectLayerId in the briefs or send the file \
                 again with it"
            );
        }
    }
}
