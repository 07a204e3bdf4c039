-- Why a run's totals are not to be believed, though nothing went wrong that it could see; where its
-- areas cross into other filesystems; and what an area's state alone does not tell.

ALTER TABLE scan_run ADD COLUMN suspicions TEXT NOT NULL DEFAULT '[]'; -- JSON, a list of lines
ALTER TABLE scan_area ADD COLUMN mounts TEXT NOT NULL DEFAULT '{}';    -- JSON, path to fstype
ALTER TABLE scan_area ADD COLUMN note TEXT NOT NULL DEFAULT '';
