"""The server's own routes: static files, sign in and out, what changes, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.web.server import Request

from integralgit.web import static
from integralgit.web.access import is_same_origin
from integralgit.web.answers import HTTPError, set_headers
from integralgit.web.app import Pages
from integralgit.web.guards import form_of, own_path, reading
from integralgit.web.metrics import CONTENT_TYPE
from integralgit.web.stream import Changes, stream

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@Pages.app.route("/-/static/<name>", methods=["GET"])
async def static_file(_: Pages, request: Request, name: str) -> Any:
    """The style sheet, the script and the icon."""
    if name not in _STATIC:
        raise HTTPError(404, "There is nothing here.")
    set_headers(request, _STATIC[name])
    request.setHeader("Cache-Control", "no-cache")
    return Path(static.__file__).with_name(name).read_bytes()


@Pages.app.route("/-/sign-in", methods=["GET"])
async def sign_in_page(web: Pages, request: Request) -> Any:
    """Where the access token is asked for."""
    return web.page(request, "sign_in.html", {"wrong": False, "to": "/"})


@Pages.app.route("/-/sign-in", methods=["POST"])
async def sign_in(web: Pages, request: Request) -> Any:
    """A session by the access token."""
    if not is_same_origin(request):
        raise HTTPError(403, "Sign in from the page of this server.")
    form = form_of(request)
    to = own_path(form.get("to", ""))
    if not web.access.is_token(form.get("token", "").strip()):
        return web.page(request, "sign_in.html", {"wrong": True, "to": to}, 401)
    request.responseHeaders.addRawHeader(b"Set-Cookie", web.access.session(web.now()))
    return web.redirect(request, to)


@Pages.app.route("/-/sign-out", methods=["POST"])
async def sign_out(web: Pages, request: Request) -> Any:
    """The end of a session."""
    if not is_same_origin(request):
        raise HTTPError(403, "Sign out from the page of this server.")
    request.responseHeaders.addRawHeader(b"Set-Cookie", web.access.no_session())
    return web.redirect(request, "/-/sign-in")


@Pages.app.route("/-/events", methods=["GET"])
@reading
async def changes(web: Pages, request: Request) -> Any:
    """What changes anywhere on this server."""
    return stream(request, Changes(request, web.ticker, web.hub))


@Pages.app.route("/-/metrics", methods=["GET"])
@reading
async def metrics(web: Pages, request: Request) -> Any:
    """For Prometheus; names of repositories are in it, so it needs the right to read."""
    set_headers(request, CONTENT_TYPE)
    return await web.metrics.text()
