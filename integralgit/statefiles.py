"""The state folder and the secrets in files: made private, read once, at the start."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from integralgit.hooks.receive import Key
from integralgit.hooks.signatures import PUBLIC_KEY
from integralgit.settings import ACCESS_TOKEN, WEBHOOK_SECRET, Settings, SettingsError


def make_private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter, or make sure that one is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"the folder {path} cannot be used: {error.strerror}") from None
    return path


def ensure_secret(path: Path) -> None:
    """Make a file with 256 random bits, mode 0600, unless it is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")


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


def access_token(state: Path) -> bytes:
    """The access token, made on the first start."""
    ensure_secret(state / ACCESS_TOKEN)
    return read_secret(state / ACCESS_TOKEN)
