"""Tests of the benchmarks' pure parts; what they measure decides no test."""

from __future__ import annotations

from unittest import TestCase
from xml.etree import ElementTree

from benchmarks.measure import Goal, Result, Series, number, ratio, table, turns
from benchmarks.plot import Line, plot


class MeasureTests(TestCase):
    def test_turns_alternate(self) -> None:
        """What is compared takes turns, and who begins changes with every round."""
        order: list[str] = []

        def measure(name: str, value: float, turn: int) -> float:
            order.append(name)
            return value + turn

        first, second = turns(
            3,
            lambda turn: measure("a", 1.0, turn),
            lambda turn: measure("b", 10.0, turn),
            before=lambda turn: order.append(f" {turn}"),
        )
        self.assertEqual("".join(order), " 0ab 1ba 2ab")
        self.assertEqual((first.values, second.values), ((1.0, 2.0, 3.0), (10.0, 11.0, 12.0)))

    def test_medians_and_ratio(self) -> None:
        """A series is told by its median and quartiles, which an outlier does not move."""
        series = Series((4.0, 1.0, 2.0, 3.0, 400.0))
        self.assertEqual((series.median, series.quartiles, series.worst), (3.0, (2.0, 4.0), 400.0))
        self.assertEqual(ratio(series, Series((6.0,))), 0.5)
        self.assertEqual(series.told("ms"), "3.00 ms (2.00 to 4.00)")

    def test_goals(self) -> None:
        """A goal is a bound from above, or from below."""
        self.assertTrue(Goal(0.85).met_by(0.85))
        self.assertFalse(Goal(0.85).met_by(0.86))
        self.assertTrue(Goal(4, at_least=True).met_by(4.1))
        self.assertFalse(Goal(4, at_least=True).met_by(3.9))
        self.assertEqual((str(Goal(100, "ms")), str(Goal(1.2, at_least=True))), ("≤ 100 ms", "≥ 1.20"))  # fmt: skip

    def test_numbers(self) -> None:
        """A number has the digits that say something."""
        self.assertEqual(
            [number(value) for value in (0.123, 1.0, 12.34, 1234.5)],
            ["0.12", "1.00", "12.3", "1,234"],
        )

    def test_table(self) -> None:
        """A row says whether its goal is met, and nothing where it has none."""
        met = Result("a", "1", "2", 0.5, Goal(1))
        missed = Result("b", "3", "2", 1.5, Goal(1))
        without = Result("c", "3", "2", 1.5)
        self.assertEqual(
            table([("x", "y"), met.cells[-2:], missed.cells[-2:], without.cells[-2:]]),
            "| x | y |\n| --- | --- |\n| ≤ 1.00 | met |\n| ≤ 1.00 | **missed** |\n|  |  |\n",
        )


class PlotTests(TestCase):
    def test_a_line_for_each(self) -> None:
        """A plot is SVG with every line and its name."""
        lines = [Line("a <page>", (1.0, 2.0, 30.0)), Line("queue", (5.0, 5.0, 5.0))]
        root = ElementTree.fromstring(plot((10, 100, 1000), lines, "size", "ms"))  # noqa: S314 - ours
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual(len(root.findall(f"{space}polyline")), 2)
        texts = [text.text for text in root.findall(f"{space}text")]
        self.assertLess({"a <page>", "queue", "size", "ms", "1,000"}, set(texts))
