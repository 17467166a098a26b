"""Tests of the state folder and of the secrets in files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit import statefiles
from integralgit.hooks.signatures import standard_webhooks_key
from integralgit.settings import Settings, SettingsError, Trust, make_settings
from integralgit.statefiles import (
    access_token,
    ensure_secret,
    make_private_folder,
    read_keys,
    read_secret,
    secret_path,
)


def mode(path: Path) -> int:
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


class Folders(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.addCleanup(os.umask, os.umask(0))

    def test_a_new_folder(self) -> None:
        """A folder is made, with those above it, and only its owner can enter it."""
        made = make_private_folder(self.folder / "a" / "state")
        self.assertEqual(made, self.folder / "a" / "state")
        self.assertEqual(mode(made), 0o700)

    def test_a_folder_that_is_there(self) -> None:
        """A folder that others can enter is made private, and keeps what is in it."""
        state = self.folder / "state"
        state.mkdir(mode=0o755)
        (state / "kept").write_text("x")
        make_private_folder(state)
        self.assertEqual(mode(state), 0o700)
        self.assertEqual(os.listdir(state), ["kept"])

    def test_a_file_in_its_place(self) -> None:
        """A path that cannot be a folder is a wrong setting, in one line."""
        (self.folder / "file").write_text("")
        for path in (self.folder / "file", self.folder / "file" / "state"):
            with self.assertRaises(SettingsError) as raised:
                make_private_folder(path)
            self.assertRegex(str(raised.exception), rf"^the folder {path} cannot be used: .+$")


class Secrets(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "secret"
        self.addCleanup(os.umask, os.umask(0))

    def test_a_new_secret(self) -> None:
        """A secret is made of 256 random bits, readable by its owner only."""
        other = self.folder / "other"
        ensure_secret(self.path)
        ensure_secret(other)
        self.assertEqual(mode(self.path), 0o600)
        self.assertRegex(read_secret(self.path), rb"^[0-9a-f]{64}$")
        self.assertNotEqual(read_secret(self.path), read_secret(other))

    def test_a_start_that_is_cut_off(self) -> None:
        """A secret has its name only when it is whole and on the disk; that is on the disk, too (threat 70)."""
        synced: list[str] = []
        fsync, link = os.fsync, os.link

        def noted(descriptor: int) -> None:
            fsync(descriptor)
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        def linked(made: str, path: Path) -> None:
            self.assertEqual(synced, [os.path.abspath(made)])
            self.assertEqual(len(Path(made).read_text()), 65)
            link(made, path)

        self.patch(os, "fsync", noted)
        self.patch(os, "link", linked)
        ensure_secret(self.path)
        self.assertEqual(synced[1:], [str(self.folder.absolute())])
        self.assertEqual(os.listdir(self.folder), ["secret"])

    def test_a_file_system_without_links(self) -> None:
        """A secret is made there as well."""

        def refused(made: str, path: Path) -> None:
            raise PermissionError

        self.patch(os, "link", refused)
        ensure_secret(self.path)
        self.assertRegex(read_secret(self.path), rb"^[0-9a-f]{64}$")
        self.assertEqual(os.listdir(self.folder), ["secret"])

    def test_two_at_once(self) -> None:
        """The secret that was there first stays."""

        def too_late(made: str, path: Path) -> None:
            self.path.write_text("the other's\n")
            raise FileExistsError

        self.patch(os, "link", too_late)
        ensure_secret(self.path)
        self.assertEqual(self.path.read_text(), "the other's\n")
        self.assertEqual(os.listdir(self.folder), ["secret"])

    def test_a_secret_that_is_there(self) -> None:
        """A secret that is there stays as it is."""
        self.path.write_text("chosen by hand\n")
        ensure_secret(self.path)
        self.assertEqual(self.path.read_text(), "chosen by hand\n")

    def test_reading(self) -> None:
        """A secret is what stands on the one line of its file, of whatever bytes."""
        cases = [
            (b"secret", b"secret"),
            (b"secret\n", b"secret"),
            (b"  secret \r\n\n", b"secret"),
            (b"two words\n", b"two words"),
            (b"\xff\x00\xfe\n", b"\xff\x00\xfe"),
        ]
        for content, expected in cases:
            self.path.write_bytes(content)
            self.assertEqual(read_secret(self.path), expected)

    def test_what_is_no_secret(self) -> None:
        """A file that is missing, empty or of several lines is a wrong setting, in one line."""
        cases: list[tuple[bytes | None, str]] = [
            (None, f"the secret file {self.path} cannot be read: No such file or directory"),
            (b"", f"the secret file {self.path} is empty"),
            (b" \n\n", f"the secret file {self.path} is empty"),
            (b"one\ntwo\n", f"the secret file {self.path} must hold one secret, on one line"),
        ]
        for content, expected in cases:
            if content is not None:
                self.path.write_bytes(content)
            with self.assertRaises(SettingsError) as raised:
                read_secret(self.path)
            self.assertEqual(str(raised.exception), expected)

    def test_what_is_no_key(self) -> None:
        """A prefix of Standard Webhooks without base64 behind it is a wrong setting, in one line."""
        for content, prefix in (
            (b"whsec_", "whsec_"),
            (b"whsec_\n", "whsec_"),
            (b"whsec_!!!!", "whsec_"),
            (b"whsec_A", "whsec_"),
            (b"whsec_====", "whsec_"),
            (b"whpk_", "whpk_"),
            (b"whpk_!!!!", "whpk_"),
        ):
            self.path.write_bytes(content)
            with self.assertRaises(SettingsError) as raised:
                read_secret(self.path)
            self.assertEqual(
                str(raised.exception),
                f"the secret file {self.path} must hold base64 behind {prefix}",
            )

    def test_keys_with_a_prefix(self) -> None:
        """A key with its prefix is read as it stands, with or without the padding of base64."""
        for content in (b"whsec_c2VjcmV0IQ==", b"whsec_c2VjcmV0IQ", b"whpk_c2VjcmV0"):
            self.path.write_bytes(content + b"\n")
            self.assertEqual(read_secret(self.path), content)

    def test_no_key_is_empty(self) -> None:
        """Whatever stands in a secret file, what it signs with is not the empty key."""
        for secret in (
            b"whsec_",
            b"whsec_=",
            b"whsec_==",
            b"whsec_====",
            b"whsec_!!!!",
            b"whsec_.",
        ):
            self.assertEqual(standard_webhooks_key(secret), secret)
        for secret in (b"whsec_c2VjcmV0IQ==", b"whsec_c2VjcmV0IQ"):
            self.assertEqual(standard_webhooks_key(secret), b"secret!")

    def test_errors_do_not_tell_secrets(self) -> None:
        """What is wrong with a secret file is said without its content."""
        self.path.write_bytes(b"hunter2\nhunter3\n")
        with self.assertRaises(SettingsError) as raised:
            read_secret(self.path)
        self.assertNotIn("hunter", str(raised.exception))

    def test_the_access_token(self) -> None:
        """The access token is made on the first start, and the same ever after."""
        token = access_token(self.folder)
        self.assertRegex(token, rb"^[0-9a-f]{64}$")
        self.assertEqual(access_token(self.folder), token)
        self.assertEqual(mode(self.folder / "access-token"), 0o600)


class Keys(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp()).absolute()
        self.state, self.beside, self.credentials = (
            root / name for name in ("state", "settings", "credentials")
        )
        for folder in (self.state, self.beside, self.credentials):
            folder.mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Where that secret file is, under systemd."""
        return secret_path(name, self.state, self.beside, str(self.credentials))

    def test_paths(self) -> None:
        """A secret file is absolute, or beside the settings file."""
        self.assertEqual(self.path("/etc/acme.secret"), Path("/etc/acme.secret"))
        self.assertEqual(self.path("acme.secret"), self.beside / "acme.secret")
        self.assertEqual(self.path("keys/acme.secret"), self.beside / "keys/acme.secret")

    def test_systemd(self) -> None:
        """A bare name that is among systemd's credentials is taken from there."""
        for folder in (self.beside, self.credentials):
            (folder / "acme.secret").write_text("x")
        self.assertEqual(self.path("acme.secret"), self.credentials / "acme.secret")
        (self.credentials / "keys").mkdir()
        (self.credentials / "keys" / "acme.secret").write_text("x")
        self.assertEqual(self.path("keys/acme.secret"), self.beside / "keys/acme.secret")
        alone = secret_path("acme.secret", self.state, self.beside, None)
        self.assertEqual(alone, self.beside / "acme.secret")

    def test_the_generated_secret(self) -> None:
        """The secret that the server makes lies in the state folder, wherever others lie."""
        (self.credentials / "webhook-secret").write_text("x")
        self.assertEqual(self.path("webhook-secret"), self.state / "webhook-secret")

    def test_keys(self) -> None:
        """Every secret comes with the trust that names it, in the order of the settings."""
        (self.beside / "old").write_text("old secret\n")
        (self.beside / "new").write_text("new secret\n")
        acme = Trust(("old", "new"), ("github.com/acme/*",))
        rest = Trust(("webhook-secret",), ("github.com/**",))
        keys = read_keys(Settings(trusts=(acme, rest)), self.state, self.beside, None)
        made = (self.state / "webhook-secret").read_bytes().strip()
        self.assertEqual(
            [(key.secret, key.trust) for key in keys],
            [(b"old secret", acme), (b"new secret", acme), (made, rest)],
        )
        self.assertNotIn("secret", repr(keys[0]).replace("secret_files", ""))

    def test_a_secret_that_is_missing(self) -> None:
        """A trust whose secret file is missing stops the start, with the path that was tried."""
        trust = Trust(("acme.secret",), ("github.com/acme/*",))
        with self.assertRaises(SettingsError) as raised:
            read_keys(Settings(trusts=(trust,)), self.state, self.beside, None)
        self.assertIn(str(self.beside / "acme.secret"), str(raised.exception))


