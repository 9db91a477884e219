-- The ledger. Times are milliseconds since 1970. Ids ascend, and only the one writer inserts. Types and statements are those
-- that PostgreSQL has too, but for what speed asks of SQLite: ids are INTEGER, which makes them the table's own order, and
-- sums are kept by triggers in tables WITHOUT ROWID.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,   -- origin, organization, boot, stopped_cleanly
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row an identity, for ever (pruning leaves the row and drops what hangs on it).
CREATE TABLE brief (
    id          INTEGER NOT NULL PRIMARY KEY,
    project_id  TEXT   NOT NULL,
    batch_id    TEXT   NOT NULL,            -- '': none
    brief_id    TEXT   NOT NULL,
    input       TEXT   NOT NULL,            -- 'queue', or 'file:' and its name
    run         BIGINT NOT NULL,            -- the current run
    state       TEXT   NOT NULL,            -- of the current run
    touched     BOOLEAN NOT NULL,           -- something of it was once accepted, or its outcome unknown
    received_at BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    pruned_at   BIGINT,
    -- Spelled out, not as a list, which each trigger would make a table of for each row.
    ended       BOOLEAN NOT NULL GENERATED ALWAYS AS
        (state = 'completed' OR state = 'partial' OR state = 'failed' OR state = 'canceled') VIRTUAL
);
CREATE UNIQUE INDEX brief_identity ON brief (project_id, batch_id, brief_id);
CREATE INDEX brief_by_id ON brief (brief_id);
-- The newest brief of a batch, and those of one state, are found without a look at the others.
CREATE INDEX brief_batch ON brief (batch_id, state, id);
-- The order in which people read: a batch's briefs as they came, and which batches are the newest.
CREATE INDEX brief_batch_order ON brief (batch_id, id);
-- What may be pruned, oldest first, and whether a batch has something younger.
CREATE INDEX brief_ended ON brief (changed_at, id)
    WHERE pruned_at IS NULL AND state IN ('completed', 'partial', 'failed', 'canceled');
CREATE INDEX brief_batch_ended ON brief (batch_id, changed_at)
    WHERE pruned_at IS NULL AND state IN ('completed', 'partial', 'failed', 'canceled');

-- What is kept of a pruned brief beside its row, for ever: a repeat of it must not be bought again.
CREATE TABLE tombstone (
    brief       INTEGER NOT NULL PRIMARY KEY REFERENCES brief (id),
    fingerprint TEXT    NOT NULL,           -- of its last run
    containers  TEXT    NOT NULL            -- their ids at the API, JSON
);

-- What was asked for, a row each time it was asked for anew.
CREATE TABLE run (
    brief          BIGINT  NOT NULL REFERENCES brief (id),
    run            BIGINT  NOT NULL,
    fingerprint    TEXT    NOT NULL,
    request        TEXT    NOT NULL,        -- the API's request fields, byte for byte as received
    metadata       TEXT,
    format         TEXT,
    variant_count  BIGINT  NOT NULL,
    priority       BIGINT  NOT NULL,
    not_before     BIGINT,
    expires_at     BIGINT,
    batch_size     BIGINT,
    message_id     TEXT,
    correlation_id TEXT,
    traceparent    TEXT,
    tracestate     TEXT,
    enqueued_at    BIGINT,
    received_at    BIGINT  NOT NULL,
    submitted_at   BIGINT,
    finished_at    BIGINT,
    state          TEXT    NOT NULL,        -- 'waiting' … as brief.state; 'superseded'; 'remembered': starts when the current run fails
    owed           BIGINT  NOT NULL,        -- records promised by this run
    made           BIGINT  NOT NULL,        -- of these, in the outbox
    plan           BIGINT,                  -- the plan that started it
    PRIMARY KEY (brief, run)
);

