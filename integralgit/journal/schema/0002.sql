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
