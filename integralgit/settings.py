"""The administrator's word: options and a TOML file become one frozen `Settings`.

Pure: it reads no file and no environment. `integralgit.assembly` hands it the
parsed TOML and the options; every value is checked here, once, and a wrong one
raises `SettingsError` with a sentence that says which and why.
"""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from attrs import frozen

from integralgit import quantities
from integralgit.names import Repository, matches
from integralgit.receivers import FORGE_READERS, NOTIFY_READERS, Forge, Notify, forge, notify
from integralgit.values import HOST_NAME, flag, repositories, text, texts

T = TypeVar("T")

#: Hosts whose repositories the generated secret speaks for where no `[[trust]]` is given.
KNOWN_HOSTS = (
    "github.com",
    "bitbucket.org",
    "gitlab.com",
    "codeberg.org",
    "dev.azure.com",
    "git.sr.ht",
)

#: The longest time between two looks at the remotes, in seconds.
MOST_POLL = 30 * 86400

#: Files in the state folder, made on the first start.
WEBHOOK_SECRET = "webhook-secret"  # noqa: S105 - the name of a file
ACCESS_TOKEN = "access-token"  # noqa: S105 - the name of a file


class SettingsError(Exception):
    """A setting is wrong; the text says which and why, in one line."""


@frozen
class Trust:
    """One `[[trust]]`: which secrets speak for which repositories, within which bounds.

    The secret is the generated one where none is named.
    """

    secret_files: tuple[str, ...]
    repos: tuple[str, ...]
    locations: tuple[str, ...] = ("/**",)
    branches: tuple[str, ...] = ("**",)
    scripts: tuple[str, ...] = ("**",)
    env: tuple[str, ...] = ("**",)
    url: str | None = None
    allow_sha1: bool = False

    def covers(self, repo: Repository) -> bool:
        """Whether these secrets may speak for the repository, without regard to case."""
        identity = str(repo).lower()
        return any(matches(pattern.lower(), identity) for pattern in self.repos)

    def clone_url(self, repo: Repository) -> str | None:
        """The URL that this trust sets for the repository, which never comes from a delivery."""
        if self.url is None:
            return None
        # A path, and a name in the form of scp, are taken as they are.
        full_name, name = (
            quote(one, safe="/~") if "://" in self.url else one
            for one in (repo.full_name, repo.name)
        )
        return self.url.replace("{full_name}", full_name).replace("{name}", name)

    def violation(
        self, location: str, branch: str, script: str | None, env: Iterable[str] = ()
    ) -> str | None:
        """The rule that a deployment with variables of these names breaks, as a sentence, or None."""
        rules: list[tuple[str, tuple[str, ...], str, Callable[[str, str], bool]]] = [
            ("locations", self.locations, location, matches),
            ("branches", self.branches, branch, matches),
        ]
        if script is not None:
            rules.append(("scripts", self.scripts, script, matches_script))
        rules += [("env", self.env, name, matches) for name in env]
        for rule, patterns, value, match in rules:
            if not any(match(pattern, value) for pattern in patterns):
                return (
                    f"the server's settings do not allow it:"
                    f" {value} is not in {rule} = {', '.join(patterns) or 'nothing'}"
                )
        return None


def matches_script(pattern: str, script: str) -> bool:
    """Whether a pattern allows a script; `./deploy.sh` and `deploy.sh` are the same.

    A relative pattern allows only scripts in the checkout; `**` alone allows any.
    """
    script = posixpath.normpath(script)
    if pattern == "**":
        return True
    if pattern.startswith("/") != script.startswith("/") or script.split("/")[0] == "..":
        return False
    return matches(pattern.removeprefix("./"), script)


@frozen
class Settings:
    """Everything the server was told at its start."""

    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    state: str = "integralgit-state"
    url: str | None = None
    host_names: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    public: bool = False
    badges: bool = False
    umask: int = 0o022
    workers: int = 4
    git_timeout: float = 600
    poll: float = 300
    max_body: int = 25_000_000
    max_log: int = 256_000_000
    allow_root: bool = False
    trusts: tuple[Trust, ...] = ()
    forges: tuple[Forge, ...] = ()
    notifies: tuple[Notify, ...] = ()

    def trusts_for(self, repo: Repository) -> tuple[Trust, ...]:
        """The trusts that cover a repository, in the order of the file."""
        return tuple(trust for trust in self.trusts if trust.covers(repo))


