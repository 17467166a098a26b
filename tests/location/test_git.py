"""Tests of git's surroundings: its environment, its options, and its errors in a line."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.git import Git, GitError, git_environment, redact
from integralgit.processes import child
from integralgit.processes.child import Children, Exit
from tests.fakes import FakeProcess, FakeProcesses


def error(stderr: bytes, code: int = 128, *, timed_out: bool = False) -> str:
    """The text of a failure of `git fetch`."""
    return str(GitError("fetch", Exit(code, b"", stderr, timed_out)))


class Credentials(SynchronousTestCase):
    def test_redact(self) -> None:
        """User names and passwords of URLs are taken out, and nothing else."""
        cases = [
            ("https://user:secret@example.com/a.git", "https://example.com/a.git"),
            ("https://token@example.com/a.git", "https://example.com/a.git"),
            ("https://user:@example.com/a", "https://example.com/a"),
            ("see 'https://u:p@a.example/x' and http://v:q@b.example",
             "see 'https://a.example/x' and http://b.example"),
            ("https://u:p@ss@h/x", "https://h/x"),
            ("ssh://git:a@b@c@h/x@y", "ssh://h/x@y"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("https://example.com/a.git", "https://example.com/a.git"),
            ("git@github.com:acme/site.git", "git@github.com:acme/site.git"),
            ("mail ann@example.com", "mail ann@example.com"),
            ("// a comment to b@c", "// a comment to b@c"),
            ("", ""),
        ]  # fmt: skip
        for text, expected in cases:
            self.assertEqual(redact(text), expected)


class Errors(SynchronousTestCase):
    def test_the_line_that_tells(self) -> None:
        """Of what git says, the first line that names the error is the reason."""
        said = (
            b"From https://example.com/site\n * branch main\nwarning: odd\n"
            b"fatal: couldn't find remote ref main\nfatal: the remote end hung up\n"
        )
        self.assertEqual(error(said), "git fetch failed: couldn't find remote ref main")

    def test_what_ssh_says(self) -> None:
        """Where ssh has failed, its own last words are the reason, and a missing key has a hint."""
        last = b"fatal: Could not read from remote repository.\n\nPlease make sure you have the\n"
        hint = "; see 'Private repositories' in docs/debian.md"
        for said, told in (
            (b"ssh: Could not resolve hostname h: Name or service not known\r\n",
             "ssh: Could not resolve hostname h: Name or service not known"),
            (b"Warning: Permanently added 'h'.\ngit@h: Permission denied (publickey).\r\n",
             f"git@h: Permission denied (publickey){hint}"),
            (b"No ED25519 host key is known for h.\nHost key verification failed.\n",
             f"Host key verification failed{hint}"),
            (b"ERROR: Repository not found.\n\n", "ERROR: Repository not found"),
            (b"remote: \nremote: ====\nremote: No such project.\nremote:\nremote: ====\n",
             "No such project"),
            (b"", "Could not read from remote repository"),
            (b"fatal: '/x' does not appear to be a git repository\n",
             "'/x' does not appear to be a git repository"),
        ):  # fmt: skip
            self.assertEqual(error(said + last), f"git fetch failed: {told}")

    def test_a_missing_password(self) -> None:
        """Where git would have to ask for a password, the reason has the hint, too."""
        said = b"fatal: could not read Username for 'https://h': terminal prompts disabled\n"
        self.assertIn("prompts disabled; see 'Private repositories'", error(said))
        said = b"error: unable to create file x: Permission denied\n"
        self.assertEqual(
            error(said), "git fetch failed: unable to create file x: Permission denied"
        )

    def test_an_error_that_is_not_fatal(self) -> None:
        """A line that begins with `error:` tells too."""
        self.assertEqual(
            error(b"hint: try again\nerror: cannot lock ref\n"),
            "git fetch failed: cannot lock ref",
        )

    def test_no_line_that_tells(self) -> None:
        """Where no line names an error, the first one with text is the reason."""
        self.assertEqual(
            error(b"\n  \nssh: no route to host\nmore\n"), "git fetch failed: ssh: no route to host"
        )

    def test_silence(self) -> None:
        """Where git says nothing, its exit code is the reason."""
        self.assertEqual(error(b"", 3), "git fetch failed: exit code 3")
        self.assertEqual(error(b"\n \n", -9), "git fetch failed: exit code -9")

    def test_a_timeout(self) -> None:
        """A git that was stopped says so, whatever else it said."""
        self.assertEqual(
            error(b"fatal: the remote end hung up", -15, timed_out=True),
            "git fetch failed: it took too long and was stopped",
        )

    def test_no_credentials(self) -> None:
        """Neither the reason nor what is kept of the output has credentials (threat 46)."""
        said = b"hint: https://u:secret@h/x\nfatal: unable to access 'https://u:secret@h/x/'\n"
        failed = GitError("fetch", Exit(128, b"", said))
        self.assertEqual(str(failed), "git fetch failed: unable to access 'https://h/x/'")
        self.assertNotIn("secret", failed.said)

    def test_bytes_that_are_no_text(self) -> None:
        """Bytes that are not UTF-8 do not hide the reason."""
        self.assertEqual(error(b"fatal: caf\xe9"), "git fetch failed: caf\ufffd")


class Environment(SynchronousTestCase):
    def test_the_allow_list(self) -> None:
        """Only what is on the list comes from the server's environment (threats 32, 44 and 45)."""
        server = {
            "PATH": "/bin",
            "HOME": "/home/deploy",
            "USER": "deploy",
            "LOGNAME": "deploy",
            "TMPDIR": "/tmp",
            "SSH_AUTH_SOCK": "/run/agent",
            "SSL_CERT_FILE": "/etc/cert.pem",
            "SSL_CERT_DIR": "/etc/certs",
        }
        forbidden = {
            "SECRET": "x",
            "CREDENTIALS_DIRECTORY": "/run/credentials",
            "LD_PRELOAD": "/evil.so",
            "GIT_DIR": "/elsewhere",
            "GIT_SSH": "/evil",
            "GIT_CONFIG_COUNT": "1",
            "SSH_ASKPASS": "/evil",
            "LANG": "de_DE.UTF-8",
            "LC_ALL": "de_DE.UTF-8",
            "GIT_ALLOW_PROTOCOL": "ext",
            "GIT_TERMINAL_PROMPT": "1",
        }
        made = git_environment({**server, **forbidden})
        ours = {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": "https:ssh",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_OPTIONAL_LOCKS": "0",
        }
        ssh = made.pop("GIT_SSH_COMMAND").split()
        for option in ("-oBatchMode=yes", "-oConnectTimeout=15", "-oServerAliveInterval=15"):
            self.assertIn(option, ssh)
        self.assertEqual(made, {**server, **ours})

    def test_what_is_missing_stays_missing(self) -> None:
        """A variable that the server does not have is not made up."""
        made = git_environment({"PATH": "/bin"})
        self.assertEqual(made["PATH"], "/bin")
        self.assertNotIn("HOME", made)


