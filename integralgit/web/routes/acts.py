"""What people may do: deploy now, cancel, retry, roll back, freeze, replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.server import Request

from integralgit import quantities
from integralgit.journal import deploys, freezes
from integralgit.journal.events import Deploy
from integralgit.names import parse_repository
from integralgit.web import pages
from integralgit.web.addresses import deploy_path, repository_path
from integralgit.web.answers import HTTPError, json_bytes, wants_json
from integralgit.web.app import Pages
from integralgit.web.guards import acting, fields_of
from integralgit.web.update import receipt_bytes, told

#: Seconds.
LONGEST_FREEZE = 10 * 366 * 86400.0


async def _known(web: Pages, request: Request, repo: str, number: int) -> Deploy:
    """A deploy of a repository as a record; raises `HTTPError` where it has no such deploy."""
    await web.find(request, repo, number)
    return await web.store.read(lambda tx: deploys.known(tx, number))


def _queued(web: Pages, request: Request, queued: Sequence[Deploy]) -> bytes:
    """The answer to an act that queued deploys: those, or the page of the first."""
    first = queued[0]
    if wants_json(request):
        request.setHeader("Location", web.addresses.deploy(first))
        return json_bytes(request, {"deploys": told(queued, web.addresses)}, 202)
    return web.redirect(request, deploy_path(first.repo, first.id))


@Pages.app.route("/<path:repo>/deploys", methods=["POST"])
@acting
async def deploy_now(web: Pages, request: Request, repo: str) -> Any:
    """Deploy the newest commit, also of a repository that was never heard of."""
    repo = await web.identity(repo) or repo
    try:
        parse_repository(repo)
    except ValueError as error:
        raise HTTPError(404, f"There is nothing here: {error}.") from None
    return _queued(web, request, await web.workshop.deploy_now(repo))


@Pages.app.route("/<path:repo>/deploys/<int:deploy>/retry", methods=["POST"])
@acting
async def retry(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """Deploy the newest commit again where that deploy went."""
    return _queued(web, request, await web.workshop.retry(await _known(web, request, repo, deploy)))


@Pages.app.route("/<path:repo>/deploys/<int:deploy>/rollback", methods=["POST"])
@acting
async def roll_back(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """Go back to the commit of that deploy."""
    return _queued(
        web, request, await web.workshop.roll_back(await _known(web, request, repo, deploy))
    )


@Pages.app.route("/<path:repo>/deploys/<int:deploy>/cancel", methods=["POST"])
@acting
async def cancel(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """End a deploy that waits or runs."""
    known = await _known(web, request, repo, deploy)
    await web.workshop.cancel(deploy)
    if wants_json(request):
        return json_bytes(request, await web.look(deploy), 202)
    return web.redirect(request, deploy_path(known.repo, deploy))


@Pages.app.route("/<path:repo>/freeze", methods=["POST"])
@acting
async def freeze(web: Pages, request: Request, repo: str) -> Any:
    """Let pushes wait, as one."""
    record, form = await web.repository(request, repo), fields_of(request)
    try:
        length = quantities.seconds(form["for"]) if form.get("for") else None
    except ValueError as error:
        raise HTTPError(400, f"`for` {error}.") from None
    if length is not None and not 0 < length <= LONGEST_FREEZE:
        raise HTTPError(400, "`for` must be longer than nothing, and at most ten years.")
    until = None if length is None else web.now() + length
    reason = form.get("reason", "").strip()[:500] or "no reason was given"
    await web.workshop.freeze(record.repo, reason, until)
    return await _acted_on(web, request, record.repo)


@Pages.app.route("/<path:repo>/unfreeze", methods=["POST"])
@acting
async def unfreeze(web: Pages, request: Request, repo: str) -> Any:
    """Deploy what has waited, and go on."""
    record = await web.repository(request, repo)
    if not await web.workshop.unfreeze(record.repo):
        raise HTTPError(409, f"{record.repo} is not frozen.")
    return await _acted_on(web, request, record.repo)


async def _acted_on(web: Pages, request: Request, repo: str) -> bytes:
    if not wants_json(request):
        return web.redirect(request, repository_path(repo))
    now = web.now()
    found = await web.store.read(lambda tx: freezes.freeze_of(tx, repo, now))
    return json_bytes(request, {"repo": repo, "frozen": pages.freeze_json(found)})


@Pages.app.route("/<path:repo>/deliveries/<int:delivery>/replay", methods=["POST"])
@acting
async def replay(web: Pages, request: Request, repo: str, delivery: int) -> Any:
    """Take an accepted delivery in once more."""
    identity = (await web.repository(request, repo)).repo
    receipt = await web.workshop.replay(identity, delivery) if delivery < 2**63 else None
    if receipt is None:
        raise HTTPError(404, f"{identity} has no accepted delivery {delivery} here.")
    if wants_json(request):
        return receipt_bytes(request, receipt, web.addresses)
    return web.redirect(request, repository_path(identity))
