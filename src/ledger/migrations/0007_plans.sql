-- Reruns by plan: what was shown is what is carried out, a brief at a time, once.
CREATE TABLE plan (
    id         BIGINT NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    who        TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    shown      TEXT   NOT NULL,             -- what was shown, as JSON
    state      TEXT   NOT NULL,             -- 'draft' | 'planned' | 'starting' | 'canary' | 'stopped' | 'started'
    canary     BIGINT NOT NULL,             -- start so many first and wait for them; 0: all at once
    changed_at BIGINT NOT NULL
);
CREATE INDEX plan_open ON plan (id) WHERE state IN ('starting', 'canary');

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

-- The plan that started the run.
ALTER TABLE run ADD COLUMN plan BIGINT;
-- A regenerate of a container that a reviewer rejected: that it is completed is no reason not to.
ALTER TABLE job ADD COLUMN rejected BOOLEAN NOT NULL DEFAULT FALSE;
