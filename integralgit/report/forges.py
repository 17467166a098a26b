"""Telling a git host: which token, which words, and whether it has heard already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from attrs import define, field, frozen

from integralgit.journal.events import Item
from integralgit.receivers import Forge
from integralgit.report import github
from integralgit.report.answers import Answer, Hopeless, Told, is_limited
from integralgit.report.bitbucket import BITBUCKET
from integralgit.report.bitbucket_server import BITBUCKET_SERVER
from integralgit.report.gitea import GITEA
from integralgit.report.github import GITHUB
from integralgit.report.gitlab import GITLAB
from integralgit.report.http import LISTED, MOST
from integralgit.report.outbox import Line
from integralgit.report.recorder import DEPLOYMENT, forge_queue
from integralgit.report.statuses import Kind, Request, Shipment, Status

KINDS: Mapping[str, Kind] = {
    "github": GITHUB,
    "gitlab": GITLAB,
    "bitbucket": BITBUCKET,
    "bitbucket-server": BITBUCKET_SERVER,
    "gitea": GITEA,
    "forgejo": GITEA,
}


@frozen
class Account:
    """A `[[forge]]` with its token."""

    forge: Forge
    token: str = field(repr=False)

    @property
    def kind(self) -> Kind:
        """How it is spoken to."""
        return KINDS[self.forge.kind]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token, the password in `user:password`, and what is sent for them."""
        sent = self.kind.authorize(self.token).get("Authorization", "")
        texts = (self.token, self.token.partition(":")[2], sent, sent.partition(" ")[2])
        return tuple(text for text in texts if text)


@define
class GitHost:
    """The receiver that is one git host; of its accounts, the first that covers a repository counts."""

    in_order: ClassVar[bool] = False
    question: ClassVar[str] = "is the token right, and may it do this there?"

    host: str
    _accounts: tuple[Account, ...]
    _http: Any

    @property
    def name(self) -> str:
        """Its queue."""
        return forge_queue(self.host)

    @property
    def spacing(self) -> float:
        """The least time between two requests that write."""
        return max(account.kind.spacing for account in self._accounts)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be repeated."""
        return tuple(secret for account in self._accounts for secret in account.secrets)

    async def tell(self, item: Item, line: Line) -> Told:
        """Tell what is wanted; what it has heard already is not told again."""
        account = next((one for one in self._accounts if one.forge.covers(item.repo)), None)
        if account is None:
            return Hopeless("no [[forge]] of the settings covers the repository any more")
        speaking = _Speaking(account, self._http, line)
        if item.subject.startswith(f"{DEPLOYMENT} "):
            shipment = msgspec.json.decode(item.wanted, type=Shipment)
            return await speaking.of_deployment(shipment, item)
        return await speaking.of_status(msgspec.json.decode(item.wanted, type=Status), item.doubt)


@define
class _Speaking:
    """One exchange with a git host."""

    _account: Account
    _http: Any
    _line: Line

    async def _ask(self, request: Request) -> Told:
        is_look = request.method == "GET"
        if not is_look:
            await self._line.pace()
        forge = self._account.forge
        headers = {**self._account.kind.authorize(self._account.token), **request.headers}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        told: Told = await self._http.ask(
            request.method,
            forge.api + request.path,
            headers,
            request.encoded(),
            allow_http=forge.allow_http,
            # A list that is cut says nothing, and what it holds would be told again.
            most=LISTED if is_look else MOST,
        )
        return told

    async def of_status(self, status: Status, doubt: bool) -> Told:
        kind = self._account.kind
        if doubt and kind.look is not None and kind.has is not None:
            listed = await self._ask(kind.look(status))
            if may_pass(listed) or kind.has(status, json_of(listed)):
                return listed
        told = await self._ask(kind.tell(status))
        if isinstance(told, Answer) and kind.is_known(status, told):
            return Answer(200, told.headers)
        return told

    async def of_deployment(self, shipment: Shipment, item: Item) -> Told:
        """GitHub's deployments have two steps: there is one, and how it stands with it."""
        number = item.given_back
        if number is None:
            listed = await self._ask(github.find_deployment(shipment))
            if not isinstance(listed, Answer) or not listed.is_good:
                return _no_deployments(listed)
            number = github.found_deployment(shipment, listed.json())
            if number is None:
                made = await self._ask(github.create_deployment(shipment))
                number = github.id_of(made.json()) if isinstance(made, Answer) else None
                if not isinstance(made, Answer) or not made.is_good or number is None:
                    return _no_deployments(made)
            await self._line.give_back(number)
        elif item.doubt:
            listed = await self._ask(github.look_at_deployment(shipment, number))
            if may_pass(listed) or github.deployment_has(shipment, json_of(listed)):
                return listed
        return _no_deployments(await self._ask(github.tell_deployment(shipment, number)))


def may_pass(told: Told) -> bool:
    """Whether a look may give something else later, so that telling has to wait for it."""
    if not isinstance(told, Answer):
        return True
    return (
        told.status >= 500
        or told.status in (408, 425, 429)
        or (told.status == 403 and is_limited(told, 0.0))
    )


def json_of(told: Told) -> Any:
    """What an answer lists, or None."""
    return told.json() if isinstance(told, Answer) and told.is_good else None


def _no_deployments(told: Told) -> Told:
    """The answer, unless it says that the token is not one for deployments, which is no fault."""
    if isinstance(told, Answer) and told.status in (403, 404) and not is_limited(told, 0.0):
        return Hopeless(f"the token may not write deployments there: the answer was {told.status}")
    return told
