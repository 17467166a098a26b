"""Who may come through to a route, and what a route may be asked: decorators and query values.

A route without one of these decorators is open to everybody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine
from functools import wraps
from io import BytesIO
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast
from urllib.parse import parse_qs

from twisted.web.server import Request

from integralgit.web.access import header_values
from integralgit.web.answers import HTTPError, wants_json

if TYPE_CHECKING:
    from integralgit.web.app import Pages

P = ParamSpec("P")

#: How many rows a list has where the reader does not say, and at most.
LIMIT, MOST = 30, 200

Handler = Callable[Concatenate["Pages", Request, P], Coroutine[Any, Any, Any]]

_ACT = re.compile(
    r"/(deploys|cancel|retry|rollback|freeze|unfreeze|deliveries/\d+/replay)$", re.ASCII
)
_FORM = "application/x-www-form-urlencoded"
_OWN_PATH = re.compile(r"/(?![/\\])[!#-\[\]-~]{0,1000}", re.ASCII)


def _ask_to_sign_in(web: Pages, request: Request) -> Any:
    """The answer to somebody unknown: a page for people, an error for programs."""
    if wants_json(request):
        request.setHeader("WWW-Authenticate", "Bearer")
        wrong = (
            "not the one of this server" if header_values(request, "authorization") else "needed"
        )
        raise HTTPError(401, f"The access token is {wrong}: Authorization: Bearer <token>.")
    to = request.uri.decode("latin-1")
    if request.method == b"POST":
        # An act is not a page; what it was to change has one.
        to = _ACT.sub("", to)
    to = own_path(to)
    return web.page(request, "sign_in.html", {"wrong": False, "to": to}, 401)


def own_path(path: str) -> str:
    """A path of this server to go to, or the overview for anything else.

    Nothing that a browser could take for another host: two slashes of either
    kind begin one (URL standard, "special authority ignore slashes state").
    """
    return path if _OWN_PATH.fullmatch(path) else "/"


def reading(handler: Handler[P]) -> Handler[P]:
    """A route that needs the right to read: others are asked to sign in."""

    @wraps(handler)
    async def checked(web: Pages, request: Request, *args: P.args, **kwargs: P.kwargs) -> Any:
        if web.access.may_read(request, web.now()):
            return await handler(web, request, *args, **kwargs)
        return _ask_to_sign_in(web, request)

    return cast(Handler[P], checked)


def form_of(request: Request) -> dict[str, str]:
    """The first value of each field of a small form that was sent."""
    content = cast(BytesIO, request.content)
    content.seek(0)
    sent = content.read(16 * 1024).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(sent).items()}


def fields_of(request: Request) -> dict[str, str]:
    """The same; raises `HTTPError` for what is no form, for its fields would not be heeded."""
    kind = " ".join(header_values(request, "content-type")).partition(";")[0].strip().lower()
    if cast(BytesIO, request.content).seek(0, os.SEEK_END) and kind not in ("", _FORM):
        raise HTTPError(415, "Send the fields as a form, such as `curl --data for=1h` does.")
    return form_of(request)


def acting(handler: Handler[P]) -> Handler[P]:
    """A route that changes something: by the access token, or by a form of a session's own page."""

    @wraps(handler)
    async def checked(web: Pages, request: Request, *args: P.args, **kwargs: P.kwargs) -> Any:
        if web.access.may_act(request, web.now(), form_of(request).get("csrf", "")):
            # To its end, also if the client hangs up: Klein cancels what a handler waits for.
            return await web.background.shield(handler(web, request, *args, **kwargs))
        if web.access.is_known(request, web.now()):
            raise HTTPError(
                403, "This was not sent by a page of this server; reload it and try again."
            )
        return _ask_to_sign_in(web, request)

    return cast(Handler[P], checked)


def number(request: Request, name: str) -> int | None:
    """A whole number of the query, or None; raises `HTTPError` for anything else."""
    values = request.args.get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 15:
        raise HTTPError(400, f"`{name}` must be one whole number.")
    return int(values[0])


def text(request: Request, name: str) -> str:
    """A value of the query, empty where there is none; raises `HTTPError` for several or long ones."""
    values = request.args.get(name.encode(), [])
    if len(values) > 1 or any(len(value) > 500 for value in values):
        raise HTTPError(400, f"`{name}` must be one text of at most 500 bytes.")
    return values[0].decode("utf-8", "replace") if values else ""


def limits(request: Request) -> tuple[int, int | None]:
    """`?limit=` and `?before=` of a list."""
    limit = number(request, "limit")
    return min(LIMIT if limit is None else limit, MOST), number(request, "before")
