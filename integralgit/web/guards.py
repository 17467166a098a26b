"""Who may come through to a route, and what a route may be asked: decorators and query values.

A route without one of these decorators is open to everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from io import BytesIO
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import parse_qs

from twisted.web.server import Request

from integralgit.web.answers import HTTPError, wants_json

P = ParamSpec("P")

#: How many rows a list has where the reader does not say, and at most.
LIMIT, MOST = 30, 200

Handler = Callable[Concatenate[Any, Request, P], Coroutine[Any, Any, Any]]


def _ask_to_sign_in(pages: Any, request: Request) -> Any:
    """The answer to somebody unknown: a page for people, an error for programs."""
    if wants_json(request):
        request.setHeader("WWW-Authenticate", "Bearer")
        raise HTTPError(401, "The access token is needed: Authorization: Bearer <token>.")
    return pages._page(request, "sign_in.html", {"wrong": False}, 401)


def reading(handler: Handler[P]) -> Handler[P]:
    """A route that needs the right to read: others are asked to sign in."""

    @wraps(handler)
    async def checked(self: Any, request: Request, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._access.may_read(request, self._now()):
            return await handler(self, request, *args, **kwargs)
        return _ask_to_sign_in(self, request)

    return cast(Handler[P], checked)


def form_of(request: Request) -> dict[str, str]:
    """The first value of each field of a small form that was sent."""
    content = cast(BytesIO, request.content)
    content.seek(0)
    sent = content.read(4096).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(sent).items()}


def acting(handler: Handler[P]) -> Handler[P]:
    """A route that changes something: by the access token, or by a form of a session's own page."""

    @wraps(handler)
    async def checked(self: Any, request: Request, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._access.may_act(request, self._now(), form_of(request).get("csrf", "")):
            # To its end, also if the client hangs up: Klein cancels what a handler waits for.
            return await self._background.shield(handler(self, request, *args, **kwargs))
        if self._access.is_known(request, self._now()):
            raise HTTPError(
                403, "This was not sent by a page of this server; reload it and try again."
            )
        return _ask_to_sign_in(self, request)

    return cast(Handler[P], checked)


def number(request: Request, name: str) -> int | None:
    """A whole number of the query, or None; raises `HTTPError` for anything else."""
    values = request.args.get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 15:
        raise HTTPError(400, f"`{name}` must be one whole number.")
    return int(values[0])


def limits(request: Request) -> tuple[int, int | None]:
    """`?limit=` and `?before=` of a list."""
    limit = number(request, "limit")
    return min(LIMIT if limit is None else limit, MOST), number(request, "before")
