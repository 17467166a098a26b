"""After a look at a repository's config: what waited for it is placed, and decided again."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from integralgit.deploy.decide import ACCEPTED, IGNORED, decide, why_no_config, why_not
from integralgit.deploy.inbox import as_sent, entries_of, known_deployments
from integralgit.deploy.outcome import goal_of
from integralgit.hooks.delivery import Push
from integralgit.hostconfig.resolve import ConfigError
from integralgit.journal import deliveries, deploys, history, queue
from integralgit.journal.events import Deploy, RepositoryRecord, State, Trigger
from integralgit.journal.store import Transaction
from integralgit.names import CONFIG_BRANCH


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
        give_up(tx, repo, [one.id for one in queue.unplaced(tx, repo)], str(error), now)
        for push in deliveries.pushes_to_look_at(tx, repo):
            deliveries.decide_push(tx, push, push.outcome, str(error))
        return ()
    if record.good_text is None:
        reason = why_no_config(repo, record.config_error)
        state = State.FAILED if record.config_error else State.SKIPPED
        for deploy in queue.unplaced(tx, repo):
            deploys.end(tx, deploy.id, state, now, reason=reason)
    for deploy in queue.unplaced(tx, repo):
        targets = [one for one in known if one.branch == deploy.branch]
        if not targets:
            reason = why_not(deploy.branch, known)
            deploys.end(tx, deploy.id, State.SKIPPED, now, reason=reason)
            continue
        for one in targets[1:]:
            queue.enqueue_again(tx, deploy, now, host=one.host, location=one.location)
        queue.place(tx, deploy.id, targets[0].host, targets[0].location, deploy.branch, now)
        woken += [one.location for one in targets]
    for ref, deleted in deliveries.refs_to_look_at(tx, repo):
        # What is said of one push is said of all like it, of which a storm brings thousands.
        decision = decide(Push(ref, deleted=deleted), known)
        if decision.outcome == IGNORED and ref != f"refs/heads/{CONFIG_BRANCH}":
            deliveries.ignore_pushes(tx, repo, ref, deleted, decision.reason)
    for push in deliveries.pushes_to_look_at(tx, repo):
        sent = as_sent(push)
        decision = decide(sent, known)
        reason = decision.reason
        if push.ref == f"refs/heads/{CONFIG_BRANCH}":
            fine = "it is fine" if record.good_text else "there is none any more"
            reason = f"the config was read: {record.config_error or fine}"
        if push.outcome == IGNORED and decision.outcome == ACCEPTED:
            reason = "the config had changed and now deploys this branch"
        deliveries.decide_push(tx, push, decision.outcome, reason)
        queue.enqueue_all(tx, entries_of(repo, sent, push.id, decision.targets), now)
        woken += [target.location for target in decision.targets if target.location]
    return tuple(dict.fromkeys(woken))


def share(
    tx: Transaction, record: RepositoryRecord, host_names: tuple[str, ...], now: float
) -> None:
    """With a new config: pushes that were decided by the one before go to all its locations, too.

    These are the ones that have not been fetched yet, for the config may have
    been pushed together with them. Nothing is queued where the push is already.
    """
    try:
        known = known_deployments(record, host_names) or ()
    except ConfigError:
        return
    waiting = sorted(
        (one for one in queue.unfinished(tx) if one.repo == record.repo and _is_shared(one)),
        key=lambda one: one.id,
    )
    goals = [(one.branch, goal_of(one, known)) for one in waiting]
    for deploy in {one.branch: one for one in waiting}.values():
        for one in known:
            if one.branch != deploy.branch or (one.branch, one) in goals:
                continue
            to_wait = replace(deploy, location=one.location)
            if queue.waiting_for_the_same(tx, to_wait) is not None:
                continue
            if not history.was_there(tx, deploy, one.location):
                queue.enqueue_again(tx, deploy, now, host=one.host, location=one.location)


def _is_shared(deploy: Deploy) -> bool:
    """Whether a deploy is one of those that go wherever the config has their branch."""
    is_told = deploy.trigger in (Trigger.PUSH, Trigger.POLL)
    return is_told and deploy.location is not None and deploy.commit is None


def give_up(tx: Transaction, repo: str, numbers: Collection[int], reason: str, now: float) -> None:
    """The config could not be read: of the deploys that wait for it, these fail with that reason."""
    for deploy in queue.unplaced(tx, repo):
        if deploy.id in numbers:
            deploys.end(tx, deploy.id, State.FAILED, now, reason=reason)
