"""Proofs that a sender knows a secret: HMAC, Standard Webhooks, basic authentication.

Every comparison is of bytes and in constant time, and nothing here ever
returns or raises what the right signature would have been.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from integralgit.hooks.delivery import Incoming

#: How a file says that it holds a public key and no secret (Standard Webhooks 1.0.0).
PUBLIC_KEY = b"whpk_"

#: How far a signed timestamp may be from now, in seconds (Standard Webhooks 1.0.0, "Verifying").
TOLERANCE = 300


def same(given: str, wanted: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def same_bytes(given: str, secret: bytes) -> bool:
    """Whether a header's value is the secret itself; header values are bytes read as Latin-1."""
    return hmac.compare_digest(given.encode("latin-1", "replace"), secret)


def hub_sha256(given: str, body: bytes, secret: bytes) -> bool:
    """`sha256=<hex>` over the body, as GitHub and Bitbucket send it.

    <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
    """
    return same(given, "sha256=" + hmac.digest(secret, body, hashlib.sha256).hex())


def hub_sha1(given: str, body: bytes, secret: bytes) -> bool:
    """`sha1=<hex>` over the body, GitHub's older signature; only where a trust allows it."""
    return same(given, "sha1=" + hmac.digest(secret, body, hashlib.sha1).hex())


def plain_sha256(given: str, body: bytes, secret: bytes) -> bool:
    """Hex without a prefix, as Gitea, Forgejo and Gogs send it."""
    return same(given, hmac.digest(secret, body, hashlib.sha256).hex())


def ed25519(given: str, signed: bytes, public_key: bytes) -> bool:
    """A signature by Ed25519 (RFC 8032) in base64; the key is `whpk_<base64 of 32 bytes>`."""
    try:
        encoded = public_key.removeprefix(PUBLIC_KEY)
        key = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
        signature = base64.b64decode(given, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (ValueError, InvalidSignature):
        return False
    return True


def basic_password(incoming: Incoming, secret: bytes) -> bool:
    """Whether the password of basic authentication (RFC 7617) is the secret."""
    scheme, _, encoded = incoming.header("authorization").partition(" ")
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    _, colon, password = credentials.partition(b":")
    return scheme.lower() == "basic" and bool(colon) and hmac.compare_digest(password, secret)


def standard_webhooks_key(secret: bytes) -> bytes:
    """The key that a secret file holds: `whsec_<base64>` means those bytes, else the text itself."""
    encoded = secret.removeprefix(b"whsec_")
    if encoded == secret:
        return secret
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True) or secret
    except binascii.Error:
        return secret


def standard_webhooks(incoming: Incoming, secret: bytes) -> bool:
    """Standard Webhooks 1.0.0: `v1,<base64>` over `id.timestamp.body`, several allowed.

    The timestamp must be plain digits and within five minutes of the arrival.
    """
    sent_id, sent_at = incoming.header("webhook-id"), incoming.header("webhook-timestamp")
    if not sent_id or not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) < 13):
        return False
    if abs(incoming.at - int(sent_at)) > TOLERANCE:
        return False
    signed = f"{sent_id}.{sent_at}.".encode() + incoming.body
    digest = hmac.digest(standard_webhooks_key(secret), signed, hashlib.sha256)
    wanted = "v1," + base64.b64encode(digest).decode()
    given = incoming.header("webhook-signature").split(" ")
    matching = [one for one in given if same(one, wanted)]
    return bool(matching) and len(given) <= 10
