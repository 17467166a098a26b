"""Statuses and deployments of GitHub and GitHub Enterprise.  Pure.

<https://docs.github.com/rest/commits/statuses>,
<https://docs.github.com/rest/deployments/deployments>,
<https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api>
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from integralgit.journal.events import State
from integralgit.report.statuses import Kind, Request, Shipment, Status, path_of, shorten

VERSION = "2022-11-28"
#: The most characters of a description.
LIMIT = 140
_ACCEPT = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}

#: `failure` says that the commit is to blame, and `error` that it is not live for another reason.
STATES = {
    State.QUEUED: "pending",
    State.RUNNING: "pending",
    State.SUCCEEDED: "success",
    State.FAILED: "failure",
    State.TIMED_OUT: "failure",
    State.CANCELLED: "error",
    State.SUPERSEDED: "error",
    State.SKIPPED: "success",
    State.INTERRUPTED: "error",
}
DEPLOYMENT_STATES = {
    **STATES,
    State.QUEUED: "queued",
    State.RUNNING: "in_progress",
    State.SUPERSEDED: "inactive",
    State.SKIPPED: "inactive",
}


def authorize(token: str) -> dict[str, str]:
    """The headers of every request."""
    return {"Authorization": f"Bearer {token}", **_ACCEPT}


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
    path = f"/repos/{path_of(status.name)}/commits/{status.commit}/statuses?per_page=100"
    return Request("GET", path)


def has(status: Status, listed: Any) -> bool:
    """Whether that is the newest status of its context in a list; contexts know no case."""
    wanted, context = tell(status).body, status.context.lower()
    if not isinstance(listed, list) or wanted is None:
        return False
    ours = [
        one
        for one in listed
        if isinstance(one, dict) and str(one.get("context")).lower() == context
    ]
    keys = ("state", "target_url", "description")
    return bool(ours) and all(ours[0].get(key) == wanted[key] for key in keys)


def find_deployment(shipment: Shipment) -> Request:
    """List the deployments of a commit to an environment."""
    query = urlencode(
        {"sha": shipment.commit, "environment": shipment.environment, "per_page": 100}
    )
    return Request("GET", f"/repos/{path_of(shipment.name)}/deployments?{query}")


def found_deployment(shipment: Shipment, listed: Any) -> str | None:
    """The id of that very deployment in a list; its payload has the URL of our deploy."""
    for one in listed if isinstance(listed, list) else ():
        payload = one.get("payload") if isinstance(one, dict) else None
        if isinstance(payload, dict) and payload.get("integralgit") == shipment.url:
            return id_of(one)
    return None


def create_deployment(shipment: Shipment) -> Request:
    """Create a deployment of exactly that commit, whatever its statuses say."""
    body = {
        "ref": shipment.commit,
        "task": "deploy",
        "auto_merge": False,
        "required_contexts": [],
        "payload": {"integralgit": shipment.url},
        "environment": shipment.environment,
        "description": shorten(f"Deploy to {shipment.environment}", LIMIT),
    }
    return Request("POST", f"/repos/{path_of(shipment.name)}/deployments", body)


def id_of(deployment: Any) -> str | None:
    """The id of a deployment that was created or listed."""
    number = deployment.get("id") if isinstance(deployment, dict) else None
    return str(number) if isinstance(number, int) else None


def tell_deployment(shipment: Shipment, deployment: str) -> Request:
    """Create the status of a deployment."""
    body = {
        "state": DEPLOYMENT_STATES[shipment.state],
        "log_url": shipment.url,
        "description": shorten(shipment.description, LIMIT),
        "environment": shipment.environment,
    }
    path = f"/repos/{path_of(shipment.name)}/deployments/{deployment}/statuses"
    return Request("POST", path, body)


def look_at_deployment(shipment: Shipment, deployment: str) -> Request:
    """List the statuses of a deployment, newest first."""
    path = f"/repos/{path_of(shipment.name)}/deployments/{deployment}/statuses?per_page=100"
    return Request("GET", path)


def deployment_has(shipment: Shipment, listed: Any) -> bool:
    """Whether the newest status of a deployment is that one."""
    wanted = tell_deployment(shipment, "0").body
    if not isinstance(listed, list) or not listed or wanted is None:
        return False
    newest = listed[0]
    keys = ("state", "log_url", "description")
    return isinstance(newest, dict) and all(newest.get(key) == wanted[key] for key in keys)


GITHUB = Kind(authorize, tell, look=look, has=has, spacing=1.0)
