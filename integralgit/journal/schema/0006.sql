-- 1 where a person has to mend something before it can be told, and may have done so before a start.
ALTER TABLE outbox ADD COLUMN to_mend INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN to_mend INTEGER NOT NULL DEFAULT 0;
