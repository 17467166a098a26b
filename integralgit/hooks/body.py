"""From a delivery's body to the fields we use: one strict parse that ends in a value or `Rejected`."""

from __future__ import annotations

import binascii
import re
from typing import TypeVar

import msgspec

from integralgit.hooks.delivery import (
    MOST_COMMITS,
    Commit,
    Incoming,
    Rejected,
    newest_first,
    shown,
)
from integralgit.names import are_commits, is_commit

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_FIELD = b"&payload="
_PIECE = 64 * 1024
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

T = TypeVar("T")


# A large push has hundreds of these two; they hold no cycles, so nobody needs to look for any.
class Author(msgspec.Struct, gc=False):
    """Who wrote a commit."""

    name: str | None = None


class ToldCommit(msgspec.Struct, gc=False):
    """A commit in the shape that GitHub began with and most others have taken over."""

    id: str
    message: str = ""
    author: Author | None = None


def kept(commits: list[ToldCommit], after: str | None) -> tuple[Commit, ...]:
    """The newest commits of a push to `after`, as many as are kept; without those whose id is none."""
    newest = newest_first(commits, after)[:MOST_COMMITS]
    if not are_commits([c.id for c in newest]):
        newest = [c for c in newest if is_commit(c.id)]
    return tuple([shown(c.id, c.message, (c.author and c.author.name) or "") for c in newest])


def content_type(incoming: Incoming) -> str:
    """The media type of the body in lower case, without parameters."""
    return incoming.header("content-type").partition(";")[0].strip().lower()


def is_form(incoming: Incoming) -> bool:
    """Whether the body is a form, as the older hooks send it."""
    return content_type(incoming) == FORM


def payload(incoming: Incoming) -> bytes:
    """The JSON of a delivery: the body itself, or the form's one field `payload`."""
    if not is_form(incoming):
        return incoming.body
    body = b"&" + incoming.body
    start = body.find(_FIELD)
    if start < 0 or body.find(_FIELD, start + 1) >= 0:
        raise Rejected(400, "The form must have exactly one field `payload`.")
    start += len(_FIELD)
    end = body.find(b"&", start)
    return unquoted(body[start : end if end >= 0 else len(body)])


def unquoted(field: bytes) -> bytes:
    """The value of a form's field; raises `Rejected` for an escape that is none.

    Escapes are those of quoted-printable but for the sign, which is decoded
    without a Python object for each; in pieces, so that other threads get
    their turn. See `binascii.a2b_qp`.
    """
    pieces, start = [], 0
    while start < len(field):
        end = start + _PIECE
        cut = field.rfind(b"%", end - 2, end)
        end = cut if cut > start and end < len(field) else end
        piece = field[start:end]
        if _NO_ESCAPE.search(piece):
            raise Rejected(400, "The form has an escape that is none.")
        plain = piece.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
        pieces.append(binascii.a2b_qp(plain))
        start = end
    return b"".join(pieces)


def decode(document: bytes, shape: type[T]) -> T:
    """The document as a value of that msgspec type.

    Raises `Rejected` with the place of the first thing wrong, whatever the
    bytes are.
    """
    try:
        return msgspec.json.decode(document, type=shape)
    except msgspec.ValidationError as error:
        raise Rejected(400, f"The JSON is not of the expected shape: {error}.") from None
    except (msgspec.DecodeError, UnicodeError, ValueError):
        raise Rejected(400, "The body is not JSON in UTF-8.") from None
    except RecursionError:
        raise Rejected(400, "The JSON is nested too deeply.") from None
