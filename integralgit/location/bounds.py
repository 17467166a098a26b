"""Whether a location lies where it may, once symbolic links are followed.

The patterns of a trust are compared with the text of a location first; but a
checkout may hold a link, and a location behind that is somewhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import PurePath

from integralgit.hostconfig.resolve import Deployment
from integralgit.location.plan import Refused
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


def check_apart(location: str, state: str) -> None:
    """Raise `Refused` where a location lies among git's own files, or among ours.

    Whatever a config or a link in a checkout says: a push would change there
    what git, or the server, believes.
    """
    place = PurePath(os.path.realpath(location))
    if ".git" in place.parts:
        raise Refused(f"the location {location} lies in a git folder; choose another location")
    if place.is_relative_to(os.path.realpath(state)):
        raise Refused(
            f"the location {location} lies in the server's state folder; choose another location"
        )


def _real(pattern: str) -> str:
    """The pattern with the links in its fixed beginning followed."""
    wild = re.search(r"[*?]", pattern)
    fixed = max(0, pattern.rfind("/", 0, wild.start())) if wild else len(pattern)
    return os.path.realpath(pattern[:fixed] or "/").rstrip("/") + pattern[fixed:]
