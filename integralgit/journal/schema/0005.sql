-- 1 where somebody has asked a deploy that runs to end, and was told that it will.
ALTER TABLE deploys ADD COLUMN is_to_end INTEGER NOT NULL DEFAULT 0;

-- How many seconds a script may run, for the words at its end; NULL where an older server began it.
ALTER TABLE scripts ADD COLUMN timeout REAL;
