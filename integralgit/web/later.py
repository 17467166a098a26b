"""Pages that are loaded when the first of them is asked for: the server has no need of them to start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.background import Background, InThread
from integralgit.web.answers import is_gone, json_bytes

log = Logger()


class Later(Resource):
    """A resource that is made by `make`, once `load` has run in a thread, for its first request."""

    isLeaf = True

    def __init__(
        self,
        load: Callable[[], object],
        make: Callable[[], Resource],
        in_thread: InThread,
        background: Background,
    ) -> None:
        super().__init__()
        self._load = load
        self._make = make
        self._in_thread = in_thread
        self._background = background
        self._loading = DeferredLock()
        self._made: Resource | None = None

    def render(self, request: Request) -> Any:
        if self._made is not None:
            return self._made.render(request)

        async def render() -> None:
            resource = await self._loaded()
            try:
                if not is_gone(request):
                    request.render(resource)
            except Exception:
                request.processingFailed(Failure())

        self._background.spawn(render())
        return NOT_DONE_YET

    async def _loaded(self) -> Resource:
        # One thread loads them, and whoever else asks meanwhile waits for that.
        await self._loading.acquire()
        try:
            if self._made is None:
                await self._in_thread(self._load)
                self._made = self._make()
            return self._made
        except Exception:
            log.failure("the pages could not be loaded")
            return _Broken()
        finally:
            self._loading.release()


class _Broken(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        error = "The pages could not be loaded; the server's log says why."
        return json_bytes(request, {"error": error}, 500)
