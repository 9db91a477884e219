-- Jobs that are looked at before a rerun: a start, and the end of a `generate`, find them without a look at all others.
CREATE INDEX job_claimed ON job (input) WHERE state = 'ready' AND claim IS NOT NULL;
