-- Times are seconds since the epoch, UTC. Identities are `host/full/name`.

-- A repository that we have heard of, and what we know of its config.
CREATE TABLE repositories (
    repo            TEXT PRIMARY KEY,
    first_seen      REAL NOT NULL,
    provider        TEXT NOT NULL,  -- the kind of git host that last told of it
    -- The newest config that was read, usable or not. The commit is NULL while
    -- none was read; the text is NULL where the repository has no config.
    config_commit   TEXT,
    config_text     TEXT,
    config_error    TEXT,           -- why the newest one cannot be used, or NULL
    config_seen     REAL,
    -- The last one that could be used: it stays in use while the newest is broken.
    good_commit     TEXT,
    good_text       TEXT
) STRICT;

-- The newest commit of each branch that we know of, by whatever told of it.
CREATE TABLE tips (
    repo            TEXT NOT NULL,
    branch          TEXT NOT NULL,
    commit_id       TEXT NOT NULL,
    PRIMARY KEY (repo, branch)
) STRICT, WITHOUT ROWID;

-- A repository at which nothing is deployed for a while; its pushes wait.
CREATE TABLE freezes (
    repo            TEXT PRIMARY KEY,
    reason          TEXT NOT NULL,
    since           REAL NOT NULL,
    until           REAL            -- NULL: until it is lifted
) STRICT;

-- An authentic request of a git host.
CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY,
    received        REAL NOT NULL,
    provider        TEXT NOT NULL,
    provider_id     TEXT NOT NULL,  -- the git host's own id; empty where it has none
    event           TEXT NOT NULL,
    repo            TEXT,           -- NULL where the delivery names none
    outcome         TEXT NOT NULL,  -- accepted | ignored
    reason          TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_by_repo ON deliveries (repo, id);
-- A delivery that comes again is recognised by its provider's id.
CREATE INDEX deliveries_by_provider_id ON deliveries (provider, provider_id)
    WHERE provider_id <> '';

-- Requests that were refused: how often for which cause and from where …
CREATE TABLE refusal_counts (
    status          INTEGER NOT NULL,
    cause           TEXT NOT NULL,
    source          TEXT NOT NULL,  -- the client's address
    count           INTEGER NOT NULL,
    first           REAL NOT NULL,
    last            REAL NOT NULL,
    PRIMARY KEY (status, cause, source)
) STRICT, WITHOUT ROWID;

-- … and the newest few of them.
CREATE TABLE refusals (
    id              INTEGER PRIMARY KEY,
    at              REAL NOT NULL,
    status          INTEGER NOT NULL,
    cause           TEXT NOT NULL,
    source          TEXT NOT NULL
) STRICT;

-- One change of one ref within a delivery.
CREATE TABLE pushes (
    id              INTEGER PRIMARY KEY,
    delivery        INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    repo            TEXT NOT NULL,
    ref             TEXT NOT NULL,
    before_commit   TEXT,
    after_commit    TEXT,
    deleted         INTEGER NOT NULL,
    pusher          TEXT NOT NULL,
    commits         TEXT NOT NULL,  -- JSON: [{"id", "message", "author"}], as told
    outcome         TEXT NOT NULL,  -- accepted | ignored
    reason          TEXT NOT NULL,
    -- 1 while the push waits for a fresh look at the config, which may change its outcome.
    look            INTEGER NOT NULL
) STRICT;
CREATE INDEX pushes_by_delivery ON pushes (delivery);
CREATE INDEX pushes_by_commit ON pushes (repo, after_commit);
CREATE INDEX pushes_to_look_at ON pushes (repo) WHERE look;

CREATE TABLE deploys (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    repo            TEXT NOT NULL,
    branch          TEXT NOT NULL,
    host            TEXT,           -- host and location are NULL until the config is known
    location        TEXT,
    trigger         TEXT NOT NULL,  -- push | poll | manual | retry | rollback
    push            INTEGER REFERENCES pushes ON DELETE SET NULL,
    wanted          TEXT,           -- the commit that the push announced
    state           TEXT NOT NULL,  -- see journal/events.py
    reason          TEXT,           -- one sentence, when it did not succeed
    commit_id       TEXT,           -- the remote commit that was deployed
    previous_commit TEXT,           -- where the checkout stood before
    head            TEXT,           -- where it stands now; a merge differs from commit_id
    config_commit   TEXT,
    exit_code       INTEGER,
    created         REAL NOT NULL,
    started         REAL,
    finished        REAL,
    superseded_by   INTEGER REFERENCES deploys ON DELETE SET NULL,
    commits         TEXT NOT NULL DEFAULT '[]',  -- JSON: [{"id", "message", "author"}]
    log_size        INTEGER         -- frozen at the end
) STRICT;
CREATE INDEX deploys_by_repo ON deploys (repo, id);
CREATE INDEX deploys_by_push ON deploys (push);
CREATE INDEX deploys_by_successor ON deploys (superseded_by);
-- The queue and what runs: small, however long the history is.
CREATE INDEX deploys_waiting ON deploys (location, repo, branch, id) WHERE state = 'queued';
CREATE INDEX deploys_running ON deploys (id) WHERE state = 'running';
CREATE INDEX deploys_at ON deploys (location, id);
CREATE INDEX deploys_done_at ON deploys (location, id) WHERE commit_id IS NOT NULL;

CREATE TABLE steps (
    deploy          INTEGER NOT NULL REFERENCES deploys ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    name            TEXT NOT NULL,  -- fetch | update | script | health
    state           TEXT NOT NULL,  -- running | succeeded | failed
    started         REAL NOT NULL,
    finished        REAL,
    detail          TEXT NOT NULL,
    log_start       INTEGER NOT NULL,  -- where its output begins in the log
    PRIMARY KEY (deploy, position)
) STRICT, WITHOUT ROWID;

-- The process group of a script that runs, so that the next server can pick it up.
CREATE TABLE scripts (
    deploy          INTEGER PRIMARY KEY REFERENCES deploys ON DELETE CASCADE,
    pid             INTEGER NOT NULL,
    start_ticks     INTEGER NOT NULL,  -- /proc/<pid>/stat, field 22: tells a reused pid
    boot_id         TEXT NOT NULL,     -- /proc/sys/kernel/random/boot_id
    deadline        REAL NOT NULL,
    ending          TEXT               -- why it is being ended: timeout | cancel, before the signal
) STRICT;
