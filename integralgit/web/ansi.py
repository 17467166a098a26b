"""One line of a log as safe HTML: colours, rewritten progress lines, and nothing that acts.  Pure.

Of the terminal's language only what a log is read for is understood: colours
and styles (SGR of ECMA-48), carriage return, backspace, and erasing within the
line. Every other control sequence is dropped, whatever it asks a terminal to
do, and characters that would hide or reorder text are named instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

#: A control sequence, or an operating system command and its like, complete or cut off at the end.
_ESCAPE = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # CSI … final
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM, APC … terminator
    r"|\x1b(?:\[[0-?]*[ -/]*$|[ -/]*[0-~]?)"  # a sequence that is cut off, or a short one
)
_SGR = re.compile(rb"\x1b\[([0-9;:]*)m")
#: Sequences as `find` skips them.
ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[0-~]?"
)
#: Characters that change the direction of what follows, or are not seen at all (Unicode's UAX 9).
_UNSEEN = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
#: The most columns of a line that are shown.
COLUMNS = 4000
#: The longest sequence that is looked at, and the most cells that a line's sequences may write.
LONGEST_SEQUENCE, MOST_CELLS = 64, 20_000


class Style(msgspec.Struct, frozen=True):
    """How text looks: colours are 0 to 15, as a terminal numbers them, or None for the usual one."""

    colour: int | None = None
    back: int | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False

    @property
    def classes(self) -> str:
        """The names of this look in the style sheet; empty for plain text."""
        colour, back = (self.back, self.colour) if self.inverse else (self.colour, self.back)
        names = [f"f{colour}"] if colour is not None else []
        names += [f"k{back}"] if back is not None else []
        names += ["inv"] if self.inverse and self.colour is None and self.back is None else []
        flags = {"b": self.bold, "d": self.dim, "i": self.italic, "u": self.underline}
        return " ".join(names + [name for name, on in flags.items() if on])


PLAIN = Style()
_FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse"}
_WHAT = {38: "colour", 48: "back"}
_RANGES = ((30, "colour", 0), (90, "colour", 8), (40, "back", 0), (100, "back", 8))
_OFF: dict[int, dict[str, bool]] = {
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"inverse": False},
}


def _nearest(red: int, green: int, blue: int) -> int:
    """The one of the sixteen colours that comes nearest to one of many."""
    if max(red, green, blue) - min(red, green, blue) < 40:
        return next(c for limit, c in ((50, 0), (140, 8), (210, 7), (256, 15)) if red < limit)
    half = max(red, green, blue) / 2
    bright = 8 if max(red, green, blue) > 200 else 0
    return bright + (red > half) + 2 * (green > half) + 4 * (blue > half)


def _of_256(number: int) -> int:
    """One of the 256 colours of xterm as one of the sixteen: 16 basic, a cube of 6, 24 greys."""
    if number < 16:
        return number
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return _nearest(grey, grey, grey)
    cube = number - 16
    levels = [0 if part == 0 else 55 + 40 * part for part in (cube // 36, cube // 6 % 6, cube % 6)]
    return _nearest(*levels)


@lru_cache(maxsize=4096)
def restyle(style: Style, parameters: str) -> Style:
    """The style after a sequence "select graphic rendition" with those parameters."""
    if len(parameters) > LONGEST_SEQUENCE:
        return style
    codes = [
        int(code) if code.isdigit() and len(code) < 4 else 0
        for code in re.split("[;:]", parameters)
    ]
    codes.reverse()
    while codes:
        style = replace(style, **_change(codes.pop(), codes))
    return style


def _change(code: int, rest: list[int]) -> dict[str, Any]:
    """What one code changes of a style; it may take more codes from the end of `rest`."""
    if code == 0:
        return asdict(PLAIN)
    if code in _FLAGS:
        return {_FLAGS[code]: True}
    if code in (38, 48):
        kind = rest.pop() if rest else 0
        wanted = {5: 1, 2: 3}.get(kind, 0)
        values = [min(rest.pop(), 255) for _ in range(min(wanted, len(rest)))]
        if not wanted or len(values) < wanted:
            return {}
        return {_WHAT[code]: _of_256(values[0]) if kind == 5 else _nearest(*values)}
    if code in (39, 49):
        return {_WHAT[code - 1]: None}
    for first, name, base in _RANGES:
        if first <= code < first + 8:
            return {name: base + code - first}
    return _OFF.get(code, {})


def style_after(style: Style, data: bytes) -> Style:
    """The style in which text goes on behind these bytes."""
    if b"\x1b[" not in data:
        return style
    reset = max(data.rfind(b"\x1b[0m"), data.rfind(b"\x1b[m"))
    if reset >= 0:
        style = PLAIN
    for found in _SGR.finditer(data, max(0, reset)):
        style = restyle(style, found[1].decode("ascii"))
    return style


def visible(text: str) -> str:
    """The text with every character that hides or reorders others replaced by its name."""
    text = _CONTROL.sub(
        lambda found: chr(0x2400 + ord(found[0])) if found[0] < "\x20" else "�", text
    )
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


class _Screen:
    """One line of a terminal: cells that can be written over."""

    def __init__(self, style: Style) -> None:
        self.cells: list[tuple[str, Style]] = []
        self.column = 0
        self.style = style
        self.cut = 0
        #: How many cells were written; a line that plays with its cursor without end is cut.
        self.written = 0

    def write(self, text: str) -> None:
        if not text:
            return
        room = max(0, COLUMNS - self.column)
        self.cut = max(self.cut, len(text) - room)
        text = text[:room]
        if self.column > len(self.cells):
            self.written += self.column - len(self.cells)
            self.cells += [(" ", PLAIN)] * (self.column - len(self.cells))
        self.cells[self.column : self.column + len(text)] = [(c, self.style) for c in text]
        self.column += len(text)
        self.written += len(text)

    @property
    def is_worn_out(self) -> bool:
        """Whether the line has had its share."""
        return self.written > MOST_CELLS

    def control(self, character: str) -> None:
        self.column = 0 if character == "\r" else max(0, self.column - 1)

    def sequence(self, parameters: str, final: str) -> None:
        if final == "m":
            self.style = restyle(self.style, parameters)
        elif final == "K" and parameters in ("", "0"):
            del self.cells[self.column :]
        elif final == "K" and parameters == "2":
            self.cells = []
        elif final == "K" and parameters == "1":
            end = min(self.column, len(self.cells))
            self.written += end
            self.cells[:end] = [(" ", PLAIN)] * end
        elif final == "G":
            column = int(parameters) - 1 if parameters.isdigit() and len(parameters) < 5 else 0
            self.column = min(max(0, column), COLUMNS)


def render(line: bytes, style: Style = PLAIN) -> str:
    """A line, without its line break, as HTML that shows what a terminal would have left there.

    `style` is the one in which the line begins.
    """
    text = line.decode("utf-8", "replace")
    if text.endswith("\r"):
        text = text.rstrip("\r")
    if style == PLAIN and not _CONTROL.search(text) and len(text) <= COLUMNS:
        return escape(visible(text), quote=False)
    screen, position = _Screen(style), 0
    for found in re.finditer("[\x1b\r\x08]", text):
        if found.start() < position:
            continue
        if screen.is_worn_out:
            screen.cut = len(text) - position
            return _runs(screen.cells) + _cut(screen.cut)
        screen.write(text[position : found.start()])
        position = found.end()
        if found[0] != "\x1b":
            screen.control(found[0])
        elif escaped := _ESCAPE.match(text, found.start()):
            position = escaped.end()
            if escaped[2]:
                screen.sequence(escaped[1], escaped[2])
    screen.write(text[position:])
    return _runs(screen.cells) + _cut(screen.cut)


def _cut(characters: int) -> str:
    return f'<i class="cut">… {characters} more characters</i>' if characters else ""


def _runs(cells: Iterable[tuple[str, Style]]) -> str:
    """The cells as HTML, one element for each run of one style."""
    parts: list[str] = []
    run: list[str] = []
    present = PLAIN

    def close() -> None:
        if run:
            text = escape(visible("".join(run)), quote=False)
            classes = present.classes
            parts.append(f'<span class="{classes}">{text}</span>' if classes else text)
            run.clear()

    for character, style in cells:
        if style != present:
            close()
            present = style
        run.append(character)
    close()
    return "".join(parts)
