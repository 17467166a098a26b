"""What comes through the door: the values every provider's module gives.

A `Delivery` is authentic by the time anybody but the door sees one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from attrs import field, frozen

from integralgit.names import Repository, is_commit, repository


class Rejected(Exception):
    """A delivery that is not let in.

    `status` is the HTTP status and `error` the sentence the sender may read;
    `cause` is for the administrator only. A status of 200 means that there is
    nothing to let in, and nothing wrong: a ping that no git host signs.
    """

    def __init__(self, status: int, error: str, cause: str = "") -> None:
        super().__init__(cause or error)
        self.status = status
        self.error = error
        self.cause = cause or error


#: How many commits of a push are kept: the newest ones.
MOST_COMMITS = 50


@frozen
class Incoming:
    """What was sent: header names in lower case with all their values, and the raw bytes.

    `at` is the time of its arrival, in seconds since the epoch.
    """

    headers: Mapping[str, Sequence[str]]
    body: bytes = field(repr=False)
    at: float = 0.0

    def header(self, name: str) -> str:
        """The one value of a header; empty where it is missing or was sent more than once."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else ""

    def has(self, name: str) -> bool:
        """Whether the header was sent at all."""
        return name in self.headers


class Commit(msgspec.Struct, frozen=True, gc=False):
    """A commit as it is shown: its id, the first line of its message, its author.

    Never for a decision. A large push has hundreds of them.
    """

    id: str
    message: str = ""
    author: str = ""


def shown(commit: str, message: str, author: str) -> Commit:
    """A commit in as little room as it may take."""
    return Commit(commit, message.partition("\n")[0][:500], author[:200])


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Told = TypeVar("Told", bound=_HasId)


def newest_first(commits: Sequence[Told], after: str | None) -> Sequence[Told]:
    """The commits of a push to `after` in that order; git hosts tell them in either one."""
    return commits if commits and commits[0].id == after else commits[::-1]


def are_all(commits: Sequence[Told], after: str | None, total: int | None) -> bool:
    """Whether these are every commit of a push to `after`; the git host says that it has `total`."""
    return len(commits) == total and any(one.id == after for one in reversed(commits))


class Push(msgspec.Struct, frozen=True):
    """One change of one ref, of the repository of its delivery.

    `after` is None where the sender does not say or the ref was deleted, and
    `before` where the sender does not say or the ref is new. The commits are
    the newest ones, newest first; `whole` says that they are known to be all
    from `before` to `after`.
    """

    ref: str
    before: str | None = None
    after: str | None = None
    deleted: bool = False
    pusher: str = ""
    commits: tuple[Commit, ...] = ()
    whole: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """One authentic request of a git host.

    `id` is the provider's own id of the delivery, the same when it is sent
    again, or empty where it has none. `note` says why there are no pushes.
    """

    provider: str
    event: str
    id: str = ""
    repo: Repository | None = None
    pushes: tuple[Push, ...] = ()
    note: str = ""

    @property
    def identity(self) -> str | None:
        """The repository's identity, or None where the delivery names none."""
        return str(self.repo) if self.repo else None


def deploys_nothing(
    provider: str, event: str, sent_id: str, repo: Repository | None = None
) -> Delivery:
    """A delivery of an event that is none of ours."""
    note = f"the event {event[:100] or 'without a name'} deploys nothing"
    return Delivery(provider, event, sent_id, repo, note=note)


class Provider(msgspec.Struct, frozen=True):
    """One kind of git host: how its deliveries are recognised, proved and read.

    `claims` says whether the delivery is of this kind. `proves` says whether
    that secret made its signature, over the raw bytes; `proves_by_sha1` the
    same by a method that a trust has to allow. `by_public_key` means that the
    secret is a public key, which everybody may know, and so never anything
    else. `parse` reads a delivery that was proved; it raises `Rejected` and
    nothing else.
    """

    name: str
    claims: Callable[[Incoming], bool]
    proves: Callable[[Incoming, bytes], bool]
    parse: Callable[[Incoming], Delivery]
    proves_by_sha1: Callable[[Incoming, bytes], bool] = lambda incoming, secret: False
    by_public_key: bool = False


def delivery_id(incoming: Incoming, name: str) -> str:
    """The provider's id of the delivery in that header; raises `Rejected` for an odd one."""
    value = incoming.header(name)
    if len(value) > 200 or not all("!" <= c <= "~" for c in value):
        raise Rejected(400, f"The header {name} is not an id of at most 200 characters.")
    return value


def commit_id(text: str | None) -> str | None:
    """A commit id, or None for no commit, which git hosts write as 40 or 64 zeros.

    Raises `Rejected` for anything else.
    """
    if text is None or text in ("0" * 40, "0" * 64):
        return None
    if not is_commit(text):
        raise Rejected(400, f"{text[:80]!r} is not a commit id.")
    return text


def host_of(url: str) -> str:
    """The host of a URL, with the port where it is not the usual one; empty for anything odd."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        return ""
    return (parts.hostname or "") + port


def path_of(url: str) -> str:
    """The path of a URL, without slashes around it; empty for anything odd."""
    try:
        return unquote(urlsplit(url).path).strip("/")
    except ValueError:
        return ""


def named(host: str, full_name: str) -> Repository:
    """The repository that a delivery names; raises `Rejected` where it cannot be one."""
    try:
        return repository(host, full_name)
    except ValueError as error:
        raise Rejected(400, f"The repository cannot be named: {error}.") from None
