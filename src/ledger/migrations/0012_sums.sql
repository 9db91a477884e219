-- What a look at a batch adds up, kept while it changes: `status` costs the same however many briefs have ended. What is
-- open is counted from an index; that is never much.
CREATE TABLE batch_sum (
    batch_id   TEXT   NOT NULL,
    project_id TEXT   NOT NULL,
    what       TEXT   NOT NULL,             -- a state that is an end: briefs in it; 'credits': what their records say they cost
    n          BIGINT NOT NULL,
    PRIMARY KEY (batch_id, project_id, what)
);
INSERT INTO batch_sum (batch_id, project_id, what, n)
    SELECT batch_id, project_id, state, count(*) FROM brief
        WHERE state IN ('completed', 'partial', 'failed', 'canceled') GROUP BY batch_id, project_id, state
    UNION ALL
    SELECT b.batch_id, b.project_id, 'credits', sum(o.credits) FROM outbox o JOIN brief b ON b.id = o.brief
        WHERE o.credits IS NOT NULL GROUP BY b.batch_id, b.project_id;

CREATE TRIGGER sum_of_batch_new AFTER INSERT ON brief WHEN new.state IN ('completed', 'partial', 'failed', 'canceled') BEGIN
    INSERT INTO batch_sum (batch_id, project_id, what, n) VALUES (new.batch_id, new.project_id, new.state, 1)
        ON CONFLICT (batch_id, project_id, what) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER sum_of_batch_ended AFTER UPDATE OF state ON brief
    WHEN old.state <> new.state AND new.state IN ('completed', 'partial', 'failed', 'canceled')
BEGIN
    INSERT INTO batch_sum (batch_id, project_id, what, n) VALUES (new.batch_id, new.project_id, new.state, 1)
        ON CONFLICT (batch_id, project_id, what) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER sum_of_batch_again AFTER UPDATE OF state ON brief
    WHEN old.state <> new.state AND old.state IN ('completed', 'partial', 'failed', 'canceled')
BEGIN
    UPDATE batch_sum SET n = n - 1 WHERE batch_id = old.batch_id AND project_id = old.project_id AND what = old.state;
END;
CREATE TRIGGER sum_of_batch_cost AFTER INSERT ON outbox WHEN new.credits IS NOT NULL AND new.brief IS NOT NULL BEGIN
    INSERT INTO batch_sum (batch_id, project_id, what, n)
        SELECT batch_id, project_id, 'credits', new.credits FROM brief WHERE id = new.brief
        ON CONFLICT (batch_id, project_id, what) DO UPDATE SET n = n + excluded.n;
END;
-- What is pruned goes on counting, of batches of the queue (batch_pruned).
CREATE TRIGGER sum_of_batch_pruned AFTER DELETE ON outbox WHEN old.credits IS NOT NULL AND old.brief IS NOT NULL BEGIN
    UPDATE batch_sum SET n = n - old.credits WHERE what = 'credits'
        AND (batch_id, project_id) = (SELECT batch_id, project_id FROM brief WHERE id = old.brief);
END;

-- The newest brief of a batch is found without a look at the others.
DROP INDEX brief_batch;
CREATE INDEX brief_batch ON brief (batch_id, state, id);

-- Plans go, too, when they are old.
CREATE INDEX plan_over ON plan (changed_at, id) WHERE state IN ('draft', 'planned', 'stopped', 'started');
