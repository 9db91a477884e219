//! What commands ask in statements that are made up of parts.

use crate::ledger::{BriefFilter, CancelOf, LedgerError, Reader, RecordFilter, RerunFilter, Waiting};

/// Asks each of them once.
pub(crate) async fn ask(reader: &Reader) -> Result<(), LedgerError> {
    let (batch, project) = (Some("b".to_owned()), Some("p".to_owned()));
    let waiting = Waiting::new(&[], 0);
    for (batch, plan) in [(None, None), (batch.clone(), None), (None, Some(1))] {
        let filter = BriefFilter { batch, plan, since_ms: Some(1), ..BriefFilter::default() };
        reader.brief_lines(&filter, &waiting, 0, 10).await?;
    }
    for (batch, briefs) in [(None, Vec::new()), (batch.clone(), Vec::new()), (None, vec!["k".to_owned()])] {
        let filter = RerunFilter { batch, briefs, ..RerunFilter::default() };
        reader.rerunnable(&filter, 0, 10).await?;
    }
    for (batch, project) in [(batch.clone(), None), (None, project), (None, None)] {
        let filter = RecordFilter { batch, project, ..RecordFilter::default() };
        reader.records_after(&filter, 0, 10).await?;
        reader.record_ids(&filter, (0, 10)).await?;
        reader.records_to_send_again(&filter, 10).await?;
    }
    for of in [CancelOf::Brief(1), CancelOf::Batch { batch: "b".to_owned(), project: None, up_to: i64::MAX }]
    {
        reader.nameless(&of).await?;
    }
    reader.cancel_counts(1).await?;
    reader.known_containers(&["c"]).await?;
    reader.containers_of("p", (0, 1), (0, 0)).await?;
    reader.prunable(1).await?;
    Ok(())
}
