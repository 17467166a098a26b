"""`POST /update`: from a request to a delivery on disk, and the answer that says so.

A plain resource beside the Klein app: it costs a third, and when a client
hangs up nothing is cancelled.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol, cast
from uuid import uuid4

from attrs import define
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from integralgit.background import Background, InThread
from integralgit.deploy.inbox import Receipt
from integralgit.hooks.delivery import Delivery, Incoming, Rejected
from integralgit.hooks.receive import Key, receive
from integralgit.journal.events import Deploy
from integralgit.web.addresses import Addresses
from integralgit.web.answers import answer_later, json_bytes
from integralgit.web.site import sender_of

log = Logger()
Headers = dict[str, tuple[str, ...]]

#: Bodies from this size on are proved and parsed in a thread, in bytes.
LARGE = 256 * 1024


class Inbox(Protocol):
    """Who takes deliveries in: on disk when the call returns."""

    async def receive(self, delivery: Delivery) -> Receipt: ...


@define
class Door:
    """What the endpoint needs: the keys, the inbox, a clock, and a thread for large bodies.

    `refused` is told of what is not let in: the client, the status, the cause;
    `decided` of every other decision, in a word.
    """

    keys: Sequence[Key]
    inbox: Inbox
    addresses: Addresses
    now: Callable[[], float]
    in_thread: InThread
    refused: Callable[[str, int, str], None] = lambda client, status, cause: None
    trusted_proxies: tuple[str, ...] = ()
    decided: Callable[[str], None] = lambda decision: None


class UpdateResource(Resource):
    """The webhook's endpoint."""

    isLeaf = True

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._answers = Background()
        # Large bodies come into memory one at a time.
        self._one_large = DeferredLock()

    def render(self, request: Request) -> Any:
        if request.method != b"POST":
            request.setHeader("Allow", "POST")
            return json_bytes(request, {"error": "Deliveries are sent by POST."}, 405)
        return answer_later(request, self._answer(request), self._answers)

    def drain(self) -> Deferred[Any]:
        """Fires when every delivery that has come in has its answer."""
        return self._answers.drain()

    async def _answer(self, request: Request) -> bytes:
        """The body of the answer; status and headers are set on the request."""
        try:
            delivery = await self._receive(request)
            receipt = await self._door.inbox.receive(delivery)
            self._door.decided(receipt.outcome)
            return receipt_bytes(request, receipt, self._door.addresses)
        except Rejected as rejected:
            if rejected.status == 200:
                self._door.decided("ignored")
            sender = sender_of(request, self._door.trusted_proxies)
            self._door.refused(sender, rejected.status, rejected.cause)
            if rejected.status == 200:
                ignored = {"outcome": "ignored", "reason": rejected.error, "deploys": []}
                return json_bytes(request, ignored)
            return json_bytes(request, {"error": rejected.error}, rejected.status)
        except (sqlite3.Error, OSError):
            log.failure("a delivery could not be written")
            self._door.decided("failed")
            request.setHeader("Retry-After", "30")
            error = "The delivery could not be written to disk; send it again later."
            return json_bytes(request, {"error": error}, 503)
        except Exception:
            incident = uuid4().hex[:12]
            log.failure("a delivery met a fault of ours, incident {incident}", incident=incident)
            error = f"A fault of the server; its log has it as incident {incident}."
            return json_bytes(request, {"error": error}, 500)

    async def _receive(self, request: Request) -> Delivery:
        headers = {
            name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        content, now = cast(IO[bytes], request.content), self._door.now()
        if content.seek(0, os.SEEK_END) < LARGE:
            return self._read(headers, content, now)
        await self._one_large.acquire()
        try:
            delivery: Delivery = await self._door.in_thread(self._read, headers, content, now)
        finally:
            self._one_large.release()
        return delivery

    def _read(self, headers: Headers, content: IO[bytes], now: float) -> Delivery:
        content.seek(0)
        return receive(Incoming(headers, content.read(), now), self._door.keys)


def told(deploys: Sequence[Deploy], addresses: Addresses) -> list[dict[str, object]]:
    """Deploys as an answer names them."""
    return [
        {
            "id": deploy.id,
            "repo": deploy.repo,
            "branch": deploy.branch,
            "location": deploy.location,
            "url": addresses.deploy(deploy),
        }
        for deploy in deploys
    ]


def receipt_bytes(request: Request, receipt: Receipt, addresses: Addresses) -> bytes:
    """What became of a delivery as the answer's body; 202 and a `Location` where it was accepted."""
    deploys = told(receipt.deploys, addresses)
    answer: dict[str, object] = {"outcome": receipt.outcome}
    if receipt.reason:
        answer["reason"] = receipt.reason
    if receipt.outcome != "accepted":
        return json_bytes(request, {**answer, "deploys": deploys})
    request.setHeader(
        "Location", str(deploys[0]["url"]) if deploys else addresses.repository(receipt.repo)
    )
    return json_bytes(
        request, {**answer, "delivery": str(receipt.delivery), "deploys": deploys}, 202
    )
