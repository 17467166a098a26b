"""A plot of lines with both axes logarithmic, as SVG.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from attrs import frozen

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 190, 20, 50
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")


@frozen
class Line:
    """A named line; its values belong to the plot's places on the first axis."""

    name: str
    values: tuple[float, ...]


def plot(places: Sequence[float], lines: Sequence[Line], across: str, up: str) -> str:
    """The whole picture; `across` and `up` say what the axes are."""
    every = [value for line in lines for value in line.values]
    low, high = floor(log10(min(every))), ceil(log10(max(every)))
    first, last = log10(places[0]), log10(places[-1])

    def x(place: float) -> float:
        return LEFT + (log10(place) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(at: str, said: str, more: str = "") -> None:
        parts.append(f"<text {at} {more}>{escape(said)}</text>")

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    middle, end = 'text-anchor="middle"', 'text-anchor="end"'
    for power in range(low, high + 1):
        height = y(10.0**power)
        parts.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        text(f'x="{LEFT - 6}" y="{height + 4:.1f}"', f"{10.0**power:,g}", end)
    for place in places:
        text(f'x="{x(place):.1f}" y="{HEIGHT - 30}"', f"{place:,g}", middle)
    text(f'x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}"', across, middle)
    text(f'transform="translate(14 {HEIGHT / 2}) rotate(-90)"', up, middle)
    # Names stand at the ends of their lines, moved apart where they would overlap.
    below = float(TOP)
    for number, line in sorted(enumerate(lines), key=lambda one: -one[1].values[-1]):
        colour = COLOURS[number % len(COLOURS)]
        way = " ".join(f"{x(p):.1f},{y(v):.1f}" for p, v in zip(places, line.values, strict=True))
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        below = max(below + 16, y(line.values[-1]) + 4)
        text(f'x="{WIDTH - RIGHT + 8}" y="{below:.1f}"', line.name, f'fill="{colour}"')
    return "\n".join([*parts, "</svg>", ""])
