-- 1 where the commits of a push are known to be all from before_commit to after_commit.
ALTER TABLE pushes ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
