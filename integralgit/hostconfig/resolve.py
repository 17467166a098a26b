"""Which part of a repository's config is meant for this host.

Later wins, key by key: `base`, then every host group that holds the host in
alphabetical order, then the entry named after the host. `env` is merged key
by key too, and `null` unsets.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from integralgit.hostconfig.keys import KEYS

DEFAULT = "default"
BASE = "base"
#: How many warnings are worth reading; looking for what was meant takes time, too.
MOST_WARNINGS = 20
#: How many errors are told at once.
MOST_ERRORS = 5
#: How many shell patterns the host groups may hold: each takes a moment, in which nothing else is done.
MOST_PATTERNS = 500


class ConfigError(Exception):
    """A repository's config cannot be used; the text says which host, layer and key, and why."""


class Deployment(msgspec.Struct, frozen=True):
    """What one host does with one repository."""

    host: str
    location: str
    branch: str
    remote: str = "origin"
    script: str | None = None
    timeout: float = 900.0
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    update: str = "safe"
    submodules: bool = False
    health: str | None = None
    health_timeout: float = 30.0
    rollback: bool = False


def digests(deployment: Deployment) -> dict[str, str]:
    """A digest of what each key of a config says, but host, location and branch, which deploys have.

    They tell two values apart, and not what these are.
    """
    values = msgspec.to_builtins(deployment)
    return {
        key: hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]
        for key, value in values.items()
        if key not in ("host", "location", "branch")
    }


class Value(msgspec.Struct, frozen=True):
    """One resolved value, with the layer that it comes from."""

    value: object
    layer: str


