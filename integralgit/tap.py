"""Where everything is wired: options and settings in, one service out.

The only module that imports the reactor; whatever else needs it, a clock, the
environment or a name of this machine gets it from here.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import sqlite3
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TextIO

from attrs import define, field, frozen
from twisted.application.service import IService, Service
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger, textFileLogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from twisted.python.threadpool import ThreadPool

from integralgit.background import Background
from integralgit.deploy.child import Children
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.deployer import Deployer
from integralgit.deploy.git import Git, git_environment
from integralgit.deploy.mirror import Mirrors
from integralgit.deploy.poll import Poll
from integralgit.deploy.workshop import Workshop
from integralgit.hooks.receive import Key
from integralgit.journal import store
from integralgit.journal.hub import Hub
from integralgit.journal.logs import Logs
from integralgit.journal.refusals import Refusals
from integralgit.report.forges import Account, GitHost
from integralgit.report.health import prober
from integralgit.report.http import Http, client
from integralgit.report.mail import Mail, smtp
from integralgit.report.notify import Doorbell, Webhook
from integralgit.report.outbox import Outbox, Receiver
from integralgit.report.recorder import Recorder
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
from integralgit.web.logview import LogViews
from integralgit.web.metrics import Metrics
from integralgit.web.routes import Pages
from integralgit.web.site import WAITING, BoundedSite, Root
from integralgit.web.stream import Ticker
from integralgit.web.update import Door, Update

log = Logger()

LOG_NAME = "integralgit.log"
#: The size at which the log file is rotated, in bytes, and how many rotated files are kept.
LOG_SIZE, LOG_FILES = 10_000_000, 5
#: Seconds that answers in flight have at the end.
FINISH = 5.0
#: How many open files are kept for the archive, for git and for scripts.
FILES = 200


class Options(usage.Options):
    """The command line; what is not given comes from the settings file, or has a default."""

    synopsis = "[options]"
    longdesc = "Deploys what is pushed to your git hosts. See the README for a start."
    optParameters: ClassVar = [
        ["config", "c", None, "Settings file (TOML)."],
        ["state", None, None, "Folder for the server's state [default: integralgit-state]."],
        ["url", None, None, "How people and git hosts reach this server."],
        ["workers", None, None, "Deploys at the same time [default: 4]."],
        ["git-timeout", None, None, 'Time for a fetch or clone, such as "10m" [default: 600].'],
        ["poll", None, None, "Time between looks at the remotes, 0 for never [default: 300]."],
        ["max-body", None, None, 'Size of a delivery at most [default: "25MB"].'],
        ["umask", None, None, 'umask of checkouts and scripts [default: "022"].'],
    ]
    optFlags: ClassVar = [
        ["public", None, "Let everybody read the pages, without the access token."],
        ["allow-root", None, "Run as root, and every deploy script with it."],
    ]
    _LISTS: ClassVar = {
        "listen": "Endpoint to listen on; may be given more than once"
        " [default: tcp:8080:interface=127.0.0.1].",
        "host-name": "A name of this host in the configs, instead of the machine's; may be"
        " given more than once.",
        "allowed-host": "A name under which the pages may be reached; may be given more than once.",
    }

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[str]] = {}

    def opt_listen(self, value: str) -> None:
        self.lists.setdefault("listen", []).append(value)

    def opt_host_name(self, value: str) -> None:
        self.lists.setdefault("host_names", []).append(value)

    def opt_allowed_host(self, value: str) -> None:
        self.lists.setdefault("allowed_hosts", []).append(value)

    opt_listen.__doc__ = _LISTS["listen"]
    opt_host_name.__doc__ = _LISTS["host-name"]
    opt_allowed_host.__doc__ = _LISTS["allowed-host"]

    def given(self) -> dict[str, object]:
        """What was given on the command line, by the names of the settings."""
        named = {name.replace("-", "_"): value for name, value in self.items() if name != "config"}
        flags = {name: True for name in ("public", "allow_root") if named.pop(name)}
        return {name: v for name, v in named.items() if v is not None} | flags | self.lists


def read_settings(options: Options) -> Settings:
    """The settings from the options and the file that they name; raises `SettingsError`."""
    table: dict[str, Any] = {}
    name = options["config"]
    if name:
        try:
            table = tomllib.loads(Path(name).read_text("utf-8"))
        except OSError as error:
            raise SettingsError(f"{name} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name} is not TOML: {error}") from None
    return make_settings(table, options.given())


@define(eq=False, slots=False)
class Listener(Service):
    """Listens on the endpoints; at the end it stops that first, then lets answers finish."""

    _reactor: Any
    _endpoints: list[IStreamServerEndpoint]
    _site: BoundedSite
    _addresses: Addresses
    _listening: Callable[[], None]
    _drain: Callable[[], Deferred[Any]]
    ports: list[IListeningPort] = field(factory=list, init=False)

    def privilegedStartService(self) -> None:
        """Listen before the privileges go; a port that cannot be had stops the start."""
        for endpoint in self._endpoints:
            started: list[Any] = []
            endpoint.listen(self._site).addBoth(started.append)
            if not started or not hasattr(started[0], "getHost"):
                reason = started[0].getErrorMessage() if started else "no answer"
                raise SystemExit(f"integralgit: cannot listen: {reason}")
            self.ports.append(started[0])
        if not self._addresses.base:
            self._addresses.base = local_url(self.ports)
        self._listening()

    def stopService(self) -> Deferred[None]:
        """Take no more connections, and wait for the answers that are on their way."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self.ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        answered = self._drain()
        answered.addTimeout(FINISH, self._reactor, lambda late, timeout: None)
        await answered


