"""Commit statuses of GitLab.  <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status>  Pure."""

from __future__ import annotations

from urllib.parse import quote

from integralgit.journal.events import State
from integralgit.report.answers import Answer
from integralgit.report.statuses import Kind, Request, Status, shorten

LIMIT = 255
STATES = {
    State.QUEUED: "pending",
    State.RUNNING: "running",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
    State.TIMED_OUT: "failed",
    State.CANCELLED: "canceled",
    State.SUPERSEDED: "canceled",
    State.SKIPPED: "canceled",
    State.INTERRUPTED: "failed",
}


def tell(status: Status) -> Request:
    """Set the status of a commit; a project is named by its whole path, with `/` as `%2F`."""
    body = {
        "state": STATES[status.state],
        "name": status.context,
        "target_url": status.url,
        "description": shorten(status.description, LIMIT),
    }
    return Request(
        "POST", f"/projects/{quote(status.name, safe='')}/statuses/{status.commit}", body
    )


def is_known(_status: Status, answer: Answer) -> bool:
    """Whether it has that status already: it answers 400, "Cannot transition status via …"."""
    return answer.status == 400 and b"Cannot transition status" in answer.body


GITLAB = Kind(lambda token: {"PRIVATE-TOKEN": token}, tell, is_known)
