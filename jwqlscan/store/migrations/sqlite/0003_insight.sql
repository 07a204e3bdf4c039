-- What runs found by class, owner, age and size, by program and by directory. A value is a row for as
-- long as it stays what it is: from the run of first_us to that of last_us (9223372036854775807: until
-- it changes), so that a night in which little happened takes little room. What a series was in a run
-- is its row with first_us <= date_us <= last_us; without one it was not there. Dates are in
-- microseconds since 1970, UTC: that of the run.

-- Which runs looked, and where. A run that is not in here says nothing, though values span it. So runs
-- can be deleted, and their rows here with them: the values of other runs stay right. What no run is
-- left of is swept by `Store.thin_insight`.
CREATE TABLE scan_insight (
    run_id TEXT NOT NULL REFERENCES scan_run ON DELETE CASCADE,
    area_group TEXT NOT NULL,
    area TEXT NOT NULL,
    date_us INTEGER NOT NULL,
    complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
    details TEXT NOT NULL, -- JSON: what there was no room for
    PRIMARY KEY (area_group, area, date_us)
) STRICT, WITHOUT ROWID;
CREATE INDEX scan_insight_by_run ON scan_insight (run_id);

-- kind is cell (key: JSON, instrument, filetype, uid, gid, age, size), program (its number) or directory
-- (its path below the area, "" the area itself).
CREATE TABLE scan_series (
    id INTEGER PRIMARY KEY,
    area_group TEXT NOT NULL,
    area TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    UNIQUE (area_group, area, kind, key)
) STRICT;

CREATE TABLE scan_value (
    series_id INTEGER NOT NULL REFERENCES scan_series ON DELETE CASCADE,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    files INTEGER NOT NULL,
    apparent_bytes INTEGER NOT NULL,
    allocated_bytes INTEGER NOT NULL,
    fits_files INTEGER NOT NULL, -- of directories
    fits_bytes INTEGER NOT NULL,
    PRIMARY KEY (series_id, first_us)
) STRICT, WITHOUT ROWID;
-- What is still so, or was so at the end of some time, out of years of rows.
CREATE INDEX scan_value_by_end ON scan_value (last_us);
