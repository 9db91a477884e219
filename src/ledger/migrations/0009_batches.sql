-- When a batch of the queue has ended. What `batch.finished` says is counted from the rows; these numbers only tell when
-- counting is worth while, so that no settlement ever scans a batch. Kept by triggers, whatever changes a brief.
CREATE TABLE batch (
    batch_id TEXT    NOT NULL PRIMARY KEY,
    size     BIGINT,                        -- the first batchSize that a message gave
    received BIGINT  NOT NULL,              -- its briefs
    ended    BIGINT  NOT NULL,              -- of these, in the end of their current run
    unsent   BIGINT  NOT NULL,              -- their records that are not confirmed, or shall be once more
    changed  BOOLEAN NOT NULL,              -- since its rows were counted last
    revision BIGINT  NOT NULL,              -- of its last batch.finished; 0: none yet
    counts   TEXT                           -- that one's, by project, as JSON
);
-- Empty but for the moment between the end of a batch and its record.
CREATE INDEX batch_over ON batch (batch_id) WHERE changed AND unsent = 0 AND ended = received AND size <= ended;

INSERT INTO batch (batch_id, size, received, ended, unsent, changed, revision)
    SELECT b.batch_id,
        (SELECT r.batch_size FROM brief s JOIN run r ON r.brief = s.id
            WHERE s.batch_id = b.batch_id AND s.input = 'queue' AND r.batch_size IS NOT NULL ORDER BY s.id, r.run LIMIT 1),
        count(*), count(*) FILTER (WHERE b.state IN ('completed', 'partial', 'failed', 'canceled')),
        (SELECT count(*) FROM brief s JOIN outbox o ON o.brief = s.id WHERE s.batch_id = b.batch_id
            AND o.channel = 'record' AND o.input = 'queue' AND o.state IN ('pending', 'parked')),
        TRUE, 0
    FROM brief b WHERE b.batch_id <> '' AND b.input = 'queue' GROUP BY b.batch_id;

CREATE TRIGGER brief_of_batch_new AFTER INSERT ON brief WHEN new.batch_id <> '' AND new.input = 'queue' BEGIN
    INSERT INTO batch (batch_id, received, ended, unsent, changed, revision)
        VALUES (new.batch_id, 1, new.state IN ('completed', 'partial', 'failed', 'canceled'), 0, TRUE, 0)
        ON CONFLICT (batch_id) DO UPDATE SET received = batch.received + 1, ended = batch.ended + excluded.ended, changed = TRUE;
END;
-- A file's brief that the queue asks for becomes the queue's, and the other way round.
CREATE TRIGGER brief_of_batch_moved AFTER UPDATE OF input ON brief WHEN new.batch_id <> '' AND old.input <> new.input BEGIN
    INSERT INTO batch (batch_id, received, ended, unsent, changed, revision) VALUES (new.batch_id, 0, 0, 0, TRUE, 0)
        ON CONFLICT (batch_id) DO NOTHING;
    UPDATE batch SET received = received + (new.input = 'queue') - (old.input = 'queue'),
        ended = ended + (new.input = 'queue' AND old.state IN ('completed', 'partial', 'failed', 'canceled'))
            - (old.input = 'queue' AND old.state IN ('completed', 'partial', 'failed', 'canceled')), changed = TRUE
        WHERE batch_id = new.batch_id;
END;
CREATE TRIGGER brief_of_batch_ended AFTER UPDATE OF state ON brief
    WHEN new.batch_id <> '' AND new.input = 'queue' AND old.state <> new.state
    AND (old.state IN ('completed', 'partial', 'failed', 'canceled') OR new.state IN ('completed', 'partial', 'failed', 'canceled'))
BEGIN
    UPDATE batch SET ended = ended + (new.state IN ('completed', 'partial', 'failed', 'canceled'))
        - (old.state IN ('completed', 'partial', 'failed', 'canceled')), changed = TRUE WHERE batch_id = new.batch_id;
END;
CREATE TRIGGER record_of_batch_new AFTER INSERT ON outbox
    WHEN new.brief IS NOT NULL AND new.channel = 'record' AND new.input = 'queue'
BEGIN
    UPDATE batch SET unsent = unsent + 1, changed = TRUE WHERE batch_id = (SELECT batch_id FROM brief WHERE id = new.brief);
END;
CREATE TRIGGER record_of_batch_moved AFTER UPDATE OF state, input ON outbox
    WHEN new.brief IS NOT NULL AND new.channel = 'record' AND (old.input = 'queue' AND old.state IN ('pending', 'parked'))
        <> (new.input = 'queue' AND new.state IN ('pending', 'parked'))
BEGIN
    -- Its brief may become the queue's a moment later.
    INSERT INTO batch (batch_id, received, ended, unsent, changed, revision)
        SELECT batch_id, 0, 0, 0, TRUE, 0 FROM brief WHERE id = new.brief AND batch_id <> '' AND old.input <> new.input
        ON CONFLICT (batch_id) DO NOTHING;
    UPDATE batch SET unsent = unsent + (new.input = 'queue' AND new.state IN ('pending', 'parked'))
        - (old.input = 'queue' AND old.state IN ('pending', 'parked'))
        WHERE batch_id = (SELECT batch_id FROM brief WHERE id = new.brief);
END;

-- What was pruned of a batch still counts, should the batch ever end again.
CREATE TABLE batch_pruned (
    batch_id   TEXT   NOT NULL,
    project_id TEXT   NOT NULL,
    status     TEXT   NOT NULL,             -- of containers; 'credits': what they are thought to have cost
    n          BIGINT NOT NULL,
    PRIMARY KEY (batch_id, project_id, status)
);
CREATE TRIGGER container_of_batch_gone AFTER DELETE ON container BEGIN
    INSERT INTO batch_pruned (batch_id, project_id, status, n) SELECT batch_id, project_id, old.status, 1
        FROM brief WHERE id = old.brief AND batch_id <> '' AND input = 'queue'
        ON CONFLICT (batch_id, project_id, status) DO UPDATE SET n = n + 1;
END;

-- Of a record that is about a whole batch: which.
ALTER TABLE outbox ADD COLUMN batch_id TEXT;
CREATE INDEX outbox_batch ON outbox (batch_id) WHERE batch_id IS NOT NULL;
-- What the record says that it cost, apart from its body: a batch adds them up.
ALTER TABLE outbox ADD COLUMN credits BIGINT;
UPDATE outbox SET credits = json_extract(CAST(body AS TEXT), '$.creditsEstimate') WHERE channel = 'record' AND brief IS NOT NULL;
CREATE INDEX outbox_credits ON outbox (brief, credits) WHERE credits IS NOT NULL;
CREATE TRIGGER credits_of_batch_gone AFTER DELETE ON outbox WHEN old.credits IS NOT NULL BEGIN
    INSERT INTO batch_pruned (batch_id, project_id, status, n) SELECT batch_id, project_id, 'credits', old.credits
        FROM brief WHERE id = old.brief AND batch_id <> '' AND input = 'queue'
        ON CONFLICT (batch_id, project_id, status) DO UPDATE SET n = n + excluded.n;
END;
