"""From a delivery's body to the fields we use: one strict parse that ends in a value or `Rejected`."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from integralgit.hooks.delivery import Incoming, Rejected

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

T = TypeVar("T")


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
    fields = [field for field in incoming.body.split(b"&") if field.startswith(b"payload=")]
    if len(fields) != 1:
        raise Rejected(400, "The form must have exactly one field `payload`.")
    return unquote_to_bytes(fields[0].removeprefix(b"payload=").replace(b"+", b" "))


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