class Running(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeProcesses()
        self.told: list[bytes] = []
        whole = Git(Children(self.reactor, self.reactor.spawn), {"LC_ALL": "C"}, timeout=60.0)
        self.git = whole.within("/srv/site", descriptors={9: 77}, tell=self.told.append)
        self.whole = whole

    def run_git(self, git: Git, *arguments: str) -> tuple[Deferred[str], FakeProcess]:
        """Start `git show`; what it prints, and its process."""
        printed = Deferred.fromCoroutine(git.run("show", *arguments))
        return printed, self.reactor.spawned[-1]

    def test_what_is_run(self) -> None:
        """Git runs in its folder, before its command come options that keep hooks from running (threats 30 and 45)."""
        _, process = self.run_git(self.git, "--quiet", "main")
        argv = process.argv
        self.assertEqual(argv[:3], ["git", "-C", "/srv/site"])
        self.assertEqual(argv[-3:], ["show", "--quiet", "main"])
        options = argv[3:-3]
        self.assertEqual(set(options[::2]), {"-c"})
        for option in (
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.askPass=true",
            "gc.auto=0",
            "submodule.recurse=false",
            "fetch.recurseSubmodules=false",
        ):
            self.assertIn(option, options[1::2])
        self.assertEqual(process.descriptors[9], 77)
        self.assertEqual(process.env, {"LC_ALL": "C"})

    def test_what_asks_a_remote(self) -> None:
        """What may start a helper that stays is not given the lock of the location."""
        for command in ("fetch", "clone", "ls-remote"):
            Deferred.fromCoroutine(self.git.run(command))
            self.assertNotIn(9, self.reactor.spawned[-1].descriptors)
        Deferred.fromCoroutine(self.git.run("submodule"))
        self.assertEqual(self.reactor.spawned[-1].descriptors[9], 77)

    def test_without_a_folder(self) -> None:
        """Git may run without a folder of its own."""
        _, process = self.run_git(self.whole)
        self.assertNotIn("-C", process.argv)
        self.assertNotIn(9, process.descriptors)

    def test_more_environment(self) -> None:
        """A copy of git has more variables or other protocols; the original is as it was."""
        more = self.git.with_environment(GIT_INDEX_FILE="aside").allowing("https:ssh:file")
        _, process = self.run_git(more)
        self.assertEqual(
            process.env,
            {"LC_ALL": "C", "GIT_INDEX_FILE": "aside", "GIT_ALLOW_PROTOCOL": "https:ssh:file"},
        )
        _, process = self.run_git(self.git)
        self.assertEqual(process.env, {"LC_ALL": "C"})

    def test_what_it_prints(self) -> None:
        """What git prints is given without its last line break, with names of any bytes."""
        printed, process = self.run_git(self.git)
        process.says(b"caf\xe9\n\n")
        process.ends()
        self.assertEqual(self.successResultOf(printed), "caf\udce9\n")

    def test_a_failure(self) -> None:
        """A git that fails is an error with its command and its code."""
        printed, process = self.run_git(self.git)
        process.complains(b"fatal: bad object\n")
        process.ends(128)
        failed = self.failureResultOf(printed, GitError).value
        assert isinstance(failed, GitError)
        self.assertEqual((failed.command, failed.code), ("show", 128))
        self.assertEqual(str(failed), "git show failed: bad object")

    def test_what_is_told(self) -> None:
        """What git says goes to the log, without credentials and else byte for byte."""
        _, process = self.run_git(self.git)
        process.complains(b"From https://u:secret@h/x\n")
        process.complains(b"caf\xe9\n")
        self.assertEqual(self.told, [b"From https://h/x\n", b"caf\xe9\n"])

    def test_credentials_in_pieces(self) -> None:
        """Credentials that come in two pieces are taken out as those that come whole (threat 46)."""
        printed, process = self.run_git(self.git)
        process.complains(b"hint: one\nFrom https://u:sec")
        self.assertEqual(self.told, [b"hint: one\n"])
        process.complains(b"ret@h/x\nFrom https")
        process.complains(b"://u:secret@h/y\n")
        self.assertEqual(b"".join(self.told), b"hint: one\nFrom https://h/x\nFrom https://h/y\n")
        process.ends()
        self.successResultOf(printed)
        self.assertNotIn(b"sec", b"".join(self.told))

    def test_the_last_line_without_a_line_break(self) -> None:
        """A last line that git does not end is told too, once git has ended."""
        for code in (0, 128):
            self.told.clear()
            ended = Deferred.fromCoroutine(self.git.try_("show"))
            process = self.reactor.spawned[-1]
            process.complains(b"one\nlast of https://u:secret@h/x")
            self.assertEqual(self.told, [b"one\n"])
            process.ends(code)
            self.assertEqual(self.told, [b"one\n", b"last of https://h/x\n"])
            self.assertEqual(self.successResultOf(ended).code, code)

    def test_a_timeout(self) -> None:
        """A git that runs longer than it may is stopped, and the error says so."""
        self.patch(child, "signal_group", lambda pid, number: True)
        printed, process = self.run_git(self.git)
        self.reactor.advance(60.0)
        process.ends(signal=15)
        failed = self.failureResultOf(printed, GitError).value
        self.assertEqual(str(failed), "git show failed: it took too long and was stopped")
