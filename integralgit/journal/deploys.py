"""All SQL about deploys, their steps and their scripts.

The rows in state `queued` are the queue itself: there is no other, so a queue
cannot be lost. Of the deploys of one repository and branch that wait for one
location only the newest stays; the others are superseded by it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from integralgit.hooks.delivery import MOST_COMMITS, Commit
from integralgit.journal.deliveries import decode_commits, encode_commits
from integralgit.journal.events import (
    Check,
    Deploy,
    DeployChanged,
    RunningScript,
    State,
    Step,
    StepChanged,
    StepState,
    Trigger,
)
from integralgit.journal.store import Transaction, newest_of

#: How many deploys of a repository are kept, and for how many seconds.
KEPT, KEPT_FOR = 500, 365 * 86400.0
#: How many are forgotten in one transaction, so that none takes long.
PRUNED_AT_ONCE = 100
#: How often in a row a deploy is begun that is cut off each time.
MOST_INTERRUPTED = 5

_DEPLOY = (
    "id, repo, branch, host, location, trigger, push, wanted, state, created, reason, commit_id,"
    " previous_commit, head, config_commit, exit_code, started, finished,"
    " superseded_by, commits, log_size,"
    " (SELECT pusher FROM pushes WHERE pushes.id = deploys.push), rolls_back, rolled_back_by"
)
_SCRIPT = "deploy, pid, start_ticks, boot_id, deadline, ending, previous_commit, head, timeout"

#: What waits is found by the index of what waits; SQLite would rather read all that ever ran.
_WAITING = "INDEXED BY deploys_waiting WHERE state = 'queued'"

#: Repository, branch and location: of what waits for the same, only the newest stays.
_Place = tuple[str, str, str | None, bool]


def _deploy(row: tuple[Any, ...]) -> Deploy:
    values = list(row)
    values[5], values[8], values[19] = Trigger(row[5]), State(row[8]), decode_commits(row[19])
    values[21] = row[21] or ""
    return Deploy(*values)


def _deploys(tx: Transaction, where: str, values: Sequence[object]) -> list[Deploy]:
    return [_deploy(row) for row in tx.execute(f"SELECT {_DEPLOY} FROM deploys {where}", values)]


def get(tx: Transaction, deploy: int) -> Deploy | None:
    """The deploy of that number, or None."""
    found = _deploys(tx, "WHERE id = ?", (deploy,))
    return found[0] if found else None


def known(tx: Transaction, deploy: int) -> Deploy:
    """The deploy of that number, which exists."""
    found = get(tx, deploy)
    assert found is not None
    return found


def of_delivery(tx: Transaction, delivery: int) -> list[Deploy]:
    """The deploys that a delivery caused, oldest first."""
    return _deploys(
        tx, "WHERE push IN (SELECT id FROM pushes WHERE delivery = ?) ORDER BY id", (delivery,)
    )


def numbers_of_delivery(tx: Transaction, delivery: int) -> list[int]:
    """The numbers of the deploys that a delivery caused, oldest first."""
    rows = tx.execute(
        "SELECT id FROM deploys WHERE push IN (SELECT id FROM pushes WHERE delivery = ?)"
        " ORDER BY id",
        (delivery,),
    )
    return [number for (number,) in rows]


def newest(
    tx: Transaction, repo: str | None, limit: int, before: int | None = None
) -> list[Deploy]:
    """The newest deploys, of one repository or of all, newest first; `before` pages back."""
    where, values = newest_of(repo, before)
    return _deploys(tx, f"WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))


def newest_in(tx: Transaction, repo: str, states: Collection[State]) -> Deploy | None:
    """The newest deploy of a repository that is in one of those states, or None.

    Only what is newer is read on the way to it.
    """
    marks = ", ".join("?" * len(states))
    where = f"WHERE repo = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1"
    found = _deploys(tx, where, (repo, *states))
    return found[0] if found else None


def unfinished(tx: Transaction) -> list[Deploy]:
    """The deploys that run, then those that wait, oldest first."""
    return running(tx) + _deploys(tx, f"{_WAITING} ORDER BY id", ())


def _change(tx: Transaction, deploy: int, columns: str, values: Sequence[object]) -> None:
    """Give these columns of a deploy new values, and tell that it has changed."""
    row = tx.one(
        f"UPDATE deploys SET {columns} WHERE id = ? RETURNING repo, state", (*values, deploy)
    )
    assert row is not None
    tx.emit(DeployChanged(deploy, row[0], State(row[1])))


class Entry(msgspec.Struct, frozen=True):
    """What is to be deployed where; host and location are None while the config is unknown.

    `push` is the number of the push that asks for it, and `pusher` who pushed.
    `rolls_back` is the deploy that this one takes back, which is told so.
    """

    repo: str
    branch: str
    host: str | None
    location: str | None
    trigger: Trigger
    push: int | None = None
    wanted: str | None = None
    commits: Sequence[Commit] = ()
    rolls_back: int | None = None
    pusher: str = ""

    @property
    def place(self) -> _Place:
        """What it waits for, and whether it goes back to the last good commit."""
        return self.repo, self.branch, self.location, self.rolls_back is not None


def enqueue(tx: Transaction, entry: Entry, now: float) -> int:
    """Put a deploy in the queue, superseding those that wait for the same; its number."""
    (deploy,) = enqueue_all(tx, [entry], now)
    return deploy.id


def enqueue_all(tx: Transaction, entries: Sequence[Entry], now: float) -> list[Deploy]:
    """Put deploys in the queue in their order, each superseding those that wait for the same."""
    columns = (
        "repo, branch, host, location, trigger, push, wanted, state, created, commits, rolls_back"
    )
    rows = [
        (
            one.repo,
            one.branch,
            one.host,
            one.location,
            one.trigger,
            one.push,
            one.wanted,
            State.QUEUED,
            now,
            encode_commits(one.commits[:MOST_COMMITS]),
            one.rolls_back,
        )
        for one in entries
    ]
    numbers = tx.insert("deploys", columns, rows)
    for number, one in zip(numbers, entries, strict=True):
        if one.rolls_back is not None:
            _change(tx, one.rolls_back, "rolled_back_by = ?", (number,))
    places = dict.fromkeys(one.place for one in entries)
    newest = {place: _coalesce(tx, *place, now) for place in places}
    return [
        _queued(tx, number, one, newest[one.place], now)
        for number, one in zip(numbers, entries, strict=True)
    ]


def _queued(tx: Transaction, number: int, entry: Entry, newest: int, now: float) -> Deploy:
    """What has become of a deploy that was queued, of whose place that one is the newest."""
    deploy = Deploy(
        number,
        entry.repo,
        entry.branch,
        entry.host,
        entry.location,
        entry.trigger,
        entry.push,
        entry.wanted,
        State.QUEUED,
        now,
        commits=tuple(entry.commits[:MOST_COMMITS]),
        pusher=entry.pusher,
        rolls_back=entry.rolls_back,
    )
    if number == newest:
        tx.emit(DeployChanged(number, entry.repo, State.QUEUED))
        return deploy
    return replace(
        deploy,
        state=State.SUPERSEDED,
        reason=_is_newer(newest),
        superseded_by=newest,
        finished=now,
    )


def enqueue_again(
    tx: Transaction, like: Deploy, now: float, *, host: str | None, location: str | None
) -> int:
    """Put another deploy like that one in the queue, for a host and location; its number."""
    entry = Entry(
        like.repo,
        like.branch,
        host,
        location,
        like.trigger,
        like.push,
        like.wanted,
        like.commits,
        like.rolls_back,
    )
    return enqueue(tx, entry, now)


def enqueue_interrupted(tx: Transaction, number: int, now: float) -> bool:
    """Queue a deploy again that was cut off in its script, unless a newer one waits for the same.

    Whichever it is, its script is told of what this one has brought. False
    where it was cut off `MOST_INTERRUPTED` times in a row at the same commit:
    the script may be what ends everything, and would for ever.
    """
    one = known(tx, number)
    next_one = waiting_for_the_same(tx, one)
    if next_one is None:
        if _is_in_vain(tx, one):
            return False
        next_one = enqueue_again(tx, one, now, host=one.host, location=one.location)
    tx.execute(
        "UPDATE deploys SET previous_commit = ?, head = ? WHERE id = ? AND head IS NULL",
        (one.previous_commit, one.head, next_one),
    )
    return True


def _is_in_vain(tx: Transaction, deploy: Deploy) -> bool:
    """Whether the deploys that ran before this one at its location were cut off at the same commit."""
    before = tx.execute(
        "SELECT state, commit_id FROM deploys WHERE location = ? AND id < ?"
        " AND started IS NOT NULL ORDER BY id DESC LIMIT ?",
        (deploy.location, deploy.id, MOST_INTERRUPTED - 1),
    ).fetchall()
    return before == [(State.INTERRUPTED, deploy.commit or "")] * (MOST_INTERRUPTED - 1)


def _is_newer(deploy: int) -> str:
    return f"deploy {deploy} waits for the same and is newer"


def _rolls_back(deploy: int) -> str:
    return f"deploy {deploy}, a roll-back, takes its place; that stays until the next push"


def _coalesce(
    tx: Transaction, repo: str, branch: str, location: str | None, goes_back: bool, now: float
) -> int:
    """Of the deploys that wait for the same, of which there is one, leave the newest; its number.

    What brings the last good commit back after one that was not healthy is
    none of the others: a freeze holds those, and not it.
    """
    where, values = "location = ? AND repo = ? AND branch = ?", [location, repo, branch]
    if location is None:
        where, values = "location IS NULL AND repo = ? AND branch = ?", [repo, branch]
    where += f" AND rolls_back IS {'NOT ' if goes_back else ''}NULL"
    row = tx.one(
        "SELECT group_concat(id, ' '), min(CASE WHEN head IS NOT NULL THEN id END)"
        f" FROM deploys {_WAITING} AND {where}",
        values,
    )
    assert row is not None
    *older, newest = sorted(map(int, row[0].split()))
    if row[1] is not None:
        # It was cut off before its script, so that this one's is told of what it has brought.
        tx.execute(
            "UPDATE deploys SET (previous_commit, head) ="
            " (SELECT previous_commit, head FROM deploys WHERE id = ?) WHERE id = ?",
            (row[1], newest),
        )
    if older:
        takes_back = known(tx, newest).trigger is Trigger.ROLLBACK
        reason = _rolls_back(newest) if takes_back else _is_newer(newest)
        # They never began, so there is nothing else of them to end.
        tx.execute(
            "UPDATE deploys INDEXED BY deploys_waiting"
            " SET state = 'superseded', reason = ?, superseded_by = ?, finished = ?"
            f" WHERE state = 'queued' AND {where} AND id < ?",
            (reason, newest, now, *values, newest),
        )
    for one in older:
        tx.emit(DeployChanged(one, repo, State.SUPERSEDED))
    return newest


def place(tx: Transaction, deploy: int, host: str, location: str, branch: str, now: float) -> None:
    """Give a queued or running deploy its place in the queue of a location; its steps begin anew.

    Where HEAD stood before it began there, and where it was to bring that, stay known.
    """
    before, script = known(tx, deploy), script_of(tx, deploy)
    previous, head = before.previous_commit, before.head
    if head is None and script is not None:
        previous, head = script.previous, script.head
    if before.location != location:
        previous = head = None
    tx.execute(
        "UPDATE deploys SET host = ?, location = ?, branch = ?, state = 'queued', started = NULL,"
        " previous_commit = ?, head = ? WHERE id = ?",
        (host, location, branch, previous, head, deploy),
    )
    tx.execute("DELETE FROM steps WHERE deploy = ?", (deploy,))
    tx.execute("DELETE FROM scripts WHERE deploy = ?", (deploy,))
    tx.execute("DELETE FROM checks WHERE deploy = ?", (deploy,))
    goes_back = before.rolls_back is not None
    if _coalesce(tx, before.repo, branch, location, goes_back, now) == deploy:
        tx.emit(DeployChanged(deploy, before.repo, State.QUEUED))


def unplaced(tx: Transaction, repo: str) -> list[Deploy]:
    """The deploys of a repository that wait for its config, oldest first."""
    return _deploys(tx, f"{_WAITING} AND location IS NULL AND repo = ? ORDER BY id", (repo,))


def waiting_at(tx: Transaction, location: str) -> Deploy | None:
    """The first of the deploys that wait for a location, or None."""
    return next(iter(all_waiting_at(tx, location)), None)


def all_waiting_at(tx: Transaction, location: str) -> list[Deploy]:
    """The deploys that wait for a location, in their order.

    There is one for each repository and branch, so rarely more than one.
    """
    return _deploys(tx, f"{_WAITING} AND location = ? ORDER BY id", (location,))


def has_any(tx: Transaction, location: str) -> bool:
    """Whether there ever was a deploy for that location."""
    return tx.one("SELECT 1 FROM deploys WHERE location = ?", (location,)) is not None


def was_there(tx: Transaction, deploy: Deploy, location: str) -> bool:
    """Whether the push or commit of a deploy has one at that location, too, whatever came of it."""
    row = tx.one(
        "SELECT 1 FROM deploys WHERE location = ? AND repo = ? AND branch = ?"
        " AND (push = ? OR coalesce(commit_id, wanted) = ?)",
        (location, deploy.repo, deploy.branch, deploy.push, deploy.wanted),
    )
    return row is not None


def deployed_at(tx: Transaction, location: str) -> Deploy | None:
    """The newest deploy that brought the newest commit to a location, as a roll-back does not; or None."""
    found = _deploys(
        tx,
        "WHERE location = ? AND commit_id IS NOT NULL AND trigger <> 'rollback'"
        " ORDER BY id DESC LIMIT 1",
        (location,),
    )
    return found[0] if found else None


def newest_by_config(tx: Transaction, repo: str, host: str) -> Deploy | None:
    """The newest deploy of a repository for a host that came as far as to have read its config."""
    where = "WHERE repo = ? AND host = ? AND config_commit IS NOT NULL ORDER BY id DESC LIMIT 1"
    found = _deploys(tx, where, (repo, host))
    return found[0] if found else None


def last_good_at(tx: Transaction, repo: str, location: str) -> Deploy | None:
    """The newest deploy of a repository that succeeded at a location, or None."""
    where = "WHERE repo = ? AND location = ? AND state = 'succeeded' ORDER BY id DESC LIMIT 1"
    found = _deploys(tx, where, (repo, location))
    return found[0] if found else None


def changed_since(tx: Transaction, repo: str, location: str, good: int) -> Deploy | None:
    """The newest deploy after that one which moved the checkout and did not succeed, or None."""
    found = _deploys(
        tx,
        "WHERE repo = ? AND location = ? AND id > ? AND head IS NOT NULL"
        " AND head IS NOT previous_commit"
        " AND state IN ('failed', 'timed_out', 'cancelled', 'interrupted')"
        " ORDER BY id DESC LIMIT 1",
        (repo, location, good),
    )
    return found[0] if found else None


def commits_deployed_at(tx: Transaction, location: str, limit: int = 50) -> list[str]:
    """The remote commits that were deployed at a location, newest first."""
    row = tx.one(
        "SELECT group_concat(commit_id, ' ') FROM (SELECT commit_id FROM deploys"
        " WHERE location = ? AND commit_id IS NOT NULL ORDER BY id DESC LIMIT ?)",
        (location, limit),
    )
    return list(dict.fromkeys(row[0].split())) if row and row[0] else []


def telling(tx: Transaction, repo: str, host: str, commit: str) -> Deploy | None:
    """The deploy that says how it stands with a commit at a host: the newest that came to anything.

    One that ended before it began counts only where there is no other.
    """
    found = _deploys(
        tx,
        "WHERE repo = ? AND host = ? AND coalesce(commit_id, wanted) = ?"
        " ORDER BY state IN ('superseded', 'skipped') OR (state = 'cancelled' AND started IS NULL),"
        " id DESC LIMIT 1",
        (repo, host, commit),
    )
    return found[0] if found else None


def result_before(tx: Transaction, deploy: Deploy) -> Deploy | None:
    """The newest deploy before this one that succeeded or failed where this one went.

    Where either never had a location, the branch is the place.
    """
    where, values = "branch = ?", [deploy.branch]
    if deploy.location is not None:
        where, values = (
            f"(location = ? OR location IS NULL AND {where})",
            [
                deploy.location,
                deploy.branch,
            ],
        )
    found = _deploys(
        tx,
        f"WHERE repo = ? AND id < ? AND state IN ('succeeded', 'failed', 'timed_out') AND {where}"
        " ORDER BY id DESC LIMIT 1",
        (deploy.repo, deploy.id, *values),
    )
    return found[0] if found else None


def prune(tx: Transaction, repo: str, now: float) -> list[int]:
    """Forget old deploys of a repository, a few at a time; their numbers, for their logs.

    The newest `KEPT` stay, unless they are older than `KEPT_FOR`; and of each
    location the newest that succeeded, however old it is.
    """
    rows = tx.execute(
        "SELECT id FROM deploys AS old WHERE repo = ? AND state NOT IN ('queued', 'running')"
        " AND (created < ? OR id <= coalesce((SELECT id FROM deploys WHERE repo = old.repo"
        " ORDER BY id DESC LIMIT 1 OFFSET ?), 0))"
        " AND NOT (state = 'succeeded' AND id = (SELECT max(id) FROM deploys"
        " WHERE location = old.location AND state = 'succeeded' AND commit_id IS NOT NULL))"
        " ORDER BY id LIMIT ?",
        (repo, now - KEPT_FOR, KEPT, PRUNED_AT_ONCE),
    )
    numbers = [number for (number,) in rows]
    for number in numbers:
        tx.execute("DELETE FROM deploys WHERE id = ?", (number,))
    return numbers


def queue_heads(tx: Transaction) -> tuple[list[str], list[str]]:
    """The locations and the still unplaced repositories that deploys wait for."""
    locations = tx.execute(
        f"SELECT DISTINCT location FROM deploys {_WAITING} AND location IS NOT NULL"
    )
    repos = tx.execute(f"SELECT DISTINCT repo FROM deploys {_WAITING} AND location IS NULL")
    return [name for (name,) in locations.fetchall()], [name for (name,) in repos.fetchall()]


def running(tx: Transaction) -> list[Deploy]:
    """The deploys that the archive says are running."""
    return _deploys(tx, "WHERE state = 'running' ORDER BY id", ())


def begin(tx: Transaction, deploy: Deploy, now: float) -> Deploy:
    """A deploy that waits runs from now on; as it is then."""
    tx.execute("UPDATE deploys SET state = 'running', started = ? WHERE id = ?", (now, deploy.id))
    tx.emit(DeployChanged(deploy.id, deploy.repo, State.RUNNING))
    return replace(deploy, state=State.RUNNING, started=now)


def note(
    tx: Transaction,
    deploy: int,
    *,
    branch: str | None = None,
    host: str | None = None,
    commit: str | None = None,
    previous_commit: str | None = None,
    head: str | None = None,
    config_commit: str | None = None,
    commits: Sequence[Commit] | None = None,
) -> None:
    """Record what a running deploy has found out; what is None stays as it is."""
    told = None if commits is None else encode_commits(commits)
    _change(
        tx,
        deploy,
        "branch = coalesce(?, branch), host = coalesce(?, host), commit_id = coalesce(?, commit_id),"
        " previous_commit = coalesce(?, previous_commit), head = coalesce(?, head),"
        " config_commit = coalesce(?, config_commit), commits = coalesce(?, commits)",
        (branch, host, commit, previous_commit, head, config_commit, told),
    )


def readable(text: str) -> str:
    """A text as the archive can have it; bytes of a name that is not UTF-8 are written out."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def end(
    tx: Transaction,
    deploy: int,
    state: State,
    now: float,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    superseded_by: int | None = None,
    log_size: int | None = None,
) -> None:
    """The deploy ends in that state, and a step that still ran with it."""
    reason = None if reason is None else readable(reason)
    _change(
        tx,
        deploy,
        "state = ?, reason = ?, exit_code = ?, superseded_by = ?, log_size = ?, finished = ?",
        (state, reason, exit_code, superseded_by, log_size, now),
    )
    tx.execute(
        "UPDATE steps SET state = ?, finished = ?, detail = ? WHERE deploy = ? AND state = 'running'",
        (
            StepState.SUCCEEDED if state is State.SUCCEEDED else StepState.FAILED,
            now,
            reason or "",
            deploy,
        ),
    )
    tx.execute("DELETE FROM scripts WHERE deploy = ?", (deploy,))
    tx.execute("DELETE FROM checks WHERE deploy = ?", (deploy,))


