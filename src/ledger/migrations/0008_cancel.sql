-- Canceling: the wish is stored with the job, so that it is carried out whatever happens meanwhile.

ALTER TABLE job ADD COLUMN canceled_by   BIGINT;   -- the request that asked for it; NULL: nobody has
ALTER TABLE job ADD COLUMN cancel_due_at BIGINT;   -- when the API is asked (again); NULL: nothing to ask (any more)
ALTER TABLE job ADD COLUMN cancel_asks   BIGINT NOT NULL DEFAULT 0;
CREATE INDEX job_cancel_due ON job (input, cancel_due_at) WHERE state = 'running' AND cancel_due_at IS NOT NULL;
CREATE INDEX job_canceled_by ON job (canceled_by) WHERE canceled_by IS NOT NULL;
