-- The four JWQL tables: sizes in 2**40 bytes, dates in UTC as 2026-11-23T20:03:10.123456Z.

CREATE TABLE filesystem_general (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL UNIQUE,
    total_file_count INTEGER NOT NULL,
    total_file_size REAL NOT NULL,
    fits_file_count INTEGER NOT NULL,
    fits_file_size REAL NOT NULL,
    used REAL NOT NULL,
    available REAL NOT NULL
) STRICT;

CREATE TABLE filesystem_instrument (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL,
    instrument TEXT NOT NULL,
    filetype TEXT NOT NULL,
    count INTEGER NOT NULL,
    size REAL NOT NULL,
    UNIQUE (date, instrument, filetype)
) STRICT;

-- History is read product by product. Covering: reading from the table by row takes three times
-- as long (220,000 rows).
CREATE INDEX filesystem_instrument_by_product
    ON filesystem_instrument (instrument, filetype, date, count, size);

-- size and available are NULL where df gave no answer.
CREATE TABLE central_storage (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL,
    area TEXT NOT NULL,
    size REAL,
    used REAL NOT NULL,
    available REAL,
    UNIQUE (date, area)
) STRICT;

CREATE TABLE monitor (
    id INTEGER PRIMARY KEY,
    monitor_name TEXT NOT NULL,
    start_time TEXT NOT NULL,
    end_time TEXT,
    status TEXT CHECK (status IN ('SUCCESS', 'FAILURE')),
    log_file TEXT NOT NULL
) STRICT;

-- What JWQL has no column for. Bytes are exact; date is that of the JWQL rows.

CREATE TABLE scan_run (
    run_id TEXT PRIMARY KEY NOT NULL,
    date TEXT NOT NULL UNIQUE,
    started TEXT NOT NULL,
    ended TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    reader TEXT NOT NULL,
    workers INTEGER NOT NULL,
    seconds REAL NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('complete', 'incomplete')),
    incomplete_reasons TEXT NOT NULL, -- JSON, a list of lines
    sample INTEGER NOT NULL CHECK (sample IN (0, 1)),
    log_file TEXT NOT NULL
) STRICT;

CREATE TABLE scan_area (
    run_id TEXT NOT NULL REFERENCES scan_run ON DELETE CASCADE,
    area_group TEXT NOT NULL CHECK (area_group IN ('archive', 'central')),
    area TEXT NOT NULL,
    path TEXT NOT NULL,
    state TEXT NOT NULL,
    files INTEGER NOT NULL,
    apparent_bytes INTEGER NOT NULL,
    allocated_bytes INTEGER NOT NULL,
    directories INTEGER NOT NULL,
    symlinks INTEGER NOT NULL,
    other INTEGER NOT NULL,
    vanished INTEGER NOT NULL,
    fits_files INTEGER NOT NULL,
    fits_bytes INTEGER NOT NULL,
    unrecognized INTEGER NOT NULL,
    errors TEXT NOT NULL,               -- JSON, kind to count
    error_samples TEXT NOT NULL,        -- JSON, a list of path, operation, errno, kind
    skipped TEXT NOT NULL,              -- JSON, reason to count
    unrecognized_samples TEXT NOT NULL, -- JSON, a name's shape to one path
    size_bytes INTEGER,                 -- as df has them; NULL where it gave no answer
    used_bytes INTEGER,
    available_bytes INTEGER,
    inodes INTEGER,
    inodes_used INTEGER,
    inodes_available INTEGER,
    source TEXT,
    fstype TEXT,
    target TEXT,
    PRIMARY KEY (run_id, area_group, area)
) STRICT, WITHOUT ROWID;

CREATE TABLE scan_product (
    run_id TEXT NOT NULL REFERENCES scan_run ON DELETE CASCADE,
    area_group TEXT NOT NULL,
    area TEXT NOT NULL,
    instrument TEXT NOT NULL,
    filetype TEXT NOT NULL,
    count INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (run_id, area_group, area, instrument, filetype)
) STRICT, WITHOUT ROWID;
