"""What every page needs: the archive, the templates, who may come in, and how errors look.

The routes are in `integralgit.web.routes`. Every page is the same data as its
JSON; templates escape everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote, unquote
from uuid import uuid4
from weakref import WeakValueDictionary

from attrs import define, field
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from integralgit import __version__
from integralgit.background import Background
from integralgit.deploy.acts import Conflict
from integralgit.deploy.inbox import Receipt
from integralgit.journal import deploys, freezes, repositories, steps
from integralgit.journal.events import Deploy, RepositoryRecord, State
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.store import Store, Transaction, may_pass
from integralgit.names import Repository
from integralgit.settings import Trust
from integralgit.web import pages
from integralgit.web.access import Access
from integralgit.web.addresses import Addresses, deploy_path, repository_path
from integralgit.web.ansi import visible
from integralgit.web.answers import HTTPError, json_bytes, set_headers, wants_json
from integralgit.web.githost import commit_link
from integralgit.web.logview import LogViews
from integralgit.web.metrics import Metrics
from integralgit.web.stream import Ticker
from integralgit.web.tail import Tail

if TYPE_CHECKING:
    import jinja2

log = Logger()


def template_environment() -> jinja2.Environment:
    """The templates, with everything escaped and nothing undefined."""
    # Imported for the first page, for the server has no need of it to start.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("integralgit.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What others have named cannot reorder or hide the text around it.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["repository_path"] = repository_path
    environment.filters["plain"] = pages.plain
    environment.globals |= {
        "marks": pages.MARKS,
        "deploy_path": deploy_path,
        "commit_link": commit_link,
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


class Elsewhere(Exception):
    """What was asked for has its page at another path of this server, which is the text."""


@define(eq=False)
class Pages:
    """The pages of one server, as a Klein app; the routes are functions of it."""

    access: Access
    addresses: Addresses
    store: Store
    logs: Logs
    views: LogViews
    hub: Hub
    background: Background
    ticker: Ticker
    host_names: tuple[str, ...]
    now: Callable[[], float]
    #: Where the administrator finds the webhook's secret, for people who add a repository.
    secret_file: str
    workshop: Acts
    metrics: Metrics
    #: What the server's settings allow a repository.
    trusts_for: Callable[[Repository], Sequence[Trust]]
    #: Whether everybody may see the badges.
    badges: bool = False
    #: The logs that pages follow, by their deploys, as long as a page does.
    tails: WeakValueDictionary[int, Tail] = field(factory=WeakValueDictionary, init=False)

    app = Klein()

    @cached_property
    def templates(self) -> jinja2.Environment:
        """The pages' templates, made for the first page."""
        return template_environment()

    def resource(self) -> Resource:
        """The app as a resource of twisted.web."""
        resource: Resource = self.app.resource()
        return resource

    def page(
        self, request: Request, template: str, values: Mapping[str, Any], status: int = 200
    ) -> bytes:
        """An HTML page as the answer."""
        request.setResponseCode(status)
        set_headers(request, "text/html; charset=utf-8")
        now = self.now()
        page = self.templates.get_template(template).render(
            now=now,
            signed_in=self.access.is_known(request, now),
            csrf=self.access.csrf(request),
            public=self.access.public,
            **values,
        )
        return page.encode("utf-8", "replace")

    def show(self, request: Request, template: str, values: Mapping[str, Any]) -> bytes:
        """The values as JSON for a program, and as a page for a person."""
        if wants_json(request):
            return json_bytes(request, values)
        return self.page(request, template, values)

    def redirect(self, request: Request, path: str, status: int = 303) -> bytes:
        """The way to another page of this server."""
        request.setResponseCode(status)
        request.setHeader("Location", path)
        return b""

    def deploy_json(self, tx: Transaction, number: int) -> pages.Json:
        """The JSON of a deploy that exists."""
        deploy = deploys.known(tx, number)
        record = repositories.get(tx, deploy.repo)
        return pages.deploy_json(
            deploy,
            steps.of_deploy(tx, number),
            self.addresses,
            self.size(deploy),
            record.provider if record else "",
        ) | _waiting(tx, deploy, self.now())

    def size(self, deploy: Deploy) -> int:
        """The size of a deploy's log: frozen at its end, if it ran to one, else as it is."""
        return self.logs.size(deploy.id) if deploy.log_size is None else deploy.log_size

    async def look(self, number: int) -> pages.Json:
        """The JSON of a deploy that exists, afresh."""
        return await self.store.read(lambda tx: self.deploy_json(tx, number))

    async def find(self, request: Request, repo: str, number: int) -> pages.Json:
        """A deploy of a repository, by the identity or a shorter name of that.

        Raises `Elsewhere` for the shorter name, and `HTTPError` where there is no such deploy.
        """

        def work(tx: Transaction) -> pages.Json | None:
            deploy = deploys.get(tx, number) if number < 2**63 else None
            if deploy is None or repositories.called(tx, repo) != [deploy.repo]:
                return None
            return self.deploy_json(tx, number)

        found = await self.store.read(work)
        if found is None:
            raise HTTPError(404, f"There is no deploy {number} of {repo[:200]} here.")
        _at_home(request, repo, found["repo"])
        return found

    async def repository(self, request: Request, name: str) -> RepositoryRecord:
        """The repository of that identity, or the only one of that shorter name.

        Raises `Elsewhere` for the shorter name, and `HTTPError` where there is none.
        """
        identity = await self.identity(name)
        if identity is None:
            raise HTTPError(404, f"No push of a repository {name[:200]} has come in here.")
        _at_home(request, name, identity)
        return await self.store.read(lambda tx: repositories.known(tx, identity))

    async def identity(self, name: str) -> str | None:
        """The identity of the repository that a name means, or None where it means none.

        Raises `HTTPError` where it could mean several.
        """
        found = await self.store.read(lambda tx: repositories.called(tx, name))
        if len(found) > 1:
            raise HTTPError(
                404, f"Several repositories are called {name[:200]}; write more of the name."
            )
        return found[0] if found else None

    # Errors

    @app.handle_errors(Elsewhere)
    def _elsewhere(self, request: Any, failure: Failure) -> bytes:
        return self.redirect(request, str(failure.value), 302)

    @app.handle_errors(HTTPError)
    def _http_error(self, request: Any, failure: Failure) -> bytes:
        error = cast(HTTPError, failure.value)
        return self.error(request, error.status, error.text)

    @app.handle_errors(Conflict)
    def _conflict(self, request: Any, failure: Failure) -> bytes:
        return self.error(request, 409, f"{failure.value}.")

    @app.handle_errors(HTTPException)
    def _routing_error(self, request: Any, failure: Failure) -> bytes:
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            for name, value in error.get_headers():
                if name == "Allow":
                    request.setHeader(name, value)
            return self.error(request, 405, "That is not done by this method.")
        return self.error(request, 404, "There is nothing here.")

    @app.handle_errors(Exception)
    def _fault(self, request: Any, failure: Failure) -> bytes:
        if failure.value is not None and may_pass(failure.value):
            log.warn("an act could not be written: {error}", error=failure.value)
            request.setHeader("Retry-After", "30")
            text = f"The database cannot be used just now ({failure.value}); try again later."
            return self.error(request, 503, text)
        incident = uuid4().hex[:12]
        log.failure("a page met a fault of ours, incident {incident}", failure, incident=incident)
        text = f"A fault of the server; its log has it as incident {incident}."
        return self.error(request, 500, text)

    def error(self, request: Request, status: int, text: str) -> bytes:
        """An error as JSON for a program, and as a page for a person."""
        if wants_json(request):
            return json_bytes(request, {"error": text}, status)
        return self.page(request, "error.html", {"status": status, "text": text}, status)


def _waiting(tx: Transaction, deploy: Deploy, now: float) -> pages.Json:
    """What a deploy in the queue waits for: the end of a freeze, the deploy that runs there; or null."""
    freeze, running = None, None
    if deploy.state is State.QUEUED:
        freeze = freezes.holding(tx, deploy, now)
        there = (one for one in deploys.running(tx) if one.location == deploy.location)
        running = next(({"id": one.id, "repo": one.repo} for one in there), None)
    return {"frozen": pages.freeze_json(freeze), "waits_for": running}


def _at_home(request: Request, name: str, identity: str) -> None:
    """Raise `Elsewhere` where a page was asked for by another name than the repository's identity."""
    if name == identity or request.method not in (b"GET", b"HEAD"):
        return
    path, _, query = request.uri.decode("latin-1").partition("?")
    _, found, rest = unquote(path).partition(f"/{name}")
    path = repository_path(identity) + (quote(rest, safe="/~:") if found else "")
    raise Elsewhere(path + (f"?{query}" if query else ""))
