"""The queue: the rows of deploys in state `queued`.

There is no other, so a queue cannot be lost. Of the deploys of one repository
and branch that wait for one location only the newest stays; the others are
superseded by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from integralgit.hooks.delivery import MOST_COMMITS, Commit
from integralgit.journal import scripts
from integralgit.journal.deliveries import encode_commits
from integralgit.journal.deploys import change, known, running, select
from integralgit.journal.events import Deploy, DeployChanged, State, Trigger
from integralgit.journal.store import Transaction

#: How often in a row a deploy is begun that is cut off each time.
MOST_INTERRUPTED = 5

#: What waits is found by the index of what waits; SQLite would rather read all that ever ran.
_WAITING = "INDEXED BY deploys_waiting WHERE state = 'queued'"

#: Repository, branch and location: of what waits for the same, only the newest stays.
_Place = tuple[str, str, str | None, bool]


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
            change(tx, one.rolls_back, "rolled_back_by = ?", (number,))
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
    before, script = known(tx, deploy), scripts.of_deploy(tx, deploy)
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


def unfinished(tx: Transaction) -> list[Deploy]:
    """The deploys that run, then those that wait, oldest first."""
    return running(tx) + select(tx, f"{_WAITING} ORDER BY id", ())


def unplaced(tx: Transaction, repo: str) -> list[Deploy]:
    """The deploys of a repository that wait for its config, oldest first."""
    return select(tx, f"{_WAITING} AND location IS NULL AND repo = ? ORDER BY id", (repo,))


def waiting_at(tx: Transaction, location: str) -> Deploy | None:
    """The first of the deploys that wait for a location, or None."""
    return next(iter(all_waiting_at(tx, location)), None)


def all_waiting_at(tx: Transaction, location: str) -> list[Deploy]:
    """The deploys that wait for a location, in their order.

    There is one for each repository and branch, so rarely more than one.
    """
    return select(tx, f"{_WAITING} AND location = ? ORDER BY id", (location,))


def waiting_for_the_same(tx: Transaction, deploy: Deploy) -> int | None:
    """The deploy that waits for the repository, branch and location of this one, or None.

    It goes back to the last good commit as this one does, or goes forward as this one does.
    """
    row = tx.one(
        f"SELECT id FROM deploys {_WAITING} AND location = ? AND repo = ? AND branch = ?"
        " AND (rolls_back IS NULL) = ?",
        (deploy.location, deploy.repo, deploy.branch, deploy.rolls_back is None),
    )
    return row[0] if row else None


def heads(tx: Transaction) -> tuple[list[str], list[str]]:
    """The locations and the still unplaced repositories that deploys wait for."""
    locations = tx.execute(
        f"SELECT DISTINCT location FROM deploys {_WAITING} AND location IS NOT NULL"
    )
    repos = tx.execute(f"SELECT DISTINCT repo FROM deploys {_WAITING} AND location IS NULL")
    return [name for (name,) in locations.fetchall()], [name for (name,) in repos.fetchall()]
