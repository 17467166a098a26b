"""`POST /update`: from a request to a delivery on disk, and the answer that says so.

A plain resource beside the Klein app: it costs a third, and when a client
hangs up nothing is cancelled.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from io import BytesIO
from typing import Any, Protocol, cast
from uuid import uuid4

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from integralgit.background import Background
from integralgit.deploy.inbox import Receipt
from integralgit.hooks.delivery import Delivery, Incoming, Rejected
from integralgit.hooks.receive import Key, receive
from integralgit.journal.events import Deploy
from integralgit.web.addresses import Addresses
from integralgit.web.answers import json_bytes

log = Logger()

#: Bodies from this size on are proved and parsed in a thread, in bytes.
LARGE = 256 * 1024


class Inbox(Protocol):
    """Who takes deliveries in: on disk when the call returns."""

    async def receive(self, delivery: Delivery) -> Receipt: ...


@define
class Door:
    """What the endpoint needs: the keys, the inbox, a clock, and a thread for large bodies."""

    keys: Sequence[Key]
    inbox: Inbox
    addresses: Addresses
    now: Callable[[], float]
    in_thread: Callable[..., Awaitable[Any]]


class Update(Resource):
    """The webhook's endpoint."""

    isLeaf = True

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._answers = Background()

    def render(self, request: Request) -> Any:
        if request.method != b"POST":
            request.setHeader("Allow", "POST")
            return json_bytes(request, {"error": "Deliveries are sent by POST."}, 405)
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        async def answer() -> None:
            body = await self._answer(request)
            if not gone:
                request.write(body)
                request.finish()

        self._answers.spawn(answer())
        return NOT_DONE_YET

    def drain(self) -> Deferred[Any]:
        """Fires when every delivery that has come in has its answer."""
        return self._answers.drain()

    async def _answer(self, request: Request) -> bytes:
        """The body of the answer; status and headers are set on the request."""
        try:
            delivery = await self._receive(request)
            receipt = await self._door.inbox.receive(delivery)
            return self._tell(request, delivery, receipt)
        except Rejected as rejected:
            log.info(
                "delivery from {client} refused: {status} {cause}",
                client=getattr(request.getClientAddress(), "host", "a socket"),
                status=rejected.status,
                cause=rejected.cause,
            )
            return json_bytes(request, {"error": rejected.error}, rejected.status)
        except (sqlite3.Error, OSError):
            log.failure("a delivery could not be written")
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
        incoming = Incoming(headers, cast(BytesIO, request.content).getvalue(), self._door.now())
        if len(incoming.body) < LARGE:
            return receive(incoming, self._door.keys)
        delivery: Delivery = await self._door.in_thread(receive, incoming, self._door.keys)
        return delivery

    def _tell(self, request: Request, delivery: Delivery, receipt: Receipt) -> bytes:
        told = [self._told(deploy) for deploy in receipt.deploys]
        answer: dict[str, object] = {"outcome": receipt.outcome}
        if receipt.reason:
            answer["reason"] = receipt.reason
        if receipt.outcome != "accepted":
            return json_bytes(request, {**answer, "deploys": told})
        page = self._door.addresses.repository(str(delivery.repo))
        request.setHeader("Location", str(told[0]["url"]) if told else page)
        return json_bytes(
            request, {**answer, "delivery": str(receipt.delivery), "deploys": told}, 202
        )

    def _told(self, deploy: Deploy) -> dict[str, object]:
        return {
            "id": deploy.id,
            "repo": deploy.repo,
            "branch": deploy.branch,
            "location": deploy.location,
            "url": self._door.addresses.deploy(deploy),
        }
