-- Starts take turns among (project, batch): each has its own queue within a priority, in order of when it is due.
DROP INDEX job_due;
CREATE INDEX job_turn ON job (input, priority, project_id, batch_id, due_at, id)
    WHERE state = 'ready' AND claim IS NULL AND (kind = 'generate' OR seen_before IS NOT NULL);
DROP INDEX job_wait;
CREATE INDEX job_wait ON job (input, due_at, id) WHERE state = 'ready' AND claim IS NULL;