def _clone_url(value: object) -> str:
    """A URL to clone from, in one of git's forms (git-clone(1), "GIT URLS"), without secrets.

    Whatever stands there ends up in the arguments of git and in the checkout's
    own config, for everybody on the host to read; over https even a user name
    may be a token. The message does not repeat it.
    """
    url = text(value)
    scheme, is_url, rest = url.partition("://")
    if (is_url and scheme not in ("https", "ssh", "http", "file")) or re.match(r"\w+::", url):
        raise ValueError("must be an https or ssh URL, host:path, or a local path")
    user, is_named, host = (rest if is_url else url).split("/")[0].rpartition("@")
    if is_url and is_named and (scheme != "ssh" or ":" in user):
        raise ValueError(
            "must not hold a user name or password, which others could read;"
            " give git a credential helper, or use ssh with a key"
        )
    if user.startswith("-") or host.startswith("-"):
        raise ValueError("must not begin with `-`, nor may its user or host")
    if re.search(r"\{(?!full_name\}|name\})", url):
        raise ValueError("may hold `{full_name}` and `{name}`, and nothing else in braces")
    if not is_url and not url.startswith("/") and ":" not in url.split("/")[0]:
        raise ValueError("must be an https or ssh URL, host:path, or an absolute path")
    return url


def _branches(value: object) -> tuple[str, ...]:
    patterns = texts(value)
    for pattern in patterns:
        if pattern.startswith("refs/"):
            raise ValueError(f"has {pattern!r}; write the name of the branch alone, such as main")
    return patterns


def _allowed_hosts(value: object) -> tuple[str, ...]:
    """Names as a `Host` header has them, whatever the port; one that can match nothing is refused."""
    names = texts(value)
    for name in names:
        if not re.fullmatch(rf"{HOST_NAME}\.?|\[[0-9A-Fa-f:.]+\]", name, re.ASCII):
            raise ValueError(f"has {name!r}, which {_no_host(name)}")
    return tuple(name.lower() for name in names)


def _no_host(name: str) -> str:
    """What a text is that is not the name of a host alone, and what to write instead."""
    if "/" in name:
        return "is a URL; write the name of the host alone"
    if "*" in name:
        return "is a pattern; write each name in full"
    if name.count(":") > 1 and re.fullmatch("[0-9A-Fa-f:.]+", name):
        return f"has no brackets; write [{name}]"
    if re.fullmatch(".+:[0-9]+", name):
        return f"has a port; write {name.rpartition(':')[0]}, for any port counts"
    return "is not the name of a host"


def _locations(value: object) -> tuple[str, ...]:
    patterns = texts(value)
    for pattern in patterns:
        if pattern[0] not in "/*?[" or pattern.endswith("/"):
            raise ValueError(f"has {pattern!r}, which is not like /srv/* and matches no location")
    return patterns


def _whole(value: object) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 1000:
        raise ValueError(f"must be a whole number from 1 to 1000, not {value!r}")
    return number


def _umask(value: object) -> int:
    """An octal umask as text; as a number, `22` could mean two things."""
    if not isinstance(value, str) or not re.fullmatch("[0-7]{1,4}", value):
        raise ValueError(f'must be text with an octal umask such as "022", not {value!r}')
    return int(value, 8) & 0o777


def _base_url(value: object) -> str:
    url = text(value).rstrip("/")
    found = re.fullmatch(rf"https?://{HOST_NAME}(?::([0-9]{{1,5}}))?", url, re.ASCII)
    if not found or not 0 < int(found[1] or 80) < 65536:
        raise ValueError(f"must be like https://deploy.example.com, not {value!r}")
    return url


def _host_names(value: object) -> tuple[str, ...]:
    names = texts(value)
    for name in names:
        if not re.fullmatch(HOST_NAME, name, re.ASCII):
            raise ValueError(f"has {name!r}, which is not the name of a host")
    return names


def _max_body(value: object) -> int:
    number = quantities.size(value)
    if not 1000 <= number <= 100_000_000:
        raise ValueError(f"must be from 1kB to 100MB, not {value!r}")
    return number


def _max_log(value: object) -> int:
    number = quantities.size(value)
    if number < 10_000:
        raise ValueError(f"must be at least 10kB, not {value!r}")
    return number


