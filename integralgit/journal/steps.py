"""All SQL about the steps of a deploy."""

from __future__ import annotations

from integralgit.journal.deploys import readable
from integralgit.journal.events import Step, StepChanged, StepState
from integralgit.journal.store import Transaction


def begin(tx: Transaction, deploy: int, name: str, now: float, log_start: int) -> None:
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


def end(tx: Transaction, deploy: int, name: str, state: StepState, now: float, detail: str) -> None:
    """The running step of that name ends."""
    tx.execute(
        "UPDATE steps SET state = ?, finished = ?, detail = ?"
        " WHERE deploy = ? AND name = ? AND state = 'running'",
        (state, now, readable(detail), deploy, name),
    )
    tx.emit(StepChanged(deploy, name, state))


def of_deploy(tx: Transaction, deploy: int) -> list[Step]:
    """The steps of a deploy, in their order."""
    rows = tx.execute(
        "SELECT name, state, started, finished, detail, log_start FROM steps"
        " WHERE deploy = ? ORDER BY position",
        (deploy,),
    )
    return [Step(row[0], StepState(row[1]), *row[2:]) for row in rows]


def log_was_emptied(tx: Transaction, deploy: int) -> None:
    """What the log of a running deploy has now is of its last step alone."""
    tx.execute("UPDATE steps SET log_start = 0 WHERE deploy = ?", (deploy,))
