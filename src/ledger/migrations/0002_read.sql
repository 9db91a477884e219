-- The order in which people read: a batch's briefs as they came, and which batches are the newest.
CREATE INDEX brief_batch_order ON brief (batch_id, id);
