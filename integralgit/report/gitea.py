"""Commit statuses of Gitea and Forgejo: nearly GitHub's, with `warning` besides.  Pure.

<https://docs.gitea.com/api/#tag/repository/operation/repoCreateStatus>
"""

from __future__ import annotations

from typing import Any

from integralgit.journal.events import State
from integralgit.report import github
from integralgit.report.statuses import Kind, Request, Status, path_of, shorten

LIMIT = 255
STATES = {
    **github.STATES,
    State.CANCELLED: "warning",
    State.SUPERSEDED: "warning",
    State.SKIPPED: "warning",
}


def tell(status: Status) -> Request:
    """Create a commit status."""
    body = {
        "state": STATES[status.state],
        "target_url": status.url,
        "description": shorten(status.description, LIMIT),
        "context": status.context,
    }
    return Request("POST", f"/repos/{path_of(status.name)}/statuses/{status.commit}", body)


def look(status: Status) -> Request:
    """List the statuses of a commit, newest first."""
    path = f"/repos/{path_of(status.name)}/statuses/{status.commit}?sort=recentupdate&limit=50"
    return Request("GET", path)


def has(status: Status, listed: Any) -> bool:
    """Whether that is the newest status of its context in a list, where `state` is `status`."""
    wanted = tell(status).body
    ours = [
        one
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and one.get("context") == status.context
    ]
    return (
        wanted is not None
        and bool(ours)
        and ours[0].get("status") == wanted["state"]
        and all(ours[0].get(key) == wanted[key] for key in ("target_url", "description"))
    )


GITEA = Kind(lambda token: {"Authorization": f"token {token}"}, tell, look=look, has=has)
