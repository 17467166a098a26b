"""Rounds that take turns, and what is told of them.  Pure, but for the clock of `turns`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median, quantiles

from attrs import field, frozen


@frozen
class Series:
    """Measured values, in the order in which they came."""

    values: tuple[float, ...] = field()

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    @property
    def worst(self) -> float:
        """The largest one."""
        return max(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which half of them lies."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return low, high

    def told(self, unit: str) -> str:
        """The median and the quartiles, for people."""
        low, high = self.quartiles
        return f"{number(self.median)} {unit} ({number(low)} to {number(high)})"


def turns(
    rounds: int,
    *measures: Callable[[int], float],
    before: Callable[[int], object] = lambda turn: None,
) -> tuple[Series, ...]:
    """Take the measures in turn, each round beginning with the next one; a series of each.

    `before` makes, before each round, what none of them is to pay for.
    """
    taken: list[list[float]] = [[] for _ in measures]
    for turn in range(rounds):
        before(turn)
        for place in range(len(measures)):
            which = (turn + place) % len(measures)
            taken[which].append(measures[which](turn))
    return tuple(Series(tuple(values)) for values in taken)


@frozen
class Goal:
    """A bound for a figure, from above or from below."""

    bound: float
    unit: str = ""
    at_least: bool = False

    def met_by(self, figure: float) -> bool:
        """Whether the figure keeps to it."""
        return figure >= self.bound if self.at_least else figure <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {number(self.bound)} {self.unit}".rstrip()


@frozen
class Result:
    """A row of the table: what was measured against what, the figure, and its goal if it has one."""

    what: str
    ours: str
    theirs: str
    figure: float
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met, in a word."""
        if self.goal is None:
            return ""
        return "met" if self.goal.met_by(self.figure) else "**missed**"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its row."""
        unit = self.goal.unit if self.goal else ""
        figure = f"{number(self.figure)} {unit}".rstrip()
        goal = "" if self.goal is None else str(self.goal)
        return self.what, self.ours, self.theirs, f"**{figure}**", goal, self.verdict


HEAD = ("what", "ours", "against", "figure", "goal", "")


def number(value: float) -> str:
    """A number with as many digits as say something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def ratio(ours: Series, theirs: Series) -> float:
    """How the medians compare."""
    return ours.median / theirs.median


def table(rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