def _networks(value: object) -> tuple[str, ...]:
    """Addresses and networks, such as `10.0.0.0/8`."""
    given = texts(value)
    try:
        return tuple(str(ipaddress.ip_network(one)) for one in given)
    except ValueError as error:
        raise ValueError(
            f"must be addresses such as 127.0.0.1 or networks such as 10.0.0.0/8: {error}"
        ) from None


def _poll(value: object) -> float:
    number = quantities.seconds(value)
    if number and not 1 <= number <= MOST_POLL:
        raise ValueError(f"must be 0 for never, or from 1 second to 30 days, not {value!r}")
    return number


def _positive_seconds(value: object) -> float:
    number = quantities.seconds(value)
    if not number:
        raise ValueError("must be more than 0 seconds")
    return number


def _any_texts(value: object) -> tuple[str, ...]:
    """Some texts, or none."""
    return () if value == [] else texts(value)


_READERS: dict[str, Callable[[object], Any]] = {
    "listen": texts,
    "state": text,
    "url": _base_url,
    "host_names": _host_names,
    "allowed_hosts": _allowed_hosts,
    "trusted_proxies": _networks,
    "public": flag,
    "badges": flag,
    "umask": _umask,
    "workers": _whole,
    "git_timeout": _positive_seconds,
    "poll": _poll,
    "max_body": _max_body,
    "max_log": _max_log,
    "allow_root": flag,
}
_TRUST_READERS: dict[str, Callable[[object], Any]] = {
    "secret_file": texts,
    "repos": repositories,
    "locations": _locations,
    "branches": _branches,
    "scripts": texts,
    "env": _any_texts,
    "url": _clone_url,
    "allow_sha1": flag,
    "allow_http": flag,
}


def _read(
    table: Mapping[str, object], readers: Mapping[str, Callable[[object], Any]], where: str
) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in readers:
            near = difflib.get_close_matches(key, readers, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise SettingsError(f"unknown setting `{key}`{where}{hint}")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise SettingsError(f"the setting `{key}`{where} {error}") from None
    return values


def _trust(values: Mapping[str, Any]) -> Trust:
    if "repos" not in values:
        raise ValueError("`repos` is missing")
    if values.get("url", "").startswith("http://") and not values.get("allow_http"):
        raise ValueError("`url` must begin with https://, or be allowed by `allow_http = true`")
    bounds = {key: v for key, v in values.items() if key not in ("secret_file", "allow_http")}
    return Trust(values.get("secret_file", (WEBHOOK_SECRET,)), **bounds)


def _tables(
    name: str,
    tables: object,
    readers: Mapping[str, Callable[[object], Any]],
    make: Callable[[Mapping[str, Any]], T],
) -> tuple[T, ...]:
    """What each of the tables of that name makes; raises `SettingsError` that says which is wrong."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f"`{name}` must be written as [[{name}]] tables")
    made = []
    for number, table in enumerate(tables, 1):
        where = f" in [[{name}]] number {number}"
        values = _read(table, readers, where)
        try:
            made.append(make(values))
        except ValueError as error:
            raise SettingsError(f"[[{name}]] number {number}: {error}") from None
    return tuple(made)


def _only_one_of_a_name(notifies: tuple[Notify, ...]) -> None:
    names = [one.name for one in notifies]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two [[notify]] are called {name}; give each a `name` of its own")


def make_settings(toml: Mapping[str, object], options: Mapping[str, object]) -> Settings:
    """One `Settings` from a parsed settings file and the options that were given.

    Options win over the file. Raises `SettingsError` for an unknown name or a
    wrong value. With no `[[trust]]`, the generated secret is trusted for every
    repository of the known git hosts.
    """
    table = {**toml, **options}
    trusts = _tables("trust", table.pop("trust", []), _TRUST_READERS, _trust)
    forges = _tables("forge", table.pop("forge", []), FORGE_READERS, forge)
    notifies = _tables("notify", table.pop("notify", []), NOTIFY_READERS, notify)
    _only_one_of_a_name(notifies)
    values = _read(table, _READERS, "")
    if not trusts:
        trusts = (Trust((WEBHOOK_SECRET,), tuple(f"{host}/**" for host in KNOWN_HOSTS)),)
    return Settings(trusts=trusts, forges=forges, notifies=notifies, **values)
