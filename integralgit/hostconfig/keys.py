"""The keys that a config may have: their defaults, and what each value must be.

A check takes the JSON value and gives the value to use, or raises
`ValueError` with the rest of a sentence that begins with the key.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from integralgit import quantities
from integralgit.names import CONFIG_BRANCH, is_branch, is_remote

UPDATE_MODES = ("safe", "follow", "ff-only")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Key(msgspec.Struct, frozen=True):
    """One key of a config: its default, and the check that every value passes."""

    default: object
    check: Callable[[object], Any]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, not {_json_name(value)}")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("must not hold control characters")
    return value


def _json_name(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", str: "empty text"}
    return names.get(type(value), "a number")


def _location(value: object) -> str:
    path = _text(value)
    if not path.startswith("/"):
        raise ValueError(f"must be an absolute path, not {path!r}")
    if ".." in path.split("/"):
        raise ValueError(f"must not hold `..`: {path!r}")
    path = "/" + posixpath.normpath(path).lstrip("/")
    if path == "/":
        raise ValueError("must not be the root of the file system")
    return path


def _script(value: object) -> str:
    path = _text(value)
    if not path.startswith("/") and posixpath.normpath(path).split("/")[0] in ("..", "."):
        raise ValueError(f"must be a file in the checkout or an absolute path, not {path!r}")
    return path


def _branch(value: object) -> str:
    name = _text(value)
    if not is_branch(name) or name == CONFIG_BRANCH:
        raise ValueError(f"must be the name of a branch to deploy, not {name!r}")
    return name


def _remote(value: object) -> str:
    name = _text(value)
    if not is_remote(name):
        raise ValueError(f"must be the name of a git remote, not {name!r}")
    return name


def _timeout(value: object) -> float:
    number = quantities.seconds(value)
    if not number:
        raise ValueError("must be more than 0 seconds")
    return number


def _env(value: object) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise ValueError(f"must be an object of texts, not {_json_name(value)}")
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"has {name!r}, which is not the name of a variable")
        if text is not None and (not isinstance(text, str) or "\0" in text):
            raise ValueError(f"must be an object of texts, but {name} is {_json_name(text)}")
    return value


def _update(value: object) -> str:
    if value not in UPDATE_MODES:
        raise ValueError(f"must be one of {', '.join(UPDATE_MODES)}, not {value!r}")
    return str(value)


def _health(value: object) -> str:
    url = _text(value)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an http or https URL, not {url!r}")
    return url


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


KEYS: dict[str, Key] = {
    "location": Key(None, _location),
    "script": Key(None, _script),
    "branch": Key("master", _branch),
    "remote": Key("origin", _remote),
    "timeout": Key(900.0, _timeout),
    "env": Key({}, _env),
    "update": Key("safe", _update),
    "health": Key(None, _health),
    "health_timeout": Key(30.0, _timeout),
    "rollback": Key(False, _flag),
    "submodules": Key(False, _flag),
}
