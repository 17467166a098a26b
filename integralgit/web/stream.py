"""What is shown while it happens: the live log, and what changed, as server-sent events.

A viewer is an offset into the log file. It is read when the viewer's transport
asks for more, so a viewer that never reads costs one buffer and no more. All
viewers share one clock tick, on which those who have seen everything look
whether the file has grown.

The format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from integralgit.background import Background
from integralgit.journal.events import DeployChanged, Event, RepositoryChanged, StepChanged
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs, whole_characters
from integralgit.web.answers import json_bytes, set_headers

log = Logger()

#: Seconds between looks at the logs that somebody watches.
TICK = 0.25
#: Seconds between heartbeats, so that proxies keep the connection open.
HEARTBEAT = 15.0
#: Seconds after which a viewer that takes nothing is let go; it may come again where it was.
STALLED = 60.0


def event(name: str, data: object, number: int | None = None) -> bytes:
    """One server-sent event; its data is one line of JSON."""
    identity = b"" if number is None else b"id: %d\n" % number
    return identity + b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


@define
class Ticker:
    """One clock for all viewers, of whom there are at most so many; it runs only while it is needed."""

    _reactor: Any
    _most: int = 1000
    #: Whom to call, and which of them are viewers.
    _ticks: dict[int, Callable[[], None]] = field(factory=dict, init=False)
    _viewers: set[int] = field(factory=set, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    @property
    def is_full(self) -> bool:
        """Whether no more viewers can be served."""
        return len(self._viewers) >= self._most

    def add(self, who: object, tick: Callable[[], None], *, is_viewer: bool = True) -> None:
        """Call `tick` every `TICK` seconds from now on; what is no viewer does not count as one."""
        self._ticks[id(who)] = tick
        if is_viewer:
            self._viewers.add(id(who))
        if self._loop is None:
            self._loop = LoopingCall(self._tick)
            self._loop.clock = self._reactor
            self._loop.start(TICK, now=False)

    def remove(self, who: object) -> None:
        """Call it no more."""
        self._forget(id(who))

    def _forget(self, who: int) -> None:
        self._ticks.pop(who, None)
        self._viewers.discard(who)
        if not self._ticks and self._loop is not None:
            self._loop.stop()
            self._loop = None

    def _tick(self) -> None:
        for who, tick in list(self._ticks.items()):
            try:
                tick()
            except Exception:
                log.failure("a viewer failed, and is left alone from now on")
                self._forget(who)


@implementer(IPushProducer)
@define(eq=False)
class Viewer:
    """One open connection that is written to as its transport allows."""

    _request: Request
    _ticker: Ticker
    _paused: bool = field(default=False, init=False)
    _gone: bool = field(default=False, init=False)
    _silent: float = field(default=0.0, init=False)
    _stalled: float = field(default=0.0, init=False)

    @property
    def is_too_many(self) -> bool:
        """Whether there are as many viewers already as can be served."""
        return self._ticker.is_full

    def open(self) -> None:
        """Begin to write; ends by itself when the other side hangs up."""
        self._request.notifyFinish().addBoth(self._closed)
        self._request.registerProducer(self, True)
        self._ticker.add(self, self._ticked)
        self.pump()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.pump()

    def stopProducing(self) -> None:
        self._closed(None)

    def pump(self) -> None:
        """Write what there is, as long as the transport takes it; hang up where it cannot be read."""
        try:
            self._pump()
        except OSError as error:
            log.warn("what somebody watches cannot be read: {error}", error=error)
            self.hang_up()

    def _pump(self) -> None:
        raise NotImplementedError

    def heartbeat(self) -> bytes:
        """What to write when there was nothing else for a while."""
        return b": heartbeat\n\n"

    @property
    def ready(self) -> bool:
        """Whether the transport takes more."""
        return not self._paused and not self._gone

    def write(self, data: bytes) -> None:
        """Write to a connection that is there."""
        if not self._gone:
            self._silent = 0.0
            self._request.write(data)

    def finish(self) -> None:
        """End the answer."""
        if not self._gone:
            self._gone = True
            self._ticker.remove(self)
            self._request.unregisterProducer()
            self._request.finish()

    def hang_up(self) -> None:
        """Cut the connection, so that nobody takes what was written for all that there is."""
        self._closed(None)
        cast(Any, self._request.channel).hang_up()

    def _ticked(self) -> None:
        self._silent += TICK
        self._stalled = self._stalled + TICK if self._paused else 0.0
        if self._stalled >= STALLED:
            self.hang_up()
            return
        if self._silent >= HEARTBEAT and (beat := self.heartbeat()) and self.ready:
            self.write(beat)
        self.pump()

    def _closed(self, _: object) -> None:
        self._gone = True
        self._ticker.remove(self)


class Streaming(Resource):
    """A viewer as what a route returns: Klein leaves the answer to it, and finishes nothing."""

    isLeaf = True

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer

    def render(self, request: Request) -> int | bytes:
        if request.method == b"HEAD":
            return b""
        if self._viewer.is_too_many:
            request.setHeader("Retry-After", "60")
            text = "Too many are watching; come again later."
            return json_bytes(request, {"error": text}, 503)
        self._viewer.open()
        return NOT_DONE_YET


def stream(request: Request, viewer: Viewer) -> Streaming:
    """A viewer as the answer, as server-sent events that no proxy keeps back."""
    set_headers(request, "text/event-stream; charset=utf-8")
    request.setHeader("X-Accel-Buffering", "no")
    return Streaming(viewer)


@define(eq=False)
class LogText(Viewer):
    """A log as plain text, from an offset to an end; or, with no end yet, as long as it grows.

    `end` gives where it ends, or None while the deploy runs. That much is
    promised then: where it is not there, the connection is cut.
    """

    _logs: Logs
    _deploy: int
    _offset: int
    _end: Callable[[], int | None]

    def _pump(self) -> None:
        while self.ready:
            end = self._end()
            until = self._logs.size(self._deploy) if end is None else end
            # A script may have emptied it.
            self._offset = min(self._offset, until)
            chunk = self._logs.read(self._deploy, self._offset, until)
            if not chunk:
                if end == self._offset:
                    self.finish()
                elif end is not None:
                    self.hang_up()
                return
            self._offset += len(chunk)
            self.write(chunk)

    def heartbeat(self) -> bytes:
        return b""


@define(eq=False)
class DeployEvents(Viewer):
    """A deploy as server-sent events: its steps and states, what a subclass adds, and the end.

    `look` reads the deploy's JSON, afresh from the archive.
    """

    _hub: Hub
    _background: Background
    _deploy: int
    _look: Callable[[], Awaitable[dict[str, Any]]]
    #: The deploy's JSON once it has ended.
    _ended: dict[str, Any] | None = field(default=None, init=False)
    _unsubscribe: Callable[[], None] = field(default=lambda: None, init=False)

    def open(self) -> None:
        """Begin with where the deploy stands, then what is new."""
        self._unsubscribe = self._hub.watch(self._heard)
        super().open()
        self._background.spawn(self._tell("state"))

    def _heard(self, event: Event) -> None:
        if isinstance(event, DeployChanged | StepChanged) and event.deploy == self._deploy:
            name = "state" if isinstance(event, DeployChanged) else "step"
            self._background.spawn(self._tell(name))

    async def _tell(self, name: str) -> None:
        if self._gone:
            return
        deploy = await self._look()
        if self._ended is None:
            ended = deploy["finished_at"] is not None
            self.write(event("state" if ended else name, deploy))
            if ended:
                self._ended = deploy
        self.pump()

    def _closed(self, _: object) -> None:
        self._unsubscribe()
        super()._closed(_)

    def finish(self) -> None:
        self._unsubscribe()
        super().finish()


@define(eq=False)
class LogEvents(DeployEvents):
    """A deploy with the text of its log, from an offset on."""

    _logs: Logs
    _offset: int

    def _pump(self) -> None:
        while self.ready:
            end = None if self._ended is None else self._ended["log_size"] or 0
            until = self._logs.size(self._deploy) if end is None else end
            self._offset = min(self._offset, until)
            chunk = self._logs.read(self._deploy, self._offset, until)
            at_end = end is not None and self._offset + len(chunk) >= until
            if not at_end:
                chunk = whole_characters(chunk)
            if chunk:
                self._offset += len(chunk)
                text = chunk.decode("utf-8", "replace")
                self.write(event("log", {"text": text, "html": html.escape(text)}, self._offset))
            elif end is not None:
                self.write(event("end", {"offset": self._offset}))
                self.finish()
                return
            else:
                return


@define(eq=False)
class Changes(Viewer):
    """What changes anywhere on this server, as server-sent events for the overview pages."""

    _hub: Hub
    _unsubscribe: Callable[[], None] = field(default=lambda: None, init=False)

    def open(self) -> None:
        self._unsubscribe = self._hub.watch(self._heard)
        super().open()
        self.write(b": welcome\n\n")

    def _heard(self, change: Event) -> None:
        if self.ready and isinstance(change, DeployChanged | StepChanged | RepositoryChanged):
            told = msgspec.to_builtins(change) | {"kind": type(change).__name__}
            self.write(event("change", told))

    def _pump(self) -> None:
        """Nothing waits here: a viewer that is too slow misses changes, and sees the next one."""

    def _closed(self, _: object) -> None:
        self._unsubscribe()
        super()._closed(_)
