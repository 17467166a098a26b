"""Durations and sizes, as people write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.quantities import seconds, size


class SecondsTests(SynchronousTestCase):
    def test_a_number_is_seconds(self) -> None:
        """A plain number, or text of one, means seconds."""
        self.assertEqual(seconds(900), 900)
        self.assertEqual(seconds(1.5), 1.5)
        self.assertEqual(seconds("90"), 90)

    def test_units(self) -> None:
        """Seconds, minutes, hours and days may be written with their unit."""
        told = {"45s": 45, "15m": 900, "15min": 900, "2h": 7200, "1d": 86400, "0.5h": 1800}
        self.assertEqual({text: seconds(text) for text in told}, told)

    def test_spaces_and_case_do_not_matter(self) -> None:
        """`15 M` is fifteen minutes, as `15m` is."""
        self.assertEqual(seconds(" 15 M "), 900)

    def test_not_a_quantity(self) -> None:
        """What is neither a number nor text of one is refused with an example of a right one."""
        no_texts: list[object] = [None, True, [], {}]
        for value in [*no_texts, "", "m", "fifteen", "1e3", "-5", "+5", "1h30m", "١٥"]:
            with self.assertRaisesRegex(ValueError, r'must be a number or text such as "15m"'):
                seconds(value)

    def test_unknown_unit(self) -> None:
        """A unit that is not known is named, and the known ones are listed."""
        for text, unit in (("15MB", "mb"), ("3weeks", "weeks")):
            with self.assertRaisesRegex(ValueError, f"unknown unit '{unit}'.*s, m, min, h, d"):
                seconds(text)

    def test_out_of_range(self) -> None:
        """Negative numbers, infinity, not-a-number and absurdly large ones are refused."""
        for value in (-1, -0.5, float("inf"), float("nan"), 1e15, "9" * 400):
            with self.assertRaisesRegex(ValueError, "out of range"):
                seconds(value)

    def test_a_whole_number_beyond_all_floats(self) -> None:
        """A whole number that no float can hold is out of range, and no other error."""
        for read in (seconds, size):
            for value in (10**400, -(10**400)):
                with self.assertRaisesRegex(ValueError, "out of range"):
                    read(value)


class SizeTests(SynchronousTestCase):
    def test_a_number_is_bytes(self) -> None:
        """A plain number means bytes."""
        self.assertEqual(size(1234), 1234)
        self.assertEqual(size("1234"), 1234)

    def test_units(self) -> None:
        """Decimal and binary units are told apart, without regard to case."""
        told = {
            "25MB": 25_000_000,
            "256 kb": 256_000,
            "1GB": 10**9,
            "7b": 7,
            "1KiB": 1024,
            "1MiB": 1024**2,
            "1.5GiB": 3 * 512 * 1024**2,
        }
        self.assertEqual({text: size(text) for text in told}, told)

    def test_a_size_is_whole(self) -> None:
        """A part of a byte is cut off."""
        number = size("1.9")
        self.assertEqual((number, type(number)), (1, int))

    def test_a_duration_is_no_size(self) -> None:
        """The units of time are unknown here, and the example is one of a size."""
        with self.assertRaisesRegex(ValueError, "unknown unit 'm'"):
            size("15m")
        with self.assertRaisesRegex(ValueError, '"25MB"'):
            size("much")
