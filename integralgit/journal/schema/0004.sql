-- Where HEAD was and is when the script runs, which is recorded before that.
ALTER TABLE scripts ADD COLUMN previous_commit TEXT;
ALTER TABLE scripts ADD COLUMN head TEXT;
