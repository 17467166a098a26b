"""All SQL about what the next server needs to follow a deploy: its script, and its health check."""

from __future__ import annotations

import msgspec

from integralgit.journal import steps
from integralgit.journal.deploys import note
from integralgit.journal.events import Check, RunningScript, StepState
from integralgit.journal.store import Transaction

_SCRIPT = "deploy, pid, start_ticks, boot_id, deadline, ending, previous_commit, head, timeout"


def add(tx: Transaction, script: RunningScript) -> None:
    """Record the process group of a script, before anything depends on it."""
    tx.execute(
        f"INSERT OR REPLACE INTO scripts ({_SCRIPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        msgspec.structs.astuple(script),
    )


def of_deploy(tx: Transaction, deploy: int) -> RunningScript | None:
    """The script of a running deploy, or None where it has none yet."""
    row = tx.one(f"SELECT {_SCRIPT} FROM scripts WHERE deploy = ?", (deploy,))
    return RunningScript(*row) if row else None


def begin(tx: Transaction, deploy: int, deadline: float) -> None:
    """The script of a deploy runs, and may until then."""
    tx.execute("UPDATE scripts SET deadline = ? WHERE deploy = ?", (deadline, deploy))


def complete_update(tx: Transaction, script: RunningScript, now: float, log_size: int) -> None:
    """Record what its deploy has come to, if the server ended between a script's start and that."""
    deploy = script.deploy
    running = "SELECT 1 FROM steps WHERE deploy = ? AND name = 'update' AND state = 'running'"
    if tx.one(running, (deploy,)):
        note(tx, deploy, previous_commit=script.previous, head=script.head)
        steps.end(tx, deploy, "update", StepState.SUCCEEDED, now, "")
        steps.begin(tx, deploy, "script", now, log_size)


def note_ending(tx: Transaction, deploy: int, ending: str) -> None:
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
