-- A batch can be held in one project alone; a hold can stop reads too, and knows what the wallet had; one that is over is
-- lifted gently.
CREATE TABLE hold_3 (
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
INSERT INTO hold_3 (scope, project, batch, class, reason, detail, required, set_by, since, probe_at, easing)
    SELECT scope, CASE WHEN scope = 'project' THEN target ELSE '' END, CASE WHEN scope = 'batch' THEN target ELSE '' END,
        class, reason, detail, required, set_by, since, probe_at, FALSE FROM hold;
DROP TABLE hold;
ALTER TABLE hold_3 RENAME TO hold;

-- The job's last attempt got no answer, or found no connection: it keeps its place among submit.concurrency.
ALTER TABLE job ADD COLUMN silent BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX job_silent ON job (input) WHERE silent;
