"""The state folder and the secrets in files: made private, read once, at the start."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from integralgit.hooks.receive import Key
from integralgit.hooks.signatures import PUBLIC_KEY
from integralgit.receivers import Notify, require_https
from integralgit.settings import ACCESS_TOKEN, WEBHOOK_SECRET, Settings, SettingsError
from integralgit.values import address

if TYPE_CHECKING:
    from integralgit.report.forges import Account
    from integralgit.report.notify import Doorbell


def make_private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter, or make sure that one is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"the folder {path} cannot be used: {error.strerror}") from None
    return path


def ensure_secret(path: Path) -> None:
    """Make a file with 256 random bits, mode 0600, unless it is there.

    It gets its name when it is whole and on the disk: whoever has entered the
    secret at a git host must find it again, whatever ends this start.
    """
    if path.exists():
        return
    descriptor, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        _name(made, path)
    finally:
        Path(made).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name(made: str, path: Path) -> None:
    """Give a file its name, unless another one has it."""
    try:
        os.link(made, path)
    except FileExistsError:
        pass
    except OSError:
        # A file system without links.
        os.rename(made, path)


def read_secret(path: Path) -> bytes:
    """The one secret that a file holds; raises `SettingsError` where that is not so."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"the secret file {path} cannot be read: {error.strerror}") from None
    if not secret:
        raise SettingsError(f"the secret file {path} is empty")
    if b"\n" in secret:
        raise SettingsError(f"the secret file {path} must hold one secret, on one line")
    for prefix in (b"whsec_", PUBLIC_KEY):
        if secret.startswith(prefix) and not is_base64(secret.removeprefix(prefix)):
            raise SettingsError(f"the secret file {path} must hold base64 behind {prefix.decode()}")
    return secret


def is_base64(text: bytes) -> bool:
    """Whether the text is base64 of something, with or without its padding."""
    try:
        return bool(base64.b64decode(text + b"=" * (-len(text) % 4), validate=True))
    except binascii.Error:
        return False


def secret_path(name: str, state: Path, beside: Path, credentials: str | None) -> Path:
    """Where a secret file is: `beside` the settings file, or a bare name among systemd's credentials.

    The generated secret lies in the state folder. See systemd.exec(5), `LoadCredential=`.
    """
    if name == WEBHOOK_SECRET:
        return state / name
    if "/" not in name and credentials and (Path(credentials) / name).exists():
        return Path(credentials) / name
    return beside / name


def secret_files(
    settings: Settings, state: Path, beside: Path, credentials: str | None
) -> list[Path]:
    """The files of all secrets that count, each once, in the order of the settings."""
    names = dict.fromkeys(name for trust in settings.trusts for name in trust.secret_files)
    return [secret_path(name, state, beside, credentials) for name in names]


def read_keys(settings: Settings, state: Path, beside: Path, credentials: str | None) -> list[Key]:
    """Every secret with its trust, after making the generated one; raises `SettingsError`."""
    ensure_secret(state / WEBHOOK_SECRET)
    return [
        Key(read_secret(secret_path(name, state, beside, credentials)), trust)
        for trust in settings.trusts
        for name in trust.secret_files
    ]


@frozen
class Secrets:
    """Where secret files are looked for: see `secret_path`."""

    state: Path
    beside: Path
    credentials: str | None

    def text(self, name: str) -> str:
        """The secret in a file of that name, which is to go into a header or to be a URL."""
        path = secret_path(name, self.state, self.beside, self.credentials)
        secret = read_secret(path)
        if not all(32 < byte < 127 for byte in secret):
            raise SettingsError(f"the secret file {path} must hold printable ASCII without spaces")
        return secret.decode()

    def accounts(self, settings: Settings) -> tuple[Account, ...]:
        """Every `[[forge]]` with its token."""
        if not settings.forges:
            return ()
        from integralgit.report.forges import Account

        return tuple(Account(forge, self.text(forge.token_file)) for forge in settings.forges)

    def doorbells(self, settings: Settings) -> tuple[Doorbell, ...]:
        """Every `[[notify]]` of the web with its URL and its secret."""
        if not settings.notifies:
            return ()
        from integralgit.report.notify import Doorbell

        bells = []
        for notify in settings.notifies:
            if notify.form == "mail":
                continue
            secret = self.text(notify.secret_file).encode() if notify.secret_file else b""
            bells.append(Doorbell(notify, self._url(notify), secret))
        return tuple(bells)

    def _url(self, notify: Notify) -> str:
        if notify.url is not None:
            return notify.url
        assert notify.url_file is not None
        url = self.text(notify.url_file)
        try:
            require_https(address(url), notify.allow_http)
        except ValueError as error:
            raise SettingsError(f"the URL in the file {notify.url_file} {error}") from None
        return url


def access_token(state: Path) -> bytes:
    """The access token, made on the first start."""
    ensure_secret(state / ACCESS_TOKEN)
    return read_secret(state / ACCESS_TOKEN)