def log_size(tx: Transaction, deploy: int) -> int | None:
    """How large the deploy's log was when it ended; None where it has not, or is not known."""
    row = tx.one("SELECT log_size FROM deploys WHERE id = ?", (deploy,))
    return row[0] if row else None


def want_cancelled(tx: Transaction, deploy: int) -> None:
    """A deploy that runs is to end, also if the server ends first."""
    tx.execute("UPDATE deploys SET is_to_end = 1 WHERE id = ?", (deploy,))


def is_to_end(tx: Transaction, deploy: int) -> bool:
    """Whether somebody has cancelled the deploy while it ran."""
    return tx.one("SELECT 1 FROM deploys WHERE id = ? AND is_to_end", (deploy,)) is not None


def log_was_emptied(tx: Transaction, deploy: int) -> None:
    """What the log of a running deploy has now is of its last step alone."""
    tx.execute("UPDATE steps SET log_start = 0 WHERE deploy = ?", (deploy,))


def begin_step(tx: Transaction, deploy: int, name: str, now: float, log_start: int) -> None:
    """A step of the deploy begins; one of that name that runs already goes on."""
    begun = tx.execute(
        "INSERT INTO steps (deploy, position, name, state, started, detail, log_start)"
        " SELECT ?1, position, ?2, 'running', ?3, '', ?4 FROM"
        " (SELECT coalesce(max(position), 0) + 1 AS position FROM steps WHERE deploy = ?1)"
        " WHERE NOT EXISTS"
        " (SELECT 1 FROM steps WHERE deploy = ?1 AND name = ?2 AND state = 'running')",
        (deploy, name, now, log_start),
    )
    if begun.rowcount:
        tx.emit(StepChanged(deploy, name, StepState.RUNNING))


