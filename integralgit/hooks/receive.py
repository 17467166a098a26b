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
from msgspec.structs import replace

from integralgit.hooks.azure import AZURE
from integralgit.hooks.bitbucket import BITBUCKET, BITBUCKET_POST
from integralgit.hooks.bitbucket_server import BITBUCKET_SERVER
from integralgit.hooks.body import FORM, JSON, content_type
from integralgit.hooks.delivery import Delivery, Incoming, Provider, Rejected
from integralgit.hooks.generic import GENERIC
from integralgit.hooks.gitea import FORGEJO, GITEA, GOGS
from integralgit.hooks.github import GITHUB
from integralgit.hooks.gitlab import GITLAB
from integralgit.hooks.signatures import PUBLIC_KEY
from integralgit.hooks.sourcehut import SOURCEHUT
from integralgit.names import parse_repository
from integralgit.settings import Trust

#: Most particular first: a Forgejo delivery carries the headers of the next three, too.
PROVIDERS: tuple[Provider, ...] = (
    FORGEJO,
    GITEA,
    GOGS,
    GITLAB,
    BITBUCKET_SERVER,
    BITBUCKET,
    SOURCEHUT,
    GITHUB,
    BITBUCKET_POST,
    AZURE,
    GENERIC,
)


@frozen
class Key:
    """A secret and the trust that it was read for."""

    secret: bytes = field(repr=False)
    trust: Trust

    def proves(self, provider: Provider, incoming: Incoming) -> bool:
        """Whether this secret made the delivery's signature, in a way that its trust allows.

        A public key is no secret: it proves nothing but a signature by its
        private half.
        """
        if not self.secret or self.secret.startswith(PUBLIC_KEY) != provider.by_public_key:
            return False
        return provider.proves(incoming, self.secret) or (
            self.trust.allow_sha1 and provider.proves_by_sha1(incoming, self.secret)
        )


def unauthorized(cause: str) -> Rejected:
    """The same answer for every cause; the cause is for the administrator."""
    return Rejected(401, "The signature is missing or wrong, or not valid for this.", cause)


def named_by_trust(delivery: Delivery, keys: Iterable[Key]) -> Delivery:
    """A delivery that does not name its repository, for the one that the keys' trusts name.

    Without one, its pushes mean nothing here.
    """
    named = {pattern for key in keys for pattern in key.trust.repos}
    try:
        (only,) = named
        return replace(delivery, repo=parse_repository(only))
    except ValueError:
        note = "the delivery names no repository, and the trust names more or less than one"
        return replace(delivery, pushes=(), note=note)


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
    proven = [key for key in keys if key.proves(provider, incoming)]
    if not proven:
        raise unauthorized(f"no secret proves this delivery as one of {provider.name}")
    delivery = provider.parse(incoming)
    if delivery.repo is None and delivery.pushes:
        delivery = named_by_trust(delivery, proven)
    repo = delivery.repo
    if repo is not None and not any(key.trust.covers(repo) for key in proven):
        raise unauthorized(f"the secret may not speak for {repo}")
    return delivery
