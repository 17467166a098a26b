"""Durations and sizes as people write them, `"15m"`, `"25MB"` or a plain number; and times as programs do.

Pure; used by the settings, the config of a repository, and whoever tells a time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_BYTES |= {"kib": 1024, "mib": 1024**2, "gib": 1024**3}


def _quantity(value: object, units: dict[str, int], example: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number, unit = float(value), ""
        except OverflowError:
            raise ValueError("is out of range") from None
    elif isinstance(value, str) and (found := _QUANTITY.fullmatch(value)):
        number, unit = float(found[1]), found[2].lower()
    else:
        raise ValueError(f"must be a number or text such as {example}, not {repr(value)[:80]}")
    if unit not in units:
        raise ValueError(
            f"has the unknown unit {unit!r}; known are {', '.join(filter(None, units))}"
        )
    result = number * units[unit]
    if not 0 <= result < 1e15:
        raise ValueError(f"is out of range (0 to 1e15): {repr(value)[:80]}")
    return result


def seconds(value: object) -> float:
    """Seconds from a number or text such as `"15m"`; raises `ValueError` with the reason."""
    return _quantity(value, _SECONDS, '"15m"')


def size(value: object) -> int:
    """Bytes from a number or text such as `"25MB"`; raises `ValueError` with the reason."""
    return int(_quantity(value, _BYTES, '"25MB"'))


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, with milliseconds."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