def end_step(
    tx: Transaction, deploy: int, name: str, state: StepState, now: float, detail: str
) -> None:
    """The running step of that name ends."""
    tx.execute(
        "UPDATE steps SET state = ?, finished = ?, detail = ?"
        " WHERE deploy = ? AND name = ? AND state = 'running'",
        (state, now, readable(detail), deploy, name),
    )
    tx.emit(StepChanged(deploy, name, state))


def steps(tx: Transaction, deploy: int) -> list[Step]:
    """The steps of a deploy, in their order."""
    rows = tx.execute(
        "SELECT name, state, started, finished, detail, log_start FROM steps"
        " WHERE deploy = ? ORDER BY position",
        (deploy,),
    )
    return [Step(row[0], StepState(row[1]), *row[2:]) for row in rows]


def add_script(tx: Transaction, script: RunningScript) -> None:
    """Record the process group of a script, before anything depends on it."""
    tx.execute(
        f"INSERT OR REPLACE INTO scripts ({_SCRIPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        msgspec.structs.astuple(script),
    )


def begin_script(tx: Transaction, deploy: int, deadline: float) -> None:
    """The script of a deploy runs, and may until then."""
    tx.execute("UPDATE scripts SET deadline = ? WHERE deploy = ?", (deadline, deploy))


