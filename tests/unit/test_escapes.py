"""Text from outside steers no terminal, is no formula in a spreadsheet, and no markup."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest

from debride.cli import main
from debride.escapes import Shown, markdown, one_line, shielded, shown, shown_output, unshielded
from debride.files import write_csv
from debride.progress import track

HOSTILE = "a\x1b[31m\x9b2J\u202egnp.\x07\x00\udce9"


def test_control_characters_are_written_out() -> None:
    assert shown(HOSTILE) == "a\\x1b[31m\\x9b2J\\u202egnp.\\x07\\x00\\udce9"
    assert shown("two\nlines\tand ä 中 é") == "two\nlines\tand ä 中 é"
    assert one_line("two\nlines\r") == "two\\x0alines\\x0d"


def test_a_stream_shows_what_it_cannot_encode() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("grün \x1b", file=Shown(stream))
    stream.flush()
    assert stream.buffer.getvalue() == b"gr\\xfcn \\x1b\n"  # type: ignore[attr-defined]


def test_output_is_as_before_afterwards() -> None:
    before = sys.stdout, sys.stderr
    with shown_output(), shown_output():
        assert isinstance(sys.stdout, Shown) and not isinstance(sys.stdout.stream, Shown)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("verb", [("check",), ("evaluate", "x"), ("train", "ce"), (), ("bench",)])
def test_nothing_steers_the_terminal(verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *verb,
        str(tmp_path / "no\x1b[2Ksuch\nfolder\u202e"),
        *(["--out", str(tmp_path / "o")] if verb != ("check",) else []),
    ]
    assert main(words) in (1, 2)
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\u202e" not in out + err and "no\\x1b[2Ksuch" in out + err


def test_a_progress_bar_takes_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown_output(), track("epoch [red]x\x1b]0;title\x07", 2) as show:
        show(1)
    assert "[red]x\\x1b]0;title\\x07" in terminal.getvalue() and "\x1b]0" not in terminal.getvalue()


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x", "＝1", "- case"])
def test_formulas_in_tables(text: str, tmp_path: Path) -> None:
    assert shielded(text) == f"'{text}" and unshielded(shielded(text)) == text
    write_csv(tmp_path / "a.csv", ["case", "dice"], [[text, -0.5]])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["case", "dice"], [f"'{text}", "-0.5"]]


@pytest.mark.parametrize("text", ["-0.5", "+1", "-1e-05", "-.5", "-inf", "case", "", "'quoted'", "a=b", "1-2"])
def test_numbers_and_plain_text_stay(text: str) -> None:
    assert shielded(text) == text == unshielded(text)


def test_markdown_is_text() -> None:
    assert markdown("a|b\n`c` <script>x</script> [l](http://x) *b* _i_ snake_case ~~d~~ &amp; \\") == (
        "a\\|b \\`c\\` &lt;script&gt;x&lt;/script&gt; \\[l\\](http://x) \\*b\\* \\_i\\_ snake_case \\~\\~d\\~\\~ &amp;amp; \\\\"
    )
