-- What somebody else is to be told: one row per receiver and subject, such as
-- the status of a commit, holds what is wanted now. What was not told before
-- it changed is never told.
CREATE TABLE outbox (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver        TEXT NOT NULL,     -- its queue: 'forge github.com', 'notify the team'
    subject         TEXT NOT NULL,     -- 'status …', 'deployment …' or 'message <its id>'
    repo            TEXT NOT NULL,
    deploy          INTEGER,           -- which it is about; deploys are forgotten earlier
    wanted          TEXT NOT NULL,     -- JSON: what is to be told; see report/
    version         INTEGER NOT NULL DEFAULT 1,  -- counts the changes of what is wanted
    turn            INTEGER NOT NULL,  -- its place in the queue
    created         REAL NOT NULL,     -- when that became wanted
    state           TEXT NOT NULL,     -- waiting | sent | given_up
    tries           INTEGER NOT NULL DEFAULT 0,
    doubt           INTEGER NOT NULL DEFAULT 0,  -- 1 while it may have been received unheard
    next_try        REAL NOT NULL DEFAULT 0,
    problem         TEXT,              -- why the last try failed
    given_back      TEXT,              -- how the receiver calls it, such as the id of a deployment
    finished        REAL,
    UNIQUE (receiver, subject)
) STRICT;
CREATE INDEX outbox_waiting ON outbox (receiver, turn) WHERE state = 'waiting';
CREATE INDEX outbox_by_deploy ON outbox (deploy);
CREATE INDEX outbox_turns ON outbox (turn);
CREATE INDEX outbox_finished ON outbox (finished) WHERE state <> 'waiting';

-- A receiver that is not to be asked for a while, whatever waits for it.
CREATE TABLE pauses (
    receiver        TEXT PRIMARY KEY,
    until           REAL NOT NULL,
    problem         TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A repository whose pushes are found by looking, and since when that was told.
CREATE TABLE silences (
    repo            TEXT PRIMARY KEY,
    since           REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Which deploys speak of a commit.
CREATE INDEX deploys_by_commit ON deploys (repo, coalesce(commit_id, wanted));

-- A deploy that goes back to the last good commit, because another was not healthy.
ALTER TABLE deploys ADD COLUMN rolls_back INTEGER REFERENCES deploys ON DELETE SET NULL;
ALTER TABLE deploys ADD COLUMN rolled_back_by INTEGER REFERENCES deploys ON DELETE SET NULL;
CREATE INDEX deploys_by_rolled_back ON deploys (rolls_back) WHERE rolls_back IS NOT NULL;
CREATE INDEX deploys_by_roll_back ON deploys (rolled_back_by) WHERE rolled_back_by IS NOT NULL;

-- What is asked after a script, recorded before it starts: another server may have to go on there.
CREATE TABLE checks (
    deploy          INTEGER PRIMARY KEY REFERENCES deploys ON DELETE CASCADE,
    url             TEXT NOT NULL,
    timeout         REAL NOT NULL,     -- seconds from the script's end
    rollback        INTEGER NOT NULL,  -- 1: go back if it is not healthy
    deadline        REAL               -- once it is asked
) STRICT;
