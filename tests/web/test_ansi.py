"""Log lines as HTML: what a terminal would show, and nothing that acts."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.web.ansi import COLUMNS, PLAIN, Style, render, restyle, style_after, visible

_TAG = re.compile(r'<span class="[a-z0-9 ]+">|</span>|<i class="cut">|</i>')


class RenderTests(SynchronousTestCase):
    def shows(self, line: str | bytes, expected: str) -> None:
        data = line if isinstance(line, bytes) else line.encode()
        self.assertEqual(render(data), expected)

    def test_plain_text(self) -> None:
        """Text is escaped, and otherwise as it is."""
        self.shows("a <b> & 'c'\td", "a &lt;b&gt; &amp; 'c'\td")

    def test_colours(self) -> None:
        """Colours and styles become classes, one element a run."""
        self.shows("\x1b[31mred\x1b[0m plain", '<span class="f1">red</span> plain')
        self.shows(
            "\x1b[1;4;92mx\x1b[22mx\x1b[m",
            '<span class="f10 b u">x</span><span class="f10 u">x</span>',
        )
        self.shows(
            "\x1b[41;30mx\x1b[49m.\x1b[39m.",
            '<span class="f0 k1">x</span><span class="f0">.</span>.',
        )
        self.shows("\x1b[31;7mx", '<span class="k1">x</span>')
        self.shows("\x1b[7mx\x1b[27my", '<span class="inv">x</span>y')
        self.shows("\x1b[3;2mx\x1b[23my", '<span class="d i">x</span><span class="d">y</span>')

    def test_many_colours(self) -> None:
        """256 colours and true colours become the nearest of sixteen."""
        self.shows("\x1b[38;5;9mx", '<span class="f9">x</span>')
        self.shows("\x1b[38;5;196mx", '<span class="f9">x</span>')
        self.shows("\x1b[48;5;240mx", '<span class="k8">x</span>')
        self.shows("\x1b[38;2;0;120;0mx", '<span class="f2">x</span>')
        self.shows("\x1b[38:2:255:255:255mx", '<span class="f15">x</span>')
        self.shows("\x1b[38;5mx\x1b[38;2;1mx\x1b[38;9mx", "xxx")

    def test_progress(self) -> None:
        """A carriage return lets the line be written over, as in a terminal."""
        self.shows("10 %\r100 %", "100 %")
        self.shows("abcdef\rXY", "XYcdef")
        self.shows("long text\r\x1b[Kshort", "short")
        self.shows("abc\x1b[2K\rd", "d")
        self.shows("abc\r\x1b[1Kx", "xbc")
        self.shows("abc\x08X", "abX")
        self.shows("windows\r", "windows")
        self.shows("a\x1b[10Gb", "a" + 8 * " " + "b")

    def test_what_would_act(self) -> None:
        """Titles, links, cursor moves and unknown sequences are dropped (threat 77)."""
        self.shows("\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\", "click")
        self.shows("\x1b]0;title\x07text", "text")
        self.shows("a\x1b[2Jb\x1b[5Ac\x1b[?25ld\x1b(Be\x1b7f", "abcdef")
        self.shows("\x1b]0;never ended", "")
        self.shows("cut off \x1b[38;5", "cut off ")
        self.shows("\x1bP1$r\x1b\\x", "x")

    def test_odd_characters(self) -> None:
        """Bad UTF-8, control characters and those that reorder text are shown for what they are."""
        self.shows(b"bad \xff\xfe", "bad ��")
        self.shows("nul \x00 del \x7f", "nul \u2400 del �")
        self.shows("gnp\u202ejpg", "gnp⟨U+202E⟩jpg")
        self.assertEqual(visible("a\u2066b\u200bc"), "a⟨U+2066⟩b⟨U+200B⟩c")

    def test_a_long_line(self) -> None:
        """A line is cut, and says by how much."""
        shown = render(b"x" * (COLUMNS + 5))
        self.assertTrue(shown.endswith('x<i class="cut">… 5 more characters</i>'))
        self.assertLess(len(shown), COLUMNS + 100)

    def test_a_line_that_plays(self) -> None:
        """A line that moves its cursor without end is cut before it costs much (threat 77)."""
        for line in (b"\x1b[4000Gx" + b"\x1b[1K" * 4000, b"x\x1b[3999G" * 1600, b"ab\r" * 5000):
            shown = render(line)
            self.assertLess(len(shown), 3 * COLUMNS)
        self.assertEqual(restyle(PLAIN, "1;" * 5000), PLAIN)

    def test_a_style_goes_on(self) -> None:
        """A colour that one line begins goes on in the next."""
        style = style_after(PLAIN, b"\x1b[1;32mgreen\n")
        self.assertEqual(style, Style(colour=2, bold=True))
        self.assertEqual(render(b"more", style), '<span class="f2 b">more</span>')
        self.assertEqual(style_after(style, b"x\x1b[0m"), PLAIN)

    @given(
        st.binary(max_size=200) | st.text("\x1b[]0;9mK<>&\r\x08a\\", max_size=60).map(str.encode)
    )
    def test_anything(self, line: bytes) -> None:
        """No bytes make anything but our own elements."""
        for style in (PLAIN, Style(3, 4)):
            rest = _TAG.sub("", render(line, style))
            self.assertNotIn("<", rest)
            self.assertNotIn("\x1b", rest)

    @given(st.text("0123456789;:", max_size=40))
    def test_any_parameters(self, parameters: str) -> None:
        """No parameters fail, and none leave the sixteen colours."""
        style = restyle(Style(1, 2, True), parameters)
        for colour in (style.colour, style.back):
            self.assertIn(colour, [None, *range(16)])
