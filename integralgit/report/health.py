"""How a deploy asks whether it is healthy."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from integralgit.deploy.health import Probe, Probed
from integralgit.report.answers import Answer, Hopeless, Told


def prober(http: Any) -> Probe:
    """Asking by HTTP; plain http is fine, for what is asked is often on this very host."""

    async def probe(url: str, seconds: float) -> Probed:
        plain, headers = without_password(url)
        told: Told = await http.ask("GET", plain, headers, allow_http=True, timeout=seconds)
        if isinstance(told, Answer):
            return Probed(told.is_good, f"the answer was {told.status}")
        assert not isinstance(told, Hopeless)
        return Probed(False, told.reason)

    return probe


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its user and password, and those as a header (RFC 7617)."""
    parts = urlsplit(url)
    user, is_named, host = parts.netloc.rpartition("@")
    if not is_named:
        return url, {}
    told = b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {told}"}
