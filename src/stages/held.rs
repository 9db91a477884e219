//! Saying that starts are held: one line when a hold is set, in the words of `/readyz` and `briefd status`.

use super::Desk;
use crate::ledger::Hold;

/// Says that a hold was set: whose, why, how many wait, what to do.
pub async fn say_held(desk: &Desk, hold: &Hold) {
    // The sentence matters more than the number in it.
    let waiting = desk.ledger.reader().waiting_behind(hold).await.ok();
    let sentence = hold.sentence(desk.project_name(hold.scope.project()), waiting, desk.clock.now_ms());
    tracing::warn!(
        scope = hold.scope.word(),
        project.id = hold.scope.project(),
        batch.id = hold.scope.batch(),
        reason = hold.reason,
        "starts are held: {sentence}"
    );
}
