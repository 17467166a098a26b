"""What the pages show, as values: the same that programs get as JSON.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from integralgit.deploy.decide import IGNORED
from integralgit.hostconfig.resolve import ConfigError, Deployment, HostConfig, digests, resolve
from integralgit.journal.events import (
    Deploy,
    Freeze,
    Refusal,
    RepositoryRecord,
    State,
    Step,
    StoredDelivery,
)
from integralgit.names import CONFIG_BRANCH, public_url
from integralgit.quantities import timestamp
from integralgit.web import githost
from integralgit.web.addresses import Addresses

Json = dict[str, Any]


def step_json(step: Step) -> Json:
    """A step as the contract has it."""
    return {
        "name": step.name,
        "state": step.state,
        "started_at": timestamp(step.started),
        "finished_at": timestamp(step.finished),
        "detail": step.detail,
        "log_offset": step.log_start,
    }


def deploy_json(
    deploy: Deploy,
    steps: Sequence[Step],
    addresses: Addresses,
    log_size: int | None = None,
    provider: str = "",
) -> Json:
    """A deploy as the contract has it.

    `log_size` is the size so far of one that runs, `provider` the kind of its git host.
    """
    commit = deploy.commit or deploy.wanted
    page = addresses.deploy(deploy)
    return {
        "id": deploy.id,
        "repo": deploy.repo,
        "branch": deploy.branch,
        "host": deploy.host,
        "location": deploy.location,
        "state": deploy.state,
        "reason": deploy.reason,
        "trigger": deploy.trigger,
        "commit": deploy.commit,
        "wanted_commit": deploy.wanted,
        "previous_commit": deploy.previous_commit,
        "head": deploy.head,
        "config_commit": deploy.config_commit,
        "exit_code": deploy.exit_code,
        "created_at": timestamp(deploy.created),
        "started_at": timestamp(deploy.started),
        "finished_at": timestamp(deploy.finished),
        "steps": [step_json(step) for step in steps],
        "commits": msgspec.to_builtins(deploy.commits),
        "pusher": deploy.pusher,
        "superseded_by": deploy.superseded_by,
        "rolls_back": deploy.rolls_back,
        "rolled_back_by": deploy.rolled_back_by,
        "log_size": deploy.log_size if log_size is None else log_size,
        "links": {
            "self": page,
            "repo": addresses.repository(deploy.repo),
            "log": f"{page}/log",
            "events": f"{page}/events",
            **githost.links(deploy.repo, provider, commit, deploy.previous_commit),
        },
    }


def delivery_json(delivery: StoredDelivery, deploys: Sequence[int] = ()) -> Json:
    """A delivery with its pushes, what was decided, and the numbers of the deploys that it caused."""
    return {
        "id": delivery.id,
        "received_at": timestamp(delivery.received),
        "provider": delivery.provider,
        "provider_id": delivery.provider_id,
        "event": delivery.event,
        "repo": delivery.repo,
        "outcome": delivery.outcome,
        "reason": delivery.reason,
        "deploys": deploys,
        "pushes": [
            {
                "ref": push.ref,
                "before": push.before,
                "after": push.after,
                "deleted": push.deleted,
                "pusher": push.pusher,
                "commits": msgspec.to_builtins(push.commits),
                "outcome": push.outcome,
                "reason": push.reason,
            }
            for push in delivery.pushes
        ],
    }


def why_not_deployed(delivery: StoredDelivery | None, deploy: Deploy | None) -> list[Json]:
    """Why the newest push, or the newest deploy, has changed nothing; each names which it is about."""
    found: list[Json] = []
    if delivery is not None and delivery.outcome == IGNORED:
        # A look at the config, after the delivery, has its say on each push.
        reasons = dict.fromkeys(push.reason for push in delivery.pushes if push.reason)
        reason = "; ".join(reasons) or delivery.reason
        found.append({"delivery": delivery.id, "deploy": None, "reason": reason})
    if deploy is not None and deploy.state in (State.FAILED, State.SKIPPED) and not deploy.head:
        found.append({"delivery": None, "deploy": deploy.id, "reason": deploy.reason})
    return found


def freeze_json(freeze: Freeze | None) -> Json | None:
    """A repository's freeze, or None."""
    if freeze is None:
        return None
    return {
        "reason": freeze.reason,
        "since": timestamp(freeze.since),
        "until": timestamp(freeze.until),
    }


