"""Tests of the command line: what is given where, what wins, and what stops the start."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from integralgit import assembly
from integralgit.assembly import Known, assemble
from integralgit.hooks.receive import Key
from integralgit.service import local_url
from integralgit.settings import Settings, SettingsError
from integralgit.tap import Options, makeService


def options(*arguments: str) -> Options:
    """The options of a command line."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


def read_settings(parsed: Options) -> Settings:
    """The settings of a command line, and of the file that it names."""
    return assembly.read_settings(parsed.given(), parsed["config"])


class Reading(SynchronousTestCase):
    def file(self, text: str | bytes) -> str:
        """A settings file; its path."""
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def read(self, toml: str, *arguments: str) -> Settings:
        """The settings of a file and a command line."""
        return read_settings(options("--config", self.file(toml), *arguments))

    def test_defaults(self) -> None:
        """Without a word, the server listens on loopback and serves the known git hosts."""
        settings = read_settings(options())
        self.assertEqual(settings.listen, ("tcp:8080:interface=127.0.0.1",))
        self.assertEqual((settings.state, settings.url), ("integralgit-state", None))
        self.assertEqual((settings.workers, settings.git_timeout), (4, 600))
        self.assertEqual((settings.max_body, settings.umask), (25_000_000, 0o022))
        self.assertEqual((settings.public, settings.allow_root), (False, False))
        self.assertEqual((settings.host_names, settings.allowed_hosts), ((), ()))
        (trust,) = settings.trusts
        self.assertEqual(trust.secret_files, ("webhook-secret",))
        self.assertIn("github.com/**", trust.repos)

    def test_options(self) -> None:
        """Every common setting can be given on the command line."""
        settings = read_settings(
            options(
                "--listen=tcp:80",
                "--listen=unix:/run/x.sock",
                "--state=/var/lib/x",
                "--url=https://deploy.example.com/",
                "--host-name=web1",
                "--host-name=web2",
                "--allowed-host=Deploy.Example.com",
                "--workers=2",
                "--git-timeout=10m",
                "--max-body=1MB",
                "--umask=027",
                "--public",
                "--allow-root",
            )
        )
        self.assertEqual(settings.listen, ("tcp:80", "unix:/run/x.sock"))
        self.assertEqual(settings.state, "/var/lib/x")
        self.assertEqual(settings.url, "https://deploy.example.com")
        self.assertEqual(settings.host_names, ("web1", "web2"))
        self.assertEqual(settings.allowed_hosts, ("deploy.example.com",))
        self.assertEqual((settings.workers, settings.git_timeout), (2, 600.0))
        self.assertEqual((settings.max_body, settings.umask), (1_000_000, 0o027))
        self.assertEqual((settings.public, settings.allow_root), (True, True))

    def test_the_file(self) -> None:
        """What the settings file says counts where no option says anything else."""
        settings = self.read(
            'state = "/srv/state"\nworkers = 9\npublic = true\nhost_names = ["web1"]\n'
            'umask = "077"\n[[trust]]\nrepos = ["github.com/acme/*"]\nsecret_file = "acme"\n'
        )
        self.assertEqual((settings.state, settings.workers), ("/srv/state", 9))
        self.assertEqual((settings.public, settings.umask), (True, 0o077))
        self.assertEqual(settings.host_names, ("web1",))
        (trust,) = settings.trusts
        self.assertEqual((trust.repos, trust.secret_files), (("github.com/acme/*",), ("acme",)))

    def test_options_win_over_the_file(self) -> None:
        """An option replaces what the file says about it, a list as a whole, and nothing else."""
        settings = self.read(
            'state = "/srv/state"\nworkers = 9\nlisten = ["tcp:1", "tcp:2"]\n',
            "--workers=2",
            "--listen=tcp:3",
        )
        self.assertEqual((settings.state, settings.workers), ("/srv/state", 2))
        self.assertEqual(settings.listen, ("tcp:3",))

    def test_lists_of_two_servers(self) -> None:
        """Lists of one command line do not leak into another's."""
        options("--listen=tcp:80")
        self.assertEqual(options().given(), {})

    def test_the_environment_is_not_read(self) -> None:
        """Variables of the server's own scripts change nothing about a server."""
        before = read_settings(options())
        for name in ("INTEGRALGIT_URL", "INTEGRALGIT_HOST", "INTEGRALGIT_LOCATION"):
            self.patch(os, "environ", {**os.environ, name: "https://elsewhere.example"})
        self.assertEqual(read_settings(options()), before)

    def test_wrong_settings(self) -> None:
        """A wrong setting is told in one line, with its name and what is wrong."""
        cases = [
            ("worker = 3", "unknown setting `worker`; did you mean `workers`?"),
            ("workers = 0", "the setting `workers` must be a whole number from 1 to 1000, not 0"),
            ('public = "yes"', "the setting `public` must be true or false, not 'yes'"),
            ("listen = []", "the setting `listen` must be a list of texts, not []"),
            ("[trust]\n", "`trust` must be written as [[trust]] tables"),
            ("[[trust]]\n", "[[trust]] number 1: `repos` is missing"),
        ]
        for toml, expected in cases:
            with self.assertRaises(SettingsError) as raised:
                self.read(toml)
            self.assertEqual(str(raised.exception), expected)

    def test_wrong_options(self) -> None:
        """A wrong option is told in the same way."""
        cases = [
            ("--workers=many", "the setting `workers` must be a whole number"),
            ("--url=deploy.example.com", "the setting `url` must be like https://"),
            ("--git-timeout=soon", "the setting `git_timeout` must be a number or text"),
            ("--umask=999", "the setting `umask` must be text with an octal umask"),
            ("--url=", "the setting `url` must be text, not ''"),
            ("--state=", "the setting `state` must be text, not ''"),
            ("--listen=", "the setting `listen` must be text, not ''"),
        ]
        for argument, expected in cases:
            with self.assertRaises(SettingsError) as raised:
                read_settings(options(argument))
            self.assertTrue(str(raised.exception).startswith(expected), str(raised.exception))

    def test_unknown_options(self) -> None:
        """An option that is not known is an error of usage."""
        for argument in ("--speed=1", "--poll", "rest"):
            with self.assertRaises(UsageError):
                options(argument)

    def test_files_that_cannot_be_read(self) -> None:
        """A settings file that is missing or no TOML is told in one line, with its name."""
        missing, folder = self.mktemp(), self.mktemp()
        os.mkdir(folder)
        broken, binary = self.file("state = \n"), self.file(b"state = '\xff'\n")
        cases = [
            (missing, f"{missing} cannot be read: No such file or directory"),
            (folder, f"{folder} cannot be read: Is a directory"),
            (broken, f"{broken} is not TOML: "),
            (binary, f"{binary} is not TOML: "),
        ]
        for path, expected in cases:
            with self.assertRaises(SettingsError) as raised:
                read_settings(options("--config", path))
            text = str(raised.exception)
            self.assertTrue(text.startswith(expected), text)
            self.assertNotIn("\n", text)


