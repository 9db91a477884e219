-- Growth: what ended long ago leaves a tombstone.

-- What is kept of a pruned brief beside its row, for ever: a repeat of it must not be bought again.
CREATE TABLE tombstone (
    brief       BIGINT NOT NULL PRIMARY KEY REFERENCES brief (id),
    fingerprint TEXT   NOT NULL,            -- of its last run
    containers  TEXT   NOT NULL             -- their ids at the API, JSON
);

-- What may be pruned, oldest first, and whether a batch has something younger.
CREATE INDEX brief_ended ON brief (changed_at, id)
    WHERE pruned_at IS NULL AND state IN ('completed', 'partial', 'failed', 'canceled');
CREATE INDEX brief_batch_ended ON brief (batch_id, changed_at)
    WHERE pruned_at IS NULL AND state IN ('completed', 'partial', 'failed', 'canceled');
CREATE INDEX outbox_dead_sent ON outbox (created_at, id) WHERE channel = 'dead_letter' AND state IN ('sent', 'dropped');
DROP INDEX delivery_brief;
CREATE INDEX delivery_brief ON delivery (brief, at, id);

-- The tally counts what is there.
CREATE TRIGGER brief_pruned AFTER UPDATE OF pruned_at ON brief WHEN old.pruned_at IS NULL AND new.pruned_at IS NOT NULL BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'brief' AND state = new.state AND label = new.project_id;
END;
CREATE TRIGGER job_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'job' AND state = old.state;
END;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'outbox' AND state = old.state;
END;
