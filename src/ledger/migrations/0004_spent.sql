-- Requests that may have left and that the API may still count: what a process that died had drawn is not drawn again.
-- Of one key, whoever the requests were for. Pruned with each insert.
CREATE TABLE spent (
    class    TEXT   NOT NULL,               -- 'read' | 'write' | 'start'
    drawn_at BIGINT NOT NULL,
    n        BIGINT NOT NULL
);
CREATE INDEX spent_drawn ON spent (drawn_at);

-- Until now the latest attempt of each job stood for its starts.
INSERT INTO spent (class, drawn_at, n)
    SELECT 'start', attempt_at, 1 FROM job WHERE attempt_at >= (SELECT max(attempt_at) - 600000 FROM job);
DROP INDEX job_attempt;
