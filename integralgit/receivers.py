"""Who is told how deploys go: `[[forge]]` and `[[notify]]` of the settings as frozen values.

Pure: the secrets are files, which `integralgit.statefiles` reads. Nothing here
ever comes from a delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from integralgit.names import matches
from integralgit.values import address, flag, host, line, repositories, text, texts

KINDS = ("github", "gitlab", "bitbucket", "bitbucket-server", "gitea", "forgejo")
#: The kinds of git hosts that everybody knows.
KIND_OF = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
    "codeberg.org": "forgejo",
}
FORMS = ("slack", "json", "mail")
EVENTS = ("failed", "recovered", "succeeded", "hook_silent")


def _covers(repos: tuple[str, ...], repo: str) -> bool:
    return any(matches(pattern.lower(), repo.lower()) for pattern in repos)


@frozen
class Forge:
    """One `[[forge]]`: a git host that is told of commits, and with which token."""

    host: str
    kind: str
    token_file: str
    api: str
    repos: tuple[str, ...] = ("**",)
    deployments: bool = False
    allow_http: bool = False

    def covers(self, repo: str) -> bool:
        """Whether it is told of that repository, given by its identity."""
        return repo.lower().startswith(f"{self.host}/") and _covers(self.repos, repo)


@frozen
class Notify:
    """One `[[notify]]`: who is told of which events.

    `url` is None where it stands in `url_file`, and for mail, which goes to
    the `relay`.
    """

    name: str
    form: str
    events: tuple[str, ...] = ("failed", "recovered")
    repos: tuple[str, ...] = ("**",)
    url: str | None = None
    url_file: str | None = None
    secret_file: str | None = None
    to: tuple[str, ...] = ()
    sender: str = ""
    relay: tuple[str, int] = ("localhost", 25)
    allow_http: bool = False

    def covers(self, repo: str) -> bool:
        """Whether it is told of that repository, given by its identity."""
        return _covers(self.repos, repo)


def _one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}, not {value!r}")
        return str(value)

    return check


def _events(value: object) -> tuple[str, ...]:
    return tuple(map(_one_of(EVENTS), texts(value)))


def _mail_address(value: object) -> str:
    name = line(value)
    local, _, domain = name.rpartition("@")
    if not local or not domain or any(c in name for c in " <>,;") or not name.isascii():
        raise ValueError(f"must be an address such as ops@example.com, not {value!r}")
    return name


def _mail_addresses(value: object) -> tuple[str, ...]:
    return tuple(map(_mail_address, texts(value)))


def _relay(value: object) -> tuple[str, int]:
    name, _, port = host(value).partition(":")
    if not 0 < int(port or 25) < 65536:
        raise ValueError(f"must be like localhost:25, not {value!r}")
    return name, int(port or 25)


FORGE_READERS: dict[str, Callable[[object], Any]] = {
    "host": host,
    "kind": _one_of(KINDS),
    "token_file": text,
    "api": address,
    "repos": repositories,
    "deployments": flag,
    "allow_http": flag,
}
NOTIFY_READERS: dict[str, Callable[[object], Any]] = {
    "name": line,
    "form": _one_of(FORMS),
    "events": _events,
    "repos": repositories,
    "url": address,
    "url_file": text,
    "secret_file": text,
    "to": _mail_addresses,
    "from": _mail_address,
    "relay": _relay,
    "allow_http": flag,
}
_MAIL_ONLY = ("to", "from", "relay")
_WEB_ONLY = ("url", "url_file", "secret_file", "allow_http")


def api_of(kind: str, host: str) -> str:
    """Where the API of a git host is, by its documentation, unless the settings say otherwise."""
    if kind == "github":
        return "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
    if kind == "bitbucket":
        return "https://api.bitbucket.org/2.0"
    paths = {"gitlab": "api/v4", "bitbucket-server": "rest/api/latest"}
    return f"https://{host}/{paths.get(kind, 'api/v1')}"


def require_https(url: str, allow_http: bool) -> None:
    """Raise `ValueError` for a URL that would send a secret in the clear, unless that is allowed."""
    if not url.startswith("https://") and not allow_http:
        raise ValueError("must begin with https://, or be allowed by `allow_http = true`")


def forge(values: Mapping[str, Any]) -> Forge:
    """A `Forge` of checked values; raises `ValueError` with a whole sentence."""
    for key in ("host", "token_file"):
        if key not in values:
            raise ValueError(f"`{key}` is missing")
    kind = values.get("kind") or KIND_OF.get(values["host"])
    if kind is None:
        raise ValueError(f"`kind` is missing; it is one of {', '.join(KINDS)}")
    api = values.get("api", api_of(kind, values["host"])).rstrip("/")
    allow_http = values.get("allow_http", False)
    try:
        require_https(api, allow_http)
    except ValueError as error:
        raise ValueError(f"`api` {error}") from None
    deployments = values.get("deployments", kind == "github")
    if deployments and kind != "github":
        raise ValueError(f"`deployments` is for github, not for {kind}")
    repos = values.get("repos", ("**",))
    return Forge(values["host"], kind, values["token_file"], api, repos, deployments, allow_http)


def notify(values: Mapping[str, Any]) -> Notify:
    """A `Notify` of checked values; raises `ValueError` with a whole sentence."""
    if "form" not in values:
        raise ValueError(f"`form` is missing; it is one of {', '.join(FORMS)}")
    settings, form = dict(values), values["form"]
    for key in _WEB_ONLY if form == "mail" else _MAIL_ONLY:
        if key in settings:
            raise ValueError(f"`{key}` has no meaning for the form {form}")
    if form == "mail":
        needed = ["to", "from"]
    else:
        needed = ["secret_file"] if form == "json" else []
        if ("url" in settings) == ("url_file" in settings):
            raise ValueError("one of `url` and `url_file` is needed")
    for key in needed:
        if key not in settings:
            raise ValueError(f"`{key}` is missing")
    if form == "slack" and "secret_file" in settings:
        raise ValueError("`secret_file` is for the form json")
    url = settings.get("url")
    if url is not None:
        try:
            require_https(url, settings.get("allow_http", False))
        except ValueError as error:
            raise ValueError(f"`url` {error}") from None
    sender = settings.pop("from", "")
    name = settings.pop("name", None) or _name_of(settings)
    return Notify(name=name, sender=sender, **settings)


def _name_of(settings: Mapping[str, Any]) -> str:
    """What a receiver is called that was given no name: nothing in it is secret."""
    if "to" in settings:
        return str(settings["to"][0])
    if "url_file" in settings:
        return str(settings["url_file"]).rsplit("/", 1)[-1]
    return urlsplit(settings["url"]).hostname or ""
