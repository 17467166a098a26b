"""Where everything is wired: settings in, one service out.

Whatever needs a clock, the environment or a name of this machine gets it from
here.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import sqlite3
import time
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from integralgit.background import Background
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.deployer import Deployer
from integralgit.deploy.poll import Poll
from integralgit.deploy.workshop import Workshop
from integralgit.hooks.receive import Key
from integralgit.journal import store
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.refusals import Refusals
from integralgit.location.disks import Disks, in_own_thread
from integralgit.location.git import Git, git_environment
from integralgit.location.mirror import Mirrors
from integralgit.location.visits import Visits
from integralgit.processes.child import Children
from integralgit.processes.spawn import spawner
from integralgit.report.health import prober
from integralgit.report.http import Http, client
from integralgit.report.outbox import Outbox, Receiver
from integralgit.service import Hangups, IntegralGit, Listener, Readers, log_observer
from integralgit.settings import ACCESS_TOKEN, Settings, SettingsError, make_settings
from integralgit.statefiles import (
    Secrets,
    access_token,
    make_private_folder,
    read_keys,
    secret_files,
)
from integralgit.web.access import Access, host_of
from integralgit.web.addresses import Addresses
from integralgit.web.health import HealthResource
from integralgit.web.later import Later
from integralgit.web.metrics import Metrics
from integralgit.web.site import WAITING, BoundedSite, Root
from integralgit.web.stream import Ticker
from integralgit.web.update import Door, UpdateResource

if TYPE_CHECKING:
    from twisted.web.resource import Resource

    from integralgit.report.forges import Account
    from integralgit.report.notify import Doorbell
    from integralgit.report.recorder import Recorder

log = Logger()

#: How many open files are kept for the archive, for git and for scripts.
FILES = 200


def build(
    reactor: Any, given: Mapping[str, object], file: str | None, *, is_logged: bool
) -> IntegralGit:
    """The server by what the command line has given and the settings file says, ready to start.

    `is_logged` says that twistd writes a log itself. Ends the process with
    one line where a setting is wrong.
    """
    try:
        return _build(reactor, read_settings(given, file), file, is_logged=is_logged)
    except SettingsError as error:
        raise SystemExit(f"integralgit: {error}") from None


def _build(reactor: Any, settings: Settings, file: str | None, *, is_logged: bool) -> IntegralGit:
    if os.geteuid() == 0 and not settings.allow_root:
        raise SettingsError(
            "running as root would run every deploy script as root; use a user of its own,"
            " or --allow-root"
        )
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise SettingsError(
            f"the end of a child could not be heard of: pidfd_open(2) says {error.strerror!r};"
            " Linux 5.3 or newer is needed, and a sandbox has to allow that"
        ) from None
    state = make_private_folder(Path(settings.state).absolute())
    beside = Path(file).absolute().parent if file else Path.cwd()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    keys = read_keys(settings, state, beside, credentials)
    files = secret_files(settings, state, beside, credentials)
    hidden = Secrets(state, beside, credentials)
    known = Known(
        keys, files, access_token(state), hidden.accounts(settings), hidden.doorbells(settings)
    )
    _warn_of_patterns(settings)
    return assemble(reactor, settings, state, known, None if is_logged else log_observer(state))


def read_settings(given: Mapping[str, object], file: str | None) -> Settings:
    """The settings of the command line and of the file, if there is one; raises `SettingsError`."""
    table: dict[str, Any] = {}
    if file:
        try:
            table = tomllib.loads(Path(file).read_text("utf-8"))
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not TOML: {error}") from None
    return make_settings(table, given)


def _pool(reactor: Any, path: Path) -> ConnectionPool:
    return ConnectionPool(
        "sqlite3",
        str(path),
        check_same_thread=False,
        isolation_level=None,
        cached_statements=store.STATEMENTS,
        cp_min=1,
        cp_max=1,
        cp_openfun=store.prepare,
        cp_reactor=reactor,
    )


@frozen
class Known:
    """The secrets as they were read at the start, and where those of the webhooks are."""

    keys: list[Key] = field(repr=False)
    files: list[Path]
    token: bytes = field(repr=False)
    accounts: tuple[Account, ...] = ()
    bells: tuple[Doorbell, ...] = ()


def _receivers(reactor: Any, settings: Settings, known: Known, http: Http) -> dict[str, Receiver]:
    """Everybody who is told how deploys go, by the names of their queues."""
    if not settings.forges and not settings.notifies:
        return {}
    # Imported where there is somebody: it would be a twentieth of every start.
    from integralgit.report.forges import GitHost
    from integralgit.report.mail import Mail, smtp
    from integralgit.report.notify import Webhook

    mailed = [one for one in settings.notifies if one.form == "mail"]
    hosts = dict.fromkeys(account.forge.host for account in known.accounts)
    receivers: list[Receiver] = [Webhook(bell, http, time.time) for bell in known.bells]
    receivers += [Mail(one, smtp(reactor)) for one in mailed]
    for host in hosts:
        accounts = tuple(one for one in known.accounts if one.forge.host == host)
        receivers.append(GitHost(host, accounts, http))
    return {receiver.name: receiver for receiver in receivers}


def _recorder(settings: Settings, names: tuple[str, ...], addresses: Addresses) -> Recorder | None:
    """What writes down who is to be told of an event; None where nobody is told of anything."""
    if not settings.forges and not settings.notifies:
        return None
    from integralgit.report.recorder import Recorder

    forges, notifies = settings.forges, settings.notifies
    url, repo_url = addresses.deploy, addresses.repository
    return Recorder(forges, notifies, names, url, repo_url, time.time)


def _endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    """The endpoint that an entry of `listen` describes; raises `SettingsError`."""
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:  # whatever the parsers of endpoints raise for a wrong text
        if isinstance(error, LookupError) and text.startswith("systemd:"):
            raise SettingsError(
                f"the setting `listen` has {text!r}, but systemd has passed no such socket;"
                " stop the service, start its socket unit, and then start the service again"
            ) from None
        raise SettingsError(
            f"the setting `listen` is not a usable endpoint: {error};"
            " write it as tcp:8080:interface=127.0.0.1, for example"
        ) from None
    return endpoint


def assemble(
    reactor: Any, settings: Settings, state: Path, known: Known, observer: Any
) -> IntegralGit:
    """The rooms, from the archive up to the windows; raises `SettingsError`."""
    endpoints = [_endpoint(reactor, text) for text in settings.listen]
    database = state / "integralgit.sqlite"
    try:
        store.create(str(database))
    except (ValueError, OSError, sqlite3.Error) as error:
        raise SettingsError(f"the database {database} cannot be used: {error}") from None
    names = settings.host_names or (socket.gethostname(),)
    in_thread = _in_thread(reactor)

    hub = Hub()
    writer, reader = _pool(reactor, database), _pool(reactor, database)
    addresses = Addresses(settings.url or "")
    soon = partial(reactor.callLater, 0)
    archive = store.Store(writer, reader, hub.publish, _recorder(settings, names, addresses), soon)
    logs = Logs(make_private_folder(state / "logs"))
    http = Http(reactor, client(reactor))
    outbox = Outbox(
        reactor, archive, hub, _receivers(reactor, settings, known, http), time.time, random.random
    )

    children = Children(reactor, spawner(reactor))
    git = Git(children, git_environment(os.environ), settings.git_timeout)
    mirrors = Mirrors(make_private_folder(state / "mirrors"), git, in_thread)
    configs = Configs(archive, names, time.time)
    looks = Looks(configs, mirrors, settings)
    visits = Visits(settings, git, Disks(reactor, in_own_thread(reactor)))
    deployer = Deployer(
        reactor,
        settings,
        configs,
        looks,
        archive,
        logs,
        visits,
        children,
        dict(os.environ),
        in_thread,
        time.time,
        addresses.deploy,
        prober(http),
    )
    workshop = Workshop(
        reactor, settings, archive, hub, logs, configs, looks, visits, deployer, children, time.time
    )

    poll = Poll(reactor, settings, archive, mirrors, workshop, names, time.time, random.random)

    access = _access(settings, known.token)
    # Whoever reads long logs waits for others who do, and nobody else does.
    readers, background = Readers(0, 2, "logs"), Background()
    ticker = Ticker(reactor, most_viewers())
    metrics = Metrics(archive, ticker, background)
    hub.watch(metrics.heard)

    def pages() -> Resource:
        from integralgit.web.logview import LogViews
        from integralgit.web.routes import Pages

        return Pages(
            access,
            addresses,
            archive,
            logs,
            LogViews(logs, _in_pool(reactor, readers), background),
            hub,
            background,
            ticker,
            names,
            time.time,
            ", ".join(map(str, known.files)),
            workshop,
            metrics,
            settings.trusts_for,
            settings.badges,
        ).resource()

    refusals = Refusals(reactor, archive, time.time)

    def refused(source: str, status: int, cause: str) -> None:
        if status != 200:
            metrics.decided("refused")
        refusals.add(source, status, cause)

    proxies = settings.trusted_proxies
    door = Door(
        known.keys, workshop, addresses, time.time, in_thread, refused, proxies, metrics.decided
    )
    update = UpdateResource(door)
    windows = Later(_load_pages, pages, in_thread, background)
    root = Root(update, HealthResource(archive, background), windows, access)
    site = BoundedSite(root, settings.max_body, reactor, refused, str(state), proxies)

    listening = partial(_say_where, known, addresses, state, names)
    listener = Listener(reactor, endpoints, site, addresses, listening, update.drain)
    return IntegralGit(
        state,
        [Hangups(reactor), refusals, outbox, poll, workshop, listener],
        [writer, reader, readers],
        settings.umask,
        observer,
    )


def _warn_of_patterns(settings: Settings) -> None:
    """A name without its git host in front is taken for one, and would never match."""
    for pattern in (one for trust in settings.trusts for one in trust.repos):
        host = pattern.partition("/")[0]
        if host != "localhost" and not set(".:*?") & set(host):
            log.warn(
                "repos has {pattern}: it is for a git host called {host}; write the host in front,"
                " such as github.com/acme/*, if it is another one",
                pattern=pattern,
                host=host,
            )


def _say_where(known: Known, addresses: Addresses, state: Path, names: tuple[str, ...]) -> None:
    """Log where git hosts are to send to, where the secrets are, and what this host is called."""
    log.info("hosts are told to send to {url}", url=addresses.hook)
    for path in known.files:
        log.info("the webhook secret is in {path}", path=path)
    log.info("this host is called {names} in configs", names=" or ".join(names))
    log.info(
        "the access token for {url} is in {path}", url=addresses.base, path=state / ACCESS_TOKEN
    )


def _access(settings: Settings, token: bytes) -> Access:
    """Who may see the pages, and under which names."""
    url = settings.url or ""
    hosts = {*settings.allowed_hosts, *([host_of(url.split("//")[1])] if url else [])}
    return Access(token, settings.public, frozenset(hosts), url.startswith("https:"))


def _load_pages() -> None:
    """Import what only pages need: a sixth of the start, and some MB."""
    import jinja2  # noqa: F401

    import integralgit.web.routes  # noqa: F401


def most_viewers() -> int:
    """How many event streams the limit of open files (getrlimit(2)) leaves room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(50, min(5000, files - WAITING - FILES))


def _in_thread(reactor: Any) -> Callable[..., Deferred[Any]]:
    return _in_pool(reactor, reactor.getThreadPool())


def _in_pool(reactor: Any, pool: ThreadPool) -> Callable[..., Deferred[Any]]:
    from twisted.internet.threads import deferToThreadPool

    def run(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, pool, work, *arguments)

    return run
