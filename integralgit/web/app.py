"""The routes: who may see what, and which values go into which page.

Every page is the same data as its JSON; templates escape everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol, cast
from uuid import uuid4

import jinja2
from attrs import define, field
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from integralgit import __version__, quantities
from integralgit.background import Background
from integralgit.deploy.acts import Conflict
from integralgit.deploy.inbox import Receipt
from integralgit.journal import deliveries, deploys, freezes, refusals
from integralgit.journal.events import Deploy, DeployChanged, RepositoryRecord, State, Trigger
from integralgit.journal.hub import Hub
from integralgit.journal.logs import CHUNK, Logs
from integralgit.journal.store import Store, Transaction
from integralgit.names import parse_repository
from integralgit.web import pages, static
from integralgit.web.access import Access, header_values, is_same_origin
from integralgit.web.addresses import Addresses, deploy_path, repository_path
from integralgit.web.answers import HTTPError, json_bytes, set_headers, wants_json
from integralgit.web.guards import acting, form_of, limits, number, reading
from integralgit.web.stream import Changes, LogEvents, LogText, Streaming, Ticker
from integralgit.web.update import receipt_bytes, told

log = Logger()

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
#: Seconds.
LONGEST_FREEZE = 10 * 366 * 86400.0
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)


def template_environment() -> jinja2.Environment:
    """The templates, with everything escaped and nothing undefined."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("integralgit.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["repository_path"] = repository_path
    environment.filters["plain"] = pages.plain
    environment.globals |= {
        "marks": pages.MARKS,
        "deploy_path": deploy_path,
        "duration": pages.duration,
        "version": __version__,
    }
    return environment


class Acts(Protocol):
    """Who does what people ask for; see `integralgit.deploy.workshop.Workshop`."""

    async def replay(self, repo: str, number: int) -> Receipt | None: ...
    async def deploy_now(self, identity: str) -> list[Deploy]: ...
    async def retry(self, deploy: Deploy) -> list[Deploy]: ...
    async def roll_back(self, deploy: Deploy) -> list[Deploy]: ...
    async def cancel(self, number: int) -> None: ...
    async def freeze(self, repo: str, reason: str, until: float | None) -> None: ...
    async def unfreeze(self, repo: str) -> bool: ...


