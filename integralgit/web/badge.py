"""A repository's state as a small picture.  Pure."""

from __future__ import annotations

from html import escape

from integralgit.journal.events import State

_COLOURS = {
    State.SUCCEEDED: "#146c43",
    State.RUNNING: "#875000",
    State.FAILED: "#b3202a",
    State.TIMED_OUT: "#b3202a",
    State.INTERRUPTED: "#b3202a",
}
#: The states that say something of what is deployed.
TELLING = tuple(_COLOURS)
_LABEL = "deploy"
#: About the width of a character of 11 pixels, in pixels.
_WIDE = 6.6


def badge(state: State | None) -> str:
    """The badge of a telling state as SVG; None where there was none yet."""
    text = "none yet" if state is None else state.value.replace("_", " ")
    colour = _COLOURS[state] if state else "#5a5f68"
    left, right = (round(len(part) * _WIDE + 14) for part in (_LABEL, text))
    width = left + right
    title = escape(f"{_LABEL}: {text}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img"'
        f' aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{width}" height="20" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#1b1e22"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
        f' text-anchor="middle"><text x="{left / 2}" y="14">{_LABEL}</text>'
        f'<text x="{left + right / 2}" y="14">{escape(text)}</text></g></svg>\n'
    )
