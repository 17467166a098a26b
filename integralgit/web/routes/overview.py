"""What is to be read of all repositories, and of one: deploys, the config, what came in."""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request

from integralgit.deploy.inbox import known_deployments
from integralgit.deploy.outcome import why_forbidden
from integralgit.hostconfig.resolve import ConfigError, Deployment
from integralgit.journal import deliveries, deploys, freezes, history, queue, refusals, repositories
from integralgit.journal.events import Deploy, RepositoryRecord, StoredDelivery, StoredPush, Trigger
from integralgit.journal.store import Transaction
from integralgit.names import parse_repository
from integralgit.web import pages
from integralgit.web.answers import HTTPError, set_headers, wants_json
from integralgit.web.app import Pages
from integralgit.web.badge import TELLING, badge
from integralgit.web.guards import limits, reading

#: How many repositories the overview shows: those that were deployed last.
SHOWN = 50
#: How many deliveries a repository's page shows, and is the newest push looked for among; how many
#: single refusals the page of all deliveries shows.
LATEST = 10


@Pages.app.route("/", methods=["GET"])
@reading
async def overview(web: Pages, request: Request) -> Any:
    """Repositories, what runs and waits, the newest deploys."""
    limit, before = limits(request)

    def work(tx: Transaction) -> dict[str, Any]:
        now = web.now()
        latest: list[dict[str, Any]] = []
        shown = repositories.latest(tx, SHOWN + 1)
        for repo in shown[:SHOWN]:
            newest = deploys.newest(tx, repo, 1)
            record = repositories.known(tx, repo)
            latest.append(
                {
                    "repo": repo,
                    "newest": web.deploy_json(tx, newest[0].id) if newest else None,
                    "note": pages.config_note(record),
                    "frozen": pages.freeze_json(freezes.freeze_of(tx, repo, now)),
                }
            )
        return {
            "repositories": latest,
            "more_repositories": len(shown) > SHOWN,
            "running": [web.deploy_json(tx, one.id) for one in queue.unfinished(tx)],
            "deploys": [
                web.deploy_json(tx, one.id) for one in deploys.newest(tx, None, limit, before)
            ],
        }

    values = await web.store.read(work)
    if not wants_json(request):
        values |= {
            "hook": web.addresses.hook,
            "secret_file": web.secret_file,
            "host_names": web.host_names,
            "limit": limit,
            "before": before,
        }
    return web.show(request, "overview.html", values)


@Pages.app.route("/-/repositories", methods=["GET"])
@reading
async def all_repositories(web: Pages, request: Request) -> Any:
    """The names of all repositories, where the overview has room for some only."""
    names = await web.store.read(repositories.names)
    return web.show(request, "repositories.html", {"repositories": names})


@Pages.app.route("/-/deliveries", methods=["GET"])
@reading
async def all_deliveries(web: Pages, request: Request) -> Any:
    """What came in for all repositories, and what was refused."""
    return await _deliveries(web, request, None)


@Pages.app.route("/<path:repo>/deliveries", methods=["GET"])
@reading
async def deliveries_of(web: Pages, request: Request, repo: str) -> Any:
    """What came in for a repository; or the page of one that is called `deliveries`."""
    called = f"{repo}/deliveries"
    if await web.store.read(lambda tx: repositories.get(tx, called)) is not None:
        return await _repository(web, request, called)
    return await _deliveries(web, request, (await web.repository(request, repo)).repo)


async def _deliveries(web: Pages, request: Request, repo: str | None) -> bytes:
    limit, before = limits(request)

    def work(tx: Transaction) -> dict[str, Any]:
        found = deliveries.newest_deliveries(tx, repo, limit, before)
        values: dict[str, Any] = {"repo": repo}
        values["deliveries"] = [_delivery_json(tx, one) for one in found]
        if repo is None:
            values["refused"] = {
                "counts": [pages.refusal_json(one) for one in refusals.counts(tx)],
                "newest": [pages.refusal_json(one) for one in refusals.newest(tx)],
            }
        return values

    values = await web.store.read(work)
    if not wants_json(request):
        values |= {"latest": LATEST, "limit": limit, "before": before}
    return web.show(request, "deliveries.html", values)


@Pages.app.route("/<path:repo>/badge.svg", methods=["GET"])
async def badge_picture(web: Pages, request: Request, repo: str) -> Any:
    """The state of the newest deploy as a picture, for everybody where the settings say so.

    Who may not read has to know the identity, in any case, and learns of no other one.
    """
    if not web.badges or web.access.may_read(request, web.now()):
        return await _badge(web, request, repo)
    known = await web.store.read(lambda tx: repositories.get(tx, repositories.spelling(tx, repo)))
    if known is None:
        raise HTTPError(404, "There is no badge here.")
    return await _picture(web, request, known.repo)