class HostConfig(msgspec.Struct, frozen=True):
    """What the config says to one host name.

    A variable of `env` is the value `env.<name>`. `deployment` is None where
    there is nothing to deploy, and where `errors` say why there cannot be.
    `layers` are the entries that apply, in their order, and `others` those that do not.
    """

    host: str
    values: Mapping[str, Value]
    deployment: Deployment | None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique: dict[str, object] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"the key {key!r} stands there twice")
        unique[key] = value
    return unique


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _read(text: str) -> tuple[dict[str, list[str]], dict[str, dict[str, object]], list[str]]:
    """Host groups, entries and notices of a config file; raises `ConfigError`."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"config is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config is not usable JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError("config must be a JSON object with `configs` and `hostgroups`")
    notices = []
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigError("config holds half of a surrogate pair, which is not text") from None
    groups = document.get("hostgroups")
    if "groups" in document:
        if groups is not None:
            raise ConfigError("config has both `hostgroups` and the older `groups`; keep one")
        groups = document["groups"]
        notices.append("`groups` is read as `hostgroups`; the new name is to be preferred")
    groups, configs = {} if groups is None else groups, document.get("configs")
    if not isinstance(configs, dict):
        raise ConfigError("config must have an object `configs`")
    notices += [
        f"unknown key `{key}` in the file{_suggestion(key, ['hostgroups', 'configs'])}"
        for key in sorted(document.keys() - {"hostgroups", "groups", "configs"})[:MOST_WARNINGS]
    ]
    if not isinstance(groups, dict):
        raise ConfigError("`hostgroups` must be an object of lists")
    for name, members in groups.items():
        if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
            raise ConfigError(f"host group `{name}` must be a list of host names")
        if name.lower() == BASE:
            raise ConfigError(
                "a host group must not be called `base`: that is the entry for all hosts"
            )
    patterns = {m for members in groups.values() for m in members if _is_pattern(m)}
    if len(patterns) > MOST_PATTERNS:
        raise ConfigError(
            f"`hostgroups` holds more than {MOST_PATTERNS} shell patterns; name the hosts instead"
        )
    for name, entry in configs.items():
        if not isinstance(entry, dict):
            raise ConfigError(f"the entry `{name}` of `configs` must be an object")
    return groups, configs, notices


def _suggestion(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    return f": did you mean `{near[0]}`?" if near else ""


def _looks_like_base(name: str) -> bool:
    """Whether a name differs from `base` in case or in the order of its letters only."""
    return len(name) == len(BASE) and name != BASE and sorted(name.lower()) == sorted(BASE)


def _is_host(name: str, host: str) -> bool:
    """Whether a name in the config means the host: in full, or the part before the first dot."""
    name, host = name.lower(), host.lower()
    return name in (host, host.partition(".")[0])


def _is_pattern(member: str) -> bool:
    return any(c in "*?[" for c in member)


def _in_group(members: Sequence[str], host: str) -> bool:
    host = host.lower()
    names = (host, host.partition(".")[0])
    return any(
        any(fnmatchcase(name, member.lower()) for name in names)
        if _is_pattern(member)
        else member.lower() in names
        for member in members
    )


def _resolve_host(
    host: str,
    groups: Mapping[str, Sequence[str]],
    configs: Mapping[str, Mapping[str, object]],
    notices: Sequence[str],
) -> HostConfig:
    warnings, errors, wrong = list(notices), [], set[str]()
    mine = [name for name, members in groups.items() if _in_group(members, host)]
    mine.sort(key=lambda name: (name.casefold(), name))
    warnings += [
        f"host group `{name}` is called like the host and applies before its entry"
        for name in groups
        if _is_host(name, host) and name in configs
    ]
    own = sorted((name for name in configs if _is_host(name, host)), key=len)
    warnings += [
        f"the entry `{name}` is read as that of a host: did you mean `base`?"
        for name in configs
        if _looks_like_base(name) and name not in groups and name not in own
    ]
    layers = [name for name in [BASE, *mine] if name in configs and name not in own] + own
    values = {key: Value(known.default, DEFAULT) for key, known in KEYS.items()}
    env: dict[str, Value] = {}
    for layer in layers:
        for key, told in configs[layer].items():
            where = f"host {host}, layer {layer}, key {key}"
            if key not in KEYS and len(warnings) >= MOST_WARNINGS:
                continue
            if key not in KEYS:
                warnings.append(f"{where}: unknown key{_suggestion(key, list(KEYS))}")
            elif told is None and key == "env":
                env.clear()
            elif told is None:
                values[key] = Value(KEYS[key].default, layer)
            else:
                try:
                    checked: Any = KEYS[key].check(told)
                except ValueError as error:
                    errors.append(f"{where}: {key} {error}")
                    wrong.add(key)
                    continue
                if key == "env":
                    env.update({name: Value(text, layer) for name, text in checked.items()})
                else:
                    values[key] = Value(checked, layer)
    if values["rollback"].value and not values["health"].value:
        where = f"host {host}, layer {values['rollback'].layer}, key rollback"
        warnings.append(f"{where}: it has no effect without `health`")
    variables = {name: v for name, v in env.items() if v.value is not None}
    deployment = None
    if values["location"].value is None:
        if "location" not in wrong and any(layer != BASE for layer in layers):
            errors.append(f"host {host}, layer {layers[-1]}, key location: no location results")
    elif not errors:
        settings: dict[str, Any] = {key: one.value for key, one in values.items() if key != "env"}
        settings["env"] = {name: v.value for name, v in variables.items()}
        deployment = Deployment(host=host, **settings)
    shown = {key: value for key, value in values.items() if key != "env"}
    shown |= {f"env.{name}": v for name, v in variables.items()}
    others = tuple(name for name in configs if name not in layers)
    return HostConfig(
        host, shown, deployment, tuple(warnings), tuple(errors), tuple(layers), others
    )


def resolve(text: str, host_names: tuple[str, ...]) -> tuple[HostConfig, ...]:
    """What a config file says to each of this host's names, in their order.

    Raises `ConfigError` where the file cannot be read at all; what is wrong
    for one host only is in its `errors`.
    """
    found = _known(text, host_names)
    if isinstance(found, ConfigError):
        raise ConfigError(*found.args)
    return found


@lru_cache(maxsize=256)
def _known(text: str, host_names: tuple[str, ...]) -> tuple[HostConfig, ...] | ConfigError:
    """What `resolve` gives or raises: every deploy asks, and a fault is not looked for twice either."""
    try:
        return _resolve(text, host_names)
    except ConfigError as error:
        return ConfigError(*error.args)


def _resolve(text: str, host_names: tuple[str, ...]) -> tuple[HostConfig, ...]:
    groups, configs, notices = _read(text)
    resolved = [_resolve_host(name, groups, configs, notices) for name in host_names]
    seen: dict[str, HostConfig] = {}
    for one in resolved:
        if one.deployment is None:
            continue
        other = seen.setdefault(one.deployment.location, one)
        if other.deployment and replace(one.deployment, host=other.host) != other.deployment:
            raise ConfigError(
                f"hosts {other.host} and {one.host} give the location "
                f"{one.deployment.location} different settings"
            )
    return tuple(resolved)


def deployments(configs: Sequence[HostConfig]) -> tuple[Deployment, ...]:
    """The deployments among them, one for each location.

    Raises `ConfigError` with what is wrong for the first host for which something is.
    """
    for config in configs:
        if config.errors:
            more = len(config.errors) - MOST_ERRORS
            told = [*config.errors[:MOST_ERRORS], *([f"and {more} more"] if more > 0 else [])]
            raise ConfigError("; ".join(told))
    found = {c.deployment.location: c.deployment for c in reversed(configs) if c.deployment}
    return tuple(reversed(found.values()))