class Starting(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.assembled: list[tuple[Any, ...]] = []
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(reactor, "seconds", reactor.seconds)
        self.patch(assembly, "assemble", lambda *given: self.assembled.append(given))

    def refused(self, *arguments: str) -> str:
        """The one line with which the start ends."""
        with self.assertRaises(SystemExit) as raised:
            makeService(options("--state", str(self.state), *arguments))
        self.assertEqual(self.assembled, [])
        text = str(raised.exception.code)
        self.assertNotIn("\n", text)
        self.assertTrue(text.startswith("integralgit: "), text)
        return text

    def test_a_first_start(self) -> None:
        """The first start makes a private state folder with a webhook secret and an access token."""
        makeService(options("--state", str(self.state)))
        ((_, settings, state, known, *_),) = self.assembled
        self.assertEqual((settings.state, state), (str(self.state), self.state))
        self.assertEqual(state.stat().st_mode & 0o777, 0o700)
        files = {name: state / name for name in ("webhook-secret", "access-token")}
        for path in files.values():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            [key.secret for key in known.keys], [files["webhook-secret"].read_bytes()[:-1]]
        )
        self.assertEqual(known.token, files["access-token"].read_bytes()[:-1])
        self.assertEqual(known.files, [files["webhook-secret"]])

    def test_a_second_start(self) -> None:
        """A second start has the same secrets."""
        for _ in range(2):
            makeService(options("--state", str(self.state)))
        first, second = self.assembled
        self.assertEqual(first[3], second[3])

    def test_secrets_beside_the_settings(self) -> None:
        """Secret files are looked up beside the settings file, wherever the server is started."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "acme.secret").write_text("of acme\n")
        config = folder / "integralgit.toml"
        config.write_text('[[trust]]\nrepos = ["github.com/acme/*"]\nsecret_file = "acme.secret"\n')
        makeService(options("--state", str(self.state), "--config", str(config)))
        keys: list[Key] = self.assembled[0][3].keys
        self.assertEqual([key.secret for key in keys], [b"of acme"])

    def test_root(self) -> None:
        """The server does not start as root, and touches nothing (threat 75)."""
        self.patch(os, "geteuid", lambda: 0)
        self.assertIn("--allow-root", self.refused())
        self.assertFalse(self.state.exists())

    def test_no_way_to_hear_of_the_end_of_a_child(self) -> None:
        """Where the kernel or a sandbox has none, the start says so, and touches nothing."""

        def not_here(pid: int) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        self.patch(os, "pidfd_open", not_here)
        self.assertIn("Linux 5.3", self.refused())
        self.assertFalse(self.state.exists())

    def test_root_where_it_is_allowed(self) -> None:
        """The server starts as root where the option or the file allows that."""
        self.patch(os, "geteuid", lambda: 0)
        makeService(options("--state", str(self.state), "--allow-root"))
        config = Path(self.mktemp())
        config.write_text("allow_root = true\n")
        makeService(options("--state", str(self.state), "--config", str(config)))
        self.assertEqual(len(self.assembled), 2)

    def test_wrong_settings(self) -> None:
        """Whatever is wrong with the settings, the start ends with one line and no traceback."""
        broken = Path(self.mktemp())
        broken.write_text("state = \n")
        missing_secret = Path(self.mktemp())
        missing_secret.write_text('[[trust]]\nrepos = ["**"]\nsecret_file = "/nonexistent/x"\n')
        cases = [
            (("--workers=0",), "`workers`"),
            (("--config=/nonexistent/x.toml",), "/nonexistent/x.toml cannot be read"),
            ((f"--config={broken}",), "is not TOML"),
            ((f"--config={missing_secret}",), "the secret file /nonexistent/x cannot be read"),
            (("--state=/dev/null",), "the folder /dev/null cannot be used"),
        ]
        for arguments, expected in cases:
            self.assertIn(expected, self.refused(*arguments))


class Assembling(SynchronousTestCase):
    def assemble(self, settings: Settings, state: Path) -> None:
        """Put a server together on a reactor in memory."""
        assemble(MemoryReactorClock(), settings, state, Known([], [], b"token"), None)

    def test_what_is_no_endpoint(self) -> None:
        """A `listen` that is no endpoint is a wrong setting."""
        for text in ("8080", "nonsense:80", "tcp:port=many"):
            state = Path(self.mktemp())
            state.mkdir()
            with self.assertRaises(SettingsError) as raised:
                self.assemble(Settings(listen=(text,)), state)
            self.assertIn("`listen`", str(raised.exception))

    def test_a_socket_that_systemd_does_not_hold(self) -> None:
        """A service that was started without its socket says so, and not that the text is wrong."""
        for text in ("systemd:domain=INET:name=web", "systemd:domain=INET:index=0"):
            with self.assertRaises(SettingsError) as raised:
                self.assemble(Settings(listen=(text,)), Path("/nonexistent"))
            told = f"the setting `listen` has '{text}', but systemd has passed no such socket; "
            self.assertTrue(str(raised.exception).startswith(told), raised.exception)

    def test_endpoints_that_are_broken(self) -> None:
        """An endpoint with a wrong argument or file stops the start with one line, as a wrong one."""
        self.patch(os, "geteuid", lambda: 1000)
        for text, reason in (
            ("tcp", "port"),
            ("tcp:80:interfac=x", "interfac"),
            ("tcp:80:backlog=x", "'x'"),
            ("unix", "address"),
            ("systemd:name=web", "domain"),
            ("ssl:443:privateKey=/nonexistent", "/nonexistent"),
        ):
            state = Path(self.mktemp()).absolute()
            with self.assertRaises(SystemExit) as raised:
                makeService(options("--state", str(state), "--listen", text))
            told = str(raised.exception.code)
            wanted = "integralgit: the setting `listen` is not a usable endpoint: "
            self.assertTrue(told.startswith(wanted), told)
            self.assertIn(reason, told)
            self.assertIn("; write it as tcp:8080:interface=127.0.0.1", told)
            self.assertNotIn("\n", told)
            self.assertFalse((state / "integralgit.sqlite").exists())

    def test_a_database_that_cannot_be_used(self) -> None:
        """A database of a newer version, or a file that is none, stops the start."""
        newer, broken = Path(self.mktemp()), Path(self.mktemp())
        newer.mkdir()
        broken.mkdir()
        connection = sqlite3.connect(newer / "integralgit.sqlite")
        connection.execute("PRAGMA user_version=99")
        connection.close()
        (broken / "integralgit.sqlite").write_bytes(b"this is no database at all" * 100)
        for state, reason in ((newer, "version 99"), (broken, "not a database")):
            with self.assertRaises(SettingsError) as raised:
                self.assemble(Settings(), state)
            self.assertRegex(
                str(raised.exception), rf"integralgit.sqlite cannot be used: .*{reason}"
            )


class Addresses(SynchronousTestCase):
    def test_our_own_url(self) -> None:
        """A server that was not told its URL takes that of its first TCP port."""
        reactor: Any = MemoryReactorClock()
        everywhere = reactor.listenTCP(8080, None)
        everywhere_of_ipv6 = reactor.listenTCP(8081, None, interface="::")
        self.assertEqual(everywhere.getHost().host, "0.0.0.0")  # noqa: S104 - it is not listened on
        socket = reactor.listenUNIX("/run/integralgit.sock", None)
        self.assertEqual(local_url([everywhere, everywhere_of_ipv6]), "http://127.0.0.1:8080")
        self.assertEqual(local_url([socket, everywhere_of_ipv6]), "http://[::1]:8081")
        self.assertEqual(local_url([socket]), "http://localhost")

    def test_an_address_of_ipv6(self) -> None:
        """An address of IPv6 stands in brackets in a URL."""
        reactor: Any = MemoryReactorClock()
        for interface, wanted in (
            ("::1", "http://[::1]:8080"),
            ("2001:db8::1", "http://[2001:db8::1]:8080"),
        ):
            port = reactor.listenTCP(8080, None, interface=interface)
            self.assertEqual(local_url([port]), wanted)