class Receivers(SynchronousTestCase):
    """The files of those who are told how deploys go."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.secrets = statefiles.Secrets(self.folder, self.folder, None)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def test_what_they_hold(self) -> None:
        """A token, the URL of a chat and a secret are read from files beside the settings."""
        self.write("token", "t0ken\n")
        self.write("chat", "https://hooks.example.com/canary\n")
        self.write("secret", "s3cret\n")
        settings = make_settings(
            {
                "forge": [{"host": "github.com", "token_file": "token"}],
                "notify": [
                    {"form": "slack", "url_file": "chat"},
                    {"form": "json", "url": "https://a.example", "secret_file": "secret"},
                    {"form": "mail", "to": "a@example.com", "from": "b@example.com"},
                ],
            },
            {},
        )
        (account,) = self.secrets.accounts(settings)
        self.assertEqual(account.token, "t0ken")
        chat, program = self.secrets.doorbells(settings)
        self.assertEqual(chat.url, "https://hooks.example.com/canary")
        self.assertEqual((program.url, program.secret), ("https://a.example", b"s3cret"))

    def test_wrong_ones(self) -> None:
        """What cannot go into a header, or is no URL of https, stops the start and is not repeated."""
        for text, reason in (
            ("canary with spaces", "must hold printable ASCII without spaces"),
            ("http://hooks.example.com/canary", "must begin with https://"),
            ("canary", "must be an https URL"),
        ):
            self.write("chat", text)
            settings = make_settings({"notify": [{"form": "slack", "url_file": "chat"}]}, {})
            with self.assertRaises(SettingsError) as raised:
                self.secrets.doorbells(settings)
            self.assertIn(reason, str(raised.exception))
            self.assertNotIn("canary", str(raised.exception))