-- One row a POST that starts generation.
CREATE TABLE job (
    id               INTEGER NOT NULL PRIMARY KEY,
    brief            BIGINT NOT NULL REFERENCES brief (id),
    run              BIGINT NOT NULL,
    kind             TEXT   NOT NULL,       -- 'generate' | 'regenerate'
    container        TEXT,                  -- regenerate: the container's id at the API
    variant          BIGINT,                -- regenerate: the container's variant
    input            TEXT   NOT NULL,
    project_id       TEXT   NOT NULL,
    batch_id         TEXT   NOT NULL,
    priority         BIGINT NOT NULL,
    idempotency_key  TEXT   NOT NULL,
    alias            TEXT,                  -- our container id in the body's `id`; NULL: key-only
    body             TEXT   NOT NULL,       -- sent as stored, whatever the version
    state            TEXT   NOT NULL,
    claim            TEXT,                  -- boot id of the process that is at it
    due_at           BIGINT NOT NULL,
    expires_at       BIGINT,
    attempts         BIGINT NOT NULL DEFAULT 0,
    unrecorded       BIGINT NOT NULL DEFAULT 0,   -- claims in a row without a recorded outcome
    attempt_at       BIGINT,
    attempt_key      TEXT,                  -- one-way fingerprint of the API key of the last attempt
    unknown_first_at BIGINT,                -- NULL: every attempt was harmless
    unknown_ended_at BIGINT,
    unknown_key      TEXT,
    absent_at        BIGINT,                -- first look-up that did not find it
    silent           BOOLEAN NOT NULL DEFAULT FALSE,  -- the last attempt got no answer, or found no connection: it keeps its place
    seen_before      TEXT,                  -- regenerate: the container's end before the first POST, as JSON
    rejected         BOOLEAN NOT NULL DEFAULT FALSE,  -- regenerate: a reviewer rejected it; that it is completed is no reason not to
    api_job_id       TEXT,
    format           TEXT,
    accepted_at      BIGINT,
    answered_ms      BIGINT NOT NULL DEFAULT 0,   -- time in which the API answered our reads of it; noted now and then, never too much
    finished_at      BIGINT,
    error            TEXT,                  -- what ended or parked it, as JSON
    canceled_by      BIGINT,                -- the request that asked for it; NULL: nobody has
    cancel_due_at    BIGINT,                -- when the API is asked (again); NULL: nothing to ask (any more)
    cancel_asks      BIGINT NOT NULL DEFAULT 0
);
-- Starts take turns among (project, batch): each has its own queue within a priority, in order of when it is due.
CREATE INDEX job_turn ON job (input, priority, project_id, batch_id, due_at, id)
    WHERE state = 'ready' AND claim IS NULL AND (kind = 'generate' OR seen_before IS NOT NULL);
CREATE INDEX job_wait ON job (input, due_at, id) WHERE state = 'ready' AND claim IS NULL;
CREATE INDEX job_inspect ON job (input, priority DESC, id)
    WHERE state = 'ready' AND claim IS NULL AND kind = 'regenerate' AND seen_before IS NULL;
CREATE INDEX job_repeat ON job (input, due_at) WHERE state = 'submitting';
CREATE INDEX job_running ON job (input, accepted_at) WHERE state = 'running';
CREATE INDEX job_expires ON job (expires_at) WHERE state = 'ready' AND expires_at IS NOT NULL;
CREATE INDEX job_brief ON job (brief, run);
CREATE INDEX job_silent ON job (input) WHERE silent;
-- Those that are looked at before a rerun: a start, and the end of a `generate`, find them without a look at all others.
CREATE INDEX job_claimed ON job (input) WHERE state = 'ready' AND claim IS NOT NULL;
CREATE INDEX job_cancel_due ON job (input, cancel_due_at) WHERE state = 'running' AND cancel_due_at IS NOT NULL;
CREATE INDEX job_canceled_by ON job (canceled_by) WHERE canceled_by IS NOT NULL;

CREATE TABLE container (
    brief      BIGINT NOT NULL REFERENCES brief (id),
    variant    BIGINT NOT NULL,
    id         TEXT   NOT NULL,             -- as the API answered it
    job        BIGINT NOT NULL REFERENCES job (id),   -- the latest
    run        BIGINT NOT NULL,             -- of that job
    status     TEXT   NOT NULL,             -- 'running' | 'completed' | 'failed' | 'canceled' | 'lost'
    record     TEXT,                        -- the API's record verbatim
    known_at   BIGINT NOT NULL,
    ended_at   BIGINT,
    PRIMARY KEY (brief, variant)
);
CREATE INDEX container_job ON container (job);
-- Containers that were given up stay on one read a day.
CREATE INDEX container_lost ON container (job) WHERE status = 'lost';

