"""Taking in a delivery: one transaction from what was sent to what is queued."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from integralgit.deploy.decide import ACCEPTED, IGNORED, Target, decide, reason_of, why_not
from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import ConfigError, Deployment, deployments, resolve
from integralgit.journal import deliveries, deploys, freezes
from integralgit.journal.events import Deploy, RepositoryRecord, State, StoredPush, Trigger
from integralgit.journal.store import Transaction
from integralgit.names import CONFIG_BRANCH, parse_repository

#: After how many deliveries the old ones are forgotten.
PRUNE_EVERY = 100


class Receipt(msgspec.Struct, frozen=True):
    """What became of a delivery, for the answer; its number, and the deploys it caused.

    `look` says that the repository's config is to be looked at afresh.
    """

    delivery: int
    outcome: str
    reason: str
    deploys: tuple[Deploy, ...]
    look: bool = False


def known_deployments(
    record: RepositoryRecord | None, host_names: tuple[str, ...]
) -> tuple[Deployment, ...] | None:
    """This host's deployments by the config in use, or None where there is none in use.

    Raises `ConfigError` where this host's names, which may have changed, make
    the config in use unusable.
    """
    if record is None or record.good_text is None:
        return None
    return _deployments(record.good_text, host_names)


@lru_cache(maxsize=256)
def _deployments(text: str, host_names: tuple[str, ...]) -> tuple[Deployment, ...]:
    """What a config means here; every delivery and every deploy asks that again."""
    return deployments(resolve(text, host_names))


def take_in(
    tx: Transaction, delivery: Delivery, host_names: tuple[str, ...], now: float
) -> Receipt:
    """Decide about a delivery, store it, and queue its deploys, or recognise it as sent before."""
    repo = str(delivery.repo) if delivery.repo else None
    earlier = deliveries.earlier_delivery(tx, delivery.provider, delivery.id, repo)
    if earlier is not None:
        first = deploys.of_delivery(tx, earlier)
        if not any(deploy.state.may_run_again for deploy in first):
            reason = f"the delivery {delivery.id} was accepted before"
            number = deliveries.add_delivery(tx, delivery, now, IGNORED, reason)
            return Receipt(number, IGNORED, reason, tuple(first))
    known: tuple[Deployment, ...] | None = None
    if delivery.repo is not None and delivery.pushes:
        try:
            known = known_deployments(deliveries.repository(tx, str(delivery.repo)), host_names)
        except ConfigError:
            known = None
    decisions = [decide(push, known) for push in delivery.pushes]
    outcome, reason = reason_of(delivery, decisions)
    number = deliveries.add_delivery(tx, delivery, now, outcome, reason)
    if number % PRUNE_EVERY == 0:
        deliveries.prune(tx, now)
    queued: list[int] = []
    for push, decision in zip(delivery.pushes, decisions, strict=True):
        branch = push.ref.removeprefix("refs/heads/")
        if push.after is not None and branch != push.ref and repo is not None:
            deliveries.see(tx, repo, branch, push.after)
        stored = deliveries.add_push(
            tx, number, push, decision.outcome, decision.reason, decision.look
        )
        queued += _enqueue(tx, str(delivery.repo), push, stored, decision.targets, now)
    freeze = freezes.freeze_of(tx, repo, now) if repo and queued else None
    if freeze is not None:
        reason = f"the repository is frozen and its newest push waits: {freeze.reason}"
    return Receipt(
        number,
        outcome,
        reason,
        tuple(deploys.known(tx, deploy) for deploy in queued),
        look=any(d.look or any(t.location is None for t in d.targets) for d in decisions),
    )


def replay(
    tx: Transaction, number: int, repo: str, host_names: tuple[str, ...], now: float
) -> Receipt | None:
    """Take an accepted delivery of a repository in once more; None where there is no such one.

    It is decided afresh, by the config as it is now.
    """
    stored = deliveries.delivery(tx, number)
    if stored is None or stored.repo != repo or stored.outcome != ACCEPTED:
        return None
    again = Delivery(
        stored.provider,
        stored.event,
        repo=parse_repository(repo),
        pushes=tuple(map(_as_sent, stored.pushes)),
        note=f"a replay of delivery {number}",
    )
    return take_in(tx, again, host_names, now)


def _enqueue(
    tx: Transaction, repo: str, push: Push, stored: int, targets: Sequence[Target], now: float
) -> list[int]:
    return [
        deploys.enqueue(
            tx,
            repo=repo,
            branch=target.branch,
            host=target.host,
            location=target.location,
            trigger=Trigger.PUSH,
            push=stored,
            wanted=push.after,
            commits=push.commits,
            now=now,
        )
        for target in targets
    ]


def _as_sent(push: StoredPush) -> Push:
    return Push(
        push.ref,
        push.before,
        push.after,
        push.deleted,
        push.pusher,
        push.commits,
        push.whole,
    )


def settle(
    tx: Transaction, record: RepositoryRecord, host_names: tuple[str, ...], now: float
) -> tuple[str, ...]:
    """After a look at the config: place the deploys that waited for it, decide pushes again.

    Gives the locations that have something to do now.
    """
    repo, woken = record.repo, list[str]()
    try:
        known = known_deployments(record, host_names) or ()
    except ConfigError as error:
        give_up(tx, repo, str(error), now)
        for push in deliveries.pushes_to_look_at(tx, repo):
            deliveries.decide_push(tx, push, push.outcome, str(error))
        return ()
    if record.good_text is None:
        reason = record.config_error or f"{repo} has no branch {CONFIG_BRANCH} with a config"
        state = State.FAILED if record.config_error else State.SKIPPED
        for deploy in deploys.unplaced(tx, repo):
            deploys.end(tx, deploy.id, state, now, reason=reason)
    for deploy in deploys.unplaced(tx, repo):
        targets = [one for one in known if one.branch == deploy.branch]
        if not targets:
            reason = why_not(deploy.branch, known)
            deploys.end(tx, deploy.id, State.SKIPPED, now, reason=reason)
            continue
        for one in targets[1:]:
            deploys.enqueue_again(tx, deploy, now, host=one.host, location=one.location)
        deploys.place(tx, deploy.id, targets[0].host, targets[0].location, deploy.branch, now)
        woken += [one.location for one in targets]
    for ref, deleted in deliveries.refs_to_look_at(tx, repo):
        # What is said of one push is said of all like it, of which a storm brings thousands.
        decision = decide(Push(ref, deleted=deleted), known)
        if decision.outcome == IGNORED and ref != f"refs/heads/{CONFIG_BRANCH}":
            deliveries.ignore_pushes(tx, repo, ref, deleted, decision.reason)
    for push in deliveries.pushes_to_look_at(tx, repo):
        sent = _as_sent(push)
        decision = decide(sent, known)
        reason = decision.reason
        if push.ref == f"refs/heads/{CONFIG_BRANCH}":
            fine = "it is fine" if record.good_text else "there is none any more"
            reason = f"the config was read: {record.config_error or fine}"
        if push.outcome == IGNORED and decision.outcome == ACCEPTED:
            reason = "the config had changed and now deploys this branch"
        deliveries.decide_push(tx, push, decision.outcome, reason)
        _enqueue(tx, repo, sent, push.id, decision.targets, now)
        woken += [target.location for target in decision.targets if target.location]
    return tuple(dict.fromkeys(woken))


def give_up(tx: Transaction, repo: str, reason: str, now: float) -> None:
    """The config cannot be read: the deploys that waited for it fail with that reason."""
    for deploy in deploys.unplaced(tx, repo):
        deploys.end(tx, deploy.id, State.FAILED, now, reason=reason)
