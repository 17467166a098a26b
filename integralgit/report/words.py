"""How a deploy is told of in words, the same to everybody.  Pure."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from integralgit.journal.events import Deploy, State, Trigger
from integralgit.quantities import timestamp

FAILED, RECOVERED, SUCCEEDED = "failed", "recovered", "succeeded"
HOOK_SILENT = "hook_silent"


@frozen
class Message:
    """One notification; `id` is its own for ever, so that a receiver can tell a repeat.

    `title` and `text` are for people, `facts` for programs.
    """

    id: str
    event: str
    at: float
    title: str
    text: str
    url: str
    facts: dict[str, Any]


def _took(deploy: Deploy) -> str:
    if deploy.started is None or deploy.finished is None:
        return ""
    seconds = max(0.0, deploy.finished - deploy.started)
    if seconds < 60:
        return f" in {seconds:.0f} s"
    return f" in {int(seconds) // 60} min {int(seconds) % 60:02d} s"


def what(deploy: Deploy) -> str:
    """A deploy in two words: a roll-back says that it is one."""
    return f"{'Roll-back' if deploy.trigger is Trigger.ROLLBACK else 'Deploy'} {deploy.id}"


def describe(deploy: Deploy) -> str:
    """How it stands with a deploy, for the commit at the git host."""
    where = f" to {deploy.host}" if deploy.host else ""
    if deploy.state is State.QUEUED:
        return f"{what(deploy)}{where} waits"
    if deploy.state is State.RUNNING:
        return f"{what(deploy)}{where} runs"
    if deploy.state is State.SUCCEEDED:
        back = "Rolled back" if deploy.trigger is Trigger.ROLLBACK else "Deployed"
        return f"{back}{where}{_took(deploy)}"
    state = deploy.state.value.replace("_", " ")
    return f"{what(deploy)}{where} {state}: {deploy.reason or 'no reason is known'}"


def title(deploy: Deploy, event: str) -> str:
    """One line that says what happened, and where."""
    where = f"{deploy.repo} {deploy.branch}" + (f" on {deploy.host}" if deploy.host else "")
    if event == FAILED:
        verb = "timed out" if deploy.state is State.TIMED_OUT else "failed"
        return f"{what(deploy)} of {where} {verb}"
    if deploy.trigger is Trigger.ROLLBACK:
        return f"{where} was rolled back"
    return f"{where} works again" if event == RECOVERED else f"{where} was deployed"


def text(deploy: Deploy, event: str) -> str:
    """What else there is to say: the reason, or the commit."""
    if event == FAILED:
        return deploy.reason or "no reason is known"
    commit = (deploy.commit or deploy.wanted or "")[:12]
    subject = deploy.commits[0].message if deploy.commits else ""
    return f"{commit} {subject}".strip() + _took(deploy)


def facts(deploy: Deploy, url: str) -> dict[str, Any]:
    """A deploy for programs: the names are those of the API."""
    return {
        "id": deploy.id,
        "repo": deploy.repo,
        "branch": deploy.branch,
        "host": deploy.host,
        "location": deploy.location,
        "state": deploy.state.value,
        "reason": deploy.reason,
        "trigger": deploy.trigger.value,
        "commit": deploy.commit,
        "wanted_commit": deploy.wanted,
        "previous_commit": deploy.previous_commit,
        "exit_code": deploy.exit_code,
        "created_at": timestamp(deploy.created),
        "started_at": timestamp(deploy.started),
        "finished_at": timestamp(deploy.finished),
        "url": url,
    }
