"""Break deliveries of every git host at random, and see that the door stands.

    python -m tests.hooks.fuzz 100000

tries that many, other ones each time, from the checkout's folder; it needs
nothing but Hypothesis. When one makes the door do anything but let it in or
refuse it (`tests.hooks.strategies.sound` says what must hold), that one is
printed, made as small as possible, and the exit status is 1.
"""

from __future__ import annotations

import sys
import traceback

from hypothesis import HealthCheck, Phase, given, settings

from integralgit.hooks.delivery import Incoming
from tests.hooks.strategies import broken_deliveries, sound


def failure(examples: int) -> str:
    """The smallest delivery found that breaks the door, with what it does; empty if there is none."""
    last: list[Incoming] = []

    @settings(
        max_examples=examples,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(broken_deliveries())
    def try_one(incoming: Incoming) -> None:
        last[:] = [incoming]
        sound(incoming)

    try:
        try_one()
    except Exception:
        headers = "".join(f"  {n}: {v!r}\n" for n, v in sorted(last[0].headers.items()))
        return f"{traceback.format_exc()}\nheaders:\n{headers}body:\n  {last[0].body!r}"
    return ""


def main(arguments: list[str]) -> None:
    """Try as many as the one argument says."""
    if len(arguments) != 1 or not arguments[0].isdecimal() or int(arguments[0]) == 0:
        sys.exit("usage: python -m tests.hooks.fuzz <number of deliveries to try>")
    if found := failure(int(arguments[0])):
        sys.exit(found)
    sys.stdout.write(f"{arguments[0]} broken deliveries, and the door stands\n")


if __name__ == "__main__":
    main(sys.argv[1:])