@reading
async def _badge(web: Pages, request: Request, repo: str) -> bytes:
    return await _picture(web, request, (await web.repository(request, repo)).repo)


async def _picture(web: Pages, request: Request, identity: str) -> bytes:
    newest = await web.store.read(lambda tx: deploys.newest_in(tx, identity, TELLING))
    set_headers(request, "image/svg+xml")
    request.setHeader("Cache-Control", "no-cache")
    return badge(newest.state if newest else None).encode()


@Pages.app.route("/<path:repo>", methods=["GET"])
@reading
async def repository(web: Pages, request: Request, repo: str) -> Any:
    """One repository; its path takes whatever is left."""
    return await _repository(web, request, repo.strip("/"))


async def _repository(web: Pages, request: Request, repo: str) -> bytes:
    record = await web.repository(request, repo)
    limit, before = limits(request)

    def work(tx: Transaction) -> dict[str, Any]:
        return {
            "repo": repo,
            "frozen": pages.freeze_json(freezes.freeze_of(tx, repo, web.now())),
            "silent": any(_was_silent(tx, one) for one in deploys.newest(tx, repo, 1)),
            "note": pages.config_note(record),
            "not_deployed": _not_deployed(tx, repo),
            "live": _live(web, tx, record),
            "config": pages.config_json(record, web.host_names),
            "deploys": [
                web.deploy_json(tx, one.id) for one in deploys.newest(tx, repo, limit, before)
            ],
            "deliveries": [
                _delivery_json(tx, one) for one in deliveries.newest_deliveries(tx, repo, limit)
            ],
        }

    values = await web.store.read(work)
    if not wants_json(request):
        values |= {
            "latest": LATEST,
            "provider": record.provider,
            "hook": web.addresses.hook,
            "secret_file": web.secret_file,
            "limit": limit,
            "before": before,
        }
    return web.show(request, "repository.html", values)


def _delivery_json(tx: Transaction, delivery: StoredDelivery) -> pages.Json:
    return pages.delivery_json(delivery, deploys.numbers_of_delivery(tx, delivery.id))


def _not_deployed(tx: Transaction, repo: str) -> list[pages.Json]:
    """Why the newest push of a repository, or its newest deploy, has changed nothing."""
    latest = deliveries.newest_deliveries(tx, repo, LATEST)
    delivery = next((one for one in latest if any(map(_is_of_a_branch, one.pushes))), None)
    deploy = next(iter(deploys.newest(tx, repo, 1)), None)
    if delivery is not None and deploy is not None and deploy.created > delivery.received:
        # Somebody, or a look, has deployed since.
        delivery = None
    return pages.why_not_deployed(delivery, deploy)


def _is_of_a_branch(push: StoredPush) -> bool:
    """Whether it brought commits to a branch: of a tag, nobody expects a deploy."""
    return push.ref.startswith("refs/heads/") and not push.deleted


def _live(web: Pages, tx: Transaction, record: RepositoryRecord) -> list[pages.Json]:
    """How it stands at each location of the config in use."""
    try:
        found = known_deployments(record, web.host_names) or ()
    except ConfigError:
        return []
    return [_live_at(web, tx, record, one) for one in found]


def _live_at(
    web: Pages, tx: Transaction, record: RepositoryRecord, deployment: Deployment
) -> pages.Json:
    """What succeeded last at a location, what has changed the checkout since, and what comes next."""
    repo, before = record.repo, history.newest_by_config(tx, record.repo, deployment.host)
    settings = deploys.settings(tx, before.id) if before else {}
    forbidden = why_forbidden(deployment, web.trusts_for(parse_repository(repo)))
    good = history.last_good_at(tx, repo, deployment.location)
    changed = history.changed_since(tx, repo, deployment.location, good.id if good else 0)
    return {
        "host": deployment.host,
        "location": deployment.location,
        "branch": deployment.branch,
        "last_good": web.deploy_json(tx, good.id) if good else None,
        "changed_by": web.deploy_json(tx, changed.id) if changed else None,
        "next": pages.coming_change(deployment, before, settings, forbidden),
    }


def _was_silent(tx: Transaction, deploy: Deploy) -> bool:
    """Whether a deploy was found by a look at the remote, and no delivery has told of it."""
    if deploy.trigger is not Trigger.POLL or deploy.wanted is None:
        return False
    return not deliveries.was_announced(tx, deploy.repo, deploy.wanted)