def refusal_json(refusal: Refusal) -> Json:
    """Requests that were refused for one cause."""
    return {
        "status": refusal.status,
        "cause": refusal.cause,
        "source": refusal.source,
        "count": refusal.count,
        "first_at": timestamp(refusal.first),
        "last_at": timestamp(refusal.last),
    }


def _host_json(config: HostConfig) -> Json:
    return {
        "host": config.host,
        "deploys": config.deployment is not None,
        "values": {
            key: {"value": _readable(key, one.value), "layer": one.layer}
            for key, one in config.values.items()
        },
        "layers": list(config.layers),
        "other_layers": list(config.others),
        "warnings": list(config.warnings),
        "errors": list(config.errors),
    }


def _readable(key: str, value: object) -> object:
    """A value of the config as every reader may see it: a URL without its password."""
    return public_url(value) if key == "health" and isinstance(value, str) else value


def _nothing(host: str, *errors: str) -> Json:
    return {
        "host": host,
        "deploys": False,
        "values": {},
        "layers": [],
        "other_layers": [],
        "warnings": [],
        "errors": [*errors],
    }


def config_json(record: RepositoryRecord, host_names: tuple[str, ...]) -> list[Json]:
    """The config in use, one entry per host name, with what is wrong with the newest one."""
    if record.good_text is None:
        hosts = [_nothing(name) for name in host_names]
    else:
        try:
            hosts = [_host_json(one) for one in resolve(record.good_text, host_names)]
        except ConfigError as error:
            hosts = [_nothing(name, str(error)) for name in host_names]
    for host in hosts:
        host["commit"] = record.good_commit
        if record.config_error is not None and record.config_error not in host["errors"]:
            host["errors"].append(record.config_error)
    return hosts


def config_note(record: RepositoryRecord) -> str:
    """How it stands with the config, where that needs saying; else empty."""
    if record.config_error and record.good_text is not None:
        return (
            f"The newest config ({(record.config_commit or '')[:12]}) is broken: {record.config_error}."
            f" The last good one ({(record.good_commit or '')[:12]}) stays in use."
        )
    if record.config_error:
        return f"The config cannot be used: {record.config_error}."
    if record.good_text is None:
        return f"No config is known yet: put one on the branch {CONFIG_BRANCH}, then push."
    return ""


def coming_change(
    deployment: Deployment,
    before: Deploy | None,
    settings: Mapping[str, str],
    forbidden: str | None = None,
) -> str | None:
    """What the next deploy will do otherwise than the newest one of that host did, as a sentence.

    `settings` are the digests with which that one ran, of which some may not
    be known. Where `forbidden` says why, the next one will be refused. None
    where nothing is known to change.
    """
    start = f"The next push to {deployment.branch}, or “Deploy now”, will"
    if forbidden is not None:
        return f"{start} be refused, for {forbidden}."
    if before is None:
        return None
    goes, changes = [], []
    if deployment.branch != before.branch:
        goes.append(f"the branch {deployment.branch} instead of {before.branch}")
    if deployment.location != before.location:
        goes.append(f"to {deployment.location} instead of {before.location}")
    if goes:
        changes.append(f"deploy {', '.join(goes)}")
    now = digests(deployment)
    keys = [key for key in now if settings.get(key, now[key]) != now[key]]
    if keys:
        *some, last = keys
        told = f"{', '.join(some)} and {last}" if some else last
        changes.append(f"use other values for {told}")
    return f"{start} {', and '.join(changes)}." if changes else None


def duration(deploy: Json, now: float) -> str:
    """How long a deploy has run, for a person."""
    if deploy["started_at"] is None:
        return ""
    start = datetime.fromisoformat(deploy["started_at"]).timestamp()
    finished = deploy["finished_at"]
    end = datetime.fromisoformat(finished).timestamp() if finished else now
    seconds = max(0.0, end - start)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(max(60, int(seconds)), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: object) -> str:
    """A config value as a person would write it: seconds without `.0`, flags as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


#: A state at a glance, by shape as well as by colour.
MARKS = {
    State.QUEUED: "○",
    State.RUNNING: "▶",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.TIMED_OUT: "◷",
    State.CANCELLED: "⊘",
    State.SUPERSEDED: "↷",
    State.SKIPPED: "–",
    State.INTERRUPTED: "!",
}