-- What shall leave, and what has left: records and dead letters.
CREATE TABLE outbox (
    id          INTEGER NOT NULL PRIMARY KEY,
    channel     TEXT   NOT NULL,            -- 'record' | 'dead_letter'
    input       TEXT   NOT NULL,            -- whose records these are
    message_id  TEXT   NOT NULL,
    kind        TEXT   NOT NULL,            -- the record's type, or the dead letter's reason
    routing_key TEXT   NOT NULL,
    body        BLOB   NOT NULL,
    properties  TEXT   NOT NULL,
    brief       BIGINT REFERENCES brief (id),
    run         BIGINT,
    variant     BIGINT,
    ended_at    BIGINT,                     -- when it ended at the API
    state       TEXT   NOT NULL,            -- 'pending' | 'sent' | 'dropped' | 'parked'
    due_at      BIGINT NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    alone       BIGINT NOT NULL DEFAULT 0,  -- times that it closed its channel while alone
    sends       BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    sent_at     BIGINT,
    batch_id    TEXT,                       -- of a record that is about a whole batch: which
    credits     BIGINT                      -- what the record says that it cost, apart from its body
);
CREATE INDEX outbox_pending ON outbox (input, due_at, id) WHERE state = 'pending';
-- A record's id follows from these, so that none is made twice. An index of the ids themselves, or of those of containers, would
-- be a page of its own for each, somewhere.
CREATE UNIQUE INDEX outbox_brief ON outbox (brief, run, variant, kind);
CREATE UNIQUE INDEX outbox_brief_whole ON outbox (brief, run, kind) WHERE brief IS NOT NULL AND variant IS NULL;
CREATE INDEX outbox_batch ON outbox (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX outbox_credits ON outbox (brief, credits) WHERE credits IS NOT NULL;
CREATE INDEX outbox_dead_sent ON outbox (created_at, id) WHERE channel = 'dead_letter' AND state IN ('sent', 'dropped');

-- Every decision about a delivery.
CREATE TABLE delivery (
    id          INTEGER NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    result      TEXT   NOT NULL,
    brief       BIGINT REFERENCES brief (id),
    run         BIGINT,
    message_id  TEXT,
    redelivered BOOLEAN NOT NULL
);
CREATE INDEX delivery_brief ON delivery (brief, at, id);

-- What stands in the way of starts, or of everything. A batch can be held in one project alone; one that is over is lifted
-- gently.
CREATE TABLE hold (
    scope      TEXT    NOT NULL,            -- 'account' | 'project' | 'batch'
    project    TEXT    NOT NULL,            -- project id; '': the account, or a batch in whatever project
    batch      TEXT    NOT NULL,            -- batch id; '' too for briefs without one
    class      TEXT    NOT NULL,            -- 'starts' | 'all'
    reason     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    required   BIGINT,                      -- credits, where the API told
    available  BIGINT,                      -- credits, where the API told
    set_by     TEXT    NOT NULL,            -- 'api' | 'operator'
    since      BIGINT  NOT NULL,
    probe_at   BIGINT,                      -- NULL: not probed
    easing     BOOLEAN NOT NULL,            -- it seems to be over: one job at a time until one was accepted
    PRIMARY KEY (scope, project, batch, reason)
);

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

-- Requests that may have left and that the API may still count: what a process that died had drawn is not drawn again.
-- Of one key, whoever the requests were for. Pruned with each insert.
CREATE TABLE spent (
    class    TEXT   NOT NULL,               -- 'read' | 'write' | 'start'
    drawn_at BIGINT NOT NULL,
    n        BIGINT NOT NULL
);
CREATE INDEX spent_drawn ON spent (drawn_at);

-- What an operator asked for; the worker carries it out.
CREATE TABLE request (
    id      INTEGER NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    args    TEXT   NOT NULL,
    who     TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    done_at BIGINT,
    outcome TEXT
);
CREATE INDEX request_open ON request (id) WHERE done_at IS NULL;

-- Reruns by plan: what was shown is what is carried out, a brief at a time, once.
CREATE TABLE plan (
    id         INTEGER NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    who        TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    shown      TEXT   NOT NULL,             -- what was shown, as JSON
    state      TEXT   NOT NULL,             -- 'draft' | 'planned' | 'starting' | 'canary' | 'stopped' | 'started'
    canary     BIGINT NOT NULL,             -- start so many first and wait for them; 0: all at once
    changed_at BIGINT NOT NULL
);
CREATE INDEX plan_open ON plan (id) WHERE state IN ('starting', 'canary');
-- They go when they are old.
CREATE INDEX plan_over ON plan (changed_at, id) WHERE state IN ('draft', 'planned', 'stopped', 'started');

CREATE TABLE plan_row (
    plan       BIGINT NOT NULL REFERENCES plan (id),
    place      BIGINT NOT NULL,             -- in the order of starting, from 1
    brief      BIGINT NOT NULL REFERENCES brief (id),
    from_run   BIGINT NOT NULL,             -- the brief's run when it was planned
    changed_at BIGINT NOT NULL,             -- when the brief had changed last when it was planned
    take       TEXT   NOT NULL,             -- containers to run again, as JSON; none: submitted anew
    content    TEXT,                        -- what the run asks for, as JSON; NULL: what the run before asked for
    state      TEXT   NOT NULL,             -- 'pending' | 'started' | 'left_out'
    run        BIGINT,                      -- the run that was started
    why        TEXT,                        -- why it was left out
    PRIMARY KEY (plan, place)
);
CREATE INDEX plan_row_state ON plan_row (plan, state, place);

-- What happened to a brief, and why, in order.
CREATE TABLE history (
    id     INTEGER NOT NULL PRIMARY KEY,
    brief  BIGINT NOT NULL REFERENCES brief (id),
    run    BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    what   TEXT   NOT NULL,
    detail TEXT   NOT NULL                  -- JSON
);
CREATE INDEX history_brief ON history (brief, id);

-- Running totals (P8): decided, new, duplicate, rerun, dead_lettered, owed, made, open.
CREATE TABLE total (
    name TEXT   NOT NULL PRIMARY KEY,
    n    BIGINT NOT NULL
) WITHOUT ROWID;

-- How many are in which state, kept by triggers, so that no gauge ever scans a table that grows.
CREATE TABLE tally (
    what    TEXT   NOT NULL,                -- 'brief' | 'job' | 'outbox'
    state   TEXT   NOT NULL,
    label   TEXT   NOT NULL,                -- brief: project id
    n       BIGINT NOT NULL,
    PRIMARY KEY (what, state, label)
) WITHOUT ROWID;
CREATE TRIGGER brief_new AFTER INSERT ON brief BEGIN
    INSERT INTO tally VALUES ('brief', new.state, new.project_id, 1)
        ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER brief_moved AFTER UPDATE OF state ON brief WHEN old.state <> new.state BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'brief' AND state = old.state AND label = old.project_id;
    INSERT INTO tally VALUES ('brief', new.state, new.project_id, 1)
        ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER job_new AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES ('job', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'job' AND state = old.state AND label = '';
    INSERT INTO tally VALUES ('job', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outbox_new AFTER INSERT ON outbox BEGIN
    INSERT INTO tally VALUES ('outbox', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outbox_moved AFTER UPDATE OF state ON outbox WHEN old.state <> new.state BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'outbox' AND state = old.state AND label = '';
    INSERT INTO tally VALUES ('outbox', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER brief_pruned AFTER UPDATE OF pruned_at ON brief WHEN old.pruned_at IS NULL AND new.pruned_at IS NOT NULL BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'brief' AND state = new.state AND label = new.project_id;
END;
CREATE TRIGGER job_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'job' AND state = old.state AND label = '';
END;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'outbox' AND state = old.state AND label = '';
END;

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
) WITHOUT ROWID;
-- Empty but for the moment between the end of a batch and its record.
CREATE INDEX batch_over ON batch (batch_id) WHERE changed AND unsent = 0 AND ended = received AND size <= ended;

CREATE TRIGGER brief_of_batch_new AFTER INSERT ON brief WHEN new.batch_id <> '' AND new.input = 'queue' BEGIN
    INSERT INTO batch (batch_id, received, ended, unsent, changed, revision)
        VALUES (new.batch_id, 1, new.ended, 0, TRUE, 0)
        ON CONFLICT (batch_id) DO UPDATE SET received = batch.received + 1, ended = batch.ended + excluded.ended, changed = TRUE;
END;
-- A file's brief that the queue asks for becomes the queue's, and the other way round.
CREATE TRIGGER brief_of_batch_moved AFTER UPDATE OF input ON brief WHEN new.batch_id <> '' AND old.input <> new.input BEGIN
    INSERT INTO batch (batch_id, received, ended, unsent, changed, revision) VALUES (new.batch_id, 0, 0, 0, TRUE, 0)
        ON CONFLICT (batch_id) DO NOTHING;
    UPDATE batch SET received = received + (new.input = 'queue') - (old.input = 'queue'),
        ended = ended + (new.input = 'queue' AND old.ended)
            - (old.input = 'queue' AND old.ended), changed = TRUE
        WHERE batch_id = new.batch_id;
END;
CREATE TRIGGER brief_of_batch_ended AFTER UPDATE OF state ON brief
    WHEN new.batch_id <> '' AND new.input = 'queue' AND old.state <> new.state
    AND (old.ended OR new.ended)
BEGIN
    UPDATE batch SET ended = ended + new.ended - old.ended, changed = TRUE WHERE batch_id = new.batch_id;
END;
CREATE TRIGGER record_of_batch_new AFTER INSERT ON outbox
    WHEN new.brief IS NOT NULL AND new.channel = 'record' AND new.input = 'queue'
    AND (new.state = 'pending' OR new.state = 'parked')
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
) WITHOUT ROWID;
CREATE TRIGGER container_of_batch_gone AFTER DELETE ON container BEGIN
    INSERT INTO batch_pruned (batch_id, project_id, status, n) SELECT batch_id, project_id, old.status, 1
        FROM brief WHERE id = old.brief AND batch_id <> '' AND input = 'queue'
        ON CONFLICT (batch_id, project_id, status) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER credits_of_batch_gone AFTER DELETE ON outbox WHEN old.credits IS NOT NULL BEGIN
    INSERT INTO batch_pruned (batch_id, project_id, status, n) SELECT batch_id, project_id, 'credits', old.credits
        FROM brief WHERE id = old.brief AND batch_id <> '' AND input = 'queue'
        ON CONFLICT (batch_id, project_id, status) DO UPDATE SET n = n + excluded.n;
END;

-- What a look at a batch adds up, kept while it changes: `status` costs the same however many briefs have ended. What is
-- open is counted from an index; that is never much.
CREATE TABLE batch_sum (
    batch_id   TEXT   NOT NULL,
    project_id TEXT   NOT NULL,
    what       TEXT   NOT NULL,             -- a state that is an end: briefs in it; 'credits': what their records say they cost
    n          BIGINT NOT NULL,
    PRIMARY KEY (batch_id, project_id, what)
) WITHOUT ROWID;

CREATE TRIGGER sum_of_batch_new AFTER INSERT ON brief WHEN new.ended BEGIN
    INSERT INTO batch_sum (batch_id, project_id, what, n) VALUES (new.batch_id, new.project_id, new.state, 1)
        ON CONFLICT (batch_id, project_id, what) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER sum_of_batch_ended AFTER UPDATE OF state ON brief
    WHEN old.state <> new.state AND new.ended
BEGIN
    INSERT INTO batch_sum (batch_id, project_id, what, n) VALUES (new.batch_id, new.project_id, new.state, 1)
        ON CONFLICT (batch_id, project_id, what) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER sum_of_batch_again AFTER UPDATE OF state ON brief
    WHEN old.state <> new.state AND old.ended
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
