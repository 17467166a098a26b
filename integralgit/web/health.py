"""`GET /-/health`: a plain resource, for load balancers ask often, and as soon as the server is there."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from integralgit.background import Background
from integralgit.journal.store import Store
from integralgit.web.answers import answer_later, json_bytes

log = Logger()


class HealthResource(Resource):
    """Whether the archive answers."""

    isLeaf = True

    def __init__(self, store: Store, background: Background) -> None:
        super().__init__()
        self._store = store
        self._background = background

    def render(self, request: Request) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD")
            return json_bytes(request, {"error": "That is not done by this method."}, 405)
        return answer_later(request, self._look(request), self._background)

    async def _look(self, request: Request) -> bytes:
        try:
            await self._store.read(lambda tx: tx.one("SELECT 1"))
        except Exception:
            log.failure("the archive does not answer")
            return json_bytes(request, {"status": "the archive does not answer"}, 503)
        return json_bytes(request, {"status": "ok"})
