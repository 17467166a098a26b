"""The one way in: which provider, whose secret, what it says.

Which provider it is follows from the headers, most particular first, for a
host that imitates another also sends the other's headers. Only that
provider's signature counts. A delivery is let in when one of the secrets
proves it and a trust of that secret covers its repository; for every other
case the sender gets the same 401.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from integralgit.hooks.bitbucket import BITBUCKET, BITBUCKET_POST
from integralgit.hooks.body import FORM, JSON, content_type
from integralgit.hooks.delivery import Delivery, Incoming, Provider, Rejected
from integralgit.hooks.generic import GENERIC
from integralgit.hooks.github import GITHUB
from integralgit.settings import Trust

PROVIDERS: tuple[Provider, ...] = (BITBUCKET, GITHUB, BITBUCKET_POST, GENERIC)


@frozen
class Key:
    """A secret and the trust that it was read for."""

    secret: bytes = field(repr=False)
    trust: Trust


def unauthorized(cause: str) -> Rejected:
    """The same answer for every cause; the cause is for the administrator."""
    return Rejected(401, "The signature is missing or wrong, or not valid for this.", cause)


def receive(incoming: Incoming, keys: Iterable[Key]) -> Delivery:
    """The delivery that the request carries.

    Raises `Rejected`: 415 for a body that is neither JSON nor a form, 401
    where no key proves the delivery or covers its repository, 400 where an
    authentic one cannot be read.
    """
    if content_type(incoming) not in (JSON, FORM):
        raise Rejected(415, f"The body must be {JSON} or {FORM}.")
    if incoming.has("content-encoding"):
        raise Rejected(415, "The body must not be compressed.")
    provider = next(provider for provider in PROVIDERS if provider.claims(incoming))
    proven = [key for key in keys if provider.proves(incoming, key.secret)]
    if not proven:
        raise unauthorized(f"no secret proves this delivery as one of {provider.name}")
    delivery = provider.parse(incoming)
    repo = delivery.repo
    if repo is not None and not any(key.trust.covers(repo) for key in proven):
        raise unauthorized(f"the secret may not speak for {repo}")
    return delivery
