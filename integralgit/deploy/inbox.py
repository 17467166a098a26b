"""Taking deliveries in: one transaction from what was sent to what is queued."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from itertools import chain, islice

import msgspec
from msgspec.structs import replace

from integralgit.deploy.decide import ACCEPTED, IGNORED, decide, reason_of
from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import ConfigError, Deployment, deployments, resolve
from integralgit.journal import deliveries, deploys, freezes, queue, repositories
from integralgit.journal.deliveries import Decided, Stored
from integralgit.journal.events import Deploy, RepositoryRecord, StoredPush, Target, Trigger
from integralgit.journal.queue import Entry
from integralgit.journal.store import Transaction
from integralgit.names import Repository, parse_repository

#: After how many deliveries the old ones are forgotten.
PRUNE_EVERY = 100


class Receipt(msgspec.Struct, frozen=True):
    """What became of a delivery, for the answer; its number, and the deploys it caused.

    `repo` is the identity of its repository, as it is known here. `look` says
    that the repository's config is to be looked at afresh.
    """

    delivery: int
    outcome: str
    reason: str
    deploys: tuple[Deploy, ...]
    repo: str = ""
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
    tx: Transaction, sent: Sequence[Delivery], host_names: tuple[str, ...], now: float
) -> list[Receipt]:
    """Decide about deliveries, store them and queue their deploys; or recognise what was sent before.

    They are taken in together up to one that repeats another, for what became
    of that one has to be known.
    """
    sent = _as_known(tx, sent)
    receipts: list[Receipt] = []
    while len(receipts) < len(sent):
        receipts += _take_in(tx, _without_repeats(sent[len(receipts) :]), host_names, now)
    return receipts


def _as_known(tx: Transaction, sent: Sequence[Delivery]) -> Sequence[Delivery]:
    """The deliveries, each for the spelling of its repository that is known: a git host may change the case."""
    repos = {(one.repo, one.provider) for one in sent if one.repo is not None}
    other: dict[tuple[Repository | None, str], Repository] = {}
    for repo, provider in repos:
        known = repositories.spelling(tx, str(repo), provider)
        if known != str(repo):
            other[repo, provider] = parse_repository(known)
    return [
        replace(one, repo=other[one.repo, one.provider])
        if (one.repo, one.provider) in other
        else one
        for one in sent
    ]


_Key = tuple[str, str, str | None]


def _key(delivery: Delivery) -> _Key:
    """What a delivery that has an id has in common with those that repeat it."""
    return delivery.provider, delivery.id, delivery.identity


def _without_repeats(sent: Sequence[Delivery]) -> Sequence[Delivery]:
    """The deliveries before the first one that repeats another."""
    seen = set[_Key]()
    for number, delivery in enumerate(sent):
        key = _key(delivery)
        if delivery.id and key in seen:
            return sent[:number]
        seen.add(key)
    return sent


def _take_in(
    tx: Transaction, sent: Sequence[Delivery], host_names: tuple[str, ...], now: float
) -> list[Receipt]:
    """Take in deliveries of which none repeats another."""
    first = _first_runs(tx, sent)
    decided = _decided(tx, sent, first, host_names)
    stored = deliveries.add(tx, decided, now)
    entries = [_entries(*both) for both in zip(stored, decided, strict=True)]
    queued = iter(queue.enqueue_all(tx, [*chain.from_iterable(entries)], now))
    caused = [tuple(islice(queued, len(some))) for some in entries]
    for one in stored:
        if one.number % PRUNE_EVERY == 0:
            deliveries.prune(tx, now)
    frozen = _frozen(tx, {some[0].repo for some in entries if some}, now)
    return [
        _receipt(number, one, some or tuple(first.get(_key(one.delivery), ())), frozen)
        for number, one, some in zip(stored, decided, caused, strict=True)
    ]


def _decided(
    tx: Transaction, sent: Sequence[Delivery], first: Container[_Key], host_names: tuple[str, ...]
) -> list[Decided]:
    """What becomes of deliveries, by what is known of their repositories; `first` are repeated."""
    repos = {str(delivery.repo) for delivery in sent if delivery.pushes}
    known = {repo: _known(tx, repo, host_names) for repo in repos}
    return [
        _repeated(delivery)
        if _key(delivery) in first
        else _decide(delivery, known.get(str(delivery.repo)))
        for delivery in sent
    ]


def _first_runs(tx: Transaction, sent: Sequence[Delivery]) -> dict[_Key, list[Deploy]]:
    """The deploys of accepted deliveries that these repeat, unless that may run again."""
    first = {}
    for provider in {delivery.provider for delivery in sent}:
        ids = [one.id for one in sent if one.id and one.provider == provider]
        for (sent_id, repo), number in deliveries.accepted_before(tx, provider, ids).items():
            caused = deploys.of_delivery(tx, number)
            if not any(deploy.state.may_run_again for deploy in caused):
                first[provider, sent_id, repo] = caused
    return first


def _known(
    tx: Transaction, repo: str, host_names: tuple[str, ...]
) -> tuple[Deployment, ...] | None:
    """This host's deployments of a repository, or None where none can be told."""
    try:
        return known_deployments(repositories.get(tx, repo), host_names)
    except ConfigError:
        return None


