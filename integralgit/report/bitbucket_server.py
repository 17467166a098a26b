"""Build statuses of Bitbucket Data Center, 7.14 and newer.  Pure.

<https://developer.atlassian.com/server/bitbucket/rest/latest/api-group-builds-and-deployments/>
"""

from __future__ import annotations

from urllib.parse import quote

from integralgit.journal.events import State
from integralgit.report.statuses import Kind, Request, Status, bearer_or_basic, shorten

LIMIT = 255
STATES = {
    State.QUEUED: "INPROGRESS",
    State.RUNNING: "INPROGRESS",
    State.SUCCEEDED: "SUCCESSFUL",
    State.FAILED: "FAILED",
    State.TIMED_OUT: "FAILED",
    State.CANCELLED: "CANCELLED",
    State.SUPERSEDED: "CANCELLED",
    State.SKIPPED: "CANCELLED",
    State.INTERRUPTED: "FAILED",
}


def tell(status: Status) -> Request:
    """Store a build status of a commit; the same key overwrites the one before.

    The full name of a repository is its project's key and its slug.
    """
    project, _, slug = status.name.partition("/")
    body = {
        "key": shorten(status.context, LIMIT),
        "state": STATES[status.state],
        "name": shorten(status.context, LIMIT),
        "url": status.url,
        "description": shorten(status.description, LIMIT),
    }
    path = f"/projects/{quote(project, safe='~')}/repos/{quote(slug, safe='')}"
    return Request("POST", f"{path}/commits/{status.commit}/builds", body)


BITBUCKET_SERVER = Kind(bearer_or_basic, tell)
