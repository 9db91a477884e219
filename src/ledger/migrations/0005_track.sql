-- Following running jobs: how long the API has answered about one, and which were given up.

-- Time in which the API answered our reads of the job, milliseconds; noted now and then, never too much.
ALTER TABLE job ADD COLUMN answered_ms BIGINT NOT NULL DEFAULT 0;
-- Containers that were given up stay on one read a day.
CREATE INDEX container_lost ON container (job) WHERE status = 'lost';