@define(eq=False)
class Pages:
    """The pages of one server, as a Klein app."""

    _access: Access
    _addresses: Addresses
    _store: Store
    _logs: Logs
    _hub: Hub
    _background: Background
    _ticker: Ticker
    _host_names: tuple[str, ...]
    _now: Callable[[], float]
    #: Where the administrator finds the webhook's secret, for the first page of an empty server.
    _secret_file: str
    _workshop: Acts
    _templates: jinja2.Environment = field(factory=template_environment, init=False)

    app = Klein()

    def resource(self) -> Resource:
        """The app as a resource of twisted.web."""
        resource: Resource = self.app.resource()
        return resource

    # What every route uses

    def _page(
        self, request: Request, template: str, values: Mapping[str, Any], status: int = 200
    ) -> bytes:
        request.setResponseCode(status)
        set_headers(request, "text/html; charset=utf-8")
        page = self._templates.get_template(template).render(
            now=self._now(),
            signed_in=self._access.is_known(request, self._now()),
            csrf=self._access.csrf(request),
            public=self._access.public,
            **values,
        )
        return page.encode("utf-8", "replace")

    def _show(self, request: Request, template: str, values: Mapping[str, Any]) -> bytes:
        if wants_json(request):
            return json_bytes(request, values)
        return self._page(request, template, values)

    def _deploy_json(self, tx: Transaction, number: int) -> pages.Json:
        deploy = deploys.known(tx, number)
        steps = deploys.steps(tx, number)
        return pages.deploy_json(deploy, steps, self._addresses, self._size(deploy))

    async def _find(self, repo: str, number: int) -> pages.Json:
        """A deploy of a repository; raises `HTTPError` where it has no such deploy."""

        def work(tx: Transaction) -> pages.Json | None:
            deploy = deploys.get(tx, number) if number < 2**63 else None
            if deploy is None or deploy.repo != repo:
                return None
            return self._deploy_json(tx, number)

        found = await self._store.read(work)
        if found is None:
            raise HTTPError(404, f"There is no deploy {number} of {repo} here.")
        return found

    # Errors

    @app.handle_errors(HTTPError)
    def _http_error(self, request: Any, failure: Failure) -> bytes:
        error = cast(HTTPError, failure.value)
        return self._error(request, error.status, error.text)

    @app.handle_errors(Conflict)
    def _conflict(self, request: Any, failure: Failure) -> bytes:
        return self._error(request, 409, f"{failure.value}.")

    @app.handle_errors(HTTPException)
    def _routing_error(self, request: Any, failure: Failure) -> bytes:
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            for name, value in error.get_headers():
                if name == "Allow":
                    request.setHeader(name, value)
            return self._error(request, 405, "That is not done by this method.")
        return self._error(request, 404, "There is nothing here.")

    @app.handle_errors(Exception)
    def _fault(self, request: Any, failure: Failure) -> bytes:
        incident = uuid4().hex[:12]
        log.failure("a page met a fault of ours, incident {incident}", failure, incident=incident)
        text = f"A fault of the server; its log has it as incident {incident}."
        return self._error(request, 500, text)

    def _error(self, request: Request, status: int, text: str) -> bytes:
        if wants_json(request):
            return json_bytes(request, {"error": text}, status)
        return self._page(request, "error.html", {"status": status, "text": text}, status)

    # The server's own

    @app.route("/-/health", methods=["GET"])
    async def health(self, request: Request) -> Any:
        """For load balancers: whether the archive answers."""
        try:
            await self._store.read(lambda tx: tx.one("SELECT 1"))
        except Exception:
            log.failure("the archive does not answer")
            return json_bytes(request, {"status": "the archive does not answer"}, 503)
        return json_bytes(request, {"status": "ok"})

    @app.route("/-/static/<name>", methods=["GET"])
    async def static(self, request: Request, name: str) -> Any:
        if name not in _STATIC:
            raise HTTPError(404, "There is nothing here.")
        set_headers(request, _STATIC[name])
        request.setHeader("Cache-Control", "no-cache")
        return resources.files(static).joinpath(name).read_bytes()

    @app.route("/-/sign-in", methods=["GET"])
    async def sign_in_page(self, request: Request) -> Any:
        return self._page(request, "sign_in.html", {"wrong": False})

    @app.route("/-/sign-in", methods=["POST"])
    async def sign_in(self, request: Request) -> Any:
        if not is_same_origin(request):
            raise HTTPError(403, "Sign in from the page of this server.")
        if not self._access.is_token(form_of(request).get("token", "").strip()):
            return self._page(request, "sign_in.html", {"wrong": True}, 401)
        request.responseHeaders.addRawHeader(b"Set-Cookie", self._access.session(self._now()))
        return self._redirect(request, "/")

    @app.route("/-/sign-out", methods=["POST"])
    async def sign_out(self, request: Request) -> Any:
        if not is_same_origin(request):
            raise HTTPError(403, "Sign out from the page of this server.")
        request.responseHeaders.addRawHeader(b"Set-Cookie", self._access.no_session())
        return self._redirect(request, "/-/sign-in")

    def _redirect(self, request: Request, path: str, status: int = 303) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Location", path)
        return b""

    # Overview

    @app.route("/", methods=["GET"])
    @reading
    async def overview(self, request: Request) -> Any:
        limit, before = limits(request)

        def work(tx: Transaction) -> dict[str, Any]:
            latest = []
            for repo in deliveries.repository_names(tx):
                newest = deploys.newest(tx, repo, 1)
                shown = self._deploy_json(tx, newest[0].id) if newest else None
                record = deliveries.repository(tx, repo)
                assert record is not None
                note = pages.config_note(record)
                latest.append({"repo": repo, "newest": shown, "note": note})
            return {
                "repositories": latest,
                "running": [self._deploy_json(tx, one.id) for one in deploys.unfinished(tx)],
                "deploys": [
                    self._deploy_json(tx, one.id) for one in deploys.newest(tx, None, limit, before)
                ],
            }

        values = await self._store.read(work)
        if not wants_json(request):
            values |= {"hook": self._addresses.hook, "secret_file": self._secret_file}
        return self._show(request, "overview.html", values)

    @app.route("/-/deliveries", methods=["GET"])
    @reading
    async def all_deliveries(self, request: Request) -> Any:
        return await self._deliveries(request, None)

    @app.route("/<path:repo>/deliveries", methods=["GET"])
    @reading
    async def deliveries_of(self, request: Request, repo: str) -> Any:
        return await self._deliveries(request, (await self._repository(repo)).repo)

    async def _deliveries(self, request: Request, repo: str | None) -> bytes:
        limit, before = limits(request)

        def work(tx: Transaction) -> dict[str, Any]:
            found = deliveries.newest_deliveries(tx, repo, limit, before)
            values: dict[str, Any] = {"repo": repo}
            values["deliveries"] = [pages.delivery_json(one) for one in found]
            if repo is None:
                values["refused"] = {
                    "counts": [pages.refusal_json(one) for one in refusals.counts(tx)],
                    "newest": [pages.refusal_json(one) for one in refusals.newest(tx)],
                }
            return values

        return self._show(request, "deliveries.html", await self._store.read(work))

    @app.route("/<path:repo>/deliveries/<int:delivery>/replay", methods=["POST"])
    @acting
    async def replay(self, request: Request, repo: str, delivery: int) -> Any:
        receipt = await self._workshop.replay(repo, delivery) if delivery < 2**63 else None
        if receipt is None:
            raise HTTPError(404, f"{repo} has no accepted delivery {delivery} here.")
        if wants_json(request):
            return receipt_bytes(request, receipt, repo, self._addresses)
        return self._redirect(request, repository_path(repo))

    @app.route("/-/events", methods=["GET"])
    @reading
    async def changes(self, request: Request) -> Any:
        return self._stream(request, Changes(request, self._ticker, self._hub))

    def _stream(self, request: Request, viewer: Changes | LogEvents) -> Streaming:
        set_headers(request, "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")
        return Streaming(viewer)

    # Acting

    async def _known(self, repo: str, number: int) -> Deploy:
        """A deploy of a repository as a record; raises `HTTPError` where it has no such deploy."""
        await self._find(repo, number)
        return await self._store.read(lambda tx: deploys.known(tx, number))

    def _queued(self, request: Request, repo: str, queued: Sequence[Deploy]) -> bytes:
        """The answer to an act that queued deploys: those, or the page of the first."""
        if wants_json(request):
            request.setHeader("Location", self._addresses.deploy(queued[0]))
            return json_bytes(request, {"deploys": told(queued, self._addresses)}, 202)
        return self._redirect(request, deploy_path(repo, queued[0].id))

    @app.route("/<path:repo>/deploys", methods=["POST"])
    @acting
    async def deploy_now(self, request: Request, repo: str) -> Any:
        try:
            parse_repository(repo)
        except ValueError as error:
            raise HTTPError(404, f"There is nothing here: {error}.") from None
        return self._queued(request, repo, await self._workshop.deploy_now(repo))

    @app.route("/<path:repo>/deploys/<int:deploy>/retry", methods=["POST"])
    @acting
    async def retry(self, request: Request, repo: str, deploy: int) -> Any:
        queued = await self._workshop.retry(await self._known(repo, deploy))
        return self._queued(request, repo, queued)

    @app.route("/<path:repo>/deploys/<int:deploy>/rollback", methods=["POST"])
    @acting
    async def roll_back(self, request: Request, repo: str, deploy: int) -> Any:
        queued = await self._workshop.roll_back(await self._known(repo, deploy))
        return self._queued(request, repo, queued)

    @app.route("/<path:repo>/deploys/<int:deploy>/cancel", methods=["POST"])
    @acting
    async def cancel(self, request: Request, repo: str, deploy: int) -> Any:
        await self._known(repo, deploy)
        await self._workshop.cancel(deploy)
        if wants_json(request):
            return json_bytes(request, await self._find(repo, deploy), 202)
        return self._redirect(request, deploy_path(repo, deploy))

    @app.route("/<path:repo>/freeze", methods=["POST"])
    @acting
    async def freeze(self, request: Request, repo: str) -> Any:
        record, form = await self._repository(repo), form_of(request)
        try:
            length = quantities.seconds(form["for"]) if form.get("for") else None
        except ValueError as error:
            raise HTTPError(400, f"`for` {error}.") from None
        if length is not None and length > LONGEST_FREEZE:
            raise HTTPError(400, "`for` must not be longer than ten years.")
        until = None if length is None else self._now() + length
        reason = form.get("reason", "").strip()[:500] or "no reason was given"
        await self._workshop.freeze(record.repo, reason, until)
        return await self._acted_on(request, record.repo)

    @app.route("/<path:repo>/unfreeze", methods=["POST"])
    @acting
    async def unfreeze(self, request: Request, repo: str) -> Any:
        record = await self._repository(repo)
        if not await self._workshop.unfreeze(record.repo):
            raise HTTPError(409, f"{record.repo} is not frozen.")
        return await self._acted_on(request, record.repo)

    async def _acted_on(self, request: Request, repo: str) -> bytes:
        if not wants_json(request):
            return self._redirect(request, repository_path(repo))
        now = self._now()
        found = await self._store.read(lambda tx: freezes.freeze_of(tx, repo, now))
        return json_bytes(request, {"repo": repo, "frozen": pages.freeze_json(found)})

    # One deploy

    @app.route("/<path:repo>/deploys/<int:deploy>", methods=["GET"])
    @reading
    async def deploy(self, request: Request, repo: str, deploy: int) -> Any:
        found = await self._find(repo, deploy)
        if wants_json(request):
            return json_bytes(request, found)
        size = found["log_size"] or 0
        start = max(0, size - CHUNK)
        text = self._logs.read(deploy, start, size)
        if start:
            start += text.find(b"\n") + 1
            text = text.partition(b"\n")[2]
        values = {
            "deploy": found,
            "log": text.decode("utf-8", "replace"),
            "log_start": start,
            "log_end": start + len(text),
        }
        return self._page(request, "deploy.html", values)

    @app.route("/<path:repo>/deploys/<int:deploy>/events", methods=["GET"])
    @reading
    async def events(self, request: Request, repo: str, deploy: int) -> Any:
        await self._find(repo, deploy)
        last = (header_values(request, "last-event-id") or [""])[-1]
        if last and not (last.isascii() and last.isdigit() and len(last) < 16):
            raise HTTPError(400, "`Last-Event-ID` must be an offset into the log.")
        offset = int(last) if last else number(request, "offset") or 0

        async def look() -> pages.Json:
            return await self._store.read(lambda tx: self._deploy_json(tx, deploy))

        return self._stream(
            request,
            LogEvents(
                request,
                self._ticker,
                self._logs,
                self._hub,
                self._background,
                deploy,
                offset,
                look,
            ),
        )

    @app.route("/<path:repo>/deploys/<int:deploy>/log", methods=["GET"])
    @reading
    async def log_text(self, request: Request, repo: str, deploy: int) -> Any:
        found = await self._find(repo, deploy)
        set_headers(request, "text/plain; charset=utf-8")
        follow = request.args.get(b"follow") == [b"1"] and found["finished_at"] is None
        if follow:
            end, forget = self._final_size(deploy)
            request.notifyFinish().addBoth(lambda _: forget())
            return Streaming(LogText(request, self._ticker, self._logs, deploy, 0, end))
        size = found["log_size"] or 0
        start, stop = self._range(request, size)
        request.setHeader("Accept-Ranges", "bytes")
        request.setHeader("Content-Length", str(stop - start))
        if request.method == b"HEAD":
            return b""
        return Streaming(LogText(request, self._ticker, self._logs, deploy, start, lambda: stop))

    def _range(self, request: Request, size: int) -> tuple[int, int]:
        """The part of a log that a reader asks for (RFC 9110, section 14); the whole for odd ranges."""
        asked = (header_values(request, "range") or [""])[-1]
        found = _RANGE.fullmatch(asked)
        if not found:
            return 0, size
        start = int(found[1])
        stop = min(size, int(found[2]) + 1) if found[2] else size
        if start >= stop:
            request.setHeader("Content-Range", f"bytes */{size}")
            raise HTTPError(416, f"The log has {size} bytes.")
        request.setResponseCode(206)
        request.setHeader("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        return start, stop

    def _size(self, deploy: Deploy) -> int:
        """The size of a deploy's log: frozen at its end, if it ran to one, else as it is."""
        return self._logs.size(deploy.id) if deploy.log_size is None else deploy.log_size

    def _final_size(self, deploy: int) -> tuple[Callable[[], int | None], Callable[[], None]]:
        """What gives the log's size once the deploy has ended, and None before; and how to stop."""
        known: list[int] = []

        def look(event: object) -> None:
            if not isinstance(event, DeployChanged) or event.deploy != deploy:
                return
            reading = self._store.read(lambda tx: deploys.known(tx, deploy))
            reading.addCallback(
                lambda found: known.append(self._size(found)) if found.state.ended else None
            )

        stop = self._hub.watch(look)
        look(DeployChanged(deploy, "", State.RUNNING))
        return lambda: known[0] if known else None, stop

    # One repository; last, for its path takes whatever is left

    @app.route("/<path:repo>", methods=["GET"])
    @reading
    async def repository(self, request: Request, repo: str) -> Any:
        record = await self._repository(repo)
        if record.repo != repo:
            return self._redirect(request, repository_path(record.repo), 302)
        limit, before = limits(request)

        def work(tx: Transaction) -> dict[str, Any]:
            return {
                "repo": repo,
                "frozen": pages.freeze_json(freezes.freeze_of(tx, repo, self._now())),
                "config": pages.config_json(record, self._host_names),
                "deploys": [
                    self._deploy_json(tx, one.id) for one in deploys.newest(tx, repo, limit, before)
                ],
                "deliveries": [
                    pages.delivery_json(one)
                    for one in deliveries.newest_deliveries(tx, repo, limit)
                ],
            }

        values = await self._store.read(work)
        if not wants_json(request):
            values["note"] = pages.config_note(record)
            newest = values["deploys"][0] if values["deploys"] else None
            values["silent"] = newest is not None and await self._was_silent(newest)
        return self._show(request, "repository.html", values)

    async def _was_silent(self, deploy: pages.Json) -> bool:
        """Whether a deploy was found by a look at the remote, and no delivery has told of it."""
        if deploy["trigger"] != Trigger.POLL or deploy["wanted_commit"] is None:
            return False
        repo, commit = deploy["repo"], deploy["wanted_commit"]
        return not await self._store.read(lambda tx: deliveries.was_announced(tx, repo, commit))

    async def _repository(self, name: str) -> RepositoryRecord:
        """The repository of that identity, or the only one of that shorter name."""
        name = name.strip("/")

        def work(tx: Transaction) -> RepositoryRecord | None:
            exact = deliveries.repository(tx, name)
            if exact is not None:
                return exact
            alike = [one for one in deliveries.repository_names(tx) if one.endswith(f"/{name}")]
            return deliveries.repository(tx, alike[0]) if len(alike) == 1 else None

        found: RepositoryRecord | None = await self._store.read(work)
        if found is None:
            raise HTTPError(404, f"No push of a repository {name[:200]} has come in here.")
        return found
