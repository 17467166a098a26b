"""Whether a location lies where the settings allow it once symbolic links are followed.

The patterns of a trust are compared with the text of a location first; but a
checkout may hold a link, and a location behind that is somewhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from integralgit.deploy.plan import Refused
from integralgit.hostconfig.resolve import Deployment
from integralgit.names import matches
from integralgit.settings import Trust


def check_place(deployment: Deployment, trusts: Sequence[Trust]) -> None:
    """Raise `Refused` where links lead a location out of what the trusts allow.

    Links in the fixed beginning of a pattern are the administrator's: where
    `/var/www` is a link, `/var/www/*` is what lies there really.
    """
    one, place = deployment, os.path.realpath(deployment.location)
    patterns = [
        pattern
        for trust in trusts
        if trust.violation(one.location, one.branch, one.script, one.env) is None
        for pattern in trust.locations
    ]
    if not any(matches(pattern, place) or matches(_real(pattern), place) for pattern in patterns):
        raise Refused(
            f"the server's settings do not allow it: {one.location} is really {place},"
            f" which is not in locations = {', '.join(patterns)}"
        )


def _real(pattern: str) -> str:
    """The pattern with the links in its fixed beginning followed."""
    wild = re.search(r"[*?]", pattern)
    fixed = max(0, pattern.rfind("/", 0, wild.start())) if wild else len(pattern)
    return os.path.realpath(pattern[:fixed] or "/").rstrip("/") + pattern[fixed:]