def local_url(ports: list[IListeningPort]) -> str:
    """The URL of the first TCP port, for a server that was not told its own."""
    for port in ports:
        address: Any = port.getHost()
        if hasattr(address, "port"):
            everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - as told, not ours
            host = everywhere.get(address.host, address.host)
            if ":" in host and not host.startswith("["):
                host = f"[{host}]"
            return f"http://{host}:{address.port}"
    return "http://localhost"


class Readers(ThreadPool):
    """Threads that start and end with the service."""

    def close(self) -> None:
        """End the threads."""
        self.stop()


@define(eq=False, slots=False)
class IntegralGit(Service):
    """The root: starts its parts in order, and stops them one at a time, last first."""

    parts: list[IService]
    _pools: list[ConnectionPool | Readers]
    _umask: int
    _observer: Any
    _saved_umask: int = field(default=0, init=False)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and give it our log unless it was told of another."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        for part in self.parts:
            part.privilegedStartService()

    def startService(self) -> None:
        super().startService()
        self._saved_umask = os.umask(self._umask)
        for pool in self._pools:
            pool.start()
        for part in self.parts:
            part.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for part in reversed(self.parts):
            stopped = part.stopService()
            if stopped is not None:
                await stopped
        for pool in self._pools:
            pool.close()
        os.umask(self._saved_umask)


def log_observer(options: Options, state: Path) -> Any:
    """What writes `integralgit.log`; None where twistd was told of a log itself.

    In the foreground the same lines go to standard output, which a daemon
    does not have.
    """
    outer: Any = options.parent or {}
    if outer.get("logfile") or outer.get("syslog") or outer.get("logger"):
        return None
    file: Any = LogFile(
        LOG_NAME, str(state), rotateLength=LOG_SIZE, maxRotatedFiles=LOG_FILES, defaultMode=0o600
    )
    to_file = textFileLogObserver(file)
    terminal: TextIO | None = sys.__stdout__
    to_terminal = textFileLogObserver(terminal) if terminal is not None else None

    def observe(event: dict[str, Any]) -> None:
        # Where the disk is full, the lines are lost, and nothing else with them.
        with suppress(OSError):
            to_file(event)
        if to_terminal is not None:
            with suppress(OSError):
                to_terminal(event)

    return observe


def makeService(options: Options) -> IntegralGit:
    """The server, ready to start; ends the process with one line where a setting is wrong."""
    try:
        return _make_service(options)
    except SettingsError as error:
        raise SystemExit(f"integralgit: {error}") from None


