-- Runs that failed, and why. JWQL's `monitor` notes that a run failed, but has no column for the cause.
-- No reference to scan_run: most of these runs stored nothing. A row whose run is in scan_run is of a
-- run whose snapshot is stored and whose report failed.
CREATE TABLE scan_failure (
    run_id UUID PRIMARY KEY,
    started TIMESTAMP WITH TIME ZONE NOT NULL,
    ended TIMESTAMP WITH TIME ZONE,    -- NULL: the process was killed, or the host stopped
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    exit_code INTEGER,                 -- 128 + N: ended by signal N; NULL where ended is NULL
    cause TEXT NOT NULL,               -- one line, escaped for display
    log_file TEXT NOT NULL
);
CREATE INDEX scan_failure_by_start ON scan_failure (started);
