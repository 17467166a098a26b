"""Build statuses of Bitbucket Cloud.  Pure.

<https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>
"""

from __future__ import annotations

import hashlib

from integralgit.journal.events import State
from integralgit.report.statuses import Kind, Request, Status, bearer_or_basic, path_of, shorten

LIMIT, KEY_LIMIT = 255, 40
STATES = {
    State.QUEUED: "INPROGRESS",
    State.RUNNING: "INPROGRESS",
    State.SUCCEEDED: "SUCCESSFUL",
    State.FAILED: "FAILED",
    State.TIMED_OUT: "FAILED",
    State.CANCELLED: "STOPPED",
    State.SUPERSEDED: "STOPPED",
    State.SKIPPED: "STOPPED",
    State.INTERRUPTED: "FAILED",
}


def key_of(context: str) -> str:
    """The context as a key, which may have 40 characters; a longer one ends in its digest."""
    if len(context) <= KEY_LIMIT:
        return context
    digest = hashlib.sha256(context.encode()).hexdigest()[:12]
    return f"{context[: KEY_LIMIT - 13]}-{digest}"


def tell(status: Status) -> Request:
    """Set a build status of a commit; the same key overwrites the one before."""
    body = {
        "key": key_of(status.context),
        "state": STATES[status.state],
        "name": shorten(status.context, LIMIT),
        "url": status.url,
        "description": shorten(status.description, LIMIT),
    }
    path = f"/repositories/{path_of(status.name)}/commit/{status.commit}/statuses/build"
    return Request("POST", path, body)


BITBUCKET = Kind(bearer_or_basic, tell)
