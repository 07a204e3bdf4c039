-- Whether the operator accepted the totals as they are (--allow-drop, --allow-empty): they are not
-- compared with those of the run before.

ALTER TABLE scan_run ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0 CHECK (accepted IN (0, 1));
