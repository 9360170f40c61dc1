"""What text from files and from strangers may not do where it is shown: steer a terminal, be a formula, be HTML in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet may take for a formula, and one that was shielded already."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode: control and format characters (also those that turn the direction of writing), surrogates, and
separators of lines."""


def shown(text: str) -> str:
    """Text with its control characters written out (``\\x1b``), but for tabs and newlines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(mark) if mark not in "\n\t" else mark for mark in text)


def one_line(text: str) -> str:
    """Text as ``shown``, its newlines and tabs written out too."""
    return text if text.isprintable() else "".join(map(_written_out, text))


def markdown(text: str) -> str:
    """Text inside a table cell or a line of Markdown: neither markup nor HTML, and on one line."""
    plain = " ".join(one_line(text.replace("\n", " ")).split())
    marked = _MARKDOWN.sub(lambda found: f"\\{found[0]}", plain)
    return re.sub("[&<>]", lambda found: _HTML[found[0]], marked)


def shielded(value: Any) -> Any:
    """A value of a CSV cell; text that a spreadsheet would take for a formula gets an apostrophe before it. Numbers stay."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def unshielded(cell: str) -> str:
    """The text of a CSV cell that ``shielded`` may have written."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


class Shown:
    """A text stream that shows control characters in place of sending them; ``stream`` is the one beneath."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes text as ``shown``; characters that the stream cannot encode are written out too."""
        safe = shown(text)
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def showing(stream: TextIO) -> TextIO:
    """A stream that shows what it is given, as ``Shown``."""
    return stream if isinstance(stream, Shown) else cast(TextIO, Shown(stream))


def beneath(stream: TextIO) -> TextIO:
    """The stream that takes control characters, for what makes its own."""
    return stream.stream if isinstance(stream, Shown) else stream


@contextmanager
def shown_output() -> Iterator[None]:
    """Standard output and standard error show control characters for as long as the block lasts."""
    import sys

    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = showing(sys.stdout), showing(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _written_out(mark: str) -> str:
    if unicodedata.category(mark) not in _UNSEEN:
        return mark
    number = ord(mark)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
