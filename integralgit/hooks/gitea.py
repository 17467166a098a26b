"""Gitea, Forgejo and Gogs: GitHub's JSON under names of their own.

Each signs the JSON, also where it sends it as a form, so the proof is over
the decoded field. A Forgejo delivery carries the headers of all of them and
GitHub's too; a hook without a secret sends its signature headers empty.
<https://docs.gitea.com/usage/webhooks>, <https://gogs.io/docs/features/webhook>
"""

from __future__ import annotations

from integralgit.hooks.body import payload
from integralgit.hooks.delivery import Delivery, Incoming, Provider, Rejected, delivery_id
from integralgit.hooks.github import read_event
from integralgit.hooks.signatures import plain_sha256


def _provider(name: str) -> Provider:
    """The provider whose headers begin with `X-<name>-`."""
    event_header, signature, identity = (
        f"x-{name}-{what}" for what in ("event", "signature", "delivery")
    )

    def claims(incoming: Incoming) -> bool:
        return incoming.has(event_header)

    def proves(incoming: Incoming, secret: bytes) -> bool:
        try:
            document = payload(incoming)
        except Rejected:
            return False
        return plain_sha256(incoming.header(signature), document, secret)

    def parse(incoming: Incoming) -> Delivery:
        sent_id = delivery_id(incoming, identity)
        return read_event(name, incoming.header(event_header), sent_id, payload(incoming))

    return Provider(name, claims, proves, parse)


FORGEJO, GITEA, GOGS = map(_provider, ("forgejo", "gitea", "gogs"))