def _make_service(options: Options) -> IntegralGit:
    from twisted.internet import reactor

    settings = read_settings(options)
    if os.geteuid() == 0 and not settings.allow_root:
        raise SettingsError(
            "running as root would run every deploy script as root; use a user of its own,"
            " or --allow-root"
        )
    state = make_private_folder(Path(settings.state).absolute())
    beside = Path(options["config"]).absolute().parent if options["config"] else Path.cwd()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    keys = read_keys(settings, state, beside, credentials)
    files = secret_files(settings, state, beside, credentials)
    hidden = Secrets(state, beside, credentials)
    known = Known(
        keys, files, access_token(state), hidden.accounts(settings), hidden.doorbells(settings)
    )
    return assemble(reactor, settings, state, known, log_observer(options, state))


def _pool(reactor: Any, path: Path) -> ConnectionPool:
    return ConnectionPool(
        "sqlite3",
        str(path),
        check_same_thread=False,
        isolation_level=None,
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
    forges, notifies = settings.forges, settings.notifies
    url, repo_url = addresses.deploy, addresses.repository
    return Recorder(forges, notifies, names, url, repo_url, time.time)


def assemble(
    reactor: Any, settings: Settings, state: Path, known: Known, observer: Any
) -> IntegralGit:
    """The rooms, from the archive up to the windows; raises `SettingsError`."""
    try:
        endpoints = [serverFromString(reactor, text) for text in settings.listen]
    except Exception as error:  # whatever the parsers of endpoints raise for a wrong text
        raise SettingsError(f"the setting `listen` is not a usable endpoint: {error}") from None
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
    archive = store.Store(writer, reader, hub.publish, _recorder(settings, names, addresses))
    logs = Logs(make_private_folder(state / "logs"))
    http = Http(reactor, client(reactor))
    outbox = Outbox(
        reactor, archive, hub, _receivers(reactor, settings, known, http), time.time, random.random
    )

    children = Children(reactor)
    git = Git(children, git_environment(os.environ), settings.git_timeout)
    mirrors = Mirrors(make_private_folder(state / "mirrors"), git, in_thread)
    configs = Configs(archive, names, time.time)
    looks = Looks(configs, mirrors, settings)
    deployer = Deployer(
        reactor,
        settings,
        configs,
        looks,
        archive,
        logs,
        git,
        children,
        dict(os.environ),
        in_thread,
        time.time,
        addresses.deploy,
        prober(http),
    )
    workshop = Workshop(
        reactor, settings, archive, logs, configs, looks, deployer, children, time.time
    )

    poll = Poll(reactor, settings, archive, mirrors, workshop, names, time.time, random.random)

    hosts = {
        *settings.allowed_hosts,
        *([host_of(settings.url.split("//")[1])] if settings.url else []),
    }
    secure = (settings.url or "").startswith("https:")
    access = Access(known.token, settings.public, frozenset(hosts), secure)
    # Whoever reads long logs waits for others who do, and nobody else does.
    readers, background = Readers(0, 2, "logs"), Background()
    ticker = Ticker(reactor, most_viewers())
    metrics = Metrics(archive, ticker, background)
    hub.watch(metrics.heard)
    pages = Pages(
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
        settings.badges,
    )
    refusals = Refusals(reactor, archive, time.time)

    def refused(source: str, status: int, cause: str) -> None:
        if status != 200:
            metrics.decided("refused")
        refusals.add(source, status, cause)

    proxies = settings.trusted_proxies
    door = Door(
        known.keys, workshop, addresses, time.time, in_thread, refused, proxies, metrics.decided
    )
    update = Update(door)
    root = Root(update, pages.resource(), access)
    site = BoundedSite(root, settings.max_body, reactor, refused, str(state))

    def listening() -> None:
        log.info("hosts are told to send to {url}", url=addresses.hook)
        for path in known.files:
            log.info("the webhook secret is in {path}", path=path)
        log.info(
            "the access token for {url} is in {path}", url=addresses.base, path=state / ACCESS_TOKEN
        )

    listener = Listener(reactor, endpoints, site, addresses, listening, update.drain)
    return IntegralGit(
        [refusals, outbox, poll, workshop, listener],
        [writer, reader, readers],
        settings.umask,
        observer,
    )


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
