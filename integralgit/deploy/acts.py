"""What a person may do: deploy now, cancel, retry, roll back.  Functions of a transaction.

Each gives the numbers of the deploys that it queued, or raises `Conflict` with
the reason why it cannot be done.
"""

from __future__ import annotations

from collections.abc import Sequence

from integralgit.deploy.decide import why_no_config
from integralgit.deploy.inbox import known_deployments
from integralgit.hooks.delivery import Commit
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import deploys, queue, repositories
from integralgit.journal.events import Deploy, RepositoryRecord, State, Trigger
from integralgit.journal.store import Transaction


class Conflict(Exception):
    """It cannot be done as things stand; the text is the reason."""


def deploy_now(tx: Transaction, repo: str, host_names: tuple[str, ...], now: float) -> list[int]:
    """Queue the newest commit of every deployment that this host has of a repository."""
    record = repositories.get(tx, repo)
    found = _known_deployments(record, host_names)
    if not found:
        if record is None or record.good_text is None:
            raise Conflict(why_no_config(repo, record.config_error if record else None))
        called = " or ".join(host_names)
        raise Conflict(
            f"the config of {repo} has nothing to deploy for this host, which is {called} in configs"
        )
    return [
        queue.enqueue(
            tx, queue.Entry(repo, one.branch, one.host, one.location, Trigger.MANUAL), now
        )
        for one in found
    ]


def _known_deployments(
    record: RepositoryRecord | None, host_names: tuple[str, ...]
) -> tuple[Deployment, ...] | None:
    """This host's deployments by the config in use, or None; raises `Conflict` where it is unusable."""
    try:
        return known_deployments(record, host_names)
    except ConfigError as error:
        raise Conflict(str(error)) from None


def _queue_where(
    tx: Transaction,
    deploy: Deploy,
    trigger: Trigger,
    now: float,
    wanted: str | None = None,
    commits: Sequence[Commit] = (),
) -> list[int]:
    """Queue another deploy for the place of that one; raises `Conflict` where it had none."""
    if deploy.host is None or deploy.location is None:
        raise Conflict(
            f"deploy {deploy.id} never had a location; deploy the repository now instead"
        )
    entry = queue.Entry(
        deploy.repo,
        deploy.branch,
        deploy.host,
        deploy.location,
        trigger,
        wanted=wanted,
        commits=commits,
    )
    return [queue.enqueue(tx, entry, now)]


def retry(tx: Transaction, deploy: Deploy, now: float) -> list[int]:
    """Queue the newest commit once more where a deploy went that has ended, however it did."""
    if not deploy.state.ended:
        raise Conflict(f"deploy {deploy.id} is {deploy.state}; it can be retried when it has ended")
    return _queue_where(tx, deploy, Trigger.RETRY, now)


def roll_back(
    tx: Transaction, deploy: Deploy, host_names: tuple[str, ...], now: float
) -> list[int]:
    """Queue the commit of an earlier deploy that succeeded; it stays until the next push.

    Raises `Conflict` also where the config has moved since: another location is not rolled back.
    """
    if deploy.state is not State.SUCCEEDED or deploy.commit is None:
        raise Conflict(f"deploy {deploy.id} did not succeed, so there is nothing to go back to")
    found = _known_deployments(repositories.known(tx, deploy.repo), host_names) or ()
    if found and deploy.location not in {one.location for one in found}:
        now_at = " and ".join(one.location for one in found)
        raise Conflict(
            f"the config has nothing for {deploy.location} any more, but for {now_at};"
            " roll back to a deploy that went there"
        )
    return _queue_where(tx, deploy, Trigger.ROLLBACK, now, deploy.commit, deploy.commits)


def cancel_queued(tx: Transaction, deploy: Deploy, now: float) -> bool:
    """End a deploy that waits; False where it runs, and has to be asked to end.

    Raises `Conflict` where it has ended.
    """
    if deploy.state.ended:
        raise Conflict(f"deploy {deploy.id} has ended: {deploy.state}")
    if deploy.state is State.QUEUED:
        deploys.end(tx, deploy.id, State.CANCELLED, now, reason="cancelled while it waited")
        return True
    return False
