-- Holds that are over: what a brief waited for belongs to its story.
CREATE TABLE hold_past (
    scope     TEXT   NOT NULL,
    project   TEXT   NOT NULL,
    batch     TEXT   NOT NULL,
    reason    TEXT   NOT NULL,
    detail    TEXT   NOT NULL,
    set_by    TEXT   NOT NULL,
    since     BIGINT NOT NULL,
    lifted_at BIGINT NOT NULL
);
CREATE INDEX hold_past_since ON hold_past (since);

-- For people with a SQLite shell and for dashboards: what may be relied on. The tables may change with any version, these
-- columns only as the README says. Times are ISO 8601, batch_id '' is that of briefs without a batch.

-- One row a brief: its current run. What waits may be held, or not due yet: the ledger stores only that it waits.
CREATE VIEW v_brief AS
SELECT b.project_id, b.batch_id, b.brief_id, b.input, b.run, b.state,
    json_extract(b.error, '$.code') AS code, json_extract(b.error, '$.message') AS message,
    json_extract(b.error, '$.remedy') AS remedy,
    r.format, r.variant_count, r.priority,
    (SELECT count(*) FROM container c WHERE c.brief = b.id AND c.status = 'completed') AS containers_completed,
    (SELECT sum(o.credits) FROM outbox o WHERE o.brief = b.id AND o.credits IS NOT NULL) AS credits_estimate,
    strftime('%Y-%m-%dT%H:%M:%fZ', b.received_at / 1000.0, 'unixepoch') AS received_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.submitted_at / 1000.0, 'unixepoch') AS submitted_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1000.0, 'unixepoch') AS finished_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', b.changed_at / 1000.0, 'unixepoch') AS changed_at
FROM (
    SELECT id, CASE
        WHEN state IN ('partial', 'failed', 'canceled') THEN (SELECT json_extract(CAST(o.body AS TEXT), '$.error') FROM outbox o
            WHERE o.brief = brief.id AND o.channel = 'record' AND o.kind <> 'container.completed' ORDER BY o.id DESC LIMIT 1)
        WHEN state = 'parked' THEN (SELECT j.error FROM job j
            WHERE j.brief = brief.id AND j.run = brief.run AND j.state = 'parked' ORDER BY j.id DESC LIMIT 1)
        END AS error, project_id, batch_id, brief_id, input, run, state, received_at, changed_at FROM brief
) AS b CROSS JOIN run r ON r.brief = b.id AND r.run = b.run;

-- One row a batch.
CREATE VIEW v_batch AS
SELECT b.batch_id, t.size, count(*) AS received,
    count(*) FILTER (WHERE b.state = 'waiting') AS waiting,
    count(*) FILTER (WHERE b.state IN ('submitting', 'running')) AS running,
    count(*) FILTER (WHERE b.state = 'parked') AS parked,
    count(*) FILTER (WHERE b.state = 'completed') AS completed,
    count(*) FILTER (WHERE b.state = 'partial') AS partial,
    count(*) FILTER (WHERE b.state = 'failed') AS failed,
    count(*) FILTER (WHERE b.state = 'canceled') AS canceled,
    coalesce(t.revision, 0) AS revision,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(b.received_at) / 1000.0, 'unixepoch') AS first_received_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', max(b.changed_at) / 1000.0, 'unixepoch') AS changed_at
FROM brief b LEFT JOIN batch t ON t.batch_id = b.batch_id GROUP BY b.batch_id;

-- One row a container that did not complete in the end, or a brief that never got one (variant NULL): its latest record.
CREATE VIEW v_failure AS
SELECT b.project_id, b.batch_id, b.brief_id, o.run, o.variant, o.kind AS type,
    json_extract(CAST(o.body AS TEXT), '$.error.code') AS code, json_extract(CAST(o.body AS TEXT), '$.error.message') AS message,
    json_extract(CAST(o.body AS TEXT), '$.error.remedy') AS remedy, json_extract(CAST(o.body AS TEXT), '$.error.source') AS source,
    json_extract(CAST(o.body AS TEXT), '$.error.requestId') AS request_id,
    json_extract(CAST(o.body AS TEXT), '$.jobId') AS job_id, json_extract(CAST(o.body AS TEXT), '$.containerId') AS container_id,
    o.message_id AS record_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', o.ended_at / 1000.0, 'unixepoch') AS failed_at
FROM brief b CROSS JOIN outbox o ON o.brief = b.id
WHERE b.state IN ('partial', 'failed', 'canceled') AND o.channel = 'record' AND o.kind <> 'container.completed'
    AND CASE WHEN o.variant IS NULL THEN o.run = b.run
        ELSE NOT EXISTS (SELECT 1 FROM outbox n WHERE n.brief = o.brief AND n.variant = o.variant AND n.id > o.id)
            AND NOT EXISTS (SELECT 1 FROM outbox w WHERE w.brief = o.brief AND w.run = b.run AND w.variant IS NULL) END;
