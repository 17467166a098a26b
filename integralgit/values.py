"""What a value of the settings may be: checks that every table of the file shares.

A check takes the TOML value and gives the value to use, or raises `ValueError`
with the rest of a sentence that begins with the setting's name.  Pure.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
#: A regular expression for the name of a host.
HOST_NAME = rf"{_LABEL}(?:\.{_LABEL})*"


def text(value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"must be text, not {value!r}")
    return value


def texts(value: object) -> tuple[str, ...]:
    """Some texts; a single one is a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(text(item) for item in value)


def repositories(value: object) -> tuple[str, ...]:
    """Patterns of identities, which begin with the git host; one that can match nothing is refused."""
    patterns = texts(value)
    for pattern in patterns:
        host, *rest = pattern.split("/")
        if "://" in pattern or ("**" not in pattern and not (host and any(rest) and rest[-1])):
            raise ValueError(
                f"has {pattern!r}; write the git host and the full name, such as github.com/acme/*"
            )
    return patterns


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def line(value: object) -> str:
    """Text of one line, without control characters."""
    said = text(value)
    if any(ord(c) < 32 or ord(c) == 127 for c in said):
        raise ValueError("must not hold control characters")
    return said


def address(value: object) -> str:
    """The URL of somebody else's service: http or https, and no name or password in it.

    What it holds is not repeated in the complaint: it may be a secret.
    """
    url = line(value)
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("http", "https") or not url.isascii() or " " in url:
        raise ValueError("must be an https URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must be an https URL without a password and without a fragment")
    return url


def host(value: object) -> str:
    """The name of a host in lower case, with a port where it has one."""
    name = line(value).lower()
    if not re.fullmatch(rf"{HOST_NAME}(?::[0-9]{{1,5}})?", name, re.ASCII):
        raise ValueError(f"must be the name of a host, not {value!r}")
    return name
