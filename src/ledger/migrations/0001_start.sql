-- The ledger. Times are milliseconds since 1970. Ids are assigned by the one writer. Only types and statements that
-- PostgreSQL has too (the tally triggers aside): a ledger for several hosts must stay possible.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,   -- origin, organization, boot, stopped_cleanly
    value TEXT NOT NULL
);

-- One row an identity, for ever (pruning leaves the row and drops what hangs on it).
CREATE TABLE brief (
    id          BIGINT NOT NULL PRIMARY KEY,
    project_id  TEXT   NOT NULL,
    batch_id    TEXT   NOT NULL,            -- '': none
    brief_id    TEXT   NOT NULL,
    input       TEXT   NOT NULL,            -- 'queue', or 'file:' and its name
    run         BIGINT NOT NULL,            -- the current run
    state       TEXT   NOT NULL,            -- of the current run
    touched     BOOLEAN NOT NULL,           -- something of it was once accepted, or its outcome unknown
    received_at BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    pruned_at   BIGINT
);
CREATE UNIQUE INDEX brief_identity ON brief (project_id, batch_id, brief_id);
CREATE INDEX brief_batch ON brief (batch_id, state);
CREATE INDEX brief_by_id ON brief (brief_id);

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
    PRIMARY KEY (brief, run)
);

-- One row a POST that starts generation.
CREATE TABLE job (
    id               BIGINT NOT NULL PRIMARY KEY,
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
    seen_before      TEXT,                  -- regenerate: the container's end before the first POST, as JSON
    api_job_id       TEXT,
    format           TEXT,
    accepted_at      BIGINT,
    finished_at      BIGINT,
    error            TEXT                   -- what ended or parked it, as JSON
);
CREATE INDEX job_due ON job (input, priority DESC, id) WHERE state = 'ready' AND claim IS NULL;
CREATE INDEX job_wait ON job (input, due_at) WHERE state = 'ready' AND claim IS NULL;
CREATE INDEX job_inspect ON job (input, priority DESC, id)
    WHERE state = 'ready' AND claim IS NULL AND kind = 'regenerate' AND seen_before IS NULL;
CREATE INDEX job_repeat ON job (input, due_at) WHERE state = 'submitting';
CREATE INDEX job_running ON job (input, accepted_at) WHERE state = 'running';
CREATE INDEX job_expires ON job (expires_at) WHERE state = 'ready' AND expires_at IS NOT NULL;
CREATE INDEX job_brief ON job (brief, run);
CREATE INDEX job_attempt ON job (attempt_at) WHERE attempt_at IS NOT NULL;

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
CREATE INDEX container_id ON container (id);
CREATE INDEX container_job ON container (job);

-- What shall leave, and what has left: records and dead letters.
CREATE TABLE outbox (
    id          BIGINT NOT NULL PRIMARY KEY,
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
    sent_at     BIGINT
);
CREATE UNIQUE INDEX outbox_message ON outbox (message_id);
CREATE INDEX outbox_pending ON outbox (input, due_at, id) WHERE state = 'pending';
CREATE INDEX outbox_brief ON outbox (brief, run, variant);

-- Every decision about a delivery.
CREATE TABLE delivery (
    id          BIGINT NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    result      TEXT   NOT NULL,
    brief       BIGINT REFERENCES brief (id),
    run         BIGINT,
    message_id  TEXT,
    redelivered BOOLEAN NOT NULL
);
CREATE INDEX delivery_brief ON delivery (brief);

CREATE TABLE hold (
    scope      TEXT   NOT NULL,             -- 'account' | 'project' | 'batch'
    target     TEXT   NOT NULL,             -- '' | project id | batch id
    class      TEXT   NOT NULL,             -- 'starts' | 'all'
    reason     TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    required   BIGINT,                      -- credits, where the API told
    set_by     TEXT   NOT NULL,             -- 'api' | 'operator'
    since      BIGINT NOT NULL,
    probe_at   BIGINT,                      -- NULL: not probed
    PRIMARY KEY (scope, target, reason)
);

-- What an operator asked for; the worker carries it out.
CREATE TABLE request (
    id      BIGINT NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    args    TEXT   NOT NULL,
    who     TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    done_at BIGINT,
    outcome TEXT
);
CREATE INDEX request_open ON request (id) WHERE done_at IS NULL;

-- What happened to a brief, and why, in order.
CREATE TABLE history (
    id     BIGINT NOT NULL PRIMARY KEY,
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
);

-- How many are in which state, kept by triggers, so that no gauge ever scans a table that grows.
CREATE TABLE tally (
    what    TEXT   NOT NULL,                -- 'brief' | 'job' | 'outbox'
    state   TEXT   NOT NULL,
    label   TEXT   NOT NULL,                -- brief: project id
    n       BIGINT NOT NULL,
    PRIMARY KEY (what, state, label)
);
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
    UPDATE tally SET n = n - 1 WHERE what = 'job' AND state = old.state;
    INSERT INTO tally VALUES ('job', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outbox_new AFTER INSERT ON outbox BEGIN
    INSERT INTO tally VALUES ('outbox', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outbox_moved AFTER UPDATE OF state ON outbox WHEN old.state <> new.state BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'outbox' AND state = old.state;
    INSERT INTO tally VALUES ('outbox', new.state, '', 1) ON CONFLICT (what, state, label) DO UPDATE SET n = n + 1;
END;