def _repeated(delivery: Delivery) -> Decided:
    return Decided(delivery, IGNORED, f"the delivery {delivery.id} was accepted before")


def _decide(delivery: Delivery, known: tuple[Deployment, ...] | None) -> Decided:
    decisions = [decide(push, known) for push in delivery.pushes]
    outcome, reason = reason_of(delivery, decisions)
    return Decided(delivery, outcome, reason, decisions)


def _entries(stored: Stored, decided: Decided) -> list[Entry]:
    """What a delivery puts in the queue."""
    delivery = decided.delivery
    return [
        entry
        for push, number, decision in zip(
            delivery.pushes, stored.pushes, decided.decisions, strict=False
        )
        for entry in entries_of(str(delivery.repo), push, number, decision.targets)
    ]


def entries_of(repo: str, push: Push, number: int, targets: Sequence[Target]) -> list[Entry]:
    """What a push of that number puts in the queue: a deploy for each of its targets."""
    return [
        Entry(
            repo,
            target.branch,
            target.host,
            target.location,
            Trigger.PUSH,
            push=number,
            wanted=push.after,
            commits=push.commits,
            pusher=push.pusher[:200],
        )
        for target in targets
    ]


def _frozen(tx: Transaction, repos: set[str], now: float) -> dict[str, str]:
    """Why what is pushed to these repositories waits, where they are frozen."""
    found = {repo: freezes.freeze_of(tx, repo, now) for repo in repos}
    return {
        repo: f"the repository is frozen and its newest push waits: {freeze.reason}"
        for repo, freeze in found.items()
        if freeze is not None
    }


def _receipt(
    stored: Stored, decided: Decided, caused: tuple[Deploy, ...], frozen: dict[str, str]
) -> Receipt:
    """The answer to a delivery, with the deploys of itself or, where it is repeated, of the first one."""
    decisions = decided.decisions
    is_held = decisions and caused and caused[0].repo in frozen
    return Receipt(
        stored.number,
        decided.outcome,
        frozen[caused[0].repo] if is_held else decided.reason,
        caused,
        decided.delivery.identity or "",
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
        pushes=tuple(map(as_sent, stored.pushes)),
        note=f"a replay of delivery {number}",
    )
    (receipt,) = take_in(tx, [again], host_names, now)
    return receipt


def as_sent(push: StoredPush) -> Push:
    """A push as it was sent."""
    return Push(
        push.ref,
        push.before,
        push.after,
        push.deleted,
        push.pusher,
        push.commits,
        push.whole,
    )