def complete_update(tx: Transaction, script: RunningScript, now: float, log_size: int) -> None:
    """Record what its deploy has come to, if the server ended between a script's start and that."""
    deploy = script.deploy
    running = "SELECT 1 FROM steps WHERE deploy = ? AND name = 'update' AND state = 'running'"
    if tx.one(running, (deploy,)):
        note(tx, deploy, previous_commit=script.previous, head=script.head)
        end_step(tx, deploy, "update", StepState.SUCCEEDED, now, "")
        begin_step(tx, deploy, "script", now, log_size)


def end_script(tx: Transaction, deploy: int, ending: str) -> None:
    """Record why a script is about to be ended, before the signal: KILL leaves no other trace."""
    tx.execute("UPDATE scripts SET ending = ? WHERE deploy = ?", (ending, deploy))


def add_check(tx: Transaction, deploy: int, check: Check) -> None:
    """Record what is to be asked after the deploy's script, or until when it is asked now."""
    tx.execute(
        "INSERT OR REPLACE INTO checks (deploy, url, timeout, rollback, deadline)"
        " VALUES (?, ?, ?, ?, ?)",
        (deploy, check.url, check.timeout, check.rollback, check.deadline),
    )


def check_of(tx: Transaction, deploy: int) -> Check | None:
    """What is to be asked after the deploy's script, or None."""
    row = tx.one("SELECT url, timeout, rollback, deadline FROM checks WHERE deploy = ?", (deploy,))
    return Check(row[0], row[1], bool(row[2]), row[3]) if row else None


def last_good(tx: Transaction, deploy: Deploy) -> Deploy | None:
    """The newest deploy that brought another commit of the branch there, and succeeded."""
    found = _deploys(
        tx,
        "WHERE repo = ? AND location = ? AND branch = ? AND state = 'succeeded' AND id < ?"
        " AND commit_id <> coalesce(?, '') ORDER BY id DESC LIMIT 1",
        (deploy.repo, deploy.location, deploy.branch, deploy.id, deploy.commit),
    )
    return found[0] if found else None


def waiting_for_the_same(tx: Transaction, deploy: Deploy) -> int | None:
    """The deploy that waits for the repository, branch and location of this one, or None."""
    row = tx.one(
        f"SELECT id FROM deploys {_WAITING} AND location = ? AND repo = ? AND branch = ?",
        (deploy.location, deploy.repo, deploy.branch),
    )
    return row[0] if row else None


def script_of(tx: Transaction, deploy: int) -> RunningScript | None:
    """The script of a running deploy, or None where it has none yet."""
    row = tx.one(f"SELECT {_SCRIPT} FROM scripts WHERE deploy = ?", (deploy,))
    return RunningScript(*row) if row else None
