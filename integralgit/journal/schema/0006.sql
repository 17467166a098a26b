-- 1 where a person has to mend something before it can be told, and may have done so before a start.
ALTER TABLE outbox ADD COLUMN to_mend INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN to_mend INTEGER NOT NULL DEFAULT 0;
-- Until now that was known by its words.
UPDATE outbox SET to_mend = 1 WHERE instr(problem, '(a restart tries again at once)');
UPDATE pauses SET to_mend = 1 WHERE instr(problem, '(a restart tries again at once)');
