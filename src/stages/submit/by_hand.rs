//! The stage turned by hand, for simulations that move the clock themselves.

use super::{Round, Submit, UnderWay};

/// The stage and what it has under way.
pub(crate) struct ByHand {
    stage: Submit,
    under_way: UnderWay,
}

impl ByHand {
    pub(crate) fn new(stage: Submit) -> Self {
        Self { stage, under_way: UnderWay::default() }
    }

    /// One round, and whatever it started to its end. Returns whether more may be due at once.
    pub(crate) async fn turn(&mut self) -> bool {
        let round = self.stage.round(&mut self.under_way).await.unwrap();
        let mut posts = 0;
        while let Some(ended) = self.under_way.posts.join_next().await {
            ended.unwrap();
            posts += 1;
        }
        while let Some(ended) = self.under_way.inspections.join_next().await {
            ended.unwrap();
        }
        self.under_way.take_ended();
        posts > 0 || matches!(round, Round::Busy)
    }
}
